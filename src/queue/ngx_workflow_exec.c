/*
 * Tasks that end by a transaction.  It does what the script does for those that
 * are as they were claimed, for less than half of the time: what is published
 * and kept does not go through Lua.  Whether they are as they were is known to
 * ngx_workflow_epoch.c.
 */

#include "ngx_workflow_ends.h"


/* An argument: as it is sent, and what it says. */

typedef struct {
    wf_slice_t                sent;
    wf_slice_t                text;
} ngx_workflow_exec_arg_t;


static void ngx_workflow_exec_task(ngx_workflow_exec_t *exec,
    ngx_uint_t messages, time_t ttl);
static void ngx_workflow_exec_forget(ngx_workflow_exec_t *exec,
    const char *name, wf_slice_t id);
static void ngx_workflow_exec_key(wf_buf_t *b,
    ngx_workflow_consumer_t *consumer, const char *name, wf_slice_t id);
static void ngx_workflow_exec_all(ngx_workflow_exec_t *exec, ngx_uint_t n);
static ngx_workflow_exec_arg_t ngx_workflow_exec_arg(
    ngx_workflow_exec_t *exec);
static void ngx_workflow_exec_queued(ngx_workflow_command_t *command,
    redisReply *reply);
static void ngx_workflow_exec_replied(ngx_workflow_command_t *command,
    redisReply *reply);


static ngx_workflow_command_t  ngx_workflow_exec_command = {
    ngx_workflow_exec_queued, NULL
};


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

    ngx_workflow_epoch_guard(&exec);

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

        ngx_workflow_epoch_watch(&exec);
    }

    wf_buf_free(&exec.command);

    if (exec.failed) {
        ngx_workflow_redis_drop(&queue->commands, "no memory");
    }

    return ends->sent ? NGX_OK : NGX_ERROR;
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


void
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


void
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
        ngx_workflow_epoch_guarded(&ends->consumer->queue->guarded, reply);

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
