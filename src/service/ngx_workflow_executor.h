/*
 * Work for the threads of a pool, of which a piece may take a microsecond or
 * an hour.
 */

#ifndef NGX_WORKFLOW_EXECUTOR_H_INCLUDED_
#define NGX_WORKFLOW_EXECUTOR_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_thread_pool.h>


/* All times are in nanoseconds. */

/* What work takes of which nothing is known. */

#define NGX_WORKFLOW_WORK_LONG  400000

/* What it takes if it is short: threads are worth waking for more. */

#define NGX_WORKFLOW_WORK_SHORT  50000


typedef struct ngx_workflow_executor_s  ngx_workflow_executor_t;
typedef struct ngx_workflow_work_s      ngx_workflow_work_t;

struct ngx_workflow_work_s {
    ngx_workflow_work_t       *next;
    int64_t                    time;     /* that it will take, that it took */
    int64_t                    added;    /* when */
    int64_t                    waited;   /* for a thread */
    int64_t                   *mean;     /* that its kind takes: the event
                                            loop's */

    /* on a thread; when nginx terminates maybe not at all */
    void                     (*run)(ngx_workflow_work_t *work);

    /* then, in the event loop; the work is its own from here on */
    void                     (*done)(ngx_workflow_work_t *work);
};


/* The one that a worker has for a pool.  NULL: no memory. */
ngx_workflow_executor_t *ngx_workflow_executor_get(ngx_cycle_t *cycle,
    ngx_thread_pool_t *pool);

/* run, done and mean set. */
void ngx_workflow_executor_add(ngx_workflow_executor_t *executor,
    ngx_workflow_work_t *work);

/* No more is to come in this turn of the event loop. */
void ngx_workflow_executor_start(ngx_workflow_executor_t *executor);

/* At exit, when nothing is worked on any more. */
void ngx_workflow_executor_close(void);

/* In the event loop, woken by a thread: see to what is done. */
void ngx_workflow_executor_done(void);


#endif /* NGX_WORKFLOW_EXECUTOR_H_INCLUDED_ */
