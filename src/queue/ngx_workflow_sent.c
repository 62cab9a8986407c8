/* Tasks for services that are none of ours, and what is heard of them. */

#include "ngx_workflow_task.h"


typedef struct {
    ngx_str_t   name;
    u_char      buf[2 * NGX_WORKFLOW_MAX_NAME + sizeof("{.}:sent:")
                    + NGX_WORKFLOW_MAX_ID];
} ngx_workflow_sent_key_t;


static void ngx_workflow_sent_key(ngx_workflow_sent_key_t *key,
    ngx_workflow_consumer_t *consumer, ngx_str_t *sent_id);


ngx_workflow_call_t *
ngx_workflow_task_send(ngx_workflow_consumer_t *consumer, ngx_str_t *task_id,
    ngx_str_t *sent_id, ngx_str_t *service, ngx_str_t *message, time_t wait,
    ngx_workflow_call_pt handler, void *data)
{
    ngx_str_t                topic;
    ngx_workflow_args_t      args;
    ngx_workflow_sent_key_t  key;
    u_char                   buf[2 * NGX_WORKFLOW_MAX_NAME + sizeof(".")];

    ngx_workflow_sent_key(&key, consumer, sent_id);

    topic.data = buf;
    topic.len = ngx_sprintf(buf, "%V.%V", &consumer->topic_namespace, service)
                - buf;

    ngx_workflow_args_script(&args, NGX_WORKFLOW_SCRIPT_SEND, 1);
    ngx_workflow_args_str(&args, &key.name);

    ngx_workflow_args_str(&args, task_id);
    ngx_workflow_args_number(&args, wait);
    ngx_workflow_args_str(&args, service);
    ngx_workflow_args_str(&args, &topic);
    ngx_workflow_args_str(&args, message);

    return ngx_workflow_call(consumer->queue, &args, 0, handler, data);
}


ngx_workflow_call_t *
ngx_workflow_task_result(ngx_workflow_consumer_t *consumer,
    ngx_str_t *sent_id, ngx_str_t *fields, time_t keep,
    ngx_workflow_call_pt handler, void *data)
{
    ngx_workflow_args_t      args;
    ngx_workflow_sent_key_t  key;

    ngx_workflow_sent_key(&key, consumer, sent_id);

    ngx_workflow_args_script(&args, NGX_WORKFLOW_SCRIPT_ANSWER, 1);
    ngx_workflow_args_str(&args, &key.name);

    ngx_workflow_args_str(&args, &consumer->prefix);
    ngx_workflow_args_str(&args, fields);
    ngx_workflow_args_number(&args, keep);
    ngx_workflow_args_str(&args, &consumer->workers);
    ngx_workflow_args_str(&args, &consumer->name);

    return ngx_workflow_call(consumer->queue, &args, 0, handler, data);
}


static void
ngx_workflow_sent_key(ngx_workflow_sent_key_t *key,
    ngx_workflow_consumer_t *consumer, ngx_str_t *sent_id)
{
    key->name.data = key->buf;
    key->name.len = ngx_sprintf(key->buf, "%Vsent:%V", &consumer->prefix,
                                sent_id)
                    - key->buf;
}
