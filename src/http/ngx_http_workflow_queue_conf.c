/* workflow_queue name { ... } */

#include "ngx_http_workflow.h"

#if (NGX_WORKFLOW_HIREDIS_SSL)
#include "ngx_workflow_tls.h"
#endif


/* The block as it is written. */

typedef struct {
    ngx_workflow_redis_conf_t   redis;        /* of the url */
    ngx_str_t                   url;
    ngx_str_t                   topic_namespace;
    ngx_msec_t                  connect_timeout;
    ngx_msec_t                  command_timeout;
    ngx_str_t                   username;
    ngx_str_t                   password;
    ngx_str_t                   ssl_trusted_certificate;
    ngx_str_t                   ssl_certificate;
    ngx_str_t                   ssl_certificate_key;
    ngx_flag_t                  ssl_verify;
    ngx_str_t                   ssl_name;
} ngx_http_workflow_queue_conf_t;


static char *ngx_http_workflow_queue_url(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_workflow_queue_namespace(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static const char *ngx_http_workflow_queue_range(void *conf);
static char *ngx_http_workflow_queue_finish(ngx_conf_t *cf,
    ngx_http_workflow_queue_conf_t *conf, ngx_workflow_queue_t *queue,
    ngx_str_t *what);
static char *ngx_http_workflow_queue_tls(ngx_conf_t *cf,
    ngx_http_workflow_queue_conf_t *conf, ngx_workflow_queue_t *queue,
    ngx_str_t *what);


#define ngx_http_workflow_queue_directive(name, set, example)                 \
    { { ngx_string(#name), NGX_CONF_TAKE1, set, 0,                            \
        offsetof(ngx_http_workflow_queue_conf_t, name), NULL }, example }


static ngx_http_workflow_directive_t  ngx_http_workflow_queue_directives[] = {

    ngx_http_workflow_queue_directive(url, ngx_http_workflow_queue_url,
        "url redis://127.0.0.1:6379/0;"),

    ngx_http_workflow_queue_directive(topic_namespace,
        ngx_http_workflow_queue_namespace, "topic_namespace llama_deploy;"),

    ngx_http_workflow_queue_directive(connect_timeout, ngx_conf_set_msec_slot,
        "connect_timeout 5s;"),

    ngx_http_workflow_queue_directive(command_timeout, ngx_conf_set_msec_slot,
        "command_timeout 5s;"),

    ngx_http_workflow_queue_directive(username, ngx_conf_set_str_slot,
        "username workflow;"),

    ngx_http_workflow_queue_directive(password, ngx_conf_set_str_slot,
        "password secret;"),

    ngx_http_workflow_queue_directive(ssl_trusted_certificate,
        ngx_conf_set_str_slot,
        "ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;"),

    ngx_http_workflow_queue_directive(ssl_certificate, ngx_conf_set_str_slot,
        "ssl_certificate client.crt;"),

    ngx_http_workflow_queue_directive(ssl_certificate_key,
        ngx_conf_set_str_slot, "ssl_certificate_key client.key;"),

    ngx_http_workflow_queue_directive(ssl_verify, ngx_conf_set_flag_slot,
        "ssl_verify on;"),

    ngx_http_workflow_queue_directive(ssl_name, ngx_conf_set_str_slot,
        "ssl_name redis.example.com;"),

    { ngx_null_command, NULL }
};


char *
ngx_http_workflow_queue_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_workflow_main_conf_t *wmcf = conf;

    char                            *rv;
    ngx_str_t                       *value, what;
    ngx_uint_t                       i;
    ngx_workflow_queue_t           **queue, *q;
    ngx_http_workflow_queue_conf_t   block;
    u_char                           buf[NGX_WORKFLOW_MAX_NAME + 32];

    value = cf->args->elts;

    if (ngx_http_workflow_name(cf, "workflow_queue", &value[1]) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    queue = wmcf->queues.elts;

    for (i = 0; i < wmcf->queues.nelts; i++) {
        if (queue[i]->name.len == value[1].len
            && ngx_strcmp(queue[i]->name.data, value[1].data) == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "workflow_queue \"%V\" is declared twice, first "
                               "in %V:%ui; give one of them another name",
                               &value[1], &queue[i]->file, queue[i]->line);
            return NGX_CONF_ERROR;
        }
    }

    q = ngx_pcalloc(cf->pool, sizeof(ngx_workflow_queue_t));
    if (q == NULL) {
        return NGX_CONF_ERROR;
    }

    q->name = value[1];
    q->file = cf->conf_file->file.name;
    q->line = cf->conf_file->line;

    what.data = buf;
    what.len = ngx_sprintf(buf, "workflow_queue \"%V\"", &q->name) - buf;

    ngx_memzero(&block, sizeof(ngx_http_workflow_queue_conf_t));

    block.connect_timeout = NGX_CONF_UNSET_MSEC;
    block.command_timeout = NGX_CONF_UNSET_MSEC;
    block.ssl_verify = NGX_CONF_UNSET;

    rv = ngx_http_workflow_block(cf, ngx_http_workflow_queue_directives,
                                 &block, &what, ngx_http_workflow_queue_range);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    rv = ngx_http_workflow_queue_finish(cf, &block, q, &what);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    queue = ngx_array_push(&wmcf->queues);
    if (queue == NULL) {
        return NGX_CONF_ERROR;
    }

    *queue = q;

    return NGX_CONF_OK;
}


static char *
ngx_http_workflow_queue_url(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_workflow_queue_conf_t *block = conf;

    char  *rv;

    rv = ngx_conf_set_str_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_workflow_url(cf->pool, &block->redis, &block->url);
}


static char *
ngx_http_workflow_queue_namespace(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_workflow_queue_conf_t *block = conf;

    char  *rv;

    rv = ngx_conf_set_str_slot(cf, cmd, conf);

    if (rv == NGX_CONF_OK
        && ngx_http_workflow_name(cf, "topic_namespace",
                                  &block->topic_namespace)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return rv;
}


static const char *
ngx_http_workflow_queue_range(void *conf)
{
    ngx_http_workflow_queue_conf_t *block = conf;

    if (block->connect_timeout == 0 || block->command_timeout == 0) {
        return "the range is from 1ms on";
    }

    return NULL;
}


static char *
ngx_http_workflow_queue_finish(ngx_conf_t *cf,
    ngx_http_workflow_queue_conf_t *conf, ngx_workflow_queue_t *queue,
    ngx_str_t *what)
{
    char                       *rv;
    ngx_workflow_redis_conf_t  *redis;

    if (conf->url.data == NULL) {
        ngx_str_set(&conf->url, "redis://127.0.0.1:6379/0");

        rv = ngx_workflow_url(cf->pool, &conf->redis, &conf->url);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    queue->redis = conf->redis;
    redis = &queue->redis;

    ngx_conf_init_msec_value(conf->connect_timeout, 5000);
    ngx_conf_init_msec_value(conf->command_timeout, 5000);

    queue->topic_namespace = conf->topic_namespace;
    redis->connect_timeout = conf->connect_timeout;
    redis->command_timeout = conf->command_timeout;

    if (conf->username.len) {
        redis->username = conf->username;
    }

    if (conf->password.len) {
        redis->password = conf->password;
    }

    if (redis->username.len && redis->password.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%V has a username and no password; write "
                           "\"password ...;\"", what);
        return NGX_CONF_ERROR;
    }

    return ngx_http_workflow_queue_tls(cf, conf, queue, what);
}


static char *
ngx_http_workflow_queue_tls(ngx_conf_t *cf,
    ngx_http_workflow_queue_conf_t *conf, ngx_workflow_queue_t *queue,
    ngx_str_t *what)
{
    if (!queue->redis.tls) {

        if (conf->ssl_trusted_certificate.len || conf->ssl_certificate.len
            || conf->ssl_certificate_key.len || conf->ssl_name.len
            || conf->ssl_verify != NGX_CONF_UNSET)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "%V has ssl directives and no TLS; write "
                               "\"url rediss://...;\" or leave them out",
                               what);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

#if (NGX_WORKFLOW_HIREDIS_SSL)

    if ((conf->ssl_certificate.len == 0)
        != (conf->ssl_certificate_key.len == 0))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%V has one of \"ssl_certificate\" and "
                           "\"ssl_certificate_key\"; write both", what);
        return NGX_CONF_ERROR;
    }

    ngx_conf_init_value(conf->ssl_verify, 1);

    if (conf->ssl_name.len) {
        queue->redis.host = conf->ssl_name;
    }

    queue->redis.ssl = ngx_workflow_tls_create(cf,
                                               &conf->ssl_trusted_certificate,
                                               &conf->ssl_certificate,
                                               &conf->ssl_certificate_key,
                                               conf->ssl_verify);

    return queue->redis.ssl ? NGX_CONF_OK : NGX_CONF_ERROR;

#else

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "the url of %V asks for TLS, and this module was built "
                       "with a hiredis that has none (hiredis 1.0 and its "
                       "hiredis_ssl are needed); write \"url redis://...;\" or "
                       "build it with a newer hiredis", what);

    return NGX_CONF_ERROR;

#endif
}
