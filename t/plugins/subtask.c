/*
 * subtask: tasks for other services.
 *
 * "send" sends all of {"tasks": [{"service": "child", "input": {}}, ...]} and
 * streams {"ids": [...], "try": 0}; their TaskResultEvents, in the order in
 * which they come, are the result.  Its first step can be told to go on:
 *
 *     {"gate": "FILE"}        until there is such a file,
 *     {"stop": true}          ends the run then, with the ids as the result,
 *     {"fail": 1}             or fails so often, and is tried again.
 *
 * {"attempts": 1}: so many attempts of the task fail when all results are
 * there.  "post" is the first step alone: nobody takes the results.  "nest"
 * returns {"levels": 2} of lists.
 */

#include <unistd.h>

#include <workflow_jansson.h>


static wf_status_t
send_all(wf_run_t *run, json_t *tasks, json_t *ids)
{
    size_t        i;
    json_t       *task;
    const char   *service, *id;
    wf_status_t   rc;

    json_array_foreach(tasks, i, task) {
        rc = wf_string_field(run, task, "service", &service);

        if (rc == WF_OK) {
            rc = wf_send_task_json(run, service,
                                   json_incref(json_object_get(task, "input")),
                                   &id);
        }

        if (rc != WF_OK) {
            return rc;
        }

        (void) json_array_append_new(ids, json_string(id));
    }

    return wf_stream_json(run, "SentEvent",
                          json_pack("{sO, si}", "ids", ids, "try",
                                    (int) wf_info(run)->retries));
}


static wf_status_t
go_on(wf_run_t *run, json_t *input, json_t *ids)
{
    const char   *gate;
    wf_status_t   rc;

    gate = json_string_value(json_object_get(input, "gate"));
    rc = WF_OK;

    while (rc == WF_OK && gate && access(gate, F_OK) != 0) {
        rc = wf_sleep(run, 10);
    }

    if (rc != WF_OK) {
        return rc;
    }

    if (json_integer_value(json_object_get(input, "fail"))
        > (json_int_t) wf_info(run)->retries)
    {
        return wf_fail(run, "failed on purpose");
    }

    return json_is_true(json_object_get(input, "stop"))
           ? wf_stop_json(run, json_incref(ids)) : WF_OK;
}


static wf_status_t
send(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *input, *ids;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    ids = json_array();

    rc = wf_set_json(run, "input", json_incref(input));

    if (rc == WF_OK) {
        rc = send_all(run, json_object_get(input, "tasks"), ids);
    }

    if (rc == WF_OK) {
        rc = go_on(run, input, ids);
    }

    json_decref(ids);
    json_decref(input);

    return rc;
}


static wf_status_t
all_there(wf_run_t *run, json_t *input, json_t *results)
{
    if (json_array_size(results)
        < json_array_size(json_object_get(input, "tasks")))
    {
        return WF_OK;
    }

    if (json_integer_value(json_object_get(input, "attempts"))
        >= (json_int_t) wf_info(run)->attempt)
    {
        return wf_fail(run, "failed on purpose");
    }

    return wf_stop_json(run, json_incref(results));
}


static wf_status_t
take(wf_run_t *run, const wf_event_t *ev)
{
    json_t       *result, *results, *input;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &result);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_get_json(run, "results", &results);

    if (rc == WF_AGAIN) {
        results = json_array();

    } else if (rc != WF_OK) {
        json_decref(result);
        return rc;
    }

    (void) json_array_append_new(results, result);

    rc = wf_set_json(run, "results", json_incref(results));

    if (rc == WF_OK) {
        rc = wf_get_json(run, "input", &input);
    }

    if (rc == WF_OK) {
        rc = all_there(run, input, results);
        json_decref(input);
    }

    json_decref(results);

    return rc;
}


static wf_status_t
nest(wf_run_t *run, const wf_event_t *ev)
{
    int           i, n;
    json_t       *input, *list;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_int_field(run, input, "levels", 1, 1000, &n);
    json_decref(input);

    if (rc != WF_OK) {
        return rc;
    }

    list = json_array();

    for (i = 1; i < n; i++) {
        list = json_pack("[o]", list);
    }

    return wf_stop_json(run, list);
}


static const wf_step_t  send_steps[] = {

    { .name = "send",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = send,
      .retry = WF_RETRY(3, 100) },

    { .name = "take",
      .accepts = WF_TYPES(WF_TASK_RESULT_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = take,
      .num_workers = 1 },
};


static const wf_step_t  post_steps[] = {

    { .name = "send",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = send },
};


static const wf_step_t  nest_steps[] = {

    { .name = "nest",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = nest },
};


WF_PLUGIN(
    WF_WORKFLOW("send", "Sends tasks to other services.", send_steps),
    WF_WORKFLOW("post", "Does not wait for them.", post_steps),
    WF_WORKFLOW("nest", "Has a deep result.", nest_steps));
