#define _GNU_SOURCE         /* memmem() */

#include <string.h>

#include "wf_json.h"
#include "wf_result.h"


#define WF_DIGEST  32       /* digits, see wf_subtask.c */


static void wf_result_begin(wf_buf_t *b, wf_slice_t service,
    wf_slice_t task_id);
static void wf_result_member(wf_buf_t *b, const char *name, wf_slice_t value);
static void wf_result_error(wf_buf_t *b, const char *type, wf_slice_t message);
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
    wf_slice_t  v[3];

    wf_json_members(data, wf_result_keys, 3, v);

    wf_result_begin(b, service, task_id);
    wf_result_member(b, "status", v[0]);
    wf_result_member(b, "result", v[1]);
    wf_result_member(b, "error", v[2]);
    wf_buf_addc(b, '}');
}


void
wf_result_ended(wf_buf_t *b, wf_slice_t service, wf_slice_t task_id,
    wf_slice_t state, wf_slice_t result, wf_slice_t error)
{
    if (wf_slice_eq(state, "completed")) {
        wf_result_begin(b, service, task_id);
        wf_result_member(b, "status", wf_slice("\"completed\""));
        wf_result_member(b, "result", result);
        wf_buf_adds(b, ", \"error\": null}");
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
    size_t           start;
    wf_slice_t       body, v, task, id, data, result;
    wf_json_error_t  err;

    /* most of what is heard are streamed events: look before it is parsed */

    if (memmem(message.data, message.len, "completed_task", 14) == NULL
        || memchr(message.data, '/', message.len) == NULL)
    {
        return 0;
    }

    switch (wf_json_check(message, &body, &err)) {
    case 0:
        break;
    case -1:
        return -1;
    default:
        return -2;
    }

    if (wf_json_type(body) != WF_JSON_OBJECT
        || !wf_json_get(body, "action", &v)
        || wf_json_type(v) != WF_JSON_STRING
        || !wf_json_string_eq(v, "completed_task", 14)
        || !wf_json_get(body, "data", &task)
        || wf_json_type(task) != WF_JSON_OBJECT
        || !wf_json_get(task, "task_id", &v)
        || wf_json_type(v) != WF_JSON_STRING)
    {
        return 0;
    }

    start = task_id->len;
    wf_json_string(task_id, v);

    if (task_id->failed) {
        return -2;
    }

    id.data = task_id->data + start;
    id.len = task_id->len - start;

    if (!wf_result_sent(id)) {
        return 0;
    }

    if (wf_json_get(task, "data", &data)
        && wf_json_type(data) == WF_JSON_OBJECT
        && wf_json_get(data, "status", &v)
        && wf_json_type(v) == WF_JSON_STRING)
    {
        wf_result_fields(fields, (wf_slice_t) { NULL, 0 }, id, data);

    } else {
        if (!wf_json_get(task, "result", &result)) {
            result = wf_slice("null");
        }

        wf_result_begin(fields, (wf_slice_t) { NULL, 0 }, id);
        wf_result_member(fields, "status", wf_slice("\"completed\""));
        wf_result_member(fields, "result", result);
        wf_buf_adds(fields, ", \"error\": null}");
    }

    return fields->failed ? -2 : 1;
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
