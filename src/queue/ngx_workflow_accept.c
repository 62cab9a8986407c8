/* New tasks on their way into Redis, several in one call. */

#include "ngx_workflow_task.h"


/* of each; and what they have in common, beside the key */

#define NGX_WORKFLOW_ACCEPT_ARGS    4
#define NGX_WORKFLOW_ACCEPT_COMMON  7


ngx_int_t
ngx_workflow_accept_add(ngx_workflow_accepts_t *accepts,
    ngx_workflow_submission_t *s)
{
    size_t      len;
    wf_buf_t   *b, text = WF_BUF_INIT;
    ngx_uint_t  remember;

    b = &accepts->text;
    len = b->len;

    ngx_workflow_text_str(b, &s->task_id);
    ngx_workflow_text_str(b, &s->input);

    ngx_workflow_record_new(&text, &s->input, &s->session, &s->reply);
    ngx_workflow_text_arg(b, text.data, text.len);

    text.len = 0;

    remember = s->message_id.len ? s->remember : 0;

    if (remember || s->only || s->reply.len) {
        wf_buf_addu(&text, remember);
        wf_buf_adds(&text, s->only ? " 1 " : " 0 ");

        /* the task's id may have been made here, and tells nothing about the
         * message then; see also ngx_workflow_keys_seen() */

        wf_buf_addu(&text, sizeof("0::") - 1 + s->message_id.len);
        wf_buf_adds(&text, " 0::");
        wf_buf_add(&text, s->message_id.data, s->message_id.len);
        wf_buf_addc(&text, ' ');
        wf_buf_add(&text, s->reply.data, s->reply.len);
    }

    ngx_workflow_text_arg(b, text.data, text.len);

    b->failed |= text.failed;
    wf_buf_free(&text);

    if (b->failed) {

        /* those that are in it already stay */

        b->len = len;
        b->failed = 0;

        if (accepts->n == 0) {
            wf_buf_free(b);
        }

        return NGX_ERROR;
    }

    accepts->n++;

    return NGX_OK;
}


ngx_uint_t
ngx_workflow_accept_is_full(ngx_workflow_accepts_t *accepts)
{
    return accepts->n == NGX_WORKFLOW_MAX_ACCEPTS
           || accepts->text.len >= NGX_WORKFLOW_MAX_ACCEPTS_SIZE;
}


ngx_workflow_call_t *
ngx_workflow_accept_send(ngx_workflow_consumer_t *consumer,
    ngx_workflow_accepts_t *accepts, ngx_uint_t max_queued,
    ngx_workflow_claims_t *claims, ngx_msec_t deadline,
    ngx_workflow_call_pt handler, void *data)
{
    wf_buf_t              b = WF_BUF_INIT;
    ngx_workflow_call_t  *call;

    ngx_workflow_text_script(&b, NGX_WORKFLOW_SCRIPT_ACCEPT, 1,
                             NGX_WORKFLOW_ACCEPT_COMMON
                             + NGX_WORKFLOW_ACCEPT_ARGS * accepts->n);

    ngx_workflow_text_str(&b, &consumer->stream);

    ngx_workflow_text_str(&b, &consumer->prefix);
    ngx_workflow_text_str(&b, &consumer->queue->worker);
    ngx_workflow_text_number(&b, claims->n);
    ngx_workflow_text_number(&b, claims->lease);
    ngx_workflow_text_number(&b, claims->attempts);
    ngx_workflow_text_number(&b, claims->sessions);
    ngx_workflow_text_number(&b, max_queued);

    wf_buf_add(&b, accepts->text.data, accepts->text.len);

    wf_buf_free(&accepts->text);
    accepts->n = 0;

    call = b.failed ? NULL
                    : ngx_workflow_call_text(consumer->queue, b.data, b.len,
                                             deadline, handler, data);
    if (call == NULL) {
        wf_buf_free(&b);
    }

    return call;
}


ngx_workflow_answer_e
ngx_workflow_accept_answer(redisReply *reply, ngx_uint_t i,
    ngx_int_t *outstanding)
{
    redisReply  *answer;

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY
        || reply->elements == 0
        || reply->element[0]->type != REDIS_REPLY_INTEGER)
    {
        return ngx_workflow_task_answer(reply, outstanding);
    }

    *outstanding = reply->element[0]->integer;

    answer = i + NGX_WORKFLOW_ACCEPT_ANSWERS < reply->elements
             ? reply->element[i + NGX_WORKFLOW_ACCEPT_ANSWERS] : NULL;

    return ngx_workflow_task_answer(answer, outstanding);
}
