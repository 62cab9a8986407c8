/*
 * delegate: work for another service.  The input names it and what it is to be
 * given: {"service": "echo", "input": {"arg1": "x"}}.  The run waits, without
 * holding anything, until that task has ended; its result is the result.
 */

#include <workflow_jansson.h>


static wf_status_t
delegate(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *fields;
    const char   *service;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &fields);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_string_field(run, fields, "service", &service);
    if (rc == WF_OK) {
        rc = wf_send_task_json(run, service,
                               json_incref(json_object_get(fields, "input")),
                               NULL);
    }

    json_decref(fields);

    return rc;
}


static wf_status_t
returned(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *fields, *error;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &fields);
    if (rc != WF_OK) {
        return rc;
    }

    error = json_object_get(fields, "error");

    if (json_is_object(error)) {
        rc = wf_fail_final(run, "%s",
                           json_string_value(json_object_get(error,
                                                             "message")));
    } else {
        rc = wf_stop_json(run, json_incref(json_object_get(fields, "result")));
    }

    json_decref(fields);

    return rc;
}


static const wf_step_t  steps[] = {

    { .name = "delegate",
      .accepts = WF_TYPES(WF_START_EVENT),
      .run = delegate },

    { .name = "returned",
      .accepts = WF_TYPES(WF_TASK_RESULT_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = returned },
};


WF_PLUGIN(WF_WORKFLOW("delegate", "Has another service do it.", steps));
