#include "ngx_workflow_worker.h"
#include "ngx_workflow_control.h"
#include "ngx_workflow_run.h"

#include "wf_publish.h"

#include <curl/curl.h>


#define NGX_WORKFLOW_HANDOVER           10000
#define NGX_WORKFLOW_HANDOVER_INTERVAL  10


static ngx_int_t ngx_workflow_worker_name(ngx_cycle_t *cycle,
    ngx_str_t *machine, ngx_str_t *name);
static void ngx_workflow_worker_listening(ngx_workflow_queue_t *queue);
static void ngx_workflow_worker_idle(ngx_workflow_redis_t *redis);
static void ngx_workflow_worker_stop(void);
static void ngx_workflow_worker_handover(ngx_event_t *ev);
static ngx_int_t ngx_workflow_worker_heir(void);
static ngx_int_t ngx_workflow_worker_withdraw(ngx_uint_t nobody);
static void ngx_workflow_worker_withdraw_now(void);
static ngx_uint_t ngx_workflow_worker_upgrading(void);
static ngx_int_t ngx_workflow_worker_others(void);


static ngx_array_t  *ngx_workflow_plugins;
static ngx_array_t  *ngx_workflow_queues;
static ngx_array_t  *ngx_workflow_services;

static ngx_uint_t       ngx_workflow_unknown;    /* services that learn */
static ngx_shm_zone_t  *ngx_workflow_zone;
static ngx_event_t      ngx_workflow_handover;
static ngx_msec_t       ngx_workflow_leaving;
static ngx_uint_t       ngx_workflow_upgrading;
static ngx_uint_t       ngx_workflow_heir_seen;


ngx_int_t
ngx_workflow_worker_open(ngx_cycle_t *cycle, ngx_array_t *plugins,
    ngx_array_t *queues, ngx_array_t *services)
{
    wf_buf_t                  error = WF_BUF_INIT;
    ngx_str_t                 machine, name;
    ngx_int_t                 rc;
    ngx_uint_t                i;
    ngx_workflow_queue_t    **queue;
    ngx_workflow_plugin_t    *plugin;
    ngx_workflow_service_t  **service;

    service = services->elts;

    /* opening plugins may take long, and old workers look for us */

    ngx_workflow_zone = service[0]->zone;
    ngx_workflow_zone_worker(ngx_workflow_zone, NGX_WORKFLOW_WORKER_STARTING);

    if (ngx_workflow_worker_name(cycle, &machine, &name) != NGX_OK
        || ngx_workflow_wake_open(cycle->log) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_workflow_plugins = plugins;
    ngx_workflow_queues = queues;
    ngx_workflow_services = services;

    ngx_workflow_script_init();

    plugin = plugins->elts;

    for (i = 0; i < plugins->nelts; i++) {

        if (ngx_workflow_plugin_open(&plugin[i], cycle->pool, &error)
            != NGX_OK)
        {
            /* its services say what follows from it */

            ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                          "plugin \"%V\": %s", &plugin[i].path,
                          error.failed ? "no memory" : error.data);
        }

        wf_buf_free(&error);
    }

    queue = queues->elts;

    for (i = 0; i < queues->nelts; i++) {
        ngx_queue_init(&queue[i]->consumers);
        queue[i]->machine = machine;
        queue[i]->worker = name;
        queue[i]->blocking.leave = ngx_workflow_worker_idle;
        queue[i]->commands.leave = ngx_workflow_worker_idle;
        queue[i]->listening = ngx_workflow_worker_listening;
    }

    /* before there are threads that use it */

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "curl_global_init() failed");
        return NGX_ERROR;
    }

    for (i = 0; i < services->nelts; i++) {

        rc = ngx_workflow_service_open(service[i], cycle);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    for (i = 0; i < services->nelts; i++) {

        if (service[i]->graph == NULL) {
            continue;
        }

        if (service[i]->http) {
            ngx_workflow_register_start(service[i]);
        }

        if (ngx_workflow_learn_needed(service[i])) {
            ngx_workflow_unknown++;
            ngx_workflow_learn_start(service[i]);

        } else if (ngx_workflow_service_start(service[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


void
ngx_workflow_worker_learned(ngx_workflow_service_t *service,
    ngx_str_t *topic_namespace, ngx_workflow_redis_conf_t *redis)
{
    ngx_workflow_queue_t       *queue;
    ngx_workflow_redis_conf_t  *conf;

    queue = service->consumer.queue;
    conf = &queue->redis;

    /* services of one control plane share its queue */

    if (conf->url.len == 0) {
        redis->connect_timeout = conf->connect_timeout;
        redis->command_timeout = conf->command_timeout;
        *conf = *redis;
    }

    ngx_workflow_unknown--;

    if (ngx_workflow_consumer_init(&service->consumer, topic_namespace,
                                   service->learned)
        != NGX_OK
        || ngx_workflow_service_start(service) != NGX_OK)
    {
        ngx_log_error(NGX_LOG_EMERG, service->log, 0,
                      "workflow_service \"%V\" is not served: no memory",
                      &service->name);

        /* others may have waited for it only */

        ngx_workflow_worker_listening(queue);
    }
}


static void
ngx_workflow_worker_listening(ngx_workflow_queue_t *queue)
{
    ngx_uint_t                i, waits;
    ngx_workflow_queue_t    **q;
    ngx_workflow_service_t  **service;

    if (ngx_workflow_leaving) {
        return;
    }

    service = ngx_workflow_services->elts;

    for (i = 0; i < ngx_workflow_services->nelts; i++) {
        if (service[i]->consumer.queue == queue && service[i]->started
            && queue->listens && queue->is_ready)
        {
            ngx_workflow_register_listening(service[i]);
        }
    }

    /* old workers go on listening for those that do not know yet to what */

    waits = ngx_workflow_unknown;
    q = ngx_workflow_queues->elts;

    for (i = 0; i < ngx_workflow_queues->nelts; i++) {
        if (!ngx_queue_empty(&q[i]->consumers)
            && (!q[i]->listens || !q[i]->is_ready))
        {
            waits = 1;
        }
    }

    ngx_workflow_zone_worker(ngx_workflow_zone,
                             waits ? NGX_WORKFLOW_WORKER_STARTING
                                   : NGX_WORKFLOW_WORKER_LISTENING);
}


/* nginx closes idle connections when it begins to shut down gracefully. */

static void
ngx_workflow_worker_idle(ngx_workflow_redis_t *redis)
{
    ngx_workflow_worker_leave();
}


void
ngx_workflow_worker_leave(void)
{
    if (ngx_workflow_leaving) {
        return;
    }

    ngx_workflow_worker_stop();

    ngx_workflow_handover.handler = ngx_workflow_worker_handover;
    ngx_workflow_handover.data = &ngx_workflow_handover;
    ngx_workflow_handover.log = ngx_cycle->log;

    ngx_workflow_worker_handover(&ngx_workflow_handover);
}


static void
ngx_workflow_worker_stop(void)
{
    ngx_uint_t                i;
    ngx_workflow_queue_t    **queue;
    ngx_workflow_service_t  **service;

    ngx_workflow_leaving = ngx_max(ngx_current_msec, 1);
    ngx_workflow_upgrading = ngx_workflow_worker_upgrading();

    service = ngx_workflow_services->elts;

    for (i = 0; i < ngx_workflow_services->nelts; i++) {
        ngx_workflow_service_leave(service[i]);
    }

    queue = ngx_workflow_queues->elts;

    for (i = 0; i < ngx_workflow_queues->nelts; i++) {
        if (!ngx_queue_empty(&queue[i]->consumers)) {
            ngx_workflow_queue_leave(queue[i]);
        }
    }

    ngx_workflow_zone_worker(ngx_workflow_zone, NGX_WORKFLOW_WORKER_LEAVING);
}


/*
 * Pub/Sub does not wait: this worker listens until one of those that were
 * started in its place does, be it by this master or by another one; but not
 * for ever.  After a reload what becomes of a service is said by the newer
 * configuration, and not by who is there.
 */

static void
ngx_workflow_worker_handover(ngx_event_t *ev)
{
    ngx_int_t               rc;
    ngx_uint_t              i, nobody;
    ngx_workflow_queue_t  **queue;

    rc = ngx_workflow_worker_heir();

    if (rc == NGX_AGAIN
        && ngx_current_msec - ngx_workflow_leaving < NGX_WORKFLOW_HANDOVER)
    {
        ngx_add_timer(ev, NGX_WORKFLOW_HANDOVER_INTERVAL);
        return;
    }

    /* what is sent until it is withdrawn is still taken */

    nobody = rc == NGX_DECLINED
             && !ngx_workflow_zone_outdated(ngx_workflow_zone);

    if (ngx_workflow_worker_withdraw(nobody) == NGX_AGAIN) {
        ngx_add_timer(ev, NGX_WORKFLOW_HANDOVER_INTERVAL);
        return;
    }

    queue = ngx_workflow_queues->elts;

    for (i = 0; i < ngx_workflow_queues->nelts; i++) {
        if (!ngx_queue_empty(&queue[i]->consumers)) {
            ngx_workflow_queue_deaf(queue[i]);
        }
    }

    ngx_workflow_zone_worker(ngx_workflow_zone, NGX_WORKFLOW_WORKER_NONE);
}


/* Whether another worker listens; NGX_AGAIN: one will, NGX_DECLINED: none. */

static ngx_int_t
ngx_workflow_worker_heir(void)
{
    ngx_int_t  rc;

    rc = ngx_workflow_zone_heir(ngx_workflow_zone);

    if (rc != NGX_DECLINED) {
        ngx_workflow_heir_seen = 1;
        return rc;
    }

    if (ngx_workflow_upgrading
        || ngx_workflow_zone_replaced(ngx_workflow_zone))
    {
        return ngx_workflow_worker_others();
    }

    /* those of a newer configuration may be late; if they have been there they
     * leave as well */

    return ngx_workflow_zone_outdated(ngx_workflow_zone)
           && !ngx_workflow_heir_seen
           ? NGX_AGAIN : NGX_DECLINED;
}


/* Services that go away for good are not listed any more. */

static ngx_int_t
ngx_workflow_worker_withdraw(ngx_uint_t nobody)
{
    ngx_int_t                 rc;
    ngx_uint_t                i;
    ngx_workflow_service_t  **service;

    rc = NGX_OK;
    service = ngx_workflow_services->elts;

    for (i = 0; i < ngx_workflow_services->nelts; i++) {
        if (ngx_workflow_register_leave(service[i], nobody) == NGX_AGAIN) {
            rc = NGX_AGAIN;
        }
    }

    return rc;
}


/* The same when there is no event loop any more. */

static void
ngx_workflow_worker_withdraw_now(void)
{
    ngx_uint_t                i, nobody;
    ngx_workflow_service_t  **service;

    nobody = !ngx_workflow_upgrading
             && !ngx_workflow_zone_outdated(ngx_workflow_zone)
             && ngx_workflow_zone_heir(ngx_workflow_zone) == NGX_DECLINED;

    service = ngx_workflow_services->elts;

    for (i = 0; i < ngx_workflow_services->nelts; i++) {
        if (ngx_workflow_register_exit(service[i], nobody) != NGX_OK) {
            return;
        }
    }
}


/* Whether this master and another one take each other's place: the old one's
 * file is there, whichever of the two is told to quit. */

static ngx_uint_t
ngx_workflow_worker_upgrading(void)
{
    ngx_file_info_t   fi;
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                           ngx_core_module);

    return ngx_file_info(ccf->oldpid.data, &fi) != NGX_FILE_ERROR;
}


static ngx_int_t
ngx_workflow_worker_others(void)
{
    ngx_int_t               rc;
    ngx_uint_t              i, ours;
    ngx_workflow_queue_t  **queue;

    rc = NGX_OK;
    ours = ngx_workflow_zone_listeners(ngx_workflow_zone);
    queue = ngx_workflow_queues->elts;

    for (i = 0; i < ngx_workflow_queues->nelts; i++) {
        if (!ngx_queue_empty(&queue[i]->consumers)
            && ngx_workflow_subscribe_others(queue[i], ours) == NGX_AGAIN)
        {
            rc = NGX_AGAIN;
        }
    }

    return rc;
}


void
ngx_workflow_worker_close(void)
{
    ngx_uint_t                i, busy;
    ngx_workflow_queue_t    **queue;
    ngx_workflow_plugin_t    *plugin;
    ngx_workflow_service_t  **service;

    if (ngx_workflow_queues == NULL) {
        return;
    }

    if (!ngx_workflow_leaving) {
        ngx_workflow_worker_stop();
    }

    if (ngx_workflow_handover.timer_set) {
        ngx_del_timer(&ngx_workflow_handover);
    }

    ngx_workflow_worker_withdraw_now();

    ngx_workflow_zone_worker(ngx_workflow_zone, NGX_WORKFLOW_WORKER_NONE);

    service = ngx_workflow_services->elts;

    for (i = 0; i < ngx_workflow_services->nelts; i++) {
        ngx_workflow_receive_send(service[i]);
    }

    queue = ngx_workflow_queues->elts;

    for (i = 0; i < ngx_workflow_queues->nelts; i++) {
        if (!ngx_queue_empty(&queue[i]->consumers)) {
            ngx_workflow_queue_close(queue[i]);
        }
    }

    busy = 0;

    for (i = 0; i < ngx_workflow_services->nelts; i++) {
        if (ngx_workflow_service_close(service[i]) == NGX_BUSY) {
            busy = 1;
        }
    }

    if (busy) {
        return;
    }

    plugin = ngx_workflow_plugins->elts;

    for (i = 0; i < ngx_workflow_plugins->nelts; i++) {
        ngx_workflow_plugin_close(&plugin[i]);
    }

    ngx_workflow_wake_close();
    ngx_workflow_executor_close();
}


/*
 * "<host>.<boot>.<pid namespace>-<pid>-<random>": unique among all workers of
 * all machines, for all time, and telling who can see whether the process
 * lives.
 */

static ngx_int_t
ngx_workflow_worker_name(ngx_cycle_t *cycle, ngx_str_t *machine,
    ngx_str_t *name)
{
    int           fd;
    char          id[WF_UUID_LEN];
    u_char       *p, buf[8];
    ssize_t       n;
    ngx_str_t     boot;
    struct stat   st;

    if (stat("/proc/self/ns/pid", &st) == -1) {
        st.st_ino = 0;
    }

    /* two machines may have one name */

    boot.len = 0;
    fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY|O_CLOEXEC);

    if (fd != -1) {
        n = read(fd, buf, sizeof(buf));
        boot.len = ngx_max(n, 0);
        (void) close(fd);
    }

    boot.data = buf;

    name->data = ngx_pnalloc(cycle->pool, cycle->hostname.len
                                          + sizeof("..--1234567812345678")
                                          + 2 * NGX_INT64_LEN);
    if (name->data == NULL) {
        return NGX_ERROR;
    }

    ngx_workflow_compose_id(id);

    p = ngx_sprintf(name->data, "%V.%V.%uL-", &cycle->hostname, &boot,
                    (uint64_t) st.st_ino);

    machine->data = name->data;
    machine->len = p - name->data;

    p = ngx_sprintf(p, "%P-%*s", ngx_pid, (size_t) 8, id);
    name->len = p - name->data;

    /* a word of records in Redis */

    for (p = name->data; p < name->data + name->len; p++) {
        if (*p <= ' ') {
            *p = '_';
        }
    }

    return NGX_OK;
}
