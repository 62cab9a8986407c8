/*
 * Tasks that end by a transaction.  It does what the script does for those that
 * are as they were claimed, for less than half of the time: what is published
 * and kept does not go through Lua.
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


/* An argument: as it is sent, and what it says. */

typedef struct {
    wf_slice_t                sent;
    wf_slice_t                text;
} ngx_workflow_exec_arg_t;


/* What is being sent. */

typedef struct {
    ngx_workflow_consumer_t  *consumer;
    const char               *next;        /* argument of the script's */
    wf_buf_t                  command;
    wf_buf_t                  ids;
    wf_buf_t                  entries;
    wf_buf_t                  gone;        /* keys that go with their tasks */
    ngx_uint_t                ngone;
    ngx_uint_t                ncommands;   /* between MULTI and EXEC */
    ngx_uint_t                failed;
} ngx_workflow_exec_t;


static void ngx_workflow_exec_tried(ngx_workflow_command_t *command,
    redisReply *reply);
static void ngx_workflow_exec_guarded(ngx_workflow_command_t *command,
    redisReply *reply);
static void ngx_workflow_exec_forbidden(ngx_workflow_queue_t *queue,
    redisReply *reply);
static void ngx_workflow_exec_guard(ngx_workflow_exec_t *exec);
static void ngx_workflow_exec_watch(ngx_workflow_exec_t *exec);
static void ngx_workflow_exec_watched(ngx_workflow_command_t *command,
    redisReply *reply);
static void ngx_workflow_exec_looked(ngx_workflow_command_t *command,
    redisReply *reply);
static void ngx_workflow_exec_task(ngx_workflow_exec_t *exec,
    ngx_uint_t messages, time_t ttl);
static void ngx_workflow_exec_forget(ngx_workflow_exec_t *exec,
    const char *name, wf_slice_t id);
static void ngx_workflow_exec_key(wf_buf_t *b,
    ngx_workflow_consumer_t *consumer, const char *name, wf_slice_t id);
static void ngx_workflow_exec_all(ngx_workflow_exec_t *exec, ngx_uint_t n);
static ngx_workflow_exec_arg_t ngx_workflow_exec_arg(
    ngx_workflow_exec_t *exec);
static void ngx_workflow_exec_begin(ngx_workflow_exec_t *exec,
    ngx_uint_t nargs, const char *name);
static void ngx_workflow_exec_end(ngx_workflow_exec_t *exec,
    ngx_workflow_command_t *command);
static void ngx_workflow_exec_queued(ngx_workflow_command_t *command,
    redisReply *reply);
static void ngx_workflow_exec_replied(ngx_workflow_command_t *command,
    redisReply *reply);


static ngx_workflow_command_t  ngx_workflow_exec_command = {
    ngx_workflow_exec_queued, NULL
};


/*
 * Whoever may not make transactions must not send them: those commands that are
 * allowed would be executed one by one, or without the guard.  (So they are when
 * an access list changes, or Redis refuses nothing but the guard, while one is on
 * its way.)
 */

void
ngx_workflow_exec_open(ngx_workflow_queue_t *queue)
{
    size_t                i;
    ngx_queue_t          *q;
    ngx_workflow_exec_t   exec;

    static const char  *commands[] = { "MULTI", "EXEC" };

    q = ngx_queue_head(&queue->consumers);

    ngx_memzero(&exec, sizeof(ngx_workflow_exec_t));

    exec.consumer = ngx_queue_data(q, ngx_workflow_consumer_t, link);

    queue->tried.handler = ngx_workflow_exec_tried;
    queue->tried.data = queue;
    queue->trying = 4;

    queue->guarded.handler = ngx_workflow_exec_guarded;
    queue->guarded.data = queue;

    queue->watch.handler = ngx_workflow_exec_watched;
    queue->watch.data = queue;

    queue->look.handler = ngx_workflow_exec_looked;
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
ngx_workflow_exec_tried(ngx_workflow_command_t *command, redisReply *reply)
{
    ngx_workflow_queue_t  *queue;

    queue = command->data;

    if (reply == NULL || queue->trying == 0) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_workflow_exec_forbidden(queue, reply);
        return;
    }

    if (--queue->trying == 0) {
        queue->may_exec = 1;
    }
}


/* What Redis refuses for the time being is tried again. */

static void
ngx_workflow_exec_guarded(ngx_workflow_command_t *command, redisReply *reply)
{
    if (reply && reply->type == REDIS_REPLY_ERROR
        && ngx_strstr(reply->str, "NOPERM"))
    {
        ngx_workflow_exec_forbidden(command->data, reply);
    }
}


static void
ngx_workflow_exec_forbidden(ngx_workflow_queue_t *queue, redisReply *reply)
{
    queue->trying = 0;
    queue->may_exec = 0;

    ngx_log_error(NGX_LOG_INFO, queue->log, 0,
                  "redis %V: no transactions, tasks are ended by a script: %s",
                  &queue->redis.url, reply->str);
}


/* Who knows what a server remembers that comes instead. */

void
ngx_workflow_exec_lost(ngx_workflow_queue_t *queue)
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

        ngx_workflow_exec_doubt(consumer);
    }
}


/* What was claimed before is for the script to look at. */

void
ngx_workflow_exec_doubt(ngx_workflow_consumer_t *consumer)
{
    if (consumer->epoch.n) {
        consumer->epoch.n++;
        consumer->epoch.doubtful = 1;
    }
}


ngx_uint_t
ngx_workflow_exec_asks(ngx_workflow_ends_t *ends)
{
    ngx_workflow_epoch_t  *epoch;

    epoch = &ends->consumer->epoch;

    return ends->again ? 2 : epoch->n == 0 || epoch->doubtful;
}


void
ngx_workflow_exec_epoch(ngx_workflow_consumer_t *consumer, redisReply *reply)
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
ngx_workflow_exec_may(ngx_workflow_ends_t *ends)
{
    ngx_workflow_epoch_t  *epoch;

    epoch = &ends->consumer->epoch;

    return ends->epoch && ends->epoch == epoch->n && !epoch->doubtful
           && ends->consumer->queue->may_exec;
}


ngx_int_t
ngx_workflow_exec_send(ngx_workflow_ends_t *ends)
{
    ngx_uint_t             i;
    ngx_workflow_exec_t    exec;
    ngx_workflow_queue_t  *queue;

    queue = ends->consumer->queue;

    ngx_memzero(&exec, sizeof(ngx_workflow_exec_t));

    exec.consumer = ends->consumer;
    exec.next = ends->text.data;

    if (queue->watched != ends->consumer) {
        ngx_workflow_exec_guard(&exec);
    }

    ngx_workflow_exec_begin(&exec, 1, "MULTI");
    ngx_workflow_exec_end(&exec, &queue->guarded);

    for (i = 0; i < ends->n; i++) {
        ngx_workflow_exec_task(&exec, ends->messages[i], ends->ttl);
    }

    ngx_workflow_exec_all(&exec, ends->n);

    ends->command.handler = ngx_workflow_exec_replied;
    ends->command.data = ends;

    ngx_workflow_exec_begin(&exec, 1, "EXEC");
    ngx_workflow_exec_end(&exec, &ends->command);

    wf_buf_free(&exec.ids);
    wf_buf_free(&exec.entries);
    wf_buf_free(&exec.gone);

    if (!exec.failed) {
        ends->ncommands = exec.ncommands;
        ends->sent = 1;
        ends->consumer->nsent++;

        ngx_workflow_exec_watch(&exec);
    }

    wf_buf_free(&exec.command);

    if (exec.failed) {
        ngx_workflow_redis_drop(&queue->commands, "no memory");
    }

    return ends->sent ? NGX_OK : NGX_ERROR;
}


static void
ngx_workflow_exec_guard(ngx_workflow_exec_t *exec)
{
    wf_buf_t                *b;
    const char              *guard;
    ngx_workflow_epoch_t    *epoch;
    ngx_workflow_command_t  *guarded;

    b = &exec->command;
    epoch = &exec->consumer->epoch;
    guarded = &exec->consumer->queue->guarded;

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


static void
ngx_workflow_exec_watch(ngx_workflow_exec_t *exec)
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
ngx_workflow_exec_watched(ngx_workflow_command_t *command, redisReply *reply)
{
    ngx_workflow_queue_t  *queue;

    queue = command->data;

    if (reply && reply->type == REDIS_REPLY_ERROR) {
        queue->watching = NULL;
        ngx_workflow_exec_guarded(&queue->guarded, reply);
    }
}


static void
ngx_workflow_exec_looked(ngx_workflow_command_t *command, redisReply *reply)
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


/* Its arguments are in the order of those of the script. */

static void
ngx_workflow_exec_task(ngx_workflow_exec_t *exec, ngx_uint_t messages,
    time_t ttl)
{
    wf_buf_t                  *b;
    ngx_workflow_exec_arg_t    id, entry, head, record, completed, message;
    ngx_workflow_consumer_t   *consumer;

    consumer = exec->consumer;
    b = &exec->command;

    id = ngx_workflow_exec_arg(exec);
    entry = ngx_workflow_exec_arg(exec);
    head = ngx_workflow_exec_arg(exec);
    (void) ngx_workflow_exec_arg(exec);
    record = ngx_workflow_exec_arg(exec);
    completed = ngx_workflow_exec_arg(exec);

    wf_buf_add(&exec->ids, id.sent.data, id.sent.len);
    wf_buf_add(&exec->entries, entry.sent.data, entry.sent.len);

    /* "claim state index n more marked" */

    if (head.text.data[head.text.len - 1] == '1') {
        ngx_workflow_exec_forget(exec, "events:", id.text);
        ngx_workflow_exec_forget(exec, "saved:", id.text);
    }

    while (messages--) {
        message = ngx_workflow_exec_arg(exec);

        ngx_workflow_exec_begin(exec, 3, "PUBLISH");
        ngx_workflow_text_str(b, &consumer->control);
        wf_buf_add(b, message.sent.data, message.sent.len);
        ngx_workflow_exec_end(exec, &ngx_workflow_exec_command);
    }

    ngx_workflow_exec_begin(exec, 5, "SET");
    ngx_workflow_exec_key(b, consumer, "task:", id.text);
    wf_buf_add(b, record.sent.data, record.sent.len);
    ngx_workflow_text_arg(b, "EX", 2);
    ngx_workflow_text_number(b, ttl);
    ngx_workflow_exec_end(exec, &ngx_workflow_exec_command);

    if (completed.text.len) {
        ngx_workflow_exec_begin(exec, 3, "PUBLISH");
        ngx_workflow_text_str(b, &consumer->control);
        wf_buf_add(b, completed.sent.data, completed.sent.len);
        ngx_workflow_exec_end(exec, &ngx_workflow_exec_command);
    }
}


static void
ngx_workflow_exec_forget(ngx_workflow_exec_t *exec, const char *name,
    wf_slice_t id)
{
    ngx_workflow_exec_key(&exec->gone, exec->consumer, name, id);
    exec->ngone++;
}


static void
ngx_workflow_exec_key(wf_buf_t *b, ngx_workflow_consumer_t *consumer,
    const char *name, wf_slice_t id)
{
    wf_buf_addc(b, '$');
    wf_buf_addu(b, consumer->prefix.len + ngx_strlen(name) + id.len);
    wf_buf_adds(b, "\r\n");
    wf_buf_add(b, consumer->prefix.data, consumer->prefix.len);
    wf_buf_adds(b, name);
    wf_buf_add(b, id.data, id.len);
    wf_buf_adds(b, "\r\n");
}


/* What is done for all tasks at once; the last two answers are how many are
 * outstanding. */

static void
ngx_workflow_exec_all(ngx_workflow_exec_t *exec, ngx_uint_t n)
{
    wf_buf_t                 *b;
    ngx_workflow_consumer_t  *consumer;

    consumer = exec->consumer;
    b = &exec->command;

    exec->failed |= exec->ids.failed || exec->entries.failed
                    || exec->gone.failed;

    if (exec->ngone) {
        ngx_workflow_exec_begin(exec, 1 + exec->ngone, "DEL");
        wf_buf_add(b, exec->gone.data, exec->gone.len);
        ngx_workflow_exec_end(exec, &ngx_workflow_exec_command);
    }

    ngx_workflow_exec_begin(exec, 2 + n, "ZREM");
    ngx_workflow_text_str(b, &consumer->leases);
    wf_buf_add(b, exec->ids.data, exec->ids.len);
    ngx_workflow_exec_end(exec, &ngx_workflow_exec_command);

    ngx_workflow_exec_begin(exec, 3 + n, "XACK");
    ngx_workflow_text_str(b, &consumer->stream);
    ngx_workflow_text_arg(b, "workers", 7);
    wf_buf_add(b, exec->entries.data, exec->entries.len);
    ngx_workflow_exec_end(exec, &ngx_workflow_exec_command);

    ngx_workflow_exec_begin(exec, 2 + n, "XDEL");
    ngx_workflow_text_str(b, &consumer->stream);
    wf_buf_add(b, exec->entries.data, exec->entries.len);
    ngx_workflow_exec_end(exec, &ngx_workflow_exec_command);

    ngx_workflow_exec_begin(exec, 2, "XLEN");
    ngx_workflow_text_str(b, &consumer->stream);
    ngx_workflow_exec_end(exec, &ngx_workflow_exec_command);

    ngx_workflow_exec_begin(exec, 2, "ZCARD");
    ngx_workflow_text_str(b, &consumer->timers);
    ngx_workflow_exec_end(exec, &ngx_workflow_exec_command);
}


static ngx_workflow_exec_arg_t
ngx_workflow_exec_arg(ngx_workflow_exec_t *exec)
{
    const char               *p;
    ngx_workflow_exec_arg_t   arg;

    /* "$5\r\nhello\r\n" */

    p = exec->next;
    arg.sent.data = p;
    arg.text.len = 0;

    while (*++p != '\r') {
        arg.text.len = arg.text.len * 10 + (*p - '0');
    }

    arg.text.data = p + 2;
    exec->next = arg.text.data + arg.text.len + 2;
    arg.sent.len = exec->next - arg.sent.data;

    return arg;
}


static void
ngx_workflow_exec_begin(ngx_workflow_exec_t *exec, ngx_uint_t nargs,
    const char *name)
{
    wf_buf_t  *b;

    b = &exec->command;

    b->len = 0;

    wf_buf_addc(b, '*');
    wf_buf_addu(b, nargs);
    wf_buf_adds(b, "\r\n");
    ngx_workflow_text_arg(b, name, ngx_strlen(name));
}


static void
ngx_workflow_exec_end(ngx_workflow_exec_t *exec,
    ngx_workflow_command_t *command)
{
    wf_buf_t  *b;

    b = &exec->command;

    /* hiredis looks behind a command of one word */

    wf_buf_addc(b, '\0');

    exec->failed |= b->failed;

    if (exec->failed
        || ngx_workflow_redis_send(&exec->consumer->queue->commands, command,
                                   b->data, b->len - 1)
           != NGX_OK)
    {
        exec->failed = 1;
        return;
    }

    if (command == &ngx_workflow_exec_command) {
        exec->ncommands++;
    }
}


static void
ngx_workflow_exec_queued(ngx_workflow_command_t *command, redisReply *reply)
{
    /* EXEC tells */
}


static void
ngx_workflow_exec_replied(ngx_workflow_command_t *command, redisReply *reply)
{
    size_t                i, n;
    redisReply            outstanding;
    ngx_workflow_ends_t  *ends;

    ends = command->data;

    if (reply == NULL || reply->type == REDIS_REPLY_NIL
        || reply->type == REDIS_REPLY_ERROR)
    {
        ngx_workflow_exec_guarded(&ends->consumer->queue->guarded, reply);

        ends->consumer->epoch.doubtful = 1;
        ends->again |= reply == NULL;
        ngx_workflow_finish_again(ends);
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != ends->ncommands)
    {
        /* answers are out of step, and those that are to come are not to be
         * believed either */

        ngx_workflow_redis_drop(&ends->consumer->queue->commands,
                                "an answer to another command");

        ends->consumer->epoch.doubtful = 1;
        ends->again = 1;
        ngx_workflow_finish_again(ends);
        return;
    }

    n = reply->elements;

    for (i = 0; i < n; i++) {

        /* what it could not do the script does, or tells why not */

        if (reply->element[i]->type == REDIS_REPLY_ERROR) {
            ngx_workflow_finish_again(ends);
            return;
        }
    }

    outstanding = *reply->element[n - 2];
    outstanding.integer += reply->element[n - 1]->integer;

    ngx_workflow_finish_done(ends, NULL, &outstanding);
}
