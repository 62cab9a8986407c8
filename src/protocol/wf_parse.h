/* A message while it is parsed, shared by the files that do so. */

#ifndef WF_PARSE_H_INCLUDED_
#define WF_PARSE_H_INCLUDED_


#include "wf_error.h"
#include "wf_json.h"
#include "wf_message.h"


#define wf_is_type(value, t)  (wf_json_type(value) == (t))


enum {
    WF_MESSAGE_ID = 0,
    WF_MESSAGE_PUBLISHER,
    WF_MESSAGE_DATA,
    WF_MESSAGE_ACTION,
    WF_MESSAGE_STATS,
    WF_MESSAGE_TYPE,
    WF_MESSAGE_MEMBERS
};

typedef struct {
    wf_message_t  *m;
    wf_errors_t    errors;
    size_t         room;        /* for all strings of the text, unescaped */
    int            failed;      /* no memory */

    wf_slice_t     members[WF_MESSAGE_MEMBERS];
} wf_parse_t;


/* The message's data, an object: all of it, or only which task it is about
 * where the message is refused already. */
void wf_parse_task(wf_parse_t *c);
void wf_parse_tell(wf_parse_t *c);

/* *id is set if the value is a good one, else an error is added. */
void wf_parse_id(wf_parse_t *c, const char *loc, wf_slice_t value,
    wf_slice_t *id);
int wf_parse_id_good(wf_slice_t id);

/* What a raw string says: a slice of it or, unescaped, of memory, which has
 * room for all strings of the message and so never moves. */
void wf_parse_string(wf_parse_t *c, wf_slice_t value, wf_buf_t *memory,
    wf_slice_t *text);

/* A value_error whose text has a part that the sender chose. */
void wf_parse_refuse(wf_parse_t *c, const char *loc, const char *before,
    wf_slice_t text, const char *after, wf_slice_t input);


#endif /* WF_PARSE_H_INCLUDED_ */
