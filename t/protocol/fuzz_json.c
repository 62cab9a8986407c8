/* wf_json_check() accepts what jansson accepts and nothing else. */

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "wf_json.h"


#define CHECK(cond)  do { if (!(cond)) { abort(); } } while (0)


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static void walk(wf_slice_t value, const json_t *json);
static void check_quote(const char *text, size_t len);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int              rc;
    json_t          *json;
    wf_slice_t       text, value;
    json_error_t     error;
    wf_json_error_t  err;

    text.data = (const char *) data;
    text.len = size;

    rc = wf_json_check(text, &value, &err);
    CHECK(rc == 0 || rc == -1);

    if (rc == -1) {
        CHECK(err.offset <= size);

        /* a limit of ours; and jansson overlooks a NUL behind a number */

        if (strncmp(err.reason, "Nesting", 7) == 0
            || memchr(data, 0, size) != NULL)
        {
            return 0;
        }
    }

    json = json_loadb(text.data, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES,
                      &error);

    CHECK((json != NULL) == (rc == 0));

    if (json != NULL) {
        walk(value, json);
        json_decref(json);
    }

    check_quote(text.data, size);

    return 0;
}


/* The slices say what the tree says. */

static void
walk(wf_slice_t value, const json_t *json)
{
    size_t           n;
    wf_buf_t         b = WF_BUF_INIT;
    wf_slice_t       key, member;
    const json_t    *child;
    wf_json_iter_t   it;

    switch (wf_json_type(value)) {

    case WF_JSON_NULL:
        CHECK(json_is_null(json));
        return;

    case WF_JSON_TRUE:
        CHECK(json_is_true(json));
        return;

    case WF_JSON_FALSE:
        CHECK(json_is_false(json));
        return;

    case WF_JSON_INTEGER:
        CHECK(json_is_integer(json));
        return;

    case WF_JSON_REAL:
        CHECK(json_is_real(json));
        return;

    case WF_JSON_STRING:
        CHECK(json_is_string(json));
        wf_json_string(&b, value);

        n = json_string_length(json);
        CHECK(b.len == n && memcmp(b.data, json_string_value(json), n) == 0);
        CHECK(wf_json_string_eq(value, b.data, n));
        CHECK(n == 0 || !wf_json_string_eq(value, b.data, n - 1));
        wf_buf_free(&b);
        return;

    case WF_JSON_ARRAY:
    case WF_JSON_OBJECT:
        break;
    }

    n = 0;
    wf_json_iter_init(&it, value);

    while (wf_json_next(&it, &key, &member)) {

        if (json_is_array(json)) {
            CHECK(key.len == 0);
            child = json_array_get(json, n);

        } else {
            wf_json_string(&b, key);
            wf_buf_addc(&b, '\0');
            child = json_object_get(json, b.data);
            wf_buf_free(&b);
        }

        CHECK(child != NULL);
        walk(member, child);
        n++;
    }

    CHECK(n == (json_is_array(json) ? json_array_size(json)
                                    : json_object_size(json)));
}


/* Whatever is quoted is JSON, and says the same if it was UTF-8. */

static void
check_quote(const char *text, size_t len)
{
    json_t           *json;
    wf_buf_t          b = WF_BUF_INIT;
    wf_slice_t        quoted;
    wf_json_error_t   err;

    if (memchr(text, 0, len) != NULL) {
        return;
    }

    wf_json_quote(&b, text, len);

    quoted.data = b.data;
    quoted.len = b.len;
    CHECK(wf_json_check(quoted, NULL, &err) == 0);

    json = json_stringn(text, len);

    if (json != NULL) {
        CHECK(wf_json_string_eq(quoted, text, len));
        json_decref(json);
    }

    wf_buf_free(&b);
}
