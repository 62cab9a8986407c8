#include <stdlib.h>
#include <string.h>

#include "wf_text.h"


#define WF_ONES  0x0101010101010101ULL
#define WF_HIGH  0x8080808080808080ULL


static uint32_t wf_key_next(const char **pos, const char *end);
static int wf_key_compare(const wf_key_t *a, const wf_key_t *b);
static int wf_key_order(const void *one, const void *two);


int
wf_utf8_decode(const char *p, const char *end, uint32_t *code)
{
    int            i, n;
    uint32_t       c;
    unsigned char  first, low, high;

    first = (unsigned char) *p;

    if (first < 0x80) {
        *code = first;
        return 1;
    }

    /* the second byte's range excludes overlong forms and surrogates */

    low = 0x80;
    high = 0xbf;

    if (first >= 0xc2 && first <= 0xdf) {
        n = 2;
        c = first & 0x1f;

    } else if (first >= 0xe0 && first <= 0xef) {
        n = 3;
        c = first & 0x0f;

        if (first == 0xe0) {
            low = 0xa0;

        } else if (first == 0xed) {
            high = 0x9f;
        }

    } else if (first >= 0xf0 && first <= 0xf4) {
        n = 4;
        c = first & 0x07;

        if (first == 0xf0) {
            low = 0x90;

        } else if (first == 0xf4) {
            high = 0x8f;
        }

    } else {
        return -1;
    }

    for (i = 1; i < n; i++) {
        if (p + i == end || (unsigned char) p[i] < low
            || (unsigned char) p[i] > high)
        {
            return -i;
        }

        c = c << 6 | ((unsigned char) p[i] & 0x3f);
        low = 0x80;
        high = 0xbf;
    }

    *code = c;

    return n;
}


size_t
wf_utf8_encode(char *dst, uint32_t code)
{
    if (code < 0x80) {
        dst[0] = (char) code;
        return 1;
    }

    if (code < 0x800) {
        dst[0] = (char) (0xc0 | code >> 6);
        dst[1] = (char) (0x80 | (code & 0x3f));
        return 2;
    }

    if (code < 0x10000) {
        dst[0] = (char) (0xe0 | code >> 12);
        dst[1] = (char) (0x80 | (code >> 6 & 0x3f));
        dst[2] = (char) (0x80 | (code & 0x3f));
        return 3;
    }

    dst[0] = (char) (0xf0 | code >> 18);
    dst[1] = (char) (0x80 | (code >> 12 & 0x3f));
    dst[2] = (char) (0x80 | (code >> 6 & 0x3f));
    dst[3] = (char) (0x80 | (code & 0x3f));

    return 4;
}


/* Eight bytes at a time: the sum's bytes have their highest bit set where a
 * byte is not plain, and where a borrow came from one that is not. */

const char *
wf_json_plain(const char *p, const char *end)
{
    uint64_t       x, quote, backslash;
    unsigned char  c;

    while (end - p >= 8) {
        memcpy(&x, p, 8);

        quote = x ^ (WF_ONES * '"');
        backslash = x ^ (WF_ONES * '\\');

        if ((x | (x - WF_ONES * 0x20) | (quote - WF_ONES)
             | (backslash - WF_ONES)) & WF_HIGH)
        {
            break;
        }

        p += 8;
    }

    while (p < end) {
        c = (unsigned char) *p;

        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') {
            break;
        }

        p++;
    }

    return p;
}


int32_t
wf_json_hex(const char *p)
{
    int      i;
    char     c;
    int32_t  value;

    value = 0;

    for (i = 0; i < 4; i++) {
        c = p[i];
        value <<= 4;

        if (c >= '0' && c <= '9') {
            value |= c - '0';

        } else if (c >= 'a' && c <= 'f') {
            value |= c - 'a' + 10;

        } else if (c >= 'A' && c <= 'F') {
            value |= c - 'A' + 10;

        } else {
            return -1;
        }
    }

    return value;
}


uint32_t
wf_json_unescape(const char **pos)
{
    uint32_t     code;
    const char  *p;

    p = *pos + 2;
    *pos = p;

    switch (p[-1]) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'u':
        break;
    default:
        return (unsigned char) p[-1];
    }

    code = (uint32_t) wf_json_hex(p);
    *pos = p + 4;

    if (code >= 0xd800 && code <= 0xdbff) {
        code = 0x10000 + ((code - 0xd800) << 10)
               + ((uint32_t) wf_json_hex(p + 6) - 0xdc00);
        *pos = p + 10;
    }

    return code;
}


wf_key_t
wf_key(wf_slice_t string)
{
    wf_key_t  key;

    key.data = string.data + 1;
    key.len = string.len - 2;
    key.escaped = (memchr(key.data, '\\', key.len) != NULL);

    return key;
}


int
wf_key_eq(const wf_key_t *a, const wf_key_t *b)
{
    if (!a->escaped && !b->escaped) {
        return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
    }

    return wf_key_compare(a, b) == 0;
}


/* The next code point of a checked key. */

static uint32_t
wf_key_next(const char **pos, const char *end)
{
    uint32_t  code;

    if (**pos == '\\') {
        return wf_json_unescape(pos);
    }

    code = 0;
    *pos += abs(wf_utf8_decode(*pos, end, &code));

    return code;
}


/* The order of code points, which is that of UTF-8's bytes as well. */

static int
wf_key_compare(const wf_key_t *a, const wf_key_t *b)
{
    int          rc;
    uint32_t     x, y;
    const char  *p, *q, *p_end, *q_end;

    if (!a->escaped && !b->escaped) {
        rc = memcmp(a->data, b->data, a->len < b->len ? a->len : b->len);

        return rc ? rc : (a->len > b->len) - (a->len < b->len);
    }

    p = a->data;
    q = b->data;
    p_end = p + a->len;
    q_end = q + b->len;

    while (p < p_end && q < q_end) {
        x = wf_key_next(&p, p_end);
        y = wf_key_next(&q, q_end);

        if (x != y) {
            return x < y ? -1 : 1;
        }
    }

    return (p < p_end) - (q < q_end);
}


static int
wf_key_order(const void *one, const void *two)
{
    int              rc;
    const wf_key_t  *a, *b;

    a = one;
    b = two;

    rc = wf_key_compare(a, b);

    return rc ? rc : (a->data > b->data) - (a->data < b->data);
}


void
wf_keys_sort(wf_key_t *keys, size_t n)
{
    qsort(keys, n, sizeof(wf_key_t), wf_key_order);
}


int
wf_keys_find(const wf_key_t *sorted, size_t n, const wf_key_t *key)
{
    int     rc;
    size_t  low, high, middle;

    low = 0;
    high = n;

    while (low < high) {
        middle = low + (high - low) / 2;
        rc = wf_key_compare(key, &sorted[middle]);

        if (rc == 0) {
            return 1;
        }

        if (rc < 0) {
            high = middle;

        } else {
            low = middle + 1;
        }
    }

    return 0;
}
