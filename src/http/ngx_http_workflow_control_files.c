/* The files that a control plane takes: certificates, and secrets that sign
 * what is kept there. */

#include "ngx_http_workflow.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>


#define NGX_WORKFLOW_MAX_FILE    (1024 * 1024)
#define NGX_WORKFLOW_MIN_SECRET  16


static const char *ngx_http_workflow_control_check_pair(wf_slice_t cert,
    wf_slice_t key);
static X509 *ngx_http_workflow_control_cert(wf_slice_t text);
static int ngx_http_workflow_control_no_password(char *buf, int size,
    int rwflag, void *data);
static char *ngx_http_workflow_control_read(ngx_conf_t *cf, ngx_str_t *path,
    const char *directive, ngx_str_t *what, wf_slice_t *text);


char *
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

char *
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

    } else if (!ngx_is_file(&fi)) {
        err = ngx_is_dir(&fi) ? NGX_EISDIR : NGX_EINVAL;

    } else if (ngx_file_size(&fi) > NGX_WORKFLOW_MAX_FILE) {
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
