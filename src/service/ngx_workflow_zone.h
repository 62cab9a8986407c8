/*
 * The shared memory of all workers: for each service the number of outstanding
 * tasks that Redis told last and what is known of its control plane, and which
 * workers listen to Pub/Sub.
 */

#ifndef NGX_WORKFLOW_ZONE_H_INCLUDED_
#define NGX_WORKFLOW_ZONE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* Bytes of a zone that is surely large enough for n services. */
size_t ngx_workflow_zone_size(ngx_uint_t n);

/*
 * What the workers share of a service.  They are plain words that whoever knows
 * a newer value overwrites, and need no lock.  What is "learned" has the slab
 * pool's, which the master unlocks when a worker dies with it.
 */

typedef struct ngx_workflow_shared_s  ngx_workflow_shared_t;

struct ngx_workflow_shared_s {
    ngx_workflow_shared_t   *next;

    ngx_atomic_t             outstanding;

    /* A control plane is known by a number, ngx_workflow_control_key(). */

    ngx_atomic_t             configured;   /* in the newest configuration */
    ngx_atomic_t             registered;   /* where it is registered, */
    ngx_atomic_t             previous;     /* and was before; 0: nowhere */
    ngx_atomic_t             due;          /* the next registration: a turn */
    ngx_atomic_t             failures;     /* since the last good one */
    ngx_atomic_t             asked;        /* what it has told: a turn */
    ngx_atomic_t             probed;       /* where NAME:namespace may be
                                              listed; 0: nowhere */

    ngx_str_t                learned;      /* by ngx_workflow_zone_learned() */
    ngx_uint_t               kept;         /* used by the master */

    size_t                   len;
    u_char                   name[1];
};

/* Found again by name after a reload, so that old and new workers share it.
 * NULL: the zone is full. */
ngx_workflow_shared_t *ngx_workflow_zone_shared(ngx_shm_zone_t *zone,
    ngx_str_t *name);

/*
 * In the master, with each configuration that comes into force: that it is the
 * newest one from now on; or that it has another zone, in the one that its
 * predecessor had.
 */
void ngx_workflow_zone_next(ngx_shm_zone_t *zone);
void ngx_workflow_zone_replace(ngx_shm_zone_t *zone);

/* Then those that are configured, one by one, and what becomes of the others.
 * What another control plane has told is forgotten. */
void ngx_workflow_zone_configure(ngx_shm_zone_t *zone, ngx_str_t *name,
    ngx_atomic_uint_t key);
void ngx_workflow_zone_configured(ngx_shm_zone_t *zone);

/* In a worker: whether there is a newer configuration than its own, so that
 * others take its place, sooner or later; whether they have another zone. */
ngx_uint_t ngx_workflow_zone_outdated(ngx_shm_zone_t *zone);
ngx_uint_t ngx_workflow_zone_replaced(ngx_shm_zone_t *zone);

/* A copy of what a control plane has told; len 0: nothing. */
ngx_int_t ngx_workflow_zone_learned(ngx_shm_zone_t *zone,
    ngx_workflow_shared_t *shared, ngx_pool_t *pool, ngx_str_t *text);
void ngx_workflow_zone_learn(ngx_shm_zone_t *zone,
    ngx_workflow_shared_t *shared, ngx_str_t *text);

/*
 * What one worker is to do is done by whichever comes first when it is due: a
 * word holds the time.  1: it is this one's turn, and the next is in so many
 * milliseconds, also if this worker does not live to say how it went.
 */
ngx_uint_t ngx_workflow_zone_turn(ngx_atomic_t *word, ngx_msec_t next);
void ngx_workflow_zone_next_turn(ngx_atomic_t *word, ngx_msec_t delay);

/* Milliseconds until the turn, 0: it has come. */
ngx_msec_t ngx_workflow_zone_until(ngx_atomic_t *word);

/*
 * Whether this process listens.  A worker that leaves goes on listening until
 * one that stays does: ngx_workflow_zone_heir() is NGX_OK when one of the
 * newest configuration does, NGX_AGAIN when one is about to, NGX_DECLINED when
 * there is none.  The workers of another master, and of another zone, are not
 * seen here: how many listen here is what they are told from.
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
