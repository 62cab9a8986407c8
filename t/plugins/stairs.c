/*
 * stairs: {"steps": 3, "ms": 50, "file": path}: steps one after the other, each
 * of which appends a line "<task> <step> <attempt>" to the file, streams
 * "events" events (1 by default) with "pad" bytes each, and sleeps.  The first
 * "fail" attempts fail in the last step.  "ask": the last step is an answer
 * that is waited for.
 */

#include <workflow_jansson.h>

#include <fcntl.h>
#include <unistd.h>


#define STAIR_EVENT  "StairEvent"


static wf_status_t
note(wf_run_t *run, const char *path, int i)
{
    int             fd, n;
    char            line[512];
    ssize_t         written;
    const wf_info_t *info;

    info = wf_info(run);
    n = snprintf(line, sizeof(line), "%s %d %u\n", info->task_id, i,
                 (unsigned) info->attempt);

    fd = open(path, O_WRONLY|O_APPEND);
    if (fd == -1) {
        return wf_fail_final(run, "cannot open %s", path);
    }

    written = write(fd, line, (size_t) n);
    (void) close(fd);

    return written == n ? WF_OK : wf_fail_final(run, "cannot write %s", path);
}


static wf_status_t
stream(wf_run_t *run, int i, int events, int pad)
{
    int           n;
    char         *text;
    wf_status_t   rc;

    text = wf_alloc(run, (size_t) pad + 1);
    if (text == NULL) {
        return wf_fail(run, "no memory");
    }

    memset(text, 'x', (size_t) pad);
    text[pad] = '\0';

    for (n = 0; n < events; n++) {
        rc = wf_stream_json(run, "StepEvent", json_pack("{si, ss}", "step", i,
                                                        "pad", text));
        if (rc != WF_OK) {
            return rc;
        }
    }

    return WF_OK;
}


static wf_status_t
climb(wf_run_t *run, json_t *input)
{
    int           i, ask, steps, ms, fail, events, pad;
    char          result[64];
    const char   *path;
    wf_status_t   rc;

    i = 0;
    ask = 0;
    steps = 1;
    ms = 0;
    fail = 0;
    events = 1;
    pad = 0;

    if (json_unpack(input, "{s?i, s?i, s?i, s?i, s?i, s?i, s?i, ss}", "i", &i,
                    "ask", &ask, "steps", &steps, "ms", &ms, "fail", &fail,
                    "events", &events, "pad", &pad, "file", &path)
        != 0)
    {
        return wf_fail_final(run, "bad input");
    }

    i++;

    rc = note(run, path, i);

    if (rc == WF_OK) {
        rc = stream(run, i, events, pad);
    }

    if (rc == WF_OK) {
        rc = wf_sleep(run, (uint32_t) ms);
    }

    if (rc != WF_OK) {
        return rc;
    }

    if (i == steps && (int) wf_info(run)->attempt <= fail) {
        return wf_fail(run, "failed on purpose");
    }

    if (i == steps && ask) {
        return wf_send_json(run, WF_INPUT_REQUIRED_EVENT,
                            json_pack("{ss}", "prefix", "Number: "));
    }

    if (i == steps) {
        (void) snprintf(result, sizeof(result), "climbed %d", i);
        return wf_stop_text(run, result, strlen(result));
    }

    json_object_set_new(input, "i", json_integer(i));

    return wf_send_json(run, STAIR_EVENT, json_incref(input));
}


static wf_status_t
stair(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *input;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    rc = climb(run, input);
    json_decref(input);

    return rc;
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
        rc = wf_stop_text(run, response, strlen(response));
    }

    json_decref(human);

    return rc;
}


static const wf_step_t  steps[] = {

    { .name = "stair",
      .accepts = WF_TYPES(WF_START_EVENT, STAIR_EVENT),
      .produces = WF_TYPES(STAIR_EVENT, WF_INPUT_REQUIRED_EVENT,
                           WF_STOP_EVENT),
      .run = stair },

    { .name = "answer",
      .accepts = WF_TYPES(WF_HUMAN_RESPONSE_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = answer },
};


WF_PLUGIN(WF_WORKFLOW("stairs", "Counts its steps.", steps));
