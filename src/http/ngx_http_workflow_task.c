/* GET and DELETE <location>/tasks/<task_id> */

#include "ngx_http_workflow.h"

#include "wf_json.h"


typedef struct {
    ngx_http_request_t     *request;
    ngx_str_t               task_id;
    ngx_workflow_call_t    *call;
} ngx_http_workflow_task_ctx_t;


static void ngx_http_workflow_task_handler(ngx_workflow_call_t *call,
    redisReply *reply);
static ngx_int_t ngx_http_workflow_task_cancelled(ngx_http_request_t *r,
    redisReply *reply);
static ngx_int_t ngx_http_workflow_task_reply(ngx_http_request_t *r,
    ngx_str_t *task_id, redisReply *reply);
static void ngx_http_workflow_add_string(wf_buf_t *b, ngx_str_t *s);
static void ngx_http_workflow_add_raw(wf_buf_t *b, ngx_str_t *s);
static void ngx_http_workflow_add_time(wf_buf_t *b, ngx_str_t *s);
static void ngx_http_workflow_task_cleanup(void *data);


ngx_int_t
ngx_http_workflow_task(ngx_http_request_t *r, ngx_str_t *task_id)
{
    ngx_int_t                      rc;
    ngx_msec_t                     timeout;
    ngx_http_cleanup_t            *cln;
    ngx_workflow_consumer_t       *consumer;
    ngx_http_workflow_loc_conf_t  *wlcf;
    ngx_http_workflow_task_ctx_t  *ctx;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    wlcf = ngx_http_get_module_loc_conf(r, ngx_http_workflow_module);

    if (wlcf->service->graph == NULL) {
        return ngx_http_workflow_unavailable(r, "The service's plugin could "
                                             "not be opened");
    }

    if (task_id->len > NGX_WORKFLOW_MAX_ID) {
        return ngx_http_workflow_reply_text(r, NGX_HTTP_NOT_FOUND,
                                    "{\"detail\":\"Task not found\"}");
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_workflow_task_ctx_t));
    cln = ngx_http_cleanup_add(r, 0);

    if (ctx == NULL || cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->request = r;
    ctx->task_id = *task_id;

    cln->handler = ngx_http_workflow_task_cleanup;
    cln->data = ctx;

    consumer = &wlcf->service->consumer;
    timeout = consumer->queue->redis.command_timeout;

    if (!wlcf->service->started) {

        /* it does not know yet where its tasks are */

    } else if (r->method == NGX_HTTP_DELETE) {
        ctx->call = ngx_workflow_task_cancel(consumer, task_id, timeout,
                                             ngx_http_workflow_task_handler,
                                             ctx);
    } else {
        ctx->call = ngx_workflow_task_status(consumer, task_id, timeout,
                                             ngx_http_workflow_task_handler,
                                             ctx);
    }

    if (ctx->call == NULL) {
        return ngx_http_workflow_unavailable(r, "Redis cannot be reached");
    }

    r->main->count++;

    if (ngx_http_workflow_watch(r) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_ERROR);
    }

    return NGX_DONE;
}


static void
ngx_http_workflow_task_handler(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_int_t                      rc;
    ngx_connection_t              *c;
    ngx_http_request_t            *r;
    ngx_http_workflow_task_ctx_t  *ctx;

    ctx = call->data;
    ctx->call = NULL;

    r = ctx->request;
    c = r->connection;

    r->read_event_handler = ngx_http_block_reading;

    if (r->method == NGX_HTTP_DELETE) {
        rc = ngx_http_workflow_task_cancelled(r, reply);

    } else if (reply && reply->type == REDIS_REPLY_NIL) {
        rc = ngx_http_workflow_reply_text(r, NGX_HTTP_NOT_FOUND,
                                    "{\"detail\":\"Task not found\"}");

    } else {
        rc = ngx_http_workflow_task_reply(r, &ctx->task_id, reply);
    }

    ngx_http_finalize_request(r, rc);

    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_workflow_task_cancelled(ngx_http_request_t *r, redisReply *reply)
{
    ngx_int_t  outstanding;

    switch (ngx_workflow_task_answer(reply, &outstanding)) {

    case NGX_WORKFLOW_ACCEPTED:
        return ngx_http_workflow_reply_text(r, NGX_HTTP_ACCEPTED, "null");

    case NGX_WORKFLOW_UNKNOWN:
        return ngx_http_workflow_reply_text(r, NGX_HTTP_NOT_FOUND,
                                    "{\"detail\":\"Task not found\"}");

    case NGX_WORKFLOW_ENDED:
        return ngx_http_workflow_reply_text(r, NGX_HTTP_CONFLICT,
                                    "{\"detail\":\"Task has ended\"}");

    default:
        return ngx_http_workflow_unavailable(r, "Redis cannot be reached");
    }
}


static ngx_int_t
ngx_http_workflow_task_reply(ngx_http_request_t *r, ngx_str_t *task_id,
    redisReply *reply)
{
    wf_buf_t                b = WF_BUF_INIT;
    ngx_int_t               rc;
    ngx_str_t               text;
    ngx_workflow_record_t   record;

    if (reply == NULL || reply->type != REDIS_REPLY_STRING) {
        return ngx_http_workflow_unavailable(r, "Redis cannot be reached");
    }

    text.data = (u_char *) reply->str;
    text.len = reply->len;

    if (ngx_workflow_record_parse(&text, &record) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "the record of task \"%V\" in Redis cannot be read",
                      task_id);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    wf_buf_adds(&b, "{\"task_id\":");
    wf_json_quote_utf8(&b, (char *) task_id->data, task_id->len);
    wf_buf_adds(&b, ",\"session_id\":");
    ngx_http_workflow_add_string(&b, &record.session);
    wf_buf_adds(&b, ",\"status\":");
    ngx_http_workflow_add_string(&b, &record.state);
    wf_buf_adds(&b, ",\"result\":");
    ngx_http_workflow_add_raw(&b, &record.result);
    wf_buf_adds(&b, ",\"error\":");
    ngx_http_workflow_add_string(&b, &record.error);
    wf_buf_adds(&b, ",\"attempts\":");
    ngx_http_workflow_add_raw(&b, &record.attempts);
    wf_buf_adds(&b, ",\"stream_events\":");
    ngx_http_workflow_add_raw(&b, &record.streamed);
    wf_buf_adds(&b, ",\"created_at\":");
    ngx_http_workflow_add_time(&b, &record.created);
    wf_buf_adds(&b, ",\"updated_at\":");
    ngx_http_workflow_add_time(&b, record.updated.data[0] == '-'
                                   ? &record.created : &record.updated);
    wf_buf_adds(&b, "}");

    rc = ngx_http_workflow_reply_buf(r, NGX_HTTP_OK, &b);

    wf_buf_free(&b);

    return rc;
}


static void
ngx_http_workflow_add_string(wf_buf_t *b, ngx_str_t *s)
{
    if (s->data) {
        wf_json_quote_utf8(b, (char *) s->data, s->len);

    } else {
        wf_buf_adds(b, "null");
    }
}


static void
ngx_http_workflow_add_raw(wf_buf_t *b, ngx_str_t *s)
{
    if (s->len) {
        wf_buf_add(b, s->data, s->len);

    } else {
        wf_buf_adds(b, "null");
    }
}


/* Milliseconds since the epoch as "2026-11-23T03:12:21.123Z". */

static void
ngx_http_workflow_add_time(wf_buf_t *b, ngx_str_t *s)
{
    u_char     *p;
    ngx_tm_t    tm;
    ngx_int_t   msec;
    u_char      text[sizeof("\"2026-11-23T03:12:21.123Z\"") + NGX_INT64_LEN];

    msec = ngx_atoi(s->data, s->len);

    if (msec == NGX_ERROR) {
        wf_buf_adds(b, "null");
        return;
    }

    ngx_gmtime(msec / 1000, &tm);

    p = ngx_sprintf(text, "\"%04d-%02d-%02dT%02d:%02d:%02d.%03iZ\"",
                    tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                    tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec,
                    msec % 1000);

    wf_buf_add(b, text, p - text);
}


static void
ngx_http_workflow_task_cleanup(void *data)
{
    ngx_http_workflow_task_ctx_t *ctx = data;

    if (ctx->call) {
        ngx_workflow_call_forget(ctx->call);
        ctx->call = NULL;
    }
}
