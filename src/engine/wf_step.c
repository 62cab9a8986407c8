/*
 * One call of a step: what it is lent, what becomes of its status.
 */

#include "wf_engine.h"


/* Behind the header comes memory that is aligned as the header is. */

struct wf_chunk_s {
    union {
        wf_chunk_t  *next;
        wf_align_t   align;
    } u;
};


#define WF_CHUNK_SIZE  4096


static void wf_call_reset(wf_call_t *call);
static void wf_call_explain(wf_call_t *call, const wf_graph_step_t *step);
static int64_t wf_call_retry(wf_call_t *call, const wf_graph_step_t *step);
static wf_slice_t wf_call_text(const wf_call_t *call);


void
wf_call_init(wf_call_t *call, wf_engine_run_t *run)
{
    memset(call, 0, offsetof(wf_call_t, arena));

    call->run.host = &wf_host;
    call->engine = run;

    call->info.workflow = run->graph->name;
    call->info.task_id = run->task_id;
    call->info.session_id = run->session_id;
    call->info.attempt = run->options.attempt;

    wf_call_reset(call);
}


void
wf_call_free(wf_call_t *call)
{
    wf_buf_free(&call->error);
    wf_buf_free(&call->scratch);
}


void
wf_call_begin(wf_call_t *call, wf_job_t *job)
{
    wf_call_t              *sender;
    wf_engine_run_t        *run;
    const wf_graph_step_t  *step;

    run = call->engine;
    step = &run->graph->steps[job->step];

    for (sender = run->calls; sender != NULL; sender = sender->next) {
        if (sender->number == job->item->sender) {
            sender->overtaken = 1;
        }
    }

    if (step->has_retry && !job->timed) {
        job->timed = 1;
        job->first = wf_time();
    }

    call->job = job;
    call->number = ++run->ncalls;
    call->streamed = 0;
    call->again = 0;
    call->overtaken = 0;
    call->info.step = step->name;
    call->info.retries = job->retries;

    if (job->sent != NULL) {
        wf_subtask_begin(call);
    }

    call->next = NULL;
    call->prev = run->last_call;
    *run->last_call = call;
    run->last_call = &call->next;
}


void
wf_call_run(wf_call_t *call)
{
    wf_job_t               *job;
    const wf_graph_step_t  *step;

    job = call->job;
    step = &call->engine->graph->steps[job->step];

    call->error.len = 0;
    call->error.failed = 0;
    call->delay = -1;
    call->counts = 1;

    call->status = step->run(&call->run, &job->item->event);

    if (call->status == WF_OK || wf_run_ended(call->engine)) {
        return;
    }

    if (call->status == WF_CANCELLED && wf_run_leaving(call->engine)) {
        call->delay = WF_LEAVING_DELAY;
        call->counts = 0;
        return;
    }

    wf_call_explain(call, step);

    if (call->status != WF_FINAL && step->has_retry) {
        call->delay = wf_call_retry(call, step);
    }
}


static void
wf_call_explain(wf_call_t *call, const wf_graph_step_t *step)
{
    char  number[16];

    switch (call->status) {

    case WF_ERROR:
    case WF_FINAL:
    case WF_CANCELLED:

        if (call->error.len == 0 && !call->error.failed) {
            (void) wf_call_error(call, call->status,
                                 "The step gave no error text.", NULL);
        }

        break;

    case WF_AGAIN:

        if (call->error.len != 0 || call->error.failed) {
            break;
        }

        /* fall through */

    default:

        (void) snprintf(number, sizeof(number), "%d", (int) call->status);
        (void) wf_call_error(call, WF_ERROR, "Step function ", step->name,
                             " returned ", number, " instead of a status.",
                             NULL);
    }
}


static int64_t
wf_call_retry(wf_call_t *call, const wf_graph_step_t *step)
{
    char                      *text;
    int64_t                    elapsed, delay;
    uint32_t                   attempts;
    const wf_retry_policy_t   *retry;

    retry = &step->retry;
    attempts = call->job->retries + 1;

    if (retry->next == NULL) {
        return attempts < retry->maximum_attempts ? (int64_t) retry->delay_ms
                                                  : -1;
    }

    text = wf_buf_reserve(&call->error, 1);
    if (text != NULL) {
        *text = '\0';
    }

    elapsed = wf_time() - call->job->first;

    delay = retry->next((uint64_t) elapsed, attempts, wf_call_text(call).data);

    return delay < 0 ? -1 : delay;
}


void
wf_call_end(wf_call_t *call)
{
    wf_job_t         *job;
    wf_hold_t        *hold;
    wf_engine_run_t  *run;

    run = call->engine;
    job = call->job;

    *call->prev = call->next;

    if (call->next != NULL) {
        call->next->prev = call->prev;

    } else {
        run->last_call = call->prev;
    }

    if (call->claim) {
        call->claim = 0;
        run->claims--;
    }

    if (call->delay >= 0 && !wf_run_ended(run)) {
        wf_kept_put_back(run, &call->taken);

        job->retries += call->counts;

        if (call->counts) {
            job->streamed = 0;

        } else if (call->streamed > job->streamed) {
            job->streamed = call->streamed;
        }

        wf_job_delay(run, job, call->delay);

    } else {
        if (call->status != WF_OK && !wf_run_ended(run)) {
            wf_run_fail(run, job->step, wf_call_text(call),
                        call->status == WF_FINAL);
        }

        wf_kept_free(&call->taken);
        wf_job_done(run, job);
    }

    for (hold = call->holds; hold != NULL; hold = hold->next) {
        wf_value_release(hold->value);
    }

    call->holds = NULL;
    wf_call_reset(call);
}


static void
wf_call_reset(wf_call_t *call)
{
    wf_chunk_t  *chunk;

    while (call->chunks != NULL) {
        chunk = call->chunks;
        call->chunks = chunk->u.next;
        free(chunk);
    }

    call->free = (char *) call->arena;
    call->room = sizeof(call->arena);
}


void *
wf_call_alloc(wf_call_t *call, size_t size)
{
    char        *p;
    size_t       want;
    wf_chunk_t  *chunk;

    if (size > SIZE_MAX / 2) {
        return NULL;
    }

    size = (size + sizeof(wf_align_t) - 1) & ~(sizeof(wf_align_t) - 1);

    if (size > call->room) {
        want = size > WF_CHUNK_SIZE / 4 ? size : WF_CHUNK_SIZE;

        chunk = malloc(sizeof(wf_chunk_t) + want);
        if (chunk == NULL) {
            return NULL;
        }

        chunk->u.next = call->chunks;
        call->chunks = chunk;

        if (want == size) {
            return chunk + 1;
        }

        call->free = (char *) (chunk + 1);
        call->room = want;
    }

    p = call->free;

    call->free += size;
    call->room -= size;

    return p;
}


/* Keep an error text: strings up to NULL.  Returns the status. */

wf_status_t
wf_call_error(wf_call_t *call, wf_status_t status, ...)
{
    va_list      args;
    const char  *s;

    call->error.len = 0;
    call->error.failed = 0;

    va_start(args, status);

    for ( ;; ) {
        s = va_arg(args, const char *);

        if (s == NULL) {
            break;
        }

        wf_buf_adds(&call->error, s);
    }

    va_end(args);

    return status;
}


static wf_slice_t
wf_call_text(const wf_call_t *call)
{
    wf_slice_t  text;

    if (call->error.failed) {
        return wf_slice(WF_NO_MEMORY);
    }

    text.data = call->error.data;
    text.len = call->error.len;

    return text;
}
