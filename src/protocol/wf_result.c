#define _GNU_SOURCE         /* memmem() */

#include <string.h>

#include "wf_json.h"
#include "wf_lax.h"
#include "wf_result.h"


#define WF_DIGEST  32       /* digits, see wf_subtask.c */


static void wf_result_begin(wf_buf_t *b, wf_slice_t service,
    wf_slice_t task_id);
static void wf_result_member(wf_buf_t *b, const char *name, wf_slice_t value);
static void wf_result_error(wf_buf_t *b, const char *type, wf_slice_t message);
static int wf_result_check(wf_slice_t *value);
static void wf_result_end(wf_buf_t *b, size_t start, wf_slice_t service,
    wf_slice_t task_id);
static int wf_result_sent(wf_slice_t id);
static wf_slice_t wf_result_of(const char *text);


static const wf_slice_t  wf_result_keys[] = {
    { "status", 6 },
    { "result", 6 },
    { "error", 5 }
};


void
wf_result_fields(wf_buf_t *b, wf_slice_t service, wf_slice_t task_id,
    wf_slice_t data)
{
    size_t      start;
    wf_slice_t  v[3];

    start = b->len;

    wf_json_members(data, wf_result_keys, 3, v);

    wf_result_begin(b, service, task_id);
    wf_result_member(b, "status", v[0]);
    wf_result_member(b, "result", v[1]);
    wf_result_member(b, "error", v[2]);
    wf_result_end(b, start, service, task_id);
}


void
wf_result_ended(wf_buf_t *b, wf_slice_t service, wf_slice_t task_id,
    wf_slice_t state, wf_slice_t result, wf_slice_t error)
{
    size_t  start;

    if (wf_slice_eq(state, "completed")) {
        start = b->len;

        wf_result_begin(b, service, task_id);
        wf_result_member(b, "status", wf_slice("\"completed\""));
        wf_result_member(b, "result", result);
        wf_buf_adds(b, ", \"error\": null");
        wf_result_end(b, start, service, task_id);
        return;
    }

    wf_result_begin(b, service, task_id);

    if (wf_slice_eq(state, "cancelled")) {
        wf_result_member(b, "status", wf_slice("\"cancelled\""));
        wf_result_error(b, "WorkflowCancelledByUser", error);

    } else {
        wf_result_member(b, "status", wf_slice("\"failed\""));
        wf_result_error(b, "WorkflowRuntimeError", error);
    }
}


void
wf_result_failed(wf_buf_t *b, wf_slice_t service, wf_slice_t task_id,
    const char *type, const char *message)
{
    wf_result_begin(b, service, task_id);
    wf_result_member(b, "status", wf_slice("\"failed\""));
    wf_result_error(b, type, wf_result_of(message));
}


static void
wf_result_begin(wf_buf_t *b, wf_slice_t service, wf_slice_t task_id)
{
    if (service.data != NULL) {
        wf_buf_adds(b, "{\"service\": ");
        wf_json_quote(b, service.data, service.len);
        wf_buf_adds(b, ", ");
    }

    wf_buf_adds(b, "\"task_id\": ");
    wf_json_quote(b, task_id.data, task_id.len);
}


static void
wf_result_member(wf_buf_t *b, const char *name, wf_slice_t value)
{
    wf_buf_adds(b, ", \"");
    wf_buf_adds(b, name);
    wf_buf_adds(b, "\": ");

    if (value.data != NULL) {
        wf_buf_add(b, value.data, value.len);

    } else {
        wf_buf_adds(b, "null");
    }
}


static void
wf_result_error(wf_buf_t *b, const char *type, wf_slice_t message)
{
    wf_buf_adds(b, ", \"result\": null, \"error\": {\"type\": \"");
    wf_buf_adds(b, type);
    wf_buf_adds(b, "\", \"message\": ");
    wf_json_quote(b, message.data, message.len);
    wf_buf_adds(b, "}}");
}


int
wf_result_heard(wf_slice_t message, wf_buf_t *task_id, wf_buf_t *fields)
{
    int         rc;
    size_t      start;
    wf_slice_t  v, task, id, data, result;

    /* most of what is heard are streamed events: look before it is parsed */

    if (memmem(message.data, message.len, "completed_task", 14) == NULL
        || memchr(message.data, '/', message.len) == NULL)
    {
        return 0;
    }

    switch (wf_lax_get(message, "action", &v)) {
    case 1:
        break;
    case 0:
        return 0;
    default:
        return -1;
    }

    if (!wf_slice_eq(v, "\"completed_task\"")
        || wf_lax_get(message, "data", &task) != 1
        || wf_lax_get(task, "task_id", &v) != 1
        || (rc = wf_result_check(&v)) == -1
        || wf_json_type(v) != WF_JSON_STRING)
    {
        return 0;
    }

    start = task_id->len;
    wf_json_string(task_id, v);

    if (rc == -2 || task_id->failed) {
        return -2;
    }

    id.data = task_id->data + start;
    id.len = task_id->len - start;

    if (!wf_result_sent(id)) {
        return 0;
    }

    if (wf_lax_get(task, "data", &data) == 1
        && wf_lax_get(data, "status", &v) == 1
        && wf_result_check(&data) == 0
        && wf_result_check(&v) == 0
        && wf_json_type(v) == WF_JSON_STRING)
    {
        wf_result_fields(fields, (wf_slice_t) { NULL, 0 }, id, data);

    } else {
        if (wf_lax_get(task, "result", &result) != 1) {
            result = wf_slice("null");
        }

        wf_result_ended(fields, (wf_slice_t) { NULL, 0 }, id,
                        wf_slice("completed"), result, wf_slice(""));
    }

    return fields->failed ? -2 : 1;
}


/* 0; -1: refused; -2: no memory. */

static int
wf_result_check(wf_slice_t *value)
{
    wf_json_error_t  error;

    return wf_json_check(*value, value, &error);
}


/* What cannot be in an event, because it is nested too deep in it or was never
 * what JSON is here, is a failure. */

static void
wf_result_end(wf_buf_t *b, size_t start, wf_slice_t service,
    wf_slice_t task_id)
{
    int         rc;
    wf_buf_t    copy = WF_BUF_INIT;
    wf_slice_t  text;

    wf_buf_addc(b, '}');

    if (b->failed) {
        return;
    }

    /* without a service its brace is not there yet */

    wf_buf_adds(&copy, service.data != NULL ? "" : "{");
    wf_buf_add(&copy, b->data + start, b->len - start);

    text.data = copy.data;
    text.len = copy.len;

    rc = copy.failed ? -2 : wf_result_check(&text);

    wf_buf_free(&copy);

    if (rc == -2) {
        b->failed = 1;

    } else if (rc == -1) {
        b->len = start;
        wf_result_failed(b, service, task_id, "ResultError",
                         "The task's result cannot be read.");
    }
}


/* Ids end with "/<digest>-<number>". */

static int
wf_result_sent(wf_slice_t id)
{
    size_t  i, n;

    n = id.len;

    while (n != 0 && id.data[n - 1] >= '0' && id.data[n - 1] <= '9') {
        n--;
    }

    if (n == id.len || id.len > 256 || n < WF_DIGEST + 2
        || id.data[n - 1] != '-' || id.data[n - WF_DIGEST - 2] != '/')
    {
        return 0;
    }

    for (i = n - WF_DIGEST - 1; i < n - 1; i++) {
        if ((id.data[i] < '0' || id.data[i] > '9')
            && (id.data[i] < 'a' || id.data[i] > 'f'))
        {
            return 0;
        }
    }

    return 1;
}


static wf_slice_t
wf_result_of(const char *text)
{
    wf_slice_t  s;

    s.data = text;
    s.len = strlen(text);

    return s;
}
