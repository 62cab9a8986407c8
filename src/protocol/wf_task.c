#include "wf_event.h"
#include "wf_parse.h"


#define WF_EVENT_SHAPE                                                        \
    "an event is {\"__is_pydantic\": true, \"value\": {...}, "                \
    "\"qualified_name\": \"module.Class\"}"


enum {
    WF_TASK_INPUT = 0,
    WF_TASK_ID,
    WF_TASK_SESSION,
    WF_TASK_AGENT,
    WF_TASK_MEMBERS
};


static void wf_parse_input(wf_parse_t *c, wf_slice_t input);
static void wf_parse_event(wf_parse_t *c, wf_slice_t object);


static const wf_slice_t  wf_task_keys[] = {
    { "input", 5 },
    { "task_id", 7 },
    { "session_id", 10 },
    { "agent_id", 8 }
};


void
wf_parse_task(wf_parse_t *c)
{
    wf_slice_t  v[WF_TASK_MEMBERS];

    wf_json_members(c->members[WF_MESSAGE_DATA], wf_task_keys, WF_TASK_MEMBERS,
                    v);

    if (v[WF_TASK_INPUT].data == NULL) {
        wf_error(&c->errors, WF_ERROR_MISSING, "body.data.input",
                 c->members[WF_MESSAGE_DATA]);

    } else if (!wf_is_type(v[WF_TASK_INPUT], WF_JSON_STRING)) {
        wf_error(&c->errors, WF_ERROR_STRING, "body.data.input",
                 v[WF_TASK_INPUT]);

    } else {
        wf_parse_input(c, v[WF_TASK_INPUT]);
    }

    if (v[WF_TASK_ID].data != NULL) {
        wf_parse_id(c, "body.data.task_id", v[WF_TASK_ID], &c->m->task_id);

    } else if (c->m->action == WF_ACTION_SEND_EVENT) {
        wf_error(&c->errors, WF_ERROR_MISSING, "body.data.task_id",
                 c->members[WF_MESSAGE_DATA]);
    }

    if (v[WF_TASK_SESSION].data != NULL
        && !wf_is_type(v[WF_TASK_SESSION], WF_JSON_NULL))
    {
        wf_parse_id(c, "body.data.session_id", v[WF_TASK_SESSION],
                    &c->m->session_id);
    }

    if (v[WF_TASK_AGENT].data != NULL
        && !wf_is_type(v[WF_TASK_AGENT], WF_JSON_NULL)
        && !wf_is_type(v[WF_TASK_AGENT], WF_JSON_STRING))
    {
        wf_error(&c->errors, WF_ERROR_STRING, "body.data.agent_id",
                 v[WF_TASK_AGENT]);
    }
}


static void
wf_parse_input(wf_parse_t *c, wf_slice_t input)
{
    wf_slice_t       text, value;
    wf_json_error_t  err;

    text.len = 0;
    wf_parse_string(c, input, &c->m->memory[0], &text);

    if (c->failed) {
        return;
    }

    switch (wf_json_check(text, &value, &err)) {

    case 0:
        break;

    case -1:
        wf_error_json(&c->errors, "body.data.input", &err);
        return;

    default:
        c->failed = 1;
        return;
    }

    if (!wf_is_type(value, WF_JSON_OBJECT)) {
        wf_error(&c->errors, WF_ERROR_DICT, "body.data.input", value);
        return;
    }

    if (c->m->action == WF_ACTION_SEND_EVENT) {
        wf_parse_event(c, value);
        return;
    }

    c->m->input = value;
}


static void
wf_parse_event(wf_parse_t *c, wf_slice_t object)
{
    wf_slice_t  qualified, fields;

    switch (wf_event_parse(object, &qualified, &fields, &c->m->memory[1])) {

    case 0:
        c->m->input = fields;
        wf_parse_string(c, qualified, &c->m->memory[2], &c->m->event);
        return;

    case -1:
        wf_parse_refuse(c, "body.data.input", WF_EVENT_SHAPE, wf_slice(""), "",
                        object);
        return;

    default:
        c->failed = 1;
    }
}


/* Of a message that is refused already: which task it is about. */

void
wf_parse_tell(wf_parse_t *c)
{
    wf_slice_t  value, id;

    if (!wf_json_get(c->members[WF_MESSAGE_DATA], "task_id", &value)
        || !wf_is_type(value, WF_JSON_STRING))
    {
        return;
    }

    id.len = 0;
    wf_parse_string(c, value, &c->m->memory[0], &id);

    if (wf_parse_id_good(id)) {
        c->m->task_id = id;
    }
}
