/*
 * What leaves: QueueMessages with a TaskStream or a TaskResult in them, written
 * as the reference writes them, with ", " and ": " and ASCII only (raw JSON
 * that passes through keeps its bytes).
 */

#ifndef WF_PUBLISH_H_INCLUDED_
#define WF_PUBLISH_H_INCLUDED_


#include "wf_buf.h"


#define WF_UUID_LEN  36

typedef struct {
    const char  *id;            /* WF_UUID_LEN bytes: id_ */
    const char  *time;          /* publish_time: "2026-11-23 03:12:21" */
    wf_slice_t   task_id;
    wf_slice_t   session_id;    /* data NULL: null */
    wf_slice_t   event_type;    /* of a streamed event; data NULL: not told */
} wf_publish_t;


/* Write WF_UUID_LEN bytes, a UUID of version 4 made of 16 random bytes. */
void wf_uuid(char *dst, const uint8_t *random);

/* data: a JSON object. */
void wf_publish_stream(wf_buf_t *b, const wf_publish_t *p, wf_slice_t data,
    uint64_t index);

/* result: text, quoted here; data: a JSON object. */
void wf_publish_result(wf_buf_t *b, const wf_publish_t *p, wf_slice_t result,
    wf_slice_t data);

/* A new_task for a service; input: a JSON object. */
void wf_publish_task(wf_buf_t *b, const wf_publish_t *p, wf_slice_t service,
    wf_slice_t input);

/* A result's JSON value as the text that TaskResult.result holds: a string is
 * itself, null None, true True, false False, anything else its JSON text. */
void wf_result_text(wf_buf_t *b, wf_slice_t json);

/*
 * Event.model_dump() of an event given by its fields: those that the class
 * declares first, the others in "_data" (there only if there are any).  Only
 * the five classes of llama_index are known to declare fields; of any other
 * type all fields count as declared.
 */
void wf_event_dump(wf_buf_t *b, const char *type, wf_slice_t fields);


#endif /* WF_PUBLISH_H_INCLUDED_ */
