/*
 * The service is listed by its control plane: by one worker, once it listens,
 * and again on a timer, because the list is in the control plane's memory;
 * until the service goes away for good.
 */

#include "ngx_workflow_control.h"
#include "ngx_workflow_job.h"

#include "wf_control.h"


#define NGX_WORKFLOW_REGISTER_DELAY  500
#define NGX_WORKFLOW_REGISTER_EXIT   500


typedef struct {
    ngx_workflow_job_t   job;
    wf_buf_t             path;
    wf_buf_t             body;
    wf_http_exchange_t   x;
    wf_buf_t             topic_namespace;
    const char          *error;
    ngx_int_t            rc;
} ngx_workflow_registration_t;


static void ngx_workflow_register_timer(ngx_event_t *ev);
static ngx_int_t ngx_workflow_register_post(ngx_workflow_service_t *service,
    ngx_uint_t withdraw);
static ngx_workflow_registration_t *ngx_workflow_register_create(
    ngx_workflow_service_t *service, ngx_uint_t withdraw);
static void ngx_workflow_register_free(ngx_workflow_registration_t *r);
static void ngx_workflow_register_work(ngx_workflow_job_t *job);
static void ngx_workflow_register_done(ngx_workflow_job_t *job);
static void ngx_workflow_register_listed(ngx_workflow_service_t *service);
static void ngx_workflow_register_late(ngx_workflow_service_t *service);
static void ngx_workflow_register_namespace(ngx_workflow_service_t *service,
    wf_buf_t *text);
static void ngx_workflow_withdraw_done(ngx_workflow_job_t *job);
static ngx_uint_t ngx_workflow_withdraw_mine(ngx_workflow_service_t *service,
    ngx_uint_t nobody);
static ngx_uint_t ngx_workflow_withdraw_due(ngx_workflow_service_t *service,
    ngx_uint_t nobody);
static void ngx_workflow_withdraw_log(ngx_workflow_service_t *service,
    ngx_workflow_registration_t *r);


ngx_atomic_uint_t
ngx_workflow_control_key(ngx_workflow_service_t *service)
{
    if (service->control_name.len == 0) {
        return 0;
    }

    return (ngx_atomic_uint_t) ngx_crc32_short(service->control_name.data,
                                               service->control_name.len)
           + 1;
}


ngx_msec_t
ngx_workflow_control_delay(ngx_workflow_service_t *service,
    ngx_uint_t failures)
{
    ngx_uint_t  i;
    ngx_msec_t  delay;

    delay = NGX_WORKFLOW_REGISTER_DELAY;

    for (i = 0; i < failures && delay < service->register_interval; i++) {
        delay *= 2;
    }

    delay = ngx_min(delay, service->register_interval);

    return delay / 2 + (ngx_msec_t) ngx_random() % (delay / 2 + 1);
}


void
ngx_workflow_register_start(ngx_workflow_service_t *service)
{
    service->register_timer.handler = ngx_workflow_register_timer;
    service->register_timer.data = service;
    service->register_timer.log = service->log;
    service->register_timer.cancelable = 1;
}


void
ngx_workflow_register_listening(ngx_workflow_service_t *service)
{
    if (service->http && !service->leaving) {
        ngx_add_timer(&service->register_timer, 1);
    }
}


static void
ngx_workflow_register_timer(ngx_event_t *ev)
{
    ngx_msec_t               delay;
    ngx_workflow_queue_t    *queue;
    ngx_workflow_service_t  *service;

    service = ev->data;
    queue = service->consumer.queue;

    if (ngx_exiting || service->leaving || service->registering
        || !queue->listens || !queue->is_ready
        || ngx_workflow_zone_outdated(service->zone))
    {
        /* when it listens it is told so; after a reload it is the new workers'
         * turn */

        return;
    }

    if (ngx_workflow_zone_turn(&service->shared->due,
                               service->register_interval))
    {
        if (ngx_workflow_register_post(service, 0) == NGX_OK) {
            service->registering = 1;
            return;
        }

        ngx_workflow_zone_next_turn(&service->shared->due,
                                    NGX_WORKFLOW_REGISTER_DELAY);
    }

    /* whichever worker looks first when it is due does it */

    delay = ngx_workflow_zone_until(&service->shared->due);

    ngx_add_timer(ev, delay + 1 + (ngx_msec_t) ngx_random() % 16);
}


static ngx_int_t
ngx_workflow_register_post(ngx_workflow_service_t *service,
    ngx_uint_t withdraw)
{
    ngx_workflow_registration_t  *r;

    r = ngx_workflow_register_create(service, withdraw);
    if (r == NULL) {
        return NGX_ERROR;
    }

    r->job.done = withdraw ? ngx_workflow_withdraw_done
                           : ngx_workflow_register_done;

    if (ngx_workflow_job_post(&r->job) != NGX_OK) {
        ngx_workflow_register_free(r);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_workflow_registration_t *
ngx_workflow_register_create(ngx_workflow_service_t *service,
    ngx_uint_t withdraw)
{
    wf_slice_t                    name, description, host;
    ngx_workflow_registration_t  *r;

    r = ngx_calloc(sizeof(ngx_workflow_registration_t), service->log);
    if (r == NULL) {
        return NULL;
    }

    name.data = (char *) service->name.data;
    name.len = service->name.len;

    if (withdraw) {
        wf_control_deregister(&r->path, name);

    } else {
        description.data = (char *) service->description.data;
        description.len = service->description.len;

        host.data = service->host.len ? (char *) service->host.data : NULL;
        host.len = service->host.len;

        wf_control_service(&r->body, name, description, host, service->port);
        wf_buf_adds(&r->path, "/services/register");
        wf_buf_addc(&r->path, '\0');
    }

    if (r->path.failed || r->body.failed) {
        ngx_workflow_register_free(r);
        return NULL;
    }

    r->x.path = r->path.data;
    r->x.body.data = r->body.len ? r->body.data : "";
    r->x.body.len = r->body.len;

    r->job.service = service;
    r->job.work = ngx_workflow_register_work;

    return r;
}


static void
ngx_workflow_register_free(ngx_workflow_registration_t *r)
{
    wf_buf_free(&r->path);
    wf_buf_free(&r->body);
    wf_buf_free(&r->x.answer);
    wf_buf_free(&r->topic_namespace);
    ngx_free(r);
}


static void
ngx_workflow_register_work(ngx_workflow_job_t *job)
{
    ngx_workflow_registration_t  *r = (ngx_workflow_registration_t *) job;

    r->rc = wf_http_request(job->service->http, &r->x);
    r->error = r->x.error;

    if (r->rc == 0) {
        ngx_workflow_learn_withdraw(job->service, job->service->http);
    }

    /* what says anything else is no control plane */

    if (r->rc == 0 && r->body.len) {
        r->rc = wf_control_namespace(&r->topic_namespace,
                          (wf_slice_t) { r->x.answer.data, r->x.answer.len },
                          &r->error);
    }
}


static void
ngx_workflow_register_done(ngx_workflow_job_t *job)
{
    ngx_workflow_registration_t *r = (ngx_workflow_registration_t *) job;

    ngx_uint_t               outdated;
    ngx_msec_t               delay;
    ngx_workflow_service_t  *service;

    service = job->service;
    service->registering = 0;

    outdated = ngx_workflow_zone_outdated(service->zone);

    if (outdated) {

        /* also when there was no answer */

        ngx_workflow_register_late(service);
        delay = 0;

    } else if (r->rc == 0) {
        ngx_workflow_register_listed(service);
        ngx_workflow_register_namespace(service, &r->topic_namespace);

        /* a little earlier or later each time */

        delay = service->register_interval;
        delay -= (ngx_msec_t) ngx_random() % (delay / 8 + 1);

    } else {
        delay = ngx_workflow_control_delay(service,
                                           service->shared->failures++);

        ngx_log_error(NGX_LOG_ERR, service->log, 0,
                      "workflow_service \"%V\" could not be registered with "
                      "the control plane %V: %s; trying again in %Mms",
                      &service->name, &service->control_name, r->error,
                      delay);
    }

    ngx_workflow_register_free(r);

    if (!ngx_exiting && !service->leaving && !outdated) {
        ngx_workflow_zone_next_turn(&service->shared->due, delay);
        ngx_add_timer(&service->register_timer, delay + 1);
    }
}


static void
ngx_workflow_register_listed(ngx_workflow_service_t *service)
{
    ngx_atomic_uint_t       key;
    ngx_workflow_shared_t  *shared;

    key = ngx_workflow_control_key(service);
    shared = service->shared;

    if (shared->registered != key || shared->failures) {
        ngx_log_error(NGX_LOG_NOTICE, service->log, 0,
                      "workflow_service \"%V\" is registered with the control "
                      "plane %V", &service->name, &service->control_name);
    }

    /* workers of an older configuration withdraw what it had registered */

    if (shared->registered && shared->registered != key) {
        shared->previous = shared->registered;
    }

    shared->failures = 0;
    shared->registered = key;
}


/* It may have been listed by a configuration that was replaced meanwhile; if
 * it is not to be there any more this worker withdraws it when it leaves. */

static void
ngx_workflow_register_late(ngx_workflow_service_t *service)
{
    ngx_atomic_uint_t       key;
    ngx_workflow_shared_t  *shared;

    key = ngx_workflow_control_key(service);
    shared = service->shared;

    if (shared->configured != key && shared->registered != key) {
        shared->previous = key;
    }
}


/* The control plane publishes to its own namespace. */

static void
ngx_workflow_register_namespace(ngx_workflow_service_t *service,
    wf_buf_t *text)
{
    ngx_str_t   ns, ours;
    ngx_uint_t  differs;

    ours = service->consumer.topic_namespace;

    ns.data = (u_char *) text->data;
    ns.len = text->len;

    differs = (ns.len != ours.len || ngx_memcmp(ns.data, ours.data, ns.len)
               != 0);

    if (differs && !service->differs) {
        ngx_log_error(NGX_LOG_WARN, service->log, 0,
                      "workflow_service \"%V\" uses the topic namespace "
                      "\"%V\", and its control plane %V uses \"%V\": what this "
                      "sends does not come here; %s", &service->name, &ours,
                      &service->control_name, &ns,
                      service->consumer.queue->topic_namespace.len
                      ? "change \"topic_namespace\" in nginx.conf, or leave it "
                        "out"
                      : "restart nginx");
    }

    service->differs = differs;
}


ngx_int_t
ngx_workflow_register_leave(ngx_workflow_service_t *service, ngx_uint_t nobody)
{
    if (service->http == NULL) {
        return NGX_OK;
    }

    if (service->register_timer.timer_set) {
        ngx_del_timer(&service->register_timer);
    }

    if (service->registering) {
        return NGX_AGAIN;
    }

    if (ngx_workflow_withdraw_mine(service, nobody)) {

        if (ngx_workflow_register_post(service, 1) == NGX_OK) {
            service->registering = 1;
            return NGX_AGAIN;
        }

        ngx_workflow_withdraw_log(service, NULL);
    }

    return NGX_OK;
}


static void
ngx_workflow_withdraw_done(ngx_workflow_job_t *job)
{
    ngx_workflow_registration_t  *r = (ngx_workflow_registration_t *) job;

    job->service->registering = 0;

    ngx_workflow_withdraw_log(job->service, r);
    ngx_workflow_register_free(r);
}


ngx_int_t
ngx_workflow_register_exit(ngx_workflow_service_t *service, ngx_uint_t nobody)
{
    ngx_int_t                     rc;
    wf_http_t                    *http;
    ngx_uint_t                    listed, probed;
    wf_http_conf_t                conf;
    ngx_workflow_registration_t  *r;

    if (service->http == NULL) {
        return NGX_OK;
    }

    listed = ngx_workflow_withdraw_mine(service, nobody);
    probed = service->shared->probed
             && ngx_workflow_withdraw_due(service, nobody);

    if (!listed && !probed) {
        return NGX_OK;
    }

    /* the master does not wait long */

    conf = service->control;
    conf.timeout = ngx_min(conf.timeout, NGX_WORKFLOW_REGISTER_EXIT);
    conf.leaving = NULL;

    rc = NGX_OK;
    http = wf_http_create(&conf);

    if (listed) {
        rc = NGX_ERROR;
        r = ngx_workflow_register_create(service, 1);

        if (http && r) {
            r->rc = wf_http_request(http, &r->x);
            rc = r->x.status ? NGX_OK : NGX_ERROR;
        }

        ngx_workflow_withdraw_log(service, http ? r : NULL);

        if (r) {
            ngx_workflow_register_free(r);
        }
    }

    if (http) {
        if (probed && rc == NGX_OK) {
            ngx_workflow_learn_withdraw(service, http);
        }

        wf_http_free(http);
    }

    return rc;
}


/* Whether the service is to be withdrawn, by this worker: it is listed where
 * this worker's configuration says, and nobody goes on with that. */

static ngx_uint_t
ngx_workflow_withdraw_mine(ngx_workflow_service_t *service, ngx_uint_t nobody)
{
    ngx_atomic_uint_t       key;
    ngx_workflow_shared_t  *shared;

    if (!ngx_workflow_withdraw_due(service, nobody)) {
        return 0;
    }

    key = ngx_workflow_control_key(service);
    shared = service->shared;

    return ngx_atomic_cmp_set(&shared->registered, key, 0)
           || ngx_atomic_cmp_set(&shared->previous, key, 0);
}


static ngx_uint_t
ngx_workflow_withdraw_due(ngx_workflow_service_t *service, ngx_uint_t nobody)
{
    return nobody
           || service->shared->configured != ngx_workflow_control_key(service);
}


static void
ngx_workflow_withdraw_log(ngx_workflow_service_t *service,
    ngx_workflow_registration_t *r)
{
    if (r && r->rc == 0) {
        ngx_log_error(NGX_LOG_NOTICE, service->log, 0,
                      "workflow_service \"%V\" is withdrawn from the control "
                      "plane %V", &service->name, &service->control_name);
        return;
    }

    ngx_log_error(NGX_LOG_WARN, service->log, 0,
                  "workflow_service \"%V\" could not be withdrawn from the "
                  "control plane %V, which goes on listing it: %s",
                  &service->name, &service->control_name,
                  r ? r->x.error : "no memory");
}
