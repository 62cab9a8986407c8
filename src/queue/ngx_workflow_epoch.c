/*
 * Whether tasks that a transaction is to end are as they were claimed.
 *
 * Redis has an epoch for each service.  Whoever takes a running task over from
 * its worker, or gives it an event, begins a new one; no epoch comes twice.  The
 * script that ends tasks tells the epoch: a task that was claimed after that is
 * as it was as long as the epoch is the same.
 *
 * Behind a transaction the epoch is watched for the next one, and looked at: if it
 * is the expected one, that is not executed once the epoch is touched.  Where
 * another service's has come between, or the answer is not there yet, the epoch is
 * watched before the transaction, and then looked at by guard.lua, which touches
 * one that is not the expected one.  All that is sent at once, and nothing is
 * waited for.  Tasks of a transaction that is not executed are ended by the
 * script.
 *
 * When the answer is lost the transaction may come late, over the connection
 * that is no more: the script begins a new epoch then, in which it is refused.
 */

#include "ngx_workflow_ends.h"


static void ngx_workflow_epoch_tried(ngx_workflow_command_t *command,
    redisReply *reply);
static void ngx_workflow_epoch_forbidden(ngx_workflow_queue_t *queue,
    redisReply *reply);
static void ngx_workflow_epoch_watched(ngx_workflow_command_t *command,
    redisReply *reply);
static void ngx_workflow_epoch_looked(ngx_workflow_command_t *command,
    redisReply *reply);


/*
 * Whoever may not make transactions must not send them: those commands that are
 * allowed would be executed one by one, or without the guard.  (So they are when
 * an access list changes, or Redis refuses nothing but the guard, while one is on
 * its way.)
 */

void
ngx_workflow_epoch_open(ngx_workflow_queue_t *queue)
{
    size_t                i;
    ngx_queue_t          *q;
    ngx_workflow_exec_t   exec;

    static const char  *commands[] = { "MULTI", "EXEC" };

    q = ngx_queue_head(&queue->consumers);

    ngx_memzero(&exec, sizeof(ngx_workflow_exec_t));

    exec.consumer = ngx_queue_data(q, ngx_workflow_consumer_t, link);

    queue->tried.handler = ngx_workflow_epoch_tried;
    queue->tried.data = queue;
    queue->trying = 4;

    queue->guarded.handler = ngx_workflow_epoch_guarded;
    queue->guarded.data = queue;

    queue->watch.handler = ngx_workflow_epoch_watched;
    queue->watch.data = queue;

    queue->look.handler = ngx_workflow_epoch_looked;
    queue->look.data = queue;

    ngx_workflow_exec_begin(&exec, 2, "WATCH");
    ngx_workflow_text_str(&exec.command, &exec.consumer->epoch.key);
    ngx_workflow_exec_end(&exec, &queue->tried);

    ngx_workflow_exec_begin(&exec, 3, "EVAL");
    ngx_workflow_text_arg(&exec.command, "return 0", 8);
    ngx_workflow_text_arg(&exec.command, "0", 1);
    ngx_workflow_exec_end(&exec, &queue->tried);

    for (i = 0; i < 2; i++) {
        ngx_workflow_exec_begin(&exec, 1, commands[i]);
        ngx_workflow_exec_end(&exec, &queue->tried);
    }

    wf_buf_free(&exec.command);

    if (exec.failed) {
        ngx_workflow_redis_drop(&queue->commands, "no memory");
    }
}


static void
ngx_workflow_epoch_tried(ngx_workflow_command_t *command, redisReply *reply)
{
    ngx_workflow_queue_t  *queue;

    queue = command->data;

    if (reply == NULL || queue->trying == 0) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_workflow_epoch_forbidden(queue, reply);
        return;
    }

    if (--queue->trying == 0) {
        queue->may_exec = 1;
    }
}


/* What Redis refuses for the time being is tried again. */

void
ngx_workflow_epoch_guarded(ngx_workflow_command_t *command, redisReply *reply)
{
    if (reply && reply->type == REDIS_REPLY_ERROR
        && ngx_strstr(reply->str, "NOPERM"))
    {
        ngx_workflow_epoch_forbidden(command->data, reply);
    }
}


static void
ngx_workflow_epoch_forbidden(ngx_workflow_queue_t *queue, redisReply *reply)
{
    queue->trying = 0;
    queue->may_exec = 0;

    ngx_log_error(NGX_LOG_INFO, queue->log, 0,
                  "redis %V: no transactions, tasks are ended by a script: %s",
                  &queue->redis.url, reply->str);
}


/* Who knows what a server remembers that comes instead. */

void
ngx_workflow_epoch_lost(ngx_workflow_queue_t *queue)
{
    ngx_queue_t              *q;
    ngx_workflow_consumer_t  *consumer;

    queue->trying = 0;
    queue->may_exec = 0;
    queue->watching = NULL;
    queue->watched = NULL;

    for (q = ngx_queue_head(&queue->consumers);
         q != ngx_queue_sentinel(&queue->consumers);
         q = ngx_queue_next(q))
    {
        consumer = ngx_queue_data(q, ngx_workflow_consumer_t, link);

        ngx_workflow_epoch_doubt(consumer);
    }
}


/* What was claimed before is for the script to look at. */

void
ngx_workflow_epoch_doubt(ngx_workflow_consumer_t *consumer)
{
    if (consumer->epoch.n) {
        consumer->epoch.n++;
        consumer->epoch.doubtful = 1;
    }
}


ngx_uint_t
ngx_workflow_epoch_asks(ngx_workflow_ends_t *ends)
{
    ngx_workflow_epoch_t  *epoch;

    epoch = &ends->consumer->epoch;

    return ends->again ? 2 : epoch->n == 0 || epoch->doubtful;
}


void
ngx_workflow_epoch_told(ngx_workflow_consumer_t *consumer, redisReply *reply)
{
    ngx_workflow_epoch_t  *epoch;

    epoch = &consumer->epoch;

    if (reply->type != REDIS_REPLY_STRING || reply->len == 0
        || reply->len > NGX_WORKFLOW_EPOCH_LEN)
    {
        return;
    }

    epoch->doubtful = 0;

    if (reply->len == epoch->value.len
        && ngx_memcmp(reply->str, epoch->value.data, reply->len) == 0)
    {
        return;
    }

    epoch->value.data = epoch->value_buf;
    epoch->value.len = reply->len;
    ngx_memcpy(epoch->value.data, reply->str, reply->len);

    epoch->n++;
}


ngx_uint_t
ngx_workflow_epoch_may(ngx_workflow_ends_t *ends)
{
    ngx_workflow_epoch_t  *epoch;

    epoch = &ends->consumer->epoch;

    return ends->epoch && ends->epoch == epoch->n && !epoch->doubtful
           && ends->consumer->queue->may_exec;
}


void
ngx_workflow_epoch_guard(ngx_workflow_exec_t *exec)
{
    wf_buf_t                *b;
    const char              *guard;
    ngx_workflow_epoch_t    *epoch;
    ngx_workflow_command_t  *guarded;

    b = &exec->command;
    epoch = &exec->consumer->epoch;
    guarded = &exec->consumer->queue->guarded;

    if (exec->consumer->queue->watched == exec->consumer) {
        return;
    }

    ngx_workflow_exec_begin(exec, 2, "WATCH");
    ngx_workflow_text_str(b, &epoch->key);
    ngx_workflow_exec_end(exec, guarded);

    /* not by its sum: where Redis had forgotten it, nobody would look */

    guard = ngx_workflow_script_text(NGX_WORKFLOW_SCRIPT_GUARD);

    ngx_workflow_exec_begin(exec, 5, "EVAL");
    ngx_workflow_text_arg(b, guard, ngx_strlen(guard));
    ngx_workflow_text_number(b, 1);
    ngx_workflow_text_str(b, &epoch->key);
    ngx_workflow_text_str(b, &epoch->value);
    ngx_workflow_exec_end(exec, guarded);
}


void
ngx_workflow_epoch_watch(ngx_workflow_exec_t *exec)
{
    wf_buf_t               *b;
    ngx_str_t              *key;
    ngx_workflow_queue_t   *queue;

    b = &exec->command;
    key = &exec->consumer->epoch.key;
    queue = exec->consumer->queue;

    queue->watched = NULL;
    queue->watching = exec->consumer;
    queue->looks++;

    ngx_workflow_exec_begin(exec, 2, "WATCH");
    ngx_workflow_text_str(b, key);
    ngx_workflow_exec_end(exec, &queue->watch);

    ngx_workflow_exec_begin(exec, 2, "GET");
    ngx_workflow_text_str(b, key);
    ngx_workflow_exec_end(exec, &queue->look);
}


static void
ngx_workflow_epoch_watched(ngx_workflow_command_t *command, redisReply *reply)
{
    ngx_workflow_queue_t  *queue;

    queue = command->data;

    if (reply && reply->type == REDIS_REPLY_ERROR) {
        queue->watching = NULL;
        ngx_workflow_epoch_guarded(&queue->guarded, reply);
    }
}


static void
ngx_workflow_epoch_looked(ngx_workflow_command_t *command, redisReply *reply)
{
    ngx_workflow_queue_t  *queue;
    ngx_workflow_epoch_t  *epoch;

    queue = command->data;

    /* a transaction behind it watches, or has watched, for itself */

    if (--queue->looks || reply == NULL || queue->watching == NULL) {
        return;
    }

    epoch = &queue->watching->epoch;

    if (reply->type == REDIS_REPLY_STRING && reply->len == epoch->value.len
        && ngx_memcmp(reply->str, epoch->value.data, reply->len) == 0)
    {
        queue->watched = queue->watching;
    }
}
