/*
 * A run's life, and how its jobs find threads.
 *
 * A thread that sends the first event of its call will take a job itself when
 * the call returns: it has a claim.  Jobs beyond the claims and beyond the
 * threads that were asked for before need threads of their own.  A call that
 * blocks or takes long gives its claim up.
 */

#include "wf_engine.h"


static char *wf_run_copy(char **pos, wf_slice_t s);
static int wf_run_checkpoint_due(wf_engine_run_t *run);


wf_engine_run_t *
wf_run_create(const wf_graph_t *g, const wf_run_options_t *options)
{
    char                *pos;
    size_t               size, len;
    wf_engine_run_t     *run;
    pthread_condattr_t   attr;

    size = sizeof(wf_engine_run_t) + g->nsteps * sizeof(wf_run_step_t);
    len = options->task_id.len + options->session_id.len + 2;

    run = calloc(1, size + len);
    if (run == NULL) {
        return NULL;
    }

    run->no_result = wf_output_create(wf_slice(WF_STOP_EVENT),
                                      wf_slice("{\"result\": null}"),
                                      wf_slice(""), wf_slice(""));
    if (run->no_result == NULL) {
        free(run);
        return NULL;
    }

    if (pthread_mutex_init(&run->lock, NULL) != 0) {
        goto failed;
    }

    if (pthread_condattr_init(&attr) != 0) {
        (void) pthread_mutex_destroy(&run->lock);
        goto failed;
    }

    if (pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0
        || pthread_cond_init(&run->ended, &attr) != 0)
    {
        (void) pthread_condattr_destroy(&attr);
        (void) pthread_mutex_destroy(&run->lock);
        goto failed;
    }

    (void) pthread_condattr_destroy(&attr);

    run->graph = g;
    run->options = *options;
    run->saved = options->checkpoint_ms ? wf_time() : 0;

    pos = (char *) run + size;
    run->task_id = wf_run_copy(&pos, options->task_id);

    if (options->session_id.data != NULL) {
        run->session_id = wf_run_copy(&pos, options->session_id);
    }

    run->last_call = &run->calls;
    run->last_output = &run->output;

    return run;

failed:

    wf_run_output_free(run->no_result);
    free(run);

    return NULL;
}


static char *
wf_run_copy(char **pos, wf_slice_t s)
{
    char  *copy;

    copy = *pos;

    if (s.len != 0) {
        memcpy(copy, s.data, s.len);
    }

    copy[s.len] = '\0';
    *pos += s.len + 1;

    return copy;
}


void
wf_run_free(wf_engine_run_t *run)
{
    uint32_t          i;
    wf_job_t         *job;
    wf_run_output_t  *out;

    while (run->delayed != NULL) {
        job = run->delayed;
        run->delayed = job->next;
        wf_item_release(job->item);
    }

    wf_queue_free(&run->ready);

    for (i = 0; i < run->graph->nsteps; i++) {
        wf_queue_free(&run->steps[i].waiting);
        wf_kept_free(&run->steps[i].kept);
    }

    while (run->output != NULL) {
        out = run->output;
        run->output = out->next;
        wf_run_output_free(out);
    }

    wf_run_output_free(run->no_result);
    wf_context_free(run);
    wf_subtasks_free(run->subtasks);
    wf_buf_free(&run->error);

    if (run->result != NULL) {
        wf_value_release(run->result);
    }

    (void) pthread_cond_destroy(&run->ended);
    (void) pthread_mutex_destroy(&run->lock);

    free(run);
}


int
wf_run_start(wf_engine_run_t *run, wf_slice_t input)
{
    int  rc;

    rc = wf_run_event(run, WF_START_EVENT, input);
    if (rc != 0) {
        return rc;
    }

    pthread_mutex_lock(&run->lock);

    run->started = 1;
    wf_run_settle(run);

    pthread_mutex_unlock(&run->lock);

    return 0;
}


int
wf_run_event(wf_engine_run_t *run, const char *type, wf_slice_t fields)
{
    wf_item_t              *item;
    wf_slice_t              name;
    const wf_graph_type_t  *t;

    name.data = type;
    name.len = strlen(type);

    t = wf_graph_type(run->graph, name);
    if (t == NULL) {
        return 0;
    }

    item = wf_item_create(t, t->nsteps, fields);
    if (item == NULL) {
        return -1;
    }

    if (strcmp(type, WF_TASK_RESULT_EVENT) == 0) {
        return wf_subtask_result(run, fields, item);
    }

    pthread_mutex_lock(&run->lock);

    if (wf_run_ended(run)) {
        free(item);

    } else {
        wf_item_send(run, item);
    }

    pthread_mutex_unlock(&run->lock);

    return 0;
}


unsigned
wf_run_threads(wf_engine_run_t *run)
{
    uint32_t  n;

    pthread_mutex_lock(&run->lock);

    n = wf_run_need(run);

    run->asked += n;
    run->active += n;

    pthread_mutex_unlock(&run->lock);

    return n;
}


uint32_t
wf_run_need(const wf_engine_run_t *run)
{
    uint32_t  n;

    n = run->asked + run->claims;

    return wf_run_ended(run) || run->nready <= n ? 0 : run->nready - n;
}


void
wf_run_work(wf_engine_run_t *run)
{
    int         news, wake;
    wf_job_t   *job;
    wf_call_t   call;

    wf_call_init(&call, run);
    news = 0;

    pthread_mutex_lock(&run->lock);

    run->asked--;

    while (!wf_run_ended(run)) {

        job = wf_queue_take(&run->ready);
        if (job == NULL) {
            break;
        }

        run->nready--;
        wf_call_begin(&call, job);

        /* The owner learns of a retry, and that the run is to be saved, when
         * the thread returns, or now. */

        wake = news && wf_run_alert(run);

        pthread_mutex_unlock(&run->lock);

        if (wake) {
            run->options.wake(run->options.data);
        }

        wf_call_run(&call);

        pthread_mutex_lock(&run->lock);

        wf_call_end(&call);
        news = wf_run_checkpoint_due(run) || call.delay > 0;
    }

    run->active--;
    wf_run_settle(run);

    pthread_mutex_unlock(&run->lock);

    wf_call_free(&call);
}


/* Between two steps: whether the last save is long ago. */

static int
wf_run_checkpoint_due(wf_engine_run_t *run)
{
    if (run->options.checkpoint_ms == 0 || run->save || wf_run_ended(run)
        || wf_time() - run->saved < (int64_t) run->options.checkpoint_ms)
    {
        return 0;
    }

    run->save = 1;

    return 1;
}


int
wf_run_save_due(wf_engine_run_t *run)
{
    int  due;

    pthread_mutex_lock(&run->lock);

    due = run->save && !wf_run_ended(run);

    pthread_mutex_unlock(&run->lock);

    return due;
}


wf_run_state_t
wf_run_state(wf_engine_run_t *run)
{
    wf_run_state_t  state;

    pthread_mutex_lock(&run->lock);

    state = (wf_run_state_t) run->state;

    if (state == WF_RUN_BUSY && run->active == 0 && run->nready == 0) {
        state = run->delayed != NULL ? WF_RUN_DELAYED : WF_RUN_WAITING;
    }

    pthread_mutex_unlock(&run->lock);

    return state;
}


unsigned
wf_run_active(wf_engine_run_t *run)
{
    uint32_t  n;

    pthread_mutex_lock(&run->lock);

    n = run->active;

    pthread_mutex_unlock(&run->lock);

    return n;
}


int
wf_run_ended(const wf_engine_run_t *run)
{
    return __atomic_load_n(&run->state, __ATOMIC_ACQUIRE) != WF_RUN_BUSY;
}


int
wf_run_leaving(const wf_engine_run_t *run)
{
    const volatile sig_atomic_t  *leaving;

    leaving = run->options.leaving;

    return leaving != NULL && __atomic_load_n(leaving, __ATOMIC_RELAXED);
}


int
wf_run_alert(wf_engine_run_t *run)
{
    if (run->woken || run->options.wake == NULL) {
        return 0;
    }

    run->woken = 1;

    return 1;
}


/* A run that nothing can come of any more fails. */

void
wf_run_settle(wf_engine_run_t *run)
{
    if (run->started && run->nbusy == 0 && !run->graph->waits
        && !wf_subtask_waits(run) && !wf_run_ended(run))
    {
        wf_run_fail_idle(run);
    }
}
