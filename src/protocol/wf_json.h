/*
 * JSON as text: a strict check (RFC 8259, bounded), then slices of what was
 * checked.  No tree is built, and what only passes through keeps its bytes.
 */

#ifndef WF_JSON_H_INCLUDED_
#define WF_JSON_H_INCLUDED_


#include "wf_buf.h"


#define WF_JSON_MAX_DEPTH  128


typedef enum {
    WF_JSON_NULL = 0,
    WF_JSON_FALSE,
    WF_JSON_TRUE,
    WF_JSON_INTEGER,
    WF_JSON_REAL,
    WF_JSON_STRING,
    WF_JSON_ARRAY,
    WF_JSON_OBJECT
} wf_json_type_t;

typedef struct {
    const char  *reason;    /* static; Python's text where Python refuses too */
    size_t       offset;    /* in characters, as Python counts */
} wf_json_error_t;

typedef struct {
    const char  *pos;
    const char  *end;
    int          object;
} wf_json_iter_t;


/*
 * Check one JSON value, white space around it allowed.  Refused beside what
 * the grammar refuses: nesting deeper than WF_JSON_MAX_DEPTH, a key twice in
 * an object, invalid UTF-8, NUL (also as \u0000), lone surrogates, integers
 * beyond 64 bits, reals beyond a double.  0: good, and *value, if not NULL, is
 * the value without white space around it; -1: refused, *err says why;
 * -2: no memory.
 */
int wf_json_check(wf_slice_t text, wf_slice_t *value, wf_json_error_t *err);


/* What follows takes only values that wf_json_check() has passed. */

wf_json_type_t wf_json_type(wf_slice_t value);

/* Members of an object, elements of an array.  The key is the raw string with
 * its quotes; it is empty in an array. */
void wf_json_iter_init(wf_json_iter_t *it, wf_slice_t value);
int wf_json_next(wf_json_iter_t *it, wf_slice_t *key, wf_slice_t *value);

/* 1: the object has the key, which is plain ASCII without escapes needed. */
int wf_json_get(wf_slice_t object, const char *key, wf_slice_t *value);

/* The values of n such keys in one pass; data NULL: the object has it not. */
void wf_json_members(wf_slice_t object, const wf_slice_t *keys, size_t n,
    wf_slice_t *values);

/* Whether a raw string with its quotes says the same as plain text. */
int wf_json_string_eq(wf_slice_t string, const char *text, size_t len);

/* Append what a raw string with its quotes says, as UTF-8. */
void wf_json_string(wf_buf_t *b, wf_slice_t string);

/* Append text as a string with quotes, ASCII only, as Python's json.dumps()
 * writes it.  Bytes that are not UTF-8 become U+FFFD. */
void wf_json_quote(wf_buf_t *b, const char *text, size_t len);

/* The same with UTF-8 left as it is, as FastAPI answers. */
void wf_json_quote_utf8(wf_buf_t *b, const char *text, size_t len);


#endif /* WF_JSON_H_INCLUDED_ */
