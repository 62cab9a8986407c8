/*
 * Workflows of the soak test.  Each run of a step is written down, one line at
 * its begin and one at its end, in the file that SOAK_RECORD names:
 *
 *     b|e task step attempt pid milliseconds [ok|failed|cancelled]
 *
 * nap:    {"ms": 100} sleeps.
 * chain:  {"ms": 100} sleeps so long in each of three steps, and streams.
 * fan:    {"n": 5} is split into pieces that are joined again.
 * ask:    asks, and is answered.
 * flaky:  {"fail": 2} fails in the first two attempts of the task.
 */

#include <workflow_jansson.h>

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>


#define PIECES_MAX  64


static void
record(wf_run_t *run, char what, const char *step, const char *end)
{
    int                fd, n;
    char               line[512];
    const char        *path;
    struct timespec    ts;
    const wf_info_t   *info;

    path = getenv("SOAK_RECORD");
    if (path == NULL) {
        return;
    }

    info = wf_info(run);
    (void) clock_gettime(CLOCK_REALTIME, &ts);

    n = snprintf(line, sizeof(line), "%c %s %s %u %d %lld %s\n", what,
                 info->task_id, step, (unsigned) info->attempt, (int) getpid(),
                 (long long) ts.tv_sec * 1000 + ts.tv_nsec / 1000000, end);

    fd = open(path, O_WRONLY|O_APPEND|O_CLOEXEC);

    /* one write: a line is whole, whoever else writes */

    if (fd == -1 || write(fd, line, (size_t) n) != n) {
        wf_log(run, WF_LOG_ERROR, "the record cannot be written");
    }

    if (fd != -1) {
        (void) close(fd);
    }
}


/* A step's work: as many milliseconds of sleep as its event says. */

static wf_status_t
work(wf_run_t *run, const wf_event_t *ev, const char *step, int *ms)
{
    json_t       *input;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_int_field(run, input, "ms", 0, 60000, ms);
    json_decref(input);

    if (rc != WF_OK) {
        return rc;
    }

    record(run, 'b', step, "");

    rc = wf_sleep(run, (uint32_t) *ms);

    record(run, 'e', step, rc == WF_OK ? "ok" : "cancelled");

    return rc;
}


static wf_status_t
nap(wf_run_t *run, const wf_event_t *ev)
{
    int          ms;
    wf_status_t  rc;

    rc = work(run, ev, "nap", &ms);
    if (rc != WF_OK) {
        return rc;
    }

    return wf_stop_json(run, json_string("slept"));
}


static wf_status_t
chain(wf_run_t *run, const wf_event_t *ev, const char *step, const char *next)
{
    int          ms;
    wf_status_t  rc;

    rc = wf_stream_json(run, "ProgressEvent", json_pack("{ss}", "at", step));
    if (rc != WF_OK) {
        return rc;
    }

    rc = work(run, ev, step, &ms);
    if (rc != WF_OK) {
        return rc;
    }

    if (next == NULL) {
        return wf_stop_json(run, json_string("done"));
    }

    return wf_send_json(run, next, json_pack("{si}", "ms", ms));
}


static wf_status_t
first(wf_run_t *run, const wf_event_t *ev)
{
    return chain(run, ev, "first", "FirstEvent");
}


static wf_status_t
second(wf_run_t *run, const wf_event_t *ev)
{
    return chain(run, ev, "second", "SecondEvent");
}


static wf_status_t
third(wf_run_t *run, const wf_event_t *ev)
{
    return chain(run, ev, "third", NULL);
}


static wf_status_t
split(wf_run_t *run, const wf_event_t *ev)
{
    int           i, n;
    json_t       *input;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_int_field(run, input, "n", 1, PIECES_MAX, &n);
    json_decref(input);

    record(run, 'b', "split", "");

    for (i = 0; rc == WF_OK && i < n; i++) {
        rc = wf_send_json(run, "PieceEvent",
                          json_pack("{sisisi}", "i", i, "n", n, "ms", 10));
    }

    record(run, 'e', "split", rc == WF_OK ? "ok" : "failed");

    return rc;
}


static wf_status_t
piece(wf_run_t *run, const wf_event_t *ev)
{
    int           i, n, ms;
    char          step[32];
    json_t       *input;
    wf_status_t   rc;

    i = 0;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_int_field(run, input, "n", 1, PIECES_MAX, &n);

    if (rc == WF_OK) {
        rc = wf_int_field(run, input, "i", 0, n - 1, &i);
    }

    json_decref(input);

    if (rc == WF_OK) {
        (void) snprintf(step, sizeof(step), "piece%d", i);
        rc = work(run, ev, step, &ms);
    }

    if (rc != WF_OK) {
        return rc;
    }

    return wf_send_json(run, "DoneEvent", json_pack("{si}", "n", n));
}


static wf_status_t
join(wf_run_t *run, const wf_event_t *ev)
{
    int                i, n;
    json_t            *done;
    const char        *types[PIECES_MAX];
    wf_status_t        rc;
    const wf_event_t  *events[PIECES_MAX];

    rc = wf_event_json(run, ev, &done);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_int_field(run, done, "n", 1, PIECES_MAX, &n);
    json_decref(done);

    if (rc != WF_OK) {
        return rc;
    }

    for (i = 0; i < n; i++) {
        types[i] = "DoneEvent";
    }

    rc = wf_collect(run, ev, types, (size_t) n, events);

    if (rc == WF_AGAIN) {
        return WF_OK;
    }

    return rc == WF_OK ? wf_stop_json(run, json_integer(n)) : rc;
}


static wf_status_t
ask(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    record(run, 'b', "ask", "");
    record(run, 'e', "ask", "ok");

    return wf_send_json(run, WF_INPUT_REQUIRED_EVENT,
                        json_pack("{ss}", "prefix", "? "));
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

    record(run, 'b', "answer", "");

    rc = wf_string_field(run, human, "response", &response);
    if (rc == WF_OK) {
        rc = wf_stop_json(run, json_string(response));
    }

    json_decref(human);

    record(run, 'e', "answer", rc == WF_OK ? "ok" : "failed");

    return rc;
}


static wf_status_t
flaky(wf_run_t *run, const wf_event_t *ev)
{
    int           fail;
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

    record(run, 'b', "flaky", "");

    if (wf_info(run)->attempt <= (uint32_t) fail) {
        record(run, 'e', "flaky", "failed");
        return wf_fail(run, "failed on purpose");
    }

    record(run, 'e', "flaky", "ok");

    return wf_stop_json(run, json_string("succeeded"));
}


static const wf_step_t  nap_steps[] = {

    { .name = "nap",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = nap },
};


static const wf_step_t  chain_steps[] = {

    { .name = "first",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES("FirstEvent"),
      .run = first },

    { .name = "second",
      .accepts = WF_TYPES("FirstEvent"),
      .produces = WF_TYPES("SecondEvent"),
      .run = second },

    { .name = "third",
      .accepts = WF_TYPES("SecondEvent"),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = third },
};


static const wf_step_t  fan_steps[] = {

    { .name = "split",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES("PieceEvent"),
      .run = split },

    { .name = "piece",
      .accepts = WF_TYPES("PieceEvent"),
      .produces = WF_TYPES("DoneEvent"),
      .run = piece },

    { .name = "join",
      .accepts = WF_TYPES("DoneEvent"),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = join,
      .num_workers = 1 },
};


static const wf_step_t  ask_steps[] = {

    { .name = "ask",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_INPUT_REQUIRED_EVENT),
      .run = ask },

    { .name = "answer",
      .accepts = WF_TYPES(WF_HUMAN_RESPONSE_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = answer },
};


static const wf_step_t  flaky_steps[] = {

    { .name = "flaky",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = flaky },
};


WF_PLUGIN(WF_WORKFLOW("nap", "Sleeps.", nap_steps),
          WF_WORKFLOW("chain", "Sleeps and streams.", chain_steps),
          WF_WORKFLOW("fan", "Works on pieces.", fan_steps),
          WF_WORKFLOW("ask", "Asks.", ask_steps),
          WF_WORKFLOW("flaky", "Fails.", flaky_steps));
