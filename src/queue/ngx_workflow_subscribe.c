/*
 * Pub/Sub: the topics of the services, on which control planes send, and a
 * channel of the worker's own in each namespace, on which scripts tell that
 * something has happened to a task that it runs ("event <service> <task_id>",
 * or "cancel"); and that of the control plane, for results of services that are
 * none of ours.
 */

#include "ngx_workflow_queue.h"


static void ngx_workflow_subscribe_ready(ngx_workflow_redis_t *redis);
static void ngx_workflow_subscribe_lost(ngx_workflow_redis_t *redis);
static void ngx_workflow_subscribe_message(ngx_workflow_redis_t *redis,
    redisReply *reply);
static ngx_uint_t ngx_workflow_subscribe_is(ngx_str_t *channel,
    redisReply *reply);
static void ngx_workflow_subscribe_add(ngx_workflow_args_t *args,
    ngx_str_t *channel);
static void ngx_workflow_subscribe_notify(ngx_workflow_queue_t *queue,
    u_char *data, size_t len);
static void ngx_workflow_subscribe_counted(ngx_workflow_call_t *call,
    redisReply *reply);


ngx_int_t
ngx_workflow_subscribe_channel(ngx_workflow_consumer_t *consumer)
{
    u_char                *p;
    ngx_workflow_queue_t  *queue;

    queue = consumer->queue;

    p = ngx_pnalloc(ngx_cycle->pool, consumer->workers.len
                                     + queue->worker.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    consumer->channel.data = p;
    consumer->channel.len = ngx_sprintf(p, "%V%V", &consumer->workers,
                                        &queue->worker)
                            - p;

    return NGX_OK;
}


void
ngx_workflow_subscribe_open(ngx_workflow_queue_t *queue)
{
    queue->subscriber.conf = &queue->redis;
    queue->subscriber.purpose = "Pub/Sub";
    queue->subscriber.log = queue->log;
    queue->subscriber.ready = ngx_workflow_subscribe_ready;
    queue->subscriber.lost = ngx_workflow_subscribe_lost;
    queue->subscriber.message = ngx_workflow_subscribe_message;
    queue->subscriber.data = queue;

    ngx_workflow_redis_open(&queue->subscriber);
}


/* To all channels: what is subscribed to stays so, and is counted again.  The
 * worker listens when Redis has counted the new ones. */

void
ngx_workflow_subscribe_again(ngx_workflow_queue_t *queue)
{
    queue->listens = 0;

    if (queue->subscriber.is_ready) {
        ngx_workflow_subscribe_ready(&queue->subscriber);
    }
}


static void
ngx_workflow_subscribe_ready(ngx_workflow_redis_t *redis)
{
    ngx_int_t                 rc;
    ngx_queue_t              *q;
    ngx_workflow_args_t       args;
    ngx_workflow_queue_t     *queue;
    ngx_workflow_consumer_t  *consumer;

    queue = redis->data;

    /* nothing is sent on this connection that would show that its peer has
     * vanished */

    if (queue->redis.path.len == 0) {
        (void) redisEnableKeepAlive(&redis->context->c);
    }

    ngx_workflow_args_init(&args);
    ngx_workflow_args_add(&args, "SUBSCRIBE", 9);

    for (q = ngx_queue_head(&queue->consumers);
         q != ngx_queue_sentinel(&queue->consumers);
         q = ngx_queue_next(q))
    {
        consumer = ngx_queue_data(q, ngx_workflow_consumer_t, link);

        ngx_workflow_subscribe_add(&args, &consumer->channel);

        if (consumer->message) {
            ngx_workflow_subscribe_add(&args, &consumer->topic);
        }

        if (consumer->heard) {
            ngx_workflow_subscribe_add(&args, &consumer->control);
        }
    }

    queue->channels = args.n - 1;

    rc = args.failed ? NGX_ERROR
                     : ngx_workflow_redis_subscribe(redis, args.n, args.argv,
                                                    args.len);
    ngx_workflow_args_free(&args);

    if (rc != NGX_OK) {
        ngx_workflow_redis_drop(redis, "SUBSCRIBE failed");
    }
}


static void
ngx_workflow_subscribe_lost(ngx_workflow_redis_t *redis)
{
    ngx_workflow_queue_t  *queue;

    queue = redis->data;

    queue->listens = 0;
    queue->listening(queue);

    ngx_log_error(NGX_LOG_WARN, redis->log, 0,
                  "redis %V: messages that are published until the "
                  "connection is back do not reach this worker",
                  &redis->conf->url);
}


static void
ngx_workflow_subscribe_message(ngx_workflow_redis_t *redis, redisReply *reply)
{
    redisReply               *channel, *payload;
    ngx_queue_t              *q;
    ngx_workflow_queue_t     *queue;
    ngx_workflow_consumer_t  *consumer;

    queue = redis->data;

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_workflow_redis_drop(redis, reply->str);
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3
        || reply->element[0]->type != REDIS_REPLY_STRING)
    {
        return;
    }

    if (ngx_strcmp(reply->element[0]->str, "message") != 0) {

        /* the answers to SUBSCRIBE, one for each channel */

        if (reply->element[2]->type == REDIS_REPLY_INTEGER
            && (ngx_uint_t) reply->element[2]->integer == queue->channels)
        {
            queue->listens = 1;
            queue->listening(queue);
        }

        return;
    }

    channel = reply->element[1];
    payload = reply->element[2];

    if (channel->type != REDIS_REPLY_STRING
        || payload->type != REDIS_REPLY_STRING)
    {
        return;
    }

    for (q = ngx_queue_head(&queue->consumers);
         q != ngx_queue_sentinel(&queue->consumers);
         q = ngx_queue_next(q))
    {
        consumer = ngx_queue_data(q, ngx_workflow_consumer_t, link);

        if (consumer->message
            && ngx_workflow_subscribe_is(&consumer->topic, channel))
        {
            consumer->message(consumer, (u_char *) payload->str, payload->len);
            return;
        }

        /* what the control plane is told is for all that listen to it */

        if (consumer->heard
            && ngx_workflow_subscribe_is(&consumer->control, channel))
        {
            consumer->heard(consumer, (u_char *) payload->str, payload->len);
        }

        if (ngx_workflow_subscribe_is(&consumer->channel, channel)) {
            ngx_workflow_subscribe_notify(queue, (u_char *) payload->str,
                                          payload->len);
            return;
        }
    }
}


static ngx_uint_t
ngx_workflow_subscribe_is(ngx_str_t *channel, redisReply *reply)
{
    return channel->len == reply->len
           && ngx_memcmp(channel->data, reply->str, reply->len) == 0;
}


/* Services of one namespace share channels, and Redis counts those of a name
 * once. */

static void
ngx_workflow_subscribe_add(ngx_workflow_args_t *args, ngx_str_t *channel)
{
    ngx_uint_t  i;

    for (i = 1; i < args->n; i++) {
        if (args->len[i] == channel->len
            && ngx_memcmp(args->argv[i], channel->data, channel->len) == 0)
        {
            return;
        }
    }

    ngx_workflow_args_str(args, channel);
}


static void
ngx_workflow_subscribe_notify(ngx_workflow_queue_t *queue, u_char *data,
    size_t len)
{
    u_char                   *last, *name, *id;
    ngx_str_t                 task_id;
    ngx_uint_t                cancel;
    ngx_queue_t              *q;
    ngx_workflow_consumer_t  *consumer;

    last = data + len;

    name = ngx_strlchr(data, last, ' ');
    id = name ? ngx_strlchr(name + 1, last, ' ') : NULL;

    if (id == NULL) {
        return;
    }

    cancel = (name - data == 6 && ngx_strncmp(data, "cancel", 6) == 0);

    name++;

    task_id.data = id + 1;
    task_id.len = last - task_id.data;

    for (q = ngx_queue_head(&queue->consumers);
         q != ngx_queue_sentinel(&queue->consumers);
         q = ngx_queue_next(q))
    {
        consumer = ngx_queue_data(q, ngx_workflow_consumer_t, link);

        if (consumer->name.len == (size_t) (id - name)
            && ngx_memcmp(consumer->name.data, name, id - name) == 0)
        {
            consumer->notify(consumer, &task_id, cancel);
            return;
        }
    }
}


ngx_int_t
ngx_workflow_subscribe_others(ngx_workflow_queue_t *queue, ngx_uint_t ours)
{
    ngx_workflow_args_t       args;
    ngx_workflow_consumer_t  *consumer;

    if (queue->others) {
        return NGX_OK;
    }

    if (queue->counting) {
        return NGX_AGAIN;
    }

    consumer = ngx_queue_data(ngx_queue_head(&queue->consumers),
                              ngx_workflow_consumer_t, link);

    ngx_workflow_args_init(&args);
    ngx_workflow_args_add(&args, "PUBSUB", 6);
    ngx_workflow_args_add(&args, "NUMSUB", 6);
    ngx_workflow_args_str(&args, &consumer->topic);

    queue->ours = ours;

    if (ngx_workflow_call(queue, &args, NGX_WORKFLOW_ONCE,
                          ngx_workflow_subscribe_counted, queue))
    {
        queue->counting = 1;
    }

    return NGX_AGAIN;
}


static void
ngx_workflow_subscribe_counted(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_workflow_queue_t  *queue;

    queue = call->data;

    queue->counting = 0;

    if (reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2
        && reply->element[1]->type == REDIS_REPLY_INTEGER
        && (ngx_uint_t) reply->element[1]->integer > queue->ours)
    {
        queue->others = 1;
    }
}
