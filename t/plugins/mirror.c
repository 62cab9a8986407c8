/*
 * mirror:  has its input as its result.
 * keeps:   {"value": "x"} has that as its result, by way of the context: one
 *          step writes it, and the next one reads it, "ms" milliseconds later
 *          or, with "ask", when it is answered.  "pad" bytes go with it.
 * gathers: collects an event of its own and an answer.
 * spoils:  gives its context what is no JSON, and tells what it was told.
 */

#include <workflow_jansson.h>


static wf_status_t
mirror(wf_run_t *run, const wf_event_t *ev)
{
    return wf_stop(run, ev->data, ev->len);
}


static wf_status_t
pad(wf_run_t *run, int size)
{
    char  *text;

    text = wf_alloc(run, (size_t) size + 2);
    if (text == NULL) {
        return wf_fail(run, "no memory");
    }

    memset(text, 'x', (size_t) size + 2);
    text[0] = '"';
    text[size + 1] = '"';

    return wf_set(run, "pad", text, (size_t) size + 2);
}


static wf_status_t
put(wf_run_t *run, const wf_event_t *ev)
{
    int           ms, ask, size;
    json_t       *input, *value;
    wf_status_t   rc;

    ms = 0;
    ask = 0;
    size = 0;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    if (json_unpack(input, "{so, s?i, s?b, s?i}", "value", &value, "ms", &ms,
                    "ask", &ask, "pad", &size)
        != 0)
    {
        rc = wf_fail_final(run, "bad input");
    }

    if (rc == WF_OK) {
        rc = wf_set_json(run, "value", json_incref(value));
    }

    json_decref(input);

    if (rc == WF_OK && size > 0) {
        rc = pad(run, size);
    }

    if (rc != WF_OK) {
        return rc;
    }

    return ask ? wf_send_json(run, WF_INPUT_REQUIRED_EVENT,
                              json_pack("{ss}", "prefix", "Go on? "))
               : wf_send_json(run, "NextEvent", json_pack("{si}", "ms", ms));
}


static wf_status_t
get(wf_run_t *run, const wf_event_t *ev)
{
    int           ms;
    size_t        len;
    json_t       *input;
    const char   *value;
    wf_status_t   rc;

    ms = 0;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    (void) json_unpack(input, "{s?i}", "ms", &ms);
    json_decref(input);

    rc = wf_sleep(run, (uint32_t) ms);

    if (rc == WF_OK) {
        rc = wf_get(run, "value", &value, &len);
    }

    return rc == WF_OK ? wf_stop(run, value, len) : rc;
}


static wf_status_t
begin(wf_run_t *run, const wf_event_t *ev)
{
    wf_status_t  rc;

    rc = wf_send(run, "PartEvent", ev->data, ev->len);
    if (rc != WF_OK) {
        return rc;
    }

    return wf_send_json(run, WF_INPUT_REQUIRED_EVENT,
                        json_pack("{ss}", "prefix", "And? "));
}


static wf_status_t
join(wf_run_t *run, const wf_event_t *ev)
{
    json_t            *part, *answer;
    wf_status_t        rc;
    const wf_event_t  *events[2];

    rc = wf_collect(run, ev, WF_TYPES("PartEvent", WF_HUMAN_RESPONSE_EVENT), 2,
                    events);
    if (rc != WF_OK) {
        return rc == WF_AGAIN ? WF_OK : rc;
    }

    rc = wf_event_json(run, events[0], &part);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_event_json(run, events[1], &answer);
    if (rc != WF_OK) {
        json_decref(part);
        return rc;
    }

    return wf_stop_json(run, json_pack("[oo]", part, answer));
}


static wf_status_t
spoil(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return wf_stop_json(run, json_string(wf_set(run, "k", "<object>", 8)
                                         == WF_ERROR ? "refused" : "kept"));
}


static const wf_step_t  mirror_steps[] = {

    { .name = "mirror",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = mirror },
};


static const wf_step_t  keeps_steps[] = {

    { .name = "put",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES("NextEvent", WF_INPUT_REQUIRED_EVENT),
      .run = put },

    { .name = "get",
      .accepts = WF_TYPES("NextEvent", WF_HUMAN_RESPONSE_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = get },
};


static const wf_step_t  gathers_steps[] = {

    { .name = "begin",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES("PartEvent", WF_INPUT_REQUIRED_EVENT),
      .run = begin },

    { .name = "join",
      .accepts = WF_TYPES("PartEvent", WF_HUMAN_RESPONSE_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = join,
      .num_workers = 1 },
};


static const wf_step_t  spoils_steps[] = {

    { .name = "spoil",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = spoil },
};


WF_PLUGIN(WF_WORKFLOW("mirror", "Gives back its input.", mirror_steps),
          WF_WORKFLOW("keeps", "Keeps a value.", keeps_steps),
          WF_WORKFLOW("gathers", "Collects an answer.", gathers_steps),
          WF_WORKFLOW("spoils", "Spoils its context.", spoils_steps));
