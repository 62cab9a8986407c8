/* The control plane of a workflow_service: its URL, and its queue. */

#include "ngx_http_workflow.h"

#include <curl/curl.h>


#define NGX_WORKFLOW_MAX_ANSWER      (64 * 1024 * 1024)


static const char *ngx_http_workflow_control_absent(
    ngx_workflow_service_t *service);
static char *ngx_http_workflow_control_url(ngx_conf_t *cf,
    ngx_workflow_service_t *service, ngx_str_t *what);
static const char *ngx_http_workflow_control_check_url(ngx_conf_t *cf,
    CURLU *u, ngx_workflow_service_t *service);
static ngx_int_t ngx_http_workflow_control_part(CURLU *u, CURLUPart part,
    ngx_pool_t *pool, ngx_str_t *text);


char *
ngx_http_workflow_control_finish(ngx_conf_t *cf,
    ngx_workflow_service_t *service, ngx_str_t *what)
{
    char        *rv;
    const char  *directive;

    if (service->message_queue_config == 1 && service->queue.len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%V has both \"queue\" and \"message_queue_config "
                           "on\"; leave out one of them", what);
        return NGX_CONF_ERROR;
    }

    if (service->control_plane.len == 0) {
        directive = ngx_http_workflow_control_absent(service);

        if (directive || service->control_plane.data) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "%V has \"%s\" without a control plane; write "
                               "\"control_plane http://127.0.0.1:8000;\"",
                               what, directive ? directive : "control_plane");
            return NGX_CONF_ERROR;
        }
    }

    ngx_conf_init_msec_value(service->control_plane_timeout, 5000);
    ngx_conf_init_msec_value(service->register_interval, 30000);
    ngx_conf_init_value(service->message_queue_config, 0);
    ngx_conf_init_value(service->session_ttl, 7 * 24 * 3600);

    if (service->control_plane.len == 0) {
        return NGX_CONF_OK;
    }

    service->control.timeout = (uint32_t) service->control_plane_timeout;
    service->control.max_answer = NGX_WORKFLOW_MAX_ANSWER;
    service->control.leaving = &ngx_terminate;

    rv = ngx_http_workflow_control_url(cf, service, what);

    if (rv == NGX_CONF_OK) {
        rv = ngx_http_workflow_control_tls(cf, service, what);
    }

    /* an empty name is an error, and not no secrets */

    if (rv == NGX_CONF_OK && service->hash_secret_file.data) {
        rv = ngx_http_workflow_control_secrets(cf, service, what);
    }

    return rv;
}


/* A directive that is of no use without a control plane. */

static const char *
ngx_http_workflow_control_absent(ngx_workflow_service_t *service)
{
    if (service->message_queue_config == 1) {
        return "message_queue_config on";
    }

    if (service->hash_secret_file.data) {
        return "hash_secret_file";
    }

    if (service->control_plane_timeout != NGX_CONF_UNSET_MSEC) {
        return "control_plane_timeout";
    }

    if (service->register_interval != NGX_CONF_UNSET_MSEC) {
        return "register_interval";
    }

    if (service->control_plane_ssl_trusted_certificate.len) {
        return "control_plane_ssl_trusted_certificate";
    }

    if (service->control_plane_ssl_certificate.len) {
        return "control_plane_ssl_certificate";
    }

    if (service->control_plane_ssl_certificate_key.len) {
        return "control_plane_ssl_certificate_key";
    }

    if (service->control_plane_ssl_verify != NGX_CONF_UNSET) {
        return "control_plane_ssl_verify";
    }

    return NULL;
}


static char *
ngx_http_workflow_control_url(ngx_conf_t *cf, ngx_workflow_service_t *service,
    ngx_str_t *what)
{
    u_char      *p;
    CURLU       *u;
    const char  *error;

    u = curl_url();
    if (u == NULL) {
        return NGX_CONF_ERROR;
    }

    if (curl_url_set(u, CURLUPART_URL, (char *) service->control_plane.data,
                     0)
        == CURLUE_OK)
    {
        error = ngx_http_workflow_control_check_url(cf, u, service);

    } else {
        error = "it is not an URL";
    }

    curl_url_cleanup(u);

    /* it may hold a password, and is not repeated */

    if (error) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the \"control_plane\" of %V is wrong: %s; write "
                           "for example \"control_plane "
                           "http://127.0.0.1:8000;\"", what, error);
        return NGX_CONF_ERROR;
    }

    /* paths are put behind it */

    p = ngx_pnalloc(cf->pool, service->control_plane.len + 1);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    (void) ngx_cpystrn(p, service->control_plane.data,
                       service->control_plane.len + 1);

    service->control.url = (char *) p;

    for (p += service->control_plane.len; p[-1] == '/'; p--) {
        p[-1] = '\0';
    }

    return NGX_CONF_OK;
}


static const char *
ngx_http_workflow_control_check_url(ngx_conf_t *cf, CURLU *u,
    ngx_workflow_service_t *service)
{
    u_char     *p;
    ngx_str_t   scheme, host, port, path, query, fragment;

    if (ngx_http_workflow_control_part(u, CURLUPART_SCHEME, cf->pool, &scheme)
        != NGX_OK
        || ngx_http_workflow_control_part(u, CURLUPART_HOST, cf->pool, &host)
           != NGX_OK
        || ngx_http_workflow_control_part(u, CURLUPART_PORT, cf->pool, &port)
           != NGX_OK
        || ngx_http_workflow_control_part(u, CURLUPART_PATH, cf->pool, &path)
           != NGX_OK
        || ngx_http_workflow_control_part(u, CURLUPART_QUERY, cf->pool, &query)
           != NGX_OK
        || ngx_http_workflow_control_part(u, CURLUPART_FRAGMENT, cf->pool,
                                          &fragment)
           != NGX_OK)
    {
        return "no memory";
    }

    if (ngx_strcmp(scheme.data, "http") != 0
        && ngx_strcmp(scheme.data, "https") != 0)
    {
        return "it begins with neither \"http://\" nor \"https://\"";
    }

    if (query.len || fragment.len) {
        return "it has something behind its path";
    }

    if (port.len && ngx_atoi(port.data, port.len) == 0) {
        return "nothing listens on port 0";
    }

    if (ngx_strcmp(scheme.data, "https") == 0
        && !(curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_SSL))
    {
        return "libcurl was built without TLS here";
    }

    while (path.len && path.data[path.len - 1] == '/') {
        path.len--;
    }

    p = ngx_pnalloc(cf->pool, scheme.len + sizeof("://:") + host.len + port.len
                              + path.len);
    if (p == NULL) {
        return "no memory";
    }

    service->control_name.data = p;
    p = ngx_sprintf(p, "%V://%V%s%V%V", &scheme, &host, port.len ? ":" : "",
                    &port, &path);
    service->control_name.len = p - service->control_name.data;

    return NULL;
}


/* A part that is absent is empty. */

static ngx_int_t
ngx_http_workflow_control_part(CURLU *u, CURLUPart part, ngx_pool_t *pool,
    ngx_str_t *text)
{
    char  *value;

    if (curl_url_get(u, part, &value, 0) != CURLUE_OK) {
        ngx_str_set(text, "");
        return NGX_OK;
    }

    text->len = ngx_strlen(value);
    text->data = ngx_pnalloc(pool, text->len + 1);

    if (text->data) {
        (void) ngx_cpystrn(text->data, (u_char *) value, text->len + 1);
    }

    curl_free(value);

    return text->data ? NGX_OK : NGX_ERROR;
}


/*
 * The queue of a control plane is one that nginx.conf does not declare, named
 * after its URL, so that services of one control plane share it.
 */

ngx_int_t
ngx_http_workflow_control_queue(ngx_conf_t *cf,
    ngx_http_workflow_main_conf_t *wmcf, ngx_workflow_service_t *service)
{
    ngx_uint_t              i;
    ngx_workflow_queue_t  **queue, *q;

    service->queue = service->control_name;

    queue = wmcf->queues.elts;

    for (i = 0; i < wmcf->queues.nelts; i++) {
        if (queue[i]->name.len == service->queue.len
            && ngx_memcmp(queue[i]->name.data, service->queue.data,
                          service->queue.len)
               == 0)
        {
            return NGX_OK;
        }
    }

    q = ngx_pcalloc(cf->pool, sizeof(ngx_workflow_queue_t));
    if (q == NULL) {
        return NGX_ERROR;
    }

    q->name = service->queue;
    q->redis.connect_timeout = 5000;
    q->redis.command_timeout = 5000;

    queue = ngx_array_push(&wmcf->queues);
    if (queue == NULL) {
        return NGX_ERROR;
    }

    *queue = q;

    return NGX_OK;
}
