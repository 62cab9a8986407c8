#include <string.h>

#include "wf_json.h"
#include "wf_lax.h"


static const char *wf_lax_space(const char *p, const char *end);
static const char *wf_lax_string(const char *p, const char *end);
static const char *wf_lax_value(const char *p, const char *end);


const char *
wf_lax_object(wf_slice_t text)
{
    const char  *p;

    if (text.len == 0) {
        return NULL;
    }

    p = wf_lax_space(text.data, text.data + text.len);

    return p < text.data + text.len && *p == '{' ? p + 1 : NULL;
}


int
wf_lax_next(const char **pos, const char *end, wf_slice_t *key,
    wf_slice_t *value)
{
    const char  *p, *last;

    p = wf_lax_space(*pos, end);

    if (p < end && *p == ',') {
        p = wf_lax_space(p + 1, end);
    }

    if (p < end && *p == '}') {
        return 0;
    }

    last = wf_lax_string(p, end);
    if (last == NULL) {
        return -1;
    }

    key->data = p;
    key->len = (size_t) (last - p);

    p = wf_lax_space(last, end);

    if (p == end || *p != ':') {
        return -1;
    }

    p = wf_lax_space(p + 1, end);
    last = wf_lax_value(p, end);

    if (last == NULL) {
        return -1;
    }

    value->data = p;
    value->len = (size_t) (last - p);

    *pos = last;

    return 1;
}


int
wf_lax_get(wf_slice_t object, const char *key, wf_slice_t *value)
{
    wf_slice_t  name;

    name.data = key;
    name.len = strlen(key);

    return wf_lax_find(object, name, value);
}


int
wf_lax_find(wf_slice_t object, wf_slice_t key, wf_slice_t *value)
{
    int               rc;
    const char       *pos, *end;
    wf_slice_t        name;
    wf_json_error_t   error;

    pos = wf_lax_object(object);
    if (pos == NULL) {
        return -1;
    }

    end = object.data + object.len;

    do {
        rc = wf_lax_next(&pos, end, &name, value);

    } while (rc == 1
             && (wf_json_check(name, NULL, &error) != 0
                 || !wf_json_string_eq(name, key.data, key.len)));

    return rc;
}


static const char *
wf_lax_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) {
        p++;
    }

    return p;
}


/* Behind a string; NULL: there is none. */

static const char *
wf_lax_string(const char *p, const char *end)
{
    if (p == end || *p != '"') {
        return NULL;
    }

    for (p++; p < end; p++) {

        if (*p == '"') {
            return p + 1;
        }

        if (*p == '\\' && ++p == end) {
            break;
        }
    }

    return NULL;
}


/* Behind a value of any kind; NULL: there is none. */

static const char *
wf_lax_value(const char *p, const char *end)
{
    size_t       depth;
    const char  *start;

    start = p;
    depth = 0;

    while (p < end) {

        switch (*p) {

        case '"':
            p = wf_lax_string(p, end);

            if (p == NULL || depth == 0) {
                return p;
            }

            continue;

        case '{':
        case '[':
            depth++;
            break;

        case '}':
        case ']':
            if (depth == 0) {
                return p > start ? p : NULL;
            }

            if (--depth == 0) {
                return p + 1;
            }

            break;

        case ',':
        case ' ':
        case '\t':
        case '\n':
        case '\r':
            if (depth == 0) {
                return p > start ? p : NULL;
            }

            break;

        default:
            break;
        }

        p++;
    }

    return NULL;
}
