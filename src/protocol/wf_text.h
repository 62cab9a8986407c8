/*
 * What the files of this folder share: UTF-8, escapes, ranges of numbers, and
 * keys of objects compared by what they say rather than how they are written.
 */

#ifndef WF_TEXT_H_INCLUDED_
#define WF_TEXT_H_INCLUDED_


#include "wf_buf.h"


typedef struct {
    const char  *data;      /* raw, without quotes */
    size_t       len;
    int          escaped;   /* has backslashes */
} wf_key_t;


#define wf_is_digit(c)  ((c) >= '0' && (c) <= '9')


/*
 * The code point at p < end and the number of its bytes.  Negative: not UTF-8,
 * and as many bytes (the longest prefix of a sequence) are to be replaced.
 */
int wf_utf8_decode(const char *p, const char *end, uint32_t *code);

/* Write a code point, up to 4 bytes; the number of bytes. */
size_t wf_utf8_encode(char *dst, uint32_t code);

/* The four hexadecimal digits at p, or -1. */
int32_t wf_json_hex(const char *p);

/* The code point of a checked escape; *pos moves from its backslash to behind
 * it, over both halves of a surrogate pair. */
uint32_t wf_json_unescape(const char **pos);

/* Whether a number, by its grammar an integer or one with a fraction or an
 * exponent, is within 64 bits or within a double. */
int wf_json_integer_fits(const char *p, const char *end);
int wf_json_real_fits(const char *p, const char *end);

/* The first byte that is not plain in a string: a quote, a backslash, a
 * control character or one beyond ASCII. */
const char *wf_json_plain(const char *p, const char *end);

wf_key_t wf_key(wf_slice_t string);         /* of a raw string with quotes */
int wf_key_eq(const wf_key_t *a, const wf_key_t *b);

/* Equal keys are left in the order of the text. */
void wf_keys_sort(wf_key_t *keys, size_t n);
int wf_keys_find(const wf_key_t *sorted, size_t n, const wf_key_t *key);


#endif /* WF_TEXT_H_INCLUDED_ */
