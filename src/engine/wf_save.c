/*
 * A run as text.  JSON in it is kept in strings: it may be as deep as JSON may
 * be, and keeps its bytes.
 *
 *     {"version": 1, "context": {"count": "1"}, "changed": ["count"],
 *      "collected": [{"step": "join", "type": "Part", "data": "{}",
 *                     "order": 0}],
 *      "pending": [{"step": "join", "type": "Part", "data": "{}",
 *                   "kept": true, "retries": 1, "elapsed": 20, "delay": 5,
 *                   "streamed": 2}]}
 *
 * and what wf_subtask_save.c adds.  What is empty is left out; a run that has
 * ended has "running": false.
 */

#include "wf_engine.h"


static void wf_save_run(wf_engine_run_t *run, wf_buf_t *b);
static void wf_save_context(wf_engine_run_t *run, wf_buf_t *b);
static void wf_save_changed(wf_engine_run_t *run, wf_buf_t *b);
static void wf_save_collected(wf_engine_run_t *run, wf_buf_t *b);
static void wf_save_kept(wf_engine_run_t *run, const wf_queue_t *kept,
    wf_buf_t *b);
static void wf_save_pending(wf_engine_run_t *run, wf_buf_t *b);
static void wf_save_jobs(wf_engine_run_t *run, const wf_queue_t *q,
    int64_t now, wf_buf_t *b);
static void wf_save_job(wf_engine_run_t *run, const wf_job_t *job, int64_t now,
    int64_t delay, uint64_t streamed, wf_buf_t *b);
static void wf_save_event(wf_engine_run_t *run, const wf_job_t *job,
    wf_buf_t *b);
static int wf_save_again(const wf_engine_run_t *run, const wf_item_t *item);
static void wf_save_number(const char *name, int64_t n, wf_buf_t *b);
static void wf_save_list(wf_buf_t *b, const char *name);
static void wf_save_list_end(wf_buf_t *b, const char *name);


int
wf_run_save(wf_engine_run_t *run, wf_buf_t *b)
{
    pthread_mutex_lock(&run->lock);

    wf_save_run(run, b);

    pthread_mutex_unlock(&run->lock);

    return b->failed ? -1 : 0;
}


int
wf_run_checkpoint(wf_engine_run_t *run, wf_buf_t *b, wf_run_output_t **output)
{
    int         overtaken;
    wf_call_t  *call;

    *output = NULL;
    overtaken = 0;

    pthread_mutex_lock(&run->lock);

    if (wf_run_ended(run)) {
        pthread_mutex_unlock(&run->lock);
        return 1;
    }

    /* Such a call, made again, would have its events worked on twice. */

    for (call = run->calls; call != NULL && !overtaken; call = call->next) {
        overtaken = call->overtaken;
    }

    if (!overtaken) {
        wf_save_run(run, b);
    }

    *output = wf_output_take(run);

    run->save = 0;
    run->saved = wf_time();

    pthread_mutex_unlock(&run->lock);

    if (overtaken) {
        return 1;
    }

    return b->failed ? -1 : 0;
}


static void
wf_save_run(wf_engine_run_t *run, wf_buf_t *b)
{
    wf_buf_adds(b, "{\"version\": 1");

    if (!run->started || wf_run_ended(run)) {
        wf_buf_adds(b, ", \"running\": false");
    }

    if (run->nentries != 0) {
        wf_save_context(run, b);

        if (!wf_run_ended(run)) {
            wf_save_changed(run, b);
        }
    }

    wf_save_collected(run, b);

    /* What an ended run left undone is not done later. */

    if (!wf_run_ended(run)) {
        wf_save_subtasks(run, b);
        wf_save_pending(run, b);
    }

    wf_buf_addc(b, '}');
}


static void
wf_save_context(wf_engine_run_t *run, wf_buf_t *b)
{
    size_t       i;
    wf_entry_t  *entry;

    wf_buf_adds(b, ", \"context\": {");

    for (i = 0; i < run->nentries; i++) {
        entry = &run->entries[i];

        if (i != 0) {
            wf_buf_adds(b, ", ");
        }

        wf_json_quote(b, entry->key.data, entry->key.len);
        wf_buf_adds(b, ": ");
        wf_json_quote(b, entry->value->data, entry->value->len);
    }

    wf_buf_addc(b, '}');
}


static void
wf_save_changed(wf_engine_run_t *run, wf_buf_t *b)
{
    int          first;
    size_t       i;
    wf_entry_t  *entry;

    wf_buf_adds(b, ", \"changed\": [");

    first = 1;

    for (i = 0; i < run->nentries; i++) {
        entry = &run->entries[i];

        if (!entry->changed) {
            continue;
        }

        if (!first) {
            wf_buf_adds(b, ", ");
        }

        first = 0;
        wf_json_quote(b, entry->key.data, entry->key.len);
    }

    wf_buf_addc(b, ']');
}


static void
wf_save_collected(wf_engine_run_t *run, wf_buf_t *b)
{
    uint32_t    i;
    wf_call_t  *call;

    wf_save_list(b, "collected");

    for (i = 0; i < run->graph->nsteps; i++) {
        wf_save_kept(run, &run->steps[i].kept, b);
    }

    /* Calls in progress are made again, and take it again. */

    for (call = run->calls; call != NULL && !wf_run_ended(run);
         call = call->next)
    {
        wf_save_kept(run, &call->taken, b);
    }

    wf_save_list_end(b, "collected");
}


static void
wf_save_kept(wf_engine_run_t *run, const wf_queue_t *kept, wf_buf_t *b)
{
    wf_job_t  *job;

    for (job = kept->head; job != NULL; job = job->next_kept) {

        if (wf_save_again(run, job->item)) {
            continue;
        }

        wf_save_event(run, job, b);
        wf_save_number("order", (int64_t) job->order, b);
        wf_buf_addc(b, '}');
    }
}


/* Jobs with a worker come first, so that they get it back. */

static void
wf_save_pending(wf_engine_run_t *run, wf_buf_t *b)
{
    int64_t     now;
    uint32_t    i;
    wf_job_t   *job;
    wf_call_t  *call;

    now = wf_time();

    wf_save_list(b, "pending");

    for (call = run->calls; call != NULL; call = call->next) {
        wf_save_job(run, call->job, now, 0,
                    call->streamed > call->job->streamed ? call->streamed
                                                    : call->job->streamed, b);
    }

    for (job = run->delayed; job != NULL; job = job->next) {
        wf_save_job(run, job, now, job->due - now, job->streamed, b);
    }

    wf_save_jobs(run, &run->ready, now, b);

    for (i = 0; i < run->graph->nsteps; i++) {
        wf_save_jobs(run, &run->steps[i].waiting, now, b);
    }

    wf_save_list_end(b, "pending");
}


static void
wf_save_jobs(wf_engine_run_t *run, const wf_queue_t *q, int64_t now,
    wf_buf_t *b)
{
    wf_job_t  *job;

    for (job = q->head; job != NULL; job = job->next) {
        wf_save_job(run, job, now, 0, job->streamed, b);
    }
}


static void
wf_save_job(wf_engine_run_t *run, const wf_job_t *job, int64_t now,
    int64_t delay, uint64_t streamed, wf_buf_t *b)
{
    if (wf_save_again(run, job->item)) {
        return;
    }

    wf_save_event(run, job, b);

    if (job->kept) {
        wf_buf_adds(b, ", \"kept\": true");
    }

    if (job->retries != 0) {
        wf_save_number("retries", job->retries, b);
    }

    if (job->timed) {
        wf_save_number("elapsed", now - job->first, b);
    }

    if (delay > 0) {
        wf_save_number("delay", delay, b);
    }

    if (streamed != 0) {
        wf_save_number("streamed", (int64_t) streamed, b);
    }

    wf_save_sent(run, job, b);

    wf_buf_addc(b, '}');
}


static void
wf_save_event(wf_engine_run_t *run, const wf_job_t *job, wf_buf_t *b)
{
    const char        *step;
    const wf_event_t  *ev;

    step = run->graph->steps[job->step].name;
    ev = &job->item->event;

    if (b->len != 0 && b->data[b->len - 1] == '}') {
        wf_buf_adds(b, ", ");
    }

    wf_buf_adds(b, "{\"step\": ");
    wf_json_quote(b, step, strlen(step));
    wf_buf_adds(b, ", \"type\": ");
    wf_json_quote(b, ev->type, strlen(ev->type));
    wf_buf_adds(b, ", \"data\": ");
    wf_json_quote(b, ev->data, ev->len);
}


/* Whether an event will be sent again, by a call that is in progress. */

static int
wf_save_again(const wf_engine_run_t *run, const wf_item_t *item)
{
    const wf_call_t  *call;

    for (call = run->calls; call != NULL; call = call->next) {
        if (call->number == item->sender) {
            return 1;
        }
    }

    return 0;
}


static void
wf_save_number(const char *name, int64_t n, wf_buf_t *b)
{
    wf_buf_adds(b, ", \"");
    wf_buf_adds(b, name);
    wf_buf_adds(b, "\": ");
    wf_buf_addu(b, (uint64_t) n);
}


static void
wf_save_list(wf_buf_t *b, const char *name)
{
    wf_buf_adds(b, ", \"");
    wf_buf_adds(b, name);
    wf_buf_adds(b, "\": [");
}


static void
wf_save_list_end(wf_buf_t *b, const char *name)
{
    if (!b->failed && b->data[b->len - 1] == '[') {
        b->len -= strlen(name) + sizeof(", \"\": [") - 1;
        return;
    }

    wf_buf_addc(b, ']');
}
