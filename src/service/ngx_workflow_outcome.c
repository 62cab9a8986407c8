/* How a task ends, or is tried again. */

#include "ngx_workflow_run.h"

#include "wf_publish.h"


static ngx_uint_t ngx_workflow_outcome_may_retry(ngx_workflow_run_t *run);
static ngx_int_t ngx_workflow_outcome_retry(ngx_workflow_run_t *run);
static ngx_msec_t ngx_workflow_outcome_delay(ngx_workflow_service_t *service,
    ngx_uint_t attempt);
static const char *ngx_workflow_outcome_failed(ngx_workflow_run_t *run,
    ngx_str_t *error);
static void ngx_workflow_outcome_handler(ngx_workflow_call_t *call,
    redisReply *reply);


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

    if (state == WF_RUN_FAILED && ngx_workflow_outcome_may_retry(run)) {
        return ngx_workflow_outcome_retry(run);
    }

    if (ngx_workflow_outbox_drain(run) != NGX_OK
        || ngx_workflow_outbox_compose(run, &messages, &text, 1) != NGX_OK)
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

    } else if (state == WF_RUN_CANCELLED) {
        name = "cancelled";

        slice = wf_slice("The task was cancelled.");
        error.data = (u_char *) slice.data;
        error.len = slice.len;

    } else {
        slice = wf_run_error(run->engine);
        error.data = (u_char *) slice.data;
        error.len = slice.len;

        name = ngx_workflow_outcome_failed(run, &error);
    }

    /* with raise_exceptions an error is no result */

    if (state != WF_RUN_FAILED || !service->raise_exceptions) {
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
                                        ngx_workflow_outcome_handler, run);
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

    ngx_workflow_outbox_sent(run, &messages, &text, call);

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
