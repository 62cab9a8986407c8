/*
 * TLS to Redis, where hiredis has it (1.0 and later).
 */

#ifndef NGX_WORKFLOW_TLS_H_INCLUDED_
#define NGX_WORKFLOW_TLS_H_INCLUDED_


#include "ngx_workflow_redis.h"


/* An SSL_CTX, freed with cf's pool; NULL: an error was logged.  Certificates
 * are files, empty: the system's, or none. */
void *ngx_workflow_tls_create(ngx_conf_t *cf, ngx_str_t *trusted,
    ngx_str_t *certificate, ngx_str_t *key, ngx_uint_t verify);

/* Begin TLS on a connection; the peer must be `host`, if it is verified. */
ngx_int_t ngx_workflow_tls_start(ngx_workflow_redis_t *redis, void *ssl_ctx,
    ngx_str_t *host);

/* Why TLS has failed, if it has: hiredis does not tell. */
void ngx_workflow_tls_reason(void *session, char *reason, size_t size);


#endif /* NGX_WORKFLOW_TLS_H_INCLUDED_ */
