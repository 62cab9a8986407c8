/* What a run says to Redis: its streamed events, its rest, its end. */

#include "ngx_workflow_run.h"

#include "wf_publish.h"


#define NGX_WORKFLOW_MAX_MESSAGES  512


static ngx_int_t ngx_workflow_outbox_compose(ngx_workflow_run_t *run,
    ngx_workflow_messages_t *messages, wf_buf_t *text);
static void ngx_workflow_outbox_sent(ngx_workflow_run_t *run,
    ngx_workflow_messages_t *messages, wf_buf_t *text,
    ngx_workflow_call_t *call);
static ngx_int_t ngx_workflow_outbox_drain(ngx_workflow_run_t *run);
static void ngx_workflow_emit_handler(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_park_handler(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_finish_handler(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_outbox_lost(ngx_workflow_run_t *run);


/* Publish what the run has streamed, NGX_WORKFLOW_MAX_MESSAGES at a time. */

ngx_int_t
ngx_workflow_run_emit(ngx_workflow_run_t *run)
{
    wf_buf_t                  text = WF_BUF_INIT;
    ngx_workflow_call_t      *call;
    ngx_workflow_messages_t   messages;

    while (run->output) {

        if (ngx_workflow_outbox_compose(run, &messages, &text) != NGX_OK) {
            return NGX_ERROR;
        }

        call = ngx_workflow_task_emit(&run->service->consumer, &run->task,
                                      &messages, ngx_workflow_emit_handler,
                                      run);

        ngx_workflow_outbox_sent(run, &messages, &text, call);

        if (call == NULL) {
            return NGX_ERROR;
        }
    }

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
        || ngx_workflow_outbox_compose(run, &messages, &text) != NGX_OK)
    {
        return NGX_ERROR;
    }

    wf_buf_adds(&saved, "{\"index\":");
    wf_buf_addu(&saved, messages.first + messages.n);
    wf_buf_adds(&saved, ",\"spent\":");
    wf_buf_addu(&saved, run->spent + (ngx_current_msec - run->started));
    wf_buf_adds(&saved, ",\"run\":");

    if (wf_run_save(run->engine, &saved) != 0) {
        saved.failed = 1;
    }

    wf_buf_adds(&saved, "}");

    call = NULL;

    if (!saved.failed) {
        state.data = (u_char *) saved.data;
        state.len = saved.len;

        call = ngx_workflow_task_park(&run->service->consumer, &run->task,
                                      &state, 0, &messages,
                                      ngx_workflow_park_handler, run);
    }

    wf_buf_free(&saved);
    ngx_workflow_outbox_sent(run, &messages, &text, call);

    if (call == NULL) {
        return NGX_ERROR;
    }

    run->parking = 1;

    return NGX_OK;
}


ngx_int_t
ngx_workflow_run_finish(ngx_workflow_run_t *run, wf_run_state_t state)
{
    wf_buf_t                  text = WF_BUF_INIT;
    wf_buf_t                  plain = WF_BUF_INIT;
    wf_buf_t                  completed = WF_BUF_INIT;
    ngx_str_t                 result, error, message;
    wf_slice_t                slice;
    const char               *name;
    ngx_workflow_call_t      *call;
    ngx_workflow_service_t   *service;
    ngx_workflow_messages_t   messages;

    service = run->service;

    if (ngx_workflow_outbox_drain(run) != NGX_OK
        || ngx_workflow_outbox_compose(run, &messages, &text) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_str_null(&result);
    ngx_str_null(&error);

    if (state == WF_RUN_COMPLETED) {
        name = "completed";

        slice = wf_run_result(run->engine);
        result.data = (u_char *) slice.data;
        result.len = slice.len;

        wf_result_text(&plain, slice);
        slice.data = plain.data;
        slice.len = plain.len;

    } else {
        name = state == WF_RUN_CANCELLED ? "cancelled" : "failed";

        slice = wf_run_error(run->engine);
        error.data = (u_char *) slice.data;
        error.len = slice.len;

        if (state == WF_RUN_FAILED && service->raise_exceptions) {
            name = "dead";

            ngx_log_error(NGX_LOG_ERR, service->log, 0,
                          "workflow_service \"%V\": task \"%V\" failed: %V",
                          &service->name, &run->task.id, &error);
        }
    }

    /* with raise_exceptions an error is no result */

    if (name[0] != 'd') {
        ngx_workflow_compose_result(&completed, &run->task.id,
                                    &run->task.session, slice);
    }

    call = NULL;

    if (!plain.failed && !completed.failed) {
        message.data = (u_char *) completed.data;
        message.len = completed.len;

        call = ngx_workflow_task_finish(&service->consumer, &run->task, name,
                                        &result, &error, service->result_ttl,
                                        &message, &messages,
                                        ngx_workflow_finish_handler, run);
    }

    wf_buf_free(&plain);
    wf_buf_free(&completed);
    ngx_workflow_outbox_sent(run, &messages, &text, call);

    if (call == NULL) {
        return NGX_ERROR;
    }

    run->finishing = 1;

    return NGX_OK;
}


/* Leave no more than one call can take. */

static ngx_int_t
ngx_workflow_outbox_drain(ngx_workflow_run_t *run)
{
    ngx_uint_t        n;
    wf_run_output_t  *out;

    n = 0;

    for (out = run->output; out; out = out->next) {
        if (++n > NGX_WORKFLOW_MAX_MESSAGES) {
            return ngx_workflow_run_emit(run);
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_workflow_outbox_compose(ngx_workflow_run_t *run,
    ngx_workflow_messages_t *messages, wf_buf_t *text)
{
    ngx_int_t         rc;
    ngx_uint_t        n;
    wf_run_output_t  *out;

    n = 0;

    for (out = run->output; out && n < NGX_WORKFLOW_MAX_MESSAGES;
         out = out->next)
    {
        n++;
    }

    rc = ngx_workflow_compose_streams(messages, text, &run->task, run->output,
                                      n);
    if (rc != NGX_OK) {
        wf_buf_free(text);
    }

    return rc;
}


static void
ngx_workflow_outbox_sent(ngx_workflow_run_t *run,
    ngx_workflow_messages_t *messages, wf_buf_t *text,
    ngx_workflow_call_t *call)
{
    ngx_uint_t        i;
    wf_run_output_t  *out;

    if (messages->elts) {
        ngx_free(messages->elts);
    }

    wf_buf_free(text);

    if (call == NULL) {
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

    if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 0) {
        ngx_workflow_outbox_lost(run);
    }

    ngx_workflow_run_turn(run);
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
        ngx_workflow_outbox_lost(run);
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

    } else {
        ngx_workflow_outbox_lost(run);
    }

    ngx_workflow_run_turn(run);
}


static void
ngx_workflow_finish_handler(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_workflow_run_t  *run;

    run = call->data;

    run->calls--;
    run->finished = 1;

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {

        ngx_workflow_service_outstanding(run->service, reply->element[1]);

        if (reply->element[0]->type == REDIS_REPLY_INTEGER
            && reply->element[0]->integer == 0)
        {
            ngx_workflow_outbox_lost(run);
        }
    }

    ngx_workflow_run_turn(run);
}


static void
ngx_workflow_outbox_lost(ngx_workflow_run_t *run)
{
    if (run->lost) {
        return;
    }

    run->lost = 1;

    ngx_log_error(NGX_LOG_WARN, run->service->log, 0,
                  "workflow_service \"%V\": task \"%V\" is not this worker's "
                  "any more, what it still does is discarded",
                  &run->service->name, &run->task.id);

    wf_run_cancel(run->engine);
}
