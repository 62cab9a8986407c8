/*
 * flaky: {"fail": 2} fails twice and succeeds the third time, which the step's
 * retry policy allows: five executions, a tenth of a second between them.
 */

#include <workflow_jansson.h>


static wf_status_t
attempt(wf_run_t *run, const wf_event_t *ev)
{
    int           fail, tries;
    json_t       *input;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_int_field(run, input, "fail", 0, 1000, &fail);
    json_decref(input);

    if (rc != WF_OK) {
        return rc;
    }

    tries = (int) wf_info(run)->retries + 1;

    if (tries <= fail) {
        return wf_fail(run, "failed on purpose");
    }

    return wf_stop_json(run, json_sprintf("succeeded at try %d", tries));
}


static const wf_step_t  steps[] = {

    { .name = "attempt",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = attempt,
      .retry = WF_RETRY(5, 100) },
};


WF_PLUGIN(WF_WORKFLOW("flaky", "Fails before it succeeds.", steps));
