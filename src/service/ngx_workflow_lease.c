/*
 * Leases: what this worker runs is its own as long as it says so in time.  What
 * a worker has left behind is taken over when its lease ends, and at once if it
 * ran on this machine and its process is gone.
 */

#include "ngx_workflow_run.h"


#define NGX_WORKFLOW_REAP_INTERVAL  1000
#define NGX_WORKFLOW_RENEW_TASKS    1024


/* A renewal under way: the tasks, in the order of the answers. */

typedef struct {
    ngx_workflow_service_t  *service;
    ngx_msec_t               asked_at;
    ngx_uint_t               n;
    ngx_workflow_task_t      tasks[1];
} ngx_workflow_renewal_t;


static void ngx_workflow_lease_timer(ngx_event_t *ev);
static void ngx_workflow_lease_check(ngx_workflow_service_t *service);
static void ngx_workflow_lease_renew(ngx_workflow_service_t *service);
static ngx_int_t ngx_workflow_lease_send(ngx_workflow_service_t *service,
    ngx_rbtree_node_t **node);
static ngx_rbtree_node_t *ngx_workflow_lease_first(
    ngx_workflow_service_t *service);
static void ngx_workflow_lease_renewed(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_lease_reap(ngx_event_t *ev);
static void ngx_workflow_lease_workers(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_lease_reaped(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_lease_drain(ngx_event_t *ev);


void
ngx_workflow_lease_start(ngx_workflow_service_t *service)
{
    service->lease_timer.handler = ngx_workflow_lease_timer;
    service->lease_timer.data = service;
    service->lease_timer.log = service->log;
    service->lease_timer.cancelable = 1;

    service->reap_timer.handler = ngx_workflow_lease_reap;
    service->reap_timer.data = service;
    service->reap_timer.log = service->log;
    service->reap_timer.cancelable = 1;

    service->drain_timer.handler = ngx_workflow_lease_drain;
    service->drain_timer.data = service;
    service->drain_timer.log = service->log;
    service->drain_timer.cancelable = 1;

    ngx_add_timer(&service->lease_timer, service->lease / 3);
    ngx_add_timer(&service->reap_timer, NGX_WORKFLOW_REAP_INTERVAL);
}


/* What still runs when the worker has to leave is handed back. */

void
ngx_workflow_lease_leave(ngx_workflow_service_t *service)
{
    /* it runs no tasks, or does not know yet where they are */

    if (!service->lease_timer.timer_set) {
        return;
    }

    if (service->reap_timer.timer_set) {
        ngx_del_timer(&service->reap_timer);
    }

    ngx_add_timer(&service->drain_timer, service->drain_timeout);
}


void
ngx_workflow_lease_stop(ngx_workflow_service_t *service)
{
    if (service->lease_timer.timer_set) {
        ngx_del_timer(&service->lease_timer);
    }

    if (service->reap_timer.timer_set) {
        ngx_del_timer(&service->reap_timer);
    }

    if (service->drain_timer.timer_set) {
        ngx_del_timer(&service->drain_timer);
    }
}


static void
ngx_workflow_lease_timer(ngx_event_t *ev)
{
    ngx_workflow_service_t  *service;

    service = ev->data;

    ngx_add_timer(&service->lease_timer, service->lease / 3);

    ngx_workflow_lease_check(service);
    ngx_workflow_lease_renew(service);
}


/* Leases that could not be renewed, because Redis was away or this process
 * stood still. */

static void
ngx_workflow_lease_check(ngx_workflow_service_t *service)
{
    ngx_workflow_run_t  *run;
    ngx_rbtree_node_t   *node, *next;

    for (node = ngx_workflow_lease_first(service); node; node = next) {

        next = ngx_rbtree_next(&service->runs, node);
        run = (ngx_workflow_run_t *) node;

        /* an end that is on its way may still be in time: the script tells */

        if (!run->finishing && !run->parking
            && (ngx_msec_int_t) (ngx_current_msec - run->leased) >= 0)
        {
            ngx_workflow_run_lose(run, "its lease could not be renewed");
            ngx_workflow_run_turn(run);
        }
    }
}


static void
ngx_workflow_lease_renew(ngx_workflow_service_t *service)
{
    ngx_rbtree_node_t  *node;

    node = ngx_workflow_lease_first(service);

    while (node) {
        if (ngx_workflow_lease_send(service, &node) != NGX_OK) {
            return;
        }
    }
}


static ngx_int_t
ngx_workflow_lease_send(ngx_workflow_service_t *service,
    ngx_rbtree_node_t **node)
{
    size_t                   size;
    u_char                  *p;
    ngx_uint_t               n;
    ngx_rbtree_node_t       *first;
    ngx_workflow_run_t      *run;
    ngx_workflow_args_t      args;
    ngx_workflow_renewal_t  *renewal;

    first = *node;
    size = sizeof(ngx_workflow_renewal_t);

    for (n = 0; *node && n < NGX_WORKFLOW_RENEW_TASKS; n++) {
        run = (ngx_workflow_run_t *) *node;
        size += sizeof(ngx_workflow_task_t) + run->task.id.len
                + run->task.claim_text.len;
        *node = ngx_rbtree_next(&service->runs, *node);
    }

    renewal = ngx_calloc(size, service->log);
    if (renewal == NULL) {
        return NGX_ERROR;
    }

    renewal->service = service;
    renewal->asked_at = ngx_current_msec;

    p = (u_char *) &renewal->tasks[n];

    ngx_workflow_task_renew_init(&service->consumer, &args, service->lease);

    while (renewal->n < n) {
        run = (ngx_workflow_run_t *) first;

        renewal->tasks[renewal->n].id.data = p;
        renewal->tasks[renewal->n].id.len = run->task.id.len;
        p = ngx_cpymem(p, run->task.id.data, run->task.id.len);

        renewal->tasks[renewal->n].claim_text.data = p;
        renewal->tasks[renewal->n].claim_text.len = run->task.claim_text.len;
        p = ngx_cpymem(p, run->task.claim_text.data,
                       run->task.claim_text.len);

        ngx_workflow_task_renew_add(&args, &renewal->tasks[renewal->n++]);

        first = ngx_rbtree_next(&service->runs, first);
    }

    if (ngx_workflow_call(service->consumer.queue, &args, NGX_WORKFLOW_ONCE,
                          ngx_workflow_lease_renewed, renewal)
        == NULL)
    {
        ngx_free(renewal);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_rbtree_node_t *
ngx_workflow_lease_first(ngx_workflow_service_t *service)
{
    if (service->runs.root == &service->sentinel) {
        return NULL;
    }

    return ngx_rbtree_min(service->runs.root, &service->sentinel);
}


static void
ngx_workflow_lease_renewed(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_uint_t               i;
    ngx_workflow_run_t      *run;
    ngx_workflow_task_t     *task;
    ngx_workflow_renewal_t  *renewal;

    renewal = call->data;

    for (i = 0; reply && reply->type == REDIS_REPLY_ARRAY
                && reply->elements == renewal->n && i < renewal->n; i++)
    {
        task = &renewal->tasks[i];

        run = ngx_workflow_run_find(renewal->service, &task->id);

        if (run == NULL
            || run->task.claim_text.len != task->claim_text.len
            || ngx_memcmp(run->task.claim_text.data, task->claim_text.data,
                          task->claim_text.len)
               != 0)
        {
            continue;
        }

        switch (reply->element[i]->integer) {

        case 0:
            if (!run->finishing && !run->parking) {
                ngx_workflow_run_lose(run, "another worker has taken it over");
                ngx_workflow_run_turn(run);
            }

            break;

        case 2:
            run->leased = renewal->asked_at + renewal->service->lease;
            ngx_workflow_run_cancel(run);
            break;

        default:
            run->leased = renewal->asked_at + renewal->service->lease;
        }
    }

    ngx_free(renewal);
}


static void
ngx_workflow_lease_reap(ngx_event_t *ev)
{
    ngx_workflow_service_t  *service;

    service = ev->data;

    ngx_add_timer(&service->reap_timer, NGX_WORKFLOW_REAP_INTERVAL);

    (void) ngx_workflow_task_workers(&service->consumer,
                                     ngx_workflow_lease_workers, service);
}


/* Names end with "<pid>-<random>". */

static void
ngx_workflow_lease_workers(ngx_workflow_call_t *call, redisReply *reply)
{
    size_t                   i;
    u_char                  *p, *last, *dash;
    ngx_int_t                pid;
    ngx_str_t                name, *machine;
    ngx_workflow_service_t  *service;

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        return;
    }

    service = call->data;
    machine = &service->consumer.queue->machine;

    for (i = 0; i < reply->elements; i++) {

        name.data = (u_char *) reply->element[i]->str;
        name.len = reply->element[i]->len;

        if (name.len <= machine->len) {
            continue;
        }

        p = name.data + machine->len;
        last = name.data + name.len;
        dash = ngx_strlchr(p, last, '-');
        pid = dash ? ngx_atoi(p, dash - p) : NGX_ERROR;

        if (pid <= 0 || kill((ngx_pid_t) pid, 0) == 0
            || ngx_errno != NGX_ESRCH)
        {
            continue;
        }

        (void) ngx_workflow_task_reap(&service->consumer, &name,
                                      ngx_workflow_lease_reaped, service);
    }
}


static void
ngx_workflow_lease_reaped(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_workflow_service_t  *service;

    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER
        || reply->integer == 0)
    {
        return;
    }

    service = call->data;

    ngx_log_error(NGX_LOG_WARN, service->log, 0,
                  "workflow_service \"%V\": a worker process is gone, %L "
                  "of its tasks are taken over", &service->name,
                  (int64_t) reply->integer);
}


static void
ngx_workflow_lease_drain(ngx_event_t *ev)
{
    ngx_workflow_run_t      *run;
    ngx_rbtree_node_t       *node, *next;
    ngx_workflow_service_t  *service;

    service = ev->data;

    /* or what is handed back would come again */

    if (service->claiming && service->recovering) {
        ngx_add_timer(&service->drain_timer, 100);
        return;
    }

    for (node = ngx_workflow_lease_first(service); node; node = next) {

        next = ngx_rbtree_next(&service->runs, node);
        run = (ngx_workflow_run_t *) node;

        ngx_workflow_run_hand_back(run);
    }

    /* what could not be saved for want of memory, or is still to come, a moment
     * later */

    if (ngx_workflow_lease_first(service) || service->accepting) {
        ngx_add_timer(&service->drain_timer, 100);
    }
}
