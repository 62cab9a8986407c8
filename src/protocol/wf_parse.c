#include <string.h>

#include "wf_parse.h"


static int wf_parse_has_control(wf_slice_t id);


void
wf_parse_id(wf_parse_t *c, const char *loc, wf_slice_t value, wf_slice_t *id)
{
    wf_slice_t  text;

    if (!wf_is_type(value, WF_JSON_STRING)) {
        wf_error(&c->errors, WF_ERROR_STRING, loc, value);
        return;
    }

    text.len = 0;
    wf_parse_string(c, value, &c->m->memory[0], &text);

    if (c->failed) {
        return;
    }

    if (wf_parse_id_good(text)) {
        *id = text;

    } else if (text.len == 0) {
        wf_error(&c->errors, WF_ERROR_TOO_SHORT, loc, value);

    } else if (text.len > WF_MESSAGE_MAX_ID) {
        wf_error(&c->errors, WF_ERROR_TOO_LONG, loc, value);

    } else {
        wf_parse_refuse(c, loc, "control characters are not allowed",
                        wf_slice(""), "", value);
    }
}


int
wf_parse_id_good(wf_slice_t id)
{
    return id.len != 0 && id.len <= WF_MESSAGE_MAX_ID
           && !wf_parse_has_control(id);
}


static int
wf_parse_has_control(wf_slice_t id)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; i < id.len; i++) {
        c = (unsigned char) id.data[i];

        if (c < 0x20 || c == 0x7f) {
            return 1;
        }
    }

    return 0;
}


void
wf_parse_string(wf_parse_t *c, wf_slice_t value, wf_buf_t *memory,
    wf_slice_t *text)
{
    size_t  begin;

    if (memchr(value.data, '\\', value.len) == NULL) {
        text->data = value.data + 1;
        text->len = value.len - 2;
        return;
    }

    begin = memory->len;

    if (memory->data == NULL) {
        (void) wf_buf_reserve(memory, c->room);
    }

    wf_json_string(memory, value);

    if (memory->failed) {
        c->failed = 1;
        return;
    }

    text->data = memory->data + begin;
    text->len = memory->len - begin;
}


void
wf_parse_refuse(wf_parse_t *c, const char *loc, const char *before,
    wf_slice_t text, const char *after, wf_slice_t input)
{
    wf_buf_t  msg = WF_BUF_INIT;

    wf_buf_adds(&msg, before);
    wf_error_excerpt(&msg, text);
    wf_buf_adds(&msg, after);

    wf_error_value(&c->errors, loc, &msg, input);

    wf_buf_free(&msg);
}
