/*
 * All queues and services of a worker process.
 */

#ifndef NGX_WORKFLOW_WORKER_H_INCLUDED_
#define NGX_WORKFLOW_WORKER_H_INCLUDED_


#include "ngx_workflow_service.h"


/* Arrays of pointers, except plugins.  NGX_ERROR: the process cannot run. */
ngx_int_t ngx_workflow_worker_open(ngx_cycle_t *cycle, ngx_array_t *plugins,
    ngx_array_t *queues, ngx_array_t *services);

/* A control plane has told a service what nginx.conf does not. */
void ngx_workflow_worker_learned(ngx_workflow_service_t *service,
    ngx_str_t *topic_namespace, ngx_workflow_redis_conf_t *redis);

/* Claim no more and listen no more: nginx shuts down gracefully. */
void ngx_workflow_worker_leave(void);

/* At exit. */
void ngx_workflow_worker_close(void);


#endif /* NGX_WORKFLOW_WORKER_H_INCLUDED_ */
