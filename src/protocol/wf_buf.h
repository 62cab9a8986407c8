/*
 * A slice is text with a length that somebody else owns; a buffer is text that
 * grows.  A buffer that could not grow keeps `failed` set and ignores further
 * appends, so that a caller checks once, at the end.
 */

#ifndef WF_BUF_H_INCLUDED_
#define WF_BUF_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <string.h>


typedef struct {
    const char  *data;
    size_t       len;
} wf_slice_t;

typedef struct {
    char        *data;      /* not terminated */
    size_t       len;
    size_t       size;
    int          failed;
} wf_buf_t;


#define WF_BUF_INIT       { NULL, 0, 0, 0 }
#define wf_slice(s)       ((wf_slice_t) { (s), sizeof(s) - 1 })

void wf_buf_free(wf_buf_t *b);                  /* and make it empty again */

/* Room for n more bytes at data + len; NULL: none. */
char *wf_buf_reserve(wf_buf_t *b, size_t n);

void wf_buf_add(wf_buf_t *b, const void *data, size_t len);
void wf_buf_addc(wf_buf_t *b, char c);
void wf_buf_addu(wf_buf_t *b, uint64_t n);      /* in decimal */

/* Here, for the compiler knows how long most of them are. */

static inline void
wf_buf_adds(wf_buf_t *b, const char *s)
{
    wf_buf_add(b, s, strlen(s));
}

int wf_slice_eq(wf_slice_t s, const char *text);    /* 1: the same bytes */


#endif /* WF_BUF_H_INCLUDED_ */
