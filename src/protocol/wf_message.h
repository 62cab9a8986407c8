/*
 * What arrives: a QueueMessage with a TaskDefinition in it, checked as the
 * reference checks it, and more strictly where the reference fails later.
 */

#ifndef WF_MESSAGE_H_INCLUDED_
#define WF_MESSAGE_H_INCLUDED_


#include "wf_buf.h"


#define WF_MESSAGE_MAX_ID  256      /* bytes of id_, task_id or session_id */


typedef enum {
    WF_ACTION_NEW_TASK = 1,
    WF_ACTION_SEND_EVENT
} wf_action_t;


typedef struct {
    wf_action_t  action;
    wf_slice_t   id;            /* id_; empty: none was given */
    wf_slice_t   publisher;     /* publisher_id; empty: none was given */
    wf_slice_t   task_id;       /* empty: none was given */
    wf_slice_t   session_id;    /* data NULL: null or absent */

    /* new_task: a JSON object, the StartEvent's fields.  send_event: a JSON
     * object, the event's declared fields and those of _data side by side. */
    wf_slice_t   input;

    /* send_event: qualified_name, as "llama_index.core.workflow.events.Event".
     * Empty for new_task. */
    wf_slice_t   event;

    wf_buf_t     memory[3];     /* what slices point into, beside the text */
} wf_message_t;


/*
 * Parse a message for a service.  The message's slices point into text and into
 * memory of its own; wf_message_free() frees that, whatever was returned.
 *
 * content_type is the header's value, data NULL: there was none.
 *
 * 0: good.  -1: refused; `detail` holds the body of a 422 answer, pydantic's
 * {"detail":[...]}, and `reason` the same for a log line ("body.data.input:
 * Field required"), control characters escaped, at most about 500 bytes.  After
 * a refusal task_id and action are set as far as they could be told (action 0
 * and task_id empty otherwise).  -2: no memory.
 */
int wf_message_parse(wf_message_t *m, wf_slice_t text, wf_slice_t content_type,
    wf_slice_t service, wf_buf_t *detail, wf_buf_t *reason);

void wf_message_free(wf_message_t *m);

/* The 422 for an event that the workflow knows no step for.  accepted: the
 * types that it would take, as text. */
void wf_message_unknown_event(wf_message_t *m, wf_slice_t workflow,
    wf_slice_t accepted, wf_buf_t *detail, wf_buf_t *reason);


#endif /* WF_MESSAGE_H_INCLUDED_ */
