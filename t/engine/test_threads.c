/* Steps beside each other, and steps that are to return early. */

#include "engine.h"


static gate_t           gate;
static pthread_mutex_t  lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned         running, most, calls;


static void
reset(void)
{
    memset(&gate, 0, sizeof(gate));
    pthread_mutex_init(&gate.lock, NULL);
    pthread_cond_init(&gate.changed, NULL);

    running = 0;
    most = 0;
    calls = 0;
}


/* test_num_workers: four events, three workers; the first three run beside each
 * other, and the fourth only when one of them has returned. */

static wf_status_t
spread(wf_run_t *run, const wf_event_t *ev)
{
    int   i, n;
    char  json[32];

    n = strstr(ev->data, "many") ? 200 : 4;

    for (i = 1; i <= n; i++) {
        (void) snprintf(json, sizeof(json), "{\"n\": %d}", i);

        if (send_text(run, "Item", json) != WF_OK) {
            return WF_ERROR;
        }
    }

    return WF_OK;
}

static wf_status_t
works(wf_run_t *run, const wf_event_t *ev)
{
    pthread_mutex_lock(&lock);

    running++;
    calls++;

    if (running > most) {
        most = running;
    }

    pthread_mutex_unlock(&lock);

    gate_pass(&gate);

    pthread_mutex_lock(&lock);
    running--;
    pthread_mutex_unlock(&lock);

    return wf_send(run, "Done", ev->data, ev->len);
}

static wf_status_t
joins(wf_run_t *run, const wf_event_t *ev)
{
    size_t             i, n, len;
    const char        *json;
    const char        *types[200];
    const wf_event_t  *events[200];

    n = wf_get(run, "n", &json, &len) == WF_OK ? 200 : 4;

    for (i = 0; i < n; i++) {
        types[i] = "Done";
    }

    switch (wf_collect(run, ev, types, n, events)) {
    case WF_OK:
        return wf_stop(run, "1", 1);
    case WF_AGAIN:
        return WF_OK;
    default:
        return WF_ERROR;
    }
}

static const wf_step_t  worker_steps[] = {
    STEP(joins, WF_TYPES("Done"), WF_TYPES(WF_STOP_EVENT)),
    STEP(spread, WF_TYPES(WF_START_EVENT), WF_TYPES("Item")),
    { .name = "works", .accepts = WF_TYPES("Item"),
      .produces = WF_TYPES("Done"), .run = works, .num_workers = 3 }
};
WORKFLOW(workers, worker_steps);


static void
test_num_workers(void)
{
    owner_t  o;

    reset();
    owner_init(&o, &workers);
    (void) wf_run_start(o.run, wf_slice("{}"));

    while (o.nthreads < 3) {
        owner_step(&o);

        pthread_mutex_lock(&o.lock);

        if (o.signals == 0 && o.nthreads < 3) {
            test_wait(&o.changed, &o.lock, TEST_PATIENCE * 1000);
        }

        o.signals = 0;

        pthread_mutex_unlock(&o.lock);
    }

    gate_await(&gate, 3);

    is_int(wf_run_active(o.run), 3, "num_workers: three threads");
    is_int(wf_run_threads(o.run), 0, "num_workers: and no more");
    gate_open(&gate);
    is_int(owner_drive(&o), WF_RUN_COMPLETED, "num_workers");
    is_int(most, 3, "num_workers: three at a time");
    is_int(calls, 4, "num_workers: all four");
    owner_free(&o);

    reset();
    gate_open(&gate);
    owner_init(&o, &workers);
    is_int(wf_run_restore(o.run, wf_slice("{\"version\": 1, \"running\": false,"
                          " \"context\": {\"n\": \"200\"}, \"collected\": "
                          "[]}")), 0, "restored");
    is_int(owner_run(&o, "{\"many\": 1}"), WF_RUN_COMPLETED, "200 events");
    is_int(calls, 200, "200 calls");
    ok(most <= 3, "three at a time");
    owner_free(&o);
}


/* A step that waits for what it has sent does not keep it from running. */

static wf_status_t
sends(wf_run_t *run, const wf_event_t *ev)
{
    size_t       len;
    const char  *json;
    wf_status_t  status;

    if (send_text(run, "Item", "{}") != WF_OK) {
        return WF_ERROR;
    }

    while (wf_get(run, "answer", &json, &len) != WF_OK) {

        if (strstr(ev->data, "sleep") != NULL) {
            status = wf_sleep(run, 1);

            if (status != WF_OK) {
                return status;
            }

        } else if (wf_cancelled(run)) {
            return WF_CANCELLED;
        }
    }

    return wf_stop(run, json, len);
}

static wf_status_t
answers(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return wf_set(run, "answer", "42", 2);
}

static const wf_step_t  answer_steps[] = {
    STEP(sends, WF_TYPES(WF_START_EVENT), WF_TYPES("Item", WF_STOP_EVENT)),
    STEP(answers, WF_TYPES("Item"), NULL)
};
WORKFLOW(answering, answer_steps);


/* Long steps are told to return. */

static wf_status_t
sleeps(wf_run_t *run, const wf_event_t *ev)
{
    wf_status_t  status;

    (void) ev;
    (void) wf_sleep(run, 0);

    gate_pass(&gate);

    status = wf_sleep(run, 1000 * TEST_PATIENCE);

    if (status != WF_CANCELLED || !wf_cancelled(run)) {
        return wf_fail_final(run, "not cancelled");
    }

    return status;
}

static wf_status_t
stops(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    gate_await(&gate, 1);

    return wf_stop(run, "1", 1);
}

static const wf_step_t  sleep_steps[] = {
    STEP(sleeps, WF_TYPES(WF_START_EVENT), WF_TYPES(WF_STOP_EVENT))
};
static const wf_step_t  stop_steps[] = {
    STEP(sleeps, WF_TYPES(WF_START_EVENT), NULL),
    STEP(stops, WF_TYPES(WF_START_EVENT), WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(sleeping, sleep_steps);
WORKFLOW(stopping, stop_steps);


static void
test_cancelled(void)
{
    owner_t  o;

    reset();
    gate_open(&gate);
    owner_init(&o, &sleeping);
    (void) wf_run_start(o.run, wf_slice("{}"));
    owner_step(&o);
    gate_await(&gate, 1);
    wf_run_cancel(o.run);
    owner_join(&o);
    is_int(wf_run_state(o.run), WF_RUN_CANCELLED, "a sleeping step returns");
    owner_free(&o);
}


static void
test_leaving(void)
{
    char      *saved;
    owner_t    o;
    wf_buf_t   b = WF_BUF_INIT;

    reset();
    gate_open(&gate);
    owner_init(&o, &sleeping);
    (void) wf_run_start(o.run, wf_slice("{\"x\": 1}"));
    owner_step(&o);
    gate_await(&gate, 1);

    __atomic_store_n(&o.leaving, 1, __ATOMIC_RELAXED);

    owner_join(&o);
    is_int(wf_run_state(o.run), WF_RUN_DELAYED, "leaving is no failure");
    (void) wf_run_save(o.run, &b);
    owner_free(&o);

    saved = strndup(b.data, b.len);
    ok(strstr(saved, "{\"step\": \"sleeps\", \"type\": \"StartEvent\", "
              "\"data\": \"{\\\"x\\\": 1}\", \"delay\": ") != NULL,
       "the step is executed again elsewhere");
    free(saved);
    wf_buf_free(&b);
}


static void
test_stopped_by_another(void)
{
    owner_t  o;

    reset();
    owner_init(&o, &stopping);
    gate_open(&gate);
    is_int(owner_run(&o, "{}"), WF_RUN_COMPLETED,
           "a StopEvent makes other steps return");
    is_slice(wf_run_result(o.run), "1", "its result");
    owner_free(&o);
}


int
main(void)
{
    test_num_workers();

    completes(&answering, "{\"sleep\": 1}", "42", "a step that sleeps");
    completes(&answering, "{}", "42", "a step that asks");

    test_cancelled();
    test_leaving();
    test_stopped_by_another();

    return done_testing();
}
