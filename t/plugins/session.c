/*
 * session: what a run finds in its context and leaves there.  Its input, all of
 * it optional, in the order in which it is done:
 *
 *     {"get": ["a"]}        reads these keys: {"a": ...} is the result
 *     {"ms": 100}           sleeps
 *     {"set": {"a": 1}}     sets these keys
 *     {"fill": 1000}        sets "filler" to so many letters
 *     {"add": "log"}        appends the task's id to that list
 *     {"ask": true}         asks, sets "said" to the answer; true is the result
 *     {"fail": true}        fails for good
 *
 * It streams {"began": true} before anything else.
 */

#include <workflow_jansson.h>


static wf_status_t
get(wf_run_t *run, json_t *names, json_t *found)
{
    size_t        i;
    json_t       *name, *value;
    wf_status_t   rc;

    json_array_foreach(names, i, name) {
        rc = wf_get_json(run, json_string_value(name), &value);

        if (rc == WF_OK) {
            (void) json_object_set_new(found, json_string_value(name), value);

        } else if (rc != WF_AGAIN) {
            return rc;
        }
    }

    return WF_OK;
}


static wf_status_t
set(wf_run_t *run, json_t *values)
{
    json_t       *value;
    const char   *name;
    wf_status_t   rc;

    rc = WF_OK;

    json_object_foreach(values, name, value) {
        rc = wf_set_json(run, name, json_incref(value));
        if (rc != WF_OK) {
            break;
        }
    }

    return rc;
}


static wf_status_t
fill(wf_run_t *run, size_t len)
{
    char  *text;

    text = wf_alloc(run, len + 2);
    if (text == NULL) {
        return wf_fail(run, "no memory");
    }

    memset(text, 'x', len + 2);
    text[0] = '"';
    text[len + 1] = '"';

    return wf_set(run, "filler", text, len + 2);
}


static wf_status_t
add(wf_run_t *run, const char *key)
{
    json_t       *list;
    wf_status_t   rc;

    rc = wf_get_json(run, key, &list);

    if (rc == WF_AGAIN) {
        list = json_array();

    } else if (rc != WF_OK) {
        return rc;
    }

    (void) json_array_append_new(list, json_string(wf_info(run)->task_id));

    return wf_set_json(run, key, list);
}


static wf_status_t
work(wf_run_t *run, json_t *input, json_t *found)
{
    int           ms;
    json_t       *value;
    wf_status_t   rc;

    rc = get(run, json_object_get(input, "get"), found);

    if (rc == WF_OK && json_object_get(input, "ms")) {
        rc = wf_int_field(run, input, "ms", 0, 60000, &ms);

        if (rc == WF_OK) {
            rc = wf_sleep(run, (uint32_t) ms);
        }
    }

    if (rc == WF_OK) {
        rc = set(run, json_object_get(input, "set"));
    }

    value = json_object_get(input, "fill");

    if (rc == WF_OK && value) {
        rc = fill(run, (size_t) json_integer_value(value));
    }

    value = json_object_get(input, "add");

    if (rc == WF_OK && value) {
        rc = add(run, json_string_value(value));
    }

    if (rc != WF_OK) {
        return rc;
    }

    if (json_object_get(input, "fail")) {
        return wf_fail_final(run, "failed on purpose");
    }

    if (json_object_get(input, "ask")) {
        return wf_send_json(run, WF_INPUT_REQUIRED_EVENT,
                            json_pack("{ss}", "prefix", "Say: "));
    }

    return wf_stop_json(run, json_incref(found));
}


static wf_status_t
begin(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *input, *found;
    wf_status_t   rc;

    rc = wf_stream_json(run, "BeganEvent", json_pack("{sb}", "began", 1));
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    found = json_object();
    rc = work(run, input, found);
    json_decref(found);
    json_decref(input);

    return rc;
}


static wf_status_t
answer(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *human;
    const char   *response;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &human);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_string_field(run, human, "response", &response);

    if (rc == WF_OK) {
        rc = wf_set_json(run, "said", json_string(response));
    }

    json_decref(human);

    return rc == WF_OK ? wf_stop_json(run, json_true()) : rc;
}


static const wf_step_t  steps[] = {

    { .name = "begin",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_INPUT_REQUIRED_EVENT, WF_STOP_EVENT),
      .run = begin },

    { .name = "answer",
      .accepts = WF_TYPES(WF_HUMAN_RESPONSE_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = answer },
};


WF_PLUGIN(WF_WORKFLOW("session", "Reads and writes its context.", steps));
