#include "ngx_workflow_run.h"

#include "wf_json.h"


#define NGX_WORKFLOW_AGAIN  100


typedef struct {
    ngx_thread_task_t    task;
    ngx_workflow_run_t  *run;
} ngx_workflow_thread_t;


static ngx_int_t ngx_workflow_run_begin(ngx_workflow_run_t *run,
    ngx_str_t *saved, ngx_str_t *fate);
static ngx_int_t ngx_workflow_run_end(ngx_workflow_run_t *run,
    ngx_str_t *fate);
static ngx_uint_t ngx_workflow_run_object(wf_slice_t text);
static ngx_int_t ngx_workflow_run_engine(ngx_workflow_run_t *run);
static int ngx_workflow_run_restore(ngx_workflow_run_t *run,
    ngx_str_t *saved);
static void ngx_workflow_run_log(void *data, const char *step,
    wf_log_level_t level, const char *text);
static void ngx_workflow_run_threads(ngx_workflow_run_t *run);
static void ngx_workflow_run_thread(void *data, ngx_log_t *log);
static void ngx_workflow_run_returned(ngx_event_t *ev);
static ngx_int_t ngx_workflow_run_go_on(ngx_workflow_run_t *run,
    wf_run_state_t state);
static void ngx_workflow_run_drop_output(ngx_workflow_run_t *run);
static void ngx_workflow_run_unlink(ngx_workflow_run_t *run);
static void ngx_workflow_run_set_timer(ngx_workflow_run_t *run);
static void ngx_workflow_run_timer(ngx_event_t *ev);
static void ngx_workflow_run_fetch(ngx_workflow_run_t *run);
static void ngx_workflow_run_fetched(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_run_free_slot(ngx_workflow_run_t *run);


ngx_int_t
ngx_workflow_run_create(ngx_workflow_service_t *service,
    ngx_workflow_task_t *task, ngx_str_t *saved, redisReply *events,
    ngx_str_t *fate)
{
    u_char              *p;
    ngx_workflow_run_t  *run;

    run = ngx_calloc(sizeof(ngx_workflow_run_t) + task->id.len
                     + task->session.len + task->claim_text.len
                     + task->input.len, service->log);
    if (run == NULL) {
        return NGX_ERROR;
    }

    p = (u_char *) run + sizeof(ngx_workflow_run_t);

    run->task = *task;

    run->task.id.data = p;
    p = ngx_cpymem(p, task->id.data, task->id.len);

    if (task->session.data) {
        run->task.session.data = p;
        p = ngx_cpymem(p, task->session.data, task->session.len);
    }

    run->task.claim_text.data = p;
    p = ngx_cpymem(p, task->claim_text.data, task->claim_text.len);

    run->task.input.data = p;
    ngx_memcpy(p, task->input.data, task->input.len);

    run->service = service;
    run->last_output = &run->output;

    if (ngx_workflow_run_begin(run, saved, fate) != NGX_OK) {
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
    run->node.node.key = ngx_crc32_short(run->task.id.data, run->task.id.len);
    ngx_rbtree_insert(&service->runs, &run->node.node);

    run->slot = 1;
    ngx_workflow_service_slot(service, 1);
    ngx_workflow_hold();

    ngx_workflow_run_take_events(run, events, run->task.taken);

    if (events->elements >= NGX_WORKFLOW_MAX_EVENTS) {
        run->fetch = 1;
    }

    ngx_workflow_run_turn(run);

    return NGX_OK;
}


static ngx_int_t
ngx_workflow_run_begin(ngx_workflow_run_t *run, ngx_str_t *saved,
    ngx_str_t *fate)
{
    int         rc;
    wf_slice_t  input;

    if (ngx_workflow_run_engine(run) != NGX_OK) {
        return NGX_ERROR;
    }

    if (fate->len) {
        return ngx_workflow_run_end(run, fate);
    }

    if (saved->len == 0) {
        input.data = (char *) run->task.input.data;
        input.len = run->task.input.len;

        if (!ngx_workflow_run_object(input)) {
            wf_run_abort(run->engine,
                         "The task's input in Redis is not a JSON object.");
            return NGX_OK;
        }

        rc = wf_run_start(run->engine, input);

    } else {
        rc = ngx_workflow_run_restore(run, saved);

        if (rc == -1) {

            /* what could not be restored is of no use any more */

            wf_run_free(run->engine);

            if (ngx_workflow_run_engine(run) != NGX_OK) {
                return NGX_ERROR;
            }

            wf_run_abort(run->engine,
                         "The saved state of the run cannot be read.");
            return NGX_OK;
        }
    }

    if (rc != 0) {
        wf_run_free(run->engine);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* The task was claimed to be ended. */

static ngx_int_t
ngx_workflow_run_end(ngx_workflow_run_t *run, ngx_str_t *fate)
{
    if (ngx_strncmp(fate->data, "cancelled", fate->len) == 0) {
        wf_run_cancel(run->engine);

    } else if (ngx_strncmp(fate->data, "expired", fate->len) == 0) {
        wf_run_abort(run->engine, "The event that the task waits for has not "
                     "come in time.");

    } else {
        run->exhausted = 1;
        wf_run_abort(run->engine, "The worker that ran the task has died, at "
                     "every attempt.");
    }

    run->task.index = run->task.streamed;

    return NGX_OK;
}


/* What comes from Redis was checked when it went there, by us or by whoever
 * else writes to it. */

static ngx_uint_t
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
    ngx_int_t        index, spent, taken;
    wf_slice_t       text, value;
    wf_json_error_t  error;

    text.data = (char *) saved->data;
    text.len = saved->len;

    rc = wf_json_check(text, &text, &error);

    if (rc != 0) {
        return rc;
    }

    if (wf_json_type(text) != WF_JSON_OBJECT
        || !wf_json_get(text, "index", &value))
    {
        return -1;
    }

    index = ngx_atoi((u_char *) value.data, value.len);

    if (index == NGX_ERROR || !wf_json_get(text, "spent", &value)) {
        return -1;
    }

    spent = ngx_atoi((u_char *) value.data, value.len);

    if (spent == NGX_ERROR || !wf_json_get(text, "taken", &value)) {
        return -1;
    }

    taken = ngx_atoi((u_char *) value.data, value.len);

    if (taken == NGX_ERROR || !wf_json_get(text, "run", &value)) {
        return -1;
    }

    run->task.index = index;
    run->task.taken = taken;
    run->spent = spent;

    return wf_run_restore(run->engine, value);
}


ngx_workflow_run_t *
ngx_workflow_run_find(ngx_workflow_service_t *service, ngx_str_t *task_id)
{
    ngx_str_node_t  *node;

    node = ngx_str_rbtree_lookup(&service->runs, task_id,
                                 ngx_crc32_short(task_id->data, task_id->len));

    return node ? (ngx_workflow_run_t *) node : NULL;
}


/*
 * Everything that may have changed is looked at: what the run has put out, the
 * threads that it asks for, whether it rests or has ended.  The run may be gone
 * afterwards.
 */

void
ngx_workflow_run_turn(ngx_workflow_run_t *run)
{
    ngx_int_t       rc;
    wf_run_state_t  state;

    if (run->timer.timer_set) {
        ngx_del_timer(&run->timer);
    }

    run->again = 0;

    state = wf_run_state(run->engine);

    /* a run that goes on keeps what it puts out until the last of it is
     * published, and waits when it is too much */

    if (state >= WF_RUN_WAITING || !run->emitting) {
        ngx_workflow_run_add_output(run, wf_run_take_output(run->engine));

        if (state < WF_RUN_WAITING) {

            /* when it has come to rest meanwhile, all its output is there */

            state = wf_run_state(run->engine);

            if (state >= WF_RUN_WAITING) {
                ngx_workflow_run_add_output(run,
                                            wf_run_take_output(run->engine));
            }
        }
    }

    rc = NGX_OK;

    if (run->lost) {
        ngx_workflow_run_drop_output(run);

    } else if (state >= WF_RUN_COMPLETED) {

        if (!run->finishing) {
            rc = ngx_workflow_run_finish(run, state);
        }

    } else {
        rc = ngx_workflow_run_go_on(run, state);
    }

    if (rc != NGX_OK) {
        run->again = 1;
    }

    if (run->threads == 0
        && (state >= WF_RUN_COMPLETED || run->parked || run->lost))
    {
        ngx_workflow_run_free_slot(run);

        if (run->calls == 0 && (run->finished || run->parked || run->lost)) {
            ngx_workflow_run_destroy(run);
            return;
        }
    }

    ngx_workflow_run_set_timer(run);
}


static ngx_int_t
ngx_workflow_run_go_on(ngx_workflow_run_t *run, wf_run_state_t state)
{
    ngx_int_t  rc;

    rc = NGX_OK;

    if (state != WF_RUN_WAITING) {

        if (run->emitting) {
            /* the answer is waited for */

        } else if (!run->saving && wf_run_save_due(run->engine)) {
            rc = ngx_workflow_run_checkpoint(run, 0);

        } else if (run->output) {
            rc = ngx_workflow_run_emit(run);
        }
    }

    ngx_workflow_run_threads(run);
    ngx_workflow_run_fetch(run);

    /* what it has put out goes with it: see run_turn() */

    if (state == WF_RUN_WAITING && run->threads == 0 && run->owed == 0
        && !run->fetching && !run->parking && !run->parked)
    {
        rc = ngx_workflow_run_park(run);
    }

    return rc;
}


static void
ngx_workflow_run_free_slot(ngx_workflow_run_t *run)
{
    if (run->slot) {
        run->slot = 0;
        ngx_workflow_service_slot(run->service, -1);
    }
}


void
ngx_workflow_run_destroy(ngx_workflow_run_t *run)
{
    ngx_workflow_run_free_slot(run);
    ngx_workflow_wake_cancel(run);

    if (run->timer.timer_set) {
        ngx_del_timer(&run->timer);
    }

    ngx_workflow_run_drop_output(run);
    ngx_workflow_run_unlink(run);

    wf_run_free(run->engine);
    ngx_free(run);

    ngx_workflow_release();
}


void
ngx_workflow_run_notify(ngx_workflow_run_t *run)
{
    run->fetch = 1;
    ngx_workflow_run_turn(run);
}


void
ngx_workflow_run_take_events(ngx_workflow_run_t *run, redisReply *reply,
    ngx_uint_t first)
{
    ngx_uint_t   i;
    const char  *type, *p;
    wf_slice_t   name, fields;
    redisReply  *event;

    for (i = first; i < reply->elements; i++) {
        event = reply->element[i];

        run->task.taken++;

        if (event->type != REDIS_REPLY_STRING) {
            continue;
        }

        p = memchr(event->str, '\n', event->len);
        if (p == NULL) {
            continue;
        }

        name.data = event->str;
        name.len = p - event->str;
        fields.data = p + 1;
        fields.len = event->str + event->len - fields.data;

        type = wf_graph_match(run->service->graph, name);

        if (type == NULL) {
            ngx_log_error(NGX_LOG_WARN, run->service->log, 0,
                          "workflow_service \"%V\": task \"%V\": no step takes "
                          "an event of type \"%*s\" any more",
                          &run->service->name, &run->task.id, name.len,
                          name.data);
            continue;
        }

        if (!ngx_workflow_run_object(fields)) {
            ngx_log_error(NGX_LOG_ERR, run->service->log, 0,
                          "workflow_service \"%V\": task \"%V\": an event in "
                          "Redis is not a JSON object",
                          &run->service->name, &run->task.id);
            continue;
        }

        if (wf_run_event(run->engine, type, fields) != 0) {

            /* fetched again later, with those behind it */

            run->task.taken--;
            run->fetch = 1;
            return;
        }
    }
}


static void
ngx_workflow_run_fetch(ngx_workflow_run_t *run)
{
    if (!run->fetch || run->fetching || run->parking) {
        return;
    }

    if (ngx_workflow_task_events(&run->service->consumer, &run->task,
                                 ngx_workflow_run_fetched, run)
        == NULL)
    {
        run->again = 1;
        return;
    }

    run->calls++;
    run->fetch = 0;
    run->fetching = 1;
}


static void
ngx_workflow_run_fetched(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_workflow_run_t  *run;

    run = call->data;

    run->calls--;
    run->fetching = 0;

    if (reply->type == REDIS_REPLY_ARRAY) {
        ngx_workflow_run_take_events(run, reply, 0);
    }

    ngx_workflow_run_turn(run);
}


void
ngx_workflow_run_add_output(ngx_workflow_run_t *run, wf_run_output_t *output)
{
    *run->last_output = output;

    for ( /* void */ ; output; output = output->next) {
        run->last_output = &output->next;
    }
}


static void
ngx_workflow_run_drop_output(ngx_workflow_run_t *run)
{
    wf_run_output_t  *out;

    while (run->output) {
        out = run->output;
        run->output = out->next;
        wf_run_output_free(out);
    }

    run->last_output = &run->output;
}


void
ngx_workflow_run_lose(ngx_workflow_run_t *run, const char *why)
{
    if (run->lost) {
        return;
    }

    run->lost = 1;

    ngx_log_error(NGX_LOG_WARN, run->service->log, 0,
                  "workflow_service \"%V\": task \"%V\" is not this worker's "
                  "any more, %s; what it still does is discarded",
                  &run->service->name, &run->task.id, why);

    ngx_workflow_run_unlink(run);

    wf_run_cancel(run->engine);
}


void
ngx_workflow_run_cancel(ngx_workflow_run_t *run)
{
    wf_run_cancel(run->engine);
    ngx_workflow_run_turn(run);
}


void
ngx_workflow_run_hand_back(ngx_workflow_run_t *run)
{
    if (run->lost || run->parked || run->finishing
        || wf_run_state(run->engine) >= WF_RUN_COMPLETED)
    {
        return;
    }

    if (ngx_workflow_run_checkpoint(run, 1) == NGX_OK) {
        ngx_workflow_run_lose(run, "the worker leaves");

    } else {
        run->again = 1;
    }

    ngx_workflow_run_turn(run);
}


/* Another run of this worker may have the task from now on. */

static void
ngx_workflow_run_unlink(ngx_workflow_run_t *run)
{
    if (!run->unlinked) {
        run->unlinked = 1;
        ngx_rbtree_delete(&run->service->runs, &run->node.node);
    }
}


static void
ngx_workflow_run_threads(ngx_workflow_run_t *run)
{
    ngx_workflow_thread_t  *thread;

    run->owed += wf_run_threads(run->engine);

    while (run->owed) {

        thread = ngx_calloc(sizeof(ngx_workflow_thread_t), run->service->log);
        if (thread == NULL) {
            run->again = 1;
            return;
        }

        thread->run = run;
        thread->task.ctx = thread;
        thread->task.handler = ngx_workflow_run_thread;
        thread->task.event.handler = ngx_workflow_run_returned;
        thread->task.event.data = thread;
        thread->task.event.log = run->service->log;

        if (ngx_thread_task_post(run->service->pool, &thread->task)
            != NGX_OK)
        {
            /* the pool's queue is full */

            ngx_free(thread);
            run->again = 1;
            return;
        }

        run->owed--;
        run->threads++;
        run->service->threads++;
    }
}


static void
ngx_workflow_run_thread(void *data, ngx_log_t *log)
{
    ngx_workflow_thread_t  *thread = data;

    /* what was queued when nginx was told to terminate is left to others */

    if (!ngx_terminate) {
        wf_run_work(thread->run->engine);
    }
}


static void
ngx_workflow_run_returned(ngx_event_t *ev)
{
    ngx_workflow_run_t     *run;
    ngx_workflow_thread_t  *thread;

    thread = ev->data;
    run = thread->run;

    ngx_free(thread);

    run->threads--;
    run->service->threads--;

    ngx_workflow_run_turn(run);
}


static void
ngx_workflow_run_set_timer(ngx_workflow_run_t *run)
{
    int64_t         delay, left;
    wf_run_state_t  state;

    delay = -1;
    state = wf_run_state(run->engine);

    if (state < WF_RUN_WAITING) {
        delay = wf_run_delay(run->engine);

        if (run->service->timeout) {
            left = (int64_t) run->service->timeout - (int64_t) run->spent
                   - (int64_t) (ngx_current_msec - run->started);
            left = ngx_max(left, 0);

            if (delay < 0 || left < delay) {
                delay = left;
            }
        }
    }

    if (run->again && (delay < 0 || delay > NGX_WORKFLOW_AGAIN)) {
        delay = NGX_WORKFLOW_AGAIN;
    }

    if (delay >= 0) {
        ngx_add_timer(&run->timer, (ngx_msec_t) delay);
    }
}


static void
ngx_workflow_run_timer(ngx_event_t *ev)
{
    ngx_msec_t           spent;
    ngx_workflow_run_t  *run;

    run = ev->data;

    spent = run->spent + (ngx_current_msec - run->started);

    if (run->service->timeout && spent >= run->service->timeout
        && wf_run_state(run->engine) < WF_RUN_WAITING)
    {
        wf_run_time_out(run->engine,
                        (char *) run->service->timeout_text.data);
    }

    wf_run_wake(run->engine);

    ngx_workflow_run_turn(run);
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
