/* An event as the reference serialises it, and its fields side by side. */

#ifndef WF_EVENT_H_INCLUDED_
#define WF_EVENT_H_INCLUDED_


#include "wf_buf.h"


/*
 * Take apart the JSON object {"__is_pydantic": true, "value": {...},
 * "qualified_name": "module.Class"}: qualified is the raw string, fields is
 * the value or, where the value has "_data", a new object in memory.
 *
 * 0: good; -1: not an event; -2: no memory.
 */
int wf_event_parse(wf_slice_t object, wf_slice_t *qualified,
    wf_slice_t *fields, wf_buf_t *memory);


#endif /* WF_EVENT_H_INCLUDED_ */
