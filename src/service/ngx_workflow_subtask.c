/*
 * Tasks that a run sends to other services of its namespace, and their results.
 *
 * A service of ours gets the task into its queue, and with it who has sent it:
 * the end of the task gives the sender the result.  For any other the task is
 * published as a control plane would, and its result heard where the control
 * plane hears it.  What cannot be sent is a result, too.
 */

#include "ngx_workflow_run.h"

#include "wf_json.h"
#include "wf_publish.h"
#include "wf_result.h"


/* Seconds for the result of a task that was published. */

#define NGX_WORKFLOW_KEEP_SENT  (30 * 24 * 3600)


typedef struct {
    ngx_queue_t             link;       /* in run->subtasks */
    ngx_workflow_run_t     *run;
    const wf_run_task_t    *task;
    unsigned                calling:1;
    unsigned                publish:1;  /* its service is none of ours */
} ngx_workflow_subtask_t;


static ngx_int_t ngx_workflow_subtask_take(ngx_workflow_run_t *run);
static ngx_workflow_call_t *ngx_workflow_subtask_accept(
    ngx_workflow_subtask_t *sub);
static ngx_workflow_service_t *ngx_workflow_subtask_local(
    ngx_workflow_subtask_t *sub);
static void ngx_workflow_subtask_accepted(ngx_workflow_call_t *call,
    redisReply *reply);
static ngx_workflow_call_t *ngx_workflow_subtask_publish(
    ngx_workflow_subtask_t *sub);
static void ngx_workflow_subtask_published(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_subtask_ended(ngx_workflow_subtask_t *sub,
    redisReply *reply);
static void ngx_workflow_subtask_failed(ngx_workflow_subtask_t *sub,
    const char *type, const char *message);
static void ngx_workflow_subtask_give(ngx_workflow_subtask_t *sub,
    wf_buf_t *fields);
static void ngx_workflow_subtask_done(ngx_workflow_subtask_t *sub);
static wf_slice_t ngx_workflow_subtask_slice(redisReply *reply);
static void ngx_workflow_subtask_noted(ngx_workflow_call_t *call,
    redisReply *reply);


ngx_int_t
ngx_workflow_subtask_send(ngx_workflow_run_t *run)
{
    ngx_queue_t             *q;
    ngx_workflow_call_t     *call;
    ngx_workflow_subtask_t  *sub;

    if (ngx_workflow_subtask_take(run) != NGX_OK) {
        return NGX_ERROR;
    }

    for (q = ngx_queue_head(&run->subtasks);
         q != ngx_queue_sentinel(&run->subtasks);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_workflow_subtask_t, link);

        if (sub->calling) {
            continue;
        }

        call = sub->publish ? ngx_workflow_subtask_publish(sub)
                            : ngx_workflow_subtask_accept(sub);
        if (call == NULL) {
            return NGX_ERROR;
        }

        sub->calling = 1;
        run->calls++;
    }

    return run->nsubtasks ? NGX_AGAIN : NGX_OK;
}


static ngx_int_t
ngx_workflow_subtask_take(ngx_workflow_run_t *run)
{
    ngx_workflow_subtask_t  *sub;

    while (wf_run_unsent_tasks(run->engine) > run->nsubtasks) {

        sub = ngx_calloc(sizeof(ngx_workflow_subtask_t), run->service->log);
        if (sub == NULL) {
            return NGX_ERROR;
        }

        sub->run = run;
        sub->task = wf_run_take_task(run->engine);

        ngx_queue_insert_tail(&run->subtasks, &sub->link);
        run->nsubtasks++;
    }

    return NGX_OK;
}


/* When no call is under way any more. */

void
ngx_workflow_subtask_drop(ngx_workflow_run_t *run)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&run->subtasks)) {
        q = ngx_queue_head(&run->subtasks);
        ngx_queue_remove(q);
        ngx_free(ngx_queue_data(q, ngx_workflow_subtask_t, link));
    }
}


static ngx_workflow_call_t *
ngx_workflow_subtask_accept(ngx_workflow_subtask_t *sub)
{
    ngx_pool_t                 *pool;
    ngx_workflow_run_t         *run;
    ngx_workflow_call_t        *call;
    ngx_workflow_service_t     *service, *local;
    ngx_workflow_consumer_t     consumer;
    ngx_workflow_claims_t       none;
    ngx_workflow_accepts_t      accepts;
    ngx_workflow_submission_t   s;
    u_char                      reply[NGX_WORKFLOW_MAX_NAME + 1
                                      + NGX_WORKFLOW_MAX_ID];

    run = sub->run;
    service = run->service;

    pool = ngx_create_pool(4096, service->log);
    if (pool == NULL) {
        return NULL;
    }

    ngx_memzero(&consumer, sizeof(ngx_workflow_consumer_t));
    consumer.queue = service->consumer.queue;
    consumer.name.data = (u_char *) sub->task->service.data;
    consumer.name.len = sub->task->service.len;

    ngx_memzero(&s, sizeof(ngx_workflow_submission_t));
    s.task_id.data = (u_char *) sub->task->id.data;
    s.task_id.len = sub->task->id.len;
    s.input.data = (u_char *) sub->task->input.data;
    s.input.len = sub->task->input.len;
    s.reply.data = reply;
    s.reply.len = ngx_sprintf(reply, "%V\n%V", &service->name, &run->task.id)
                  - reply;

    /* a service of this nginx may be one that has not run a task yet */

    local = ngx_workflow_subtask_local(sub);
    s.only = (local == NULL);

    ngx_memzero(&none, sizeof(ngx_workflow_claims_t));
    ngx_memzero(&accepts, sizeof(ngx_workflow_accepts_t));

    call = NULL;

    if (ngx_workflow_consumer_init(&consumer,
                                   &service->consumer.topic_namespace, pool)
            == NGX_OK
        && ngx_workflow_accept_add(&accepts, &s) == NGX_OK)
    {
        call = ngx_workflow_accept_send(&consumer, &accepts,
                                        local ? local->max_queued
                                              : service->max_queued,
                                        &none, 0,
                                        ngx_workflow_subtask_accepted, sub);
    }

    ngx_destroy_pool(pool);

    return call;
}


static ngx_workflow_service_t *
ngx_workflow_subtask_local(ngx_workflow_subtask_t *sub)
{
    ngx_str_t                *ns;
    ngx_queue_t              *q;
    ngx_workflow_queue_t     *queue;
    ngx_workflow_consumer_t  *consumer;

    queue = sub->run->service->consumer.queue;
    ns = &sub->run->service->consumer.topic_namespace;

    for (q = ngx_queue_head(&queue->consumers);
         q != ngx_queue_sentinel(&queue->consumers);
         q = ngx_queue_next(q))
    {
        consumer = ngx_queue_data(q, ngx_workflow_consumer_t, link);

        if (consumer->name.len == sub->task->service.len
            && ngx_memcmp(consumer->name.data, sub->task->service.data,
                          consumer->name.len)
               == 0
            && consumer->topic_namespace.len == ns->len
            && ngx_memcmp(consumer->topic_namespace.data, ns->data, ns->len)
               == 0)
        {
            return consumer->data;
        }
    }

    return NULL;
}


static void
ngx_workflow_subtask_accepted(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_int_t                outstanding;
    ngx_workflow_run_t      *run;
    ngx_workflow_subtask_t  *sub;

    sub = call->data;
    run = sub->run;

    sub->calling = 0;
    run->calls--;

    switch (ngx_workflow_accept_answer(reply, 0, &outstanding)) {

    case NGX_WORKFLOW_ACCEPTED:
    case NGX_WORKFLOW_KNOWN:
        ngx_workflow_subtask_done(sub);
        break;

    case NGX_WORKFLOW_ENDED:
        ngx_workflow_subtask_ended(sub,
                                   reply->element[NGX_WORKFLOW_ACCEPT_ANSWERS]);
        break;

    case NGX_WORKFLOW_UNKNOWN:
        sub->publish = 1;
        break;

    case NGX_WORKFLOW_FULL:
        ngx_workflow_subtask_failed(sub, "QueueFullError",
                                    "The service's queue is full.");
        break;

    case NGX_WORKFLOW_CONFLICT:
        ngx_workflow_subtask_failed(sub, "TaskConflictError",
                                    "Task is known with another input");
        break;

    default:
        ngx_workflow_subtask_failed(sub, "MessageQueueError",
                                    "Redis has not taken the task.");
    }

    ngx_workflow_run_turn(run);
}


/* A task of a Python service needs a session, one of its own. */

static ngx_workflow_call_t *
ngx_workflow_subtask_publish(ngx_workflow_subtask_t *sub)
{
    wf_buf_t                 text = WF_BUF_INIT;
    ngx_str_t                id, name, message;
    ngx_workflow_run_t      *run;
    ngx_workflow_call_t     *call;

    run = sub->run;

    ngx_workflow_compose_task(&text, sub->task);

    if (text.failed) {
        return NULL;
    }

    message.data = (u_char *) text.data;
    message.len = text.len;
    id.data = (u_char *) sub->task->id.data;
    id.len = sub->task->id.len;
    name.data = (u_char *) sub->task->service.data;
    name.len = sub->task->service.len;

    call = ngx_workflow_task_send(&run->service->consumer, &run->task.id, &id,
                                  &name, &message, NGX_WORKFLOW_KEEP_SENT,
                                  ngx_workflow_subtask_published, sub);

    wf_buf_free(&text);

    return call;
}


static void
ngx_workflow_subtask_published(ngx_workflow_call_t *call, redisReply *reply)
{
    char                    *fields, message[sizeof("Service  not found")
                                             + NGX_WORKFLOW_MAX_NAME];
    wf_buf_t                 b = WF_BUF_INIT;
    ngx_workflow_run_t      *run;
    ngx_workflow_subtask_t  *sub;

    sub = call->data;
    run = sub->run;

    sub->calling = 0;
    run->calls--;

    if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 0) {
        *ngx_sprintf((u_char *) message, "Service %*s not found",
                     sub->task->service.len, sub->task->service.data)
            = '\0';

        ngx_workflow_subtask_failed(sub, "ServiceNotFoundError", message);

    } else if (reply->type == REDIS_REPLY_STRING && reply->str[0] == '!'
               && (fields = memchr(reply->str, '\n', reply->len)) != NULL)
    {
        fields++;
        wf_buf_add(&b, fields, reply->str + reply->len - fields);
        ngx_workflow_subtask_give(sub, &b);

    } else {
        ngx_workflow_subtask_done(sub);
    }

    ngx_workflow_run_turn(run);
}


/* A run that begins anew, and its task has ended meanwhile. */

static void
ngx_workflow_subtask_ended(ngx_workflow_subtask_t *sub, redisReply *reply)
{
    wf_buf_t  fields = WF_BUF_INIT;

    if (reply->elements != 5) {
        ngx_workflow_subtask_done(sub);
        return;
    }

    wf_result_ended(&fields, sub->task->service, sub->task->id,
                    ngx_workflow_subtask_slice(reply->element[2]),
                    ngx_workflow_subtask_slice(reply->element[3]),
                    ngx_workflow_subtask_slice(reply->element[4]));

    ngx_workflow_subtask_give(sub, &fields);
}


static wf_slice_t
ngx_workflow_subtask_slice(redisReply *reply)
{
    wf_slice_t  s;

    s.data = reply->type == REDIS_REPLY_STRING ? reply->str : "";
    s.len = reply->type == REDIS_REPLY_STRING ? reply->len : 0;

    return s;
}


static void
ngx_workflow_subtask_failed(ngx_workflow_subtask_t *sub, const char *type,
    const char *message)
{
    wf_buf_t             fields = WF_BUF_INIT;
    ngx_workflow_run_t  *run;

    run = sub->run;

    ngx_log_error(NGX_LOG_WARN, run->service->log, 0,
                  "workflow_service \"%V\": task \"%V\": its task for \"%*s\" "
                  "was not sent: %s", &run->service->name, &run->task.id,
                  sub->task->service.len, sub->task->service.data, message);

    wf_result_failed(&fields, sub->task->service, sub->task->id, type,
                     message);

    ngx_workflow_subtask_give(sub, &fields);
}


/* Without memory the call is made again, and says the same. */

static void
ngx_workflow_subtask_give(ngx_workflow_subtask_t *sub, wf_buf_t *fields)
{
    int              rc;
    wf_slice_t       object;
    wf_json_error_t  error;

    object.data = fields->data;
    object.len = fields->len;

    rc = fields->failed ? -2 : wf_json_check(object, &object, &error);

    if (rc == -1) {

        /* somebody else has written to Redis */

        wf_buf_free(fields);
        wf_result_failed(fields, sub->task->service, sub->task->id,
                         "ResultError", "The task's result cannot be read.");

        object.data = fields->data;
        object.len = fields->len;

        rc = fields->failed ? -2 : 0;
    }

    if (rc == 0
        && wf_run_event(sub->run->engine, WF_TASK_RESULT_EVENT, object) == 0)
    {
        ngx_workflow_subtask_done(sub);

    } else {
        sub->run->again = 1;
    }

    wf_buf_free(fields);
}


static void
ngx_workflow_subtask_done(ngx_workflow_subtask_t *sub)
{
    ngx_workflow_run_t  *run;

    run = sub->run;

    wf_run_task_sent(run->engine, sub->task);

    run->nsubtasks--;
    ngx_queue_remove(&sub->link);
    ngx_free(sub);
}


/* The run's task was sent by another one, which is given the result; data as in
 * TaskResult. */

void
ngx_workflow_subtask_reply(ngx_workflow_run_t *run, wf_slice_t data,
    ngx_workflow_end_t *end, wf_buf_t *event)
{
    u_char      *p, *last;
    wf_slice_t   service, id;
    ngx_str_t   *reply;

    reply = &run->task.reply;
    last = reply->data + reply->len;
    p = ngx_strlchr(reply->data, last, '\n');

    if (p == NULL || p - reply->data > NGX_WORKFLOW_MAX_NAME) {
        return;
    }

    service.data = (char *) run->service->name.data;
    service.len = run->service->name.len;
    id.data = (char *) run->task.id.data;
    id.len = run->task.id.len;

    end->sender.data = reply->data;
    end->sender.len = p - reply->data;
    end->sender_id.data = p + 1;
    end->sender_id.len = last - p - 1;

    wf_buf_adds(event, "{");
    wf_buf_add(event, run->service->consumer.topic_namespace.data,
               run->service->consumer.topic_namespace.len);
    wf_buf_adds(event, ".");
    wf_buf_add(event, end->sender.data, end->sender.len);
    wf_buf_adds(event, "}:");
    end->sender_keys.len = event->len;

    wf_buf_adds(event, WF_TASK_RESULT_EVENT "\n");
    wf_result_fields(event, service, id, data);

    end->sender_keys.data = (u_char *) event->data;
    end->event.data = (u_char *) event->data + end->sender_keys.len;
    end->event.len = event->len - end->sender_keys.len;
}


/* A message for the control plane: may be a result that a task waits for. */

void
ngx_workflow_subtask_heard(ngx_workflow_consumer_t *consumer, u_char *data,
    size_t len)
{
    int                      rc;
    wf_buf_t                 id = WF_BUF_INIT;
    wf_buf_t                 fields = WF_BUF_INIT;
    ngx_str_t                task_id, text;
    wf_slice_t               message;
    ngx_workflow_service_t  *service;

    service = consumer->data;

    message.data = (char *) data;
    message.len = len;

    rc = wf_result_heard(message, &id, &fields);

    if (rc == 1) {
        task_id.data = (u_char *) id.data;
        task_id.len = id.len;
        text.data = (u_char *) fields.data;
        text.len = fields.len;

        if (ngx_workflow_task_result(consumer, &task_id, &text,
                                     service->result_ttl,
                                     ngx_workflow_subtask_noted, service)
            == NULL)
        {
            rc = -2;
        }
    }

    if (rc == -1) {
        ngx_log_error(NGX_LOG_WARN, service->log, 0,
                      "workflow_service \"%V\": a result on \"%V\" is not "
                      "readable", &service->name, &consumer->control);

    } else if (rc == -2) {
        ngx_log_error(NGX_LOG_CRIT, service->log, 0,
                      "workflow_service \"%V\": a result on \"%V\" was "
                      "dropped for want of memory", &service->name,
                      &consumer->control);
    }

    wf_buf_free(&id);
    wf_buf_free(&fields);
}


static void
ngx_workflow_subtask_noted(ngx_workflow_call_t *call, redisReply *reply)
{
    /* the script has told whom it concerns */
}
