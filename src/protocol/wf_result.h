/*
 * The results of tasks that a task has sent to other services: as the fields of
 * a TaskResultEvent (see workflow.h), and as they are heard.
 */

#ifndef WF_RESULT_H_INCLUDED_
#define WF_RESULT_H_INCLUDED_


#include "wf_buf.h"


/*
 * Write the fields, an object; data is that of TaskResult.data, as this module
 * writes it: "status", and "result" or "error".  service with data NULL: the
 * object begins behind "service", for somebody else to put in front.  A result
 * that cannot be in an event becomes a failure, "ResultError".
 */
void wf_result_fields(wf_buf_t *b, wf_slice_t service, wf_slice_t task_id,
    wf_slice_t data);

/* The same from what Redis keeps of a task: state, result, error text. */
void wf_result_ended(wf_buf_t *b, wf_slice_t service, wf_slice_t task_id,
    wf_slice_t state, wf_slice_t result, wf_slice_t error);

/* The same of a task that could not be sent. */
void wf_result_failed(wf_buf_t *b, wf_slice_t service, wf_slice_t task_id,
    const char *type, const char *message);

/*
 * A message for a control plane.  1: it is the result of a task whose id is one
 * that wf_send_task() makes; *task_id and what wf_result_fields() writes
 * without a service are appended; a result without data, as Python's, has its
 * text.  0: it is not; -1: it is not readable; -2: no memory.
 */
int wf_result_heard(wf_slice_t message, wf_buf_t *task_id, wf_buf_t *fields);


#endif /* WF_RESULT_H_INCLUDED_ */
