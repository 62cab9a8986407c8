#include "ngx_workflow_run.h"
#include "ngx_workflow_worker.h"


static void ngx_workflow_service_ready(ngx_workflow_consumer_t *consumer);
static void ngx_workflow_service_rung(ngx_workflow_consumer_t *consumer);
static void ngx_workflow_service_notify(ngx_workflow_consumer_t *consumer,
    ngx_str_t *task_id, ngx_uint_t cancel);
static void ngx_workflow_service_hungry(ngx_workflow_service_t *service);
static void ngx_workflow_service_poll(ngx_event_t *ev);


ngx_int_t
ngx_workflow_service_open(ngx_workflow_service_t *service, ngx_cycle_t *cycle)
{
    ngx_rbtree_init(&service->runs, &service->sentinel,
                    ngx_str_rbtree_insert_value);

    service->log = cycle->log;
    service->pool = ngx_thread_pool_get(cycle, &service->thread_pool);
    service->graph = ngx_workflow_plugin_graph(service->plugin,
                                               &service->workflow);

    if (service->pool == NULL) {
        return NGX_ERROR;
    }

    service->executor = ngx_workflow_executor_get(cycle, service->pool);
    service->step_time = NGX_WORKFLOW_WORK_LONG;

    if (service->executor == NULL) {
        return NGX_ERROR;
    }

    if (service->graph == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "workflow_service \"%V\" is not served: plugin \"%V\" "
                      "has no workflow \"%V\" any more",
                      &service->name, &service->plugin->path,
                      &service->workflow);
        return NGX_DECLINED;
    }

    service->shared = ngx_workflow_zone_shared(service->zone, &service->name);

    if (service->shared == NULL) {
        return NGX_ERROR;
    }

    if (service->control_name.len) {
        service->http = wf_http_create(&service->control);

        if (service->http == NULL) {
            return NGX_ERROR;
        }
    }

    service->consumer.ready = ngx_workflow_service_ready;
    service->consumer.rung = ngx_workflow_service_rung;
    service->consumer.message = ngx_workflow_service_receive;
    service->consumer.notify = ngx_workflow_service_notify;

    if (wf_graph_takes_results(service->graph)) {
        service->consumer.heard = ngx_workflow_subtask_heard;
    }

    service->consumer.data = service;

    service->poll.handler = ngx_workflow_service_poll;
    service->poll.data = service;
    service->poll.log = service->log;
    service->poll.cancelable = 1;

    service->claim.handler = ngx_workflow_service_claim;
    service->claim.data = service;
    service->claim.log = service->log;

    ngx_workflow_prefetch_init(service);

    return NGX_OK;
}


ngx_int_t
ngx_workflow_service_start(ngx_workflow_service_t *service)
{
    if (ngx_workflow_queue_join(&service->consumer, service->log) != NGX_OK) {
        return NGX_ERROR;
    }

    service->started = 1;

    if (service->running) {
        ngx_add_timer(&service->poll, service->step_interval);
        ngx_workflow_bell_hungry(&service->consumer, 1);
        ngx_workflow_lease_start(service);
    }

    return NGX_OK;
}


void
ngx_workflow_service_leave(ngx_workflow_service_t *service)
{
    if (service->leaving || service->graph == NULL) {
        return;
    }

    service->leaving = 1;

    ngx_workflow_prefetch_give_back(service, 0);

    if (service->poll.timer_set) {
        ngx_del_timer(&service->poll);
    }

    ngx_workflow_lease_leave(service);
}


ngx_int_t
ngx_workflow_service_close(ngx_workflow_service_t *service)
{
    ngx_rbtree_node_t  *root;

    if (service->graph == NULL) {
        return NGX_OK;
    }

    ngx_workflow_lease_stop(service);

    if (service->waiting_timer.timer_set) {
        ngx_del_timer(&service->waiting_timer);
    }

    if (service->learn_timer.timer_set) {
        ngx_del_timer(&service->learn_timer);
    }

    if (service->register_timer.timer_set) {
        ngx_del_timer(&service->register_timer);
    }

    /* nginx gives up waiting for a thread pool whose queue is full */

    if (service->threads) {
        return NGX_BUSY;
    }

    for ( ;; ) {
        root = service->runs.root;

        if (root == &service->sentinel) {
            break;
        }

        ngx_workflow_run_destroy((ngx_workflow_run_t *) root);
    }

    if (service->http) {
        wf_http_free(service->http);
    }

    if (service->learned) {
        ngx_destroy_pool(service->learned);
    }

    return NGX_OK;
}


void
ngx_workflow_service_slot(ngx_workflow_service_t *service, ngx_int_t n)
{
    service->slots += n;

    ngx_workflow_service_hungry(service);

    if (n < 0) {
        ngx_workflow_prefetch_ended(service);

        if (service->more || service->nwaiting) {

            /* what this turn of the event loop gives back is used at once */

            ngx_post_event(&service->claim, &ngx_posted_events);
        }
    }
}


void
ngx_workflow_service_accepting(ngx_workflow_service_t *service, ngx_int_t n)
{
    service->accepting += n;

    ngx_workflow_service_hungry(service);
}


/* Whether bells are for this worker; others hear what comes meanwhile. */

static void
ngx_workflow_service_hungry(ngx_workflow_service_t *service)
{
    ngx_workflow_bell_hungry(&service->consumer,
                             service->slots + service->accepting
                             < service->max_concurrent_tasks);
}


void
ngx_workflow_service_due(ngx_workflow_service_t *service, ngx_msec_t delay)
{
    /* whoever polls first after that time claims it; so that one does in time,
     * this worker's next poll is brought forward */

    if (service->poll.timer_set
        && (ngx_msec_int_t) (service->poll.timer.key - ngx_current_msec - delay)
           > 0)
    {
        ngx_add_timer(&service->poll, delay);
    }
}


void
ngx_workflow_service_outstanding(ngx_workflow_service_t *service,
    redisReply *reply)
{
    if (reply->type == REDIS_REPLY_INTEGER) {
        service->shared->outstanding = (ngx_atomic_uint_t) reply->integer;
    }
}


static void
ngx_workflow_service_ready(ngx_workflow_consumer_t *consumer)
{
    ngx_workflow_service_t  *service;

    service = consumer->data;

    ngx_post_event(&service->claim, &ngx_posted_events);
}


static void
ngx_workflow_service_rung(ngx_workflow_consumer_t *consumer)
{
    ngx_workflow_service_t  *service;

    service = consumer->data;
    service->more = 1;
    service->rung = 1;

    ngx_post_event(&service->claim, &ngx_posted_events);
}


static void
ngx_workflow_service_notify(ngx_workflow_consumer_t *consumer,
    ngx_str_t *task_id, ngx_uint_t cancel)
{
    ngx_workflow_run_t  *run;

    run = ngx_workflow_run_find(consumer->data, task_id);

    if (run == NULL) {
        return;
    }

    if (cancel) {
        ngx_workflow_run_cancel(run);

    } else {
        ngx_workflow_run_notify(run);
    }
}


static void
ngx_workflow_service_poll(ngx_event_t *ev)
{
    ngx_workflow_service_t  *service;

    service = ev->data;

    if (service->leaving) {
        return;
    }

    if (ngx_exiting) {

        /* the connection that should have told was not there */

        ngx_workflow_worker_leave();
        return;
    }

    ngx_add_timer(&service->poll, service->step_interval);

    ngx_workflow_service_claim(ev);
}
