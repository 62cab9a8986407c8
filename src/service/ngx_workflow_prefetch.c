/*
 * Tasks that a worker claims ahead of its free slots, so that a slot that
 * becomes free need not wait for Redis: as many as have ended in the last few
 * milliseconds, which is none when they end more rarely.  They have leases,
 * like those that run; those that had to wait longer than was thought are given
 * back.
 */

#include "ngx_workflow_run.h"


#define NGX_WORKFLOW_PREFETCH         256
#define NGX_WORKFLOW_PREFETCH_PERIOD  5
#define NGX_WORKFLOW_PREFETCH_WAIT    50


static void ngx_workflow_prefetch_timer(ngx_event_t *ev);


void
ngx_workflow_prefetch_init(ngx_workflow_service_t *service)
{
    ngx_queue_init(&service->waiting);

    service->waiting_timer.handler = ngx_workflow_prefetch_timer;
    service->waiting_timer.data = service;
    service->waiting_timer.log = service->log;
    service->waiting_timer.cancelable = 1;
}


/* A run has given its slot back. */

void
ngx_workflow_prefetch_ended(ngx_workflow_service_t *service)
{
    ngx_msec_t  elapsed;

    service->ended++;

    elapsed = ngx_current_msec - service->ended_since;

    if (elapsed >= NGX_WORKFLOW_PREFETCH_PERIOD) {
        service->recent = service->ended * NGX_WORKFLOW_PREFETCH_PERIOD
                          / elapsed;
        service->ended = 0;
        service->ended_since = ngx_current_msec;
    }
}


/* How many tasks to ask for. */

ngx_uint_t
ngx_workflow_prefetch_count(ngx_workflow_service_t *service)
{
    ngx_uint_t  n, ahead, taken;

    /* those that are claimed as they are put into Redis take slots, too; but
     * what Redis refuses now must not keep others from ending */

    taken = service->slots;

    if (!service->consumer.queue->retry.timer_set) {
        taken += service->accepting;
    }

    n = taken < service->max_concurrent_tasks
        ? service->max_concurrent_tasks - taken : 0;

    ahead = ngx_current_msec - service->ended_since
            < 2 * NGX_WORKFLOW_PREFETCH_PERIOD
            ? ngx_min(service->recent, NGX_WORKFLOW_PREFETCH) : 0;

    /* not one by one */

    if (service->nwaiting > ahead / 2) {
        ahead = service->nwaiting;
    }

    return n + ahead - service->nwaiting;
}


/* A claimed task for which there is no slot. */

void
ngx_workflow_prefetch_add(ngx_workflow_run_t *run)
{
    ngx_workflow_service_t  *service;

    service = run->service;

    run->waiting = 1;
    service->nwaiting++;
    ngx_queue_insert_tail(&service->waiting, &run->queue);

    if (!service->waiting_timer.timer_set) {
        ngx_add_timer(&service->waiting_timer, NGX_WORKFLOW_PREFETCH_WAIT);
    }
}


void
ngx_workflow_prefetch_remove(ngx_workflow_run_t *run)
{
    if (run->waiting) {
        run->waiting = 0;
        run->service->nwaiting--;
        ngx_queue_remove(&run->queue);
    }
}


/* Begin those for which there are slots. */

void
ngx_workflow_prefetch_begin(ngx_workflow_service_t *service)
{
    ngx_queue_t         *q;
    ngx_workflow_run_t  *run;

    while (service->slots < service->max_concurrent_tasks
           && !ngx_queue_empty(&service->waiting))
    {
        q = ngx_queue_head(&service->waiting);
        run = ngx_queue_data(q, ngx_workflow_run_t, queue);

        ngx_workflow_prefetch_remove(run);

        ngx_workflow_run_begin(run);
    }
}


static void
ngx_workflow_prefetch_timer(ngx_event_t *ev)
{
    ngx_workflow_service_t  *service;

    service = ev->data;

    ngx_workflow_prefetch_give_back(service, NGX_WORKFLOW_PREFETCH_WAIT);

    if (!ngx_queue_empty(&service->waiting)) {
        ngx_add_timer(ev, NGX_WORKFLOW_PREFETCH_WAIT);
    }
}


/* For other workers: those that have waited for so many milliseconds.  What
 * cannot be given back yet stays. */

void
ngx_workflow_prefetch_give_back(ngx_workflow_service_t *service,
    ngx_msec_t wait)
{
    ngx_queue_t         *q, *next;
    ngx_workflow_run_t  *run;

    /* or it would come again; the timer goes on */

    if (service->claiming && service->recovering) {
        return;
    }

    for (q = ngx_queue_head(&service->waiting);
         q != ngx_queue_sentinel(&service->waiting);
         q = next)
    {
        next = ngx_queue_next(q);
        run = ngx_queue_data(q, ngx_workflow_run_t, queue);

        if (ngx_current_msec - run->started < wait) {
            return;
        }

        service->recent = 0;

        ngx_workflow_run_give_back(run);
    }
}
