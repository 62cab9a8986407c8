/*
 * The shared memory of all workers: for each service the number of outstanding
 * tasks that Redis told last, and which workers listen to Pub/Sub.
 */

#ifndef NGX_WORKFLOW_ZONE_H_INCLUDED_
#define NGX_WORKFLOW_ZONE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* Bytes of a zone that is surely large enough for n services. */
size_t ngx_workflow_zone_size(ngx_uint_t n);

/*
 * A service's counter, NULL: the zone is full.  Found again by name after a
 * reload, so that old and new workers share it.  It is a plain word that
 * whoever knows a newer value overwrites: no lock can be left behind.
 */
ngx_atomic_t *ngx_workflow_zone_counter(ngx_shm_zone_t *zone, ngx_str_t *name);

/*
 * Whether this process listens.  A worker that leaves goes on listening until
 * one that stays does: ngx_workflow_zone_heir() is NGX_OK when there is one,
 * NGX_AGAIN when one is about to, NGX_DECLINED when nobody stays.  The workers
 * of another master have a zone of their own: how many listen here is what
 * they are told from.
 */

typedef enum {
    NGX_WORKFLOW_WORKER_NONE = 0,
    NGX_WORKFLOW_WORKER_STARTING,
    NGX_WORKFLOW_WORKER_LISTENING,
    NGX_WORKFLOW_WORKER_LEAVING
} ngx_workflow_worker_state_e;

void ngx_workflow_zone_worker(ngx_shm_zone_t *zone,
    ngx_workflow_worker_state_e state);
ngx_int_t ngx_workflow_zone_heir(ngx_shm_zone_t *zone);
ngx_uint_t ngx_workflow_zone_listeners(ngx_shm_zone_t *zone);

/* The zone's init function. */
ngx_int_t ngx_workflow_zone_init(ngx_shm_zone_t *zone, void *data);


#endif /* NGX_WORKFLOW_ZONE_H_INCLUDED_ */
