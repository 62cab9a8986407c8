/*
 * The shared memory of all workers: for each service the number of outstanding
 * tasks that Redis told last.
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

/* The zone's init function. */
ngx_int_t ngx_workflow_zone_init(ngx_shm_zone_t *zone, void *data);


#endif /* NGX_WORKFLOW_ZONE_H_INCLUDED_ */
