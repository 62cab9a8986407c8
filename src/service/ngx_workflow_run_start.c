/* How a run begins: from a task's input, from what was saved, or at its end. */

#include "ngx_workflow_run.h"

#include "wf_json.h"


static ngx_int_t ngx_workflow_run_prepare(ngx_workflow_run_t *run,
    ngx_str_t *saved, ngx_str_t *fate, redisReply *session);
static ngx_int_t ngx_workflow_run_end(ngx_workflow_run_t *run,
    ngx_str_t *fate);
static ngx_int_t ngx_workflow_run_engine(ngx_workflow_run_t *run);
static int ngx_workflow_run_restore(ngx_workflow_run_t *run,
    ngx_str_t *saved);
static ngx_int_t ngx_workflow_run_number(wf_slice_t object, const char *key,
    ngx_int_t absent);
static void ngx_workflow_run_log(void *data, const char *step,
    wf_log_level_t level, const char *text);


ngx_int_t
ngx_workflow_run_create(ngx_workflow_service_t *service,
    ngx_workflow_task_t *task, ngx_str_t *saved, redisReply *events,
    ngx_str_t *fate, redisReply *session)
{
    u_char              *p;
    ngx_workflow_run_t  *run;

    run = ngx_calloc(sizeof(ngx_workflow_run_t) + task->id.len
                     + task->record.len + task->input.len, service->log);
    if (run == NULL) {
        return NGX_ERROR;
    }

    p = (u_char *) run + sizeof(ngx_workflow_run_t);

    run->task = *task;

    run->task.id.data = p;
    p = ngx_cpymem(p, task->id.data, task->id.len);

    run->task.record.data = p;
    p = ngx_cpymem(p, task->record.data, task->record.len);

    run->task.input.data = p;
    ngx_memcpy(p, task->input.data, task->input.len);

    (void) ngx_workflow_record_task(&run->task);

    run->service = service;
    run->last_output = &run->output;
    ngx_queue_init(&run->subtasks);

    if (ngx_workflow_run_prepare(run, saved, fate, session) != NGX_OK) {
        ngx_free(run);
        return NGX_ERROR;
    }

    run->started = ngx_current_msec;
    run->leased = service->asked_at + service->lease;

    run->timer.handler = ngx_workflow_run_timer;
    run->timer.data = run;
    run->timer.log = service->log;
    run->timer.cancelable = 1;

    run->node.str = run->task.id;
    run->node.node.key = ngx_murmur_hash2(run->task.id.data, run->task.id.len);
    ngx_rbtree_insert(&service->runs, &run->node.node);

    ngx_workflow_hold();

    /* a run that begins is given them when its first step has run */

    if (saved->len) {
        ngx_workflow_run_take_events(run, events, run->task.taken);
        run->begun = 1;
    }

    if (events->elements > run->task.taken
        || events->elements >= NGX_WORKFLOW_MAX_EVENTS)
    {
        run->fetch = 1;
    }

    if (service->slots < service->max_concurrent_tasks) {
        ngx_workflow_run_begin(run);

    } else {
        ngx_workflow_prefetch_add(run);
    }

    return NGX_OK;
}


void
ngx_workflow_run_begin(ngx_workflow_run_t *run)
{
    run->started = ngx_current_msec;
    run->slot = 1;

    ngx_workflow_service_slot(run->service, 1);

    ngx_workflow_run_turn(run);
}


static ngx_int_t
ngx_workflow_run_prepare(ngx_workflow_run_t *run, ngx_str_t *saved,
    ngx_str_t *fate, redisReply *session)
{
    int  rc;

    if (ngx_workflow_run_engine(run) != NGX_OK) {
        return NGX_ERROR;
    }

    if (fate->len) {
        return ngx_workflow_run_end(run, fate);
    }

    if (saved->len == 0) {

        if (ngx_workflow_session_remote(run)) {
            run->session = NGX_WORKFLOW_SESSION_LOAD;
            return NGX_OK;
        }

        rc = ngx_workflow_session_take(run, session) == NGX_OK
             && ngx_workflow_run_start(run) == NGX_OK ? 0 : -2;

    } else {
        rc = ngx_workflow_run_restore(run, saved);

        if (rc == -1) {

            /* what could not be restored is of no use any more */

            wf_run_free(run->engine);

            if (ngx_workflow_run_engine(run) != NGX_OK) {
                return NGX_ERROR;
            }

            wf_run_abort(run->engine,
                         "The saved state of the run cannot be read.", 1);
            return NGX_OK;
        }
    }

    if (rc != 0) {
        wf_run_free(run->engine);
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_workflow_run_start(ngx_workflow_run_t *run)
{
    wf_slice_t  input;

    input.data = (char *) run->task.input.data;
    input.len = run->task.input.len;

    if (!ngx_workflow_run_object(input)) {
        wf_run_abort(run->engine,
                     "The task's input in Redis is not a JSON object.", 1);
        return NGX_OK;
    }

    return wf_run_start(run->engine, input) == 0 ? NGX_OK : NGX_ERROR;
}


/* The task was claimed to be ended. */

static ngx_int_t
ngx_workflow_run_end(ngx_workflow_run_t *run, ngx_str_t *fate)
{
    if (ngx_strncmp(fate->data, "cancelled", fate->len) == 0) {
        wf_run_cancel(run->engine);

    } else if (ngx_strncmp(fate->data, "expired", fate->len) == 0) {
        wf_run_abort(run->engine, "The event that the task waits for has not "
                     "come in time.", 1);

    } else {
        run->exhausted = 1;
        wf_run_abort(run->engine, "The worker that ran the task has died, at "
                     "every attempt.", 1);
    }

    run->task.index = run->task.streamed;

    return NGX_OK;
}


ngx_uint_t
ngx_workflow_run_object(wf_slice_t text)
{
    wf_json_error_t  error;

    return wf_json_check(text, &text, &error) == 0
           && wf_json_type(text) == WF_JSON_OBJECT;
}


static ngx_int_t
ngx_workflow_run_engine(ngx_workflow_run_t *run)
{
    wf_run_options_t  options;

    ngx_memzero(&options, sizeof(wf_run_options_t));

    options.task_id.data = (char *) run->task.id.data;
    options.task_id.len = run->task.id.len;
    options.session_id.data = (char *) run->task.session.data;
    options.session_id.len = run->task.session.len;
    options.attempt = run->task.attempt;
    options.checkpoint_ms = run->service->checkpoint;
    options.wake = ngx_workflow_wake;
    options.log = ngx_workflow_run_log;
    options.data = run;
    options.leaving = &ngx_terminate;

    run->engine = wf_run_create(run->service->graph, &options);

    return run->engine ? NGX_OK : NGX_ERROR;
}


/* What wf_run_save() wrote, and beside it what is not the engine's. */

static int
ngx_workflow_run_restore(ngx_workflow_run_t *run, ngx_str_t *saved)
{
    int              rc;
    ngx_int_t        index, spent, taken, attempt;
    wf_slice_t       text, value;
    wf_json_error_t  error;

    text.data = (char *) saved->data;
    text.len = saved->len;

    rc = wf_json_check(text, &text, &error);

    if (rc != 0) {
        return rc;
    }

    if (wf_json_type(text) != WF_JSON_OBJECT) {
        return -1;
    }

    index = ngx_workflow_run_number(text, "index", NGX_ERROR);
    spent = ngx_workflow_run_number(text, "spent", NGX_ERROR);
    taken = ngx_workflow_run_number(text, "taken", 0);
    attempt = ngx_workflow_run_number(text, "attempt", 1);

    if (index == NGX_ERROR || spent == NGX_ERROR || taken == NGX_ERROR
        || attempt == NGX_ERROR || !wf_json_get(text, "run", &value))
    {
        return -1;
    }

    run->task.index = index;
    run->task.taken = taken;

    /* another attempt has the whole time again */

    if ((ngx_uint_t) attempt == run->task.attempt) {
        run->spent = spent;
    }

    return wf_run_restore(run->engine, value);
}


static ngx_int_t
ngx_workflow_run_number(wf_slice_t object, const char *key,
    ngx_int_t absent)
{
    wf_slice_t  value;

    if (!wf_json_get(object, key, &value)) {
        return absent;
    }

    return ngx_atoi((u_char *) value.data, value.len);
}


/* Called by threads: the cycle's log and nothing else. */

static void
ngx_workflow_run_log(void *data, const char *step, wf_log_level_t level,
    const char *text)
{
    ngx_workflow_run_t  *run = data;

    ngx_uint_t           n;

    switch (level) {

    case WF_LOG_ERROR:
        n = NGX_LOG_ERR;
        break;

    case WF_LOG_WARN:
        n = NGX_LOG_WARN;
        break;

    case WF_LOG_INFO:
        n = NGX_LOG_INFO;
        break;

    default:
        n = NGX_LOG_DEBUG;
    }

    ngx_log_error(n, run->service->log, 0,
                  "workflow_service \"%V\": task \"%V\": step %s: %s",
                  &run->service->name, &run->task.id, step, text);
}
