#include "ngx_workflow_zone.h"


typedef struct ngx_workflow_counter_s  ngx_workflow_counter_t;

struct ngx_workflow_counter_s {
    ngx_workflow_counter_t  *next;
    ngx_atomic_t             outstanding;
    size_t                   len;
    u_char                   name[1];
};

/* Written by its own process only; one that was killed leaves it behind. */

typedef struct {
    ngx_atomic_t             pid;
    ngx_atomic_t             state;
} ngx_workflow_worker_t;

typedef struct {
    ngx_workflow_counter_t  *counters;
    ngx_workflow_worker_t    workers[NGX_MAX_PROCESSES];
} ngx_workflow_zone_t;


size_t
ngx_workflow_zone_size(ngx_uint_t n)
{
    return 8 * ngx_pagesize + 2 * sizeof(ngx_workflow_zone_t) + n * 256;
}


ngx_atomic_t *
ngx_workflow_zone_counter(ngx_shm_zone_t *zone, ngx_str_t *name)
{
    ngx_slab_pool_t         *pool;
    ngx_workflow_zone_t     *shared;
    ngx_workflow_counter_t  *counter;

    pool = (ngx_slab_pool_t *) zone->shm.addr;
    shared = pool->data;

    for (counter = shared->counters; counter; counter = counter->next) {
        if (counter->len == name->len
            && ngx_memcmp(counter->name, name->data, name->len) == 0)
        {
            return &counter->outstanding;
        }
    }

    counter = ngx_slab_calloc(pool, sizeof(ngx_workflow_counter_t)
                                    + name->len);
    if (counter == NULL) {
        return NULL;
    }

    counter->len = name->len;
    ngx_memcpy(counter->name, name->data, name->len);

    /* old workers may be walking along the list */

    counter->next = shared->counters;
    ngx_memory_barrier();
    shared->counters = counter;

    return &counter->outstanding;
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
