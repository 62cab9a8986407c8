/*
 * greeting: the smallest workflow.  {"name": "Ada"} becomes "Hello, Ada!".
 */

#include <workflow_jansson.h>


static wf_status_t
greet(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *input;
    const char   *name;
    wf_status_t   rc;

    if ((rc = wf_event_json(run, ev, &input)) == WF_OK) {
        if ((rc = wf_string_field(run, input, "name", &name)) == WF_OK) {
            rc = wf_stop_json(run, json_sprintf("Hello, %s!", name));
        }

        json_decref(input);
    }

    return rc;
}


static const wf_step_t  steps[] = {
    { .name = "greet", .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT), .run = greet },
};

WF_PLUGIN(WF_WORKFLOW("greeting", "Greets whoever asks.", steps));
