/*
 * A workflow_service in a worker: it claims tasks as it has free slots, lends
 * their runs threads, and publishes what comes of them.
 */

#ifndef NGX_WORKFLOW_SERVICE_H_INCLUDED_
#define NGX_WORKFLOW_SERVICE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_thread_pool.h>

#include "ngx_workflow_executor.h"
#include "ngx_workflow_plugin.h"
#include "ngx_workflow_task.h"
#include "ngx_workflow_zone.h"
#include "wf_http.h"
#include "wf_message.h"
#include "wf_state.h"


/* Messages of Pub/Sub come to every worker of every nginx: seconds for the
 * slowest of them; fewer where a message is only known by what it says, as the
 * same may be said again. */

#define NGX_WORKFLOW_REMEMBER       3600
#define NGX_WORKFLOW_REMEMBER_TEXT  60


typedef struct ngx_workflow_receiving_s  ngx_workflow_receiving_t;


typedef struct {
    ngx_workflow_consumer_t    consumer;

    ngx_str_t                  name;
    ngx_str_t                  workflow;
    ngx_str_t                  queue;
    ngx_str_t                  description;
    ngx_str_t                  host;
    ngx_uint_t                 port;
    ngx_flag_t                 running;
    ngx_flag_t                 raise_exceptions;
    ngx_flag_t                 stream_event_types;
    ngx_msec_t                 step_interval;
    ngx_uint_t                 max_concurrent_tasks;
    ngx_str_t                  thread_pool;
    ngx_msec_t                 timeout;
    time_t                     result_ttl;
    time_t                     event_ttl;
    ngx_uint_t                 max_events;
    ngx_uint_t                 max_queued;
    size_t                     max_message_size;
    ngx_msec_t                 lease;
    ngx_uint_t                 max_attempts;
    ngx_msec_t                 retry_delay;
    ngx_msec_t                 retry_delay_max;
    ngx_msec_t                 wait_timeout;
    ngx_msec_t                 checkpoint;
    ngx_msec_t                 drain_timeout;
    ngx_str_t                  control_plane;
    ngx_msec_t                 control_plane_timeout;
    ngx_str_t                  control_plane_ssl_trusted_certificate;
    ngx_str_t                  control_plane_ssl_certificate;
    ngx_str_t                  control_plane_ssl_certificate_key;
    ngx_flag_t                 control_plane_ssl_verify;
    ngx_msec_t                 register_interval;
    ngx_flag_t                 message_queue_config;
    time_t                     session_ttl;
    ngx_str_t                  hash_secret_file;
    u_char                    *file;             /* where it is declared */
    ngx_uint_t                 line;

    ngx_workflow_plugin_t     *plugin;
    ngx_shm_zone_t            *zone;
    ngx_str_t                  timeout_text;     /* seconds, as Python's */
    ngx_str_t                  interval_text;
    ngx_str_t                  control_name;     /* the URL without a user;
                                                    len 0: no control plane */
    wf_http_conf_t             control;
    wf_state_secrets_t         secrets;

    /* in a worker */

    ngx_log_t                 *log;
    wf_graph_t                *graph;            /* NULL: plugin not open */
    ngx_thread_pool_t         *pool;
    ngx_workflow_executor_t   *executor;         /* of that */
    int64_t                    step_time;        /* mean, of steps on it */
    int64_t                    submitted;        /* when a message came */
    ngx_workflow_shared_t     *shared;

    ngx_rbtree_t               runs;             /* by task id */
    ngx_rbtree_node_t          sentinel;
    ngx_uint_t                 slots;            /* taken ones */
    ngx_queue_t                waiting;          /* claimed runs, for a slot */
    ngx_uint_t                 nwaiting;
    ngx_event_t                waiting_timer;
    ngx_uint_t                 ended;            /* runs, since */
    ngx_msec_t                 ended_since;
    ngx_uint_t                 recent;           /* in a period before that */
    ngx_uint_t                 threads;          /* lent to runs */
    ngx_event_t                poll;
    ngx_event_t                claim;
    ngx_msec_t                 asked_at;         /* of the claim that is under
                                                    way, or was answered */
    ngx_uint_t                 accepting;        /* messages under way into
                                                    Redis that are claimed
                                                    there */
    ngx_uint_t                 nreceiving;       /* calls for tasks of Pub/Sub */
    ngx_workflow_receiving_t  *receiving;        /* the tasks of the next one */
    ngx_event_t                accept;
    ngx_event_t                lease_timer;
    ngx_event_t                reap_timer;
    ngx_event_t                drain_timer;

    wf_http_t                 *http;             /* to the control plane */
    ngx_event_t                learn_timer;
    ngx_event_t                register_timer;
    ngx_pool_t                *learned;          /* what it has told */

    unsigned                   started:1;        /* its queue is known */
    unsigned                   claiming:1;
    unsigned                   more:1;           /* there may be more */
    unsigned                   rung:1;           /* meanwhile */
    unsigned                   recover:1;        /* claims are to be repeated */
    unsigned                   recovering:1;     /* the claim repeats */
    unsigned                   leaving:1;
    unsigned                   sparse:1;         /* messages come one by one */
    unsigned                   registering:1;
    unsigned                   differs:1;        /* the control plane's
                                                    namespace from ours */
} ngx_workflow_service_t;


/* Which control plane it has, as a number that workers share; 0: none. */
ngx_atomic_uint_t ngx_workflow_control_key(ngx_workflow_service_t *service);

/* In a worker; and when its queue and namespace are known. */
ngx_int_t ngx_workflow_service_open(ngx_workflow_service_t *service,
    ngx_cycle_t *cycle);
ngx_int_t ngx_workflow_service_start(ngx_workflow_service_t *service);

/* Claim no more. */
void ngx_workflow_service_leave(ngx_workflow_service_t *service);

/* At exit: forget what is not ended.  NGX_BUSY: threads still work on it, and
 * nothing that they need may be freed. */
ngx_int_t ngx_workflow_service_close(ngx_workflow_service_t *service);

/* ngx_workflow_lease.c: keep the tasks that are run, take over those of workers
 * that are gone. */
void ngx_workflow_lease_start(ngx_workflow_service_t *service);
void ngx_workflow_lease_leave(ngx_workflow_service_t *service);
void ngx_workflow_lease_stop(ngx_workflow_service_t *service);

/* A slot has been taken or given back. */
void ngx_workflow_service_slot(ngx_workflow_service_t *service, ngx_int_t n);

/* ngx_workflow_claim.c: the claim event's handler, which claims as many tasks as
 * there are free slots, and some ahead. */
void ngx_workflow_service_claim(ngx_event_t *ev);

/* Who is to claim the task of an event that comes now; how many tasks this
 * worker is to claim when n come. */
ngx_workflow_claims_e ngx_workflow_service_claims(
    ngx_workflow_service_t *service);
void ngx_workflow_service_may_claim(ngx_workflow_service_t *service,
    ngx_uint_t n, ngx_workflow_claims_t *claims);

/* Claim, behind the call that was made last. */
void ngx_workflow_service_claim_next(ngx_workflow_service_t *service);

/* What is to be claimed as it is put into Redis, more or less; the answers, to n
 * tasks, and to an event. */
void ngx_workflow_service_accepting(ngx_workflow_service_t *service,
    ngx_int_t n);
void ngx_workflow_service_accepted(ngx_workflow_service_t *service,
    ngx_workflow_call_t *call, redisReply *reply, ngx_uint_t n);
void ngx_workflow_service_resumed(ngx_workflow_service_t *service,
    ngx_workflow_call_t *call, redisReply *reply);

/* A task will be due so many milliseconds from now. */
void ngx_workflow_service_due(ngx_workflow_service_t *service,
    ngx_msec_t delay);

/* Redis has told the number of outstanding tasks. */
void ngx_workflow_service_outstanding(ngx_workflow_service_t *service,
    redisReply *reply);


/*
 * Put a parsed message into Redis.  message_id, if not empty, is remembered, so
 * that the same message is not taken twice.  keep: seconds for which an event
 * is kept whose task is not known, 0: it is refused.  An event's type must be
 * one that the graph matches.  NULL: not made.  The handler reads its reply by
 * ngx_workflow_accept_answer().
 */
ngx_workflow_call_t *ngx_workflow_service_submit(
    ngx_workflow_service_t *service, wf_message_t *m, ngx_str_t *message_id,
    time_t keep, ngx_msec_t deadline, ngx_workflow_call_pt handler,
    void *data);

/* For how long a message is remembered; whether the task that it starts will be
 * known for as long anyhow. */
time_t ngx_workflow_service_remember(wf_message_t *m);
ngx_uint_t ngx_workflow_service_is_kept(ngx_workflow_service_t *service,
    wf_message_t *m);

/* The same of new tasks: collect them, and then put them into Redis by one call;
 * they are none then, also when it is not made. */
ngx_int_t ngx_workflow_service_collect(ngx_workflow_service_t *service,
    ngx_workflow_accepts_t *accepts, wf_message_t *m, ngx_str_t *message_id);
ngx_workflow_call_t *ngx_workflow_service_accept(
    ngx_workflow_service_t *service, ngx_workflow_accepts_t *accepts,
    ngx_msec_t deadline, ngx_workflow_call_pt handler, void *data);

/* The handler will not be called. */
void ngx_workflow_service_forget(ngx_workflow_call_t *call);

void ngx_workflow_service_unknown_event(ngx_workflow_service_t *service,
    wf_message_t *m, wf_buf_t *detail, wf_buf_t *reason);

/* ngx_workflow_receive.c: a message from Pub/Sub. */
void ngx_workflow_service_receive(ngx_workflow_consumer_t *consumer,
    u_char *data, size_t len);

/* What it has collected is sent now. */
void ngx_workflow_receive_send(ngx_workflow_service_t *service);


#endif /* NGX_WORKFLOW_SERVICE_H_INCLUDED_ */
