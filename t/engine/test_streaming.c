/* What runs put out while they go on and when they end. */

#include "engine.h"


static gate_t  gate;


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


int
main(void)
{
    test_e2e();
    test_task_raised();
    test_ended_from_outside(1);
    test_ended_from_outside(0);
    test_human_in_the_loop();

    return done_testing();
}
