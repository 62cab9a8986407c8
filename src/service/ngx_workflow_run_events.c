/* The events that a running task is sent. */

#include "ngx_workflow_run.h"


static void ngx_workflow_run_fetched(ngx_workflow_call_t *call,
    redisReply *reply);


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

            /* the result of a task that was sent and is not waited for */

            if (wf_slice_eq(name, WF_TASK_RESULT_EVENT)) {
                continue;
            }

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


void
ngx_workflow_run_fetch(ngx_workflow_run_t *run)
{
    if (!run->fetch || run->fetching || run->parking
        || ngx_workflow_run_is_loading(run))
    {
        return;
    }

    /* so that a question comes before an answer that was there early; but a
     * first step that takes long does not keep events from other steps */

    if (!run->begun
        && ngx_current_msec - run->started < run->service->step_interval)
    {
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
