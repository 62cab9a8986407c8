/*
 * Events, and the jobs that they are for the steps that they are sent to.
 *
 * A job that a step has a free worker for takes the worker at once and goes to
 * the run's ready queue; else it waits in the step's own.  So the ready queue
 * holds what may run now, in the order in which it was sent.
 */

#include <time.h>

#include "wf_engine.h"


/* A year: longer is as good as never, and sums of times do not overflow. */

#define WF_MAX_DELAY  (INT64_C(365) * 24 * 60 * 60 * 1000)


static void wf_job_ready(wf_engine_run_t *run, wf_job_t *job);


wf_item_t *
wf_item_create(const wf_graph_type_t *type, uint32_t njobs, wf_slice_t data)
{
    char       *text;
    size_t      size;
    uint32_t    i;
    wf_job_t   *job;
    wf_item_t  *item;

    size = sizeof(wf_item_t) + njobs * sizeof(wf_job_t);

    item = malloc(size + data.len + 1);
    if (item == NULL) {
        return NULL;
    }

    text = (char *) item + size;

    if (data.len != 0) {
        memcpy(text, data.data, data.len);
    }

    text[data.len] = '\0';

    item->event.type = type->name;
    item->event.data = text;
    item->event.len = data.len;
    item->sender = 0;
    item->refs = njobs;
    item->njobs = njobs;

    memset(item->jobs, 0, njobs * sizeof(wf_job_t));

    for (i = 0; i < njobs; i++) {
        job = &item->jobs[i];
        job->item = item;
        job->step = type->steps[i];
    }

    return item;
}


void
wf_item_release(wf_item_t *item)
{
    if (--item->refs == 0) {
        free(item);
    }
}


void
wf_queue_add(wf_queue_t *q, wf_job_t *job)
{
    job->next = NULL;

    if (q->head == NULL) {
        q->head = job;

    } else {
        q->tail->next = job;
    }

    q->tail = job;
}


wf_job_t *
wf_queue_take(wf_queue_t *q)
{
    wf_job_t  *job;

    job = q->head;

    if (job != NULL) {
        q->head = job->next;
    }

    return job;
}


void
wf_queue_free(wf_queue_t *q)
{
    wf_job_t  *job;

    for ( ;; ) {
        job = wf_queue_take(q);

        if (job == NULL) {
            return;
        }

        wf_item_release(job->item);
    }
}


void
wf_item_send(wf_engine_run_t *run, wf_item_t *item)
{
    uint32_t  i;

    for (i = 0; i < item->njobs; i++) {
        wf_job_send(run, &item->jobs[i], 0);
    }
}


void
wf_job_send(wf_engine_run_t *run, wf_job_t *job, int64_t delay)
{
    wf_run_step_t  *step;

    job->order = run->order++;

    step = &run->steps[job->step];

    if (step->busy == run->graph->steps[job->step].num_workers) {
        wf_queue_add(&step->waiting, job);
        return;
    }

    step->busy++;
    run->nbusy++;

    wf_job_delay(run, job, delay);
}


static void
wf_job_ready(wf_engine_run_t *run, wf_job_t *job)
{
    wf_queue_add(&run->ready, job);
    run->nready++;
}


/* The job has a worker, and keeps it meanwhile. */

void
wf_job_delay(wf_engine_run_t *run, wf_job_t *job, int64_t delay)
{
    wf_job_t  **prev;

    if (delay == 0) {
        wf_job_ready(run, job);
        return;
    }

    if (delay > WF_MAX_DELAY) {
        delay = WF_MAX_DELAY;
    }

    job->due = wf_time() + delay;

    for (prev = &run->delayed; *prev != NULL; prev = &(*prev)->next) {
        if ((*prev)->due > job->due) {
            break;
        }
    }

    job->next = *prev;
    *prev = job;
}


void
wf_job_done(wf_engine_run_t *run, wf_job_t *job)
{
    wf_job_t       *next;
    wf_run_step_t  *step;

    step = &run->steps[job->step];

    next = wf_queue_take(&step->waiting);

    if (next != NULL) {
        wf_job_ready(run, next);

    } else {
        step->busy--;
        run->nbusy--;
    }

    wf_item_release(job->item);
}


int64_t
wf_run_delay(wf_engine_run_t *run)
{
    int64_t  delay;

    delay = -1;

    pthread_mutex_lock(&run->lock);

    if (run->delayed != NULL && !wf_run_ended(run)) {
        delay = run->delayed->due - wf_time();

        if (delay < 0) {
            delay = 0;
        }
    }

    pthread_mutex_unlock(&run->lock);

    return delay;
}


void
wf_run_wake(wf_engine_run_t *run)
{
    int64_t    now;
    wf_job_t  *job;

    pthread_mutex_lock(&run->lock);

    now = wf_time();

    while (run->delayed != NULL && run->delayed->due <= now) {
        job = run->delayed;
        run->delayed = job->next;
        wf_job_ready(run, job);
    }

    pthread_mutex_unlock(&run->lock);
}


int64_t
wf_time(void)
{
    return wf_time_ns() / 1000000;
}


int64_t
wf_time_ns(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}
