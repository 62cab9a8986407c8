#include "ngx_workflow_task.h"


/* Milliseconds after which a worker that has not been seen is forgotten. */

#define NGX_WORKFLOW_FORGET_WORKER  (24 * 3600 * 1000)


/* The keys of one task.  Ids and names are bounded where they come in. */

typedef struct {
    ngx_str_t   task;
    ngx_str_t   events;
    ngx_str_t   saved;
    ngx_str_t   seen;
    u_char      buf[4 * (2 * NGX_WORKFLOW_MAX_NAME + sizeof("{.}:events:123:"))
                    + 5 * NGX_WORKFLOW_MAX_ID];
} ngx_workflow_keys_t;


static void ngx_workflow_keys(ngx_workflow_keys_t *keys,
    ngx_workflow_consumer_t *consumer, ngx_str_t *id);
static void ngx_workflow_keys_seen(ngx_workflow_keys_t *keys,
    ngx_workflow_consumer_t *consumer, ngx_str_t *id, ngx_str_t *message_id);
static void ngx_workflow_args_claims(ngx_workflow_args_t *args,
    ngx_workflow_consumer_t *consumer, ngx_workflow_submission_t *s);
static void ngx_workflow_args_fence(ngx_workflow_args_t *args,
    ngx_workflow_consumer_t *consumer, ngx_workflow_task_t *task);
static void ngx_workflow_args_streams(ngx_workflow_args_t *args,
    ngx_workflow_messages_t *messages);
static void ngx_workflow_args_messages(ngx_workflow_args_t *args,
    ngx_workflow_messages_t *messages);


static ngx_str_t  ngx_workflow_none = ngx_string("");
static ngx_str_t  ngx_workflow_next = ngx_string("-");


ngx_workflow_call_t *
ngx_workflow_task_event(ngx_workflow_consumer_t *consumer,
    ngx_workflow_submission_t *s, ngx_msec_t deadline,
    ngx_workflow_call_pt handler, void *data)
{
    ngx_workflow_args_t  args;
    ngx_workflow_keys_t  keys;

    ngx_workflow_keys(&keys, consumer, &s->task_id);
    ngx_workflow_keys_seen(&keys, consumer, &s->task_id, &s->message_id);

    ngx_workflow_args_script(&args, NGX_WORKFLOW_SCRIPT_EVENT, 9);
    ngx_workflow_args_str(&args, &consumer->stream);
    ngx_workflow_args_str(&args, &keys.task);
    ngx_workflow_args_str(&args, &keys.events);
    ngx_workflow_args_str(&args, &consumer->bell);
    ngx_workflow_args_str(&args, &consumer->timers);
    ngx_workflow_args_str(&args, &keys.seen);
    ngx_workflow_args_str(&args, &consumer->leases);
    ngx_workflow_args_str(&args, &keys.saved);
    ngx_workflow_args_str(&args, &consumer->epoch.key);

    ngx_workflow_args_str(&args, &s->task_id);
    ngx_workflow_args_str(&args, &s->input);
    ngx_workflow_args_number(&args, s->message_id.len ? s->remember : 0);
    ngx_workflow_args_number(&args, s->keep);
    ngx_workflow_args_number(&args, s->max_events);
    ngx_workflow_args_str(&args, &consumer->workers);
    ngx_workflow_args_str(&args, &consumer->name);
    ngx_workflow_args_claims(&args, consumer, s);

    return ngx_workflow_call(consumer->queue, &args, deadline, handler, data);
}


ngx_workflow_call_t *
ngx_workflow_task_refuse(ngx_workflow_consumer_t *consumer,
    ngx_workflow_submission_t *s, ngx_str_t *error, time_t ttl,
    ngx_workflow_messages_t *messages, ngx_workflow_call_pt handler,
    void *data)
{
    ngx_workflow_args_t  args;
    ngx_workflow_keys_t  keys;

    ngx_workflow_keys(&keys, consumer, &s->task_id);
    ngx_workflow_keys_seen(&keys, consumer, &ngx_workflow_none,
                           &s->message_id);

    ngx_workflow_args_script(&args, NGX_WORKFLOW_SCRIPT_REFUSE, 3);
    ngx_workflow_args_str(&args, &keys.task);
    ngx_workflow_args_str(&args, &keys.events);
    ngx_workflow_args_str(&args, &keys.seen);

    ngx_workflow_args_str(&args, &s->task_id);
    ngx_workflow_args_str(&args, &s->session);
    ngx_workflow_args_str(&args, error);
    ngx_workflow_args_number(&args, ttl);
    ngx_workflow_args_number(&args, s->message_id.len ? s->remember : 0);
    ngx_workflow_args_str(&args, &consumer->control);
    ngx_workflow_args_messages(&args, messages);

    return ngx_workflow_call(consumer->queue, &args, 0, handler, data);
}


ngx_workflow_call_t *
ngx_workflow_task_status(ngx_workflow_consumer_t *consumer,
    ngx_str_t *task_id, ngx_msec_t deadline, ngx_workflow_call_pt handler,
    void *data)
{
    ngx_workflow_args_t  args;
    ngx_workflow_keys_t  keys;

    ngx_workflow_keys(&keys, consumer, task_id);

    ngx_workflow_args_init(&args);
    ngx_workflow_args_add(&args, "GET", 3);
    ngx_workflow_args_str(&args, &keys.task);

    return ngx_workflow_call(consumer->queue, &args, deadline, handler, data);
}


ngx_workflow_call_t *
ngx_workflow_task_claim(ngx_workflow_consumer_t *consumer,
    ngx_workflow_claims_t *claims, ngx_uint_t again,
    ngx_workflow_call_pt handler, void *data)
{
    ngx_workflow_args_t  args;

    ngx_workflow_args_script(&args, NGX_WORKFLOW_SCRIPT_CLAIM, 5);
    ngx_workflow_args_str(&args, &consumer->stream);
    ngx_workflow_args_str(&args, &consumer->bell);
    ngx_workflow_args_str(&args, &consumer->timers);
    ngx_workflow_args_str(&args, &consumer->leases);
    ngx_workflow_args_str(&args, &consumer->epoch.key);

    ngx_workflow_args_str(&args, &consumer->prefix);
    ngx_workflow_args_str(&args, &consumer->queue->worker);
    ngx_workflow_args_number(&args, claims->n);
    ngx_workflow_args_number(&args, again);
    ngx_workflow_args_number(&args, claims->lease);
    ngx_workflow_args_number(&args, claims->attempts);
    ngx_workflow_args_number(&args, claims->sessions);

    return ngx_workflow_call(consumer->queue, &args, NGX_WORKFLOW_ONCE,
                             handler, data);
}


void
ngx_workflow_task_renew_init(ngx_workflow_consumer_t *consumer,
    ngx_workflow_args_t *args, ngx_msec_t lease)
{
    ngx_workflow_args_script(args, NGX_WORKFLOW_SCRIPT_RENEW, 1);
    ngx_workflow_args_str(args, &consumer->leases);

    ngx_workflow_args_str(args, &consumer->prefix);
    ngx_workflow_args_str(args, &consumer->queue->worker);
    ngx_workflow_args_number(args, lease);
}


void
ngx_workflow_task_renew_add(ngx_workflow_args_t *args,
    ngx_workflow_task_t *task)
{
    ngx_workflow_args_str(args, &task->id);
    ngx_workflow_args_str(args, &task->claim_text);
}


ngx_workflow_call_t *
ngx_workflow_task_workers(ngx_workflow_consumer_t *consumer,
    ngx_workflow_call_pt handler, void *data)
{
    ngx_workflow_args_t  args;

    ngx_workflow_args_script(&args, NGX_WORKFLOW_SCRIPT_WORKERS, 1);
    ngx_workflow_args_str(&args, &consumer->stream);

    ngx_workflow_args_str(&args, &consumer->queue->machine);
    ngx_workflow_args_number(&args, NGX_WORKFLOW_FORGET_WORKER);

    return ngx_workflow_call(consumer->queue, &args, NGX_WORKFLOW_ONCE,
                             handler, data);
}


ngx_workflow_call_t *
ngx_workflow_task_reap(ngx_workflow_consumer_t *consumer, ngx_str_t *worker,
    ngx_workflow_call_pt handler, void *data)
{
    ngx_workflow_args_t  args;

    ngx_workflow_args_script(&args, NGX_WORKFLOW_SCRIPT_REAP, 3);
    ngx_workflow_args_str(&args, &consumer->stream);
    ngx_workflow_args_str(&args, &consumer->leases);
    ngx_workflow_args_str(&args, &consumer->bell);

    ngx_workflow_args_str(&args, &consumer->prefix);
    ngx_workflow_args_str(&args, worker);

    return ngx_workflow_call(consumer->queue, &args, NGX_WORKFLOW_ONCE,
                             handler, data);
}


ngx_workflow_call_t *
ngx_workflow_task_cancel(ngx_workflow_consumer_t *consumer,
    ngx_str_t *task_id, ngx_msec_t deadline, ngx_workflow_call_pt handler,
    void *data)
{
    ngx_workflow_args_t  args;
    ngx_workflow_keys_t  keys;

    ngx_workflow_keys(&keys, consumer, task_id);

    ngx_workflow_args_script(&args, NGX_WORKFLOW_SCRIPT_CANCEL, 4);
    ngx_workflow_args_str(&args, &consumer->stream);
    ngx_workflow_args_str(&args, &keys.task);
    ngx_workflow_args_str(&args, &consumer->bell);
    ngx_workflow_args_str(&args, &consumer->timers);

    ngx_workflow_args_str(&args, task_id);
    ngx_workflow_args_str(&args, &consumer->workers);
    ngx_workflow_args_str(&args, &consumer->name);

    return ngx_workflow_call(consumer->queue, &args, deadline, handler, data);
}


ngx_workflow_call_t *
ngx_workflow_task_events(ngx_workflow_consumer_t *consumer,
    ngx_workflow_task_t *task, ngx_workflow_call_pt handler, void *data)
{
    ngx_workflow_args_t  args;
    ngx_workflow_keys_t  keys;

    ngx_workflow_keys(&keys, consumer, &task->id);

    ngx_workflow_args_init(&args);
    ngx_workflow_args_add(&args, "LRANGE", 6);
    ngx_workflow_args_str(&args, &keys.events);
    ngx_workflow_args_number(&args, task->taken);
    ngx_workflow_args_add(&args, "-1", 2);

    return ngx_workflow_call(consumer->queue, &args, 0, handler, data);
}


ngx_workflow_call_t *
ngx_workflow_task_emit(ngx_workflow_consumer_t *consumer,
    ngx_workflow_task_t *task, ngx_workflow_messages_t *messages,
    ngx_workflow_call_pt handler, void *data)
{
    ngx_workflow_args_t  args;
    ngx_workflow_keys_t  keys;

    ngx_workflow_keys(&keys, consumer, &task->id);

    ngx_workflow_args_script(&args, NGX_WORKFLOW_SCRIPT_EMIT, 1);
    ngx_workflow_args_str(&args, &keys.task);

    ngx_workflow_args_str(&args, &consumer->queue->worker);
    ngx_workflow_args_str(&args, &task->claim_text);
    ngx_workflow_args_str(&args, ngx_workflow_task_channel(consumer, task));
    ngx_workflow_args_streams(&args, messages);

    return ngx_workflow_call(consumer->queue, &args, 0, handler, data);
}


ngx_workflow_call_t *
ngx_workflow_task_park(ngx_workflow_consumer_t *consumer,
    ngx_workflow_task_t *task, ngx_str_t *saved, ngx_msec_t wait,
    ngx_workflow_messages_t *messages, ngx_workflow_call_pt handler,
    void *data)
{
    ngx_workflow_args_t  args;
    ngx_workflow_keys_t  keys;

    ngx_workflow_keys(&keys, consumer, &task->id);

    ngx_workflow_args_script(&args, NGX_WORKFLOW_SCRIPT_PARK, 6);
    ngx_workflow_args_str(&args, &consumer->stream);
    ngx_workflow_args_str(&args, &keys.task);
    ngx_workflow_args_str(&args, &keys.saved);
    ngx_workflow_args_str(&args, &keys.events);
    ngx_workflow_args_str(&args, &consumer->timers);
    ngx_workflow_args_str(&args, &consumer->leases);

    ngx_workflow_args_fence(&args, consumer, task);
    ngx_workflow_args_str(&args, &task->input);
    ngx_workflow_args_str(&args, saved);
    ngx_workflow_args_number(&args, task->taken);
    ngx_workflow_args_number(&args, wait);
    ngx_workflow_args_str(&args, ngx_workflow_task_channel(consumer, task));
    ngx_workflow_args_streams(&args, messages);

    return ngx_workflow_call(consumer->queue, &args, 0, handler, data);
}


ngx_workflow_call_t *
ngx_workflow_task_checkpoint(ngx_workflow_consumer_t *consumer,
    ngx_workflow_task_t *task, ngx_str_t *saved, ngx_uint_t leave,
    ngx_workflow_messages_t *messages, ngx_workflow_call_pt handler,
    void *data)
{
    ngx_workflow_args_t  args;
    ngx_workflow_keys_t  keys;

    task->changed = 1;

    ngx_workflow_keys(&keys, consumer, &task->id);

    ngx_workflow_args_script(&args, NGX_WORKFLOW_SCRIPT_CHECKPOINT, 4);
    ngx_workflow_args_str(&args, &keys.task);
    ngx_workflow_args_str(&args, &keys.saved);
    ngx_workflow_args_str(&args, &consumer->leases);
    ngx_workflow_args_str(&args, &consumer->bell);

    ngx_workflow_args_fence(&args, consumer, task);
    ngx_workflow_args_str(&args, saved);
    ngx_workflow_args_number(&args, leave);
    ngx_workflow_args_str(&args, ngx_workflow_task_channel(consumer, task));
    ngx_workflow_args_streams(&args, messages);

    return ngx_workflow_call(consumer->queue, &args, 0, handler, data);
}


ngx_workflow_call_t *
ngx_workflow_task_retry(ngx_workflow_consumer_t *consumer,
    ngx_workflow_task_t *task, ngx_str_t *error, ngx_msec_t delay,
    ngx_workflow_messages_t *messages, ngx_workflow_call_pt handler,
    void *data)
{
    ngx_workflow_args_t  args;
    ngx_workflow_keys_t  keys;

    ngx_workflow_keys(&keys, consumer, &task->id);

    ngx_workflow_args_script(&args, NGX_WORKFLOW_SCRIPT_RETRY, 5);
    ngx_workflow_args_str(&args, &consumer->stream);
    ngx_workflow_args_str(&args, &keys.task);
    ngx_workflow_args_str(&args, &consumer->timers);
    ngx_workflow_args_str(&args, &consumer->leases);
    ngx_workflow_args_str(&args, &consumer->bell);

    ngx_workflow_args_fence(&args, consumer, task);
    ngx_workflow_args_str(&args, &task->input);
    ngx_workflow_args_str(&args, error);
    ngx_workflow_args_number(&args, delay);
    ngx_workflow_args_str(&args, ngx_workflow_task_channel(consumer, task));
    ngx_workflow_args_streams(&args, messages);

    return ngx_workflow_call(consumer->queue, &args, 0, handler, data);
}


ngx_workflow_answer_e
ngx_workflow_task_answer(redisReply *reply, ngx_int_t *outstanding)
{
    ngx_uint_t  i;

    static const struct {
        const char             *text;
        ngx_workflow_answer_e   answer;
    } answers[] = {
        { "accepted", NGX_WORKFLOW_ACCEPTED },
        { "known", NGX_WORKFLOW_KNOWN },
        { "conflict", NGX_WORKFLOW_CONFLICT },
        { "full", NGX_WORKFLOW_FULL },
        { "crowded", NGX_WORKFLOW_CROWDED },
        { "kept", NGX_WORKFLOW_KEPT },
        { "unknown", NGX_WORKFLOW_UNKNOWN },
        { "ended", NGX_WORKFLOW_ENDED }
    };

    if (reply && reply->type == REDIS_REPLY_ARRAY && reply->elements >= 2) {

        if (reply->element[1]->type == REDIS_REPLY_INTEGER) {
            *outstanding = reply->element[1]->integer;
        }

        reply = reply->element[0];
    }

    if (reply == NULL || reply->type != REDIS_REPLY_STRING) {
        return NGX_WORKFLOW_UNAVAILABLE;
    }

    for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        if (ngx_strcmp(reply->str, answers[i].text) == 0) {
            return answers[i].answer;
        }
    }

    return NGX_WORKFLOW_UNAVAILABLE;
}


static void
ngx_workflow_keys(ngx_workflow_keys_t *keys, ngx_workflow_consumer_t *consumer,
    ngx_str_t *id)
{
    u_char  *p;

    p = keys->buf;

    keys->task.data = p;
    p = ngx_sprintf(p, "%Vtask:%V", &consumer->prefix, id);
    keys->task.len = p - keys->task.data;

    keys->events.data = p;
    p = ngx_sprintf(p, "%Vevents:%V", &consumer->prefix, id);
    keys->events.len = p - keys->events.data;

    keys->saved.data = p;
    p = ngx_sprintf(p, "%Vsaved:%V", &consumer->prefix, id);
    keys->saved.len = p - keys->saved.data;

    keys->seen.data = p;
}


static void
ngx_workflow_keys_seen(ngx_workflow_keys_t *keys,
    ngx_workflow_consumer_t *consumer, ngx_str_t *id, ngx_str_t *message_id)
{
    u_char  *p;

    /* the length: an id may have a colon in it */

    p = ngx_sprintf(keys->seen.data, "%Vseen:%uz:%V:%V", &consumer->prefix,
                    id->len, id, message_id);
    keys->seen.len = p - keys->seen.data;
}


static void
ngx_workflow_args_claims(ngx_workflow_args_t *args,
    ngx_workflow_consumer_t *consumer, ngx_workflow_submission_t *s)
{
    ngx_str_t  *worker;

    worker = s->claims == NGX_WORKFLOW_CLAIMS_NOW ? &consumer->queue->worker
             : s->claims == NGX_WORKFLOW_CLAIMS_NEXT ? &ngx_workflow_next
             : &ngx_workflow_none;

    ngx_workflow_args_str(args, worker);
    ngx_workflow_args_number(args, s->lease);
}


static void
ngx_workflow_args_fence(ngx_workflow_args_t *args,
    ngx_workflow_consumer_t *consumer, ngx_workflow_task_t *task)
{
    ngx_workflow_args_str(args, &task->id);
    ngx_workflow_args_str(args, &consumer->queue->worker);
    ngx_workflow_args_str(args, &task->claim_text);
}


/* The control plane does not know of tasks that other tasks have sent. */

ngx_str_t *
ngx_workflow_task_channel(ngx_workflow_consumer_t *consumer,
    ngx_workflow_task_t *task)
{
    return task->reply.len ? &consumer->subtasks : &consumer->control;
}


static void
ngx_workflow_args_streams(ngx_workflow_args_t *args,
    ngx_workflow_messages_t *messages)
{
    ngx_workflow_args_number(args, messages->first);
    ngx_workflow_args_messages(args, messages);

    ngx_workflow_args_add(args, "0", 1);
    args->streams = 1;
}


static void
ngx_workflow_args_messages(ngx_workflow_args_t *args,
    ngx_workflow_messages_t *messages)
{
    ngx_uint_t  i;

    for (i = 0; i < messages->n; i++) {
        ngx_workflow_args_str(args, &messages->elts[i]);
    }
}
