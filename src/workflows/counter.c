/*
 * counter: counts in its context, which its session keeps: the tasks of one
 * session give 1, 2, 3, ...; a task without a session gives 1.
 */

#include <workflow_jansson.h>


static wf_status_t
count(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *value;
    json_int_t    n;
    wf_status_t   rc;

    (void) ev;

    n = 0;

    rc = wf_get_json(run, "count", &value);

    if (rc == WF_OK) {
        n = json_integer_value(value);    /* 0 if it is none */
        json_decref(value);

    } else if (rc != WF_AGAIN) {
        return rc;
    }

    n++;

    rc = wf_set_json(run, "count", json_integer(n));
    if (rc != WF_OK) {
        return rc;
    }

    return wf_stop_json(run, json_integer(n));
}


static const wf_step_t  steps[] = {

    { .name = "count",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = count },
};


WF_PLUGIN(WF_WORKFLOW("counter", "Counts in its context.", steps));
