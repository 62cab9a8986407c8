#include <string.h>

#include "wf_error.h"
#include "wf_text.h"


#define WF_ERROR_REASON   480   /* bytes for a log line */
#define WF_ERROR_EXCERPT  128   /* bytes of foreign text in a message */
#define WF_NO_OFFSET      ((size_t) -1)

#define WF_ERROR_ACTIONS                                                      \
    "'new_task', 'completed_task', 'request_for_help', 'new_tool_call', "     \
    "'completed_tool_call', 'task_stream' or 'send_event'"


typedef struct {
    const char  *type;
    const char  *msg;
    const char  *ctx;
} wf_error_text_t;


static void wf_error_add(wf_errors_t *e, const wf_error_text_t *text,
    const char *loc, size_t offset, wf_slice_t input, const char *cause);
static void wf_error_loc(wf_buf_t *b, const char *loc, size_t offset);
static void wf_error_reason(wf_errors_t *e, const char *text);


/* In the order of wf_error_type_t. */

static const wf_error_text_t  wf_error_texts[] = {

    { "missing", "Field required", NULL },

    { "model_attributes_type",
      "Input should be a valid dictionary or object to extract fields from",
      NULL },

    { "dict_type", "Input should be a valid dictionary", NULL },

    { "string_type", "Input should be a valid string", NULL },

    { "string_too_short", "String should have at least 1 character",
      "{\"min_length\":1}" },

    { "string_too_long", "String should have at most 256 characters",
      "{\"max_length\":256}" },

    { "enum", "Input should be " WF_ERROR_ACTIONS,
      "{\"expected\":\"" WF_ERROR_ACTIONS "\"}" },
};


void
wf_errors_init(wf_errors_t *e, wf_buf_t *detail, wf_buf_t *reason)
{
    e->detail = detail;
    e->reason = reason;
    e->begin = reason->len;
    e->count = 0;
    e->cut = 0;
}


int
wf_errors_done(wf_errors_t *e)
{
    if (e->detail->failed || e->reason->failed) {
        return -2;
    }

    if (e->count == 0) {
        return 0;
    }

    wf_buf_adds(e->detail, "]}");

    return e->detail->failed ? -2 : -1;
}


void
wf_error(wf_errors_t *e, wf_error_type_t type, const char *loc,
    wf_slice_t input)
{
    wf_error_add(e, &wf_error_texts[type], loc, WF_NO_OFFSET, input, NULL);
}


void
wf_error_json(wf_errors_t *e, const char *loc, const wf_json_error_t *err)
{
    static const wf_error_text_t  text = {
        "json_invalid", "JSON decode error", NULL
    };

    wf_error_add(e, &text, loc, err->offset, wf_slice("{}"), err->reason);
}


void
wf_error_value(wf_errors_t *e, const char *loc, const wf_buf_t *msg,
    wf_slice_t input)
{
    wf_buf_t         b = WF_BUF_INIT;
    wf_error_text_t  text;

    wf_buf_adds(&b, "Value error, ");
    wf_buf_add(&b, msg->data, msg->len);
    wf_buf_addc(&b, '\0');

    if (b.failed || msg->failed) {
        e->detail->failed = 1;

    } else {
        text.type = "value_error";
        text.msg = b.data;
        text.ctx = NULL;

        wf_error_add(e, &text, loc, WF_NO_OFFSET, input, NULL);
    }

    wf_buf_free(&b);
}


void
wf_error_excerpt(wf_buf_t *b, wf_slice_t text)
{
    size_t  len;

    if (text.len <= WF_ERROR_EXCERPT) {
        wf_buf_add(b, text.data, text.len);
        return;
    }

    len = WF_ERROR_EXCERPT;

    while (len > 0 && ((unsigned char) text.data[len] & 0xc0) == 0x80) {
        len--;
    }

    wf_buf_add(b, text.data, len);
    wf_buf_adds(b, "...");
}


static void
wf_error_add(wf_errors_t *e, const wf_error_text_t *text, const char *loc,
    size_t offset, wf_slice_t input, const char *cause)
{
    wf_buf_t  *b, place = WF_BUF_INIT;

    b = e->detail;

    wf_buf_adds(b, e->count++ ? "," : "{\"detail\":[");

    wf_buf_adds(b, "{\"type\":\"");
    wf_buf_adds(b, text->type);
    wf_buf_adds(b, "\",\"loc\":");
    wf_error_loc(b, loc, offset);
    wf_buf_adds(b, ",\"msg\":");
    wf_json_quote(b, text->msg, strlen(text->msg));
    wf_buf_adds(b, ",\"input\":");

    if (input.data != NULL) {
        wf_buf_add(b, input.data, input.len);

    } else {
        wf_buf_adds(b, "null");
    }

    if (cause != NULL) {
        wf_buf_adds(b, ",\"ctx\":{\"error\":");
        wf_json_quote(b, cause, strlen(cause));
        wf_buf_addc(b, '}');

    } else if (text->ctx != NULL) {
        wf_buf_adds(b, ",\"ctx\":");
        wf_buf_adds(b, text->ctx);
    }

    wf_buf_addc(b, '}');

    wf_buf_adds(&place, e->count > 1 ? "; " : "");
    wf_buf_adds(&place, loc);

    if (offset != WF_NO_OFFSET) {
        wf_buf_addc(&place, '.');
        wf_buf_addu(&place, offset);
    }

    wf_buf_adds(&place, ": ");
    wf_buf_adds(&place, text->msg);

    if (cause != NULL) {
        wf_buf_adds(&place, ": ");
        wf_buf_adds(&place, cause);
    }

    wf_buf_addc(&place, '\0');

    if (place.failed) {
        e->reason->failed = 1;

    } else {
        wf_error_reason(e, place.data);
    }

    wf_buf_free(&place);
}


/* "body.data" as ["body","data"], with the offset as its last element. */

static void
wf_error_loc(wf_buf_t *b, const char *loc, size_t offset)
{
    wf_buf_adds(b, "[\"");

    for ( /* void */ ; *loc != '\0'; loc++) {
        if (*loc == '.') {
            wf_buf_adds(b, "\",\"");

        } else {
            wf_buf_addc(b, *loc);
        }
    }

    wf_buf_addc(b, '"');

    if (offset != WF_NO_OFFSET) {
        wf_buf_addc(b, ',');
        wf_buf_addu(b, offset);
    }

    wf_buf_addc(b, ']');
}


static void
wf_error_reason(wf_errors_t *e, const char *text)
{
    int                n;
    char               escape[4];
    uint32_t           code;
    const char        *end;
    static const char  hex[] = "0123456789abcdef";

    end = text + strlen(text);

    for ( /* void */ ; text < end && !e->cut; text += n) {

        if (e->reason->len - e->begin > WF_ERROR_REASON) {
            wf_buf_adds(e->reason, "...");
            e->cut = 1;
            return;
        }

        n = wf_utf8_decode(text, end, &code);

        if (n < 0) {
            n = -n;
            wf_buf_addc(e->reason, '?');
            continue;
        }

        if (code >= 0x20 && code != 0x7f) {
            wf_buf_add(e->reason, text, (size_t) n);
            continue;
        }

        escape[0] = '\\';
        escape[1] = 'x';
        escape[2] = hex[code >> 4];
        escape[3] = hex[code & 0x0f];

        wf_buf_add(e->reason, escape, 4);
    }
}
