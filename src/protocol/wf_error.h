/*
 * What is wrong with a message, as pydantic lists it: {"detail":[...]}, and
 * shortly for a log line.
 */

#ifndef WF_ERROR_H_INCLUDED_
#define WF_ERROR_H_INCLUDED_


#include "wf_json.h"


typedef enum {
    WF_ERROR_MISSING = 0,
    WF_ERROR_MODEL,
    WF_ERROR_DICT,
    WF_ERROR_STRING,
    WF_ERROR_TOO_SHORT,
    WF_ERROR_TOO_LONG,
    WF_ERROR_ACTION
} wf_error_type_t;

typedef struct {
    wf_buf_t    *detail;
    wf_buf_t    *reason;
    size_t       begin;     /* where the reason begins in its buffer */
    unsigned     count;
    unsigned     cut;       /* the reason has reached its limit */
} wf_errors_t;


void wf_errors_init(wf_errors_t *e, wf_buf_t *detail, wf_buf_t *reason);

/* Ends the list.  -1: there are errors; -2: no memory; 0: there is none. */
int wf_errors_done(wf_errors_t *e);

/*
 * loc: "body.data.input", of names without dots.  input: the raw JSON value
 * that is refused, data NULL: null.
 */
void wf_error(wf_errors_t *e, wf_error_type_t type, const char *loc,
    wf_slice_t input);
void wf_error_json(wf_errors_t *e, const char *loc, const wf_json_error_t *err);

/* msg: the text behind "Value error, "; a buffer that failed fails the list. */
void wf_error_value(wf_errors_t *e, const char *loc, const wf_buf_t *msg,
    wf_slice_t input);

/* Append text that somebody else chose, cut when it is long. */
void wf_error_excerpt(wf_buf_t *b, wf_slice_t text);


#endif /* WF_ERROR_H_INCLUDED_ */
