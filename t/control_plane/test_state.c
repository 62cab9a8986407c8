#include <stdlib.h>

#include "tap.h"
#include "wf_control.h"
#include "wf_http.h"
#include "wf_json.h"
#include "wf_state.h"


static void layouts(void);
static void merged(void);
static void refused(void);
static void is_refused(const char *answer, const char *error);
static void signatures(void);
static int reads(const char *answer, const char *session,
    const wf_state_secrets_t *secrets);
static char *written(const wf_state_secrets_t *secrets, const char *session);
static void control(void);
static void is_namespace(const char *config, const char *name,
    const char *why);
static void is_queue(const char *config, const char *url);
static void is_keys(const char *answer, const char *expected,
    const char *name);


static const wf_state_secrets_t  none = { 0, { { NULL, 0 } } };


int
main(void)
{
    layouts();
    merged();
    refused();
    signatures();
    control();

    return done_testing();
}


static wf_slice_t
slice(const char *text)
{
    return (wf_slice_t) { text, strlen(text) };
}


static void
layouts(void)
{
    is_keys("{}", "", "no state yet");
    is_keys("{\"s\": null}", "", "a null");
    is_keys("{\"T\":{},\"stream_T\":[{\"x\":1e999,\"y\":\"\\ud800\"},NaN],"
            "\"s\":\"{\\\"hash\\\":12,\\\"state\\\":{\\\"globals\\\":"
            "{\\\"count\\\":\\\"1\\\",\\\"name\\\":\\\"\\\\\\\"x\\\\\\\"\\\"}}}\"}",
            "count=1 name=\"x\" ",
            "globals, beside what is no JSON for us");
    is_keys("{\"\\u0073\":\"{\\\"state\\\":{\\\"state\\\":{\\\"state_data\\\":"
            "{\\\"_data\\\":{\\\"count\\\":\\\"2\\\"}},"
            "\\\"state_type\\\":\\\"DictState\\\"}}}\"}",
            "count=2 ", "DictState, and an escaped key");
    is_keys("{\"s\":\"{\\\"state\\\":{\\\"globals\\\":{\\\"a\\\":"
            "\\\"gASVBwAAAAAAAAB9lC4=\\\",\\\"b\\\":\\\"[1, {}]\\\","
            "\\\"c\\\":3}}}\"}",
            "a? b=[1, {}] c? ", "pickled, and not a string");
    is_keys("{\"s\":\"{\\\"state\\\":{\\\"state\\\":{}}}\"}", "",
            "an empty state");
    is_keys("{\"s\":\"{}\"}", "", "no context");
}


static void
is_keys(const char *answer, const char *expected, const char *name)
{
    int              rc;
    wf_buf_t         key = WF_BUF_INIT;
    wf_buf_t         json = WF_BUF_INIT;
    wf_buf_t         text = WF_BUF_INIT;
    wf_buf_t         error = WF_BUF_INIT;
    wf_state_t       state;
    wf_state_iter_t  it;

    is_int(wf_state_read(&state, slice(answer), wf_slice("s"), &none, &error),
           0, name);

    wf_state_iter_init(&it, &state);

    while ((rc = wf_state_next(&it, &key, &json)) != 0) {
        wf_buf_add(&text, key.data, key.len);

        if (rc == 1) {
            wf_buf_addc(&text, '=');
            wf_buf_add(&text, json.data, json.len);

        } else {
            wf_buf_addc(&text, '?');
        }

        wf_buf_addc(&text, ' ');
    }

    is_mem(text.len ? text.data : "", text.len, expected, name);

    wf_state_free(&state);
    wf_buf_free(&key);
    wf_buf_free(&json);
    wf_buf_free(&text);
    wf_buf_free(&error);
}


static void
merged(void)
{
    wf_buf_t          body = WF_BUF_INIT;
    wf_buf_t          error = WF_BUF_INIT;
    wf_state_t        state;
    wf_state_entry_t  entries[2];

    is_int(wf_state_read(&state,
                         wf_slice("{\"s\":\"{\\\"state\\\":{\\\"globals\\\":"
                                  "{\\\"a\\\":\\\"1\\\",\\\"obj\\\":"
                                  "\\\"gASV\\\",\\\"b\\\":\\\"2\\\"}}}\"}"),
                         wf_slice("s"), &none, &error),
           0, "a state to merge with");

    entries[0].key = wf_slice("b");
    entries[0].json = wf_slice("3");
    entries[1].key = wf_slice("c");
    entries[1].json = wf_slice("\"x\"");

    wf_state_write(&body, &state, entries, 2, wf_slice("s"), wf_slice("T"),
                   &none);

    is_mem(body.data, body.len,
           "{\"s\":\"{\\\"hash\\\":null,\\\"state\\\":{\\\"globals\\\":"
           "{\\\"a\\\":\\\"1\\\",\\\"obj\\\":\\\"gASV\\\",\\\"b\\\":\\\"3\\\","
           "\\\"c\\\":\\\"\\\\\\\"x\\\\\\\"\\\"},"
           "\\\"streaming_queue\\\":\\\"[]\\\",\\\"queues\\\":{},"
           "\\\"stepwise\\\":false,\\\"events_buffer\\\":{},"
           "\\\"event_buffers\\\":{},\\\"in_progress\\\":{},"
           "\\\"accepted_events\\\":[],\\\"broker_log\\\":[],"
           "\\\"is_running\\\":false},\\\"run_kwargs\\\":{},"
           "\\\"session_id\\\":\\\"s\\\",\\\"task_id\\\":\\\"T\\\"}\"}",
           "set keys are set, others stay, pickled ones too");

    wf_state_free(&state);
    wf_buf_free(&body);
    wf_buf_free(&error);
}


static void
refused(void)
{
    is_refused("", "the answer is not a JSON object");
    is_refused("[]", "the answer is not a JSON object");
    is_refused("{\"a\": 1", "the answer is not a JSON object");
    is_refused("{\"a\" 1}", "the answer is not a JSON object");
    is_refused("{\"s\": {}}", "it is not a string");
    is_refused("{\"s\": \"\\x\"}", "it is not a string");
    is_refused("{\"s\": \"[1]\"}", "it is not a WorkflowState");
    is_refused("{\"s\": \"{\\\"state\\\": 7}\"}",
               "its \"state\" is not that of a context");
    is_refused("{\"s\": \"{\\\"state\\\": {\\\"globals\\\": []}}\"}",
               "its keys cannot be read");
    is_refused("{\"s\": \"{\\\"state\\\": {\\\"state\\\": {\\\"state_data\\\":"
               " {}, \\\"state_type\\\": \\\"Mine\\\"}}}\"}",
               "it is the typed state of a Python workflow");
}


static void
is_refused(const char *answer, const char *expected)
{
    wf_buf_t    error = WF_BUF_INIT;
    wf_state_t  state;

    is_int(wf_state_read(&state, slice(answer), wf_slice("s"), &none, &error),
           -1, answer);
    is_mem(error.len ? error.data : "", error.len, expected, "and why");

    wf_state_free(&state);
    wf_buf_free(&error);
}


static void
signatures(void)
{
    char                *body, *p;
    wf_state_secrets_t   old, both, other;

    memset(&old, 0, sizeof(old));
    old.n = 1;
    old.secrets[0] = wf_slice("0123456789abcdef");

    other.n = 1;
    other.secrets[0] = wf_slice("fedcba9876543210");

    both.n = 2;
    both.secrets[0] = other.secrets[0];
    both.secrets[1] = old.secrets[0];

    body = written(&old, "s");

    is_int(reads(body, "s", &old), 0, "signed, and read");
    is_int(reads(body, "s", &both), 0, "by the second of two secrets");
    is_int(reads(body, "s", &none), 0, "and by who has no secret");
    is_int(reads(body, "s", &other), -1, "not by another secret");

    /* the same state in another session */

    p = strstr(body, "\"s\"");
    p[1] = 'r';
    is_int(reads(body, "r", &old), -1, "not in another session");
    p[1] = 's';

    p = strstr(body, "globals");
    p[0] = 'G';
    is_int(reads(body, "s", &old), -1, "not changed");
    p[0] = 'g';

    p = strstr(body, "hmac");
    p[0] = 'H';
    is_int(reads(body, "s", &old), -1, "not without a signature");
    p[0] = 'h';

    p = strstr(body, "hmac") + 9;
    p[0] = p[0] == 'a' ? 'b' : 'a';
    is_int(reads(body, "s", &old), -1, "not with a wrong one");
    free(body);

    is_int(reads("{\"s\":\"{\\\"hmac\\\":\\\"x\\\"}\"}", "s", &old), -1,
           "not with a short one");

    /* as Python's hmac.new(b"0123456789abcdef", ...).hexdigest() */

    body = written(&old, "s");
    ok(strstr(body, "\\\"hmac\\\":\\\"b4420878c82a5ba87cfbeb9ab06ebbe3"
              "70c5ff6248a6241d44edf889ae91ff4e\\\"") != NULL, "HMAC-SHA256 in hexadecimal");
    free(body);
}


static char *
written(const wf_state_secrets_t *secrets, const char *session)
{
    char        *text;
    wf_buf_t     body = WF_BUF_INIT;
    wf_state_t   state;

    memset(&state, 0, sizeof(state));

    wf_state_write(&body, &state, NULL, 0, slice(session), wf_slice("T"),
                   secrets);
    wf_buf_addc(&body, '\0');

    text = strdup(body.data);
    wf_buf_free(&body);

    return text;
}


static int
reads(const char *answer, const char *session,
    const wf_state_secrets_t *secrets)
{
    int         rc;
    wf_buf_t    error = WF_BUF_INIT;
    wf_state_t  state;

    rc = wf_state_read(&state, slice(answer), slice(session), secrets, &error);

    wf_state_free(&state);
    wf_buf_free(&error);

    return rc;
}


static void
control(void)
{
    wf_buf_t    b = WF_BUF_INIT;
    wf_buf_t    error = WF_BUF_INIT;
    wf_slice_t  null = { NULL, 0 };

    wf_control_service(&b, wf_slice("a"), wf_slice("\"b\""),
                       wf_slice("127.0.0.1"), 8002);
    is_mem(b.data, b.len, "{\"service_name\": \"a\", \"description\": "
           "\"\\\"b\\\"\", \"prompt\": [], \"host\": \"127.0.0.1\", \"port\": "
           "8002}", "a service");
    wf_buf_free(&b);

    wf_control_service(&b, wf_slice("a"), wf_slice("b"), null, 0);
    is_mem(b.data, b.len, "{\"service_name\": \"a\", \"description\": "
           "\"b\", \"prompt\": [], \"host\": null, \"port\": null}",
           "a service of no address");
    wf_buf_free(&b);

    wf_control_deregister(&b, wf_slice("a b&c=\303\244"));
    is_str(b.data, "/services/deregister?service_name=a%20b%26c%3D%C3%A4",
           "a query");
    wf_buf_free(&b);

    wf_control_session(&b, wf_slice("../x?y"));
    is_str(b.data, "/sessions/..%2Fx%3Fy/state", "a path");
    wf_buf_free(&b);

    is_namespace("{\"topic_namespace\": \"n\"}", "n", NULL);
    is_namespace("{\"topic_namespace\": \"a-b_.9\", \"port\": 1}", "a-b_.9",
                 NULL);
    is_namespace("{\"topic_namespace\": \"\"}", NULL,
                 "its answer has no \"topic_namespace\"");
    is_namespace("{\"topic_namespace\": 1}", NULL,
                 "its answer has no \"topic_namespace\"");
    is_namespace("{}", NULL, "its answer has no \"topic_namespace\"");
    is_namespace("[]", NULL, "its answer is not a JSON object");
    is_namespace("<html>", NULL, "its answer is not a JSON object");
    is_namespace("{\"topic_namespace\": \"a b\\r\\n\"}", NULL,
                 "its topic namespace has other characters than letters, "
                 "digits, \"_\", \"-\" and \".\", or more than 128");

    is_queue("{\"RedisMessageQueueConfig\":{\"url\":\"redis://h:1\","
             "\"host\":null,\"port\":null}}", "redis://h:1");
    is_queue("{\"RedisMessageQueueConfig\":{\"url\":\"redis://h:1\","
             "\"host\":\"k\",\"port\":2,\"db\":3}}", "redis://k:2/3");
    is_queue("{\"RedisMessageQueueConfig\":{\"host\":\"k\",\"port\":2,"
             "\"password\":\"p@/\",\"ssl\":true}}",
             "rediss://:p%40%2F@k:2");
    is_queue("{\"RedisMessageQueueConfig\":{\"host\":\"k\",\"port\":2,"
             "\"username\":\"u\",\"password\":\"p\"}}", "redis://u:p@k:2");
    is_queue("{\"RedisMessageQueueConfig\":{}}", NULL);
    is_queue("[", NULL);

    is_int(wf_control_queue(&b, wf_slice("{\"SimpleMessageQueueConfig\":{}}"),
                            &error),
           -1, "another queue");
    is_mem(error.data, error.len, "it has no Redis as its queue, but "
           "\"SimpleMessageQueueConfig\"", "and why not");
    wf_buf_free(&b);
    wf_buf_free(&error);
}


static void
is_namespace(const char *config, const char *name, const char *why)
{
    wf_buf_t     b = WF_BUF_INIT;
    const char  *error = "";

    is_int(wf_control_namespace(&b, slice(config), &error), name ? 0 : -1,
           config);

    if (name) {
        is_mem(b.data, b.len, name, "its name");

    } else {
        is_str(error, why, "it is said why");
    }

    wf_buf_free(&b);
}


static void
is_queue(const char *config, const char *url)
{
    wf_buf_t  b = WF_BUF_INIT;
    wf_buf_t  error = WF_BUF_INIT;

    is_int(wf_control_queue(&b, slice(config), &error), url ? 0 : -1, config);

    if (url) {
        is_mem(b.data, b.len, url, "its URL");

    } else {
        ok(error.len > 0, "it is said why");
    }

    wf_buf_free(&b);
    wf_buf_free(&error);
}
