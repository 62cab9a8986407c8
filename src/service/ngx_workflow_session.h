/*
 * What is asked of a control plane about a run's session, on a thread: its
 * state, before the run begins and when it is to be saved.
 */

#ifndef NGX_WORKFLOW_SESSION_H_INCLUDED_
#define NGX_WORKFLOW_SESSION_H_INCLUDED_


#include "ngx_workflow_job.h"
#include "ngx_workflow_run.h"


struct ngx_workflow_session_job_s {
    ngx_workflow_job_t     job;
    ngx_workflow_run_t    *run;
    int                    rc;        /* 0; -1: no answer; -2: refused */
    wf_buf_t               error;
    wf_buf_t               skipped;   /* keys that were not read */

    /* what is to be saved: the run's */
    ngx_uint_t             n;
    wf_state_entry_t      *entries;
    ngx_atomic_t           until;     /* the lock holds, in milliseconds */
    ngx_atomic_t           abandoned;
};


/* NULL: no memory; posted by ngx_workflow_session_post(). */
ngx_workflow_session_job_t *ngx_workflow_session_job(ngx_workflow_run_t *run);
ngx_int_t ngx_workflow_session_post(ngx_workflow_session_job_t *s);
void ngx_workflow_session_free(ngx_workflow_session_job_t *s);

/* On a thread: read the state, which is to be freed in any case.  must: a
 * session that the control plane does not know is an error. */
int ngx_workflow_session_get(ngx_workflow_session_job_t *s, wf_state_t *state,
    ngx_uint_t must);

wf_slice_t ngx_workflow_session_id(ngx_workflow_run_t *run);


#endif /* NGX_WORKFLOW_SESSION_H_INCLUDED_ */
