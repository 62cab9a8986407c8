/*
 * chat: {"n": 3} asks so many questions, one after the other, and has the list
 * of the answers as its result, in the order in which they were worked on.
 */

#include <workflow_jansson.h>


static wf_status_t
ask(wf_run_t *run, const wf_event_t *ev)
{
    int           n;
    json_t       *input;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_int_field(run, input, "n", 1, 1000, &n);
    json_decref(input);

    if (rc == WF_OK) {
        rc = wf_set_json(run, "n", json_integer(n));
    }

    if (rc == WF_OK) {
        rc = wf_set_json(run, "said", json_array());
    }

    if (rc != WF_OK) {
        return rc;
    }

    return wf_send_json(run, WF_INPUT_REQUIRED_EVENT,
                        json_pack("{si}", "prefix", 0));
}


static wf_status_t
hear(wf_run_t *run, json_t *human, json_t *said)
{
    json_t       *n;
    const char   *response;
    json_int_t    expected;
    wf_status_t   rc;

    rc = wf_string_field(run, human, "response", &response);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_get_json(run, "n", &n);
    if (rc != WF_OK) {
        return wf_fail(run, "answered before it asked");
    }

    expected = json_integer_value(n);
    json_decref(n);

    if (json_array_append_new(said, json_string(response)) != 0) {
        return wf_fail(run, "no memory");
    }

    if ((json_int_t) json_array_size(said) == expected) {
        return wf_stop_json(run, json_incref(said));
    }

    rc = wf_set_json(run, "said", json_incref(said));
    if (rc != WF_OK) {
        return rc;
    }

    return wf_send_json(run, WF_INPUT_REQUIRED_EVENT,
                        json_pack("{si}", "prefix",
                                  (int) json_array_size(said)));
}


static wf_status_t
answer(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *human, *said;
    wf_status_t   rc;

    rc = wf_get_json(run, "said", &said);
    if (rc != WF_OK) {
        return wf_fail(run, "answered before it asked");
    }

    rc = wf_event_json(run, ev, &human);

    if (rc == WF_OK) {
        rc = hear(run, human, said);
        json_decref(human);
    }

    json_decref(said);

    return rc;
}


static const wf_step_t  steps[] = {

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


WF_PLUGIN(WF_WORKFLOW("chat", "Asks, and asks again.", steps));
