#include "ngx_workflow_zone.h"


/* Written by its own process only; one that was killed leaves it behind. */

typedef struct {
    ngx_atomic_t             pid;
    ngx_atomic_t             state;
    ngx_atomic_t             generation;
} ngx_workflow_worker_t;

/* Configurations are counted: "generation" is the newest one's number. */

typedef struct {
    ngx_workflow_shared_t   *services;
    ngx_atomic_t             generation;
    ngx_atomic_t             replaced;
    ngx_workflow_worker_t    workers[NGX_MAX_PROCESSES];
} ngx_workflow_zone_t;


static ngx_workflow_shared_t *ngx_workflow_zone_find(ngx_shm_zone_t *zone,
    ngx_str_t *name);


/* This process' own: set in the master, workers have it by fork(). */

static ngx_atomic_uint_t  ngx_workflow_generation;


size_t
ngx_workflow_zone_size(ngx_uint_t n)
{
    return 8 * ngx_pagesize
           + ngx_align(sizeof(ngx_workflow_zone_t), ngx_pagesize)
           + n * 2048;
}


ngx_workflow_shared_t *
ngx_workflow_zone_shared(ngx_shm_zone_t *zone, ngx_str_t *name)
{
    ngx_slab_pool_t        *pool;
    ngx_workflow_zone_t    *all;
    ngx_workflow_shared_t  *shared;

    shared = ngx_workflow_zone_find(zone, name);
    if (shared) {
        return shared;
    }

    pool = (ngx_slab_pool_t *) zone->shm.addr;
    all = pool->data;

    shared = ngx_slab_calloc(pool, sizeof(ngx_workflow_shared_t) + name->len);
    if (shared == NULL) {
        return NULL;
    }

    shared->len = name->len;
    ngx_memcpy(shared->name, name->data, name->len);

    /* old workers may be walking along the list */

    shared->next = all->services;
    ngx_memory_barrier();
    all->services = shared;

    return shared;
}


static ngx_workflow_shared_t *
ngx_workflow_zone_find(ngx_shm_zone_t *zone, ngx_str_t *name)
{
    ngx_slab_pool_t        *pool;
    ngx_workflow_zone_t    *all;
    ngx_workflow_shared_t  *shared;

    pool = (ngx_slab_pool_t *) zone->shm.addr;
    all = pool->data;

    for (shared = all->services; shared; shared = shared->next) {
        if (shared->len == name->len
            && ngx_memcmp(shared->name, name->data, name->len) == 0)
        {
            return shared;
        }
    }

    return NULL;
}


void
ngx_workflow_zone_next(ngx_shm_zone_t *zone)
{
    ngx_slab_pool_t      *pool;
    ngx_workflow_zone_t  *all;

    pool = (ngx_slab_pool_t *) zone->shm.addr;
    all = pool->data;

    ngx_workflow_generation = ++all->generation;
}


void
ngx_workflow_zone_replace(ngx_shm_zone_t *zone)
{
    ngx_slab_pool_t      *pool;
    ngx_workflow_zone_t  *all;

    pool = (ngx_slab_pool_t *) zone->shm.addr;
    all = pool->data;

    all->replaced = 1;
}


ngx_uint_t
ngx_workflow_zone_replaced(ngx_shm_zone_t *zone)
{
    ngx_slab_pool_t      *pool;
    ngx_workflow_zone_t  *all;

    pool = (ngx_slab_pool_t *) zone->shm.addr;
    all = pool->data;

    return all->replaced;
}


ngx_uint_t
ngx_workflow_zone_outdated(ngx_shm_zone_t *zone)
{
    ngx_slab_pool_t      *pool;
    ngx_workflow_zone_t  *all;

    pool = (ngx_slab_pool_t *) zone->shm.addr;
    all = pool->data;

    return all->replaced || all->generation != ngx_workflow_generation;
}


void
ngx_workflow_zone_configure(ngx_shm_zone_t *zone, ngx_str_t *name,
    ngx_atomic_uint_t key)
{
    ngx_str_t               nothing;
    ngx_workflow_shared_t  *shared;

    shared = ngx_workflow_zone_find(zone, name);
    if (shared == NULL) {
        return;
    }

    if (shared->configured != key) {
        ngx_str_null(&nothing);
        ngx_workflow_zone_learn(zone, shared, &nothing);
    }

    shared->configured = key;
    shared->failures = 0;
    shared->asked = 0;
    shared->due = 0;
    shared->kept = 1;
}


void
ngx_workflow_zone_configured(ngx_shm_zone_t *zone)
{
    ngx_slab_pool_t        *pool;
    ngx_workflow_zone_t    *all;
    ngx_workflow_shared_t  *shared;

    pool = (ngx_slab_pool_t *) zone->shm.addr;
    all = pool->data;

    for (shared = all->services; shared; shared = shared->next) {

        if (!shared->kept) {
            shared->configured = 0;
        }

        shared->kept = 0;
    }
}


ngx_int_t
ngx_workflow_zone_learned(ngx_shm_zone_t *zone, ngx_workflow_shared_t *shared,
    ngx_pool_t *pool, ngx_str_t *text)
{
    ngx_slab_pool_t  *slab;

    slab = (ngx_slab_pool_t *) zone->shm.addr;

    ngx_shmtx_lock(&slab->mutex);

    text->len = shared->learned.len;
    text->data = text->len ? ngx_pstrdup(pool, &shared->learned) : NULL;

    ngx_shmtx_unlock(&slab->mutex);

    return text->len && text->data == NULL ? NGX_ERROR : NGX_OK;
}


void
ngx_workflow_zone_learn(ngx_shm_zone_t *zone, ngx_workflow_shared_t *shared,
    ngx_str_t *text)
{
    u_char           *p;
    ngx_slab_pool_t  *slab;

    slab = (ngx_slab_pool_t *) zone->shm.addr;

    ngx_shmtx_lock(&slab->mutex);

    p = text->len ? ngx_slab_alloc_locked(slab, text->len) : NULL;

    /* a zone that is full forgets: each worker asks for itself then */

    if (shared->learned.data) {
        ngx_slab_free_locked(slab, shared->learned.data);
    }

    shared->learned.data = p;
    shared->learned.len = 0;

    if (p) {
        ngx_memcpy(p, text->data, text->len);
        shared->learned.len = text->len;
    }

    ngx_shmtx_unlock(&slab->mutex);
}


/* 0 is a turn that has come; times that are 0 by chance are a millisecond
 * later. */

ngx_uint_t
ngx_workflow_zone_turn(ngx_atomic_t *word, ngx_msec_t next)
{
    ngx_atomic_uint_t  due;

    due = *word;

    if (due && (ngx_msec_int_t) (due - ngx_current_msec) > 0) {
        return 0;
    }

    return ngx_atomic_cmp_set(word, due, ngx_max(ngx_current_msec + next, 1));
}


void
ngx_workflow_zone_next_turn(ngx_atomic_t *word, ngx_msec_t delay)
{
    *word = ngx_max(ngx_current_msec + delay, 1);
}


ngx_msec_t
ngx_workflow_zone_until(ngx_atomic_t *word)
{
    ngx_msec_int_t     left;
    ngx_atomic_uint_t  due;

    due = *word;
    left = due ? (ngx_msec_int_t) (due - ngx_current_msec) : 0;

    return ngx_max(left, 0);
}


void
ngx_workflow_zone_worker(ngx_shm_zone_t *zone,
    ngx_workflow_worker_state_e state)
{
    ngx_slab_pool_t        *pool;
    ngx_workflow_zone_t    *shared;
    ngx_workflow_worker_t  *worker;

    pool = (ngx_slab_pool_t *) zone->shm.addr;
    shared = pool->data;
    worker = &shared->workers[ngx_process_slot];

    worker->state = state;
    worker->generation = ngx_workflow_generation;
    ngx_memory_barrier();
    worker->pid = ngx_pid;
}


ngx_int_t
ngx_workflow_zone_heir(ngx_shm_zone_t *zone)
{
    ngx_int_t               rc;
    ngx_pid_t               pid;
    ngx_uint_t              i;
    ngx_slab_pool_t        *pool;
    ngx_workflow_zone_t    *shared;
    ngx_workflow_worker_t  *worker;

    pool = (ngx_slab_pool_t *) zone->shm.addr;
    shared = pool->data;
    rc = NGX_DECLINED;

    for (i = 0; i < NGX_MAX_PROCESSES; i++) {
        worker = &shared->workers[i];
        pid = (ngx_pid_t) worker->pid;

        if (pid == 0 || pid == ngx_pid
            || worker->generation != shared->generation
            || (worker->state != NGX_WORKFLOW_WORKER_STARTING
                && worker->state != NGX_WORKFLOW_WORKER_LISTENING)
            || (kill(pid, 0) == -1 && ngx_errno == NGX_ESRCH))
        {
            continue;
        }

        if (worker->state == NGX_WORKFLOW_WORKER_LISTENING) {
            return NGX_OK;
        }

        rc = NGX_AGAIN;
    }

    return rc;
}


ngx_uint_t
ngx_workflow_zone_listeners(ngx_shm_zone_t *zone)
{
    ngx_pid_t               pid;
    ngx_uint_t              i, n;
    ngx_slab_pool_t        *pool;
    ngx_workflow_zone_t    *shared;
    ngx_workflow_worker_t  *worker;

    pool = (ngx_slab_pool_t *) zone->shm.addr;
    shared = pool->data;
    n = 0;

    for (i = 0; i < NGX_MAX_PROCESSES; i++) {
        worker = &shared->workers[i];
        pid = (ngx_pid_t) worker->pid;

        if (pid
            && (worker->state == NGX_WORKFLOW_WORKER_LISTENING
                || worker->state == NGX_WORKFLOW_WORKER_LEAVING)
            && (kill(pid, 0) == 0 || ngx_errno != NGX_ESRCH))
        {
            n++;
        }
    }

    return n;
}


ngx_int_t
ngx_workflow_zone_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t  *pool;

    pool = (ngx_slab_pool_t *) zone->shm.addr;

    if (data || zone->shm.exists) {
        return NGX_OK;
    }

    pool->data = ngx_slab_calloc(pool, sizeof(ngx_workflow_zone_t));

    return pool->data ? NGX_OK : NGX_ERROR;
}
