/*
 * The way to a value within JSON that others wrote and that is not ours to
 * judge, such as the results of other services: structure alone is followed,
 * and what lies beside the way may be what wf_json_check() refuses.  Values
 * that are found are to be checked by it.
 */

#ifndef WF_LAX_H_INCLUDED_
#define WF_LAX_H_INCLUDED_


#include "wf_buf.h"


/* The next member of an object, from behind its brace or from behind the last
 * one on.  1: key (raw, with quotes) and value; 0: no more; -1: not JSON. */
int wf_lax_next(const char **pos, const char *end, wf_slice_t *key,
    wf_slice_t *value);

/* The first value of a key of plain ASCII.  1, 0: there is none, -1: not an
 * object. */
int wf_lax_get(wf_slice_t object, const char *key, wf_slice_t *value);

/* The same for a key with any text in it. */
int wf_lax_find(wf_slice_t object, wf_slice_t key, wf_slice_t *value);

/* Behind the brace that an object begins with; NULL: not an object. */
const char *wf_lax_object(wf_slice_t text);


#endif /* WF_LAX_H_INCLUDED_ */
