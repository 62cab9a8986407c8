#define _GNU_SOURCE         /* memmem() */

#include "load.h"
#include "tap.h"
#include "wf_publish.h"


static void check_uuid(void);
static void check_messages(void);
static void check_result(const char *json, const char *expected);


int
main(void)
{
    check_uuid();
    check_messages();

    check_result("\"a\\n\\u00e9\"", "a\n\303\251");
    check_result("\"\"", "");
    check_result("null", "None");
    check_result("true", "True");
    check_result("false", "False");
    check_result("-12", "-12");
    check_result("1.50", "1.50");
    check_result("{\"a\": [1,2]}", "{\"a\": [1,2]}");
    check_result("[]", "[]");

    return done_testing();
}


static void
check_uuid(void)
{
    char                  uuid[WF_UUID_LEN + 1];
    static const uint8_t  zeros[16] = { 0 };
    static const uint8_t  ones[16] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
    };
    static const uint8_t  some[16] = {
        0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
        0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10
    };

    uuid[WF_UUID_LEN] = '!';

    wf_uuid(uuid, zeros);
    is_mem(uuid, WF_UUID_LEN, "00000000-0000-4000-8000-000000000000", "zeros");

    wf_uuid(uuid, ones);
    is_mem(uuid, WF_UUID_LEN, "ffffffff-ffff-4fff-bfff-ffffffffffff", "ones");

    wf_uuid(uuid, some);
    is_mem(uuid, WF_UUID_LEN, "01234567-89ab-4def-bedc-ba9876543210", "some");

    ok(uuid[WF_UUID_LEN] == '!', "not a byte more");
}


static void
check_messages(void)
{
    char              *text;
    size_t             len;
    wf_buf_t           b = WF_BUF_INIT;
    wf_publish_t       p = { 0 };
    static const char  typed[] = "\"data\": {}, \"index\": 7, "
                                 "\"type\": \"a.B\\\"\"}, ";

    p.id = "f7db3947-efa6-4958-84d1-221b41e112b9";
    p.time = "2026-11-23 03:37:21";
    p.task_id = wf_slice("9eaf3147-5689-4365-9a60-3174a9e703d2");
    p.session_id = wf_slice("c05fa621-e8ab-4718-9833-5db0feffda63");

    text = load("task_stream.json", &len);
    wf_publish_stream(&b, &p,
                      wf_slice("{\"prefix\": \"Enter a number: \"}"), 0);
    is_mem(b.data, b.len, text, "a recorded task_stream");
    wf_buf_free(&b);
    free(text);

    p.id = "6ddae5d1-f4be-4448-9176-477f1c964780";
    p.time = "2026-11-23 03:37:22";
    p.task_id = wf_slice("dadbf8fc-4849-4e6b-8314-a817eaa4422f");

    text = load("completed_task.json", &len);
    wf_publish_result(&b, &p,
                      wf_slice("Error in step 's1': arg1 is required."),
                      wf_slice("{}"));
    is_mem(b.data, b.len, text, "a recorded completed_task");
    wf_buf_free(&b);
    free(text);

    p.task_id = wf_slice("t\"\303\251");
    p.session_id.data = NULL;
    p.session_id.len = 0;

    p.event_type = wf_slice("a.B\"");

    wf_publish_stream(&b, &p, wf_slice("{}"), 7);
    ok(b.len > 0 && memmem(b.data, b.len, typed, sizeof(typed) - 1) != NULL,
       "with the type of the event");
    wf_buf_free(&b);

    p.event_type.data = NULL;

    wf_publish_stream(&b, &p, wf_slice("{\"a\":\"\303\251\"}"), UINT64_MAX);
    is_mem(b.data, b.len,
           "{\"id_\": \"6ddae5d1-f4be-4448-9176-477f1c964780\", "
           "\"publisher_id\": \"default\", \"data\": {\"task_id\": "
           "\"t\\\"\\u00e9\", \"session_id\": null, \"data\": "
           "{\"a\":\"\303\251\"}, \"index\": 18446744073709551615}, "
           "\"action\": \"task_stream\", \"stats\": {\"publish_time\": "
           "\"2026-11-23 03:37:22\", \"process_start_time\": null, "
           "\"process_end_time\": null}, \"type\": \"control_plane\"}",
           "a stream of no session");
    wf_buf_free(&b);

    wf_publish_result(&b, &p, wf_slice("\n\303\251\377"),
                      wf_slice("{\"status\": \"completed\"}"));
    wf_buf_addc(&b, '\0');
    ok(strstr(b.data, "\"result\": \"\\n\\u00e9\\ufffd\", \"data\": "
              "{\"status\": \"completed\"}}")
       != NULL, "a result is quoted, its data is not");
    wf_buf_free(&b);
}


static void
check_result(const char *json, const char *expected)
{
    wf_buf_t    b = WF_BUF_INIT;
    wf_slice_t  s;

    s.data = json;
    s.len = strlen(json);

    wf_result_text(&b, s);
    is_mem(b.data, b.len, expected, json);

    wf_buf_free(&b);
}
