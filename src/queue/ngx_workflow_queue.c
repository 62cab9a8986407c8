#include "ngx_workflow_queue.h"


#define NGX_WORKFLOW_RETRY_DELAY  1000


static void ngx_workflow_queue_open(ngx_workflow_queue_t *queue,
    ngx_log_t *log);
static void ngx_workflow_queue_ready(ngx_workflow_redis_t *redis);
static void ngx_workflow_queue_lost(ngx_workflow_redis_t *redis);
static void ngx_workflow_queue_load(ngx_workflow_queue_t *queue);
static void ngx_workflow_queue_loaded(ngx_workflow_command_t *command,
    redisReply *reply);
static void ngx_workflow_queue_retry(ngx_event_t *ev);
static void ngx_workflow_queue_send(ngx_workflow_queue_t *queue);
static void ngx_workflow_call_reply(ngx_workflow_command_t *command,
    redisReply *reply);
static ngx_uint_t ngx_workflow_call_error(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_call_gap(ngx_workflow_call_t *call);
static void ngx_workflow_call_timeout(ngx_event_t *ev);
static void ngx_workflow_call_free(ngx_workflow_call_t *call);


ngx_int_t
ngx_workflow_queue_join(ngx_workflow_consumer_t *consumer, ngx_log_t *log)
{
    ngx_workflow_queue_t  *queue;

    if (ngx_workflow_subscribe_channel(consumer) != NGX_OK) {
        return NGX_ERROR;
    }

    queue = consumer->queue;

    ngx_queue_insert_tail(&queue->consumers, &consumer->link);

    if (!queue->is_open) {
        ngx_workflow_queue_open(queue, log);
        return NGX_OK;
    }

    ngx_workflow_subscribe_again(queue);

    if (queue->is_ready) {
        consumer->ready(consumer);
    }

    return NGX_OK;
}


static void
ngx_workflow_queue_open(ngx_workflow_queue_t *queue, ngx_log_t *log)
{
    queue->log = log;

    ngx_queue_init(&queue->calls);

    queue->loaded.handler = ngx_workflow_queue_loaded;
    queue->loaded.data = queue;

    queue->retry.handler = ngx_workflow_queue_retry;
    queue->retry.data = queue;
    queue->retry.log = log;
    queue->retry.cancelable = 1;

    queue->commands.conf = &queue->redis;
    queue->commands.purpose = "commands";
    queue->commands.log = log;
    queue->commands.ready = ngx_workflow_queue_ready;
    queue->commands.lost = ngx_workflow_queue_lost;
    queue->commands.data = queue;

    queue->is_open = 1;

    ngx_workflow_subscribe_open(queue);
    ngx_workflow_redis_open(&queue->commands);
    ngx_workflow_bell_open(queue);
}


void
ngx_workflow_queue_leave(ngx_workflow_queue_t *queue)
{
    if (queue->is_open && !queue->leaving) {
        queue->leaving = 1;

        ngx_workflow_redis_close(&queue->blocking);
    }
}


void
ngx_workflow_queue_deaf(ngx_workflow_queue_t *queue)
{
    if (queue->is_open) {
        queue->listens = 0;
        ngx_workflow_redis_close(&queue->subscriber);
    }
}


void
ngx_workflow_queue_close(ngx_workflow_queue_t *queue)
{
    ngx_queue_t              *q;
    ngx_workflow_call_t      *call;
    ngx_workflow_consumer_t  *consumer;

    if (!queue->is_open) {
        return;
    }

    ngx_workflow_queue_leave(queue);
    ngx_workflow_queue_deaf(queue);

    for (q = ngx_queue_head(&queue->consumers);
         q != ngx_queue_sentinel(&queue->consumers);
         q = ngx_queue_next(q))
    {
        consumer = ngx_queue_data(q, ngx_workflow_consumer_t, link);
        ngx_workflow_finish_flush(consumer);
    }

    ngx_workflow_redis_flush(&queue->commands);
    ngx_workflow_redis_close(&queue->commands);

    for (q = ngx_queue_head(&queue->consumers);
         q != ngx_queue_sentinel(&queue->consumers);
         q = ngx_queue_next(q))
    {
        consumer = ngx_queue_data(q, ngx_workflow_consumer_t, link);
        ngx_workflow_finish_close(consumer);
    }

    while (!ngx_queue_empty(&queue->calls)) {
        call = ngx_queue_data(ngx_queue_head(&queue->calls),
                              ngx_workflow_call_t, link);
        ngx_workflow_call_free(call);
    }

    if (queue->retry.timer_set) {
        ngx_del_timer(&queue->retry);
    }
}


static void
ngx_workflow_queue_ready(ngx_workflow_redis_t *redis)
{
    ngx_workflow_queue_load(redis->data);
}


static void
ngx_workflow_queue_lost(ngx_workflow_redis_t *redis)
{
    ngx_workflow_queue_t  *queue;

    queue = redis->data;

    queue->is_ready = 0;
    queue->loading = 0;

    ngx_workflow_epoch_lost(queue);

    queue->listening(queue);
}


static void
ngx_workflow_queue_load(ngx_workflow_queue_t *queue)
{
    int          len;
    char        *text;
    ngx_int_t    rc;
    ngx_uint_t   i;

    queue->is_ready = 0;

    ngx_workflow_epoch_lost(queue);

    for (i = 0; i < NGX_WORKFLOW_SCRIPT_LAST; i++) {

        len = redisFormatCommand(&text, "SCRIPT LOAD %s",
                                 ngx_workflow_script_text(i));
        if (len < 0) {
            ngx_workflow_redis_drop(&queue->commands, "no memory");
            return;
        }

        rc = ngx_workflow_redis_send(&queue->commands, &queue->loaded, text,
                                     len);

        redisFreeCommand(text);

        if (rc != NGX_OK) {
            ngx_workflow_redis_drop(&queue->commands, "no memory");
            return;
        }

        queue->loading++;
    }
}


static void
ngx_workflow_queue_loaded(ngx_workflow_command_t *command, redisReply *reply)
{
    ngx_queue_t              *q;
    ngx_workflow_queue_t     *queue;
    ngx_workflow_consumer_t  *consumer;

    queue = command->data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_log_error(NGX_LOG_ERR, queue->log, 0,
                      "redis %V: SCRIPT LOAD failed: %s", &queue->redis.url,
                      reply->str);
        ngx_workflow_redis_drop(&queue->commands, "scripts were not loaded");
        return;
    }

    if (queue->loading == 0 || --queue->loading) {
        return;
    }

    queue->is_ready = 1;
    queue->listening(queue);

    ngx_workflow_epoch_open(queue);
    ngx_workflow_queue_send(queue);

    for (q = ngx_queue_head(&queue->consumers);
         q != ngx_queue_sentinel(&queue->consumers);
         q = ngx_queue_next(q))
    {
        consumer = ngx_queue_data(q, ngx_workflow_consumer_t, link);
        consumer->ready(consumer);
    }
}


static void
ngx_workflow_queue_retry(ngx_event_t *ev)
{
    ngx_workflow_queue_send(ev->data);
}


static void
ngx_workflow_queue_send(ngx_workflow_queue_t *queue)
{
    ngx_queue_t          *q, *next;
    ngx_workflow_call_t  *call;

    if (!queue->is_ready) {
        return;
    }

    for (q = ngx_queue_head(&queue->calls);
         q != ngx_queue_sentinel(&queue->calls);
         q = next)
    {
        next = ngx_queue_next(q);
        call = ngx_queue_data(q, ngx_workflow_call_t, link);

        if (call->sent) {
            continue;
        }

        if (call->handler == NULL) {
            ngx_workflow_call_free(call);
            continue;
        }

        if (ngx_workflow_redis_send(&queue->commands, &call->command,
                                    call->text, call->len)
            != NGX_OK)
        {
            ngx_add_timer(&queue->retry, NGX_WORKFLOW_RETRY_DELAY);
            return;
        }

        call->sent = 1;
        call->sent_at = ngx_current_msec;
    }
}


ngx_workflow_call_t *
ngx_workflow_call(ngx_workflow_queue_t *queue, ngx_workflow_args_t *args,
    ngx_msec_t deadline, ngx_workflow_call_pt handler, void *data)
{
    int                   len;
    char                 *text;
    ngx_workflow_call_t  *call;

    if (args->failed) {
        ngx_workflow_args_free(args);
        return NULL;
    }

    len = redisFormatCommandArgv(&text, args->n, args->argv, args->len);
    ngx_workflow_args_free(args);

    if (len < 0) {
        return NULL;
    }

    call = ngx_workflow_call_text(queue, text, len, deadline, handler, data);

    if (call == NULL) {
        redisFreeCommand(text);
        return NULL;
    }

    call->streams = args->streams;

    return call;
}


ngx_workflow_call_t *
ngx_workflow_call_text(ngx_workflow_queue_t *queue, char *text, size_t len,
    ngx_msec_t deadline, ngx_workflow_call_pt handler, void *data)
{
    ngx_workflow_call_t  *call;

    /* who cannot wait long is refused at once when Redis is away; for a new
     * worker's first connection he waits */

    if (!queue->is_open
        || (deadline && !queue->is_ready
            && (deadline == NGX_WORKFLOW_ONCE || queue->commands.failures)))
    {
        return NULL;
    }

    call = ngx_calloc(sizeof(ngx_workflow_call_t), queue->log);
    if (call == NULL) {
        return NULL;
    }

    call->text = text;
    call->len = len;
    call->command.handler = ngx_workflow_call_reply;
    call->command.data = call;
    call->queue = queue;
    call->handler = handler;
    call->data = data;

    ngx_queue_insert_tail(&queue->calls, &call->link);

    ngx_workflow_hold();

    if (deadline == NGX_WORKFLOW_ONCE) {
        call->once = 1;

    } else if (deadline) {
        call->timer.handler = ngx_workflow_call_timeout;
        call->timer.data = call;
        call->timer.log = queue->log;
        call->timer.cancelable = 1;

        ngx_add_timer(&call->timer, deadline);
    }

    if (queue->is_ready) {

        if (ngx_workflow_redis_send(&queue->commands, &call->command,
                                    call->text, call->len)
            == NGX_OK)
        {
            call->sent = 1;
            call->sent_at = ngx_current_msec;

        } else {
            ngx_add_timer(&queue->retry, NGX_WORKFLOW_RETRY_DELAY);
        }
    }

    return call;
}


void
ngx_workflow_call_forget(ngx_workflow_call_t *call)
{
    if (call->handler) {
        call->handler = NULL;
        ngx_workflow_release();
    }

    if (call->timer.timer_set) {
        ngx_del_timer(&call->timer);
    }
}


static void
ngx_workflow_call_reply(ngx_workflow_command_t *command, redisReply *reply)
{
    ngx_workflow_call_t   *call;
    ngx_workflow_call_pt   handler;

    call = command->data;

    if (reply == NULL && !call->once) {

        /* keeps its place in the list, and is sent again from there */

        call->sent = 0;
        call->again = 1;
        return;
    }

    if (reply && reply->type == REDIS_REPLY_ERROR
        && ngx_workflow_call_error(call, reply))
    {
        return;
    }

    if (call->once && reply && reply->type != REDIS_REPLY_ERROR) {

        /* a claim writes, which not every server that answers lets us do */

        call->queue->commands.failures = 0;
    }

    if (call->timer.timer_set) {
        ngx_del_timer(&call->timer);
    }

    ngx_queue_remove(&call->link);
    ngx_queue_init(&call->link);

    handler = call->handler;

    if (handler) {
        handler(call, reply);
    }

    ngx_workflow_call_free(call);
}


/* Whether the call is to be sent again. */

static ngx_uint_t
ngx_workflow_call_error(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_workflow_queue_t  *queue;

    queue = call->queue;
    call->gap = 0;

    if (ngx_strncmp(reply->str, "NOSCRIPT", 8) == 0) {
        call->sent = 0;

        if (queue->is_ready) {
            ngx_log_error(NGX_LOG_WARN, queue->log, 0,
                          "redis %V has forgotten the scripts, loading them "
                          "again", &queue->redis.url);

            ngx_workflow_queue_load(queue);
        }

        return 1;
    }

    ngx_log_error(NGX_LOG_ERR, queue->log, 0, "redis %V: %s",
                  &queue->redis.url, reply->str);

    if (ngx_strncmp(reply->str, "READONLY", 8) == 0
        || ngx_strncmp(reply->str, "LOADING", 7) == 0
        || ngx_strncmp(reply->str, "MASTERDOWN", 10) == 0
        || ngx_strncmp(reply->str, "NOAUTH", 6) == 0)
    {
        /* another server may answer, or the same in another role */

        call->sent = 0;
        ngx_workflow_redis_drop(&queue->commands, reply->str);
        return 1;
    }

    if (call->handler == NULL || call->timer.handler || call->once) {
        return 0;
    }

    call->sent = 0;
    call->again = 1;

    if (call->streams && ngx_strncmp(reply->str, "GAP", 3) == 0) {
        ngx_workflow_call_gap(call);
    }

    if (!queue->retry.timer_set) {
        ngx_add_timer(&queue->retry, NGX_WORKFLOW_RETRY_DELAY);
    }

    return 1;
}


/*
 * What a call streams comes behind what others have before it.  They are before
 * it in the list, too, until they are answered: when there is none any more,
 * another server had answered, which this one does not know of.
 */

static void
ngx_workflow_call_gap(ngx_workflow_call_t *call)
{
    ngx_queue_t          *q;
    ngx_workflow_call_t  *before;

    call->gap = 1;

    for (q = ngx_queue_prev(&call->link);
         q != ngx_queue_sentinel(&call->queue->calls);
         q = ngx_queue_prev(q))
    {
        before = ngx_queue_data(q, ngx_workflow_call_t, link);

        if (before->streams && !before->gap) {
            return;
        }
    }

    /* "...$1\r\n0\r\n" */

    call->text[call->len - 3] = '1';
}


static void
ngx_workflow_call_timeout(ngx_event_t *ev)
{
    ngx_workflow_call_t   *call;
    ngx_workflow_call_pt   handler;

    call = ev->data;

    handler = call->handler;
    ngx_workflow_call_forget(call);

    if (handler) {
        handler(call, NULL);
    }

    if (!call->sent) {
        ngx_workflow_call_free(call);
    }
}


static void
ngx_workflow_call_free(ngx_workflow_call_t *call)
{
    ngx_queue_remove(&call->link);

    ngx_workflow_call_forget(call);

    redisFreeCommand(call->text);
    ngx_free(call);
}
