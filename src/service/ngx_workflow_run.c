#include "ngx_workflow_run.h"


#define NGX_WORKFLOW_AGAIN  100


typedef struct {
    ngx_workflow_work_t  work;
    ngx_workflow_run_t  *run;
} ngx_workflow_thread_t;


static void ngx_workflow_run_threads(ngx_workflow_run_t *run);
static ngx_uint_t ngx_workflow_run_is_alone(ngx_workflow_run_t *run);
static void ngx_workflow_run_thread(ngx_workflow_work_t *work);
static void ngx_workflow_run_returned(ngx_workflow_work_t *work);
static ngx_int_t ngx_workflow_run_go_on(ngx_workflow_run_t *run,
    wf_run_state_t state);
static void ngx_workflow_run_drop_output(ngx_workflow_run_t *run);
static void ngx_workflow_run_discard(ngx_workflow_run_t *run);
static void ngx_workflow_run_unlink(ngx_workflow_run_t *run);
static void ngx_workflow_run_set_timer(ngx_workflow_run_t *run);
static void ngx_workflow_run_free_slot(ngx_workflow_run_t *run);


ngx_workflow_run_t *
ngx_workflow_run_find(ngx_workflow_service_t *service, ngx_str_t *task_id)
{
    ngx_str_node_t  *node;

    node = ngx_str_rbtree_lookup(&service->runs, task_id,
                                 ngx_murmur_hash2(task_id->data, task_id->len));

    return node ? (ngx_workflow_run_t *) node : NULL;
}


/*
 * Everything that may have changed is looked at: what the run has put out, the
 * threads that it asks for, whether it rests or has ended.  The run may be gone
 * afterwards.
 */

void
ngx_workflow_run_turn(ngx_workflow_run_t *run)
{
    ngx_int_t       rc;
    wf_run_state_t  state;

    if (run->timer.timer_set) {
        ngx_del_timer(&run->timer);
    }

    run->again = 0;
    run->pause = 0;

    state = wf_run_state(run->engine);

    if (run->waiting && !run->lost && state < WF_RUN_COMPLETED) {
        return;
    }

    /* a run that goes on keeps what it puts out until the last of it is
     * published, and waits when it is too much */

    if (state >= WF_RUN_WAITING || !run->emitting) {
        ngx_workflow_run_add_output(run, wf_run_take_output(run->engine));

        if (state < WF_RUN_WAITING) {

            /* when it has come to rest meanwhile, all its output is there */

            state = wf_run_state(run->engine);

            if (state >= WF_RUN_WAITING) {
                ngx_workflow_run_add_output(run,
                                            wf_run_take_output(run->engine));
            }
        }
    }

    rc = NGX_OK;

    if (run->lost) {
        ngx_workflow_run_drop_output(run);

    } else if (state >= WF_RUN_COMPLETED) {

        if (!run->finishing) {

            /* a run that has failed may send the same tasks again */

            if (state == WF_RUN_COMPLETED) {
                rc = ngx_workflow_subtask_send(run);
            }

            if (rc == NGX_OK) {
                rc = ngx_workflow_run_finish(run, state);
            }
        }

    } else {
        rc = ngx_workflow_run_go_on(run, state);
    }

    if (rc == NGX_ERROR) {
        run->again = 1;
    }

    if (run->threads == 0
        && (state >= WF_RUN_COMPLETED || run->parked || run->lost))
    {
        ngx_workflow_run_free_slot(run);

        if (run->calls == 0 && (run->finished || run->parked || run->lost)) {
            ngx_workflow_run_destroy(run);
            return;
        }
    }

    ngx_workflow_run_set_timer(run);
}


static ngx_int_t
ngx_workflow_run_go_on(ngx_workflow_run_t *run, wf_run_state_t state)
{
    ngx_int_t  rc, sent;

    if (ngx_workflow_run_is_loading(run)) {
        return ngx_workflow_session_load(run);
    }

    rc = NGX_OK;

    if (state != WF_RUN_WAITING) {

        if (run->emitting) {
            /* the answer is waited for */

        } else if (!run->saving && wf_run_save_due(run->engine)) {
            rc = ngx_workflow_run_checkpoint(run, 0);

        } else if (run->output) {
            rc = ngx_workflow_run_emit(run);
        }
    }

    ngx_workflow_run_threads(run);
    ngx_workflow_run_fetch(run);

    sent = ngx_workflow_subtask_send(run);

    if (sent == NGX_ERROR) {
        rc = NGX_ERROR;
    }

    /* what it has put out goes with it: see run_turn() */

    if (state == WF_RUN_WAITING && sent == NGX_OK && run->threads == 0
        && run->owed == 0 && !run->fetching && !run->parking && !run->parked)
    {
        rc = ngx_workflow_run_park(run);
    }

    return rc;
}


static void
ngx_workflow_run_free_slot(ngx_workflow_run_t *run)
{
    if (run->slot) {
        run->slot = 0;
        ngx_workflow_service_slot(run->service, -1);
    }
}


void
ngx_workflow_run_destroy(ngx_workflow_run_t *run)
{
    ngx_workflow_run_free_slot(run);
    ngx_workflow_wake_cancel(run);

    if (run->timer.timer_set) {
        ngx_del_timer(&run->timer);
    }

    ngx_workflow_prefetch_remove(run);
    ngx_workflow_run_drop_output(run);
    ngx_workflow_subtask_drop(run);
    ngx_workflow_run_unlink(run);

    wf_buf_free(&run->session_error);
    wf_run_free(run->engine);
    ngx_free(run);

    ngx_workflow_release();
}


void
ngx_workflow_run_add_output(ngx_workflow_run_t *run, wf_run_output_t *output)
{
    *run->last_output = output;

    for ( /* void */ ; output; output = output->next) {
        run->last_output = &output->next;
    }
}


static void
ngx_workflow_run_drop_output(ngx_workflow_run_t *run)
{
    wf_run_output_t  *out;

    while (run->output) {
        out = run->output;
        run->output = out->next;
        wf_run_output_free(out);
    }

    run->last_output = &run->output;
}


void
ngx_workflow_run_lose(ngx_workflow_run_t *run, const char *why)
{
    if (run->lost) {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, run->service->log, 0,
                  "workflow_service \"%V\": task \"%V\" is not this worker's "
                  "any more, %s; what it still does is discarded",
                  &run->service->name, &run->task.id, why);

    ngx_workflow_run_discard(run);
}


static void
ngx_workflow_run_discard(ngx_workflow_run_t *run)
{
    run->lost = 1;

    ngx_workflow_prefetch_remove(run);
    ngx_workflow_run_unlink(run);

    wf_run_cancel(run->engine);

    ngx_workflow_session_abandon(run);
}


void
ngx_workflow_run_cancel(ngx_workflow_run_t *run)
{
    wf_run_cancel(run->engine);
    ngx_workflow_run_turn(run);
}


void
ngx_workflow_run_hand_back(ngx_workflow_run_t *run)
{
    if (run->lost || run->parked || run->finishing
        || wf_run_state(run->engine) >= WF_RUN_COMPLETED)
    {
        return;
    }

    if (ngx_workflow_run_checkpoint(run, 1) == NGX_OK) {
        ngx_workflow_run_lose(run, "the worker leaves");
    }

    /* what could not be saved is tried again by the drain timer */

    ngx_workflow_run_turn(run);
}


void
ngx_workflow_run_give_back(ngx_workflow_run_t *run)
{
    if (ngx_workflow_run_checkpoint(run, 1) == NGX_OK) {
        ngx_workflow_run_discard(run);
        ngx_workflow_run_turn(run);
    }
}


/* Another run of this worker may have the task from now on. */

static void
ngx_workflow_run_unlink(ngx_workflow_run_t *run)
{
    if (!run->unlinked) {
        run->unlinked = 1;
        ngx_rbtree_delete(&run->service->runs, &run->node.node);
    }
}


static void
ngx_workflow_run_threads(ngx_workflow_run_t *run)
{
    ngx_workflow_thread_t  *thread;

    run->owed += wf_run_threads(run->engine);

    while (run->owed) {

        thread = ngx_calloc(sizeof(ngx_workflow_thread_t), run->service->log);
        if (thread == NULL) {
            run->again = 1;
            return;
        }

        thread->run = run;
        thread->work.run = ngx_workflow_run_thread;
        thread->work.done = ngx_workflow_run_returned;
        thread->work.mean = &run->service->step_time;

        run->owed--;
        run->threads++;
        run->service->threads++;

        ngx_workflow_executor_add(run->service->executor, &thread->work);

        if (!ngx_workflow_run_is_alone(run)) {
            continue;
        }

        /* before whoever has sent the task is answered */

        ngx_workflow_executor_start(run->service->executor);

        if (run->service->step_time < NGX_WORKFLOW_WORK_SHORT) {
            ngx_workflow_linger();
        }
    }
}


/* Whether it is all that the worker does for its service, on one thread. */

static ngx_uint_t
ngx_workflow_run_is_alone(ngx_workflow_run_t *run)
{
    return run->service->sparse && run->service->slots == 1
           && run->service->threads == 1 && run->service->nwaiting == 0;
}


static void
ngx_workflow_run_thread(ngx_workflow_work_t *work)
{
    ngx_workflow_thread_t  *thread = (ngx_workflow_thread_t *) work;

    wf_run_work(thread->run->engine);
}


static void
ngx_workflow_run_returned(ngx_workflow_work_t *work)
{
    ngx_workflow_run_t     *run;
    ngx_workflow_thread_t  *thread;

    thread = (ngx_workflow_thread_t *) work;
    run = thread->run;

    ngx_workflow_linger_end();

    if (ngx_workflow_run_is_alone(run)) {
        ngx_workflow_linger_woken(work->waited);
    }

    ngx_free(thread);

    run->begun = 1;
    run->threads--;
    run->service->threads--;

    ngx_workflow_run_turn(run);
}


static void
ngx_workflow_run_set_timer(ngx_workflow_run_t *run)
{
    int64_t         delay, left;
    wf_run_state_t  state;

    delay = -1;
    state = wf_run_state(run->engine);

    if (state < WF_RUN_WAITING) {
        delay = wf_run_delay(run->engine);

        if (run->service->timeout) {
            left = (int64_t) run->service->timeout - (int64_t) run->spent
                   - (int64_t) (ngx_current_msec - run->started);
            left = ngx_max(left, 0);

            if (delay < 0 || left < delay) {
                delay = left;
            }
        }
    }

    if (run->fetch && !run->begun && !ngx_workflow_run_is_loading(run)) {
        left = (int64_t) run->service->step_interval
               - (int64_t) (ngx_current_msec - run->started);
        left = ngx_max(left, 0);

        if (delay < 0 || left < delay) {
            delay = left;
        }
    }

    if (run->pause && (delay < 0 || (ngx_msec_t) delay > run->pause)) {
        delay = run->pause;
    }

    if (run->again && (delay < 0 || delay > NGX_WORKFLOW_AGAIN)) {
        delay = NGX_WORKFLOW_AGAIN;
    }

    if (delay >= 0) {
        ngx_add_timer(&run->timer, (ngx_msec_t) delay);
    }
}


void
ngx_workflow_run_timer(ngx_event_t *ev)
{
    ngx_msec_t           spent;
    ngx_workflow_run_t  *run;

    run = ev->data;

    spent = run->spent + (ngx_current_msec - run->started);

    if (run->service->timeout && spent >= run->service->timeout
        && wf_run_state(run->engine) < WF_RUN_WAITING)
    {
        run->timed_out = 1;
        wf_run_time_out(run->engine,
                        (char *) run->service->timeout_text.data);
    }

    wf_run_wake(run->engine);

    ngx_workflow_run_turn(run);
}
