/*
 * echo: one step.  {"arg1": "hello"} becomes "hello_result".
 */

#include <string.h>

#include <workflow.h>


static wf_status_t
echo(wf_run_t *run, const wf_event_t *ev)
{
    char         *text;
    size_t        len;
    const char   *arg1;
    wf_status_t   rc;

    static const char  suffix[] = "_result";

    rc = wf_event_text(run, ev, "arg1", &arg1, &len);
    if (rc != WF_OK) {
        return rc;
    }

    text = wf_alloc(run, len + sizeof(suffix));
    if (text == NULL) {
        return wf_fail(run, "No memory.");
    }

    memcpy(text, arg1, len);
    memcpy(text + len, suffix, sizeof(suffix));

    return wf_stop_text(run, text, len + sizeof(suffix) - 1);
}


static const wf_step_t  steps[] = {

    { .name = "echo",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = echo },
};


WF_PLUGIN(WF_WORKFLOW("echo", "Gives back what it was given.", steps));
