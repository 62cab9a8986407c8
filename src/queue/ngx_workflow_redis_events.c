/* hiredis' hooks: a context on an nginx connection. */

#include "ngx_workflow_redis.h"


static void ngx_workflow_redis_read_handler(ngx_event_t *rev);
static void ngx_workflow_redis_write_handler(ngx_event_t *wev);
static void ngx_workflow_redis_add_read(void *data);
static void ngx_workflow_redis_del_read(void *data);
static void ngx_workflow_redis_add_write(void *data);
static void ngx_workflow_redis_del_write(void *data);


ngx_int_t
ngx_workflow_redis_attach(ngx_workflow_redis_t *redis,
    void (*cleanup)(void *data))
{
    ngx_connection_t   *c;
    redisAsyncContext  *context;

    context = redis->context;

    c = ngx_get_connection(context->c.fd, redis->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    c->data = redis;
    c->log = redis->log;
    c->read->log = redis->log;
    c->write->log = redis->log;
    c->read->handler = ngx_workflow_redis_read_handler;
    c->write->handler = ngx_workflow_redis_write_handler;
    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);

    /* nginx tells idle connections when it begins to leave */

    c->idle = (redis->leave != NULL);

    redis->connection = c;

    context->ev.data = redis;
    context->ev.addRead = ngx_workflow_redis_add_read;
    context->ev.delRead = ngx_workflow_redis_del_read;
    context->ev.addWrite = ngx_workflow_redis_add_write;
    context->ev.delWrite = ngx_workflow_redis_del_write;
    context->ev.cleanup = cleanup;

    return NGX_OK;
}


static void
ngx_workflow_redis_read_handler(ngx_event_t *rev)
{
    ngx_connection_t      *c;
    ngx_workflow_redis_t  *redis;

    c = rev->data;
    redis = c->data;

    if (c->close) {

        /* also set by worker_shutdown_timeout, which is about clients: what is
         * under way here is still answered */

        c->close = 0;

        if (redis->leave) {
            redis->leave(redis);
        }

        return;
    }

    redisAsyncHandleRead(redis->context);
}


static void
ngx_workflow_redis_write_handler(ngx_event_t *wev)
{
    ngx_connection_t      *c;
    ngx_workflow_redis_t  *redis;

    c = wev->data;
    redis = c->data;

    redisAsyncHandleWrite(redis->context);
}


/*
 * Events are level-triggered: hiredis reads 16 kilobytes at a time and leaves
 * the rest for the next event.
 */

static void
ngx_workflow_redis_add_read(void *data)
{
    ngx_event_t           *rev;
    ngx_workflow_redis_t  *redis = data;

    rev = redis->connection->read;

    if (!rev->active) {
        (void) ngx_add_event(rev, NGX_READ_EVENT, NGX_LEVEL_EVENT);
    }
}


static void
ngx_workflow_redis_del_read(void *data)
{
    ngx_event_t           *rev;
    ngx_workflow_redis_t  *redis = data;

    rev = redis->connection->read;

    if (rev->active) {
        (void) ngx_del_event(rev, NGX_READ_EVENT, 0);
    }
}


/*
 * What one turn of the event loop produces is written at its end, in one
 * piece.  The write event is for connecting and for what the socket's buffer
 * did not take.
 */

static void
ngx_workflow_redis_add_write(void *data)
{
    ngx_event_t           *wev;
    ngx_workflow_redis_t  *redis = data;

    if (redis->connected && !redis->flushing) {
        ngx_post_event(&redis->flush, &ngx_posted_events);
        return;
    }

    wev = redis->connection->write;

    if (!wev->active) {
        (void) ngx_add_event(wev, NGX_WRITE_EVENT, NGX_LEVEL_EVENT);
    }
}


static void
ngx_workflow_redis_del_write(void *data)
{
    ngx_event_t           *wev;
    ngx_workflow_redis_t  *redis = data;

    wev = redis->connection->write;

    if (wev->active) {
        (void) ngx_del_event(wev, NGX_WRITE_EVENT, 0);
    }
}
