#include "load.h"
#include "parse.h"
#include "wf_json.h"
#include "wf_publish.h"


#define SHAPE                                                                 \
    "Value error, an event is {\\\"__is_pydantic\\\": true, "                 \
    "\\\"value\\\": {...}, \\\"qualified_name\\\": \\\"module.Class\\\"}"



static void check_events(void);
static void check_event(const char *input, const char *fields,
    const char *name);
static void check_many_fields(void);
static void check_unknown_event(void);
static void check_dumps(void);
static void check_dump(const char *type, const char *fields,
    const char *expected);


int
main(void)
{
    check_events();
    check_many_fields();
    check_unknown_event();
    check_dumps();

    parse_done();

    return done_testing();
}


static void
check_events(void)
{
    check_event("{\"__is_pydantic\": true, \"value\": {}, "
                "\"qualified_name\": \"m.E\"}", "{}", "no fields");
    check_event("{\"qualified_name\":\"m\\u002eE\", \"x\":1,"
                "\"value\": {\"a\" : [1, 2]},\"__is_pydantic\":true}",
                "{\"a\" : [1, 2]}", "declared fields keep their bytes");
    check_event("{\"__is_pydantic\": true, \"value\": {\"_data\": {}}, "
                "\"qualified_name\": \"m.E\"}", "{}", "empty _data");
    check_event("{\"__is_pydantic\": true, \"value\": {\"_data\": "
                "{\"b\":1.50,\"a\":\"\\u00e9\"}}, \"qualified_name\": "
                "\"m.E\"}", "{\"b\": 1.50, \"a\": \"\\u00e9\"}",
                "only _data");
    check_event("{\"__is_pydantic\": true, \"value\": {\"z\":1, \"_data\": "
                "{\"b\":2,\"z\":3,\"\\u0079\":4,\"a\":5}, \"y\":6}, "
                "\"qualified_name\": \"m.E\"}",
                "{\"z\": 1, \"y\": 6, \"b\": 2, \"a\": 5}",
                "declared fields go first and win");

    check_event("{\"__is_pydantic\": false, \"value\": {}, "
                "\"qualified_name\": \"m.E\"}", NULL, "not pydantic");
    check_event("{\"value\": {}, \"qualified_name\": \"m.E\"}", NULL,
                "no __is_pydantic");
    check_event("{\"__is_pydantic\": true, \"qualified_name\": \"m.E\"}",
                NULL, "no value");
    check_event("{\"__is_pydantic\": true, \"value\": 1, "
                "\"qualified_name\": \"m.E\"}", NULL, "a value of 1");
    check_event("{\"__is_pydantic\": true, \"value\": {}}", NULL,
                "no qualified_name");
    check_event("{\"__is_pydantic\": true, \"value\": {}, "
                "\"qualified_name\": 1}", NULL, "a name of 1");
    check_event("{\"__is_pydantic\": true, \"value\": {}, "
                "\"qualified_name\": \"\"}", NULL, "an empty name");
    check_event("{\"__is_pydantic\": true, \"value\": {\"_data\":[]}, "
                "\"qualified_name\": \"m.E\"}", NULL, "_data of an array");
    check_event("{\"__is_component\": true, \"value\": {}, "
                "\"qualified_name\": \"m.E\"}", NULL, "a component");
}


static void
check_event(const char *input, const char *fields, const char *name)
{
    int       rc;
    wf_buf_t  b = WF_BUF_INIT;

    wf_buf_adds(&b, "{\"action\":\"send_event\",\"data\":{\"task_id\":\"t\","
                    "\"input\":");
    wf_json_quote(&b, input, strlen(input));
    wf_buf_adds(&b, "}}");

    rc = parse(b.data, b.len, NULL);
    wf_buf_free(&b);

    is_int(rc, fields ? 0 : -1, name);

    if (fields != NULL) {
        is_mem(message.input.data, message.input.len, fields, "its fields");
        is_mem(message.event.data, message.event.len, "m.E", "its class");

    } else {
        wf_buf_addc(&detail, '\0');
        ok(strstr(detail.data, SHAPE) != NULL, "says what an event is");
    }
}


/* Every second member of _data is hidden by a declared field. */

static void
check_many_fields(void)
{
    size_t          i;
    wf_buf_t        b = WF_BUF_INIT, input = WF_BUF_INIT;
    wf_slice_t      key, value;
    wf_json_iter_t  it;

    wf_buf_adds(&input, "{\"__is_pydantic\":true,\"qualified_name\":\"m.E\","
                        "\"value\":{");

    for (i = 0; i < 50000; i++) {
        wf_buf_adds(&input, "\"k");
        wf_buf_addu(&input, i * 2);
        wf_buf_adds(&input, "\":1,");
    }

    wf_buf_adds(&input, "\"_data\":{");

    for (i = 0; i < 50000; i++) {
        wf_buf_adds(&input, i ? ",\"k" : "\"k");
        wf_buf_addu(&input, i);
        wf_buf_adds(&input, "\":2");
    }

    wf_buf_adds(&input, "}}}");

    wf_buf_adds(&b, "{\"action\":\"send_event\",\"data\":{\"task_id\":\"t\","
                    "\"input\":");
    wf_json_quote(&b, input.data, input.len);
    wf_buf_adds(&b, "}}");

    is_int(parse(b.data, b.len, NULL), 0, "an event of 100000 fields");

    wf_json_iter_init(&it, message.input);

    for (i = 0; wf_json_next(&it, &key, &value); i++) { /* void */ }

    is_int(i, 75000, "those that are left");

    wf_buf_free(&b);
    wf_buf_free(&input);
}


static void
check_unknown_event(void)
{
    char    *text;
    size_t   len;

    text = load("send_event.json", &len);
    is_int(parse(text, len, NULL), 0, "an event");

    wf_message_unknown_event(&message, wf_slice("ask"),
                             wf_slice("A, my.B"), &detail, &reason);
    is_mem(detail.data, detail.len,
           "{\"detail\":[{\"type\":\"value_error\",\"loc\":"
           "[\"body\",\"data\",\"input\"],\"msg\":\"Value error, workflow "
           "'ask' does not accept events of type 'llama_index.core.workflow."
           "events.HumanResponseEvent'; it accepts A, my.B\",\"input\":"
           "\"llama_index.core.workflow.events.HumanResponseEvent\"}]}",
           "that the workflow does not know");
    is_mem(reason.data, reason.len, "body.data.input: Value error, workflow "
           "'ask' does not accept events of type 'llama_index.core.workflow."
           "events.HumanResponseEvent'; it accepts A, my.B", "its reason");

    wf_buf_free(&detail);
    wf_buf_free(&reason);

    wf_message_unknown_event(&message, wf_slice("ask"), wf_slice(""), &detail,
                             &reason);
    is_mem(reason.data + reason.len - 15, 15, "it accepts none",
           "a workflow that accepts none");
    free(text);
}


static void
check_dumps(void)
{
#define MODULE  "llama_index.core.workflow.events."

    check_dump("Event", "{}", "{}");
    check_dump("Event", "{\"a\":1}", "{\"_data\": {\"a\": 1}}");
    check_dump(MODULE "Event", "{\"a\":1,\"b\":[1,2]}",
               "{\"_data\": {\"a\": 1, \"b\": [1,2]}}");
    check_dump("StartEvent", "{ }", "{}");
    check_dump("StartEvent", "{\"result\":1,\"n\":2}",
               "{\"_data\": {\"result\": 1, \"n\": 2}}");
    check_dump("StopEvent", "{}", "{\"result\": null}");
    check_dump("StopEvent", "{\"r\\u0065sult\" : \"\303\251\"}",
               "{\"result\": \"\303\251\"}");
    check_dump(MODULE "StopEvent", "{\"x\":1,\"result\":{\"a\" : 1}}",
               "{\"result\": {\"a\" : 1}, \"_data\": {\"x\": 1}}");
    check_dump("InputRequiredEvent", "{\"user\":\"u\",\"prefix\":\"p\"}",
               "{\"prefix\": \"p\", \"_data\": {\"user\": \"u\"}}");
    check_dump("InputRequiredEvent", "{\"user\":\"u\"}",
               "{\"_data\": {\"user\": \"u\"}}");
    check_dump("HumanResponseEvent", "{\"response\":\"42\"}",
               "{\"response\": \"42\"}");
    check_dump("ProgressEvent", "{\"progress\":0.30,\"a\":null}",
               "{\"progress\": 0.30, \"a\": null}");
    check_dump("my.StopEvent", "{}", "{}");
    check_dump("my.StopEvent", "{\"x\":1}", "{\"x\": 1}");
}


static void
check_dump(const char *type, const char *fields, const char *expected)
{
    wf_buf_t    b = WF_BUF_INIT;
    wf_slice_t  s;

    s.data = fields;
    s.len = strlen(fields);

    wf_event_dump(&b, type, s);
    is_mem(b.data, b.len, expected, type);

    wf_buf_free(&b);
}
