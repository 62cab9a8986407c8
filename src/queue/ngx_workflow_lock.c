#include "ngx_workflow_task.h"


ngx_workflow_call_t *
ngx_workflow_task_lock(ngx_workflow_consumer_t *consumer,
    ngx_workflow_task_t *task, ngx_msec_t keep, ngx_workflow_call_pt handler,
    void *data)
{
    u_char               *p;
    ngx_str_t             key, token;
    ngx_workflow_args_t   args;
    u_char                buf[NGX_WORKFLOW_MAX_NAME
                              + sizeof("{.control_plane}:lock:")
                              + NGX_WORKFLOW_MAX_ID];
    u_char                id[NGX_MAXHOSTNAMELEN + 128 + NGX_WORKFLOW_MAX_NAME
                             + NGX_WORKFLOW_MAX_ID];

    key.data = buf;
    key.len = ngx_sprintf(buf, "{%V}:lock:%V", &consumer->control,
                          &task->session)
              - buf;

    /* a claim of a task is there once */

    p = ngx_slprintf(id, id + sizeof(id), "%V %V %V %V",
                     &consumer->queue->worker, &consumer->name,
                     &task->claim_text, &task->id);
    token.data = id;
    token.len = p - id;

    ngx_workflow_args_script(&args, NGX_WORKFLOW_SCRIPT_LOCK, 1);
    ngx_workflow_args_str(&args, &key);
    ngx_workflow_args_str(&args, &token);
    ngx_workflow_args_number(&args, keep);

    return ngx_workflow_call(consumer->queue, &args, 0, handler, data);
}
