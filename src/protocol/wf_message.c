#include <string.h>
#include <strings.h>

#include "wf_parse.h"


static void wf_parse(wf_parse_t *c, wf_slice_t text, wf_slice_t content_type,
    wf_slice_t service);
static int wf_parse_is_json(wf_slice_t content_type);
static void wf_parse_model(wf_parse_t *c);
static void wf_parse_stats(wf_parse_t *c, wf_slice_t stats);
static void wf_parse_envelope(wf_parse_t *c, wf_slice_t service);


static const wf_slice_t  wf_message_keys[] = {
    { "id_", 3 },
    { "publisher_id", 12 },
    { "data", 4 },
    { "action", 6 },
    { "stats", 5 },
    { "type", 4 }
};

static const wf_slice_t  wf_stats_keys[] = {
    { "publish_time", 12 },
    { "process_start_time", 18 },
    { "process_end_time", 16 }
};

static const char  *wf_stats_locs[] = {
    "body.stats.publish_time",
    "body.stats.process_start_time",
    "body.stats.process_end_time"
};

static const wf_slice_t  wf_actions[] = {
    { "new_task", 8 },
    { "send_event", 10 },
    { "completed_task", 14 },
    { "request_for_help", 16 },
    { "new_tool_call", 13 },
    { "completed_tool_call", 19 },
    { "task_stream", 11 }
};


int
wf_message_parse(wf_message_t *m, wf_slice_t text, wf_slice_t content_type,
    wf_slice_t service, wf_buf_t *detail, wf_buf_t *reason)
{
    wf_parse_t  c;

    memset(m, 0, sizeof(wf_message_t));

    c.m = m;
    c.room = text.len;
    c.failed = 0;
    wf_errors_init(&c.errors, detail, reason);

    wf_parse(&c, text, content_type, service);

    if (c.failed) {
        return -2;
    }

    return wf_errors_done(&c.errors);
}


void
wf_message_free(wf_message_t *m)
{
    size_t  i;

    for (i = 0; i < sizeof(m->memory) / sizeof(wf_buf_t); i++) {
        wf_buf_free(&m->memory[i]);
    }
}


void
wf_message_unknown_event(wf_message_t *m, wf_slice_t workflow,
    wf_slice_t accepted, wf_buf_t *detail, wf_buf_t *reason)
{
    wf_buf_t     msg = WF_BUF_INIT, name = WF_BUF_INIT;
    wf_slice_t   input;
    wf_errors_t  errors;

    wf_errors_init(&errors, detail, reason);

    wf_buf_adds(&msg, "workflow '");
    wf_error_excerpt(&msg, workflow);
    wf_buf_adds(&msg, "' does not accept events of type '");
    wf_error_excerpt(&msg, m->event);
    wf_buf_adds(&msg, "'; it accepts ");

    if (accepted.len != 0) {
        wf_buf_add(&msg, accepted.data, accepted.len);

    } else {
        wf_buf_adds(&msg, "none");
    }

    wf_json_quote(&name, m->event.data, m->event.len);

    if (name.failed) {
        detail->failed = 1;

    } else {
        input.data = name.data;
        input.len = name.len;

        wf_error_value(&errors, "body.data.input", &msg, input);
        (void) wf_errors_done(&errors);
    }

    wf_buf_free(&msg);
    wf_buf_free(&name);
}


static void
wf_parse(wf_parse_t *c, wf_slice_t text, wf_slice_t content_type,
    wf_slice_t service)
{
    wf_buf_t         quoted = WF_BUF_INIT;
    wf_slice_t       body, none;
    wf_json_error_t  err;

    none.data = NULL;
    none.len = 0;

    if (text.len == 0) {
        wf_error(&c->errors, WF_ERROR_MISSING, "body", none);
        return;
    }

    if (content_type.len != 0 && !wf_parse_is_json(content_type)) {
        wf_json_quote(&quoted, text.data, text.len);

        body.data = quoted.data;
        body.len = quoted.len;
        c->failed = quoted.failed;

        wf_error(&c->errors, WF_ERROR_MODEL, "body", body);
        wf_buf_free(&quoted);
        return;
    }

    switch (wf_json_check(text, &body, &err)) {

    case 0:
        break;

    case -1:
        wf_error_json(&c->errors, "body", &err);
        return;

    default:
        c->failed = 1;
        return;
    }

    if (wf_is_type(body, WF_JSON_NULL)) {
        wf_error(&c->errors, WF_ERROR_MISSING, "body", none);
        return;
    }

    if (!wf_is_type(body, WF_JSON_OBJECT)) {
        wf_error(&c->errors, WF_ERROR_MODEL, "body", body);
        return;
    }

    wf_json_members(body, wf_message_keys, WF_MESSAGE_MEMBERS, c->members);

    if (c->members[WF_MESSAGE_DATA].data == NULL) {
        c->members[WF_MESSAGE_DATA] = wf_slice("{}");
    }

    wf_parse_model(c);

    if (c->errors.count == 0) {
        wf_parse_envelope(c, service);
    }

    if (!wf_is_type(c->members[WF_MESSAGE_DATA], WF_JSON_OBJECT)) {
        return;
    }

    if (c->errors.count == 0) {
        wf_parse_task(c);

    } else {
        wf_parse_tell(c);
    }
}


/* The types whose body FastAPI decodes: application/json and those of
 * application whose name ends in "+json"; parameters are left aside. */

static int
wf_parse_is_json(wf_slice_t type)
{
    const char  *p, *end;

    p = type.data;
    end = memchr(p, ';', type.len);

    if (end == NULL) {
        end = p + type.len;
    }

    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }

    while (p < end && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }

    if (end - p < 16 || strncasecmp(p, "application/", 12) != 0) {
        return 0;
    }

    p += 12;

    if (memchr(p, '/', (size_t) (end - p)) != NULL) {
        return 0;
    }

    return strncasecmp(end - 4, "json", 4) == 0
           && (end - p == 4 || end[-5] == '+');
}


/* What pydantic checks of a QueueMessage. */

static void
wf_parse_model(wf_parse_t *c)
{
    size_t       i, n;
    wf_slice_t  *v;

    v = c->members;

    if (v[WF_MESSAGE_ID].data != NULL
        && !wf_is_type(v[WF_MESSAGE_ID], WF_JSON_STRING))
    {
        wf_error(&c->errors, WF_ERROR_STRING, "body.id_", v[WF_MESSAGE_ID]);
    }

    if (v[WF_MESSAGE_PUBLISHER].data != NULL
        && !wf_is_type(v[WF_MESSAGE_PUBLISHER], WF_JSON_STRING))
    {
        wf_error(&c->errors, WF_ERROR_STRING, "body.publisher_id",
                 v[WF_MESSAGE_PUBLISHER]);
    }

    if (!wf_is_type(v[WF_MESSAGE_DATA], WF_JSON_OBJECT)) {
        wf_error(&c->errors, WF_ERROR_DICT, "body.data", v[WF_MESSAGE_DATA]);
    }

    if (v[WF_MESSAGE_ACTION].data != NULL
        && !wf_is_type(v[WF_MESSAGE_ACTION], WF_JSON_NULL))
    {
        n = sizeof(wf_actions) / sizeof(wf_slice_t);
        i = n;

        if (wf_is_type(v[WF_MESSAGE_ACTION], WF_JSON_STRING)) {
            for (i = 0; i < n; i++) {
                if (wf_json_string_eq(v[WF_MESSAGE_ACTION], wf_actions[i].data,
                                      wf_actions[i].len))
                {
                    break;
                }
            }
        }

        if (i == n) {
            wf_error(&c->errors, WF_ERROR_ACTION, "body.action",
                     v[WF_MESSAGE_ACTION]);

        } else if (i < 2) {
            c->m->action = (i == 0) ? WF_ACTION_NEW_TASK
                                    : WF_ACTION_SEND_EVENT;
        }
    }

    if (v[WF_MESSAGE_STATS].data != NULL) {
        wf_parse_stats(c, v[WF_MESSAGE_STATS]);
    }

    if (v[WF_MESSAGE_TYPE].data != NULL
        && !wf_is_type(v[WF_MESSAGE_TYPE], WF_JSON_STRING))
    {
        wf_error(&c->errors, WF_ERROR_STRING, "body.type",
                 v[WF_MESSAGE_TYPE]);
    }
}


static void
wf_parse_stats(wf_parse_t *c, wf_slice_t stats)
{
    size_t      i;
    wf_slice_t  times[3];

    if (!wf_is_type(stats, WF_JSON_OBJECT)) {
        wf_error(&c->errors, WF_ERROR_MODEL, "body.stats", stats);
        return;
    }

    wf_json_members(stats, wf_stats_keys, 3, times);

    for (i = 0; i < 3; i++) {
        if (times[i].data != NULL
            && !wf_is_type(times[i], WF_JSON_NULL)
            && !wf_is_type(times[i], WF_JSON_STRING))
        {
            wf_error(&c->errors, WF_ERROR_STRING, wf_stats_locs[i], times[i]);
        }
    }
}


/* What the reference finds out too late, or never. */

static void
wf_parse_envelope(wf_parse_t *c, wf_slice_t service)
{
    wf_slice_t  *v, type, action;

    v = c->members;

    if (v[WF_MESSAGE_ID].data != NULL && v[WF_MESSAGE_ID].len > 2) {
        wf_parse_id(c, "body.id_", v[WF_MESSAGE_ID], &c->m->id);
    }

    if (v[WF_MESSAGE_PUBLISHER].data != NULL) {
        wf_parse_string(c, v[WF_MESSAGE_PUBLISHER], &c->m->memory[0],
                        &c->m->publisher);
    }

    if (c->m->action == 0) {
        action = wf_slice("None");

        if (v[WF_MESSAGE_ACTION].data != NULL
            && wf_is_type(v[WF_MESSAGE_ACTION], WF_JSON_STRING))
        {
            wf_parse_string(c, v[WF_MESSAGE_ACTION], &c->m->memory[0],
                            &action);
        }

        wf_parse_refuse(c, "body.action", "Unhandled action: ", action, "",
                        v[WF_MESSAGE_ACTION]);
    }

    if (v[WF_MESSAGE_TYPE].data == NULL) {
        return;
    }

    if (!wf_json_string_eq(v[WF_MESSAGE_TYPE], "default", 7)
        && !wf_json_string_eq(v[WF_MESSAGE_TYPE], service.data, service.len))
    {
        type = wf_slice("");
        wf_parse_string(c, v[WF_MESSAGE_TYPE], &c->m->memory[0], &type);

        wf_parse_refuse(c, "body.type",
                        "Consumer cannot process messages of type '", type,
                        "'.", v[WF_MESSAGE_TYPE]);
    }
}
