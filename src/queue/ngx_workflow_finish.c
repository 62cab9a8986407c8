/*
 * Tasks that end, several in one call: a transaction for those that are as they
 * were claimed, and a script for all others.  While a call is under way those that
 * end are collected for the next one: one at a time when there is little to do,
 * and many when there is much.
 */

#include "ngx_workflow_ends.h"


/* of what follows for each task, beside messages, and of what does for some,
 * beside keys and values */

#define NGX_WORKFLOW_END_ARGS       6
#define NGX_WORKFLOW_END_MORE       7

#define NGX_WORKFLOW_ENDS_AGAIN     100


static ngx_workflow_ends_t *ngx_workflow_finish_ends(
    ngx_workflow_consumer_t *consumer, ngx_workflow_end_t *end,
    ngx_uint_t epoch);
static ngx_uint_t ngx_workflow_finish_more(ngx_workflow_task_t *task,
    ngx_workflow_end_t *end);
static void ngx_workflow_finish_add(wf_buf_t *b,
    ngx_workflow_consumer_t *consumer, ngx_workflow_task_t *task,
    ngx_workflow_end_t *end, ngx_workflow_messages_t *messages,
    ngx_uint_t known, ngx_uint_t more);
static ngx_uint_t ngx_workflow_finish_is_full(ngx_workflow_ends_t *ends);
static void ngx_workflow_finish_event(ngx_event_t *ev);
static ngx_int_t ngx_workflow_finish_send(ngx_workflow_ends_t *ends);
static void ngx_workflow_finish_replied(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_finish_free(ngx_workflow_ends_t *ends);


ngx_int_t
ngx_workflow_task_finish(ngx_workflow_consumer_t *consumer,
    ngx_workflow_task_t *task, ngx_workflow_end_t *end,
    ngx_workflow_messages_t *messages, ngx_workflow_finish_pt handler,
    void *data)
{
    size_t                len;
    ngx_uint_t            known, more;
    ngx_workflow_ends_t  *ends;

    /* its record is as it was claimed, unless somebody else has changed it;
     * else what it has streamed is the script's to find out */

    known = !task->changed && messages->first == task->streamed;

    more = ngx_workflow_finish_more(task, end);

    ends = ngx_workflow_finish_ends(consumer, end,
                                    known && more == 0 ? task->epoch : 0);
    if (ends == NULL) {
        return NGX_ERROR;
    }

    len = ends->text.len;

    ngx_workflow_finish_add(&ends->text, consumer, task, end, messages, known,
                            more);

    if (ends->text.failed) {

        /* those that are in it already stay */

        ends->text.len = len;
        ends->text.failed = 0;
        return NGX_ERROR;
    }

    ends->nargs += NGX_WORKFLOW_END_ARGS + messages->n + more;
    ends->messages[ends->n] = messages->n;
    ends->handlers[ends->n] = handler;
    ends->data[ends->n++] = data;

    /* the rest of what ends in this turn of the event loop may join */

    if (consumer->nsent == 0 || ngx_workflow_finish_is_full(ends)) {
        ngx_post_event(&consumer->finish, &ngx_posted_events);
    }

    return NGX_OK;
}


/* What is being collected of that epoch. */

static ngx_workflow_ends_t *
ngx_workflow_finish_ends(ngx_workflow_consumer_t *consumer,
    ngx_workflow_end_t *end, ngx_uint_t epoch)
{
    ngx_queue_t          *q;
    ngx_workflow_ends_t  *ends;

    for (q = ngx_queue_head(&consumer->ends);
         q != ngx_queue_sentinel(&consumer->ends);
         q = ngx_queue_next(q))
    {
        ends = ngx_queue_data(q, ngx_workflow_ends_t, link);

        if (!ends->sent && !ngx_workflow_finish_is_full(ends)
            && ends->epoch == epoch)
        {
            return ends;
        }
    }

    ends = ngx_calloc(sizeof(ngx_workflow_ends_t), consumer->queue->log);
    if (ends == NULL) {
        return NULL;
    }

    ends->consumer = consumer;
    ends->epoch = epoch;
    ends->ttl = end->ttl;
    ends->session_ttl = end->session_ttl;

    ngx_queue_insert_tail(&consumer->ends, &ends->link);

    if (consumer->finish.handler == NULL) {
        consumer->finish.handler = ngx_workflow_finish_event;
        consumer->finish.data = consumer;
        consumer->finish.log = consumer->queue->log;
        consumer->finish.cancelable = 1;
    }

    return ends;
}


/* How many arguments more than most tasks need. */

static ngx_uint_t
ngx_workflow_finish_more(ngx_workflow_task_t *task, ngx_workflow_end_t *end)
{
    if (task->reply.len || end->session.len || end->sender_keys.len
        || ngx_strcmp(end->state, "dead") == 0)
    {
        return NGX_WORKFLOW_END_MORE + 2 * end->nset;
    }

    return 0;
}


static void
ngx_workflow_finish_add(wf_buf_t *b, ngx_workflow_consumer_t *consumer,
    ngx_workflow_task_t *task, ngx_workflow_end_t *end,
    ngx_workflow_messages_t *messages, ngx_uint_t known, ngx_uint_t more)
{
    size_t      len;
    u_char      head[sizeof("cancelled") + 5 * (NGX_INT64_LEN + 1)];
    wf_buf_t    record = WF_BUF_INIT;
    ngx_str_t   claimed;
    ngx_uint_t  i;

    claimed = task->record;

    if (!known) {
        claimed.len = 0;
    }

    ngx_workflow_record_end(&record, task, end, &consumer->queue->worker,
                            messages->first + messages->n,
                            consumer->clock + (off_t) ngx_current_msec);

    len = ngx_snprintf(head, sizeof(head), "%V %s %ui %ui %ui %ui",
                       &task->claim_text, end->state, messages->first,
                       messages->n, more, task->marked)
          - head;

    ngx_workflow_text_str(b, &task->id);
    ngx_workflow_text_str(b, &task->entry);
    ngx_workflow_text_arg(b, head, len);
    ngx_workflow_text_str(b, &claimed);
    ngx_workflow_text_arg(b, record.data, record.len);
    ngx_workflow_text_str(b, &end->completed);

    b->failed |= record.failed;
    wf_buf_free(&record);

    for (i = 0; i < messages->n; i++) {
        ngx_workflow_text_str(b, &messages->elts[i]);
    }

    if (more == 0) {
        return;
    }

    ngx_workflow_text_str(b, ngx_workflow_task_channel(consumer, task));
    ngx_workflow_text_str(b, &end->input);
    ngx_workflow_text_str(b, &end->session);
    ngx_workflow_text_str(b, &end->sender_keys);
    ngx_workflow_text_str(b, &end->sender);
    ngx_workflow_text_str(b, &end->sender_id);
    ngx_workflow_text_str(b, &end->event);

    for (i = 0; i < 2 * end->nset; i++) {
        ngx_workflow_text_str(b, &end->set[i]);
    }
}


static ngx_uint_t
ngx_workflow_finish_is_full(ngx_workflow_ends_t *ends)
{
    return ends->n == NGX_WORKFLOW_MAX_ENDS
           || ends->text.len >= NGX_WORKFLOW_MAX_ENDS_SIZE;
}


static void
ngx_workflow_finish_event(ngx_event_t *ev)
{
    ngx_int_t                 rc;
    ngx_queue_t              *q, *next;
    ngx_workflow_ends_t      *ends;
    ngx_workflow_consumer_t  *consumer;

    consumer = ev->data;

    for (q = ngx_queue_head(&consumer->ends);
         q != ngx_queue_sentinel(&consumer->ends);
         q = next)
    {
        next = ngx_queue_next(q);
        ends = ngx_queue_data(q, ngx_workflow_ends_t, link);

        if (ends->sent || ends->n == 0
            || (consumer->nsent && !ngx_workflow_finish_is_full(ends)))
        {
            continue;
        }

        if (ngx_workflow_epoch_may(ends)) {
            rc = ngx_workflow_exec_send(ends);

        } else {
            rc = ngx_workflow_finish_send(ends);
        }

        if (rc != NGX_OK) {
            ngx_add_timer(ev, NGX_WORKFLOW_ENDS_AGAIN);
            return;
        }
    }
}


static ngx_int_t
ngx_workflow_finish_send(ngx_workflow_ends_t *ends)
{
    wf_buf_t                  b = WF_BUF_INIT;
    ngx_workflow_call_t      *call;
    ngx_workflow_consumer_t  *consumer;

    consumer = ends->consumer;

    ngx_workflow_text_script(&b, NGX_WORKFLOW_SCRIPT_FINISH, 5,
                             7 + ends->nargs + 1);

    ngx_workflow_text_str(&b, &consumer->stream);
    ngx_workflow_text_str(&b, &consumer->timers);
    ngx_workflow_text_str(&b, &consumer->leases);
    ngx_workflow_text_str(&b, &consumer->dead);
    ngx_workflow_text_str(&b, &consumer->epoch.key);

    ngx_workflow_text_str(&b, &consumer->prefix);
    ngx_workflow_text_str(&b, &consumer->queue->worker);
    ngx_workflow_text_number(&b, ends->ttl);
    ngx_workflow_text_number(&b, ends->session_ttl);
    ngx_workflow_text_str(&b, &consumer->workers);
    ngx_workflow_text_str(&b, &consumer->control);
    ngx_workflow_text_number(&b, ngx_workflow_epoch_asks(ends));

    wf_buf_add(&b, ends->text.data, ends->text.len);
    ngx_workflow_text_number(&b, 0);

    call = b.failed ? NULL
                    : ngx_workflow_call_text(consumer->queue, b.data, b.len, 0,
                                             ngx_workflow_finish_replied, ends);
    if (call == NULL) {
        wf_buf_free(&b);
        return NGX_ERROR;
    }

    call->streams = 1;

    ends->sent = 1;
    consumer->nsent++;

    wf_buf_free(&ends->text);

    return NGX_OK;
}


void
ngx_workflow_finish_again(ngx_workflow_ends_t *ends)
{
    ends->epoch = 0;
    ends->sent = 0;
    ends->consumer->nsent--;

    ngx_post_event(&ends->consumer->finish, &ngx_posted_events);
}


static void
ngx_workflow_finish_replied(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_workflow_ends_t  *ends;

    static redisReply    *none[NGX_WORKFLOW_MAX_ENDS];

    ends = call->data;

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == ends->n + 2) {
        ngx_workflow_epoch_told(ends->consumer, reply->element[1]);
        ngx_workflow_finish_done(ends, &reply->element[2], reply->element[0]);

    } else {
        ngx_workflow_finish_done(ends, none, NULL);
    }
}


void
ngx_workflow_finish_done(ngx_workflow_ends_t *ends, redisReply **answers,
    redisReply *outstanding)
{
    ngx_uint_t                i;
    ngx_workflow_consumer_t  *consumer;

    static redisReply  ours = { .type = REDIS_REPLY_INTEGER, .integer = 1 };

    consumer = ends->consumer;

    consumer->nsent--;

    if (!ngx_queue_empty(&consumer->ends)) {
        ngx_post_event(&consumer->finish, &ngx_posted_events);
    }

    for (i = 0; i < ends->n; i++) {
        ends->handlers[i](ends->data[i], answers ? answers[i] : &ours,
                          outstanding);
    }

    ngx_workflow_finish_free(ends);
}


/* Before the connection is closed: what has ended is sent after all. */

void
ngx_workflow_finish_flush(ngx_workflow_consumer_t *consumer)
{
    ngx_queue_t          *q;
    ngx_workflow_ends_t  *ends;

    for (q = ngx_queue_head(&consumer->ends);
         q != ngx_queue_sentinel(&consumer->ends);
         q = ngx_queue_next(q))
    {
        ends = ngx_queue_data(q, ngx_workflow_ends_t, link);

        if (!ends->sent && ends->n) {
            (void) ngx_workflow_finish_send(ends);
        }
    }
}


void
ngx_workflow_finish_close(ngx_workflow_consumer_t *consumer)
{
    ngx_queue_t  *q;

    if (consumer->finish.timer_set) {
        ngx_del_timer(&consumer->finish);
    }

    if (consumer->finish.posted) {
        ngx_delete_posted_event(&consumer->finish);
    }

    while (!ngx_queue_empty(&consumer->ends)) {
        q = ngx_queue_head(&consumer->ends);
        ngx_workflow_finish_free(ngx_queue_data(q, ngx_workflow_ends_t, link));
    }
}


static void
ngx_workflow_finish_free(ngx_workflow_ends_t *ends)
{
    ngx_queue_remove(&ends->link);
    wf_buf_free(&ends->text);
    ngx_free(ends);
}
