/*
 * A service and its control plane: what it is told by it before it can begin,
 * and that it is listed there as long as it is served.
 */

#ifndef NGX_WORKFLOW_CONTROL_H_INCLUDED_
#define NGX_WORKFLOW_CONTROL_H_INCLUDED_


#include "ngx_workflow_service.h"


/* Milliseconds until the next try, after so many failures in a row: doubled
 * with each, up to the register_interval; half of it is chance. */
ngx_msec_t ngx_workflow_control_delay(ngx_workflow_service_t *service,
    ngx_uint_t failures);

/*
 * ngx_workflow_learn.c: whether there is something that nginx.conf leaves to
 * the control plane, the topic namespace or the queue; ask for it until it is told,
 * then call ngx_workflow_worker_learned().
 */
ngx_uint_t ngx_workflow_learn_needed(ngx_workflow_service_t *service);
void ngx_workflow_learn_start(ngx_workflow_service_t *service);

/* The name that it is asked by goes off its list; nothing is done when it is
 * not on it.  Blocks for a request.  What fails is tried again after the next
 * registration, by whichever worker, or at exit. */
void ngx_workflow_learn_withdraw(ngx_workflow_service_t *service,
    wf_http_t *http);

/* ngx_workflow_register.c: begin; look again now that the worker listens. */
void ngx_workflow_register_start(ngx_workflow_service_t *service);
void ngx_workflow_register_listening(ngx_workflow_service_t *service);

/* The worker leaves; nobody: no other one stays.  Deregister what goes away for
 * good.  NGX_AGAIN: it is being done, ask again. */
ngx_int_t ngx_workflow_register_leave(ngx_workflow_service_t *service,
    ngx_uint_t nobody);

/* The same at once, blocking for half a second at most.  NGX_ERROR: there was
 * no answer. */
ngx_int_t ngx_workflow_register_exit(ngx_workflow_service_t *service,
    ngx_uint_t nobody);


#endif /* NGX_WORKFLOW_CONTROL_H_INCLUDED_ */
