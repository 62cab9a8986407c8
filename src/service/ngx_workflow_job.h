/*
 * Work for a thread beside the runs': what blocks, for want of an event loop,
 * as requests to the control plane do.
 */

#ifndef NGX_WORKFLOW_JOB_H_INCLUDED_
#define NGX_WORKFLOW_JOB_H_INCLUDED_


#include "ngx_workflow_service.h"


typedef struct ngx_workflow_job_s  ngx_workflow_job_t;

struct ngx_workflow_job_s {
    ngx_thread_task_t          task;
    ngx_workflow_service_t    *service;

    /* on a thread of the service's pool: no log, no pool but its own */
    void                     (*work)(ngx_workflow_job_t *job);

    /* then, in the event loop; the job is its own from here on.  Not called
     * when nginx terminates: what was not done, or only in part, has no
     * outcome, and is left to whoever takes over. */
    void                     (*done)(ngx_workflow_job_t *job);
};


/* Zeroed before; service, work and done set.  A worker that shuts down waits
 * for it.  NGX_ERROR: the pool's queue is full. */
ngx_int_t ngx_workflow_job_post(ngx_workflow_job_t *job);


#endif /* NGX_WORKFLOW_JOB_H_INCLUDED_ */
