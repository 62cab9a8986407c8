/*
 * progress: three steps that hand on events of their own types and stream how
 * far they are.  {"arg1": "hello"} becomes "hello_result_result_result".
 */

#include <workflow_jansson.h>


#define FIRST_EVENT     "FirstEvent"
#define SECOND_EVENT    "SecondEvent"
#define PROGRESS_EVENT  "ProgressEvent"


/* What the three have in common: stream, and append to arg1. */

static wf_status_t
advance(wf_run_t *run, const wf_event_t *ev, const char *progress,
    json_t **reply)
{
    json_t       *input;
    const char   *arg1;
    wf_status_t   rc;

    *reply = NULL;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_string_field(run, input, "arg1", &arg1);

    if (rc == WF_OK) {
        rc = wf_stream(run, PROGRESS_EVENT, progress, strlen(progress));
    }

    if (rc == WF_OK) {
        *reply = json_sprintf("%s_result", arg1);
    }

    json_decref(input);

    return rc;
}


static wf_status_t
s1(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *reply;
    wf_status_t   rc;

    rc = advance(run, ev, "{\"progress\": 0.3}", &reply);
    if (rc != WF_OK) {
        return rc;
    }

    return wf_send_json(run, FIRST_EVENT, json_pack("{so}", "arg1", reply));
}


static wf_status_t
s2(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *reply;
    wf_status_t   rc;

    rc = advance(run, ev, "{\"progress\": 0.6}", &reply);
    if (rc != WF_OK) {
        return rc;
    }

    return wf_send_json(run, SECOND_EVENT, json_pack("{so}", "arg1", reply));
}


static wf_status_t
s3(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *reply;
    wf_status_t   rc;

    rc = advance(run, ev, "{\"progress\": 0.9}", &reply);
    if (rc != WF_OK) {
        return rc;
    }

    return wf_stop_json(run, reply);
}


static const wf_step_t  steps[] = {

    { .name = "s1",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(FIRST_EVENT),
      .run = s1 },

    { .name = "s2",
      .accepts = WF_TYPES(FIRST_EVENT),
      .produces = WF_TYPES(SECOND_EVENT),
      .run = s2 },

    { .name = "s3",
      .accepts = WF_TYPES(SECOND_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = s3 },
};


WF_PLUGIN(WF_WORKFLOW("progress", "Tells how far it is.", steps));
