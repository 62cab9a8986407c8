/*
 * What nginx.conf leaves to the control plane: the topic namespace, which comes
 * with the answer to a registration, and the queue.
 *
 * A service must not be listed before it listens, and cannot listen before it
 * knows where.  So it is asked under a name of its own, which is withdrawn at
 * once, or later if that fails.  What was told is shared by all workers and
 * outlives a reload.
 */

#include "ngx_workflow_control.h"
#include "ngx_workflow_job.h"
#include "ngx_workflow_worker.h"

#include "wf_control.h"


/* How often a worker looks whether another one has been told. */

#define NGX_WORKFLOW_LEARN_INTERVAL  100


typedef struct {
    ngx_workflow_job_t          job;
    ngx_pool_t                 *pool;
    ngx_str_t                   text;       /* namespace, line feed, URL */
    ngx_str_t                   topic_namespace;
    ngx_workflow_redis_conf_t   redis;
    ngx_uint_t                  asked;
    const char                 *error;      /* NULL: none */
    wf_buf_t                    reason;
} ngx_workflow_learning_t;


static void ngx_workflow_learn_timer(ngx_event_t *ev);
static ngx_int_t ngx_workflow_learn_post(ngx_workflow_service_t *service);
static void ngx_workflow_learn_work(ngx_workflow_job_t *job);
static ngx_int_t ngx_workflow_learn_ask(ngx_workflow_learning_t *l);
static ngx_int_t ngx_workflow_learn_namespace(ngx_workflow_learning_t *l,
    wf_buf_t *text);
static void ngx_workflow_learn_name(ngx_workflow_service_t *service,
    wf_buf_t *name);
static ngx_int_t ngx_workflow_learn_queue(ngx_workflow_learning_t *l,
    wf_buf_t *text);
static ngx_int_t ngx_workflow_learn_read(ngx_workflow_learning_t *l);
static ngx_int_t ngx_workflow_learn_url(ngx_workflow_learning_t *l,
    ngx_str_t *url);
static void ngx_workflow_learn_done(ngx_workflow_job_t *job);
static void ngx_workflow_learn_free(ngx_workflow_learning_t *l);


ngx_uint_t
ngx_workflow_learn_needed(ngx_workflow_service_t *service)
{
    return service->consumer.topic.len == 0 || service->message_queue_config;
}


void
ngx_workflow_learn_start(ngx_workflow_service_t *service)
{
    service->learn_timer.handler = ngx_workflow_learn_timer;
    service->learn_timer.data = service;
    service->learn_timer.log = service->log;
    service->learn_timer.cancelable = 1;

    ngx_add_timer(&service->learn_timer, 1);
}


static void
ngx_workflow_learn_timer(ngx_event_t *ev)
{
    ngx_workflow_service_t  *service;

    service = ev->data;

    if (ngx_exiting || service->leaving
        || ngx_workflow_zone_outdated(service->zone))
    {
        return;
    }

    if (ngx_workflow_learn_post(service) != NGX_OK) {
        ngx_add_timer(ev, NGX_WORKFLOW_LEARN_INTERVAL);
    }
}


/* NGX_OK: somebody has been told, or is to ask now. */

static ngx_int_t
ngx_workflow_learn_post(ngx_workflow_service_t *service)
{
    ngx_pool_t               *pool;
    ngx_workflow_learning_t  *l;

    pool = ngx_create_pool(1024, service->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    l = ngx_pcalloc(pool, sizeof(ngx_workflow_learning_t));

    if (l == NULL
        || ngx_workflow_zone_learned(service->zone, service->shared, pool,
                                     &l->text)
           != NGX_OK)
    {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    l->pool = pool;
    l->job.service = service;
    l->job.work = ngx_workflow_learn_work;
    l->job.done = ngx_workflow_learn_done;

    if (l->text.len == 0) {

        /* three requests, each with its time */

        l->asked = ngx_workflow_zone_turn(&service->shared->asked,
                                          3 * service->control_plane_timeout
                                          + 1000);
    }

    if ((l->text.len || l->asked)
        && ngx_workflow_job_post(&l->job) == NGX_OK)
    {
        return NGX_OK;
    }

    if (l->asked) {

        /* whoever has a thread for it may have the turn */

        ngx_workflow_zone_next_turn(&service->shared->asked, 0);
    }

    ngx_destroy_pool(pool);

    return NGX_AGAIN;
}


static void
ngx_workflow_learn_work(ngx_workflow_job_t *job)
{
    ngx_workflow_learning_t  *l = (ngx_workflow_learning_t *) job;

    if (l->asked && ngx_workflow_learn_ask(l) != NGX_OK) {
        return;
    }

    (void) ngx_workflow_learn_read(l);
}


static ngx_int_t
ngx_workflow_learn_ask(ngx_workflow_learning_t *l)
{
    wf_buf_t                 text = WF_BUF_INIT;
    ngx_int_t                rc;
    ngx_workflow_service_t  *service;

    service = l->job.service;
    rc = NGX_OK;

    if (service->consumer.queue->topic_namespace.len == 0) {
        rc = ngx_workflow_learn_namespace(l, &text);
    }

    wf_buf_addc(&text, '\n');

    if (rc == NGX_OK && service->message_queue_config) {
        rc = ngx_workflow_learn_queue(l, &text);
    }

    if (rc == NGX_OK) {
        l->text.len = text.len;
        l->text.data = text.failed ? NULL : ngx_pnalloc(l->pool, text.len);

        if (l->text.data) {
            ngx_memcpy(l->text.data, text.data, text.len);

        } else {
            l->error = "no memory";
            rc = NGX_ERROR;
        }
    }

    wf_buf_free(&text);

    return rc;
}


static ngx_int_t
ngx_workflow_learn_namespace(ngx_workflow_learning_t *l, wf_buf_t *text)
{
    int                      rc;
    wf_buf_t                 name = WF_BUF_INIT;
    wf_buf_t                 body = WF_BUF_INIT;
    wf_slice_t               none = { NULL, 0 };
    ngx_workflow_service_t  *service;
    wf_http_exchange_t       x;

    service = l->job.service;

    ngx_memzero(&x, sizeof(wf_http_exchange_t));

    ngx_workflow_learn_name(service, &name);

    wf_control_service(&body, (wf_slice_t) { name.data, name.len },
                       wf_slice("Asks for the topic namespace."), none, 0);

    if (name.failed || body.failed) {
        l->error = "no memory";
        rc = -1;

    } else {
        x.path = "/services/register";
        x.body.data = body.data;
        x.body.len = body.len;

        /* also when there is no answer: it may have been listed */

        service->shared->probed = ngx_workflow_control_key(service);

        rc = wf_http_request(service->http, &x);

        ngx_workflow_learn_withdraw(service, service->http);

        if (rc != 0) {
            wf_buf_adds(&l->reason, x.error);
            l->error = "";

        } else {
            rc = wf_control_namespace(text,
                                (wf_slice_t) { x.answer.data, x.answer.len },
                                &l->error);
        }
    }

    wf_buf_free(&x.answer);
    wf_buf_free(&name);
    wf_buf_free(&body);

    return rc == 0 ? NGX_OK : NGX_ERROR;
}


static void
ngx_workflow_learn_name(ngx_workflow_service_t *service, wf_buf_t *name)
{
    wf_buf_add(name, service->name.data, service->name.len);
    wf_buf_adds(name, ":namespace");
}


void
ngx_workflow_learn_withdraw(ngx_workflow_service_t *service, wf_http_t *http)
{
    wf_buf_t            name = WF_BUF_INIT;
    wf_buf_t            path = WF_BUF_INIT;
    ngx_atomic_uint_t   key;
    wf_http_exchange_t  x;

    key = ngx_workflow_control_key(service);

    if (service->shared->probed != key) {
        return;
    }

    ngx_memzero(&x, sizeof(wf_http_exchange_t));

    ngx_workflow_learn_name(service, &name);
    wf_control_deregister(&path, (wf_slice_t) { name.data, name.len });

    x.path = path.data;
    x.body = wf_slice("");

    if (!name.failed && !path.failed && wf_http_request(http, &x) == 0) {
        (void) ngx_atomic_cmp_set(&service->shared->probed, key, 0);
    }

    wf_buf_free(&x.answer);
    wf_buf_free(&name);
    wf_buf_free(&path);
}


static ngx_int_t
ngx_workflow_learn_queue(ngx_workflow_learning_t *l, wf_buf_t *text)
{
    int                      rc;
    wf_buf_t                 url = WF_BUF_INIT;
    wf_http_exchange_t       x;
    ngx_workflow_service_t  *service;

    service = l->job.service;

    ngx_memzero(&x, sizeof(wf_http_exchange_t));

    x.path = "/queue_config";

    rc = wf_http_request(service->http, &x);

    if (rc != 0) {
        wf_buf_adds(&l->reason, x.error);

    } else {
        rc = wf_control_queue(&url, (wf_slice_t) { x.answer.data,
                                                   x.answer.len },
                              &l->reason);
    }

    if (rc == 0) {
        wf_buf_add(text, url.data, url.len);

    } else {
        l->error = "";
    }

    wf_buf_free(&x.answer);
    wf_buf_free(&url);

    return rc == 0 ? NGX_OK : NGX_ERROR;
}


/* What was told, to us or to another worker.  Names are looked up here. */

static ngx_int_t
ngx_workflow_learn_read(ngx_workflow_learning_t *l)
{
    u_char                  *feed;
    ngx_str_t                url;
    ngx_workflow_service_t  *service;

    service = l->job.service;

    feed = ngx_strlchr(l->text.data, l->text.data + l->text.len, '\n');

    if (feed == NULL) {
        l->error = "what it has told is lost";
        return NGX_ERROR;
    }

    l->topic_namespace.data = l->text.data;
    l->topic_namespace.len = feed - l->text.data;

    url.data = feed + 1;
    url.len = l->text.data + l->text.len - url.data;

    if (service->consumer.queue->topic_namespace.len) {
        l->topic_namespace = service->consumer.queue->topic_namespace;
    }

    return service->message_queue_config ? ngx_workflow_learn_url(l, &url)
                                         : NGX_OK;
}


static ngx_int_t
ngx_workflow_learn_url(ngx_workflow_learning_t *l, ngx_str_t *url)
{
    char       *error;
    ngx_str_t   text;

    /* kept with a NUL behind it */

    text.len = url->len;
    text.data = ngx_pnalloc(l->pool, url->len + 1);

    if (text.data == NULL) {
        l->error = "no memory";
        return NGX_ERROR;
    }

    (void) ngx_cpystrn(text.data, url->data, url->len + 1);

    error = ngx_workflow_url(l->pool, &l->redis, &text);

    if (error != NGX_CONF_OK) {
        wf_buf_adds(&l->reason, "the URL of its queue is wrong: ");
        wf_buf_adds(&l->reason, error == NGX_CONF_ERROR ? "no memory" : error);
        l->error = "";
        return NGX_ERROR;
    }

    if (l->redis.tls) {
        l->error = "its queue asks for TLS, which takes certificates; declare "
                   "a \"workflow_queue\" in nginx.conf";
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_workflow_learn_done(ngx_workflow_job_t *job)
{
    ngx_workflow_learning_t *l = (ngx_workflow_learning_t *) job;

    ngx_str_t                nothing;
    ngx_msec_t               delay;
    ngx_workflow_service_t  *service;

    service = job->service;

    if (ngx_exiting || service->leaving
        || ngx_workflow_zone_outdated(service->zone))
    {
        /* another control plane may be the one to ask now */

        ngx_workflow_learn_free(l);
        return;
    }

    if (l->error) {
        delay = ngx_workflow_control_delay(service,
                                           service->shared->failures++);

        ngx_log_error(NGX_LOG_ERR, service->log, 0,
                      "workflow_service \"%V\" cannot begin: it has to ask the "
                      "control plane %V for %s: %s%*s; trying again in %Mms",
                      &service->name, &service->control_name,
                      service->message_queue_config ? "the queue"
                                                    : "the topic namespace",
                      l->error, l->reason.len, l->reason.data, delay);

        ngx_str_null(&nothing);
        ngx_workflow_zone_learn(service->zone, service->shared, &nothing);
        ngx_workflow_zone_next_turn(&service->shared->asked, delay);

        ngx_workflow_learn_free(l);
        ngx_add_timer(&service->learn_timer, NGX_WORKFLOW_LEARN_INTERVAL);
        return;
    }

    if (l->asked) {
        service->shared->failures = 0;
        ngx_workflow_zone_learn(service->zone, service->shared, &l->text);
        ngx_workflow_zone_next_turn(&service->shared->asked, 0);
    }

    wf_buf_free(&l->reason);
    service->learned = l->pool;

    ngx_workflow_worker_learned(service, &l->topic_namespace, &l->redis);
}


static void
ngx_workflow_learn_free(ngx_workflow_learning_t *l)
{
    wf_buf_free(&l->reason);
    ngx_destroy_pool(l->pool);
}
