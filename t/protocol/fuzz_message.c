/* Whatever arrives is taken or answered with JSON. */

#include <stdlib.h>
#include <string.h>

#include "wf_json.h"
#include "wf_message.h"


#define CHECK(cond)  do { if (!(cond)) { abort(); } } while (0)


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static void check_taken(const wf_message_t *m);
static void check_refused(const wf_buf_t *detail, const wf_buf_t *reason,
    size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int           rc;
    wf_buf_t      detail = WF_BUF_INIT, reason = WF_BUF_INIT;
    wf_slice_t    text, type;
    wf_message_t  m;

    text.data = (const char *) data;
    text.len = size;
    type.data = NULL;
    type.len = 0;

    rc = wf_message_parse(&m, text, type, wf_slice("greeting"), &detail,
                          &reason);
    CHECK(rc == 0 || rc == -1);

    if (rc == 0) {
        CHECK(detail.len == 0 && reason.len == 0);
        check_taken(&m);

    } else {
        check_refused(&detail, &reason, size);
    }

    wf_message_free(&m);
    wf_buf_free(&detail);
    wf_buf_free(&reason);

    /* the same bytes as a content type */

    rc = wf_message_parse(&m, wf_slice("{}"), text, wf_slice("greeting"),
                          &detail, &reason);
    CHECK(rc == -1);

    wf_message_free(&m);
    wf_buf_free(&detail);
    wf_buf_free(&reason);

    return 0;
}


static void
check_taken(const wf_message_t *m)
{
    wf_slice_t       value;
    wf_json_error_t  err;

    CHECK(m->action == WF_ACTION_NEW_TASK || m->task_id.len > 0);
    CHECK(m->task_id.len <= WF_MESSAGE_MAX_ID);
    CHECK(m->session_id.data == NULL || m->session_id.len > 0);
    CHECK(m->session_id.len <= WF_MESSAGE_MAX_ID);
    CHECK(m->id.len <= WF_MESSAGE_MAX_ID);
    CHECK((m->action == WF_ACTION_SEND_EVENT) == (m->event.len > 0));

    CHECK(wf_json_check(m->input, &value, &err) == 0);
    CHECK(wf_json_type(value) == WF_JSON_OBJECT);
    CHECK(value.len == m->input.len);
}


static void
check_refused(const wf_buf_t *detail, const wf_buf_t *reason, size_t size)
{
    size_t           i;
    wf_slice_t       text, list;
    wf_json_error_t  err;

    text.data = detail->data;
    text.len = detail->len;

    /* what is echoed may sit as deep as it did, four levels further down */

    if (wf_json_check(text, NULL, &err) == 0) {
        CHECK(wf_json_get(text, "detail", &list));
        CHECK(wf_json_type(list) == WF_JSON_ARRAY);

    } else {
        CHECK(strncmp(err.reason, "Nesting", 7) == 0);
    }

    CHECK(detail->len < 8192 + 4 * size);
    CHECK(reason->len > 0 && reason->len < 500);

    for (i = 0; i < reason->len; i++) {
        CHECK((unsigned char) reason->data[i] >= 0x20);
    }
}
