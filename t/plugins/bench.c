/*
 * What make bench measures: "three" steps that hand arg1 on, and "one" that
 * does the same work, reading and writing the same JSON, in one step; "events"
 * streams {"n": 1000} events.
 */

#include <workflow_jansson.h>


#define FIRST_EVENT   "FirstEvent"
#define SECOND_EVENT  "SecondEvent"
#define TICK_EVENT    "TickEvent"

#define TICKS_MAX     1000000


static wf_status_t
hand_on(wf_run_t *run, const wf_event_t *ev, const char *type)
{
    json_t       *input;
    const char   *arg1;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_string_field(run, input, "arg1", &arg1);

    if (rc == WF_OK) {
        rc = wf_send_json(run, type, json_pack("{ss}", "arg1", arg1));
    }

    json_decref(input);

    return rc;
}


static wf_status_t
s1(wf_run_t *run, const wf_event_t *ev)
{
    return hand_on(run, ev, FIRST_EVENT);
}


static wf_status_t
s2(wf_run_t *run, const wf_event_t *ev)
{
    return hand_on(run, ev, SECOND_EVENT);
}


static wf_status_t
s3(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *input;
    const char   *arg1;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_string_field(run, input, "arg1", &arg1);

    if (rc == WF_OK) {
        rc = wf_stop_json(run, json_sprintf("%s_result", arg1));
    }

    json_decref(input);

    return rc;
}


/* What s1 and s2 do, but for the event. */

static wf_status_t
again(wf_run_t *run, json_t **input)
{
    char         *text;
    const char   *arg1;
    wf_status_t   rc;

    rc = wf_string_field(run, *input, "arg1", &arg1);
    if (rc != WF_OK) {
        return rc;
    }

    text = wf_json_dump_(run, json_pack("{ss}", "arg1", arg1));
    if (text == NULL) {
        return WF_ERROR;
    }

    json_decref(*input);

    rc = wf_json_load_(run, text, strlen(text), input);
    free(text);

    return rc;
}


static wf_status_t
one(wf_run_t *run, const wf_event_t *ev)
{
    int           i;
    json_t       *input;
    const char   *arg1;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);

    for (i = 0; rc == WF_OK && i < 2; i++) {
        rc = again(run, &input);
    }

    if (rc == WF_OK) {
        rc = wf_string_field(run, input, "arg1", &arg1);
    }

    if (rc == WF_OK) {
        rc = wf_stop_json(run, json_sprintf("%s_result", arg1));
    }

    json_decref(input);

    return rc;
}


static wf_status_t
tick(wf_run_t *run, const wf_event_t *ev)
{
    int           i, n;
    json_t       *input;
    wf_status_t   rc;

    static const char  fields[] = "{\"progress\": 0.5}";

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_int_field(run, input, "n", 1, TICKS_MAX, &n);
    json_decref(input);

    for (i = 0; rc == WF_OK && i < n; i++) {
        rc = wf_stream(run, TICK_EVENT, fields, sizeof(fields) - 1);
    }

    return rc == WF_OK ? wf_stop_json(run, json_integer(n)) : rc;
}


static const wf_step_t  one_steps[] = {

    { .name = "one",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = one },
};


static const wf_step_t  three_steps[] = {

    { .name = "s1",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(FIRST_EVENT),
      .run = s1 },

    { .name = "s2",
      .accepts = WF_TYPES(FIRST_EVENT),
      .produces = WF_TYPES(SECOND_EVENT),
      .run = s2 },

    { .name = "s3",
      .accepts = WF_TYPES(SECOND_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = s3 },
};


static const wf_step_t  events_steps[] = {

    { .name = "tick",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = tick },
};


WF_PLUGIN(WF_WORKFLOW("one", "One step.", one_steps),
          WF_WORKFLOW("three", "Three steps.", three_steps),
          WF_WORKFLOW("events", "Streams.", events_steps));
