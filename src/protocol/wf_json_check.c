#include <stdlib.h>
#include <string.h>

#include "wf_json.h"
#include "wf_text.h"


#define WF_KEYS         32      /* keys of open objects without malloc() */
#define WF_KEYS_LINEAR  16      /* an object's keys compared one by one */
#define WF_ARRAY        ((size_t) -1)

/* Texts of Python's json module are exactly its own. */

#define WF_BOM      "Unexpected UTF-8 BOM (decode using utf-8-sig)"
#define WF_VALUE    "Expecting value"
#define WF_NAME     "Expecting property name enclosed in double quotes"
#define WF_COLON    "Expecting ':' delimiter"
#define WF_COMMA    "Expecting ',' delimiter"
#define WF_EXTRA    "Extra data"
#define WF_UNENDED  "Unterminated string starting at"
#define WF_CONTROL  "Invalid control character at"
#define WF_ESCAPE   "Invalid \\escape"
#define WF_UXXXX    "Invalid \\uXXXX escape"

#define WF_DEPTH    "Nesting deeper than 128 levels"
#define WF_TWICE    "Duplicate key"
#define WF_UTF8     "Invalid UTF-8"
#define WF_NUL      "NUL is not allowed"
#define WF_LONE     "Lone surrogate"
#define WF_INTEGER  "Integer out of range"
#define WF_NUMBER   "Number out of range"


typedef struct {
    const char   *end;
    const char   *reason;       /* set when something was refused */
    const char   *at;
    int           failed;       /* no memory */

    wf_key_t     *keys;         /* of all open objects, innermost last */
    size_t        nkeys;
    size_t        size;
    wf_key_t      few[WF_KEYS];

    size_t        depth;
    size_t        base[WF_JSON_MAX_DEPTH];  /* first key, or WF_ARRAY */
} wf_scan_t;


static const char *wf_scan(wf_scan_t *s, const char *p);
static const char *wf_scan_literal(wf_scan_t *s, const char *p);
static const char *wf_scan_string(wf_scan_t *s, const char *p, int *escaped);
static const char *wf_scan_escape(wf_scan_t *s, const char *p,
    const char *begin);
static const char *wf_scan_number(wf_scan_t *s, const char *p);
static const char *wf_scan_refuse(wf_scan_t *s, const char *reason,
    const char *at);
static int wf_scan_open(wf_scan_t *s, const char *p, size_t base);
static int wf_scan_close(wf_scan_t *s);
static int wf_scan_key(wf_scan_t *s, const wf_key_t *key);
static size_t wf_scan_offset(const char *p, const char *at);


#define wf_skip_space(p, end)                                                 \
    while ((p) < (end)                                                        \
           && (*(p) == ' ' || *(p) == '\n' || *(p) == '\t' || *(p) == '\r'))  \
    {                                                                         \
        (p)++;                                                                \
    }


int
wf_json_check(wf_slice_t text, wf_slice_t *value, wf_json_error_t *err)
{
    const char  *p, *begin, *last;
    wf_scan_t    s;

    s.reason = NULL;
    s.at = NULL;
    s.failed = 0;
    s.keys = s.few;
    s.nkeys = 0;
    s.size = WF_KEYS;
    s.depth = 0;

    begin = (text.len != 0) ? text.data : "";
    s.end = begin + text.len;

    if (text.len >= 3 && memcmp(begin, "\xef\xbb\xbf", 3) == 0) {
        last = wf_scan_refuse(&s, WF_BOM, begin);

    } else {
        wf_skip_space(begin, s.end);

        last = wf_scan(&s, begin);

        if (last != NULL) {
            p = last;
            wf_skip_space(p, s.end);

            if (p < s.end) {
                last = wf_scan_refuse(&s, WF_EXTRA, p);
            }
        }
    }

    if (s.keys != s.few) {
        free(s.keys);
    }

    if (s.failed) {
        return -2;
    }

    if (last == NULL) {
        err->reason = s.reason;
        err->offset = wf_scan_offset(s.end - text.len, s.at);
        return -1;
    }

    if (value != NULL) {
        value->data = begin;
        value->len = (size_t) (last - begin);
    }

    return 0;
}


/* One value without space around it; what is behind it, NULL: refused. */

static const char *
wf_scan(wf_scan_t *s, const char *p)
{
    int          escaped;
    const char  *end;
    wf_key_t     key;

    end = s->end;

value:

    if (p == end) {
        return wf_scan_refuse(s, WF_VALUE, p);
    }

    switch (*p) {

    case '{':
        if (wf_scan_open(s, p, s->nkeys)) {
            return NULL;
        }

        p++;
        wf_skip_space(p, end);

        if (p < end && *p == '}') {
            goto close;
        }

        goto member;

    case '[':
        if (wf_scan_open(s, p, WF_ARRAY)) {
            return NULL;
        }

        p++;
        wf_skip_space(p, end);

        if (p < end && *p == ']') {
            goto close;
        }

        goto value;

    case '"':
        p = wf_scan_string(s, p, &escaped);
        break;

    case '-':
    case '0': case '1': case '2': case '3': case '4':
    case '5': case '6': case '7': case '8': case '9':
        p = wf_scan_number(s, p);
        break;

    default:
        p = wf_scan_literal(s, p);
        break;
    }

    if (p == NULL) {
        return NULL;
    }

next:

    if (s->depth == 0) {
        return p;
    }

    wf_skip_space(p, end);

    if (p < end && *p == ',') {
        p++;
        wf_skip_space(p, end);

        if (s->base[s->depth - 1] == WF_ARRAY) {
            goto value;
        }

        goto member;
    }

    if (p == end || *p != (s->base[s->depth - 1] == WF_ARRAY ? ']' : '}')) {
        return wf_scan_refuse(s, WF_COMMA, p);
    }

close:

    if (wf_scan_close(s)) {
        return NULL;
    }

    p++;
    goto next;

member:

    if (p == end || *p != '"') {
        return wf_scan_refuse(s, WF_NAME, p);
    }

    key.data = p + 1;

    p = wf_scan_string(s, p, &key.escaped);
    if (p == NULL) {
        return NULL;
    }

    key.len = (size_t) (p - 1 - key.data);

    if (wf_scan_key(s, &key)) {
        return NULL;
    }

    wf_skip_space(p, end);

    if (p == end || *p != ':') {
        return wf_scan_refuse(s, WF_COLON, p);
    }

    p++;
    wf_skip_space(p, end);

    goto value;
}


static const char *
wf_scan_literal(wf_scan_t *s, const char *p)
{
    size_t  left;

    left = (size_t) (s->end - p);

    if (left >= 4
        && (memcmp(p, "null", 4) == 0 || memcmp(p, "true", 4) == 0))
    {
        return p + 4;
    }

    if (left >= 5 && memcmp(p, "false", 5) == 0) {
        return p + 5;
    }

    return wf_scan_refuse(s, WF_VALUE, p);
}


static const char *
wf_scan_string(wf_scan_t *s, const char *p, int *escaped)
{
    int             n;
    uint32_t        code;
    const char     *begin, *end;
    unsigned char   c;

    begin = p++;
    end = s->end;
    *escaped = 0;

    for ( ;; ) {

        p = wf_json_plain(p, end);

        if (p == end) {
            return wf_scan_refuse(s, WF_UNENDED, begin);
        }

        c = (unsigned char) *p;

        if (c == '"') {
            return p + 1;
        }

        if (c == '\\') {
            *escaped = 1;

            p = wf_scan_escape(s, p, begin);
            if (p == NULL) {
                return NULL;
            }

            continue;
        }

        if (c < 0x20) {
            return wf_scan_refuse(s, WF_CONTROL, p);
        }

        n = wf_utf8_decode(p, end, &code);
        if (n < 0) {
            return wf_scan_refuse(s, WF_UTF8, p);
        }

        p += n;
    }
}


static const char *
wf_scan_escape(wf_scan_t *s, const char *p, const char *begin)
{
    int          high;
    int32_t      code;
    const char  *first;

    first = p;
    high = 0;

    for ( ;; ) {

        if (s->end - p < 2) {
            return wf_scan_refuse(s, WF_UNENDED, begin);
        }

        if (p[1] != 'u') {
            if (high) {
                return wf_scan_refuse(s, WF_LONE, first);
            }

            if (p[1] == '\0' || strchr("\"\\/bfnrt", p[1]) == NULL) {
                return wf_scan_refuse(s, WF_ESCAPE, p);
            }

            return p + 2;
        }

        /* as in Python, at least the closing quote must follow */

        code = (s->end - p > 6) ? wf_json_hex(p + 2) : -1;
        if (code == -1) {
            return wf_scan_refuse(s, WF_UXXXX, p + 1);
        }

        if (code == 0) {
            return wf_scan_refuse(s, high ? WF_LONE : WF_NUL, first);
        }

        if (high) {
            if (code < 0xdc00 || code > 0xdfff) {
                return wf_scan_refuse(s, WF_LONE, first);
            }

            return p + 6;
        }

        if (code < 0xd800 || code > 0xdfff) {
            return p + 6;
        }

        if (code > 0xdbff || p[6] != '\\') {
            return wf_scan_refuse(s, WF_LONE, first);
        }

        high = 1;
        p += 6;
    }
}


/* What does not belong to the number is left, as Python does. */

static const char *
wf_scan_number(wf_scan_t *s, const char *p)
{
    int          real;
    const char  *begin, *end, *q;

    begin = p;
    end = s->end;
    real = 0;

    if (*p == '-') {
        p++;
    }

    if (p == end || !wf_is_digit(*p)) {
        return wf_scan_refuse(s, WF_VALUE, begin);
    }

    if (*p == '0') {
        p++;

    } else {
        while (p < end && wf_is_digit(*p)) {
            p++;
        }
    }

    if (end - p > 1 && *p == '.' && wf_is_digit(p[1])) {
        real = 1;
        p += 2;

        while (p < end && wf_is_digit(*p)) {
            p++;
        }
    }

    if (p < end && (*p == 'e' || *p == 'E')) {
        q = p + 1;

        if (q < end && (*q == '+' || *q == '-')) {
            q++;
        }

        if (q < end && wf_is_digit(*q)) {
            real = 1;
            p = q;

            while (p < end && wf_is_digit(*p)) {
                p++;
            }
        }
    }

    if (real) {
        if (!wf_json_real_fits(begin, p)) {
            return wf_scan_refuse(s, WF_NUMBER, begin);
        }

    } else if (!wf_json_integer_fits(begin, p)) {
        return wf_scan_refuse(s, WF_INTEGER, begin);
    }

    return p;
}


static const char *
wf_scan_refuse(wf_scan_t *s, const char *reason, const char *at)
{
    s->reason = reason;
    s->at = at;

    return NULL;
}


static int
wf_scan_open(wf_scan_t *s, const char *p, size_t base)
{
    if (s->depth == WF_JSON_MAX_DEPTH) {
        (void) wf_scan_refuse(s, WF_DEPTH, p);
        return -1;
    }

    s->base[s->depth++] = base;

    return 0;
}


static int
wf_scan_close(wf_scan_t *s)
{
    size_t       i, n, base;
    wf_key_t    *keys;
    const char  *twice;

    base = s->base[--s->depth];

    if (base == WF_ARRAY) {
        return 0;
    }

    n = s->nkeys - base;
    s->nkeys = base;

    if (n <= WF_KEYS_LINEAR) {
        return 0;
    }

    keys = s->keys + base;
    wf_keys_sort(keys, n);

    twice = NULL;

    for (i = 1; i < n; i++) {
        if (wf_key_eq(&keys[i - 1], &keys[i])
            && (twice == NULL || keys[i].data < twice))
        {
            twice = keys[i].data;
        }
    }

    if (twice != NULL) {
        (void) wf_scan_refuse(s, WF_TWICE, twice - 1);
        return -1;
    }

    return 0;
}


static int
wf_scan_key(wf_scan_t *s, const wf_key_t *key)
{
    size_t     i, base;
    wf_key_t  *keys;

    base = s->base[s->depth - 1];

    if (s->nkeys - base < WF_KEYS_LINEAR) {
        for (i = base; i < s->nkeys; i++) {
            if (wf_key_eq(&s->keys[i], key)) {
                (void) wf_scan_refuse(s, WF_TWICE, key->data - 1);
                return -1;
            }
        }
    }

    if (s->nkeys == s->size) {
        keys = realloc(s->keys == s->few ? NULL : s->keys,
                       s->size * 2 * sizeof(wf_key_t));
        if (keys == NULL) {
            s->failed = 1;
            return -1;
        }

        if (s->keys == s->few) {
            memcpy(keys, s->few, sizeof(s->few));
        }

        s->keys = keys;
        s->size *= 2;
    }

    s->keys[s->nkeys++] = *key;

    return 0;
}


/* Characters between two places; a byte that is not UTF-8 may be at the end
 * of them, never between. */

static size_t
wf_scan_offset(const char *p, const char *at)
{
    size_t  n;

    for (n = 0; p < at; p++) {
        n += ((unsigned char) *p & 0xc0) != 0x80;
    }

    return n;
}
