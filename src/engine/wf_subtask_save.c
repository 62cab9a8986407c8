/*
 * What a saved run says of the tasks that it has sent.  Of their ids only what
 * follows the run's own; service and input until the task is in Redis.
 *
 *     "tasks": [{"id": "0a1b...-1", "answered": true},
 *               {"id": "2c3d...-1", "service": "other", "input": "{}"},
 *               {"id": "4e5f...-1", "early": "{...}"}]
 *
 * Calls that will be made again know which of them they have sent:
 *
 *     "sent": ["2c3d...-1"]
 */

#include "wf_engine.h"


static wf_slice_t wf_save_suffix(const wf_engine_run_t *run,
    const wf_subtask_t *task);
static void wf_save_quoted(const char *name, wf_slice_t text, wf_buf_t *b);
static int wf_restore_subtask(wf_engine_run_t *run, wf_slice_t object,
    wf_buf_t *b);
static int wf_restore_task(wf_slice_t object, wf_subtask_t *task,
    wf_buf_t *b);
static int wf_restore_early(wf_engine_run_t *run, wf_slice_t object,
    wf_subtask_t *task, wf_buf_t *b);
static int wf_restore_suffix(wf_slice_t string, wf_buf_t *b, wf_slice_t *text,
    uint32_t *number);


void
wf_save_subtasks(const wf_engine_run_t *run, wf_buf_t *b)
{
    wf_slice_t           data;
    const wf_subtask_t  *task;

    if (run->subtasks == NULL) {
        return;
    }

    wf_buf_adds(b, ", \"tasks\": [");

    for (task = run->subtasks->first; task != NULL; task = task->next) {

        if (task != run->subtasks->first) {
            wf_buf_adds(b, ", ");
        }

        wf_buf_adds(b, "{\"id\": ");
        data = wf_save_suffix(run, task);
        wf_json_quote(b, data.data, data.len);

        if (task->answered) {
            wf_buf_adds(b, ", \"answered\": true");
        }

        if (task->task.service.data != NULL) {
            wf_save_quoted("service", task->task.service, b);
            wf_save_quoted("input", task->task.input, b);
        }

        if (task->early != NULL) {
            data.data = task->early->event.data;
            data.len = task->early->event.len;
            wf_save_quoted("early", data, b);
        }

        wf_buf_addc(b, '}');
    }

    wf_buf_addc(b, ']');
}


void
wf_save_sent(const wf_engine_run_t *run, const wf_job_t *job, wf_buf_t *b)
{
    wf_slice_t           suffix;
    const wf_subtask_t  *task;

    if (job->sent == NULL) {
        return;
    }

    wf_buf_adds(b, ", \"sent\": [");

    for (task = job->sent; task != NULL; task = task->of_job) {

        if (task != job->sent) {
            wf_buf_adds(b, ", ");
        }

        suffix = wf_save_suffix(run, task);
        wf_json_quote(b, suffix.data, suffix.len);
    }

    wf_buf_addc(b, ']');
}


static wf_slice_t
wf_save_suffix(const wf_engine_run_t *run, const wf_subtask_t *task)
{
    wf_slice_t  suffix;

    suffix.data = task->task.id.data + run->subtasks->prefix_len;
    suffix.len = task->task.id.len - run->subtasks->prefix_len;

    return suffix;
}


static void
wf_save_quoted(const char *name, wf_slice_t text, wf_buf_t *b)
{
    wf_buf_adds(b, ", \"");
    wf_buf_adds(b, name);
    wf_buf_adds(b, "\": ");
    wf_json_quote(b, text.data, text.len);
}


int
wf_restore_subtasks(wf_engine_run_t *run, wf_slice_t list)
{
    int              rc;
    wf_buf_t         b = WF_BUF_INIT;
    wf_slice_t       key, object;
    wf_json_iter_t   it;

    if (wf_subtasks(run) == NULL) {
        return -2;
    }

    rc = 0;

    wf_json_iter_init(&it, list);

    while (rc == 0 && wf_json_next(&it, &key, &object)) {
        rc = wf_json_type(object) == WF_JSON_OBJECT
             ? wf_restore_subtask(run, object, &b) : -1;
    }

    wf_buf_free(&b);

    return rc;
}


static int
wf_restore_subtask(wf_engine_run_t *run, wf_slice_t object, wf_buf_t *b)
{
    int             rc;
    uint32_t        number;
    wf_slice_t      value, suffix;
    wf_subtask_t   *task;
    wf_subtasks_t  *tasks;

    tasks = run->subtasks;

    if (!wf_json_get(object, "id", &value)) {
        return -1;
    }

    rc = wf_restore_suffix(value, b, &suffix, &number);
    if (rc != 0) {
        return rc;
    }

    if (tasks->n >= WF_MAX_SUBTASKS
        || wf_subtask_find(tasks, suffix.data, number) != NULL)
    {
        return -1;
    }

    task = wf_subtask_create();
    if (task == NULL) {
        return -2;
    }

    wf_subtask_add(tasks, task, suffix.data, number);

    if (wf_json_get(object, "early", &value)) {
        return wf_restore_early(run, value, task, b);
    }

    task->sent = 1;
    task->answered = wf_json_get(object, "answered", &value)
                     && wf_json_type(value) == WF_JSON_TRUE;

    if (!task->answered) {
        tasks->outstanding++;
    }

    if (!wf_json_get(object, "service", &value)) {
        return 0;
    }

    rc = wf_restore_task(object, task, b);

    if (rc == 0) {
        wf_subtask_put_out(tasks, task);
    }

    return rc;
}


static int
wf_restore_task(wf_slice_t object, wf_subtask_t *task, wf_buf_t *b)
{
    int          rc;
    char        *text;
    size_t       len;
    wf_buf_t     name = WF_BUF_INIT;
    wf_slice_t   service, input;

    if (wf_restore_member(object, "service", WF_JSON_STRING, &service) != 0
        || wf_restore_member(object, "input", WF_JSON_STRING, &input) != 0)
    {
        return -1;
    }

    rc = wf_restore_text(&name, service, &service);

    if (rc == 0) {
        rc = wf_restore_json(b, input, &input);
    }

    if (rc == 0 && (wf_json_type(input) != WF_JSON_OBJECT
                    || !wf_subtask_service(service.data)))
    {
        rc = -1;
    }

    if (rc == 0) {
        len = service.len + 1;
        text = malloc(len + input.len + 1);

        if (text != NULL) {
            memcpy(text, service.data, len);
            memcpy(text + len, input.data, input.len);
            text[len + input.len] = '\0';

            task->task.service.data = text;
            task->task.service.len = service.len;
            task->task.input.data = text + len;
            task->task.input.len = input.len;

        } else {
            rc = -2;
        }
    }

    wf_buf_free(&name);

    return rc;
}


static int
wf_restore_early(wf_engine_run_t *run, wf_slice_t string, wf_subtask_t *task,
    wf_buf_t *b)
{
    int                     rc;
    wf_slice_t              fields;
    const wf_graph_type_t  *type;

    type = wf_graph_type(run->graph, wf_slice(WF_TASK_RESULT_EVENT));
    if (type == NULL) {
        return -1;
    }

    rc = wf_restore_json(b, string, &fields);
    if (rc != 0) {
        return rc;
    }

    if (wf_json_type(fields) != WF_JSON_OBJECT) {
        return -1;
    }

    task->early = wf_item_create(type, type->nsteps, fields);

    return task->early ? 0 : -2;
}


int
wf_restore_sent(wf_engine_run_t *run, wf_job_t *job, wf_slice_t list)
{
    int              rc;
    uint32_t         number;
    wf_buf_t         b = WF_BUF_INIT;
    wf_slice_t       key, string, suffix;
    wf_subtask_t    *task;
    wf_json_iter_t   it;

    rc = run->subtasks != NULL ? 0 : -1;

    wf_json_iter_init(&it, list);

    while (rc == 0 && wf_json_next(&it, &key, &string)) {

        rc = wf_restore_suffix(string, &b, &suffix, &number);

        if (rc != 0) {
            break;
        }

        task = wf_subtask_find(run->subtasks, suffix.data, number);

        if (task == NULL || !task->sent || task->again) {
            rc = -1;
            break;
        }

        task->again = 1;
        task->of_job = job->sent;
        job->sent = task;
    }

    wf_buf_free(&b);

    return rc;
}


static int
wf_restore_suffix(wf_slice_t string, wf_buf_t *b, wf_slice_t *text,
    uint32_t *number)
{
    int  rc;

    rc = wf_restore_text(b, string, text);

    return rc == 0 ? wf_subtask_suffix(*text, number) : rc;
}
