/*
 * A run from the text that wf_run_save() wrote, which may have been kept by
 * others meanwhile and is not trusted.
 */

#include "wf_engine.h"


/* One event as it was saved. */

typedef struct {
    uint32_t                step;
    const wf_graph_type_t  *type;
    wf_slice_t              data;
    int64_t                 retries;
    int64_t                 elapsed;
    int64_t                 delay;
    int64_t                 order;
    int64_t                 streamed;
    wf_slice_t              sent;       /* data NULL: nothing */
    int                     kept;
} wf_saved_t;


static int wf_restore_any(wf_slice_t object, const char *name,
    wf_json_type_t type, wf_slice_t *value);
static int wf_restore_context(wf_engine_run_t *run, wf_slice_t context,
    int changed);
static int wf_restore_changed(wf_engine_run_t *run, wf_slice_t list);
static int wf_restore_collected(wf_engine_run_t *run, wf_slice_t list);
static int wf_restore_pending(wf_engine_run_t *run, wf_slice_t list);
static int wf_restore_event(wf_engine_run_t *run, wf_slice_t object,
    wf_saved_t *saved, wf_buf_t *data);
static int wf_restore_number(wf_slice_t object, const char *name, int64_t *n);


int
wf_run_restore(wf_engine_run_t *run, wf_slice_t saved)
{
    int              rc, known;
    int64_t          version;
    wf_slice_t       object, running, context, changed, collected, pending;
    wf_slice_t       tasks;
    wf_json_error_t  error;

    rc = wf_json_check(saved, &object, &error);
    if (rc != 0) {
        return rc;
    }

    version = 0;

    if (wf_json_type(object) != WF_JSON_OBJECT
        || wf_restore_number(object, "version", &version) != 0
        || version != 1
        || wf_restore_any(object, "context", WF_JSON_OBJECT, &context) != 0
        || wf_restore_any(object, "collected", WF_JSON_ARRAY, &collected) != 0
        || wf_restore_any(object, "pending", WF_JSON_ARRAY, &pending) != 0)
    {
        return -1;
    }

    pthread_mutex_lock(&run->lock);

    run->started = !wf_json_get(object, "running", &running)
                   || wf_json_type(running) == WF_JSON_TRUE;

    /* An ended run's context is what the next run finds.  Text of older
     * versions says nothing of what was set. */

    known = wf_restore_member(object, "changed", WF_JSON_ARRAY, &changed) == 0;

    rc = wf_restore_context(run, context, run->started && !known);

    if (rc == 0 && known) {
        rc = wf_restore_changed(run, changed);
    }

    if (rc == 0) {
        rc = wf_restore_collected(run, collected);
    }

    if (rc == 0 && wf_json_get(object, "tasks", &tasks)) {
        rc = wf_json_type(tasks) == WF_JSON_ARRAY
             ? wf_restore_subtasks(run, tasks) : -1;
    }

    if (rc == 0) {
        rc = wf_restore_pending(run, pending);
    }

    if (rc == 0) {
        wf_run_settle(run);
    }

    pthread_mutex_unlock(&run->lock);

    return rc;
}


/* What is empty was left out. */

static int
wf_restore_any(wf_slice_t object, const char *name, wf_json_type_t type,
    wf_slice_t *value)
{
    if (!wf_json_get(object, name, value)) {
        *value = wf_slice(type == WF_JSON_OBJECT ? "{}" : "[]");
    }

    return wf_json_type(*value) == type ? 0 : -1;
}


static int
wf_restore_context(wf_engine_run_t *run, wf_slice_t context, int changed)
{
    int              rc;
    wf_buf_t         name = WF_BUF_INIT, text = WF_BUF_INIT;
    wf_slice_t       key, string, json;
    wf_value_t      *value;
    wf_json_iter_t   it;

    rc = 0;

    wf_json_iter_init(&it, context);

    while (rc == 0 && wf_json_next(&it, &key, &string)) {

        rc = wf_restore_json(&text, string, &json);

        if (rc == 0) {
            rc = wf_restore_text(&name, key, &key);
        }

        if (rc != 0) {
            break;
        }

        value = wf_value_create(json);

        if (value == NULL || wf_context_set(run, key, value, changed) != 0) {
            free(value);
            rc = -2;
        }
    }

    wf_buf_free(&name);
    wf_buf_free(&text);

    return rc;
}


static int
wf_restore_changed(wf_engine_run_t *run, wf_slice_t list)
{
    int              rc;
    wf_buf_t         text = WF_BUF_INIT;
    wf_entry_t      *entry;
    wf_slice_t       key, string;
    wf_json_iter_t   it;

    rc = 0;

    wf_json_iter_init(&it, list);

    while (rc == 0 && wf_json_next(&it, &key, &string)) {

        rc = wf_restore_text(&text, string, &key);

        if (rc != 0) {
            break;
        }

        entry = wf_context_find(run, key);

        if (entry != NULL) {
            entry->changed = 1;

        } else {
            rc = -1;
        }
    }

    wf_buf_free(&text);

    return rc;
}


static int
wf_restore_collected(wf_engine_run_t *run, wf_slice_t list)
{
    int              rc;
    wf_buf_t         data = WF_BUF_INIT;
    wf_job_t        *job;
    wf_item_t       *item;
    wf_slice_t       key, object;
    wf_saved_t       saved;
    wf_json_iter_t   it;

    rc = 0;

    wf_json_iter_init(&it, list);

    while (rc == 0 && wf_json_next(&it, &key, &object)) {

        rc = wf_restore_event(run, object, &saved, &data);

        /* A session outlives a workflow that has other steps now. */

        if (rc == 1 && !run->started) {
            rc = 0;
            continue;
        }

        if (rc != 0) {
            break;
        }

        item = wf_item_create(saved.type, 1, saved.data);
        if (item == NULL) {
            rc = -2;
            break;
        }

        job = &item->jobs[0];
        job->step = saved.step;
        job->order = (uint64_t) saved.order;

        if (run->order <= job->order) {
            run->order = job->order + 1;
        }

        wf_kept_add(run, job);
    }

    wf_buf_free(&data);

    return rc == 1 ? -1 : rc;
}


static int
wf_restore_pending(wf_engine_run_t *run, wf_slice_t list)
{
    int              rc;
    wf_buf_t         data = WF_BUF_INIT;
    wf_job_t        *job;
    wf_item_t       *item;
    wf_slice_t       key, object;
    wf_saved_t       saved;
    wf_json_iter_t   it;

    rc = 0;

    wf_json_iter_init(&it, list);

    while (rc == 0 && wf_json_next(&it, &key, &object)) {

        rc = wf_restore_event(run, object, &saved, &data);

        if (rc != 0) {
            break;
        }

        item = wf_item_create(saved.type, 1, saved.data);
        if (item == NULL) {
            rc = -2;
            break;
        }

        job = &item->jobs[0];
        job->step = saved.step;
        job->retries = (uint32_t) saved.retries;
        job->streamed = (uint64_t) saved.streamed;
        job->kept = saved.kept != 0;

        if (saved.sent.data != NULL) {
            rc = wf_restore_sent(run, job, saved.sent);

            if (rc != 0) {
                free(item);
                break;
            }
        }

        if (saved.elapsed >= 0) {
            job->timed = 1;
            job->first = wf_time() - saved.elapsed;
        }

        wf_job_send(run, job, saved.delay);
    }

    wf_buf_free(&data);

    return rc == 1 ? -1 : rc;
}


/* 1: the workflow has no such step, or the step does not accept it. */

static int
wf_restore_event(wf_engine_run_t *run, wf_slice_t object, wf_saved_t *saved,
    wf_buf_t *data)
{
    int         rc, step;
    wf_slice_t  string, text;

    if (wf_json_type(object) != WF_JSON_OBJECT
        || !wf_json_get(object, "step", &string))
    {
        return -1;
    }

    rc = wf_restore_text(data, string, &text);
    if (rc != 0) {
        return rc;
    }

    step = wf_graph_step(run->graph, text);

    if (step < 0) {
        return 1;
    }

    if (!wf_json_get(object, "type", &string)) {
        return -1;
    }

    saved->step = (uint32_t) step;

    rc = wf_restore_text(data, string, &text);
    if (rc != 0) {
        return rc;
    }

    saved->type = wf_graph_type(run->graph, text);

    if (saved->type == NULL || !wf_graph_accepts(saved->type, saved->step)) {
        return 1;
    }

    if (!wf_json_get(object, "data", &string)) {
        return -1;
    }

    rc = wf_restore_json(data, string, &saved->data);
    if (rc != 0) {
        return rc;
    }

    if (wf_json_type(saved->data) != WF_JSON_OBJECT) {
        return -1;
    }

    saved->retries = 0;
    saved->elapsed = -1;
    saved->delay = 0;
    saved->order = 0;
    saved->streamed = 0;
    saved->kept = wf_json_get(object, "kept", &string)
                  && wf_json_type(string) == WF_JSON_TRUE;

    if (wf_restore_number(object, "retries", &saved->retries) != 0
        || wf_restore_number(object, "elapsed", &saved->elapsed) != 0
        || wf_restore_number(object, "delay", &saved->delay) != 0
        || wf_restore_number(object, "order", &saved->order) != 0
        || wf_restore_number(object, "streamed", &saved->streamed) != 0)
    {
        return -1;
    }

    if (!wf_json_get(object, "sent", &saved->sent)) {
        saved->sent.data = NULL;

    } else if (wf_json_type(saved->sent) != WF_JSON_ARRAY) {
        return -1;
    }

    return 0;
}


int
wf_restore_json(wf_buf_t *b, wf_slice_t string, wf_slice_t *json)
{
    int              rc;
    wf_slice_t       text;
    wf_json_error_t  error;

    rc = wf_restore_text(b, string, &text);

    return rc == 0 ? wf_json_check(text, json, &error) : rc;
}


/* The text has a NUL behind it. */

int
wf_restore_text(wf_buf_t *b, wf_slice_t string, wf_slice_t *text)
{
    if (wf_json_type(string) != WF_JSON_STRING) {
        return -1;
    }

    b->len = 0;

    wf_json_string(b, string);
    wf_buf_addc(b, '\0');

    if (b->failed) {
        return -2;
    }

    text->data = b->data;
    text->len = b->len - 1;

    return 0;
}


/* What is absent stays as it is. */

static int
wf_restore_number(wf_slice_t object, const char *name, int64_t *n)
{
    size_t      i;
    int64_t     value;
    wf_slice_t  text;

    if (!wf_json_get(object, name, &text)) {
        return 0;
    }

    if (wf_json_type(text) != WF_JSON_INTEGER) {
        return -1;
    }

    value = 0;

    for (i = 0; i < text.len; i++) {

        /* No number that is saved has more digits. */

        if (text.data[i] < '0' || text.data[i] > '9' || i == 15) {
            return -1;
        }

        value = value * 10 + (text.data[i] - '0');
    }

    *n = value;

    return 0;
}


int
wf_restore_member(wf_slice_t object, const char *name, wf_json_type_t type,
    wf_slice_t *value)
{
    return wf_json_get(object, name, value) && wf_json_type(*value) == type
           ? 0 : -1;
}
