#include "ngx_workflow_job.h"


static void ngx_workflow_job_thread(void *data, ngx_log_t *log);
static void ngx_workflow_job_returned(ngx_event_t *ev);


ngx_int_t
ngx_workflow_job_post(ngx_workflow_job_t *job)
{
    job->task.ctx = job;
    job->task.handler = ngx_workflow_job_thread;
    job->task.event.handler = ngx_workflow_job_returned;
    job->task.event.data = job;
    job->task.event.log = job->service->log;

    if (ngx_thread_task_post(job->service->pool, &job->task) != NGX_OK) {
        return NGX_ERROR;
    }

    job->service->threads++;

    ngx_workflow_hold();

    return NGX_OK;
}


static void
ngx_workflow_job_thread(void *data, ngx_log_t *log)
{
    ngx_workflow_job_t  *job = data;

    /* the pool works through its queue before the worker may exit */

    if (!ngx_terminate) {
        job->work(job);
    }
}


static void
ngx_workflow_job_returned(ngx_event_t *ev)
{
    ngx_workflow_job_t  *job;

    job = ev->data;

    if (ngx_terminate) {
        return;
    }

    job->service->threads--;

    job->done(job);

    ngx_workflow_release();
}
