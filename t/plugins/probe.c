/*
 * Workflows for the tests alone.
 *
 * value:   {"json": "[1]"} has that JSON value as its result; {"stream": [..]}
 *          streams those objects first.
 * gauge:   {"us": 100} sleeps so long and tells which process it ran in, and
 *          how many of its kind that process has run at once at most.
 * gauge2:  the same, with a count of its own.
 * twice:   asks two questions, one after the other.
 * either:  asks, and ends with an answer, or after a minute.
 */

#include <workflow_jansson.h>

#include <unistd.h>


typedef struct {
    int  now;
    int  max;
} gauge_t;


static gauge_t  first, second;


static wf_status_t
value(wf_run_t *run, const wf_event_t *ev)
{
    size_t        i;
    json_t       *input, *streamed, *element;
    const char   *text;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    streamed = json_object_get(input, "stream");

    json_array_foreach(streamed, i, element) {
        rc = wf_stream_json(run, "ValueEvent", json_incref(element));
        if (rc != WF_OK) {
            break;
        }
    }

    if (rc == WF_OK) {
        rc = wf_string_field(run, input, "json", &text);
    }

    if (rc == WF_OK) {
        rc = wf_stop(run, text, strlen(text));
    }

    json_decref(input);

    return rc;
}


static wf_status_t
gauge(wf_run_t *run, const wf_event_t *ev, gauge_t *g)
{
    int           us, now, max;
    json_t       *input;
    wf_status_t   rc;

    now = __atomic_add_fetch(&g->now, 1, __ATOMIC_SEQ_CST);
    max = __atomic_load_n(&g->max, __ATOMIC_SEQ_CST);

    while (now > max
           && !__atomic_compare_exchange_n(&g->max, &max, now, 0,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
    {
        /* max has been read again */
    }

    rc = wf_event_json(run, ev, &input);

    if (rc == WF_OK) {
        rc = wf_int_field(run, input, "us", 0, 60000000, &us);
        json_decref(input);
    }

    if (rc == WF_OK && us >= 1000) {
        rc = wf_sleep(run, (uint32_t) us / 1000);

    } else if (rc == WF_OK && us > 0) {
        (void) usleep((useconds_t) us);
    }

    max = __atomic_load_n(&g->max, __ATOMIC_SEQ_CST);

    (void) __atomic_sub_fetch(&g->now, 1, __ATOMIC_SEQ_CST);

    if (rc != WF_OK) {
        return rc;
    }

    return wf_stop_json(run, json_pack("{sisi}", "pid", (int) getpid(),
                                       "max", max));
}


static wf_status_t
gauge_first(wf_run_t *run, const wf_event_t *ev)
{
    return gauge(run, ev, &first);
}


static wf_status_t
gauge_second(wf_run_t *run, const wf_event_t *ev)
{
    return gauge(run, ev, &second);
}


static wf_status_t
ask(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return wf_send_json(run, WF_INPUT_REQUIRED_EVENT,
                        json_pack("{ss}", "prefix", "First: "));
}


static wf_status_t
answer(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *human, *before;
    const char   *response;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &human);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_string_field(run, human, "response", &response);

    if (rc == WF_OK) {
        rc = wf_get_json(run, "first", &before);

        if (rc == WF_OK) {
            rc = wf_stop_json(run, json_sprintf("%s, %s",
                                                json_string_value(before),
                                                response));
            json_decref(before);

        } else if (rc == WF_AGAIN) {
            rc = wf_set_json(run, "first", json_string(response));

            if (rc == WF_OK) {
                rc = wf_send_json(run, WF_INPUT_REQUIRED_EVENT,
                                  json_pack("{ss}", "prefix", "Second: "));
            }
        }
    }

    json_decref(human);

    return rc;
}


static wf_status_t
either(wf_run_t *run, const wf_event_t *ev)
{
    wf_status_t  rc;

    rc = ask(run, ev);

    if (rc == WF_OK) {
        rc = wf_send_json(run, "WaitEvent", json_object());
    }

    return rc;
}


static wf_status_t
either_wait(wf_run_t *run, const wf_event_t *ev)
{
    wf_status_t  rc;

    (void) ev;

    rc = wf_sleep(run, 60000);

    return rc == WF_OK ? wf_stop_json(run, json_string("nobody")) : rc;
}


static wf_status_t
either_answer(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return wf_stop_json(run, json_string("somebody"));
}


static const wf_step_t  value_steps[] = {

    { .name = "value",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = value },
};


static const wf_step_t  gauge_steps[] = {

    { .name = "gauge",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = gauge_first },
};


static const wf_step_t  gauge2_steps[] = {

    { .name = "gauge",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = gauge_second },
};


static const wf_step_t  twice_steps[] = {

    { .name = "ask",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_INPUT_REQUIRED_EVENT),
      .run = ask },

    { .name = "answer",
      .accepts = WF_TYPES(WF_HUMAN_RESPONSE_EVENT),
      .produces = WF_TYPES(WF_INPUT_REQUIRED_EVENT, WF_STOP_EVENT),
      .run = answer,
      .num_workers = 1 },
};


static const wf_step_t  either_steps[] = {

    { .name = "either",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_INPUT_REQUIRED_EVENT, "WaitEvent"),
      .run = either },

    { .name = "wait",
      .accepts = WF_TYPES("WaitEvent"),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = either_wait },

    { .name = "answer",
      .accepts = WF_TYPES(WF_HUMAN_RESPONSE_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = either_answer },
};


WF_PLUGIN(WF_WORKFLOW("value", "Has the result that it is given.",
                      value_steps),
          WF_WORKFLOW("gauge", "Counts its kind.", gauge_steps),
          WF_WORKFLOW("gauge2", "Counts its kind.", gauge2_steps),
          WF_WORKFLOW("twice", "Asks two questions.", twice_steps),
          WF_WORKFLOW("either", "Ends with an answer, or without.",
                      either_steps));
