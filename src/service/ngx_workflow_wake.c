/*
 * From threads to the event loop: an eventfd, what executors have done, and a
 * locked list of runs.  Not ngx_notify(), which has one handler for the whole
 * process.
 */

#include "ngx_workflow_run.h"

#include <sys/eventfd.h>


static void ngx_workflow_wake_remove(ngx_workflow_run_t **list,
    ngx_workflow_run_t *run);
static void ngx_workflow_wake_handler(ngx_event_t *rev);


static pthread_mutex_t      ngx_workflow_wake_mutex = PTHREAD_MUTEX_INITIALIZER;
static ngx_workflow_run_t  *ngx_workflow_woken;
static ngx_workflow_run_t  *ngx_workflow_waking;     /* being handled */
static ngx_connection_t    *ngx_workflow_wake_connection;
static ngx_uint_t           ngx_workflow_wake_pending;


ngx_int_t
ngx_workflow_wake_open(ngx_log_t *log)
{
    int                fd;
    ngx_connection_t  *c;

    fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);
    if (fd == -1) {
        ngx_log_error(NGX_LOG_EMERG, log, ngx_errno, "eventfd() failed");
        return NGX_ERROR;
    }

    c = ngx_get_connection(fd, log);
    if (c == NULL) {
        if (close(fd) == -1) {
            ngx_log_error(NGX_LOG_ALERT, log, ngx_errno,
                          "close() eventfd failed");
        }

        return NGX_ERROR;
    }

    c->log = log;
    c->read->handler = ngx_workflow_wake_handler;
    c->read->log = log;

    if (ngx_add_event(c->read, NGX_READ_EVENT, NGX_LEVEL_EVENT) != NGX_OK) {
        ngx_close_connection(c);
        return NGX_ERROR;
    }

    ngx_workflow_wake_connection = c;

    return NGX_OK;
}


void
ngx_workflow_wake_close(void)
{
    if (ngx_workflow_wake_connection) {
        ngx_close_connection(ngx_workflow_wake_connection);
        ngx_workflow_wake_connection = NULL;
    }
}


/* Called by threads. */

void
ngx_workflow_wake(void *data)
{
    ngx_workflow_run_t  *run = data;

    (void) pthread_mutex_lock(&ngx_workflow_wake_mutex);

    if (!run->woken) {
        run->woken = 1;
        run->next = ngx_workflow_woken;
        ngx_workflow_woken = run;
    }

    (void) pthread_mutex_unlock(&ngx_workflow_wake_mutex);

    ngx_workflow_wake_loop();
}


void
ngx_workflow_wake_loop(void)
{
    uint64_t  one;

    if (__atomic_exchange_n(&ngx_workflow_wake_pending, 1, __ATOMIC_ACQ_REL)) {
        return;
    }

    one = 1;

    while (write(ngx_workflow_wake_connection->fd, &one, sizeof(one)) == -1) {

        /* EAGAIN: the counter is full, so the event loop is woken anyway */

        if (ngx_errno != NGX_EINTR) {
            break;
        }
    }
}


void
ngx_workflow_wake_cancel(ngx_workflow_run_t *run)
{
    (void) pthread_mutex_lock(&ngx_workflow_wake_mutex);

    if (run->woken) {
        ngx_workflow_wake_remove(&ngx_workflow_woken, run);
        ngx_workflow_wake_remove(&ngx_workflow_waking, run);
        run->woken = 0;
    }

    (void) pthread_mutex_unlock(&ngx_workflow_wake_mutex);
}


static void
ngx_workflow_wake_remove(ngx_workflow_run_t **list, ngx_workflow_run_t *run)
{
    for ( /* void */ ; *list; list = &(*list)->next) {
        if (*list == run) {
            *list = run->next;
            return;
        }
    }
}


static void
ngx_workflow_wake_handler(ngx_event_t *rev)
{
    uint64_t             count;
    ngx_connection_t    *c;
    ngx_workflow_run_t  *run;

    c = rev->data;

    if (read(c->fd, &count, sizeof(count)) == -1 && ngx_errno != NGX_EAGAIN) {
        ngx_log_error(NGX_LOG_ALERT, rev->log, ngx_errno,
                      "read() eventfd failed");
    }

    /* what comes from now on has its turn in the next turn of the loop; what
     * has come before is seen below */

    (void) __atomic_exchange_n(&ngx_workflow_wake_pending, 0,
                               __ATOMIC_ACQ_REL);

    ngx_workflow_executor_done();

    (void) pthread_mutex_lock(&ngx_workflow_wake_mutex);

    ngx_workflow_waking = ngx_workflow_woken;
    ngx_workflow_woken = NULL;

    (void) pthread_mutex_unlock(&ngx_workflow_wake_mutex);

    for ( ;; ) {

        /* one at a time: a run's turn may end it, or another one */

        (void) pthread_mutex_lock(&ngx_workflow_wake_mutex);

        run = ngx_workflow_waking;

        if (run) {
            ngx_workflow_waking = run->next;
            run->woken = 0;
        }

        (void) pthread_mutex_unlock(&ngx_workflow_wake_mutex);

        if (run == NULL) {
            return;
        }

        ngx_workflow_run_turn(run);
    }
}
