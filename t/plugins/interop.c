/*
 * interop: what t/interop needs of a workflow, beside the examples.
 *
 * "interop" has all of its input optional, in the order in which it is done:
 *
 *     {"stream": 5}           streams {"task": ID, "n": 0}, 1, 2, 3, 4
 *     {"text": "[]"}          streams this text as an event's fields
 *     {"gate": "FILE"}        waits until there is such a file
 *     {"get": ["a"]}          reads these keys: {"a": ...} is the result
 *     {"set": {"a": 1}}       sets these keys
 *     {"fail": "why"}         fails
 *     {"result": [1]}         is the result instead
 *
 * "inbox" waits for {"n": 2} events of two types; their fields are the result.
 * "relay" sends the tasks {"tasks": [{"service": "echo", "input": {}}, ...]},
 * one after the other; their TaskResultEvents are the result.
 */

#include <unistd.h>

#include <workflow_jansson.h>


#define APPROVAL_EVENT  "python_workflows.ApprovalEvent"


static wf_status_t
stream(wf_run_t *run, json_t *input)
{
    json_int_t    i, n;
    json_t       *text;
    wf_status_t   rc;

    n = json_integer_value(json_object_get(input, "stream"));

    for (i = 0; i < n; i++) {
        rc = wf_stream_json(run, "TickEvent",
                            json_pack("{sssI}", "task", wf_info(run)->task_id,
                                      "n", i));
        if (rc != WF_OK) {
            return rc;
        }
    }

    text = json_object_get(input, "text");

    return text ? wf_stream(run, "TextEvent", json_string_value(text),
                            json_string_length(text))
                : WF_OK;
}


static wf_status_t
pass_gate(wf_run_t *run, const char *path)
{
    wf_status_t  rc;

    rc = WF_OK;

    while (rc == WF_OK && path && access(path, F_OK) != 0) {
        rc = wf_sleep(run, 10);
    }

    return rc;
}


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

    json_object_foreach(values, name, value) {
        rc = wf_set_json(run, name, json_incref(value));
        if (rc != WF_OK) {
            return rc;
        }
    }

    return WF_OK;
}


static wf_status_t
work(wf_run_t *run, json_t *input, json_t *found)
{
    json_t       *fail, *result;
    wf_status_t   rc;

    rc = stream(run, input);

    if (rc == WF_OK) {
        rc = pass_gate(run, json_string_value(json_object_get(input, "gate")));
    }

    if (rc == WF_OK) {
        rc = get(run, json_object_get(input, "get"), found);
    }

    if (rc == WF_OK) {
        rc = set(run, json_object_get(input, "set"));
    }

    if (rc != WF_OK) {
        return rc;
    }

    fail = json_object_get(input, "fail");

    if (fail) {
        return wf_fail(run, "%s", json_string_value(fail));
    }

    result = json_object_get(input, "result");

    return wf_stop_json(run, json_incref(result ? result : found));
}


static wf_status_t
begin(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *input, *found;
    wf_status_t   rc;

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


/* A list in the context: append value; *list is what it is then. */

static wf_status_t
append(wf_run_t *run, const char *key, json_t *value, json_t **list)
{
    wf_status_t  rc;

    rc = wf_get_json(run, key, list);
    if (rc != WF_OK) {
        json_decref(value);
        return rc == WF_AGAIN ? wf_fail(run, "no %s", key) : rc;
    }

    (void) json_array_append_new(*list, value);

    rc = wf_set_json(run, key, json_incref(*list));
    if (rc != WF_OK) {
        json_decref(*list);
    }

    return rc;
}


static wf_status_t
open_inbox(wf_run_t *run, const wf_event_t *ev)
{
    int           n;
    json_t       *input;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_int_field(run, input, "n", 1, 1000, &n);
    json_decref(input);

    if (rc == WF_OK) {
        rc = wf_set_json(run, "n", json_integer(n));
    }

    if (rc == WF_OK) {
        rc = wf_set_json(run, "inbox", json_array());
    }

    if (rc != WF_OK) {
        return rc;
    }

    return wf_send_json(run, WF_INPUT_REQUIRED_EVENT,
                        json_pack("{ss}", "prefix", "More: "));
}


static wf_status_t
take(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *fields, *list, *n;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &fields);
    if (rc != WF_OK) {
        return rc;
    }

    rc = append(run, "inbox", fields, &list);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_get_json(run, "n", &n);

    if (rc == WF_OK
        && json_array_size(list) == (size_t) json_integer_value(n))
    {
        json_decref(n);
        return wf_stop_json(run, list);
    }

    json_decref(n);
    json_decref(list);

    return rc;
}


static wf_status_t
send_next(wf_run_t *run, json_t *tasks, size_t i)
{
    json_t      *task;
    const char  *service;

    task = json_array_get(tasks, i);
    service = json_string_value(json_object_get(task, "service"));

    if (service == NULL) {
        return wf_fail_final(run, "a task has no service");
    }

    return wf_send_task_json(run, service,
                             json_incref(json_object_get(task, "input")), NULL);
}


static wf_status_t
relay(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *input, *tasks;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    tasks = json_object_get(input, "tasks");

    rc = wf_set_json(run, "tasks", json_incref(tasks));

    if (rc == WF_OK) {
        rc = wf_set_json(run, "results", json_array());
    }

    if (rc == WF_OK) {
        rc = send_next(run, tasks, 0);
    }

    json_decref(input);

    return rc;
}


static wf_status_t
returned(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *result, *results, *tasks;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &result);
    if (rc != WF_OK) {
        return rc;
    }

    rc = append(run, "results", result, &results);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_get_json(run, "tasks", &tasks);

    if (rc == WF_OK && json_array_size(results) == json_array_size(tasks)) {
        rc = wf_stop_json(run, json_incref(results));

    } else if (rc == WF_OK) {
        rc = send_next(run, tasks, json_array_size(results));
    }

    json_decref(tasks);
    json_decref(results);

    return rc;
}


static const wf_step_t  interop_steps[] = {

    { .name = "begin",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = begin },
};


static const wf_step_t  inbox_steps[] = {

    { .name = "open_inbox",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_INPUT_REQUIRED_EVENT),
      .run = open_inbox },

    { .name = "take",
      .accepts = WF_TYPES(WF_HUMAN_RESPONSE_EVENT, APPROVAL_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = take,
      .num_workers = 1 },
};


static const wf_step_t  relay_steps[] = {

    { .name = "relay",
      .accepts = WF_TYPES(WF_START_EVENT),
      .run = relay },

    { .name = "returned",
      .accepts = WF_TYPES(WF_TASK_RESULT_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = returned },
};


WF_PLUGIN(
    WF_WORKFLOW("interop", "Does what it is told.", interop_steps),
    { .name = "inbox", .description = "Waits for events.",
      .steps = inbox_steps, .nsteps = 2,
      .external = WF_TYPES(APPROVAL_EVENT) },
    WF_WORKFLOW("relay", "Sends tasks to other services.", relay_steps));
