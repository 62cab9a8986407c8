/* How a task ends, or is tried again. */

#include "ngx_workflow_run.h"

#include "wf_json.h"
#include "wf_publish.h"


static ngx_int_t ngx_workflow_outcome_result(ngx_workflow_run_t *run,
    wf_run_state_t state, ngx_workflow_end_t *end, wf_buf_t *completed,
    wf_buf_t *event);
static ngx_int_t ngx_workflow_outcome_session(ngx_workflow_run_t *run,
    ngx_workflow_end_t *end);
static ngx_uint_t ngx_workflow_outcome_may_retry(ngx_workflow_run_t *run);
static ngx_int_t ngx_workflow_outcome_retry(ngx_workflow_run_t *run);
static ngx_msec_t ngx_workflow_outcome_delay(ngx_workflow_service_t *service,
    ngx_uint_t attempt);
static const char *ngx_workflow_outcome_failed(ngx_workflow_run_t *run,
    ngx_str_t *error);
static void ngx_workflow_outcome_finished(void *data, redisReply *answer,
    redisReply *outstanding);
static void ngx_workflow_outcome_handler(ngx_workflow_call_t *call,
    redisReply *reply);


ngx_int_t
ngx_workflow_run_finish(ngx_workflow_run_t *run, wf_run_state_t state)
{
    wf_buf_t                  text = WF_BUF_INIT;
    wf_buf_t                  completed = WF_BUF_INIT;
    wf_buf_t                  event = WF_BUF_INIT;
    ngx_int_t                 rc;
    ngx_workflow_end_t        end;
    ngx_workflow_service_t   *service;
    ngx_workflow_messages_t   messages;

    service = run->service;

    if (state == WF_RUN_FAILED && ngx_workflow_outcome_may_retry(run)) {
        return ngx_workflow_outcome_retry(run);
    }

    /* before the result is published: who has it may send the session's next
     * task at once */

    rc = ngx_workflow_session_save(run);

    if (rc != NGX_OK) {
        return rc == NGX_AGAIN ? NGX_OK : NGX_ERROR;
    }

    if (ngx_workflow_outbox_drain(run) != NGX_OK
        || ngx_workflow_outbox_compose(run, &messages, &text, 1) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_memzero(&end, sizeof(ngx_workflow_end_t));

    end.ttl = service->result_ttl;
    end.session_ttl = service->session_ttl;

    rc = ngx_workflow_outcome_result(run, state, &end, &completed, &event);

    if (rc == NGX_OK) {
        rc = ngx_workflow_outcome_session(run, &end);
    }

    if (rc == NGX_OK) {
        rc = ngx_workflow_task_finish(&service->consumer, &run->task, &end,
                                      &messages,
                                      ngx_workflow_outcome_finished, run);
    }

    if (end.set) {
        ngx_free(end.set);
    }

    wf_buf_free(&completed);
    wf_buf_free(&event);
    ngx_workflow_outbox_sent(run, &messages, &text, rc == NGX_OK);

    if (rc == NGX_OK) {
        run->finishing = 1;
    }

    return rc;
}


/* The result or the error, and completed_task, which has it as text for all and
 * as data for those that want to know; and the event for the task that has sent
 * this one. */

static ngx_int_t
ngx_workflow_outcome_result(ngx_workflow_run_t *run, wf_run_state_t state,
    ngx_workflow_end_t *end, wf_buf_t *completed, wf_buf_t *event)
{
    wf_buf_t     data = WF_BUF_INIT;
    wf_buf_t     plain = WF_BUF_INIT;
    wf_slice_t   slice;
    const char  *type;

    wf_buf_adds(&data, "{");

    if (state == WF_RUN_COMPLETED) {
        slice = wf_run_result(run->engine);

        end->state = "completed";
        end->result.data = (u_char *) slice.data;
        end->result.len = slice.len;

        wf_buf_adds(&data, "\"status\": \"completed\", \"result\": ");
        wf_buf_add(&data, slice.data, slice.len);

        wf_result_text(&plain, slice);
        slice.data = plain.data;
        slice.len = plain.len;

    } else {

        if (state == WF_RUN_CANCELLED) {
            slice = wf_slice("The task was cancelled.");
            type = "WorkflowCancelledByUser";

        } else {
            slice = wf_run_error(run->engine);
            type = run->unread ? "SessionStateError"
                   : run->timed_out ? "WorkflowTimeoutError"
                   : "WorkflowRuntimeError";
        }

        end->error.data = (u_char *) slice.data;
        end->error.len = slice.len;

        end->state = state == WF_RUN_CANCELLED
                     ? "cancelled"
                     : ngx_workflow_outcome_failed(run, &end->error);

        if (ngx_strcmp(end->state, "dead") == 0) {
            end->input = run->task.input;
        }

        ngx_workflow_compose_error(&data, state == WF_RUN_CANCELLED
                                          ? "cancelled" : "failed",
                                   type, slice);
    }

    if (run->unsaved) {
        wf_buf_adds(&data, ", \"session\": {\"saved\": false, \"error\": ");
        wf_json_quote(&data, run->session_error.data, run->session_error.len);
        wf_buf_adds(&data, "}");
    }

    wf_buf_adds(&data, "}");

    /* with raise_exceptions an error is no result */

    if (state != WF_RUN_FAILED || !run->service->raise_exceptions) {
        ngx_workflow_compose_result(completed, &run->task.id, slice,
                                    (wf_slice_t) { data.data, data.len });

        end->completed.data = (u_char *) completed->data;
        end->completed.len = completed->len;
    }

    if (data.failed || plain.failed) {
        completed->failed = 1;

    } else {
        ngx_workflow_subtask_reply(run, (wf_slice_t) { data.data, data.len },
                                   end, event);
    }

    wf_buf_free(&data);
    wf_buf_free(&plain);

    return completed->failed || event->failed ? NGX_ERROR : NGX_OK;
}


/* What the script is to keep of the session's context. */

static ngx_int_t
ngx_workflow_outcome_session(ngx_workflow_run_t *run, ngx_workflow_end_t *end)
{
    size_t            i, n;
    ngx_str_t        *s;
    wf_run_context_t  entry;

    if (run->task.session.len == 0 || run->service->http) {
        return NGX_OK;
    }

    end->session = run->task.session;

    n = ngx_workflow_session_changed(run);

    if (n == 0) {
        return NGX_OK;
    }

    end->set = ngx_alloc(2 * n * sizeof(ngx_str_t), run->service->log);
    if (end->set == NULL) {
        return NGX_ERROR;
    }

    s = end->set;

    for (i = 0; wf_run_context(run->engine, i, &entry); i++) {

        if (!entry.changed) {
            continue;
        }

        s->data = (u_char *) entry.key.data;
        s->len = entry.key.len;
        s++;

        s->data = (u_char *) entry.value.data;
        s->len = entry.value.len;
        s++;

        end->nset++;
    }

    return NGX_OK;
}


/*
 * The run has failed: whether its task gets another attempt.  The StopEvent
 * that the run has put out is not the task's then.
 */

static ngx_uint_t
ngx_workflow_outcome_may_retry(ngx_workflow_run_t *run)
{
    ngx_workflow_service_t  *service;

    service = run->service;

    return !service->raise_exceptions
           && run->task.attempt < service->max_attempts
           && !wf_run_error_final(run->engine);
}


static ngx_int_t
ngx_workflow_outcome_retry(ngx_workflow_run_t *run)
{
    wf_buf_t                  text = WF_BUF_INIT;
    ngx_str_t                 error;
    ngx_msec_t                delay;
    wf_slice_t                slice;
    wf_run_output_t         **out;
    ngx_workflow_call_t      *call;
    ngx_workflow_service_t   *service;
    ngx_workflow_messages_t   messages;

    service = run->service;

    for (out = &run->output; *out && (*out)->next; out = &(*out)->next) {
        /* void */
    }

    if (*out && !run->unstopped) {
        wf_run_output_free(*out);
        *out = NULL;
        run->last_output = out;
        run->unstopped = 1;
    }

    if (ngx_workflow_outbox_drain(run) != NGX_OK
        || ngx_workflow_outbox_compose(run, &messages, &text, 0) != NGX_OK)
    {
        return NGX_ERROR;
    }

    slice = wf_run_error(run->engine);
    error.data = (u_char *) slice.data;
    error.len = slice.len;

    delay = ngx_workflow_outcome_delay(service, run->task.attempt);

    call = ngx_workflow_task_retry(&service->consumer, &run->task, &error,
                                   delay, &messages,
                                   ngx_workflow_outcome_handler, run);

    ngx_workflow_outbox_sent(run, &messages, &text, call != NULL);

    if (call == NULL) {
        return NGX_ERROR;
    }

    ngx_log_error(NGX_LOG_WARN, service->log, 0,
                  "workflow_service \"%V\": task \"%V\" failed, attempt %ui of "
                  "%ui, again in %Mms: %V", &service->name, &run->task.id,
                  run->task.attempt, service->max_attempts, delay, &error);

    /* a millisecond more, as Redis' clock begins when it is told */

    ngx_workflow_service_due(service, delay + 1);

    run->finishing = 1;

    return NGX_OK;
}


/* Doubled with every attempt; half of it is chance, so that tasks that failed
 * together do not come back together. */

static ngx_msec_t
ngx_workflow_outcome_delay(ngx_workflow_service_t *service, ngx_uint_t attempt)
{
    ngx_uint_t  i;
    ngx_msec_t  delay;

    delay = service->retry_delay;

    for (i = 1; i < attempt && delay < service->retry_delay_max; i++) {
        delay *= 2;
    }

    delay = ngx_min(delay, service->retry_delay_max);

    return delay / 2 + (ngx_msec_t) ngx_random() % (delay / 2 + 1);
}


/*
 * What a task that failed for good is called: it is dead, and kept for
 * inspection, if it has used up its attempts, or if its first error was to be
 * raised.
 */

static const char *
ngx_workflow_outcome_failed(ngx_workflow_run_t *run, ngx_str_t *error)
{
    ngx_workflow_service_t  *service;

    service = run->service;

    if (service->raise_exceptions) {
        ngx_log_error(NGX_LOG_ERR, service->log, 0,
                      "workflow_service \"%V\": task \"%V\" failed: %V",
                      &service->name, &run->task.id, error);
        return "dead";
    }

    if (!run->exhausted && wf_run_error_final(run->engine)) {
        return "failed";
    }

    ngx_log_error(NGX_LOG_ERR, service->log, 0,
                  "workflow_service \"%V\": task \"%V\" has used up its "
                  "attempts: %V", &service->name, &run->task.id, error);

    return "dead";
}


static void
ngx_workflow_outcome_finished(void *data, redisReply *answer,
    redisReply *outstanding)
{
    ngx_workflow_run_t  *run = data;

    run->calls--;
    run->finished = 1;

    if (answer) {
        ngx_workflow_service_outstanding(run->service, outstanding);
        ngx_workflow_outbox_fenced(run, answer);
    }

    ngx_workflow_run_turn(run);
}


static void
ngx_workflow_outcome_handler(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_workflow_run_t  *run;

    run = call->data;

    run->calls--;
    run->finished = 1;

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {

        ngx_workflow_service_outstanding(run->service, reply->element[1]);

        ngx_workflow_outbox_fenced(run, reply->element[0]);
    }

    ngx_workflow_run_turn(run);
}
