/*
 * Every allocation made to fail, one at a time, until a call needs no more.
 * To be linked with -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc.
 */

#include <stdlib.h>

#include "tap.h"
#include "wf_json.h"
#include "wf_message.h"
#include "wf_publish.h"


typedef int (*attempt_t)(void);


void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

static void fails(const char *name, attempt_t attempt, int done);
static int parse(wf_slice_t text, const char *type);
static int new_task(void);
static int send_event(void);
static int invalid_model(void);
static int invalid_envelope(void);
static int invalid_task(void);
static int invalid_event(void);
static int invalid_type(void);
static int invalid_json(void);
static int many_keys(void);
static int many_fields(void);
static int unknown_event(void);
static int publish(void);


static long      left = -1;     /* allocations until one fails; -1: never */
static wf_buf_t  keys;
static wf_buf_t  event;


void *
__wrap_malloc(size_t size)
{
    return (left >= 0 && left-- == 0) ? NULL : __real_malloc(size);
}


void *
__wrap_calloc(size_t n, size_t size)
{
    return (left >= 0 && left-- == 0) ? NULL : __real_calloc(n, size);
}


void *
__wrap_realloc(void *p, size_t size)
{
    return (left >= 0 && left-- == 0) ? NULL : __real_realloc(p, size);
}


int
main(void)
{
    int  i;

    wf_buf_addc(&keys, '{');
    wf_buf_adds(&event, "{\"action\":\"send_event\",\"data\":{\"task_id\":"
                "\"t\",\"input\":\"{\\\"__is_pydantic\\\":true,"
                "\\\"qualified_name\\\":\\\"E\\\",\\\"value\\\":{"
                "\\\"_data\\\":{\\\"k1\\\":1,\\\"x\\\":2}");

    for (i = 0; i < 200; i++) {
        wf_buf_adds(&keys, i ? ",\"k" : "\"k");
        wf_buf_addu(&keys, (uint64_t) i);
        wf_buf_adds(&keys, "\":0");

        wf_buf_adds(&event, ",\\\"k");
        wf_buf_addu(&event, (uint64_t) i);
        wf_buf_adds(&event, "\\\":0");
    }

    wf_buf_addc(&keys, '}');
    wf_buf_adds(&event, "}}\"}}");

    fails("new_task", new_task, 0);
    fails("send_event", send_event, 0);
    fails("wrong types", invalid_model, -1);
    fails("a wrong envelope", invalid_envelope, -1);
    fails("a wrong task", invalid_task, -1);
    fails("a wrong event", invalid_event, -1);
    fails("a wrong content type", invalid_type, -1);
    fails("wrong JSON", invalid_json, -1);
    fails("many keys", many_keys, 0);
    fails("an event of many fields", many_fields, 0);
    fails("an unknown event", unknown_event, 0);
    fails("publish", publish, 0);

    wf_buf_free(&keys);
    wf_buf_free(&event);

    return done_testing();
}


/* done: what the attempt returns once it has all the memory it needs. */

static void
fails(const char *name, attempt_t attempt, int done)
{
    int   rc;
    long  n, spare;

    for (n = 0; n < 1000; n++) {
        left = n;
        rc = attempt();
        spare = left;
        left = -1;

        if (spare >= 0) {
            break;
        }

        if (rc != -2) {
            ok(0, "%s: allocation %ld failed unnoticed, %d", name, n, rc);
            return;
        }
    }

    ok(n > 0 && rc == done, "%s: %ld allocations", name, n);
}


static int
parse(wf_slice_t text, const char *type)
{
    int           rc;
    wf_buf_t      detail = WF_BUF_INIT, reason = WF_BUF_INIT;
    wf_slice_t    content_type;
    wf_message_t  m;

    content_type.data = type;
    content_type.len = strlen(type);

    rc = wf_message_parse(&m, text, content_type, wf_slice("s"), &detail,
                          &reason);

    wf_message_free(&m);
    wf_buf_free(&detail);
    wf_buf_free(&reason);

    return rc;
}


static int
new_task(void)
{
    return parse(wf_slice("{\"id_\":\"a\\/\",\"action\":\"new_task\",\"data\":"
                          "{\"input\":\"{\\\"a\\\":1}\",\"task_id\":\"\\/\"}}"),
                 "application/json");
}


static int
send_event(void)
{
    return parse(wf_slice("{\"action\":\"send_event\",\"data\":{\"task_id\":"
                          "\"t\",\"input\":\"{\\\"__is_pydantic\\\":true,"
                          "\\\"value\\\":{\\\"a\\\":1,\\\"_data\\\":"
                          "{\\\"b\\\":2}},\\\"qualified_name\\\":"
                          "\\\"m.\\\\u0045\\\"}\"}}"), "");
}


static int
invalid_model(void)
{
    return parse(wf_slice("{\"id_\":1,\"type\":2,\"stats\":3,\"data\":"
                          "{\"task_id\":\"\\/\"}}"), "");
}


static int
invalid_envelope(void)
{
    return parse(wf_slice("{\"action\":\"task\\u005fstream\",\"id_\":"
                          "\"\\n\",\"publisher_id\":\"\\n\",\"type\":"
                          "\"\\u0061\",\"data\":{\"task_id\":\"\\/\"}}"),
                 "");
}


static int
invalid_task(void)
{
    return parse(wf_slice("{\"action\":\"new_task\",\"data\":{\"input\":\"x\","
                          "\"task_id\":\"\\n\",\"session_id\":\"\"}}"), "");
}


static int
invalid_event(void)
{
    return parse(wf_slice("{\"action\":\"send_event\",\"data\":"
                          "{\"input\":\"{}\",\"task_id\":\"t\"}}"), "");
}


static int
invalid_type(void)
{
    return parse(wf_slice("\303\251"), "text/plain");
}


static int
invalid_json(void)
{
    return parse(wf_slice("{"), "");
}


static int
many_keys(void)
{
    wf_slice_t       text;
    wf_json_error_t  err;

    text.data = keys.data;
    text.len = keys.len;

    return wf_json_check(text, NULL, &err);
}


static int
many_fields(void)
{
    wf_slice_t  text;

    text.data = event.data;
    text.len = event.len;

    return parse(text, "");
}


static int
unknown_event(void)
{
    int           rc;
    wf_buf_t      detail = WF_BUF_INIT, reason = WF_BUF_INIT;
    wf_message_t  m;

    memset(&m, 0, sizeof(m));
    m.event = wf_slice("m.E");

    wf_message_unknown_event(&m, wf_slice("w"), wf_slice("A"), &detail,
                             &reason);

    rc = (detail.failed || reason.failed) ? -2 : 0;

    wf_buf_free(&detail);
    wf_buf_free(&reason);

    return rc;
}


static int
publish(void)
{
    int           rc;
    wf_buf_t      b = WF_BUF_INIT;
    wf_publish_t  p;

    p.id = "f7db3947-efa6-4958-84d1-221b41e112b9";
    p.time = "2026-11-23 03:37:21";
    p.task_id = wf_slice("t");
    p.session_id = wf_slice("s");
    p.event_type = wf_slice("T");

    wf_event_dump(&b, "StopEvent", wf_slice("{\"result\":1,\"x\":2}"));
    wf_result_text(&b, wf_slice("\"a\\nb\""));
    wf_publish_stream(&b, &p, wf_slice("{}"), 1);
    wf_publish_result(&b, &p, wf_slice("r"), wf_slice("{}"));

    rc = b.failed ? -2 : 0;

    wf_buf_free(&b);

    return rc;
}
