/*
 * ask: a human in the loop.  The first step asks, and the run waits without
 * holding anything until a HumanResponseEvent is sent to the task; its response
 * is the result.
 */

#include <workflow_jansson.h>


static wf_status_t
ask(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return wf_send_json(run, WF_INPUT_REQUIRED_EVENT,
                        json_pack("{ss}", "prefix", "Enter a number: "));
}


static wf_status_t
answer(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *human;
    const char   *response;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &human);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_string_field(run, human, "response", &response);
    if (rc == WF_OK) {
        rc = wf_stop_json(run, json_string(response));
    }

    json_decref(human);

    return rc;
}


static const wf_step_t  steps[] = {

    { .name = "ask",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_INPUT_REQUIRED_EVENT),
      .run = ask },

    { .name = "answer",
      .accepts = WF_TYPES(WF_HUMAN_RESPONSE_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = answer },
};


WF_PLUGIN(WF_WORKFLOW("ask", "Asks a human for a number.", steps));
