#include "ngx_workflow_redis.h"

#if (NGX_WORKFLOW_HIREDIS_SSL)

#include "ngx_workflow_tls.h"

#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>


static void ngx_workflow_tls_cleanup(void *data);
static void *ngx_workflow_tls_error(ngx_conf_t *cf, const char *what,
    ngx_str_t *file);


void *
ngx_workflow_tls_create(ngx_conf_t *cf, ngx_str_t *trusted,
    ngx_str_t *certificate, ngx_str_t *key, ngx_uint_t verify)
{
    SSL_CTX             *ctx;
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL) {
        return ngx_workflow_tls_error(cf, "SSL_CTX_new() failed", NULL);
    }

    cln->handler = ngx_workflow_tls_cleanup;
    cln->data = ctx;

    (void) SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);

    /* hiredis writes what is in its buffer, which may have moved meanwhile */

    (void) SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE
                                 |SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);

    SSL_CTX_set_verify(ctx, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);

    if (trusted->len) {

        if (ngx_conf_full_name(cf->cycle, trusted, 1) != NGX_OK) {
            return NULL;
        }

        if (SSL_CTX_load_verify_locations(ctx, (char *) trusted->data, NULL)
            != 1)
        {
            return ngx_workflow_tls_error(cf, "cannot load "
                                          "\"ssl_trusted_certificate\"",
                                          trusted);
        }

    } else if (SSL_CTX_set_default_verify_paths(ctx) != 1) {
        return ngx_workflow_tls_error(cf, "SSL_CTX_set_default_verify_paths() "
                                      "failed", NULL);
    }

    if (certificate->len == 0) {
        return ctx;
    }

    if (ngx_conf_full_name(cf->cycle, certificate, 1) != NGX_OK
        || ngx_conf_full_name(cf->cycle, key, 1) != NGX_OK)
    {
        return NULL;
    }

    if (SSL_CTX_use_certificate_chain_file(ctx, (char *) certificate->data)
        != 1)
    {
        return ngx_workflow_tls_error(cf, "cannot load \"ssl_certificate\"",
                                      certificate);
    }

    if (SSL_CTX_use_PrivateKey_file(ctx, (char *) key->data, SSL_FILETYPE_PEM)
        != 1)
    {
        return ngx_workflow_tls_error(cf, "cannot load "
                                      "\"ssl_certificate_key\"", key);
    }

    return ctx;
}


ngx_int_t
ngx_workflow_tls_start(ngx_workflow_redis_t *redis, void *ssl_ctx,
    ngx_str_t *host)
{
    SSL     *ssl;
    char     name[256];
    u_char   addr[sizeof(struct in6_addr)];

    if (host->len >= sizeof(name)) {
        return NGX_ERROR;
    }

    (void) ngx_cpystrn((u_char *) name, host->data, host->len + 1);

    ssl = SSL_new(ssl_ctx);
    if (ssl == NULL) {
        return NGX_ERROR;
    }

    if (inet_pton(AF_INET, name, addr) == 1
        || inet_pton(AF_INET6, name, addr) == 1)
    {
        if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) != 1) {
            SSL_free(ssl);
            return NGX_ERROR;
        }

    } else if (SSL_set1_host(ssl, name) != 1
               || SSL_set_tlsext_host_name(ssl, name) != 1)
    {
        SSL_free(ssl);
        return NGX_ERROR;
    }

    /* hiredis owns it from here on, unless it fails */

    if (redisInitiateSSL(&redis->context->c, ssl) != REDIS_OK) {
        SSL_free(ssl);
        return NGX_ERROR;
    }

    redis->session = ssl;

    return NGX_OK;
}


void
ngx_workflow_tls_reason(void *session, char *reason, size_t size)
{
    long           result;
    unsigned long  error;

    result = SSL_get_verify_result(session);
    error = ERR_get_error();

    ERR_clear_error();

    if (error) {
        ERR_error_string_n(error, reason, size);
    }

    if (result != X509_V_OK
        && (SSL_get_verify_mode(session) & SSL_VERIFY_PEER))
    {
        (void) ngx_snprintf((u_char *) reason, size - 1,
                            "certificate verify failed: %s%Z",
                            X509_verify_cert_error_string(result));
        reason[size - 1] = '\0';
    }
}


static void
ngx_workflow_tls_cleanup(void *data)
{
    SSL_CTX_free(data);
}


static void *
ngx_workflow_tls_error(ngx_conf_t *cf, const char *what, ngx_str_t *file)
{
    char  text[256];

    ERR_error_string_n(ERR_get_error(), text, sizeof(text));
    ERR_clear_error();

    if (file) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s %V (%s)", what, file,
                           text);
    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s (%s)", what, text);
    }

    return NULL;
}

#endif
