#include <stdlib.h>
#include <string.h>

#include "wf_buf.h"


#define WF_BUF_MIN  256


void
wf_buf_free(wf_buf_t *b)
{
    free(b->data);

    b->data = NULL;
    b->len = 0;
    b->size = 0;
    b->failed = 0;
}


char *
wf_buf_reserve(wf_buf_t *b, size_t n)
{
    char    *data;
    size_t   size;

    if (b->failed) {
        return NULL;
    }

    if (b->data != NULL && n <= b->size - b->len) {
        return b->data + b->len;
    }

    if (n > SIZE_MAX / 2 - b->len) {
        b->failed = 1;
        return NULL;
    }

    size = b->size * 2;

    if (size < b->len + n) {
        size = b->len + n;
    }

    if (size < WF_BUF_MIN) {
        size = WF_BUF_MIN;
    }

    data = realloc(b->data, size);
    if (data == NULL) {
        b->failed = 1;
        return NULL;
    }

    b->data = data;
    b->size = size;

    return data + b->len;
}


void
wf_buf_add(wf_buf_t *b, const void *data, size_t len)
{
    char  *p;

    if (len == 0) {
        return;
    }

    p = wf_buf_reserve(b, len);
    if (p == NULL) {
        return;
    }

    memcpy(p, data, len);
    b->len += len;
}


void
wf_buf_addc(wf_buf_t *b, char c)
{
    char  *p;

    p = wf_buf_reserve(b, 1);
    if (p == NULL) {
        return;
    }

    *p = c;
    b->len++;
}


void
wf_buf_addu(wf_buf_t *b, uint64_t n)
{
    char  *p, digits[20];

    p = digits + sizeof(digits);

    do {
        *--p = (char) ('0' + n % 10);
        n /= 10;
    } while (n);

    wf_buf_add(b, p, (size_t) (digits + sizeof(digits) - p));
}


int
wf_slice_eq(wf_slice_t s, const char *text)
{
    size_t  len;

    len = strlen(text);

    return s.len == len && (len == 0 || memcmp(s.data, text, len) == 0);
}
