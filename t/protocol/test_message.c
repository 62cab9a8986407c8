#include "load.h"
#include "parse.h"
#include "wf_json.h"


#define ERROR(type, loc, msg, rest)                                           \
    "{\"type\":\"" type "\",\"loc\":[" loc "],\"msg\":\"" msg "\"," rest "}"

#define ACTIONS                                                               \
    "'new_task', 'completed_task', 'request_for_help', 'new_tool_call', "     \
    "'completed_tool_call', 'task_stream' or 'send_event'"

#define MODEL  "Input should be a valid dictionary or object to extract "     \
               "fields from"
#define STRING  "Input should be a valid string"
#define DICT    "Input should be a valid dictionary"
#define SHAPE                                                                 \
    "Value error, an event is {\\\"__is_pydantic\\\": true, "                 \
    "\\\"value\\\": {...}, \\\"qualified_name\\\": \\\"module.Class\\\"}"

#define TASK(data)   "{\"action\":\"new_task\",\"data\":{" data "}}"
#define EVENT(data)  "{\"action\":\"send_event\",\"data\":{" data "}}"


typedef struct {
    const char   *name;
    const char   *text;
    const char   *errors;       /* of detail */
    const char   *reason;       /* NULL: not looked at */
    wf_action_t   action;
    const char   *task_id;
} refused_t;


static void refuses(const refused_t *r);
static void check_recording(void);
static void check_content_types(void);
static void check_defaults(void);
static void check_escapes(void);
static void check_sizes(void);


static const refused_t  refused[] = {

    { "no body", "",
      ERROR("missing", "\"body\"", "Field required", "\"input\":null"),
      "body: Field required", 0, "" },

    { "null", "null",
      ERROR("missing", "\"body\"", "Field required", "\"input\":null"),
      "body: Field required", 0, "" },

    { "broken JSON", "{bad",
      ERROR("json_invalid", "\"body\",1", "JSON decode error",
            "\"input\":{},\"ctx\":{\"error\":\"Expecting property name "
            "enclosed in double quotes\"}"),
      "body.1: JSON decode error: Expecting property name enclosed in double "
      "quotes", 0, "" },

    { "a key twice", "{\"type\":\"a\",\"type\":\"b\"}",
      ERROR("json_invalid", "\"body\",12", "JSON decode error",
            "\"input\":{},\"ctx\":{\"error\":\"Duplicate key\"}"),
      NULL, 0, "" },

    { "invalid UTF-8", "{\"id_\":\"\377\"}",
      ERROR("json_invalid", "\"body\",8", "JSON decode error",
            "\"input\":{},\"ctx\":{\"error\":\"Invalid UTF-8\"}"),
      NULL, 0, "" },

    { "an array", " [1, 2] ",
      ERROR("model_attributes_type", "\"body\"", MODEL, "\"input\":[1, 2]"),
      "body: " MODEL, 0, "" },

    { "a string", "\"x\"",
      ERROR("model_attributes_type", "\"body\"", MODEL, "\"input\":\"x\""),
      NULL, 0, "" },

    { "every member of a wrong type",
      "{\"type\":5,\"stats\":[],\"action\":\"fly\",\"data\":\"d\","
      "\"publisher_id\":null,\"id_\":{}}",
      ERROR("string_type", "\"body\",\"id_\"", STRING, "\"input\":{}") ","
      ERROR("string_type", "\"body\",\"publisher_id\"", STRING,
            "\"input\":null") ","
      ERROR("dict_type", "\"body\",\"data\"", DICT, "\"input\":\"d\"") ","
      ERROR("enum", "\"body\",\"action\"", "Input should be " ACTIONS,
            "\"input\":\"fly\",\"ctx\":{\"expected\":\"" ACTIONS "\"}") ","
      ERROR("model_attributes_type", "\"body\",\"stats\"", MODEL,
            "\"input\":[]") ","
      ERROR("string_type", "\"body\",\"type\"", STRING, "\"input\":5"),
      "body.id_: Input should be a valid string; body.publisher_id: Input "
      "should be a valid string; body.data: Input should be a valid "
      "dictionary; body.action: Input should be " ACTIONS "; body.stats: "
      "Input should be a valid dictionary or object to extract fields from; "
      "body.type: Input should be a valid string", 0, "" },

    { "an action that is no string", "{\"action\":7,\"data\":{}}",
      ERROR("enum", "\"body\",\"action\"", "Input should be " ACTIONS,
            "\"input\":7,\"ctx\":{\"expected\":\"" ACTIONS "\"}"),
      NULL, 0, "" },

    { "data null", "{\"action\":\"new_task\",\"data\":null}",
      ERROR("dict_type", "\"body\",\"data\"", DICT, "\"input\":null"),
      NULL, WF_ACTION_NEW_TASK, "" },

    { "stats of a wrong type",
      "{\"action\":\"new_task\",\"data\":{\"task_id\":\"t\"},\"stats\":"
      "{\"publish_time\":1,\"process_start_time\":null,"
      "\"process_end_time\":[],\"more\":2}}",
      ERROR("string_type", "\"body\",\"stats\",\"publish_time\"", STRING,
            "\"input\":1") ","
      ERROR("string_type", "\"body\",\"stats\",\"process_end_time\"", STRING,
            "\"input\":[]"),
      NULL, WF_ACTION_NEW_TASK, "t" },

    { "nothing in it", "{}",
      ERROR("value_error", "\"body\",\"action\"",
            "Value error, Unhandled action: None", "\"input\":null"),
      "body.action: Value error, Unhandled action: None", 0, "" },

    { "action null", "{\"action\":null,\"data\":{\"task_id\":\"t1\"}}",
      ERROR("value_error", "\"body\",\"action\"",
            "Value error, Unhandled action: None", "\"input\":null"),
      NULL, 0, "t1" },

    { "an action for others",
      "{\"action\":\"completed\\u005ftask\",\"data\":{}}",
      ERROR("value_error", "\"body\",\"action\"",
            "Value error, Unhandled action: completed_task",
            "\"input\":\"completed\\u005ftask\""),
      NULL, 0, "" },

    { "a message for another service",
      "{\"action\":\"new_task\",\"type\":\"it's\",\"data\":"
      "{\"input\":\"{}\",\"task_id\":\"t\"}}",
      ERROR("value_error", "\"body\",\"type\"", "Value error, Consumer "
            "cannot process messages of type 'it's'.", "\"input\":\"it's\""),
      NULL, WF_ACTION_NEW_TASK, "t" },

    { "a type with control characters", "{\"type\":\"a\\n\\u001bb\"}",
      ERROR("value_error", "\"body\",\"action\"",
            "Value error, Unhandled action: None", "\"input\":null") ","
      ERROR("value_error", "\"body\",\"type\"", "Value error, Consumer "
            "cannot process messages of type 'a\\n\\u001bb'.",
            "\"input\":\"a\\n\\u001bb\""),
      "body.action: Value error, Unhandled action: None; body.type: Value "
      "error, Consumer cannot process messages of type 'a\\x0a\\x1bb'.",
      0, "" },

    { "a control character in id_",
      "{\"id_\":\"a\\nb\",\"action\":\"new_task\",\"data\":{\"input\":\"{}\"}}",
      ERROR("value_error", "\"body\",\"id_\"",
            "Value error, control characters are not allowed",
            "\"input\":\"a\\nb\""),
      NULL, WF_ACTION_NEW_TASK, "" },

    { "no data", "{\"action\":\"new_task\"}",
      ERROR("missing", "\"body\",\"data\",\"input\"", "Field required",
            "\"input\":{}"),
      "body.data.input: Field required", WF_ACTION_NEW_TASK, "" },

    { "no input", TASK("\"task_id\": \"t\""),
      ERROR("missing", "\"body\",\"data\",\"input\"", "Field required",
            "\"input\":{\"task_id\": \"t\"}"),
      NULL, WF_ACTION_NEW_TASK, "t" },

    { "a task of wrong types",
      TASK("\"agent_id\":1,\"session_id\":2,\"task_id\":null,\"input\":{}"),
      ERROR("string_type", "\"body\",\"data\",\"input\"", STRING,
            "\"input\":{}") ","
      ERROR("string_type", "\"body\",\"data\",\"task_id\"", STRING,
            "\"input\":null") ","
      ERROR("string_type", "\"body\",\"data\",\"session_id\"", STRING,
            "\"input\":2") ","
      ERROR("string_type", "\"body\",\"data\",\"agent_id\"", STRING,
            "\"input\":1"),
      NULL, WF_ACTION_NEW_TASK, "" },

    { "empty ids",
      TASK("\"session_id\":\"\",\"task_id\":\"\",\"input\":\"{}\""),
      ERROR("string_too_short", "\"body\",\"data\",\"task_id\"",
            "String should have at least 1 character",
            "\"input\":\"\",\"ctx\":{\"min_length\":1}") ","
      ERROR("string_too_short", "\"body\",\"data\",\"session_id\"",
            "String should have at least 1 character",
            "\"input\":\"\",\"ctx\":{\"min_length\":1}"),
      NULL, WF_ACTION_NEW_TASK, "" },

    { "control characters in ids",
      TASK("\"session_id\":\"\\t\",\"task_id\":\"\177\",\"input\":\"{}\""),
      ERROR("value_error", "\"body\",\"data\",\"task_id\"",
            "Value error, control characters are not allowed",
            "\"input\":\"\177\"") ","
      ERROR("value_error", "\"body\",\"data\",\"session_id\"",
            "Value error, control characters are not allowed",
            "\"input\":\"\\t\""),
      NULL, WF_ACTION_NEW_TASK, "" },

    { "input that is not JSON",
      TASK("\"input\":\"{\\\"\\u00e9\\\": x}\",\"task_id\":\"t\""),
      ERROR("json_invalid", "\"body\",\"data\",\"input\",6",
            "JSON decode error",
            "\"input\":{},\"ctx\":{\"error\":\"Expecting value\"}"),
      "body.data.input.6: JSON decode error: Expecting value",
      WF_ACTION_NEW_TASK, "t" },

    { "empty input", TASK("\"input\":\"\""),
      ERROR("json_invalid", "\"body\",\"data\",\"input\",0",
            "JSON decode error",
            "\"input\":{},\"ctx\":{\"error\":\"Expecting value\"}"),
      NULL, WF_ACTION_NEW_TASK, "" },

    { "NUL in the input", TASK("\"input\":\"{\\\"a\\\":\\\"\\\\u0000\\\"}\""),
      ERROR("json_invalid", "\"body\",\"data\",\"input\",6",
            "JSON decode error",
            "\"input\":{},\"ctx\":{\"error\":\"NUL is not allowed\"}"),
      NULL, WF_ACTION_NEW_TASK, "" },

    { "input that is not an object", TASK("\"input\":\" [1] \""),
      ERROR("dict_type", "\"body\",\"data\",\"input\"", DICT,
            "\"input\":[1]"),
      NULL, WF_ACTION_NEW_TASK, "" },

    { "an event for no task", EVENT("\"input\":\"[]\""),
      ERROR("dict_type", "\"body\",\"data\",\"input\"", DICT,
            "\"input\":[]") ","
      ERROR("missing", "\"body\",\"data\",\"task_id\"", "Field required",
            "\"input\":{\"input\":\"[]\"}"),
      NULL, WF_ACTION_SEND_EVENT, "" },

    { "an object that is no event",
      EVENT("\"task_id\":\"t\",\"input\":\"{\\\"a\\\":1}\""),
      ERROR("value_error", "\"body\",\"data\",\"input\"", SHAPE,
            "\"input\":{\"a\":1}"),
      "body.data.input: Value error, an event is {\"__is_pydantic\": true, "
      "\"value\": {...}, \"qualified_name\": \"module.Class\"}",
      WF_ACTION_SEND_EVENT, "t" },
};


int
main(void)
{
    size_t  i;

    for (i = 0; i < sizeof(refused) / sizeof(refused_t); i++) {
        refuses(&refused[i]);
    }

    check_recording();
    check_content_types();
    check_defaults();
    check_escapes();
    check_sizes();

    parse_done();

    return done_testing();
}


static void
refuses(const refused_t *r)
{
    wf_buf_t         expected = WF_BUF_INIT;
    wf_slice_t       text;
    wf_json_error_t  err;

    is_int(parse(r->text, strlen(r->text), NULL), -1, r->name);

    wf_buf_adds(&expected, "{\"detail\":[");
    wf_buf_adds(&expected, r->errors);
    wf_buf_adds(&expected, "]}");
    wf_buf_addc(&expected, '\0');

    is_mem(detail.data, detail.len, expected.data, "its detail");
    wf_buf_free(&expected);

    text.data = detail.data;
    text.len = detail.len;
    is_int(wf_json_check(text, NULL, &err), 0, "which is JSON");

    if (r->reason != NULL) {
        is_mem(reason.data, reason.len, r->reason, "its reason");
    }

    is_int(message.action, r->action, "its action");
    is_mem(message.task_id.data, message.task_id.len, r->task_id,
           "its task");
}


static void
check_recording(void)
{
    char    *text;
    size_t   len;

    text = load("new_task.json", &len);
    is_int(parse(text, len, "application/json"), 0, "a recorded new_task");
    is_int(message.action, WF_ACTION_NEW_TASK, "action");
    is_mem(message.id.data, message.id.len,
           "e5de19e9-a845-4f65-a49d-b549833a8e5d", "id_");
    is_mem(message.publisher.data, message.publisher.len,
           "ControlPlaneServer-947ace67-500d-4c9e-9e3e-8d8c24de5529",
           "publisher_id");
    is_mem(message.task_id.data, message.task_id.len,
           "f0525906-ab6d-4a50-a55c-81636960b969", "task_id");
    is_mem(message.session_id.data, message.session_id.len,
           "a80b1ee9-4956-4b7b-8154-347b15b8960b", "session_id");
    is_mem(message.input.data, message.input.len,
           "{\"arg1\": \"hello_world\"}", "input");
    is_int(message.event.len, 0, "no event");
    ok(detail.len == 0 && reason.len == 0, "nothing is wrong");
    free(text);

    text = load("send_event.json", &len);
    is_int(parse(text, len, "application/json"), 0, "a recorded send_event");
    is_int(message.action, WF_ACTION_SEND_EVENT, "action");
    is_mem(message.task_id.data, message.task_id.len,
           "9eaf3147-5689-4365-9a60-3174a9e703d2", "task_id");
    is_mem(message.input.data, message.input.len, "{\"response\": \"42\"}",
           "input");
    is_mem(message.event.data, message.event.len,
           "llama_index.core.workflow.events.HumanResponseEvent", "event");
    free(text);
}


static void
check_content_types(void)
{
    size_t              i;
    static const char   text[] = TASK("\"input\":\"{}\"");
    static const char  *good[] = {
        "", "application/json", "APPLICATION/Json", "application/json ; a=b",
        " application/json;charset=latin1", "application/problem+json",
        "application/+JSON"
    };
    static const char  *bad[] = {
        "text/plain", "text/json", "application/jsonp", "application/",
        "application/x-json", "application/json/x", "application/xml;json",
        ";", "application", "+json", "application/x-www-form-urlencoded"
    };

    for (i = 0; i < sizeof(good) / sizeof(char *); i++) {
        is_int(parse(text, sizeof(text) - 1, good[i]), 0, good[i]);
    }

    for (i = 0; i < sizeof(bad) / sizeof(char *); i++) {
        is_int(parse(text, sizeof(text) - 1, bad[i]), -1, bad[i]);
    }

    is_int(parse("{\"a\":\"\303\251\n\377", 10, "text/plain"), -1,
           "text of another type");
    is_mem(detail.data, detail.len, "{\"detail\":["
           ERROR("model_attributes_type", "\"body\"", MODEL,
                 "\"input\":\"{\\\"a\\\":\\\"\\u00e9\\n\\ufffd\"") "]}",
           "is quoted");

    is_int(parse("", 0, "text/plain"), -1, "no body of another type");
    is_mem(reason.data, reason.len, "body: Field required", "is missing");
}


static void
check_defaults(void)
{
    static const char  least[] = TASK("\"input\":\" {} \"");
    static const char  nulls[] =
        "{\"id_\":\"\",\"type\":\"default\",\"stats\":{},\"more\":[{}],"
        "\"action\":\"new_task\",\"data\":{\"input\":\"{}\","
        "\"session_id\":null,\"agent_id\":null,\"more\":1}}";

    is_int(parse(least, sizeof(least) - 1, NULL), 0, "least of a task");
    ok(message.id.len == 0 && message.publisher.len == 0
       && message.task_id.len == 0, "no ids");
    ok(message.session_id.data == NULL, "no session");
    is_mem(message.input.data, message.input.len, "{}", "trimmed input");

    is_int(parse(nulls, sizeof(nulls) - 1, NULL), 0,
           "nulls and what nobody knows");
    ok(message.id.len == 0, "an empty id_ is none");
    ok(message.session_id.data == NULL, "a null session is none");
}


static void
check_escapes(void)
{
    static const char  text[] =
        "{\"\\u0061ction\":\"new\\u005ftask\",\"id_\":\"i\\/1\","
        "\"publisher_id\":\"\\n\",\"t\\u0079pe\":\"gr\\u0065eting\","
        "\"data\":{\"task_id\":\"\\u00e9\\ud83d\\ude00\","
        "\"session_id\":\"s\\\\\",\"input\":\"\\u007b\\u007d\"}}";

    is_int(parse(text, sizeof(text) - 1, NULL), 0, "escapes everywhere");
    is_int(message.action, WF_ACTION_NEW_TASK, "action");
    is_mem(message.id.data, message.id.len, "i/1", "id_");
    is_mem(message.publisher.data, message.publisher.len, "\n", "publisher_id");
    is_mem(message.task_id.data, message.task_id.len,
           "\303\251\360\237\230\200", "task_id");
    is_mem(message.session_id.data, message.session_id.len, "s\\",
           "session_id");
    is_mem(message.input.data, message.input.len, "{}", "input");
}


static void
check_sizes(void)
{
    size_t    i, begin;
    wf_buf_t  b = WF_BUF_INIT;

    for (i = 255; i < 258; i++) {
        wf_buf_adds(&b, "{\"action\":\"new_task\",\"data\":{\"input\":\"{}\","
                        "\"task_id\":\"");

        for (begin = b.len; b.len - begin < i; /* void */) {
            wf_buf_addc(&b, 'x');
        }

        wf_buf_adds(&b, "\"}}");

        is_int(parse(b.data, b.len, NULL), i > 256 ? -1 : 0, "a long task_id");
        is_int(message.task_id.len, i > 256 ? 0 : i, "its length");
        wf_buf_free(&b);
    }

    wf_buf_addc(&detail, '\0');
    ok(strstr(detail.data, "\"type\":\"string_too_long\",\"loc\":[\"body\","
              "\"data\",\"task_id\"],\"msg\":\"String should have at most "
              "256 characters\",\"input\":\"xxx") != NULL, "too long");
    ok(strstr(detail.data, "\",\"ctx\":{\"max_length\":256}}]}") != NULL,
       "its ctx");

    wf_buf_adds(&b, "{\"type\":\"a");

    for (i = 0; i < 100000; i++) {
        wf_buf_adds(&b, "\303\251");
    }

    wf_buf_adds(&b, "\"}");

    is_int(parse(b.data, b.len, NULL), -1, "a long type");
    ok(reason.len < 500, "its reason is short");
    ok(detail.len < b.len + 2000, "its detail is not much longer than it");
    wf_buf_addc(&reason, '\0');
    ok(strstr(reason.data, "\303\251...'.") != NULL, "the type is cut");
    wf_buf_free(&b);

    wf_buf_adds(&b, "{\"action\":\"send_event\",\"data\":{\"task_id\":[],"
                    "\"session_id\":[],\"agent_id\":[],\"input\":\"{}\"},"
                    "\"id_\":\"\\n\",\"type\":\"");

    for (i = 0; i < 60; i++) {
        wf_buf_adds(&b, "\\u0001\\u0002");
    }

    wf_buf_adds(&b, "\"}");

    is_int(parse(b.data, b.len, NULL), -1, "a type of control characters");
    ok(reason.len > 480 && reason.len < 500, "its reason is cut");
    is_mem(reason.data + reason.len - 3, 3, "...", "and says so");
    wf_buf_free(&b);
}
