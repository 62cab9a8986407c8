/* What a run says to Redis while it goes on: its streamed events, its state. */

#include "ngx_workflow_run.h"


/* What one call publishes at most. */

#define NGX_WORKFLOW_MAX_MESSAGES       512
#define NGX_WORKFLOW_MAX_MESSAGES_SIZE  (1024 * 1024)


static ngx_int_t ngx_workflow_outbox_save(ngx_workflow_run_t *run,
    wf_buf_t *saved, ngx_uint_t n, ngx_uint_t taken);
static ngx_int_t ngx_workflow_outbox_wrap(ngx_workflow_run_t *run,
    wf_buf_t *saved, wf_buf_t *engine, ngx_uint_t n, ngx_uint_t taken);
static ngx_uint_t ngx_workflow_outbox_count(ngx_workflow_run_t *run,
    wf_run_output_t **last);
static void ngx_workflow_emit_handler(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_checkpoint_handler(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_park_handler(ngx_workflow_call_t *call,
    redisReply *reply);


/* Publish what the run has streamed; the rest follows with the answer. */

ngx_int_t
ngx_workflow_run_emit(ngx_workflow_run_t *run)
{
    wf_buf_t                  text = WF_BUF_INIT;
    ngx_workflow_call_t      *call;
    ngx_workflow_messages_t   messages;

    if (ngx_workflow_outbox_compose(run, &messages, &text, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    call = ngx_workflow_task_emit(&run->service->consumer, &run->task,
                                  &messages, ngx_workflow_emit_handler, run);

    ngx_workflow_outbox_sent(run, &messages, &text, call != NULL);

    if (call == NULL) {
        return NGX_ERROR;
    }

    run->emitting = 1;

    return NGX_OK;
}


ngx_int_t
ngx_workflow_run_park(ngx_workflow_run_t *run)
{
    wf_buf_t                  text = WF_BUF_INIT;
    wf_buf_t                  saved = WF_BUF_INIT;
    ngx_str_t                 state;
    ngx_workflow_call_t      *call;
    ngx_workflow_messages_t   messages;

    if (ngx_workflow_outbox_drain(run) != NGX_OK
        || ngx_workflow_outbox_compose(run, &messages, &text, 0) != NGX_OK)
    {
        return NGX_ERROR;
    }

    call = NULL;

    if (ngx_workflow_outbox_save(run, &saved, messages.n, 0) == NGX_OK) {
        state.data = (u_char *) saved.data;
        state.len = saved.len;

        call = ngx_workflow_task_park(&run->service->consumer, &run->task,
                                      &state, run->service->wait_timeout,
                                      &messages, ngx_workflow_park_handler,
                                      run);
    }

    wf_buf_free(&saved);
    ngx_workflow_outbox_sent(run, &messages, &text, call != NULL);

    if (call == NULL) {
        return NGX_ERROR;
    }

    run->parking = 1;

    return NGX_OK;
}


/*
 * Save the run while it goes on; or, when the worker leaves, for whoever goes
 * on with it.  NGX_DECLINED: it has ended meanwhile.
 */

ngx_int_t
ngx_workflow_run_checkpoint(ngx_workflow_run_t *run, ngx_uint_t leave)
{
    int                       rc;
    wf_buf_t                  text = WF_BUF_INIT;
    wf_buf_t                  saved = WF_BUF_INIT;
    wf_buf_t                  engine = WF_BUF_INIT;
    ngx_str_t                 state;
    wf_run_output_t          *output;
    ngx_workflow_call_t      *call;
    ngx_workflow_messages_t   messages;

    if (ngx_workflow_run_is_loading(run) || run->waiting) {

        /* there is nothing to save yet */

        rc = 1;

    } else {

        /* what is saved and what is published before it go together */

        rc = wf_run_checkpoint(run->engine, &engine, &output);

        ngx_workflow_run_add_output(run, output);
    }

    if (rc == 1 && wf_run_state(run->engine) >= WF_RUN_COMPLETED) {
        return NGX_DECLINED;
    }

    if (ngx_workflow_outbox_drain(run) != NGX_OK
        || ngx_workflow_outbox_compose(run, &messages, &text, 0) != NGX_OK)
    {
        wf_buf_free(&engine);
        return NGX_ERROR;
    }

    ngx_str_null(&state);
    call = NULL;

    if (rc == 0) {
        rc = ngx_workflow_outbox_wrap(run, &saved, &engine, messages.n,
                                      run->task.taken)
             == NGX_OK ? 0 : -1;

        state.data = (u_char *) saved.data;
        state.len = saved.len;
    }

    /* 1: what was saved last stays */

    if (rc != -1) {
        call = ngx_workflow_task_checkpoint(&run->service->consumer,
                                            &run->task, &state, leave,
                                            &messages,
                                            ngx_workflow_checkpoint_handler,
                                            run);
    }

    wf_buf_free(&engine);
    wf_buf_free(&saved);
    ngx_workflow_outbox_sent(run, &messages, &text, call != NULL);

    if (call == NULL) {
        return NGX_ERROR;
    }

    run->saving = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_workflow_outbox_save(ngx_workflow_run_t *run, wf_buf_t *saved,
    ngx_uint_t n, ngx_uint_t taken)
{
    wf_buf_t   engine = WF_BUF_INIT;
    ngx_int_t  rc;

    rc = NGX_ERROR;

    if (wf_run_save(run->engine, &engine) == 0) {
        rc = ngx_workflow_outbox_wrap(run, saved, &engine, n, taken);
    }

    wf_buf_free(&engine);

    return rc;
}


/* The engine's text, and beside it what is not the engine's. */

static ngx_int_t
ngx_workflow_outbox_wrap(ngx_workflow_run_t *run, wf_buf_t *saved,
    wf_buf_t *engine, ngx_uint_t n, ngx_uint_t taken)
{
    wf_buf_adds(saved, "{\"index\":");
    wf_buf_addu(saved, run->task.index + n);
    wf_buf_adds(saved, ",\"spent\":");
    wf_buf_addu(saved, run->spent + (ngx_current_msec - run->started));

    if (run->task.attempt != 1) {
        wf_buf_adds(saved, ",\"attempt\":");
        wf_buf_addu(saved, run->task.attempt);
    }

    if (taken) {
        wf_buf_adds(saved, ",\"taken\":");
        wf_buf_addu(saved, taken);
    }

    wf_buf_adds(saved, ",\"run\":");
    wf_buf_add(saved, engine->data, engine->len);
    wf_buf_adds(saved, "}");

    return saved->failed ? NGX_ERROR : NGX_OK;
}


/* Leave no more than one call can take. */

ngx_int_t
ngx_workflow_outbox_drain(ngx_workflow_run_t *run)
{
    wf_run_output_t  *last;

    for ( ;; ) {

        if (ngx_workflow_outbox_count(run, &last) == 0 || last->next == NULL) {
            return NGX_OK;
        }

        if (ngx_workflow_run_emit(run) != NGX_OK) {
            return NGX_ERROR;
        }
    }
}


ngx_int_t
ngx_workflow_outbox_before_end(ngx_workflow_run_t *run)
{
    ngx_int_t         rc;
    wf_run_output_t  *last, **out;

    for (out = &run->output; *out && (*out)->next; out = &(*out)->next) {
        /* void */
    }

    last = *out;
    *out = NULL;
    run->last_output = out;

    rc = NGX_OK;

    while (run->output && rc == NGX_OK) {
        rc = ngx_workflow_run_emit(run);
    }

    ngx_workflow_run_add_output(run, last);

    return rc;
}


/* How many events one call takes, and the last of them. */

static ngx_uint_t
ngx_workflow_outbox_count(ngx_workflow_run_t *run, wf_run_output_t **last)
{
    size_t            size;
    ngx_uint_t        n;
    wf_run_output_t  *out;

    n = 0;
    size = 0;

    for (out = run->output; out; out = out->next) {
        size += out->len;

        if (n == NGX_WORKFLOW_MAX_MESSAGES
            || (n && size > NGX_WORKFLOW_MAX_MESSAGES_SIZE))
        {
            break;
        }

        *last = out;
        n++;
    }

    return n;
}


ngx_int_t
ngx_workflow_outbox_compose(ngx_workflow_run_t *run,
    ngx_workflow_messages_t *messages, wf_buf_t *text, ngx_uint_t last)
{
    ngx_int_t         rc;
    ngx_uint_t        n;
    wf_run_output_t  *out;

    n = ngx_workflow_outbox_count(run, &out);

    rc = ngx_workflow_compose_streams(messages, text, &run->task, run->output,
                                      n, last,
                                      run->service->stream_event_types);
    if (rc != NGX_OK) {
        wf_buf_free(text);
    }

    return rc;
}


void
ngx_workflow_outbox_sent(ngx_workflow_run_t *run,
    ngx_workflow_messages_t *messages, wf_buf_t *text, ngx_uint_t sent)
{
    ngx_uint_t        i;
    wf_run_output_t  *out;

    if (messages->elts) {
        ngx_free(messages->elts);
    }

    wf_buf_free(text);

    if (!sent) {
        return;
    }

    run->calls++;
    run->task.index += messages->n;

    for (i = 0; i < messages->n; i++) {
        out = run->output;
        run->output = out->next;
        wf_run_output_free(out);
    }

    if (run->output == NULL) {
        run->last_output = &run->output;
    }
}


static void
ngx_workflow_emit_handler(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_workflow_run_t  *run;

    run = call->data;

    run->calls--;
    run->emitting = 0;

    ngx_workflow_outbox_fenced(run, reply);
    ngx_workflow_run_turn(run);
}


static void
ngx_workflow_checkpoint_handler(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_workflow_run_t  *run;

    run = call->data;

    run->calls--;
    run->saving = 0;

    ngx_workflow_outbox_fenced(run, reply);
    ngx_workflow_run_turn(run);
}


/* 0: another worker has the task. */

void
ngx_workflow_outbox_fenced(ngx_workflow_run_t *run, redisReply *reply)
{
    if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 0) {
        ngx_workflow_run_lose(run, "another worker has taken it over");
    }
}


static void
ngx_workflow_park_handler(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_str_t            answer;
    ngx_workflow_run_t  *run;

    run = call->data;

    run->calls--;
    run->parking = 0;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2
        || reply->element[0]->type != REDIS_REPLY_STRING)
    {
        ngx_workflow_run_lose(run, "another worker has taken it over");
        ngx_workflow_run_turn(run);
        return;
    }

    answer.data = (u_char *) reply->element[0]->str;
    answer.len = reply->element[0]->len;

    ngx_workflow_service_outstanding(run->service, reply->element[1]);

    if (ngx_strcmp(answer.data, "events") == 0) {
        ngx_workflow_run_take_events(run, reply, 2);

    } else if (ngx_strcmp(answer.data, "parked") == 0) {
        run->parked = 1;

    } else if (ngx_strcmp(answer.data, "cancelled") == 0) {
        wf_run_cancel(run->engine);

    } else {
        ngx_workflow_run_lose(run, "another worker has taken it over");
    }

    ngx_workflow_run_turn(run);
}
