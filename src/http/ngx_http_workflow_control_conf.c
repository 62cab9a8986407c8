/* The control plane of a workflow_service: its URL, its files, its secrets. */

#include "ngx_http_workflow.h"

#include <curl/curl.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>


#define NGX_WORKFLOW_MAX_ANSWER      (64 * 1024 * 1024)
#define NGX_WORKFLOW_MAX_FILE        (1024 * 1024)
#define NGX_WORKFLOW_MIN_SECRET      16


static const char *ngx_http_workflow_control_absent(
    ngx_workflow_service_t *service);
static char *ngx_http_workflow_control_url(ngx_conf_t *cf,
    ngx_workflow_service_t *service, ngx_str_t *what);
static const char *ngx_http_workflow_control_check_url(ngx_conf_t *cf,
    CURLU *u, ngx_workflow_service_t *service);
static ngx_int_t ngx_http_workflow_control_part(CURLU *u, CURLUPart part,
    ngx_pool_t *pool, ngx_str_t *text);
static char *ngx_http_workflow_control_tls(ngx_conf_t *cf,
    ngx_workflow_service_t *service, ngx_str_t *what);
static const char *ngx_http_workflow_control_check_pair(wf_slice_t cert,
    wf_slice_t key);
static X509 *ngx_http_workflow_control_cert(wf_slice_t text);
static int ngx_http_workflow_control_no_password(char *buf, int size,
    int rwflag, void *data);
static char *ngx_http_workflow_control_secrets(ngx_conf_t *cf,
    ngx_workflow_service_t *service, ngx_str_t *what);
static char *ngx_http_workflow_control_read(ngx_conf_t *cf, ngx_str_t *path,
    const char *directive, ngx_str_t *what, wf_slice_t *text);


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

    rv = ngx_http_workflow_control_url(cf, service, what);

    if (rv == NGX_CONF_OK) {
        rv = ngx_http_workflow_control_tls(cf, service, what);
    }

    if (rv == NGX_CONF_OK && service->hash_secret_file.len) {
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

    if (service->hash_secret_file.len) {
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


static char *
ngx_http_workflow_control_tls(ngx_conf_t *cf, ngx_workflow_service_t *service,
    ngx_str_t *what)
{
    char            *rv;
    X509            *cert;
    wf_slice_t       text;
    const char      *error;
    wf_http_conf_t  *http;

    http = &service->control;

    if (ngx_strncasecmp(service->control_plane.data, (u_char *) "https:", 6)
        != 0)
    {
        if (service->control_plane_ssl_trusted_certificate.len
            || service->control_plane_ssl_certificate.len
            || service->control_plane_ssl_certificate_key.len
            || service->control_plane_ssl_verify != NGX_CONF_UNSET)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "%V has control_plane_ssl directives and no "
                               "TLS; write \"control_plane https://...;\" or "
                               "leave them out", what);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    ngx_conf_init_value(service->control_plane_ssl_verify, 1);
    http->verify = (int) service->control_plane_ssl_verify;

    if (service->control_plane_ssl_trusted_certificate.len) {

        rv = ngx_http_workflow_control_read(cf,
                            &service->control_plane_ssl_trusted_certificate,
                            "control_plane_ssl_trusted_certificate", what,
                            &text);
        if (rv != NGX_CONF_OK) {
            return rv;
        }

        cert = ngx_http_workflow_control_cert(text);

        if (cert == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "the \"control_plane_ssl_trusted_certificate\" "
                               "of %V has no certificate in it: \"%V\"", what,
                               &service->control_plane_ssl_trusted_certificate);
            return NGX_CONF_ERROR;
        }

        X509_free(cert);

        http->ca_file = (char *)
                        service->control_plane_ssl_trusted_certificate.data;
    }

    if (service->control_plane_ssl_certificate.len == 0
        && service->control_plane_ssl_certificate_key.len == 0)
    {
        return NGX_CONF_OK;
    }

    if (service->control_plane_ssl_certificate.len == 0
        || service->control_plane_ssl_certificate_key.len == 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%V has one of \"control_plane_ssl_certificate\" "
                           "and \"control_plane_ssl_certificate_key\"; write "
                           "both", what);
        return NGX_CONF_ERROR;
    }

    rv = ngx_http_workflow_control_read(cf,
                                        &service->control_plane_ssl_certificate,
                                        "control_plane_ssl_certificate", what,
                                        &http->cert);

    if (rv == NGX_CONF_OK) {
        rv = ngx_http_workflow_control_read(cf,
                                    &service->control_plane_ssl_certificate_key,
                                    "control_plane_ssl_certificate_key", what,
                                    &http->key);
    }

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    error = ngx_http_workflow_control_check_pair(http->cert, http->key);

    if (error) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the \"control_plane_ssl_certificate\" and "
                           "\"control_plane_ssl_certificate_key\" of %V: %s",
                           what, error);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static const char *
ngx_http_workflow_control_check_pair(wf_slice_t cert, wf_slice_t key)
{
    BIO         *bio;
    X509        *x509;
    EVP_PKEY    *pkey;
    const char  *error;

    x509 = ngx_http_workflow_control_cert(cert);

    if (x509 == NULL) {
        return "the first has no certificate in it";
    }

    bio = BIO_new_mem_buf(key.data, (int) key.len);
    pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL,
                                         ngx_http_workflow_control_no_password,
                                         NULL)
               : NULL;

    if (pkey == NULL) {
        error = "the second has no private key in it that is not encrypted";

    } else if (X509_check_private_key(x509, pkey) != 1) {
        error = "they do not belong together";

    } else {
        error = NULL;
    }

    ERR_clear_error();

    EVP_PKEY_free(pkey);
    BIO_free(bio);
    X509_free(x509);

    return error;
}


static X509 *
ngx_http_workflow_control_cert(wf_slice_t text)
{
    BIO   *bio;
    X509  *cert;

    bio = BIO_new_mem_buf(text.data, (int) text.len);
    if (bio == NULL) {
        return NULL;
    }

    cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

    BIO_free(bio);
    ERR_clear_error();

    return cert;
}


/* Nobody is asked at the terminal. */

static int
ngx_http_workflow_control_no_password(char *buf, int size, int rwflag,
    void *data)
{
    return -1;
}


/* One secret a line; the first one signs, both are good for reading. */

static char *
ngx_http_workflow_control_secrets(ngx_conf_t *cf,
    ngx_workflow_service_t *service, ngx_str_t *what)
{
    char                *rv;
    size_t               len;
    const char          *p, *end, *line, *error;
    wf_slice_t           text;
    wf_state_secrets_t  *secrets;

    rv = ngx_http_workflow_control_read(cf, &service->hash_secret_file,
                                        "hash_secret_file", what, &text);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    secrets = &service->secrets;
    error = NULL;
    end = text.data + text.len;

    for (p = text.data; p < end; p = line + 1) {

        line = memchr(p, '\n', end - p);
        if (line == NULL) {
            line = end;
        }

        len = line - p;

        if (len && p[len - 1] == '\r') {
            len--;
        }

        if (len == 0) {
            continue;
        }

        if (secrets->n == WF_STATE_MAX_SECRETS) {
            error = "has more than two secrets";
            break;
        }

        if (len < NGX_WORKFLOW_MIN_SECRET) {
            error = "has a secret of less than 16 characters";
            break;
        }

        secrets->secrets[secrets->n].data = p;
        secrets->secrets[secrets->n++].len = len;
    }

    if (error == NULL && secrets->n == 0) {
        error = "is empty";
    }

    if (error) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the \"hash_secret_file\" of %V %s: \"%V\"; write "
                           "one secret, or a new and an old one, each on a "
                           "line (\"openssl rand -hex 32\" makes one)", what,
                           error, &service->hash_secret_file);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* A whole file, now, as whoever may read it; a NUL is put behind it. */

static char *
ngx_http_workflow_control_read(ngx_conf_t *cf, ngx_str_t *path,
    const char *directive, ngx_str_t *what, wf_slice_t *text)
{
    size_t           size;
    u_char          *buf;
    ssize_t          n;
    ngx_err_t        err;
    ngx_file_t       file;
    ngx_file_info_t  fi;

    if (ngx_conf_full_name(cf->cycle, path, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&file, sizeof(ngx_file_t));

    file.name = *path;
    file.log = cf->log;
    file.fd = ngx_open_file(path->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (file.fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "cannot open the \"%s\" of %V, \"%V\"", directive,
                           what, path);
        return NGX_CONF_ERROR;
    }

    n = NGX_ERROR;
    err = 0;
    buf = NULL;

    if (ngx_fd_info(file.fd, &fi) == NGX_FILE_ERROR) {
        err = ngx_errno;

    } else if (!ngx_is_file(&fi) || ngx_file_size(&fi) > NGX_WORKFLOW_MAX_FILE)
    {
        err = EFBIG;

    } else {
        size = (size_t) ngx_file_size(&fi);
        buf = ngx_pnalloc(cf->pool, size + 1);

        if (buf) {
            n = ngx_read_file(&file, buf, size, 0);
            err = ngx_errno;
        }
    }

    if (ngx_close_file(file.fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", path);
    }

    if (n == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, err,
                           "cannot read the \"%s\" of %V, \"%V\"", directive,
                           what, path);
        return NGX_CONF_ERROR;
    }

    buf[n] = '\0';

    text->data = (char *) buf;
    text->len = n;

    return NGX_CONF_OK;
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
