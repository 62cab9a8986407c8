/* What runs put out while they go on and when they end. */

#include "engine.h"


#define MEGABYTE  (1024 * 1024)

static gate_t    gate;
static unsigned  sent;


static wf_status_t
streams(wf_run_t *run, const wf_event_t *ev)
{
    int   i;
    char  json[64];

    (void) ev;

    for (i = 0; i < 5; i++) {
        (void) snprintf(json, sizeof(json), "{\"msg\": %d}", i);

        if (send_text(run, "Ignored", "{}") != WF_OK
            || wf_stream(run, "Progress", json, strlen(json)) != WF_OK)
        {
            return WF_ERROR;
        }
    }

    if (strstr(ev->data, "raise") != NULL) {
        return wf_fail(run, "The step raised an error!");
    }

    if (strstr(ev->data, "wait") != NULL) {
        gate_pass(&gate);

        (void) wf_stream(run, "Progress", "{\"late\": 1}", 11);
        (void) wf_stop(run, "1", 1);

        return WF_OK;
    }

    return wf_stop_text(run, "done", 4);
}

static const wf_step_t  stream_steps[] = {
    STEP(streams, WF_TYPES(WF_START_EVENT), WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(streaming, stream_steps);

#define MESSAGES                                                              \
    "{\"msg\": 0}\n{\"msg\": 1}\n{\"msg\": 2}\n{\"msg\": 3}\n{\"msg\": 4}\n"


static void
test_e2e(void)
{
    owner_t  o;

    owner_init(&o, &streaming);
    is_int(owner_run(&o, "{}"), WF_RUN_COMPLETED, "e2e");
    is_str(o.output, MESSAGES "{\"result\": \"done\"}\n", "e2e: in order");
    owner_free(&o);

    owner_init(&o, &streaming);
    (void) wf_run_start(o.run, wf_slice("{}"));
    (void) wf_run_threads(o.run);
    wf_run_work(o.run);
    is_int(o.wakes, 1, "one wake until output is taken");
    owner_step(&o);
    is_str(o.output, MESSAGES "{\"result\": \"done\"}\n", "all is there");
    owner_free(&o);
}


static void
test_task_raised(void)
{
    owner_t  o;

    owner_init(&o, &streaming);
    is_int(owner_run(&o, "{\"raise\": 1}"), WF_RUN_FAILED, "task_raised");
    is_str(o.output, MESSAGES "{\"result\": null}\n", "task_raised: the end");
    is_slice(wf_run_error(o.run),
             "Error in step 'streams': The step raised an error!",
             "task_raised: the text");
    owner_free(&o);
}


static void
test_ended_from_outside(int by_time)
{
    owner_t  o;

    memset(&gate, 0, sizeof(gate));
    pthread_mutex_init(&gate.lock, NULL);
    pthread_cond_init(&gate.changed, NULL);

    owner_init(&o, &streaming);
    (void) wf_run_start(o.run, wf_slice("{\"wait\": 1}"));
    owner_step(&o);
    gate_await(&gate, 1);

    if (by_time) {
        wf_run_time_out(o.run, "0.5");

        is_int(wf_run_state(o.run), WF_RUN_FAILED, "task_timeout");
        is_slice(wf_run_error(o.run),
                 "Operation timed out after 0.5 seconds", "timeout's text");
        is_int(wf_run_error_final(o.run), 0, "not final");

    } else {
        wf_run_cancel(o.run);
        wf_run_time_out(o.run, "0.5");

        is_int(wf_run_state(o.run), WF_RUN_CANCELLED, "cancelled_by_user");
        is_slice(wf_run_error(o.run), "", "without a text");
    }

    is_int(wf_run_active(o.run), 1, "the thread is in its last step");

    gate_open(&gate);
    owner_join(&o);

    is_int(wf_run_active(o.run), 0, "and has left it");
    is_str(o.output, MESSAGES "{\"result\": null}\n", "nothing after the end");
    owner_free(&o);
}


/* Questions are streamed by themselves. */

static wf_status_t
ask(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return send_text(run, WF_INPUT_REQUIRED_EVENT,
                     "{\"user\": \"u\", \"prefix\": \"Enter: \"}");
}

static wf_status_t
answer(wf_run_t *run, const wf_event_t *ev)
{
    return wf_stop(run, ev->data, ev->len);
}

static const wf_step_t  ask_steps[] = {
    STEP(ask, WF_TYPES(WF_START_EVENT), WF_TYPES(WF_INPUT_REQUIRED_EVENT)),
    STEP(answer, WF_TYPES(WF_HUMAN_RESPONSE_EVENT), WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(asking, ask_steps);


static void
test_human_in_the_loop(void)
{
    owner_t  o;

    owner_init(&o, &asking);
    is_int(wf_run_state(o.run), WF_RUN_WAITING, "a run that is not started");
    is_int(owner_run(&o, "{}"), WF_RUN_WAITING, "human_in_the_loop");
    is_str(o.output, "{\"prefix\": \"Enter: \", "
           "\"_data\": {\"user\": \"u\"}}\n", "the question");
    is_int(wf_run_delay(o.run), -1, "no delay");
    is_int(wf_run_threads(o.run), 0, "no thread");

    (void) wf_run_event(o.run, WF_HUMAN_RESPONSE_EVENT,
                        wf_slice("{\"response\": \"42\"}"));
    is_int(wf_run_state(o.run), WF_RUN_BUSY, "goes on");
    is_int(owner_drive(&o), WF_RUN_COMPLETED, "ends");
    is_slice(wf_run_result(o.run), "{\"response\": \"42\"}", "the answer");
    owner_free(&o);

    owner_init(&o, &asking);
    (void) owner_run(&o, "{}");
    wf_run_time_out(o.run, "10.0");
    is_slice(wf_run_error(o.run), "Operation timed out after 10.0 seconds",
             "human_in_the_loop: nobody answers");
    owner_free(&o);

    owner_init(&o, &asking);
    (void) wf_run_event(o.run, WF_HUMAN_RESPONSE_EVENT, wf_slice("{}"));
    is_int(owner_run(&o, "{}"), WF_RUN_COMPLETED, "an answer before the run");
    owner_free(&o);
}


/* A step that streams more than is taken waits. */

static wf_status_t
floods(wf_run_t *run, const wf_event_t *ev)
{
    int           i;
    char         *json;
    wf_status_t   status;

    (void) ev;

    json = wf_alloc(run, MEGABYTE);
    if (json == NULL) {
        return WF_ERROR;
    }

    memset(json, ' ', MEGABYTE);
    memcpy(json, "{\"s\": \"", 7);
    memset(json + 7, 'x', MEGABYTE - 9);
    memcpy(json + MEGABYTE - 2, "\"}", 2);

    for (i = 0; i < 20; i++) {
        status = wf_stream(run, "Progress", json, MEGABYTE);

        if (status != WF_OK) {
            return status;
        }

        (void) __atomic_add_fetch(&sent, 1, __ATOMIC_SEQ_CST);
    }

    return wf_stop(run, "1", 1);
}

static const wf_step_t  flood_steps[] = {
    STEP(floods, WF_TYPES(WF_START_EVENT), WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(flooding, flood_steps);


/* Until the step has sent so many events, and then a moment. */

static void
await_sent(owner_t *o, unsigned n)
{
    int              i;
    struct timespec  ts = { 0, 5 * 1000000 };

    for (i = 0; i < 200 * TEST_PATIENCE; i++) {
        if (__atomic_load_n(&sent, __ATOMIC_SEQ_CST) >= n) {
            break;
        }

        (void) nanosleep(&ts, NULL);
    }

    ts.tv_nsec = 100 * 1000000;
    (void) nanosleep(&ts, NULL);

    is_int(__atomic_load_n(&sent, __ATOMIC_SEQ_CST), n, "so many, no more");
    is_int(wf_run_active(o->run), 1, "the step waits");
}


static void
start_flood(owner_t *o)
{
    sent = 0;
    owner_init(o, &flooding);
    (void) wf_run_start(o->run, wf_slice("{}"));
    owner_lend(o);
    await_sent(o, 4);
}


static void
test_back_pressure(void)
{
    owner_t  o;

    start_flood(&o);
    owner_step(&o);
    ok(o.len > 4 * MEGABYTE && o.len < 5 * MEGABYTE, "what was put out");
    await_sent(&o, 8);
    is_int(owner_drive(&o), WF_RUN_COMPLETED, "all is taken, the step ends");
    ok(o.len > 20 * MEGABYTE, "nothing is lost");
    owner_free(&o);

    start_flood(&o);
    wf_run_cancel(o.run);
    owner_join(&o);
    is_int(wf_run_state(o.run), WF_RUN_CANCELLED, "a step that waits returns");
    ok(o.len < 5 * MEGABYTE, "what it still streams is discarded");
    owner_free(&o);
}


static void
test_aborted(void)
{
    owner_t  o;

    owner_init(&o, &asking);
    wf_run_abort(o.run, "before it was started", 1);
    is_int(wf_run_state(o.run), WF_RUN_FAILED, "aborted");
    is_slice(wf_run_error(o.run), "before it was started", "aborted: why");
    is_int(wf_run_error_final(o.run), 1, "aborted: for good");
    owner_step(&o);
    is_str(o.output, "{\"result\": null}\n", "aborted: the stream ends");

    wf_run_abort(o.run, "again", 1);
    wf_run_cancel(o.run);
    owner_step(&o);
    is_slice(wf_run_error(o.run), "before it was started", "once");
    is_str(o.output, "{\"result\": null}\n", "once put out");
    owner_free(&o);

    owner_init(&o, &streaming);
    (void) owner_run(&o, "{}");
    wf_run_abort(o.run, "too late", 1);
    is_int(wf_run_state(o.run), WF_RUN_COMPLETED, "not when it has ended");
    is_int(wf_run_error_final(o.run), 0, "its result stays");
    owner_free(&o);
}


int
main(void)
{
    test_e2e();
    test_task_raised();
    test_ended_from_outside(1);
    test_ended_from_outside(0);
    test_human_in_the_loop();
    test_back_pressure();
    test_aborted();

    return done_testing();
}
