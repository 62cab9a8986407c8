#include "ngx_workflow_redis.h"

#if (NGX_WORKFLOW_HIREDIS_SSL)
#include "ngx_workflow_tls.h"
#endif


#define NGX_WORKFLOW_RECONNECT_MIN  50
#define NGX_WORKFLOW_RECONNECT_MAX  5000


static void ngx_workflow_redis_connect(ngx_workflow_redis_t *redis);
static void ngx_workflow_redis_again(ngx_workflow_redis_t *redis,
    const char *reason);
static void ngx_workflow_redis_connected(const redisAsyncContext *context,
    int status);
static ngx_int_t ngx_workflow_redis_handshake(ngx_workflow_redis_t *redis);
static void ngx_workflow_redis_opened(ngx_workflow_command_t *command,
    redisReply *reply);
static void ngx_workflow_redis_replied(redisAsyncContext *context, void *reply,
    void *data);
static void ngx_workflow_redis_received(redisAsyncContext *context,
    void *reply, void *data);
static void ngx_workflow_redis_timer(ngx_event_t *ev);
static void ngx_workflow_redis_flush_handler(ngx_event_t *ev);
static void ngx_workflow_redis_cleanup(void *data);


void
ngx_workflow_redis_open(ngx_workflow_redis_t *redis)
{
    redis->timer.handler = ngx_workflow_redis_timer;
    redis->timer.data = redis;
    redis->timer.log = redis->log;
    redis->timer.cancelable = 1;

    redis->flush.handler = ngx_workflow_redis_flush_handler;
    redis->flush.data = redis;
    redis->flush.log = redis->log;

    redis->opening.handler = ngx_workflow_redis_opened;
    redis->opening.data = redis;

    redis->closed = 0;

    ngx_workflow_redis_connect(redis);
}


void
ngx_workflow_redis_close(ngx_workflow_redis_t *redis)
{
    redis->closed = 1;

    if (redis->context) {
        redisAsyncFree(redis->context);
    }

    if (redis->timer.timer_set) {
        ngx_del_timer(&redis->timer);
    }
}


void
ngx_workflow_redis_drop(ngx_workflow_redis_t *redis, const char *reason)
{
    if (redis->context == NULL) {
        return;
    }

    ngx_log_error(NGX_LOG_ERR, redis->log, 0,
                  "redis %V (%s): %s, dropping the connection",
                  &redis->conf->url, redis->purpose, reason);

    redis->is_ready = 0;
    redisAsyncFree(redis->context);
}


ngx_int_t
ngx_workflow_redis_send(ngx_workflow_redis_t *redis,
    ngx_workflow_command_t *command, const char *text, size_t len)
{
    redisCallback  *last;

    if (!redis->is_ready && command != &redis->opening) {
        return NGX_ERROR;
    }

    last = redis->context->replies.tail;

    if (redisAsyncFormattedCommand(redis->context, ngx_workflow_redis_replied,
                                   command, text, len)
        != REDIS_OK)
    {
        return NGX_ERROR;
    }

    if (redis->context->replies.tail == last) {

        /* hiredis 0.14 had no memory for who waits for the answer, which would
         * be given to another one, and so on: nothing of it is sent */

        redis->is_ready = 0;
        redis->broken = 1;

        ngx_post_event(&redis->flush, &ngx_posted_events);

        return NGX_ERROR;
    }

    if (redis->pending++ == 0) {
        ngx_add_timer(&redis->timer,
                      redis->conf->command_timeout + redis->block);
    }

    return NGX_OK;
}


ngx_int_t
ngx_workflow_redis_subscribe(ngx_workflow_redis_t *redis, int argc,
    const char **argv, const size_t *argvlen)
{
    if (!redis->is_ready
        || redisAsyncCommandArgv(redis->context, ngx_workflow_redis_received,
                                 NULL, argc, argv, argvlen)
           != REDIS_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_workflow_redis_connect(ngx_workflow_redis_t *redis)
{
    int                         port;
    char                        text[NGX_SOCKADDR_STRLEN + 1];
    size_t                      len;
    ngx_addr_t                 *addr;
    redisAsyncContext          *context;
    ngx_workflow_redis_conf_t  *conf;

    conf = redis->conf;

    if (conf->path.len) {
        context = redisAsyncConnectUnix((const char *) conf->path.data);

    } else {
        addr = &conf->addrs[redis->next_addr++ % conf->naddrs];
        port = ngx_inet_get_port(addr->sockaddr);

        /* a literal address: hiredis' getaddrinfo() asks no name server */

        len = ngx_sock_ntop(addr->sockaddr, addr->socklen, (u_char *) text,
                            NGX_SOCKADDR_STRLEN, 0);
        text[len] = '\0';

        if (addr->sockaddr->sa_family == AF_INET6 && text[0] == '[') {
            text[len - 1] = '\0';
            context = redisAsyncConnect(text + 1, port);

        } else {
            context = redisAsyncConnect(text, port);
        }
    }

    if (context == NULL) {
        ngx_workflow_redis_again(redis, "no memory");
        return;
    }

    if (context->err) {
        ngx_workflow_redis_again(redis, context->errstr);
        redisAsyncFree(context);
        return;
    }

    redis->context = context;
    redis->connected = 0;
    redis->is_ready = 0;
    redis->pending = 0;
    context->data = redis;

    if (ngx_workflow_redis_attach(redis, ngx_workflow_redis_cleanup)
        != NGX_OK)
    {
        redis->context = NULL;
        redisAsyncFree(context);
        ngx_workflow_redis_again(redis, "no free connection in this worker");
        return;
    }

    /* asks for the write event that tells that the connect has ended */

    if (redisAsyncSetConnectCallback(context, ngx_workflow_redis_connected)
        != REDIS_OK)
    {
        redisAsyncFree(context);
        return;
    }

    ngx_add_timer(&redis->timer, conf->connect_timeout);
}


static void
ngx_workflow_redis_again(ngx_workflow_redis_t *redis, const char *reason)
{
    ngx_uint_t  shift;
    ngx_msec_t  delay;

    shift = ngx_min(redis->failures, 7);
    redis->failures++;

    delay = ngx_min(NGX_WORKFLOW_RECONNECT_MIN << shift,
                    NGX_WORKFLOW_RECONNECT_MAX);
    delay = delay / 2 + (ngx_msec_t) ngx_random() % (delay / 2 + 1);

    ngx_log_error(NGX_LOG_ERR, redis->log, 0,
                  "redis %V (%s): %s, connecting again in %Mms",
                  &redis->conf->url, redis->purpose, reason, delay);

    ngx_add_timer(&redis->timer, delay);
}


static void
ngx_workflow_redis_connected(const redisAsyncContext *context, int status)
{
    ngx_workflow_redis_t  *redis;

    redis = context->data;

    /* a failed context is freed by hiredis, which calls the clean-up */

    if (status != REDIS_OK) {
        return;
    }

    /* hiredis 0.14 must not be entered again from here: the handshake is sent
     * from the next turn of the event loop */

    redis->connected = 1;

    ngx_post_event(&redis->flush, &ngx_posted_events);
}


/*
 * AUTH and SELECT, where they are needed, and PING, so that one answer at
 * least tells that Redis takes commands from us.
 */

static ngx_int_t
ngx_workflow_redis_handshake(ngx_workflow_redis_t *redis)
{
    int                         argc;
    char                        database[NGX_INT_T_LEN + 1];
    const char                 *argv[3];
    size_t                      argvlen[3];
    ngx_int_t                   rc;
    ngx_uint_t                  i;
    char                       *text;
    int                         len;
    ngx_workflow_redis_conf_t  *conf;

    conf = redis->conf;
    redis->opening_left = 0;

#if (NGX_WORKFLOW_HIREDIS_SSL)

    if (conf->ssl
        && ngx_workflow_tls_start(redis, conf->ssl, &conf->host) != NGX_OK)
    {
        return NGX_ERROR;
    }

#endif

    for (i = 0; i < 3; i++) {

        switch (i) {

        case 0:
            if (conf->password.len == 0) {
                continue;
            }

            argc = 0;
            argv[argc] = "AUTH";
            argvlen[argc++] = 4;

            if (conf->username.len) {
                argv[argc] = (const char *) conf->username.data;
                argvlen[argc++] = conf->username.len;
            }

            argv[argc] = (const char *) conf->password.data;
            argvlen[argc++] = conf->password.len;
            break;

        case 1:
            if (conf->database == 0) {
                continue;
            }

            argc = 2;
            argv[0] = "SELECT";
            argvlen[0] = 6;
            argv[1] = database;
            argvlen[1] = ngx_sprintf((u_char *) database, "%ui",
                                     conf->database)
                         - (u_char *) database;
            break;

        default:
            argc = 1;
            argv[0] = "PING";
            argvlen[0] = 4;
        }

        len = redisFormatCommandArgv(&text, argc, argv, argvlen);
        if (len < 0) {
            return NGX_ERROR;
        }

        rc = ngx_workflow_redis_send(redis, &redis->opening, text, len);

        redisFreeCommand(text);

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }

        redis->opening_left++;
    }

    return NGX_OK;
}


static void
ngx_workflow_redis_opened(ngx_workflow_command_t *command, redisReply *reply)
{
    char                   reason[256];
    ngx_workflow_redis_t  *redis;

    redis = command->data;

    if (reply == NULL || redis->opening_left == 0) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        redis->opening_left = 0;

        (void) ngx_snprintf((u_char *) reason, sizeof(reason),
                            "refused: %s%Z", reply->str);
        reason[sizeof(reason) - 1] = '\0';

        ngx_workflow_redis_drop(redis, reason);
        return;
    }

    if (--redis->opening_left) {
        return;
    }

    if (redis->failures) {
        ngx_log_error(NGX_LOG_NOTICE, redis->log, 0,
                      "redis %V (%s): connected", &redis->conf->url,
                      redis->purpose);
    }

    redis->is_ready = 1;
    redis->was_ready = 1;
    redis->since = ngx_current_msec;

    redis->ready(redis);
}


static void
ngx_workflow_redis_replied(redisAsyncContext *context, void *reply, void *data)
{
    redisReply              *r;
    ngx_workflow_redis_t    *redis;
    ngx_workflow_command_t  *command;

    redis = context->data;
    command = data;
    r = reply;

    if (r == NULL) {
        redis->is_ready = 0;

    } else {
        if (--redis->pending) {
            ngx_add_timer(&redis->timer,
                          redis->conf->command_timeout + redis->block);

        } else if (redis->timer.timer_set) {
            ngx_del_timer(&redis->timer);
        }
    }

    command->handler(command, r);
}


static void
ngx_workflow_redis_received(redisAsyncContext *context, void *reply,
    void *data)
{
    redisReply            *r;
    ngx_workflow_redis_t  *redis;

    redis = context->data;
    r = reply;

    if (r == NULL) {
        return;
    }

    if (r->type != REDIS_REPLY_ERROR) {
        redis->failures = 0;
    }

    redis->message(redis, r);
}


/* One timer: for connecting, for answers that are due, for the next try. */

static void
ngx_workflow_redis_timer(ngx_event_t *ev)
{
    ngx_workflow_redis_t  *redis;

    redis = ev->data;

    if (redis->context == NULL) {
        ngx_workflow_redis_connect(redis);

    } else if (!redis->is_ready) {
        ngx_workflow_redis_drop(redis, "connecting timed out");

    } else {
        ngx_workflow_redis_drop(redis, "no answer in time");
    }
}


static void
ngx_workflow_redis_flush_handler(ngx_event_t *ev)
{
    ngx_workflow_redis_t  *redis;

    redis = ev->data;

    if (redis->context == NULL || !redis->connected) {
        return;
    }

    if (redis->broken) {
        ngx_workflow_redis_drop(redis, "no memory");
        return;
    }

    if (!redis->is_ready && redis->opening_left == 0) {

        if (ngx_workflow_redis_handshake(redis) != NGX_OK) {
            ngx_workflow_redis_drop(redis, "the opening commands failed");
            return;
        }
    }

    redis->flushing = 1;

    redisAsyncHandleWrite(redis->context);

    redis->flushing = 0;
}


void
ngx_workflow_redis_flush(ngx_workflow_redis_t *redis)
{
    if (redis->context && redis->is_ready) {
        ngx_workflow_redis_flush_handler(&redis->flush);
    }
}


/* hiredis calls this whenever it frees a context, whatever the reason. */

static void
ngx_workflow_redis_cleanup(void *data)
{
    ngx_workflow_redis_t  *redis = data;

    char                   reason[256];
    ngx_uint_t             lost;
    redisAsyncContext     *context;

    context = redis->context;

    (void) ngx_snprintf((u_char *) reason, sizeof(reason), "%s%Z",
                        context->err ? context->errstr : "closed");
    reason[sizeof(reason) - 1] = '\0';

#if (NGX_WORKFLOW_HIREDIS_SSL)

    if (redis->session) {
        ngx_workflow_tls_reason(redis->session, reason, sizeof(reason));
        redis->session = NULL;
    }

#endif

    /* nginx closes the descriptor */

    context->c.fd = -1;
    ngx_close_connection(redis->connection);

    if (redis->flush.posted) {
        ngx_delete_posted_event(&redis->flush);
    }

    if (redis->timer.timer_set) {
        ngx_del_timer(&redis->timer);
    }

    redis->connection = NULL;
    redis->context = NULL;
    redis->connected = 0;
    redis->is_ready = 0;
    redis->broken = 0;
    redis->flushing = 0;
    redis->pending = 0;
    redis->opening_left = 0;

    lost = redis->was_ready;
    redis->was_ready = 0;

    if (redis->closed) {
        return;
    }

    /* a server that takes the connection and refuses what is asked of it, as
     * a replica does, is asked less and less often too */

    if (lost && ngx_current_msec - redis->since >= NGX_WORKFLOW_RECONNECT_MAX)
    {
        redis->failures = 0;
    }

    ngx_workflow_redis_again(redis, reason);

    if (lost) {
        redis->lost(redis);
    }
}
