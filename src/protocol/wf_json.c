#include <string.h>

#include "wf_json.h"
#include "wf_text.h"


static void wf_json_escape(wf_buf_t *b, const char *text, size_t len,
    int ascii);
static const char *wf_json_space(const char *p, const char *end);
static const char *wf_json_skip(const char *p, const char *end);
static const char *wf_json_skip_string(const char *p, const char *end);


wf_json_type_t
wf_json_type(wf_slice_t value)
{
    size_t  i;

    switch (value.data[0]) {
    case 'n':
        return WF_JSON_NULL;
    case 'f':
        return WF_JSON_FALSE;
    case 't':
        return WF_JSON_TRUE;
    case '"':
        return WF_JSON_STRING;
    case '[':
        return WF_JSON_ARRAY;
    case '{':
        return WF_JSON_OBJECT;
    }

    for (i = 1; i < value.len; i++) {
        if (!wf_is_digit(value.data[i])) {
            return WF_JSON_REAL;
        }
    }

    return WF_JSON_INTEGER;
}


void
wf_json_iter_init(wf_json_iter_t *it, wf_slice_t value)
{
    it->pos = value.data + 1;
    it->end = value.data + value.len;
    it->object = (value.data[0] == '{');
}


int
wf_json_next(wf_json_iter_t *it, wf_slice_t *key, wf_slice_t *value)
{
    const char  *p, *end;

    end = it->end;
    p = wf_json_space(it->pos, end);

    if (p < end && *p == ',') {
        p = wf_json_space(p + 1, end);
    }

    if (p == end || *p == '}' || *p == ']') {
        it->pos = p;
        return 0;
    }

    key->data = p;
    key->len = 0;

    if (it->object) {
        p = wf_json_skip_string(p, end);
        key->len = (size_t) (p - key->data);

        p = wf_json_space(p, end);
        p = wf_json_space(p + 1, end);
    }

    value->data = p;
    p = wf_json_skip(p, end);
    value->len = (size_t) (p - value->data);

    it->pos = p;

    return 1;
}


int
wf_json_get(wf_slice_t object, const char *key, wf_slice_t *value)
{
    size_t          len;
    wf_slice_t      name;
    wf_json_iter_t  it;

    len = strlen(key);
    wf_json_iter_init(&it, object);

    while (wf_json_next(&it, &name, value)) {
        if (wf_json_string_eq(name, key, len)) {
            return 1;
        }
    }

    return 0;
}


void
wf_json_members(wf_slice_t object, const wf_slice_t *keys, size_t n,
    wf_slice_t *values)
{
    size_t          i;
    wf_slice_t      name, value;
    wf_json_iter_t  it;

    for (i = 0; i < n; i++) {
        values[i].data = NULL;
        values[i].len = 0;
    }

    wf_json_iter_init(&it, object);

    while (wf_json_next(&it, &name, &value)) {
        for (i = 0; i < n; i++) {
            if (wf_json_string_eq(name, keys[i].data, keys[i].len)) {
                values[i] = value;
                break;
            }
        }
    }
}


int
wf_json_string_eq(wf_slice_t string, const char *text, size_t len)
{
    char         bytes[4];
    size_t       n;
    const char  *p, *end, *last;

    p = string.data + 1;
    end = string.data + string.len - 1;

    if ((size_t) (end - p) < len) {
        return 0;
    }

    if ((size_t) (end - p) == len && memcmp(p, text, len) == 0) {
        return memchr(p, '\\', len) == NULL;
    }

    last = text + len;

    while (p < end) {
        if (*p != '\\') {
            if (text == last || *p != *text) {
                return 0;
            }

            p++;
            text++;
            continue;
        }

        n = wf_utf8_encode(bytes, wf_json_unescape(&p));

        if ((size_t) (last - text) < n || memcmp(text, bytes, n) != 0) {
            return 0;
        }

        text += n;
    }

    return text == last;
}


void
wf_json_string(wf_buf_t *b, wf_slice_t string)
{
    char        *dst;
    const char  *p, *q, *end;

    p = string.data + 1;
    end = string.data + string.len - 1;

    /* an escape is never shorter than what it says */

    dst = wf_buf_reserve(b, (size_t) (end - p));
    if (dst == NULL) {
        return;
    }

    while (p < end) {
        q = memchr(p, '\\', (size_t) (end - p));
        if (q == NULL) {
            q = end;
        }

        memcpy(dst, p, (size_t) (q - p));
        dst += q - p;
        p = q;

        while (p < end && *p == '\\') {
            dst += wf_utf8_encode(dst, wf_json_unescape(&p));
        }
    }

    b->len = (size_t) (dst - b->data);
}


void
wf_json_quote(wf_buf_t *b, const char *text, size_t len)
{
    wf_json_escape(b, text, len, 1);
}


void
wf_json_quote_utf8(wf_buf_t *b, const char *text, size_t len)
{
    wf_json_escape(b, text, len, 0);
}


static void
wf_json_escape(wf_buf_t *b, const char *text, size_t len, int ascii)
{
    int                n;
    char               escape[12];
    uint32_t           code;
    const char        *p, *end, *plain, *letter;
    static const char  hex[] = "0123456789abcdef";
    static const char  special[] = "\"\\\b\f\n\r\t";
    static const char  letters[] = "\"\\bfnrt";

    p = (len != 0) ? text : "";
    plain = p;
    end = p + len;

    wf_buf_addc(b, '"');

    while (p < end) {

        if (*p >= ' ' && *p <= '~' && *p != '"' && *p != '\\') {
            p++;
            continue;
        }

        wf_buf_add(b, plain, (size_t) (p - plain));

        escape[0] = '\\';
        letter = (*p != '\0') ? strchr(special, *p) : NULL;

        if (letter != NULL) {
            escape[1] = letters[letter - special];
            wf_buf_add(b, escape, 2);

            plain = ++p;
            continue;
        }

        n = wf_utf8_decode(p, end, &code);

        if (n < 0) {
            n = -n;
            code = 0xfffd;
        }

        p += n;
        plain = p;

        if (!ascii && code >= 0x7f) {
            wf_buf_add(b, escape, wf_utf8_encode(escape, code));
            continue;
        }

        n = 0;

        if (code > 0xffff) {
            code -= 0x10000;
            escape[1] = 'u';
            escape[2] = 'd';
            escape[3] = hex[8 | code >> 18];
            escape[4] = hex[code >> 14 & 0xf];
            escape[5] = hex[code >> 10 & 0xf];

            n = 6;
            code = 0xdc00 | (code & 0x3ff);
        }

        escape[n++] = '\\';
        escape[n++] = 'u';
        escape[n++] = hex[code >> 12];
        escape[n++] = hex[code >> 8 & 0xf];
        escape[n++] = hex[code >> 4 & 0xf];
        escape[n++] = hex[code & 0xf];

        wf_buf_add(b, escape, (size_t) n);
    }

    wf_buf_add(b, plain, (size_t) (p - plain));
    wf_buf_addc(b, '"');
}


static const char *
wf_json_space(const char *p, const char *end)
{
    while (p < end
           && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
    {
        p++;
    }

    return p;
}


/* Behind a value that begins at p. */

static const char *
wf_json_skip(const char *p, const char *end)
{
    size_t  depth;

    if (*p == '"') {
        return wf_json_skip_string(p, end);
    }

    if (*p != '{' && *p != '[') {
        while (p < end && *p != ',' && *p != '}' && *p != ']' && *p > ' ') {
            p++;
        }

        return p;
    }

    depth = 0;

    for ( ;; ) {
        switch (*p) {

        case '"':
            p = wf_json_skip_string(p, end);
            continue;

        case '{':
        case '[':
            depth++;
            break;

        case '}':
        case ']':
            if (--depth == 0) {
                return p + 1;
            }

            break;
        }

        p++;
    }
}


static const char *
wf_json_skip_string(const char *p, const char *end)
{
    for (p = wf_json_plain(p + 1, end);
         *p != '"';
         p = wf_json_plain(p, end))
    {
        p += (*p == '\\') ? 2 : 1;
    }

    return p + 1;
}
