/* Runs that are saved, and go on in another process. */

#include "engine.h"


static gate_t  gate;
static int     asked;


static char *
saved_of(wf_engine_run_t *run)
{
    char      *text;
    wf_buf_t   b = WF_BUF_INIT;

    if (wf_run_save(run, &b) != 0) {
        printf("Bail out! not saved\n");
        exit(1);
    }

    text = strndup(b.data, b.len);
    wf_buf_free(&b);

    return text;
}


/* test_human_in_the_loop_with_resume */

static wf_status_t
ask(wf_run_t *run, const wf_event_t *ev)
{
    asked++;

    if (wf_set(run, "input \"\xc3\xa9\"", ev->data, ev->len) != WF_OK
        || set_text(run, "other", "null") != WF_OK
        || send_text(run, "Part", "{\"n\": [1, \"\\u00e9 \xc3\xa9\"]}")
           != WF_OK)
    {
        return WF_ERROR;
    }

    return send_text(run, WF_INPUT_REQUIRED_EVENT, "{\"prefix\": \"?\"}");
}

static wf_status_t
answer(wf_run_t *run, const wf_event_t *ev)
{
    char               text[512];
    size_t             len;
    const char        *json;
    const wf_event_t  *events[2];

    switch (wf_collect(run, ev, WF_TYPES(WF_HUMAN_RESPONSE_EVENT, "Part"), 2,
                       events))
    {
    case WF_OK:
        break;
    case WF_AGAIN:
        return WF_OK;
    default:
        return WF_ERROR;
    }

    if (wf_get(run, "input \"\xc3\xa9\"", &json, &len) != WF_OK) {
        return WF_ERROR;
    }

    (void) snprintf(text, sizeof(text), "[%s, %s, %s]", events[0]->data,
                    events[1]->data, json);

    return wf_stop(run, text, strlen(text));
}

static const wf_step_t  human_steps[] = {
    STEP(ask, WF_TYPES(WF_START_EVENT),
         WF_TYPES("Part", WF_INPUT_REQUIRED_EVENT)),
    STEP(answer, WF_TYPES("Part", WF_HUMAN_RESPONSE_EVENT),
         WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(human, human_steps);


static void
test_human_in_the_loop_with_resume(void)
{
    char     *saved, *again;
    owner_t   o;

    owner_init(&o, &human);
    is_int(owner_run(&o, "{\"x\":  1}"), WF_RUN_WAITING, "waits");
    saved = saved_of(o.run);
    owner_free(&o);

    owner_init(&o, &human);
    is_int(wf_run_restore(o.run, test_slice(saved)), 0, "restored");
    is_int(wf_run_state(o.run), WF_RUN_WAITING, "waits again");

    again = saved_of(o.run);
    is_str(again, saved, "is saved as it was");

    (void) wf_run_event(o.run, WF_HUMAN_RESPONSE_EVENT,
                        wf_slice("{\"response\": \"42\"}"));
    is_int(owner_drive(&o), WF_RUN_COMPLETED,
           "human_in_the_loop_with_resume");
    is_slice(wf_run_result(o.run), "[{\"response\": \"42\"}, "
             "{\"n\": [1, \"\\u00e9 \xc3\xa9\"]}, {\"x\":  1}]", "result");
    is_str(o.output, "{\"result\": [{\"response\": \"42\"}, "
           "{\"n\": [1, \"\\u00e9 \xc3\xa9\"]}, {\"x\":  1}]}\n",
           "the question is not put out again");
    is_int(asked, 1, "each step ran once");
    owner_free(&o);

    free(saved);
    free(again);
}


/* test_context_to_dict_mid_run: one call has taken a set and is in progress,
 * others wait for a worker, a retry is delayed. */

static int  resumed;

static wf_status_t
begin(wf_run_t *run, const wf_event_t *ev)
{
    int   i;
    char  json[32];

    (void) ev;

    for (i = 0; i < 6; i++) {
        (void) snprintf(json, sizeof(json), "{\"n\": %d}", i);

        if (send_text(run, "Item", json) != WF_OK) {
            return WF_ERROR;
        }
    }

    return send_text(run, "Flaky", "{}");
}

static wf_status_t
pairs(wf_run_t *run, const wf_event_t *ev)
{
    char               text[64];
    const wf_event_t  *e[2];

    if (wf_collect(run, ev, WF_TYPES("Item", "Item"), 2, e) != WF_OK) {
        return WF_OK;
    }

    if (!resumed) {
        gate_pass(&gate);
        return WF_OK;
    }

    (void) snprintf(text, sizeof(text), "{\"pair\": [%s, %s]}", e[0]->data,
                    e[1]->data);

    return wf_stream(run, "Pair", text, strlen(text));
}

static wf_status_t
flaky(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    if (!resumed) {
        return wf_fail(run, "once");
    }

    return wf_info(run)->retries == 1 ? send_text(run, "Late", "{}")
                                      : wf_fail(run, "retries");
}

static wf_status_t
late(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return wf_stop(run, "1", 1);
}

static const wf_step_t  middle_steps[] = {
    STEP(begin, WF_TYPES(WF_START_EVENT), WF_TYPES("Item", "Flaky")),
    { .name = "flaky", .accepts = WF_TYPES("Flaky"),
      .produces = WF_TYPES("Late"), .run = flaky,
      .retry = WF_RETRY(2, 500) },
    STEP(late, WF_TYPES("Late"), WF_TYPES(WF_STOP_EVENT)),
    { .name = "pairs", .accepts = WF_TYPES("Item"), .run = pairs,
      .num_workers = 1 }
};
WORKFLOW(middle, middle_steps);

static void *
work(void *data)
{
    wf_run_work(((owner_t *) data)->run);

    return NULL;
}

static void
test_context_to_dict_mid_run(void)
{
    char       *saved;
    owner_t     o;
    pthread_t   thread;

    owner_init(&o, &middle);
    (void) wf_run_start(o.run, wf_slice("{}"));
    (void) wf_run_threads(o.run);
    pthread_create(&thread, NULL, work, &o);
    gate_await(&gate, 1);

    saved = saved_of(o.run);

    gate_open(&gate);
    pthread_join(thread, NULL);
    owner_free(&o);

    ok(strstr(saved, "{\"version\": 1, \"collected\": [{\"step\": \"pairs\", \"type\": \"Item\", "
              "\"data\": \"{\\\"n\\\": 0}\", \"order\": 1}, ")
       == saved, "what a call in progress took is collected");
    ok(strstr(saved, "\"pending\": [{\"step\": \"pairs\", \"type\": \"Item\", "
              "\"data\": \"{\\\"n\\\": 1}\", \"kept\": true}, "
              "{\"step\": \"flaky\", \"type\": \"Flaky\", \"data\": \"{}\", "
              "\"retries\": 1, \"elapsed\": ") != NULL,
       "its event is pending, then the delayed one");
    ok(strstr(saved, "{\"step\": \"pairs\", \"type\": \"Item\", "
              "\"data\": \"{\\\"n\\\": 2}\"}, ") != NULL,
       "then what waits for a worker");

    resumed = 1;

    owner_init(&o, &middle);
    is_int(wf_run_restore(o.run, test_slice(saved)), 0, "restored");
    is_int(wf_run_state(o.run), WF_RUN_BUSY, "busy at once");
    ok(wf_run_delay(o.run) > 0, "the retry is delayed as before");
    is_int(owner_drive(&o), WF_RUN_COMPLETED, "context_to_dict_mid_run");
    is_str(o.output, "{\"pair\": [{\"n\": 0}, {\"n\": 1}]}\n"
           "{\"pair\": [{\"n\": 2}, {\"n\": 3}]}\n"
           "{\"pair\": [{\"n\": 4}, {\"n\": 5}]}\n{\"result\": 1}\n",
           "nothing is lost, nothing is done twice");
    owner_free(&o);

    free(saved);
}


/* test_continue_context: a session's second task finds the first one's. */

static wf_status_t
counts(wf_run_t *run, const wf_event_t *ev)
{
    char         n[16];
    size_t       len;
    const char  *json;

    (void) ev;

    switch (wf_get(run, "count", &json, &len)) {
    case WF_OK:
        break;
    case WF_AGAIN:
        json = "0";
        break;
    default:
        return WF_ERROR;
    }

    (void) snprintf(n, sizeof(n), "%d", atoi(json) + 1);

    return set_text(run, "count", n) == WF_OK
           && wf_send(run, "Left", "{}", 2) == WF_OK
           ? wf_stop(run, n, strlen(n)) : WF_ERROR;
}

static wf_status_t
left(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return wf_fail(run, "what an ended run left is not done");
}

static const wf_step_t  count_steps[] = {
    STEP(counts, WF_TYPES(WF_START_EVENT), WF_TYPES("Left", WF_STOP_EVENT)),
    STEP(left, WF_TYPES("Left"), NULL)
};
WORKFLOW(counting, count_steps);

static void
test_continue_context(void)
{
    char     *saved;
    owner_t   o;

    completes(&counting, "{}", "1", "continue_context: first");

    owner_init(&o, &counting);
    (void) owner_run(&o, "{}");
    saved = saved_of(o.run);
    owner_free(&o);

    is_str(saved, "{\"version\": 1, \"running\": false, \"context\": "
           "{\"count\": \"1\"}}", "an ended run");

    owner_init(&o, &counting);
    is_int(wf_run_restore(o.run, test_slice(saved)), 0, "restored");
    is_int(wf_run_threads(o.run), 0, "nothing to do");
    is_int(wf_run_state(o.run), WF_RUN_WAITING, "until it is started");
    is_int(owner_run(&o, "{}"), WF_RUN_COMPLETED, "which it is");
    is_slice(wf_run_result(o.run), "2", "continue_context: second");
    owner_free(&o);

    free(saved);
}


/* What a session gives a run, and what the run has set of it. */

static wf_status_t
sets(wf_run_t *run, const wf_event_t *ev)
{
    size_t       len;
    const char  *json;

    (void) ev;

    return wf_get(run, "kept", &json, &len) == WF_OK
           && set_text(run, "same", "1") == WF_OK
           && set_text(run, "new", "{}") == WF_OK
           ? send_text(run, WF_INPUT_REQUIRED_EVENT, "{\"prefix\": \"\"}")
           : WF_ERROR;
}

static wf_status_t
sets_more(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return set_text(run, "late", "[]") == WF_OK ? wf_stop(run, "1", 1)
                                                 : WF_ERROR;
}

static const wf_step_t  set_steps[] = {
    STEP(sets, WF_TYPES(WF_START_EVENT), NULL),
    STEP(sets_more, WF_TYPES(WF_HUMAN_RESPONSE_EVENT),
         WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(setting, set_steps);

static void
is_context(wf_engine_run_t *run, const char *expected, const char *name)
{
    char              text[256], *end;
    size_t            i;
    wf_run_context_t  entry;

    end = text;
    *end = '\0';

    for (i = 0; wf_run_context(run, i, &entry); i++) {
        end += sprintf(end, "%.*s%s%.*s\n", (int) entry.key.len,
                       entry.key.data, entry.changed ? "!" : "=",
                       (int) entry.value.len, entry.value.data);
    }

    is_str(text, expected, name);
}

static void
answers(const char *saved, const char *expected, const char *name)
{
    owner_t  o;

    owner_init(&o, &setting);
    is_int(wf_run_restore(o.run, test_slice(saved)), 0, name);
    (void) wf_run_event(o.run, WF_HUMAN_RESPONSE_EVENT, wf_slice("{}"));
    is_int(owner_drive(&o), WF_RUN_COMPLETED, name);
    is_context(o.run, expected, name);
    owner_free(&o);
}

static void
test_changed(void)
{
    char     *saved;
    owner_t   o;

    owner_init(&o, &setting);
    is_int(wf_run_set(o.run, (wf_slice_t) { "kept it", 4 },
                      (wf_slice_t) { "[0] ", 3 }), 0, "set");
    is_int(wf_run_set(o.run, wf_slice("same"), wf_slice("2")), 0, "set");
    is_int(wf_run_set(o.run, wf_slice("same"), wf_slice("1")), 0, "again");
    is_int(wf_run_set(o.run, wf_slice(""), wf_slice("0")), 0, "empty key");
    is_int(owner_run(&o, "{}"), WF_RUN_WAITING, "found in the context");
    saved = saved_of(o.run);

    ok(strstr(saved, "\"changed\": [\"new\", \"same\"]}") != NULL,
       "what was set is saved");

    (void) wf_run_event(o.run, WF_HUMAN_RESPONSE_EVENT, wf_slice("{}"));
    is_int(owner_drive(&o), WF_RUN_COMPLETED, "completes");
    is_context(o.run, "=0\nkept=[0]\nlate![]\nnew!{}\nsame!1\n",
               "changed: what a step has set, also to what it was");
    owner_free(&o);

    answers(saved, "=0\nkept=[0]\nlate![]\nnew!{}\nsame!1\n",
            "a run that goes on elsewhere knows");
    free(saved);

    answers("{\"version\": 1, \"running\": true, \"context\": "
            "{\"a\": \"1\"}, \"collected\": [], \"pending\": []}",
            "a!1\nlate![]\n", "of an older text all of it may be");

    owner_init(&o, &counting);
    is_int(wf_run_restore(o.run, wf_slice("{\"version\": 1, \"running\": "
                          "false, \"context\": {\"a\": \"1\"}, "
                          "\"collected\": []}")), 0, "an ended run");
    is_int(owner_run(&o, "{}"), WF_RUN_COMPLETED, "and the next one");
    is_context(o.run, "a=1\ncount!1\n", "have changes of their own");
    owner_free(&o);
}


/* JSON as deep as may be. */

static wf_status_t
deepens(wf_run_t *run, const wf_event_t *ev)
{
    return wf_set(run, "deep", ev->data, ev->len) == WF_OK
           ? send_text(run, WF_INPUT_REQUIRED_EVENT, "{\"prefix\": \"\"}")
           : WF_ERROR;
}

static wf_status_t
returns(wf_run_t *run, const wf_event_t *ev)
{
    size_t       len;
    const char  *json;

    (void) ev;

    return wf_get(run, "deep", &json, &len) == WF_OK ? wf_stop(run, json, len)
                                                     : WF_ERROR;
}

static const wf_step_t  deep_steps[] = {
    STEP(deepens, WF_TYPES(WF_START_EVENT), NULL),
    STEP(returns, WF_TYPES(WF_HUMAN_RESPONSE_EVENT), WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(deep, deep_steps);

static void
test_deep(void)
{
    char      input[4 * WF_JSON_MAX_DEPTH], *saved;
    size_t    i, n;
    owner_t   o;

    n = 0;
    n += (size_t) sprintf(input, "{\"a\": ");

    for (i = 1; i < WF_JSON_MAX_DEPTH; i++) {
        input[n++] = '[';
    }

    for (i = 1; i < WF_JSON_MAX_DEPTH; i++) {
        input[n++] = ']';
    }

    (void) strcpy(input + n, "}");

    owner_init(&o, &deep);
    is_int(owner_run(&o, input), WF_RUN_WAITING, "deep JSON");
    saved = saved_of(o.run);
    owner_free(&o);

    owner_init(&o, &deep);
    is_int(wf_run_restore(o.run, test_slice(saved)), 0, "is restored");
    (void) wf_run_event(o.run, WF_HUMAN_RESPONSE_EVENT, wf_slice("{}"));
    is_int(owner_drive(&o), WF_RUN_COMPLETED, "and used");
    is_slice(wf_run_result(o.run), input, "as it was");
    owner_free(&o);

    free(saved);
}


static void
test_not_readable(void)
{
#define HEAD  "{\"version\": 1, \"running\": true, \"context\": {}, "
#define BODY  HEAD "\"collected\": [], \"pending\": "

    static const char *const  texts[] = {
        "", "[]", "{}", "{\"version\": 2}",
        "{\"version\": 1, \"running\": true, \"context\": [], "
            "\"collected\": []}",
        "{\"version\": 1, \"running\": true, \"context\": {\"a\": 1}, "
            "\"collected\": []}",
        "{\"version\": 1, \"running\": true, \"context\": {\"a\": \"{\"}, "
            "\"collected\": []}",
        HEAD "\"changed\": [\"a\"], \"collected\": []}",
        HEAD "\"changed\": [1], \"collected\": []}",
        HEAD "\"collected\": {}}", HEAD "\"collected\": [1]}",
        BODY "{}}", BODY "[1]}", BODY "[{}]}", BODY "[{\"step\": 1}]}",
        BODY "[{\"step\": \"none\"}]}", BODY "[{\"step\": \"ask\"}]}",
        BODY "[{\"step\": \"ask\", \"type\": \"Part\"}]}",
        BODY "[{\"step\": \"ask\", \"type\": \"StartEvent\"}]}",
        BODY "[{\"step\": \"ask\", \"type\": \"StartEvent\", \"data\": {}}]}",
        BODY "[{\"step\": \"ask\", \"type\": \"StartEvent\", "
            "\"data\": \"[]\"}]}",
        BODY "[{\"step\": \"ask\", \"type\": \"StartEvent\", "
            "\"data\": \"{}\", \"retries\": -1}]}",
        BODY "[{\"step\": \"ask\", \"type\": \"StartEvent\", "
            "\"data\": \"{}\", \"delay\": 1234567890123456}]}",
        BODY "[{\"step\": \"ask\", \"type\": \"StartEvent\", "
            "\"data\": \"{}\", \"elapsed\": \"1\"}]}"
    };
    size_t   i;
    owner_t  o;

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        owner_init(&o, &human);
        is_int(wf_run_restore(o.run, test_slice(texts[i])), -1, texts[i]);
        owner_free(&o);
    }

    owner_init(&o, &human);
    is_int(wf_run_restore(o.run, wf_slice("{\"version\": 1, \"running\": "
                          "false, \"context\": {}, \"collected\": "
                          "[{\"step\": \"old\", \"type\": \"T\", "
                          "\"data\": \"{}\"}]}")), 0,
           "a session may outlive a step");
    owner_free(&o);

    owner_init(&o, &counting);
    is_int(wf_run_restore(o.run, wf_slice(BODY "[]}")), 0, "nothing pending");
    is_int(wf_run_state(o.run), WF_RUN_FAILED, "is nothing to wait for");
    owner_free(&o);
}


int
main(void)
{
    pthread_mutex_init(&gate.lock, NULL);
    pthread_cond_init(&gate.changed, NULL);

    test_human_in_the_loop_with_resume();
    test_context_to_dict_mid_run();
    test_continue_context();
    test_changed();
    test_deep();
    test_not_readable();

    return done_testing();
}
