/*
 * POST <location>/process_message: the message is read into memory, parsed, put
 * into Redis, and then answered.
 *
 * The body is read unbuffered, so that it never goes through a file, which the
 * event loop would have to wait for; only one that nginx has read for somebody
 * else before, as mirror does, may come from there.
 */

#include "ngx_http_workflow.h"


#define NGX_HTTP_WORKFLOW_INVALID  422      /* Unprocessable Entity */


typedef struct {
    ngx_http_request_t       *request;
    ngx_workflow_service_t   *service;
    ngx_workflow_call_t      *call;
    wf_buf_t                  body;
} ngx_http_workflow_ctx_t;


static ngx_int_t ngx_http_workflow_too_large(ngx_http_request_t *r);
static void ngx_http_workflow_body_handler(ngx_http_request_t *r);
static void ngx_http_workflow_read_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_workflow_collect(ngx_http_request_t *r);
static ngx_int_t ngx_http_workflow_collect_buf(ngx_http_workflow_ctx_t *ctx,
    ngx_buf_t *b);
static ngx_int_t ngx_http_workflow_process(ngx_http_request_t *r);
static ngx_int_t ngx_http_workflow_submit(ngx_http_request_t *r,
    wf_message_t *m);
static void ngx_http_workflow_message_handler(ngx_workflow_call_t *call,
    redisReply *reply);
static ngx_int_t ngx_http_workflow_answer(ngx_http_request_t *r,
    ngx_workflow_answer_e answer);
static void ngx_http_workflow_message_cleanup(void *data);


ngx_int_t
ngx_http_workflow_message(ngx_http_request_t *r)
{
    ngx_int_t                      rc;
    ngx_http_cleanup_t            *cln;
    ngx_http_workflow_ctx_t       *ctx;
    ngx_http_workflow_loc_conf_t  *wlcf;

    wlcf = ngx_http_get_module_loc_conf(r, ngx_http_workflow_module);

    if (r->headers_in.content_length_n
        > (off_t) wlcf->service->max_message_size)
    {
        rc = ngx_http_discard_request_body(r);

        return rc == NGX_OK ? ngx_http_workflow_too_large(r) : rc;
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_workflow_ctx_t));
    cln = ngx_http_cleanup_add(r, 0);

    if (ctx == NULL || cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->request = r;
    ctx->service = wlcf->service;

    cln->handler = ngx_http_workflow_message_cleanup;
    cln->data = ctx;

    ngx_http_set_ctx(r, ctx, ngx_http_workflow_module);

    r->request_body_no_buffering = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_workflow_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


static ngx_int_t
ngx_http_workflow_too_large(ngx_http_request_t *r)
{
    /* what is left of the body is not waited for */

    r->keepalive = 0;

    return ngx_http_workflow_reply_text(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                        "{\"detail\":\"Request Entity Too "
                                        "Large\"}");
}


static void
ngx_http_workflow_body_handler(ngx_http_request_t *r)
{
    ngx_int_t   rc;
    ngx_uint_t  more;

    for ( ;; ) {

        /* events are edge-triggered: what the buffer had no room for is still
         * to be read, until nothing comes any more */

        more = r->reading_body && r->request_body->bufs;

        rc = ngx_http_workflow_collect(r);

        if (rc != NGX_OK || !r->reading_body) {
            break;
        }

        if (!more) {
            r->read_event_handler = ngx_http_workflow_read_handler;
            return;
        }

        rc = ngx_http_read_unbuffered_request_body(r);

        if (rc == NGX_ERROR || rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            ngx_http_finalize_request(r, rc);
            return;
        }
    }

    if (rc == NGX_OK) {
        rc = ngx_http_workflow_process(r);

    } else if (rc == NGX_DECLINED) {
        rc = ngx_http_workflow_too_large(r);
    }

    if (rc != NGX_DONE) {
        ngx_http_finalize_request(r, rc);
    }
}


static void
ngx_http_workflow_read_handler(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    if (r->connection->read->timedout) {
        r->connection->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    rc = ngx_http_read_unbuffered_request_body(r);

    if (rc == NGX_ERROR || rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        ngx_http_finalize_request(r, rc);
        return;
    }

    ngx_http_workflow_body_handler(r);
}


/* Add what has been read to the message; NGX_DECLINED: it is too large. */

static ngx_int_t
ngx_http_workflow_collect(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_chain_t              *cl;
    ngx_http_workflow_ctx_t  *ctx;

    /* a subrequest whose parent's body is not read, or was thrown away */

    if (r->request_body == NULL) {
        return NGX_OK;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_workflow_module);

    if (ctx->body.data == NULL && r->headers_in.content_length_n > 0) {
        (void) wf_buf_reserve(&ctx->body, r->headers_in.content_length_n);
    }

    for (cl = r->request_body->bufs; cl; cl = cl->next) {

        rc = ngx_http_workflow_collect_buf(ctx, cl->buf);
        if (rc != NGX_OK) {
            return rc;
        }

        /* a body that was read before may belong to others too */

        if (r->request_body_no_buffering) {
            cl->buf->pos = cl->buf->last;
        }
    }

    if (r->request_body_no_buffering) {
        r->request_body->bufs = NULL;
    }

    return ctx->body.failed ? NGX_HTTP_INTERNAL_SERVER_ERROR : NGX_OK;
}


static ngx_int_t
ngx_http_workflow_collect_buf(ngx_http_workflow_ctx_t *ctx, ngx_buf_t *b)
{
    size_t     size;
    ssize_t    n;
    wf_buf_t  *body;

    body = &ctx->body;
    size = ngx_buf_size(b);

    if (body->len + size > ctx->service->max_message_size) {
        return NGX_DECLINED;
    }

    if (ngx_buf_in_memory(b)) {
        wf_buf_add(body, b->pos, size);
        return NGX_OK;
    }

    if (size == 0) {
        return NGX_OK;
    }

    if (wf_buf_reserve(body, size) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    n = ngx_read_file(b->file, (u_char *) body->data + body->len, size,
                      b->file_pos);

    if (n != (ssize_t) size) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body->len += size;

    return NGX_OK;
}


static ngx_int_t
ngx_http_workflow_process(ngx_http_request_t *r)
{
    int                       rc;
    wf_buf_t                  detail = WF_BUF_INIT;
    wf_buf_t                  reason = WF_BUF_INIT;
    ngx_int_t                 status;
    ngx_str_t                 text;
    wf_slice_t                body, type, name;
    wf_message_t              m;
    ngx_http_workflow_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_workflow_module);

    if (ctx->service->graph == NULL) {
        return ngx_http_workflow_unavailable(r, "The service's plugin could "
                                             "not be opened");
    }

    body.data = ctx->body.data;
    body.len = ctx->body.len;
    type.data = NULL;
    type.len = 0;
    name.data = (char *) ctx->service->name.data;
    name.len = ctx->service->name.len;

    if (r->headers_in.content_type) {
        type.data = (char *) r->headers_in.content_type->value.data;
        type.len = r->headers_in.content_type->value.len;
    }

    rc = wf_message_parse(&m, body, type, name, &detail, &reason);

    if (rc == 0 && m.action == WF_ACTION_SEND_EVENT
        && wf_graph_match_public(ctx->service->graph, m.event) == NULL)
    {
        ngx_workflow_service_unknown_event(ctx->service, &m, &detail, &reason);
        rc = -1;
    }

    if (rc == 0) {
        status = ngx_http_workflow_submit(r, &m);

    } else if (rc == -1) {
        text.data = (u_char *) reason.data;
        text.len = reason.len;

        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "workflow_service \"%V\": refused a message: %V",
                      &ctx->service->name, &text);

        status = ngx_http_workflow_reply_buf(r, NGX_HTTP_WORKFLOW_INVALID,
                                             &detail);
    } else {
        status = ngx_http_workflow_unavailable(r, "Out of memory");
    }

    wf_message_free(&m);
    wf_buf_free(&detail);
    wf_buf_free(&reason);
    wf_buf_free(&ctx->body);

    return status;
}


static ngx_int_t
ngx_http_workflow_submit(ngx_http_request_t *r, wf_message_t *m)
{
    ngx_msec_t                timeout;
    ngx_str_t                 message_id;
    ngx_workflow_service_t   *service;
    ngx_http_workflow_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_workflow_module);

    service = ctx->service;
    timeout = service->consumer.queue->redis.command_timeout;

    /* a task is known by its own id; an event that is sent again by a client
     * that got no answer is known by its message's */

    ngx_str_null(&message_id);

    if (m->action == WF_ACTION_SEND_EVENT) {
        message_id.data = (u_char *) m->id.data;
        message_id.len = m->id.len;
    }

    ctx->call = ngx_workflow_service_submit(service, m, &message_id, 0,
                                            timeout,
                                            ngx_http_workflow_message_handler,
                                            ctx);
    if (ctx->call == NULL) {
        return ngx_http_workflow_unavailable(r, "Redis cannot be reached");
    }

    return ngx_http_workflow_watch(r) == NGX_OK ? NGX_DONE : NGX_ERROR;
}


static void
ngx_http_workflow_message_handler(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_int_t                 outstanding;
    ngx_connection_t         *c;
    ngx_http_request_t       *r;
    ngx_workflow_answer_e     answer;
    ngx_http_workflow_ctx_t  *ctx;

    ctx = call->data;
    ctx->call = NULL;

    r = ctx->request;
    c = r->connection;

    outstanding = -1;
    answer = ngx_workflow_accept_answer(reply, 0, &outstanding);

    if (outstanding >= 0) {
        ctx->service->shared->outstanding = outstanding;
    }

    r->read_event_handler = ngx_http_block_reading;

    ngx_http_finalize_request(r, ngx_http_workflow_answer(r, answer));

    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_workflow_answer(ngx_http_request_t *r, ngx_workflow_answer_e answer)
{
    switch (answer) {

    case NGX_WORKFLOW_ACCEPTED:
    case NGX_WORKFLOW_KNOWN:
    case NGX_WORKFLOW_KEPT:
        return ngx_http_workflow_reply_text(r, NGX_HTTP_OK, "null");

    case NGX_WORKFLOW_CONFLICT:
        return ngx_http_workflow_reply_text(r, NGX_HTTP_CONFLICT,
                            "{\"detail\":\"Task is known with another "
                            "input\"}");

    case NGX_WORKFLOW_ENDED:
        return ngx_http_workflow_reply_text(r, NGX_HTTP_CONFLICT,
                            "{\"detail\":\"Task has ended\"}");

    case NGX_WORKFLOW_UNKNOWN:
        return ngx_http_workflow_reply_text(r, NGX_HTTP_NOT_FOUND,
                            "{\"detail\":\"Task not found\"}");

    case NGX_WORKFLOW_FULL:
        return ngx_http_workflow_unavailable(r, "The queue is full");

    case NGX_WORKFLOW_CROWDED:
        return ngx_http_workflow_unavailable(r, "Too many events for the "
                                             "task");

    default:
        return ngx_http_workflow_unavailable(r, "Redis cannot be reached");
    }
}


static void
ngx_http_workflow_message_cleanup(void *data)
{
    ngx_http_workflow_ctx_t *ctx = data;

    wf_buf_free(&ctx->body);

    if (ctx->call) {
        ngx_workflow_service_forget(ctx->call);
        ctx->call = NULL;
    }
}
