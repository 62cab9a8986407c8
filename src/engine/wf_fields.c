/* What a step asks of the fields of an event. */

#include "wf_engine.h"


wf_status_t
wf_host_event_text(wf_run_t *r, const wf_event_t *ev, const char *name,
    const char **text, size_t *len)
{
    char        *p;
    wf_buf_t    *b;
    wf_call_t   *call;
    wf_slice_t   fields, value;

    call = (wf_call_t *) r;

    if (name == NULL) {
        return wf_call_error(call, WF_ERROR, "wf_event_text: no name", NULL);
    }

    fields.data = ev->data;
    fields.len = ev->len;

    if (!wf_json_get(fields, name, &value)) {
        return wf_call_error(call, WF_FINAL, name, " is required.", NULL);
    }

    if (wf_json_type(value) != WF_JSON_STRING) {
        return wf_call_error(call, WF_FINAL, name, " must be a string.", NULL);
    }

    b = &call->scratch;
    b->len = 0;
    b->failed = 0;

    wf_json_string(b, value);
    wf_buf_addc(b, '\0');

    p = b->failed ? NULL : wf_call_alloc(call, b->len);
    if (p == NULL) {
        return wf_host_no_memory(call);
    }

    memcpy(p, b->data, b->len);

    *text = p;
    *len = b->len - 1;

    return WF_OK;
}
