/*
 * sleeper: {"ms": 100} blocks a thread for so many milliseconds, or until the
 * run is cancelled.
 */

#include <workflow_jansson.h>


#define MS_MAX  (24 * 60 * 60 * 1000)


static wf_status_t
nap(wf_run_t *run, const wf_event_t *ev)
{
    int           ms;
    json_t       *input;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_int_field(run, input, "ms", 0, MS_MAX, &ms);
    json_decref(input);

    if (rc == WF_OK) {
        rc = wf_sleep(run, (uint32_t) ms);
    }

    if (rc != WF_OK) {
        return rc;         /* WF_CANCELLED, if the run was */
    }

    return wf_stop_json(run, json_sprintf("slept %d ms", ms));
}


static const wf_step_t  steps[] = {

    { .name = "nap",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = nap },
};


WF_PLUGIN(WF_WORKFLOW("sleeper", "Sleeps for a while.", steps));
