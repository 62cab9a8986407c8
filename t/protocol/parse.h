/* What the tests of messages share: a message, parsed. */

#ifndef PARSE_H_INCLUDED_
#define PARSE_H_INCLUDED_


#include <stdlib.h>

#include "tap.h"
#include "wf_message.h"


static int parse(const char *text, size_t len, const char *type);
static void parse_done(void);


static wf_message_t   message;
static wf_buf_t       detail;
static wf_buf_t       reason;
static char          *copy;


/* From memory of the exact size, so that a read behind it is found. */

static int
parse(const char *text, size_t len, const char *type)
{
    wf_slice_t  body, content_type;

    parse_done();

    copy = malloc(len + 1);
    if (copy == NULL) {
        return -2;
    }

    memcpy(copy + 1, text, len);
    body.data = copy + 1;
    body.len = len;

    content_type.data = type;
    content_type.len = type ? strlen(type) : 0;

    return wf_message_parse(&message, body, content_type,
                            wf_slice("greeting"), &detail, &reason);
}


static void
parse_done(void)
{
    wf_message_free(&message);
    wf_buf_free(&detail);
    wf_buf_free(&reason);
    free(copy);
    copy = NULL;
}


#endif /* PARSE_H_INCLUDED_ */
