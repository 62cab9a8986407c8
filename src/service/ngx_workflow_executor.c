/*
 * To wake a thread takes longer than many a step.  So what is to be run is put
 * on a list, from which threads ("runners", tasks of nginx' thread pool) take
 * one after the other until it is empty, and what is done goes back by another
 * list; neither the threads nor the event loop are woken for each of them.
 *
 * There are as many runners as the work is thought to need: one for each piece
 * that takes long, one for many that are short.  How long a piece takes is
 * known from those of its kind before.  Where that was wrong, a look every
 * millisecond finds the runner that is stuck: what it holds back is given
 * others.
 */

#include "ngx_workflow_run.h"


#define NGX_WORKFLOW_STUCK    1000000    /* nanoseconds */
#define NGX_WORKFLOW_LOOK     1          /* milliseconds */
#define NGX_WORKFLOW_FULL     100
#define NGX_WORKFLOW_AT_ONCE  64         /* runners, after a look */


typedef struct {
    ngx_thread_task_t          task;
    ngx_queue_t                queue;    /* in executor->runners */
    ngx_workflow_executor_t   *executor;

    ngx_workflow_work_t       *work;     /* under its lock, as are these: */
    int64_t                    began;
    ngx_uint_t                 stuck;
} ngx_workflow_runner_t;


struct ngx_workflow_executor_s {
    ngx_workflow_executor_t   *next;
    ngx_thread_pool_t         *pool;
    ngx_log_t                 *log;
    ngx_event_t                timer;
    ngx_queue_t                runners;
    ngx_uint_t                 full;     /* the pool's queue was */

    ngx_workflow_work_t       *added;    /* in this turn of the event loop */
    ngx_workflow_work_t      **last_added;
    ngx_uint_t                 nadded;
    int64_t                    added_load;
    ngx_event_t                flush;

    pthread_mutex_t            mutex;    /* for what follows */

    ngx_workflow_work_t       *ready;
    ngx_workflow_work_t      **last_ready;
    ngx_workflow_work_t       *done;
    ngx_workflow_work_t      **last_done;

    ngx_uint_t                 nready;
    ngx_uint_t                 starting; /* runners that no thread has yet */
    ngx_uint_t                 busy;     /* runners with work, not stuck */
    int64_t                    load;     /* time of what is ready or with
                                            those */
    int64_t                    untold;   /* since when something is done */
    ngx_uint_t                 looking;  /* in a millisecond at most */
};


static void ngx_workflow_executor_flush(ngx_event_t *ev);
static ngx_uint_t ngx_workflow_executor_missing(ngx_workflow_executor_t *ex);
static void ngx_workflow_executor_post(ngx_workflow_executor_t *ex,
    ngx_uint_t n);
static void ngx_workflow_executor_thread(void *data, ngx_log_t *log);
static ngx_workflow_work_t *ngx_workflow_executor_take(
    ngx_workflow_runner_t *runner, int64_t now);
static void ngx_workflow_executor_put(ngx_workflow_runner_t *runner,
    int64_t now);
static void ngx_workflow_executor_returned(ngx_event_t *ev);
static void ngx_workflow_executor_finish(ngx_workflow_executor_t *ex);
static void ngx_workflow_executor_look(ngx_event_t *ev);


static ngx_workflow_executor_t  *ngx_workflow_executors;


ngx_workflow_executor_t *
ngx_workflow_executor_get(ngx_cycle_t *cycle, ngx_thread_pool_t *pool)
{
    ngx_workflow_executor_t  *ex;

    for (ex = ngx_workflow_executors; ex; ex = ex->next) {
        if (ex->pool == pool) {
            return ex;
        }
    }

    /* not of the cycle's pool: at exit nginx may leave threads behind */

    ex = ngx_calloc(sizeof(ngx_workflow_executor_t), cycle->log);
    if (ex == NULL) {
        return NULL;
    }

    if (pthread_mutex_init(&ex->mutex, NULL) != 0) {
        ngx_free(ex);
        return NULL;
    }

    ex->pool = pool;
    ex->log = cycle->log;
    ex->last_added = &ex->added;
    ex->last_ready = &ex->ready;
    ex->last_done = &ex->done;

    ngx_queue_init(&ex->runners);

    ex->timer.handler = ngx_workflow_executor_look;
    ex->timer.data = ex;
    ex->timer.log = cycle->log;
    ex->timer.cancelable = 1;

    ex->flush.handler = ngx_workflow_executor_flush;
    ex->flush.data = ex;
    ex->flush.log = cycle->log;

    ex->next = ngx_workflow_executors;
    ngx_workflow_executors = ex;

    return ex;
}


void
ngx_workflow_executor_add(ngx_workflow_executor_t *ex,
    ngx_workflow_work_t *work)
{
    work->next = NULL;
    work->time = *work->mean;
    work->added = wf_time_ns();

    *ex->last_added = work;
    ex->last_added = &work->next;

    ex->nadded++;
    ex->added_load += work->time;

    /* less than a share is not worth a thread before the turn ends */

    if (ex->added_load >= NGX_WORKFLOW_WORK_SHORT) {
        ngx_workflow_executor_start(ex);

    } else {
        ngx_post_event(&ex->flush, &ngx_posted_events);
    }
}


static void
ngx_workflow_executor_flush(ngx_event_t *ev)
{
    ngx_workflow_executor_start(ev->data);
}


void
ngx_workflow_executor_start(ngx_workflow_executor_t *ex)
{
    ngx_uint_t  n, shared;

    if (ex->added == NULL) {
        return;
    }

    (void) pthread_mutex_lock(&ex->mutex);

    *ex->last_ready = ex->added;
    ex->last_ready = ex->last_added;

    ex->nready += ex->nadded;
    ex->load += ex->added_load;

    n = ex->full ? 0 : ngx_workflow_executor_missing(ex);
    ex->starting += n;

    shared = ex->nready > ex->starting;
    ex->looking |= shared && !ex->full;

    (void) pthread_mutex_unlock(&ex->mutex);

    ex->added = NULL;
    ex->last_added = &ex->added;
    ex->nadded = 0;
    ex->added_load = 0;

    if (shared && !ex->timer.timer_set) {
        ngx_add_timer(&ex->timer, NGX_WORKFLOW_LOOK);
    }

    ngx_workflow_executor_post(ex, n);
}


/* How many more runners the load needs.  Those that start or are busy will come
 * for more, and of those that are stuck nobody knows when. */

static ngx_uint_t
ngx_workflow_executor_missing(ngx_workflow_executor_t *ex)
{
    ngx_uint_t  n, needed;

    n = ex->starting + ex->busy;
    needed = (ex->load + NGX_WORKFLOW_WORK_SHORT - 1) / NGX_WORKFLOW_WORK_SHORT;
    needed = ngx_max(needed, 1);

    if (needed <= n || ex->nready <= ex->starting) {
        return 0;
    }

    return ngx_min(needed - n, ex->nready - ex->starting);
}


/* So many, which are counted as starting. */

static void
ngx_workflow_executor_post(ngx_workflow_executor_t *ex, ngx_uint_t n)
{
    ngx_workflow_runner_t  *runner;

    for ( /* void */ ; n; n--) {

        runner = ngx_calloc(sizeof(ngx_workflow_runner_t), ex->log);
        if (runner == NULL) {
            break;
        }

        runner->executor = ex;
        runner->task.ctx = runner;
        runner->task.handler = ngx_workflow_executor_thread;
        runner->task.event.handler = ngx_workflow_executor_returned;
        runner->task.event.data = runner;
        runner->task.event.log = ex->log;

        if (ngx_thread_task_post(ex->pool, &runner->task) != NGX_OK) {
            ngx_free(runner);
            break;
        }

        ngx_queue_insert_tail(&ex->runners, &runner->queue);
        ngx_workflow_hold();
    }

    if (n == 0) {
        return;
    }

    /* whoever fills the pool's queue need not be ours, and does not tell when
     * there is room again */

    ex->full = 1;

    if (ex->timer.timer_set) {
        ngx_del_timer(&ex->timer);
    }

    ngx_add_timer(&ex->timer, NGX_WORKFLOW_FULL);

    (void) pthread_mutex_lock(&ex->mutex);

    ex->starting -= n;
    ex->looking = 0;

    (void) pthread_mutex_unlock(&ex->mutex);

    /* what was left to the look */

    ngx_workflow_wake_loop();
}


static void
ngx_workflow_executor_thread(void *data, ngx_log_t *log)
{
    ngx_workflow_runner_t    *runner = data;

    int64_t                   now;
    ngx_uint_t                tell;
    ngx_workflow_work_t      *work;
    ngx_workflow_executor_t  *ex;

    ex = runner->executor;
    now = wf_time_ns();

    (void) pthread_mutex_lock(&ex->mutex);

    ex->starting--;
    work = ngx_workflow_executor_take(runner, now);

    (void) pthread_mutex_unlock(&ex->mutex);

    while (work) {
        work->run(work);

        now = wf_time_ns();

        (void) pthread_mutex_lock(&ex->mutex);

        ngx_workflow_executor_put(runner, now);
        work = ngx_workflow_executor_take(runner, now);

        /* that a runner leaves is told by nginx */

        tell = work
               && (!ex->looking || work->time >= NGX_WORKFLOW_WORK_SHORT
                   || now - ex->untold >= NGX_WORKFLOW_WORK_SHORT);

        (void) pthread_mutex_unlock(&ex->mutex);

        if (tell) {
            ngx_workflow_wake_loop();
        }
    }
}


/* Both with the lock held. */

static ngx_workflow_work_t *
ngx_workflow_executor_take(ngx_workflow_runner_t *runner, int64_t now)
{
    ngx_workflow_work_t      *work;
    ngx_workflow_executor_t  *ex;

    ex = runner->executor;
    work = ex->ready;

    /* what is ready when nginx was told to terminate is left to others */

    if (work == NULL || ngx_terminate) {
        return NULL;
    }

    ex->ready = work->next;

    if (ex->ready == NULL) {
        ex->last_ready = &ex->ready;
    }

    ex->nready--;
    ex->busy++;

    work->waited = now - work->added;

    runner->work = work;
    runner->began = now;

    return work;
}


static void
ngx_workflow_executor_put(ngx_workflow_runner_t *runner, int64_t now)
{
    ngx_workflow_work_t      *work;
    ngx_workflow_executor_t  *ex;

    ex = runner->executor;
    work = runner->work;
    runner->work = NULL;

    if (runner->stuck) {
        runner->stuck = 0;

    } else {
        ex->busy--;
        ex->load -= work->time;
    }

    work->time = now - runner->began;
    work->next = NULL;

    if (ex->done == NULL) {
        ex->untold = now;
    }

    *ex->last_done = work;
    ex->last_done = &work->next;
}


static void
ngx_workflow_executor_returned(ngx_event_t *ev)
{
    ngx_workflow_runner_t    *runner;
    ngx_workflow_executor_t  *ex;

    runner = ev->data;
    ex = runner->executor;

    ngx_queue_remove(&runner->queue);
    ngx_free(runner);

    /* so there is room in the pool's queue */

    if (ex->full) {
        ngx_workflow_executor_look(&ex->timer);

    } else {
        ngx_workflow_executor_finish(ex);
    }

    ngx_workflow_release();
}


/* At exit; those that threads may still come to are left alone. */

void
ngx_workflow_executor_close(void)
{
    ngx_workflow_executor_t  *ex;

    while (ngx_workflow_executors) {
        ex = ngx_workflow_executors;
        ngx_workflow_executors = ex->next;

        if (ngx_queue_empty(&ex->runners)) {

            if (ex->timer.timer_set) {
                ngx_del_timer(&ex->timer);
            }

            (void) pthread_mutex_destroy(&ex->mutex);
            ngx_free(ex);
        }
    }
}


void
ngx_workflow_executor_done(void)
{
    ngx_workflow_executor_t  *ex;

    for (ex = ngx_workflow_executors; ex; ex = ex->next) {
        ngx_workflow_executor_finish(ex);
    }
}


static void
ngx_workflow_executor_finish(ngx_workflow_executor_t *ex)
{
    int64_t               time;
    ngx_workflow_work_t  *work, *next;

    (void) pthread_mutex_lock(&ex->mutex);

    work = ex->done;
    ex->done = NULL;
    ex->last_done = &ex->done;

    (void) pthread_mutex_unlock(&ex->mutex);

    for ( /* void */ ; work; work = next) {
        next = work->next;

        /* a single long one counts enough to be expected again, but is
         * forgotten soon: the thread may have had to wait for a processor */

        time = ngx_min(work->time, NGX_WORKFLOW_WORK_LONG);
        *work->mean += (time - *work->mean) / 8;

        work->done(work);
    }
}


static void
ngx_workflow_executor_look(ngx_event_t *ev)
{
    int64_t                   now;
    ngx_uint_t                n, all, full;
    ngx_queue_t              *q;
    ngx_workflow_runner_t    *runner;
    ngx_workflow_executor_t  *ex;

    ex = ev->data;

    if (ev->timer_set) {
        ngx_del_timer(ev);
    }

    /* what was held back before is still */

    full = ex->full;
    all = full;
    ex->full = 0;

    now = wf_time_ns();

    (void) pthread_mutex_lock(&ex->mutex);

    if (ex->nready > ex->starting) {

        for (q = ngx_queue_head(&ex->runners);
             q != ngx_queue_sentinel(&ex->runners);
             q = ngx_queue_next(q))
        {
            runner = ngx_queue_data(q, ngx_workflow_runner_t, queue);

            if (runner->work && !runner->stuck
                && now - runner->began >= NGX_WORKFLOW_STUCK)
            {
                runner->stuck = 1;
                ex->busy--;
                ex->load -= runner->work->time;
                all = 1;
            }
        }
    }

    n = ngx_workflow_executor_missing(ex);

    if (all && ex->nready > ex->starting) {
        n = full ? 1 : ngx_min(ex->nready - ex->starting,
                               NGX_WORKFLOW_AT_ONCE);
    }

    ex->starting += n;
    ex->looking = ex->nready > ex->starting;

    if (ex->looking) {
        ngx_add_timer(ev, NGX_WORKFLOW_LOOK);
    }

    (void) pthread_mutex_unlock(&ex->mutex);

    ngx_workflow_executor_post(ex, n);

    ngx_workflow_executor_finish(ex);
}
