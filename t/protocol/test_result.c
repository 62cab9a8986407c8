#define _GNU_SOURCE         /* memmem() */

/* Results of tasks that a task has sent: as events, and as they are heard. */

#include <string.h>

#include "tap.h"
#include "wf_json.h"
#include "wf_result.h"


#define ID      "t/0123456789abcdef0123456789abcdef-1"
#define FAILED  "\"status\": \"failed\", \"result\": null, \"error\": "          \
                "{\"type\": \"ResultError\", \"message\": "                    \
                "\"The task's result cannot be read.\"}}"


static void fields_are(const char *data, const char *expected);
static void ended_is(const char *state, const char *result,
    const char *expected);
static void heard_is(int rc, const char *data, const char *expected);
static void is_not_heard(int rc, const char *message);
static void nested(void);
static wf_slice_t slice(const char *text);


int
main(void)
{
    fields_are("{\"status\": \"completed\", \"result\": [1, \"a\"]}",
               "\"status\": \"completed\", \"result\": [1, \"a\"], "
               "\"error\": null}");
    fields_are("{\"status\": \"failed\", \"error\": {\"type\": \"E\", "
               "\"message\": \"m\"}}",
               "\"status\": \"failed\", \"result\": null, \"error\": "
               "{\"type\": \"E\", \"message\": \"m\"}}");

    ended_is("completed", "{\"a\": 1}",
             "\"status\": \"completed\", \"result\": {\"a\": 1}, "
             "\"error\": null}");
    ended_is("completed", "", FAILED);
    ended_is("completed", "{\"a\": 1", FAILED);
    ended_is("cancelled", "",
             "\"status\": \"cancelled\", \"result\": null, \"error\": "
             "{\"type\": \"WorkflowCancelledByUser\", \"message\": \"why\"}}");
    ended_is("dead", "",
             "\"status\": \"failed\", \"result\": null, \"error\": "
             "{\"type\": \"WorkflowRuntimeError\", \"message\": \"why\"}}");

    nested();

    heard_is(1, "\"result\": \"r\", \"data\": {}",
             "\"status\": \"completed\", \"result\": \"r\", \"error\": null}");
    heard_is(1, "\"result\": \"r\"",
             "\"status\": \"completed\", \"result\": \"r\", \"error\": null}");
    heard_is(1, "\"result\": \"r\", \"data\": {\"status\": \"completed\", "
             "\"result\": 1}",
             "\"status\": \"completed\", \"result\": 1, \"error\": null}");

    /* what Python may say beside it, and in it */

    heard_is(1, "\"result\": \"r\", \"history\": [NaN, \"\\ud800\"], \"data\": "
             "{\"x\": Infinity}",
             "\"status\": \"completed\", \"result\": \"r\", \"error\": null}");
    heard_is(1, "\"result\": \"\\ud800\"", FAILED);
    heard_is(1, "\"result\": \"a\\u0000\"", FAILED);
    heard_is(1, "\"result\": 99999999999999999999", FAILED);

    is_not_heard(0, "{}");
    is_not_heard(0, "{\"action\": \"task_stream\", \"data\": {\"task_id\": \""
                 ID "\", \"data\": {\"a\": \"completed_task\"}}}");
    is_not_heard(0, "{\"action\": \"completed_task\", \"data\": "
                 "{\"task_id\": \"a/b\", \"result\": \"r\"}}");
    is_not_heard(0, "{\"action\": \"completed_task\", \"data\": "
                 "{\"task_id\": 1, \"a\": \"/\"}}");
    is_not_heard(0, "{\"action\": \"completed_task\", \"data\": [\"/\"]}");
    is_not_heard(-1, "[\"completed_task\", \"/\"]");
    is_not_heard(-1, "completed_task /");

    return done_testing();
}


static void
fields_are(const char *data, const char *expected)
{
    char      text[512];
    wf_buf_t  b = WF_BUF_INIT;

    wf_result_fields(&b, slice("echo"), slice(ID), slice(data));

    snprintf(text, sizeof(text),
             "{\"service\": \"echo\", \"task_id\": \"" ID "\", %s", expected);
    is_mem(b.data, b.len, text, data);

    wf_buf_free(&b);
}


static void
ended_is(const char *state, const char *result, const char *expected)
{
    char      text[512];
    wf_buf_t  b = WF_BUF_INIT;

    wf_result_ended(&b, slice("echo"), slice(ID), slice(state), slice(result),
                    slice("why"));

    snprintf(text, sizeof(text),
             "{\"service\": \"echo\", \"task_id\": \"" ID "\", %s", expected);
    is_mem(b.data, b.len, text, state);

    wf_buf_free(&b);
}


static void
heard_is(int rc, const char *data, const char *expected)
{
    char      text[512], message[512];
    wf_buf_t  id = WF_BUF_INIT;
    wf_buf_t  fields = WF_BUF_INIT;

    snprintf(message, sizeof(message),
             "{\"action\": \"completed_task\", \"more\": NaN, \"data\": "
             "{\"task_id\": \"" ID "\", %s}}", data);

    is_int(wf_result_heard(slice(message), &id, &fields), rc, data);
    is_mem(id.data, id.len, ID, "its id");

    snprintf(text, sizeof(text), "\"task_id\": \"" ID "\", %s", expected);
    is_mem(fields.data, fields.len, text, "its fields");

    wf_buf_free(&id);
    wf_buf_free(&fields);
}


static void
is_not_heard(int rc, const char *message)
{
    wf_buf_t  id = WF_BUF_INIT;
    wf_buf_t  fields = WF_BUF_INIT;

    is_int(wf_result_heard(slice(message), &id, &fields), rc, message);
    is_int(fields.len, 0, "no fields");

    wf_buf_free(&id);
    wf_buf_free(&fields);
}


/* A result that is as deep as one may be is too deep in an event. */

static void
nested(void)
{
    char             deep[2 * 128 + 1], deeper[2 * 127 + 1];
    wf_buf_t         b = WF_BUF_INIT;
    wf_slice_t       text;
    wf_json_error_t  error;

    memset(deep, '[', 128);
    memset(deep + 128, ']', 128);
    deep[256] = '\0';

    text = slice(deep);
    is_int(wf_json_check(text, &text, &error), 0, "128 levels are JSON");

    ended_is("completed", deep, FAILED);

    memset(deeper, '[', 127);
    memset(deeper + 127, ']', 127);
    deeper[254] = '\0';

    wf_result_ended(&b, slice("echo"), slice(ID), slice("completed"),
                    slice(deeper), slice(""));
    ok(b.len > 254 && memmem(b.data, b.len, "failed", 6) == NULL,
       "127 levels fit");

    wf_buf_free(&b);
}


static wf_slice_t
slice(const char *text)
{
    wf_slice_t  s;

    s.data = text;
    s.len = strlen(text);

    return s;
}
