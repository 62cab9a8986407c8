/*
 * nginx lets a worker exit when no timer is left that is not cancelable: one is
 * set as long as anything is held.
 */

#include "ngx_workflow_queue.h"


#define NGX_WORKFLOW_HOLD  60000


static void ngx_workflow_hold_handler(ngx_event_t *ev);


static ngx_uint_t   ngx_workflow_holds;
static ngx_event_t  ngx_workflow_hold_timer;


void
ngx_workflow_hold(void)
{
    ngx_event_t  *ev;

    if (ngx_workflow_holds++) {
        return;
    }

    ev = &ngx_workflow_hold_timer;

    if (!ev->timer_set) {
        ev->handler = ngx_workflow_hold_handler;
        ev->data = ev;
        ev->log = ngx_cycle->log;
    }

    /* the timer stays set between holds, and counts only in the end */

    ev->cancelable = 0;

    if (!ev->timer_set) {
        ngx_add_timer(ev, NGX_WORKFLOW_HOLD);
    }
}


void
ngx_workflow_release(void)
{
    if (--ngx_workflow_holds == 0) {
        ngx_workflow_hold_timer.cancelable = 1;
    }
}


static void
ngx_workflow_hold_handler(ngx_event_t *ev)
{
    if (ngx_workflow_holds) {
        ngx_add_timer(ev, NGX_WORKFLOW_HOLD);
    }
}
