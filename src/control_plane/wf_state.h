/*
 * The state of a session as the reference keeps it in its control plane: an
 * object with streams and results of the session's tasks in it, and under the
 * session's own id a WorkflowState, JSON in a string, whose "state" is what
 * Context.to_dict() of llama_index returns:
 *
 *     {"hash": null, "state": {"globals": {"count": "1"}, ...},
 *      "run_kwargs": {}, "session_id": "...", "task_id": "..."}
 *
 * Only the globals are of use here: JSON text in strings, by key.  What else a
 * Python service has left (queues, events in progress) belongs to a run that is
 * over.  Nothing is unpickled.
 *
 * With secrets there is an "hmac": HMAC-SHA256, in hexadecimal, of the
 * session's id, a line feed and the text of "state".
 */

#ifndef WF_STATE_H_INCLUDED_
#define WF_STATE_H_INCLUDED_


#include "wf_buf.h"


#define WF_STATE_MAX_SECRETS  2

typedef struct {
    size_t       n;                               /* 0: nothing is signed */
    wf_slice_t   secrets[WF_STATE_MAX_SECRETS];   /* the first one signs */
} wf_state_secrets_t;

typedef struct {
    wf_buf_t     text;        /* the WorkflowState */
    wf_slice_t   globals;     /* in it; data NULL: there are none */
} wf_state_t;

/* A key of the context: name and JSON as text. */

typedef struct {
    wf_slice_t   key;
    wf_slice_t   json;
} wf_state_entry_t;

typedef struct {
    const char  *pos;
    const char  *end;
} wf_state_iter_t;


/*
 * Read what GET /sessions/<id>/state has answered.  0: *state is set, free it
 * by wf_state_free(), also after an error; -1: refused, *error says why;
 * -2: no memory.  A session that has no state yet has no globals.
 */
int wf_state_read(wf_state_t *state, wf_slice_t answer, wf_slice_t session_id,
    const wf_state_secrets_t *secrets, wf_buf_t *error);

void wf_state_free(wf_state_t *state);

/*
 * The globals one by one: the key as text into key, its JSON into json, both
 * emptied before.  1: one of them; 0: there are no more; -1: one that is not
 * JSON, as Python's pickled ones; key is set.  No memory shows in the buffers.
 */
void wf_state_iter_init(wf_state_iter_t *it, const wf_state_t *state);
int wf_state_next(wf_state_iter_t *it, wf_buf_t *key, wf_buf_t *json);

/*
 * Append the body of POST /sessions/<id>/state: the one key of the session, so
 * that streams and results are not touched.  Its globals are those of state,
 * with n entries set.
 */
void wf_state_write(wf_buf_t *b, const wf_state_t *state,
    const wf_state_entry_t *entries, size_t n, wf_slice_t session_id,
    wf_slice_t task_id, const wf_state_secrets_t *secrets);


#endif /* WF_STATE_H_INCLUDED_ */
