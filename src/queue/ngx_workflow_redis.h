/*
 * A connection to Redis: hiredis' asynchronous API on nginx' events.
 *
 * A connection that is lost is made again for ever, with growing, jittered
 * delay.  It is ready once it is authenticated, has its database selected and
 * its opening commands answered.  Worker's event loop only.
 */

#ifndef NGX_WORKFLOW_REDIS_H_INCLUDED_
#define NGX_WORKFLOW_REDIS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include <hiredis/hiredis.h>
#include <hiredis/async.h>


typedef struct ngx_workflow_redis_s     ngx_workflow_redis_t;
typedef struct ngx_workflow_command_s   ngx_workflow_command_t;


/* Where and as whom to connect; made when the configuration is read. */

typedef struct {
    ngx_str_t               url;         /* as written, without the password */
    ngx_addr_t             *addrs;       /* TCP; all addresses of the name */
    ngx_uint_t              naddrs;
    ngx_str_t               path;        /* unix socket, NUL-terminated */
    ngx_str_t               host;
    ngx_str_t               username;
    ngx_str_t               password;
    ngx_uint_t              database;
    ngx_msec_t              connect_timeout;
    ngx_msec_t              command_timeout;
    void                   *ssl;         /* SSL_CTX of a TLS connection */
    unsigned                tls:1;
} ngx_workflow_redis_conf_t;


/*
 * A command under way.  The sender owns it and leaves it alone until its
 * handler is called, once; reply NULL: the connection was lost, and whether
 * Redis has run the command is unknown.
 */

typedef void (*ngx_workflow_command_pt)(ngx_workflow_command_t *command,
    redisReply *reply);

struct ngx_workflow_command_s {
    ngx_workflow_command_pt     handler;
    void                       *data;
};


struct ngx_workflow_redis_s {
    ngx_workflow_redis_conf_t  *conf;
    const char                 *purpose;     /* for the log */
    ngx_log_t                  *log;

    void                      (*ready)(ngx_workflow_redis_t *redis);

    /* after ready: the connection is gone, and will be made again */
    void                      (*lost)(ngx_workflow_redis_t *redis);

    void                      (*message)(ngx_workflow_redis_t *redis,
                                         redisReply *reply);
    void                       *data;

    /* NULL, or called when the worker begins to shut down gracefully */
    void                      (*leave)(ngx_workflow_redis_t *redis);

    /* the time that an answer may take, beside conf->command_timeout */
    ngx_msec_t                  block;

    redisAsyncContext          *context;
    void                       *session;     /* SSL of a TLS connection */
    ngx_connection_t           *connection;
    ngx_event_t                 timer;
    ngx_event_t                 flush;
    ngx_workflow_command_t      opening;
    ngx_uint_t                  opening_left;
    ngx_uint_t                  pending;
    ngx_uint_t                  failures;    /* tries since it was of use; set
                                                to 0 by time, or by the owner */
    ngx_uint_t                  next_addr;
    ngx_msec_t                  since;       /* when it became ready */

    unsigned                    connected:1;
    unsigned                    is_ready:1;
    unsigned                    was_ready:1;
    unsigned                    broken:1;    /* to be dropped */
    unsigned                    flushing:1;
    unsigned                    closed:1;
};


/* Fields up to block are the caller's to set. */
void ngx_workflow_redis_open(ngx_workflow_redis_t *redis);

/* Close for good; commands under way get NULL. */
void ngx_workflow_redis_close(ngx_workflow_redis_t *redis);

/* Drop the connection and make it again. */
void ngx_workflow_redis_drop(ngx_workflow_redis_t *redis, const char *reason);

/* Send a command in Redis' protocol, with a zero byte behind it if it is one word.
 * NGX_ERROR: not ready, or no memory; the handler is not called then. */
ngx_int_t ngx_workflow_redis_send(ngx_workflow_redis_t *redis,
    ngx_workflow_command_t *command, const char *text, size_t len);

/* Write now what is to be written, as far as the socket takes it. */
void ngx_workflow_redis_flush(ngx_workflow_redis_t *redis);

/* Messages go to redis->message from now on; nothing else may be sent. */
ngx_int_t ngx_workflow_redis_subscribe(ngx_workflow_redis_t *redis, int argc,
    const char **argv, const size_t *argvlen);

/*
 * ngx_workflow_url.c: where a URL points to, "redis://[user[:password]@]host
 * [:port][/database]" and so on; names are looked up, so not in a worker's
 * event loop.  Otherwise what is wrong with it, without the URL, which may hold a
 * password; NULL, NGX_CONF_OK: nothing.  NGX_CONF_ERROR: no memory.
 */
char *ngx_workflow_url(ngx_pool_t *pool, ngx_workflow_redis_conf_t *redis,
    ngx_str_t *url);

/* ngx_workflow_redis_events.c: give redis->context its connection; cleanup is
 * called when hiredis frees the context. */
ngx_int_t ngx_workflow_redis_attach(ngx_workflow_redis_t *redis,
    void (*cleanup)(void *data));


#endif /* NGX_WORKFLOW_REDIS_H_INCLUDED_ */
