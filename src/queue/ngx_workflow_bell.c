/*
 * Bells: a service's bell is a list that gets a token, unless it has one, when
 * a task is put into its queue by a worker that does not claim it itself.  A
 * worker with free slots blocks on the bells of its services (BLPOP), so such a
 * task wakes one of them at once, and no other.  A token that is lost costs
 * nothing but time: services poll their queues as well.
 */

#include "ngx_workflow_queue.h"


#define NGX_WORKFLOW_BELL_BLOCK  5000


static void ngx_workflow_bell_ready(ngx_workflow_redis_t *redis);
static void ngx_workflow_bell_lost(ngx_workflow_redis_t *redis);
static void ngx_workflow_bell_identified(ngx_workflow_command_t *command,
    redisReply *reply);
static void ngx_workflow_bell_listen(ngx_event_t *ev);
static void ngx_workflow_bell_rung(ngx_workflow_command_t *command,
    redisReply *reply);
static void ngx_workflow_bell_pass_on(ngx_workflow_consumer_t *consumer);
static void ngx_workflow_bell_unblock(ngx_workflow_queue_t *queue);
static void ngx_workflow_bell_unblocked(ngx_workflow_command_t *command,
    redisReply *reply);
static ngx_uint_t ngx_workflow_bell_missing(ngx_workflow_queue_t *queue);
static void ngx_workflow_bell_passed(ngx_workflow_call_t *call,
    redisReply *reply);


void
ngx_workflow_bell_open(ngx_workflow_queue_t *queue)
{
    queue->ring.handler = ngx_workflow_bell_rung;
    queue->ring.data = queue;

    queue->identified.handler = ngx_workflow_bell_identified;
    queue->identified.data = queue;

    queue->unblocked.handler = ngx_workflow_bell_unblocked;
    queue->unblocked.data = queue;

    queue->listen.handler = ngx_workflow_bell_listen;
    queue->listen.data = queue;
    queue->listen.log = queue->log;

    queue->blocking.conf = &queue->redis;
    queue->blocking.purpose = "blocking reads";
    queue->blocking.log = queue->log;
    queue->blocking.ready = ngx_workflow_bell_ready;
    queue->blocking.lost = ngx_workflow_bell_lost;
    queue->blocking.data = queue;
    queue->blocking.block = NGX_WORKFLOW_BELL_BLOCK;

    ngx_workflow_redis_open(&queue->blocking);
}


void
ngx_workflow_bell_hungry(ngx_workflow_consumer_t *consumer, ngx_uint_t hungry)
{
    ngx_workflow_queue_t  *queue;

    if (consumer->hungry == hungry) {
        return;
    }

    consumer->hungry = hungry;

    if (!hungry) {
        return;
    }

    queue = consumer->queue;

    if (queue->ringing && !consumer->listening) {
        ngx_workflow_bell_unblock(queue);
    }

    ngx_post_event(&queue->listen, &ngx_posted_events);
}


static void
ngx_workflow_bell_ready(ngx_workflow_redis_t *redis)
{
    ngx_workflow_queue_t  *queue;

    static const char  command[] = "*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n";

    queue = redis->data;

    queue->client_id.len = 0;

    if (ngx_workflow_redis_send(redis, &queue->identified, command,
                                sizeof(command) - 1)
        != NGX_OK)
    {
        ngx_workflow_redis_drop(redis, "no memory");
    }
}


static void
ngx_workflow_bell_lost(ngx_workflow_redis_t *redis)
{
    ngx_workflow_queue_t  *queue;

    queue = redis->data;

    queue->ringing = 0;
}


static void
ngx_workflow_bell_identified(ngx_workflow_command_t *command,
    redisReply *reply)
{
    ngx_workflow_queue_t  *queue;

    queue = command->data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_INTEGER) {
        queue->client_id.data = queue->client_id_buf;
        queue->client_id.len = ngx_sprintf(queue->client_id_buf, "%L",
                                           (int64_t) reply->integer)
                               - queue->client_id_buf;
    }

    ngx_post_event(&queue->listen, &ngx_posted_events);
}


/* Block on the bells of all services that have a free slot. */

static void
ngx_workflow_bell_listen(ngx_event_t *ev)
{
    int                       len;
    char                     *text;
    ngx_int_t                 rc;
    ngx_uint_t                n;
    ngx_queue_t              *q;
    ngx_workflow_args_t       args;
    ngx_workflow_queue_t     *queue;
    ngx_workflow_consumer_t  *consumer;

    queue = ev->data;

    if (queue->ringing || queue->leaving || !queue->blocking.is_ready) {
        return;
    }

    ngx_workflow_args_init(&args);
    ngx_workflow_args_add(&args, "BLPOP", 5);

    n = 0;

    for (q = ngx_queue_head(&queue->consumers);
         q != ngx_queue_sentinel(&queue->consumers);
         q = ngx_queue_next(q))
    {
        consumer = ngx_queue_data(q, ngx_workflow_consumer_t, link);

        consumer->listening = consumer->hungry;

        if (consumer->hungry) {
            ngx_workflow_args_str(&args, &consumer->bell);
            n++;
        }
    }

    ngx_workflow_args_number(&args, NGX_WORKFLOW_BELL_BLOCK / 1000);

    if (n == 0 || args.failed) {
        ngx_workflow_args_free(&args);
        return;
    }

    len = redisFormatCommandArgv(&text, args.n, args.argv, args.len);
    ngx_workflow_args_free(&args);

    if (len < 0) {
        return;
    }

    rc = ngx_workflow_redis_send(&queue->blocking, &queue->ring, text, len);

    redisFreeCommand(text);

    queue->ringing = (rc == NGX_OK);
}


static void
ngx_workflow_bell_rung(ngx_workflow_command_t *command, redisReply *reply)
{
    ngx_str_t                 bell;
    ngx_queue_t              *q;
    ngx_workflow_queue_t     *queue;
    ngx_workflow_consumer_t  *consumer;

    queue = command->data;

    queue->ringing = 0;

    if (reply == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_workflow_redis_drop(&queue->blocking, reply->str);
        return;
    }

    queue->blocking.failures = 0;

    ngx_post_event(&queue->listen, &ngx_posted_events);

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || reply->element[0]->type != REDIS_REPLY_STRING)
    {
        /* nobody has rung in time */
        return;
    }

    bell.data = (u_char *) reply->element[0]->str;
    bell.len = reply->element[0]->len;

    for (q = ngx_queue_head(&queue->consumers);
         q != ngx_queue_sentinel(&queue->consumers);
         q = ngx_queue_next(q))
    {
        consumer = ngx_queue_data(q, ngx_workflow_consumer_t, link);

        if (consumer->bell.len != bell.len
            || ngx_memcmp(consumer->bell.data, bell.data, bell.len) != 0)
        {
            continue;
        }

        if (consumer->hungry) {
            consumer->rung(consumer);

        } else {
            ngx_workflow_bell_pass_on(consumer);
        }

        return;
    }
}


/* Its slots were taken meanwhile: wake another worker. */

static void
ngx_workflow_bell_pass_on(ngx_workflow_consumer_t *consumer)
{
    ngx_workflow_args_t  args;

    ngx_workflow_args_init(&args);
    ngx_workflow_args_add(&args, "RPUSH", 5);
    ngx_workflow_args_str(&args, &consumer->bell);
    ngx_workflow_args_add(&args, "1", 1);

    /* if it fails, the others' polls find the task */

    (void) ngx_workflow_call(consumer->queue, &args,
                             consumer->queue->redis.command_timeout,
                             ngx_workflow_bell_passed, NULL);
}


static void
ngx_workflow_bell_passed(ngx_workflow_call_t *call, redisReply *reply)
{
    if (reply && reply->type == REDIS_REPLY_ERROR) {
        ngx_log_error(NGX_LOG_ERR, call->queue->log, 0,
                      "redis %V: RPUSH failed: %s", &call->queue->redis.url,
                      reply->str);
    }
}


/* End the blocking read that is under way, so that it begins anew with the
 * bell of a service that it does not cover. */

static void
ngx_workflow_bell_unblock(ngx_workflow_queue_t *queue)
{
    int    len;
    char  *text;

    if (queue->unblocking || queue->client_id.len == 0
        || !queue->commands.is_ready)
    {
        return;
    }

    len = redisFormatCommand(&text, "CLIENT UNBLOCK %b", queue->client_id.data,
                             queue->client_id.len);
    if (len < 0) {
        return;
    }

    if (ngx_workflow_redis_send(&queue->commands, &queue->unblocked, text, len)
        == NGX_OK)
    {
        queue->unblocking = 1;
    }

    redisFreeCommand(text);
}


static void
ngx_workflow_bell_unblocked(ngx_workflow_command_t *command, redisReply *reply)
{
    ngx_workflow_queue_t  *queue;

    queue = command->data;

    queue->unblocking = 0;

    if (reply && reply->type == REDIS_REPLY_ERROR) {
        ngx_log_error(NGX_LOG_WARN, queue->log, 0,
                      "redis %V: CLIENT UNBLOCK failed: %s",
                      &queue->redis.url, reply->str);
        queue->client_id.len = 0;
        return;
    }

    /* it may have come before the read that it was to end, and services may
     * have become hungry since it was sent */

    if (reply && queue->ringing && ngx_workflow_bell_missing(queue)) {
        ngx_workflow_bell_unblock(queue);
    }
}


/* Whether the blocking read leaves out a service that has a free slot. */

static ngx_uint_t
ngx_workflow_bell_missing(ngx_workflow_queue_t *queue)
{
    ngx_queue_t              *q;
    ngx_workflow_consumer_t  *consumer;

    for (q = ngx_queue_head(&queue->consumers);
         q != ngx_queue_sentinel(&queue->consumers);
         q = ngx_queue_next(q))
    {
        consumer = ngx_queue_data(q, ngx_workflow_consumer_t, link);

        if (consumer->hungry && !consumer->listening) {
            return 1;
        }
    }

    return 0;
}
