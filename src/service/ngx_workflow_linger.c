/*
 * On some machines, virtual ones above all, waking a process that sleeps takes
 * longer than Redis takes to answer, or a short step to run.  There a worker
 * that has one task and nothing else stays awake for a moment when something is
 * to come soon: its event loop goes round without waiting.  Where what comes
 * takes longer, as from a Redis far away, it learns to sleep at once.
 */

#include "ngx_workflow_run.h"


#define NGX_WORKFLOW_LINGER        200000    /* nanoseconds */
#define NGX_WORKFLOW_LINGER_WAKE   20000     /* that waking takes at least */
#define NGX_WORKFLOW_LINGER_VAIN   8         /* times, then it sleeps */
#define NGX_WORKFLOW_LINGER_AGAIN  1000      /* milliseconds, and tries again */


static void ngx_workflow_linger_handler(ngx_event_t *ev);


static ngx_event_t  ngx_workflow_linger_event;
static int64_t      ngx_workflow_linger_until;    /* 0: nothing is to come */
static ngx_uint_t   ngx_workflow_linger_vain;
static ngx_msec_t   ngx_workflow_linger_last;
static int64_t      ngx_workflow_linger_wake;     /* what waking takes, mean */


void
ngx_workflow_linger(void)
{
    if (ngx_workflow_linger_wake < NGX_WORKFLOW_LINGER_WAKE) {
        return;
    }

    if (ngx_workflow_linger_vain >= NGX_WORKFLOW_LINGER_VAIN) {

        if (ngx_current_msec - ngx_workflow_linger_last
            < NGX_WORKFLOW_LINGER_AGAIN)
        {
            return;
        }

        ngx_workflow_linger_vain = NGX_WORKFLOW_LINGER_VAIN - 1;
    }

    ngx_workflow_linger_until = wf_time_ns() + NGX_WORKFLOW_LINGER;

    ngx_workflow_linger_event.handler = ngx_workflow_linger_handler;
    ngx_workflow_linger_event.log = ngx_cycle->log;

    ngx_post_event(&ngx_workflow_linger_event, &ngx_posted_next_events);
}


/* It has come. */

void
ngx_workflow_linger_end(void)
{
    if (ngx_workflow_linger_until) {
        ngx_workflow_linger_until = 0;
        ngx_workflow_linger_vain = 0;
    }
}


void
ngx_workflow_linger_woken(int64_t took)
{
    took = ngx_min(took, NGX_WORKFLOW_LINGER);

    ngx_workflow_linger_wake += (took - ngx_workflow_linger_wake) / 8;
}


static void
ngx_workflow_linger_handler(ngx_event_t *ev)
{
    if (ngx_workflow_linger_until == 0) {
        return;
    }

    if (wf_time_ns() < ngx_workflow_linger_until) {
        ngx_post_event(ev, &ngx_posted_next_events);
        return;
    }

    ngx_workflow_linger_until = 0;
    ngx_workflow_linger_vain++;
    ngx_workflow_linger_last = ngx_current_msec;
}
