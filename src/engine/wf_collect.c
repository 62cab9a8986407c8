/*
 * What a step collects: of each type what was sent first.
 *
 * A call that fails puts back what it took, and its own event is not kept a
 * second time when it is executed again, so that retries find the set.
 */

#include "wf_engine.h"


static wf_job_t *wf_kept_choose(const wf_run_step_t *step, const char *type);
static void wf_kept_take_chosen(wf_run_step_t *step, wf_queue_t *taken);
static void wf_kept_append(wf_queue_t *kept, wf_job_t *job);


void
wf_kept_add(wf_engine_run_t *run, wf_job_t *job)
{
    wf_job_t       *prev, *next;
    wf_run_step_t  *step;

    step = &run->steps[job->step];
    step->nkept++;

    if (step->kept.head == NULL || step->kept.tail->order < job->order) {
        wf_kept_append(&step->kept, job);
        return;
    }

    prev = NULL;
    next = step->kept.head;

    while (next->order < job->order) {
        prev = next;
        next = next->next_kept;
    }

    job->next_kept = next;

    if (prev == NULL) {
        step->kept.head = job;

    } else {
        prev->next_kept = job;
    }
}


static void
wf_kept_append(wf_queue_t *kept, wf_job_t *job)
{
    job->next_kept = NULL;

    if (kept->head == NULL) {
        kept->head = job;

    } else {
        kept->tail->next_kept = job;
    }

    kept->tail = job;
}


wf_status_t
wf_kept_take(wf_call_t *call, const char *const *types, size_t n,
    const wf_event_t **events)
{
    size_t            i;
    wf_job_t         *job;
    wf_run_step_t    *step;
    wf_engine_run_t  *run;

    run = call->engine;
    job = call->job;
    step = &run->steps[job->step];

    if (!job->kept) {
        job->kept = 1;
        job->item->refs++;
        wf_kept_add(run, job);
    }

    if (step->nkept < n) {
        return WF_AGAIN;
    }

    for (i = 0; i < n; i++) {
        job = wf_kept_choose(step, types[i]);

        if (job == NULL) {
            break;
        }

        job->chosen = 1;
        events[i] = &job->item->event;
    }

    if (i < n) {
        for (job = step->kept.head; job != NULL; job = job->next_kept) {
            job->chosen = 0;
        }

        return WF_AGAIN;
    }

    wf_kept_take_chosen(step, &call->taken);

    return WF_OK;
}


static wf_job_t *
wf_kept_choose(const wf_run_step_t *step, const char *type)
{
    wf_job_t  *job;

    for (job = step->kept.head; job != NULL; job = job->next_kept) {
        if (!job->chosen && strcmp(job->item->event.type, type) == 0) {
            return job;
        }
    }

    return NULL;
}


static void
wf_kept_take_chosen(wf_run_step_t *step, wf_queue_t *taken)
{
    wf_job_t    *job, *next;
    wf_queue_t   rest;

    next = step->kept.head;

    rest.head = NULL;
    rest.tail = NULL;

    while (next != NULL) {
        job = next;
        next = job->next_kept;

        if (job->chosen) {
            job->chosen = 0;
            step->nkept--;
            wf_kept_append(taken, job);

        } else {
            wf_kept_append(&rest, job);
        }
    }

    step->kept = rest;
}


void
wf_kept_put_back(wf_engine_run_t *run, wf_queue_t *taken)
{
    wf_job_t  *job, *next;

    next = taken->head;

    while (next != NULL) {
        job = next;
        next = job->next_kept;

        wf_kept_add(run, job);
    }

    taken->head = NULL;
}


void
wf_kept_free(wf_queue_t *kept)
{
    wf_job_t  *job, *next;

    next = kept->head;

    while (next != NULL) {
        job = next;
        next = job->next_kept;

        wf_item_release(job->item);
    }

    kept->head = NULL;
}
