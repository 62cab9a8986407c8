/*
 * echo: one step.  {"arg1": "hello"} becomes "hello_result".
 */

#include <workflow_jansson.h>


static wf_status_t
echo(wf_run_t *run, const wf_event_t *ev)
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


static const wf_step_t  steps[] = {

    { .name = "echo",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = echo },
};


WF_PLUGIN(WF_WORKFLOW("echo", "Gives back what it was given.", steps));
