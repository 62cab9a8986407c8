#include <string.h>

#include "wf_json.h"
#include "wf_publish.h"


static void wf_publish_begin(wf_buf_t *b, const wf_publish_t *p);
static void wf_publish_end(wf_buf_t *b, const wf_publish_t *p,
    const char *action, wf_slice_t type);


void
wf_uuid(char *dst, const uint8_t *random)
{
    size_t             i;
    uint8_t            byte;
    static const char  hex[] = "0123456789abcdef";

    for (i = 0; i < 16; i++) {
        byte = random[i];

        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *dst++ = '-';
        }

        if (i == 6) {
            byte = (uint8_t) (0x40 | (byte & 0x0f));    /* version 4 */

        } else if (i == 8) {
            byte = (uint8_t) (0x80 | (byte & 0x3f));    /* variant 1 */
        }

        *dst++ = hex[byte >> 4];
        *dst++ = hex[byte & 0x0f];
    }
}


void
wf_publish_stream(wf_buf_t *b, const wf_publish_t *p, wf_slice_t data,
    uint64_t index)
{
    wf_publish_begin(b, p);

    wf_buf_adds(b, ", \"session_id\": ");

    if (p->session_id.data == NULL) {
        wf_buf_adds(b, "null");

    } else {
        wf_json_quote(b, p->session_id.data, p->session_id.len);
    }

    wf_buf_adds(b, ", \"data\": ");
    wf_buf_add(b, data.data, data.len);
    wf_buf_adds(b, ", \"index\": ");
    wf_buf_addu(b, index);

    /* readers of llama_deploy ignore what they do not know */

    if (p->event_type.data != NULL) {
        wf_buf_adds(b, ", \"type\": ");
        wf_json_quote(b, p->event_type.data, p->event_type.len);
    }

    wf_publish_end(b, p, "task_stream", wf_slice("control_plane"));
}


void
wf_publish_result(wf_buf_t *b, const wf_publish_t *p, wf_slice_t result,
    wf_slice_t data)
{
    wf_publish_begin(b, p);

    wf_buf_adds(b, ", \"history\": [], \"result\": ");
    wf_json_quote(b, result.data, result.len);
    wf_buf_adds(b, ", \"data\": ");
    wf_buf_add(b, data.data, data.len);

    wf_publish_end(b, p, "completed_task", wf_slice("control_plane"));
}


void
wf_publish_task(wf_buf_t *b, const wf_publish_t *p, wf_slice_t service,
    wf_slice_t input)
{
    wf_publish_begin(b, p);

    wf_buf_adds(b, ", \"session_id\": ");
    wf_json_quote(b, p->session_id.data, p->session_id.len);
    wf_buf_adds(b, ", \"agent_id\": ");
    wf_json_quote(b, service.data, service.len);
    wf_buf_adds(b, ", \"input\": ");
    wf_json_quote(b, input.data, input.len);

    wf_publish_end(b, p, "new_task", service);
}


static void
wf_publish_begin(wf_buf_t *b, const wf_publish_t *p)
{
    wf_buf_adds(b, "{\"id_\": \"");
    wf_buf_add(b, p->id, WF_UUID_LEN);
    wf_buf_adds(b, "\", \"publisher_id\": \"default\","
                   " \"data\": {\"task_id\": ");
    wf_json_quote(b, p->task_id.data, p->task_id.len);
}


static void
wf_publish_end(wf_buf_t *b, const wf_publish_t *p, const char *action,
    wf_slice_t type)
{
    wf_buf_adds(b, "}, \"action\": \"");
    wf_buf_adds(b, action);
    wf_buf_adds(b, "\", \"stats\": {\"publish_time\": \"");
    wf_buf_adds(b, p->time);
    wf_buf_adds(b, "\", \"process_start_time\": null,"
                   " \"process_end_time\": null},"
                   " \"type\": ");
    wf_json_quote(b, type.data, type.len);
    wf_buf_addc(b, '}');
}


void
wf_result_text(wf_buf_t *b, wf_slice_t json)
{
    switch (wf_json_type(json)) {

    case WF_JSON_STRING:
        wf_json_string(b, json);
        break;

    case WF_JSON_NULL:
        wf_buf_adds(b, "None");
        break;

    case WF_JSON_TRUE:
        wf_buf_adds(b, "True");
        break;

    case WF_JSON_FALSE:
        wf_buf_adds(b, "False");
        break;

    default:
        wf_buf_add(b, json.data, json.len);
        break;
    }
}
