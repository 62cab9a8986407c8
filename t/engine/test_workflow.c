/* Runs: how events reach steps, and how runs end. */

#include "engine.h"


static pthread_mutex_t  trace_lock = PTHREAD_MUTEX_INITIALIZER;
static char             trace[4096];


static void
traced(const char *text)
{
    pthread_mutex_lock(&trace_lock);
    strcat(trace, text);
    strcat(trace, " ");
    pthread_mutex_unlock(&trace_lock);
}


/* test_run, test_event_propagation */

static wf_status_t
start(wf_run_t *run, const wf_event_t *ev)
{
    traced(ev->type);
    return send_text(run, "OneTest", " {\"n\": 1} ");
}

static wf_status_t
middle(wf_run_t *run, const wf_event_t *ev)
{
    traced(ev->data);
    return wf_send(run, "LastEvent", "{}", 2);
}

static wf_status_t
end(wf_run_t *run, const wf_event_t *ev)
{
    traced(ev->type);
    return wf_stop_text(run, "Workflow completed", 18);
}

static const wf_step_t  chain_steps[] = {
    STEP(start, WF_TYPES(WF_START_EVENT), WF_TYPES("OneTest")),
    STEP(middle, WF_TYPES("OneTest"), WF_TYPES("LastEvent")),
    STEP(end, WF_TYPES("LastEvent"), WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(chain, chain_steps);


static void
test_run(void)
{
    owner_t  o;

    owner_init(&o, &chain);
    trace[0] = '\0';

    is_int(wf_run_start(o.run, wf_slice("{}")), 0, "start");
    is_int(wf_run_state(o.run), WF_RUN_BUSY, "busy");
    is_int(wf_run_threads(o.run), 1, "one thread");
    is_int(wf_run_threads(o.run), 0, "no more");
    is_int(wf_run_active(o.run), 1, "which is active");

    wf_run_work(o.run);

    is_int(wf_run_active(o.run), 0, "no more then");
    is_int(wf_run_state(o.run), WF_RUN_COMPLETED, "run");
    is_int(wf_run_threads(o.run), 0, "an ended run needs no thread");
    is_int(o.wakes, 0, "a chain needs no wake");
    is_slice(wf_run_result(o.run), "\"Workflow completed\"", "result");
    is_str(trace, "StartEvent {\"n\": 1} LastEvent ", "event_propagation");

    owner_step(&o);
    is_str(o.output, "{\"result\": \"Workflow completed\"}\n", "output");

    is_int(wf_run_event(o.run, "OneTest", wf_slice("{}")), 0, "a late event");
    is_int(wf_run_threads(o.run), 0, "is ignored");
    wf_run_cancel(o.run);
    wf_run_time_out(o.run, "1");
    is_int(wf_run_state(o.run), WF_RUN_COMPLETED, "the outcome stays");
    owner_free(&o);
}


/* test_multiple_runs */

static wf_status_t
echo(wf_run_t *run, const wf_event_t *ev)
{
    return wf_stop(run, ev->data, ev->len);
}

static const wf_step_t  echo_steps[] = {
    STEP(echo, WF_TYPES(WF_START_EVENT), WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(echoes, echo_steps);


static void
test_multiple_runs(void)
{
    owner_t   a, b, c;

    owner_init(&a, &echoes);
    owner_init(&b, &echoes);
    owner_init(&c, &echoes);

    (void) wf_run_start(a.run, wf_slice("{\"n\": 1}"));
    (void) wf_run_start(b.run, wf_slice("{\"n\": 2}"));
    (void) wf_run_start(c.run, wf_slice("{\"n\": 3}"));
    owner_step(&a);
    owner_step(&b);
    owner_step(&c);
    owner_drive(&c);
    owner_drive(&b);
    owner_drive(&a);

    is_slice(wf_run_result(a.run), "{\"n\": 1}", "multiple_runs: 1");
    is_slice(wf_run_result(b.run), "{\"n\": 2}", "multiple_runs: 2");
    is_slice(wf_run_result(c.run), "{\"n\": 3}", "multiple_runs: 3");

    owner_free(&a);
    owner_free(&b);
    owner_free(&c);
}


/* test_step_send_event, test_step_send_event_to_None */

static wf_status_t
step1(wf_run_t *run, const wf_event_t *ev)
{
    size_t       len;
    const char  *json;

    (void) ev;

    if (wf_get(run, "none", &json, &len) != WF_AGAIN) {
        return wf_fail(run, "found");
    }

    if (strstr(ev->data, "all") != NULL) {
        return wf_send(run, "OneTest", "{}", 2);
    }

    if (strstr(ev->data, "none") != NULL) {
        return wf_send_to(run, "step4", "OneTest", "{}", 2);
    }

    if (strstr(ev->data, "wrong") != NULL) {
        return wf_send_to(run, "step1", "OneTest", "{}", 2);
    }

    return wf_send_to(run, "step2", "OneTest", "{}", 2);
}

static wf_status_t
step2(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;
    traced("step2");
    return wf_send(run, "Done", "{\"by\": 2}", 9);
}

static wf_status_t
step3(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;
    traced("step3");
    return wf_send(run, "Done", "{\"by\": 3}", 9);
}

static wf_status_t
_join(wf_run_t *run, const wf_event_t *ev)
{
    const wf_event_t  *events[2];

    traced(ev->data);

    if (wf_info(run)->task_id[0] == 't' && strstr(trace, "step3") == NULL) {
        return wf_stop(run, "1", 1);
    }

    return wf_collect(run, ev, WF_TYPES("Done", "Done"), 2, events) == WF_OK
           ? wf_stop(run, "2", 1) : WF_OK;
}

static const wf_step_t  send_steps[] = {
    STEP(step3, WF_TYPES("OneTest"), WF_TYPES("Done")),
    STEP(step2, WF_TYPES("OneTest"), WF_TYPES("Done")),
    STEP(_join, WF_TYPES("Done"), WF_TYPES(WF_STOP_EVENT)),
    STEP(step1, WF_TYPES(WF_START_EVENT), WF_TYPES("OneTest"))
};
WORKFLOW(sends, send_steps);


static void
test_step_send_event(void)
{
    owner_t  o;

    trace[0] = '\0';
    completes(&sends, "{}", "1", "step_send_event");
    is_str(trace, "step2 {\"by\": 2} ", "only step2 ran");

    /* With one thread only the order is known. */

    trace[0] = '\0';
    owner_init(&o, &sends);
    (void) wf_run_start(o.run, wf_slice("{\"to\": \"all\"}"));
    is_int(wf_run_threads(o.run), 1, "step_send_event_to_None");
    wf_run_work(o.run);
    is_slice(wf_run_result(o.run), "2", "both ran");
    is_str(trace, "step2 step3 {\"by\": 2} {\"by\": 3} ", "in step order");
    is_int(o.wakes, 1, "a second thread was asked for");
    owner_free(&o);

    fails(&sends, "{\"to\": \"none\"}",
          "Error in step 'step1': Step step4 does not exist", 0,
          "send_event to a step that does not exist");
    fails(&sends, "{\"to\": \"wrong\"}",
          "Error in step 'step1': Step step1 does not accept event of type "
          "OneTest", 0, "send_event to a wrong step");
}


/* How a run ends. */

static int  choice;

static wf_status_t
ends(wf_run_t *run, const wf_event_t *ev)
{
    size_t       len;
    wf_status_t  status;
    const char  *json;

    (void) ev;

    switch (choice) {
    case 0:
        return send_text(run, WF_STOP_EVENT, "{\"result\": [1, \"x\"]}");
    case 1:
        return send_text(run, WF_STOP_EVENT, "{}");
    case 2:
        status = wf_stop(run, " 1.50 ", 6);
        if (wf_stop(run, "2", 1) != WF_CANCELLED
            || wf_send(run, "Other", "{}", 2) != WF_CANCELLED
            || wf_send_to(run, "ends", "Other", "{}", 2) != WF_CANCELLED
            || wf_stream(run, "Other", "{}", 2) != WF_CANCELLED
            || wf_set(run, "k", "1", 1) != WF_CANCELLED
            || wf_collect(run, ev, WF_TYPES("X"), 1, &ev) != WF_CANCELLED
            || wf_stop_text(run, "x", 1) != WF_CANCELLED
            || wf_sleep(run, 10000) != WF_CANCELLED
            || !wf_cancelled(run))
        {
            traced("not cancelled");
        }
        (void) wf_fail(run, "ignored");
        return status;
    case 3:
        return wf_stop_text(run, "\xc3\xa9\"", 3);
    case 4:
        return WF_OK;
    case 5:
        return wf_fail(run, "arg%d is required.", 1);
    case 6:
        return wf_fail_final(run, "no");
    case 7:
        return (wf_status_t) 7;
    case 8:
        return WF_ERROR;
    case 9:
        return WF_CANCELLED;
    case 10:
        return wf_get(run, "k", &json, &len);
    case 11:
        return wf_send(run, "Progress", "{\"\xff\": 1}", 8);
    case 12:
        return send_text(run, "Progress", "[]");
    case 13:
        return wf_stop(run, NULL, 0);
    case 14:
        return wf_send(run, NULL, "{}", 2);
    case 15:
        return wf_set(run, "k", "nan", 3);
    case 16:
        return wf_set(run, "", "1", 1);
    case 17:
        return wf_stop_text(run, "a\0b", 3);
    case 18:
        return wf_send(run, "Nobody", "{}", 2);
    case 19:
        return WF_AGAIN;
    case 20:
        return wf_send_to(run, "ends", "Other", "{", 1);
    default:
        return wf_stream(run, "", "{}", 2);
    }
}

static const wf_step_t  end_steps[] = {
    STEP(ends, WF_TYPES(WF_START_EVENT), WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(endings, end_steps);


static void
test_results(void)
{
    trace[0] = '\0';

    choice = 0;
    completes(&endings, "{}", "[1, \"x\"]", "a StopEvent that is sent");
    choice = 1;
    completes(&endings, "{}", "null", "a StopEvent without a result");
    choice = 2;
    completes(&endings, "{}", "1.50", "the first StopEvent wins");
    is_str(trace, "", "what comes later is refused");
    choice = 3;
    completes(&endings, "{}", "\"\\u00e9\\\"\"", "a text");
}


static void
test_task_raises(void)
{
    static const struct {
        const char  *text;
        int          final;
        const char  *name;
    } failures[] = {
        { "The workflow has nothing left to do and no event to wait for.", 1,
          "nothing left to do" },
        { "Error in step 'ends': arg1 is required.", 0, "task_raises" },
        { "Error in step 'ends': no", 1, "task_raises for good" },
        { "Error in step 'ends': Step function ends returned 7 instead of a "
          "status.", 0, "step_returning_bogus" },
        { "Error in step 'ends': The step gave no error text.", 0,
          "an error without a text" },
        { "Error in step 'ends': The step gave no error text.", 0,
          "cancelled by itself" },
        { "Error in step 'ends': Key 'k' not found in Context", 0,
          "get not_found" },
        { "Error in step 'ends': wf_send: invalid JSON for Progress: "
          "Invalid UTF-8 at 2", 0, "invalid JSON" },
        { "Error in step 'ends': wf_send: the fields of Progress are not a "
          "JSON object", 0, "fields that are no object" },
        { "Error in step 'ends': wf_stop: invalid JSON: Expecting value at 0",
          0, "no JSON" },
        { "Error in step 'ends': wf_send: no event type", 0, "no type" },
        { "Error in step 'ends': wf_set: invalid JSON for k: Expecting value "
          "at 0", 0, "a context value that is no JSON" },
        { "Error in step 'ends': wf_set: the key is empty or not UTF-8", 0,
          "an empty key" },
        { "Error in step 'ends': wf_stop_text: the text has a NUL in it", 0,
          "a NUL" },
        { "The workflow has nothing left to do and no event to wait for.", 1,
          "an event that nobody accepts" },
        { "Error in step 'ends': Step function ends returned 1 instead of a "
          "status.", 0, "AGAIN" },
        { "Error in step 'ends': wf_send_to: invalid JSON for Other: Expecting "
          "property name enclosed in double quotes at 1", 0, "wf_send_to" },
        { "Error in step 'ends': wf_stream: no event type", 0, "wf_stream" }
    };
    size_t  i;

    for (i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        choice = 4 + (int) i;
        fails(&endings, "{}", failures[i].text, failures[i].final,
              failures[i].name);
    }
}


/* wf_event_text() */

static wf_status_t
reads(wf_run_t *run, const wf_event_t *ev)
{
    size_t        len;
    const char   *name, *text;
    wf_status_t   status;

    name = choice ? NULL : "text";

    if ((status = wf_event_text(run, ev, name, &text, &len)) != WF_OK) {
        return status;
    }

    if (text[len] != '\0') {
        return wf_fail(run, "no end");
    }

    return wf_stop_text(run, text, len);
}

static const wf_step_t  read_steps[] = {
    STEP(reads, WF_TYPES(WF_START_EVENT), WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(reading, read_steps);


static void
test_event_text(void)
{
    choice = 0;
    completes(&reading, "{\"n\": 1, \"text\": \"a\\u00e9\\\"\\ud83d\\ude00\"}",
              "\"a\\u00e9\\\"\\ud83d\\ude00\"", "a text");
    completes(&reading, "{\"text\": \"\"}", "\"\"", "an empty one");
    completes(&reading, "{\"t\\u0065xt\": \"x\"}", "\"x\"",
              "a name with an escape in it");
    fails(&reading, "{}", "Error in step 'reads': text is required.", 1,
          "none");
    fails(&reading, "{\"text\": 1}",
          "Error in step 'reads': text must be a string.", 1, "a number");
    fails(&reading, "{\"text\": null}",
          "Error in step 'reads': text must be a string.", 1, "null");
    choice = 1;
    fails(&reading, "{}", "Error in step 'reads': wf_event_text: no name", 0,
          "no name");
}


/* A StartEvent that no step accepts; wf_info(); wf_log(); wf_alloc(). */

static wf_status_t
tells(wf_run_t *run, const wf_event_t *ev)
{
    char             *p, *q;
    size_t            i;
    const wf_info_t  *info;

    (void) ev;

    info = wf_info(run);

    for (i = 1; i < 10000; i = i * 3) {
        p = wf_alloc(run, i);
        q = wf_alloc(run, i);

        if (p == NULL || q == NULL || ((uintptr_t) p & 15)
            || ((uintptr_t) q & 15))
        {
            return wf_fail(run, "alloc");
        }

        memset(p, 'p', i);
        memset(q, 'q', i);

        if (p[i - 1] != 'p') {
            return wf_fail(run, "overlap");
        }
    }

    if (wf_alloc(run, (size_t) -1) != NULL || wf_alloc(run, 0) == NULL) {
        return wf_fail(run, "alloc");
    }

    wf_log(run, WF_LOG_INFO, "%s %s %s %s %u %u", info->workflow, info->step,
           info->task_id, info->session_id, info->attempt, info->retries);

    return wf_stop(run, "0", 1);
}

static const wf_step_t  tell_steps[] = {
    STEP(tells, WF_TYPES("Other"), NULL)
};
static const wf_workflow_t  telling = { "telling", NULL, tell_steps, 1,
                                        WF_DISABLE_VALIDATION, NULL };
static const wf_workflow_t  outside = { "telling", NULL, tell_steps, 1,
                                        WF_DISABLE_VALIDATION,
                                        WF_TYPES("Other") };


static void
test_disable_validation(void)
{
    owner_t  o;

    fails(&telling, "{}",
          "The workflow has nothing left to do and no event to wait for.", 1,
          "nothing accepts the StartEvent");

    owner_init(&o, &outside);
    is_int(owner_run(&o, "{}"), WF_RUN_WAITING, "waits for an external event");
    is_int(wf_run_event(o.run, "Other", wf_slice("{}")), 0, "which comes");
    is_int(owner_drive(&o), WF_RUN_COMPLETED, "and is handled");
    is_str(o.log, "tells 2 telling tells task session 1 0", "info and log");
    owner_free(&o);
}


int
main(void)
{
    test_run();
    test_multiple_runs();
    test_step_send_event();
    test_results();
    test_task_raises();
    test_event_text();
    test_disable_validation();

    return done_testing();
}
