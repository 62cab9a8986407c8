/* Steps that fail are executed again, as their policy says. */

#include "engine.h"


static int       executions;
static int       succeeds;      /* in this execution */
static int       final;         /* in this execution */
static uint64_t  asked_elapsed;
static uint32_t  asked_attempts;
static char      asked_error[64];


static int64_t
policy(uint64_t elapsed, uint32_t attempts, const char *error)
{
    asked_elapsed = elapsed;
    asked_attempts = attempts;
    (void) snprintf(asked_error, sizeof(asked_error), "%s", error);

    return attempts == 3 ? -7 : (int64_t) attempts * 20;
}

static wf_status_t
flaky(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    executions++;

    if (executions == succeeds) {
        return wf_stop(run, "1", 1);
    }

    if ((int) wf_info(run)->retries != executions - 1) {
        return wf_fail_final(run, "retries");
    }

    if (send_text(run, "Tried", "{}") != WF_OK) {
        return WF_ERROR;
    }

    return executions == final ? wf_fail_final(run, "no %d", executions)
                               : wf_fail(run, "try %d", executions);
}

static wf_status_t
counts(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return wf_stream(run, "Tried", "{}", 2);
}

#define FLAKY(policy)                                                         \
    { { .name = "flaky", .accepts = WF_TYPES(WF_START_EVENT),                 \
        .produces = WF_TYPES("Tried", WF_STOP_EVENT), .run = flaky,           \
        .retry = policy },                                                    \
      STEP(counts, WF_TYPES("Tried"), NULL) }

static const wf_retry_policy_t  asked = { 1, 0, policy };

static const wf_step_t  plain_steps[] = FLAKY(NULL);
static const wf_step_t  three_steps[] = FLAKY(WF_RETRY(3, 0));
static const wf_step_t  delay_steps[] = FLAKY(WF_RETRY(3, 60000));
static const wf_step_t  short_steps[] = FLAKY(WF_RETRY(2, 10));
static const wf_step_t  asked_steps[] = FLAKY(&asked);
static const wf_step_t  zero_steps[] = FLAKY(WF_RETRY(0, 0));

WORKFLOW(plain, plain_steps);
WORKFLOW(three, three_steps);
WORKFLOW(delays, delay_steps);
WORKFLOW(shorts, short_steps);
WORKFLOW(asks, asked_steps);
WORKFLOW(zero, zero_steps);


static void
begin(int succeeds_in, int final_in)
{
    executions = 0;
    succeeds = succeeds_in;
    final = final_in;
}


static void
fails_after(const wf_workflow_t *w, int n, const char *error, int is_final,
    const char *name)
{
    owner_t  o;

    owner_init(&o, w);
    is_int(owner_run(&o, "{}"), WF_RUN_FAILED, name);
    is_slice(wf_run_error(o.run), error, name);
    is_int(wf_run_error_final(o.run), is_final, name);
    is_int(executions, n, name);
    owner_free(&o);
}


static void
test_counts(void)
{
    begin(0, 0);
    fails_after(&plain, 1, "Error in step 'flaky': try 1", 0, "no policy");

    begin(0, 0);
    fails_after(&zero, 1, "Error in step 'flaky': try 1", 0, "no attempts");

    begin(0, 0);
    fails_after(&three, 3, "Error in step 'flaky': try 3", 0,
                "maximum_attempts counts executions");

    begin(0, 2);
    fails_after(&three, 2, "Error in step 'flaky': no 2", 1,
                "a final error is not tried again");

    begin(3, 0);
    completes(&three, "{}", "1", "e2e");
    is_int(executions, 3, "e2e: executions");
}


static void
test_policy(void)
{
    begin(0, 0);
    fails_after(&asks, 3, "Error in step 'flaky': try 3", 0, "next");
    is_int(asked_attempts, 3, "next: attempts");
    is_str(asked_error, "try 3", "next: error");
    ok(asked_elapsed >= 58 && asked_elapsed < 10000, "next: elapsed is real");
}


static void
test_delay(void)
{
    owner_t  o;

    begin(2, 0);
    owner_init(&o, &delays);
    (void) wf_run_start(o.run, wf_slice("{}"));
    (void) wf_run_threads(o.run);
    wf_run_work(o.run);

    is_int(wf_run_state(o.run), WF_RUN_DELAYED, "delayed");
    is_int(wf_run_active(o.run), 0, "without a thread");
    is_int(wf_run_threads(o.run), 0, "nor one that is asked for");
    ok(wf_run_delay(o.run) > 50000 && wf_run_delay(o.run) <= 60000, "delay");

    wf_run_wake(o.run);
    is_int(wf_run_state(o.run), WF_RUN_DELAYED, "not due yet");

    owner_step(&o);
    is_str(o.output, "{}\n", "what a failed execution sent was sent");

    wf_run_cancel(o.run);
    is_int(wf_run_delay(o.run), -1, "an ended run has no delay");
    owner_free(&o);

    begin(2, 0);
    completes(&shorts, "{}", "1", "a delay that passes");
}


/* A thread that goes on with another job tells of the delay. */

static gate_t  gate = GATE;

static wf_status_t
spreads(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    if (send_text(run, "Fail", "{}") != WF_OK) {
        return WF_ERROR;
    }

    return send_text(run, "Long", "{}");
}

static wf_status_t
a_fails(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return wf_info(run)->retries == 0 ? wf_fail(run, "once")
                                      : wf_stop(run, "1", 1);
}

static wf_status_t
lasts(wf_run_t *run, const wf_event_t *ev)
{
    (void) run;
    (void) ev;

    gate_pass(&gate);

    return WF_OK;
}

static const wf_step_t  busy_steps[] = {
    STEP(spreads, WF_TYPES(WF_START_EVENT), WF_TYPES("Fail", "Long")),
    { .name = "a_fails", .accepts = WF_TYPES("Fail"),
      .produces = WF_TYPES(WF_STOP_EVENT), .run = a_fails,
      .retry = WF_RETRY(2, 20) },
    STEP(lasts, WF_TYPES("Long"), NULL)
};
WORKFLOW(busy, busy_steps);

static void *
work(void *data)
{
    wf_run_work(((owner_t *) data)->run);

    return NULL;
}

static void
test_delay_beside_work(void)
{
    owner_t    o;
    pthread_t  thread;

    owner_init(&o, &busy);
    (void) wf_run_start(o.run, wf_slice("{}"));
    (void) wf_run_threads(o.run);

    /* One thread for both: the wake for the second is not answered yet. */

    pthread_create(&thread, NULL, work, &o);
    gate_await(&gate, 1);

    is_int(o.wakes, 1, "one wake for both reasons");
    is_int(wf_run_state(o.run), WF_RUN_BUSY, "busy beside a delay");
    ok(wf_run_delay(o.run) >= 0, "whose time is known");

    is_int(owner_drive(&o), WF_RUN_COMPLETED, "a retry beside a long step");

    gate_open(&gate);
    pthread_join(thread, NULL);
    owner_free(&o);
}


/* A retry finds what its failed execution had collected. */

static int  failures;

static wf_status_t
sends(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    if (send_text(run, "A", "{\"n\": 1}") != WF_OK
        || send_text(run, "A", "{\"n\": 2}") != WF_OK)
    {
        return WF_ERROR;
    }

    return send_text(run, "A", "{\"n\": 3}");
}

static wf_status_t
joins(wf_run_t *run, const wf_event_t *ev)
{
    char               text[64];
    wf_status_t        status;
    const wf_event_t  *e[3];

    status = wf_collect(run, ev, WF_TYPES("A", "A", "A"), 3, e);

    if (wf_info(run)->retries < 2) {
        failures++;
        return wf_fail(run, "after collecting");
    }

    if (status == WF_AGAIN) {
        return WF_OK;
    }

    (void) snprintf(text, sizeof(text), "%s %s %s", e[0]->data, e[1]->data,
                    e[2]->data);

    return wf_stop_text(run, text, strlen(text));
}

static const wf_step_t  join_steps[] = {
    { .name = "joins", .accepts = WF_TYPES("A"),
      .produces = WF_TYPES(WF_STOP_EVENT), .run = joins, .num_workers = 1,
      .retry = WF_RETRY(3, 0) },
    STEP(sends, WF_TYPES(WF_START_EVENT), WF_TYPES("A"))
};
WORKFLOW(joining, join_steps);


/* One call takes its event and another, and fails after a third was kept: the
 * order is as it was. */

static gate_t  taken = GATE;

static wf_status_t
pairs(wf_run_t *run, const wf_event_t *ev)
{
    char               text[64];
    const wf_event_t  *e[2];

    if (strstr(ev->data, "3") != NULL) {
        gate_await(&taken, 1);
    }

    if (wf_collect(run, ev, WF_TYPES("A", "A"), 2, e) == WF_OK) {

        if (wf_info(run)->retries == 0) {
            gate_pass(&taken);
            return wf_fail(run, "with a set");
        }

        (void) snprintf(text, sizeof(text), "[%s, %s]", e[0]->data,
                        e[1]->data);

        return wf_stop(run, text, strlen(text));
    }

    if (strstr(ev->data, "3") != NULL) {
        gate_open(&taken);
    }

    return WF_OK;
}

static const wf_step_t  pair_steps[] = {
    { .name = "pairs", .accepts = WF_TYPES("A"),
      .produces = WF_TYPES(WF_STOP_EVENT), .run = pairs, .num_workers = 2,
      .retry = WF_RETRY(2, 0) },
    STEP(sends, WF_TYPES(WF_START_EVENT), WF_TYPES("A"))
};
WORKFLOW(pairing, pair_steps);


/* The retry that is due first comes first. */

static int64_t
falling(uint64_t elapsed, uint32_t attempts, const char *error)
{
    (void) elapsed;
    (void) attempts;

    return error[0] == '1' ? 60000 : error[0] == '2' ? INT64_MAX : 30000;
}

static wf_status_t
falls(wf_run_t *run, const wf_event_t *ev)
{
    return wf_fail(run, "%s", strchr(ev->data, ':') + 2);
}

static const wf_retry_policy_t  fall = { 0, 0, falling };

static const wf_step_t  fall_steps[] = {
    { .name = "falls", .accepts = WF_TYPES("A"),
      .produces = WF_TYPES(WF_STOP_EVENT), .run = falls, .retry = &fall },
    STEP(sends, WF_TYPES(WF_START_EVENT), WF_TYPES("A"))
};
WORKFLOW(delaying, fall_steps);

static void
test_delays(void)
{
    owner_t  o;

    owner_init(&o, &delaying);
    (void) wf_run_start(o.run, wf_slice("{}"));
    (void) wf_run_threads(o.run);
    wf_run_work(o.run);
    ok(wf_run_delay(o.run) > 20000 && wf_run_delay(o.run) <= 30000,
       "the delay until the first of three");
    owner_free(&o);
}


int
main(void)
{
    test_counts();
    test_policy();
    test_delay();
    test_delay_beside_work();

    completes(&joining, "{}",
              "\"{\\\"n\\\": 1} {\\\"n\\\": 2} {\\\"n\\\": 3}\"",
              "what was collected by a failed execution is kept");
    is_int(failures, 6, "which each event had");

    completes(&pairing, "{}", "[{\"n\": 1}, {\"n\": 2}]",
              "and keeps its order");
    test_delays();

    return done_testing();
}
