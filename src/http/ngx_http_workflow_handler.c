/* The location handler: which endpoint is asked for, and the service's own. */

#include "ngx_http_workflow.h"

#include "wf_json.h"


#define NGX_HTTP_WORKFLOW_RETRY_AFTER  "1"


static ngx_int_t ngx_http_workflow_not_found(ngx_http_request_t *r);
static ngx_int_t ngx_http_workflow_not_allowed(ngx_http_request_t *r,
    const char *allow);
static ngx_int_t ngx_http_workflow_status(ngx_http_request_t *r,
    ngx_http_workflow_loc_conf_t *wlcf);
static ngx_int_t ngx_http_workflow_add_header(ngx_http_request_t *r,
    const char *key, const char *value);


ngx_int_t
ngx_http_workflow_handler(ngx_http_request_t *r)
{
    ngx_str_t                      path;
    ngx_http_workflow_loc_conf_t  *wlcf;

    wlcf = ngx_http_get_module_loc_conf(r, ngx_http_workflow_module);

    /* "rewrite ... break" may have changed the path: it is taken whole then */

    path = r->uri;

    if (path.len >= wlcf->location.len
        && ngx_memcmp(path.data, wlcf->location.data, wlcf->location.len) == 0)
    {
        path.data += wlcf->location.len;
        path.len -= wlcf->location.len;
    }

    if (path.len && path.data[0] == '/') {
        path.data++;
        path.len--;

    } else if (path.len && path.data[-1] != '/') {

        /* "/greeting" is not the beginning of "/greetings" */

        return ngx_http_workflow_not_found(r);
    }

    if (path.len == 0) {

        if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
            return ngx_http_workflow_not_allowed(r, "GET, HEAD");
        }

        return ngx_http_workflow_status(r, wlcf);
    }

    if (path.len == sizeof("process_message") - 1
        && ngx_memcmp(path.data, "process_message", path.len) == 0)
    {
        if (r->method != NGX_HTTP_POST) {
            return ngx_http_workflow_not_allowed(r, "POST");
        }

        return ngx_http_workflow_message(r);
    }

    if (path.len > sizeof("tasks/") - 1
        && ngx_memcmp(path.data, "tasks/", sizeof("tasks/") - 1) == 0)
    {
        path.data += sizeof("tasks/") - 1;
        path.len -= sizeof("tasks/") - 1;

        if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_DELETE))) {
            return ngx_http_workflow_not_allowed(r, "GET, HEAD, DELETE");
        }

        return ngx_http_workflow_task(r, &path);
    }

    return ngx_http_workflow_not_found(r);
}


static ngx_int_t
ngx_http_workflow_not_found(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_workflow_reply_text(r, NGX_HTTP_NOT_FOUND,
                                        "{\"detail\":\"Not Found\"}");
}


static ngx_int_t
ngx_http_workflow_not_allowed(ngx_http_request_t *r, const char *allow)
{
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_workflow_add_header(r, "Allow", allow) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_workflow_reply_text(r, NGX_HTTP_NOT_ALLOWED,
                                        "{\"detail\":\"Method Not Allowed\"}");
}


ngx_int_t
ngx_http_workflow_status_text(ngx_conf_t *cf,
    ngx_http_workflow_loc_conf_t *conf)
{
    wf_buf_t                 b = WF_BUF_INIT;
    ngx_int_t                rc;
    ngx_workflow_service_t  *service;

    service = conf->service;

    wf_buf_adds(&b, "{\"service_name\":");
    wf_json_quote_utf8(&b, (char *) service->name.data, service->name.len);
    wf_buf_adds(&b, ",\"description\":");
    wf_json_quote_utf8(&b, (char *) service->description.data,
                       service->description.len);
    wf_buf_adds(&b, ",\"running\":");
    wf_buf_adds(&b, service->running ? "\"True\"" : "\"False\"");
    wf_buf_adds(&b, ",\"step_interval\":\"");
    wf_buf_add(&b, service->interval_text.data, service->interval_text.len);
    wf_buf_adds(&b, "\",\"num_outstanding_calls\":\"");

    rc = NGX_ERROR;

    if (!b.failed) {
        conf->status.len = b.len;
        conf->status.data = ngx_pnalloc(cf->pool, b.len);

        if (conf->status.data) {
            ngx_memcpy(conf->status.data, b.data, b.len);
            rc = NGX_OK;
        }
    }

    wf_buf_free(&b);

    return rc;
}


static ngx_int_t
ngx_http_workflow_status(ngx_http_request_t *r,
    ngx_http_workflow_loc_conf_t *wlcf)
{
    u_char             *data, *p;
    ngx_int_t           rc;
    ngx_atomic_uint_t   n;

    static const char  tail[] = "\",\"type\":\"workflow_service\"}";

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    data = ngx_pnalloc(r->pool, wlcf->status.len + NGX_ATOMIC_T_LEN
                                + sizeof(tail) - 1);
    if (data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    n = wlcf->service->shared ? wlcf->service->shared->outstanding : 0;

    p = ngx_cpymem(data, wlcf->status.data, wlcf->status.len);
    p = ngx_sprintf(p, "%uA", n);
    p = ngx_cpymem(p, tail, sizeof(tail) - 1);

    return ngx_http_workflow_reply(r, NGX_HTTP_OK, data, p - data);
}


ngx_int_t
ngx_http_workflow_reply(ngx_http_request_t *r, ngx_uint_t status, u_char *data,
    size_t len)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    r->headers_out.status = status;
    r->headers_out.content_length_n = len;

    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = data;
    b->last = data + len;
    b->memory = 1;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
ngx_http_workflow_reply_buf(ngx_http_request_t *r, ngx_uint_t status,
    wf_buf_t *b)
{
    u_char  *data;

    data = b->failed ? NULL : ngx_pnalloc(r->pool, b->len);
    if (data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(data, b->data, b->len);

    return ngx_http_workflow_reply(r, status, data, b->len);
}


ngx_int_t
ngx_http_workflow_unavailable(ngx_http_request_t *r, const char *detail)
{
    u_char  *data, *p;
    size_t   len;

    len = sizeof("{\"detail\":\"\"}") - 1 + ngx_strlen(detail);

    data = ngx_pnalloc(r->pool, len);
    if (data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_sprintf(data, "{\"detail\":\"%s\"}", detail);

    if (ngx_http_workflow_add_header(r, "Retry-After",
                                     NGX_HTTP_WORKFLOW_RETRY_AFTER)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_workflow_reply(r, NGX_HTTP_SERVICE_UNAVAILABLE, data,
                                   p - data);
}


ngx_int_t
ngx_http_workflow_watch(ngx_http_request_t *r)
{
    ngx_event_t  *rev;

    rev = r->connection->read;

    r->read_event_handler = ngx_http_test_reading;

    /* it may have left already, and its event is gone */

    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);
        return NGX_OK;
    }

    return ngx_handle_read_event(rev, 0);
}


static ngx_int_t
ngx_http_workflow_add_header(ngx_http_request_t *r, const char *key,
    const char *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif
    h->key.data = (u_char *) key;
    h->key.len = ngx_strlen(key);
    h->value.data = (u_char *) value;
    h->value.len = ngx_strlen(value);

    return NGX_OK;
}
