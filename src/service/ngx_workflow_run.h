/*
 * A claimed task that is run: the engine's run, the threads lent to it, its
 * timer, and what it says to Redis.
 */

#ifndef NGX_WORKFLOW_RUN_H_INCLUDED_
#define NGX_WORKFLOW_RUN_H_INCLUDED_


#include "ngx_workflow_service.h"

#include "wf_run.h"


#define NGX_WORKFLOW_MAX_EVENTS  64        /* with a claim: see claim.lua */


/* How far a run is with its session's state in the control plane. */

typedef enum {
    NGX_WORKFLOW_SESSION_NONE = 0,
    NGX_WORKFLOW_SESSION_LOAD,           /* to be read, */
    NGX_WORKFLOW_SESSION_LOADING,
    NGX_WORKFLOW_SESSION_LOADED,
    NGX_WORKFLOW_SESSION_LOCK,           /* to be locked, */
    NGX_WORKFLOW_SESSION_LOCKING,
    NGX_WORKFLOW_SESSION_SAVE,           /* to be saved, */
    NGX_WORKFLOW_SESSION_SAVING,
    NGX_WORKFLOW_SESSION_SAVED           /* or could not be */
} ngx_workflow_session_e;


typedef struct ngx_workflow_run_s          ngx_workflow_run_t;
typedef struct ngx_workflow_session_job_s  ngx_workflow_session_job_t;

struct ngx_workflow_run_s {
    ngx_str_node_t             node;         /* in service->runs */
    ngx_workflow_service_t    *service;
    wf_engine_run_t           *engine;
    ngx_workflow_task_t        task;

    ngx_event_t                timer;
    ngx_msec_t                 started;
    ngx_msec_t                 leased;       /* until then it is ours */
    ngx_msec_t                 spent;        /* before it was parked */

    ngx_workflow_run_t        *next;         /* woken runs */
    unsigned                   woken;        /* under their lock */

    wf_run_output_t           *output;       /* not yet sent to Redis */
    wf_run_output_t          **last_output;
    ngx_uint_t                 threads;      /* lent */
    ngx_uint_t                 owed;         /* asked for and not lent yet */
    ngx_uint_t                 calls;        /* under way */

    ngx_queue_t                queue;        /* in service->waiting */

    ngx_queue_t                subtasks;     /* to be sent, or being sent */
    ngx_uint_t                 nsubtasks;

    ngx_workflow_session_e     session;
    ngx_workflow_session_job_t  *saving_session;
    ngx_msec_t                 lock_at;      /* when to ask for its lock */
    ngx_msec_t                 locked_at;    /* when that was last asked for */
    ngx_msec_t                 patience;     /* until when it is */
    ngx_msec_t                 pause;        /* look again then, if not 0 */
    wf_buf_t                   session_error;

    unsigned                   locking:1;    /* that is asked for */
    unsigned                   unread:1;     /* the session's state, */
    unsigned                   unsaved:1;    /* for session_error */
    unsigned                   timed_out:1;
    unsigned                   begun:1;      /* a thread has come back */
    unsigned                   fetching:1;   /* events are being fetched */
    unsigned                   fetch:1;      /* there are more to fetch */
    unsigned                   emitting:1;   /* events are being published */
    unsigned                   saving:1;     /* a checkpoint is under way */
    unsigned                   parking:1;
    unsigned                   parked:1;
    unsigned                   finishing:1;
    unsigned                   finished:1;
    unsigned                   lost:1;       /* the task is not ours any more */
    unsigned                   unlinked:1;   /* not in service->runs */
    unsigned                   slot:1;
    unsigned                   waiting:1;    /* for a slot */
    unsigned                   exhausted:1;  /* was claimed to be ended: its
                                                workers have died too often */
    unsigned                   unstopped:1;  /* the StopEvent was taken back */
    unsigned                   again:1;      /* something failed for want of
                                                memory: try again */
};


/* Start or continue a task, or end it as its fate says. */
ngx_int_t ngx_workflow_run_create(ngx_workflow_service_t *service,
    ngx_workflow_task_t *task, ngx_str_t *saved, redisReply *events,
    ngx_str_t *fate, redisReply *session);

/* It has a slot now. */
void ngx_workflow_run_begin(ngx_workflow_run_t *run);

/* Its engine's run is not begun as long as its session is being read. */
#define ngx_workflow_run_is_loading(run)                                      \
    ((run)->session == NGX_WORKFLOW_SESSION_LOAD                              \
     || (run)->session == NGX_WORKFLOW_SESSION_LOADING)

/* Begin with the task's input, once the session is known. */
ngx_int_t ngx_workflow_run_start(ngx_workflow_run_t *run);

ngx_workflow_run_t *ngx_workflow_run_find(ngx_workflow_service_t *service,
    ngx_str_t *task_id);

/* Events from a reply, from its element first on. */
void ngx_workflow_run_take_events(ngx_workflow_run_t *run, redisReply *reply,
    ngx_uint_t first);

/* Its task has new events. */
void ngx_workflow_run_notify(ngx_workflow_run_t *run);

/* Fetch them, if there are any and it is not being done. */
void ngx_workflow_run_fetch(ngx_workflow_run_t *run);

/* Whether text from Redis is a JSON object: it was checked when it went there,
 * by us or by whoever else writes to it. */
ngx_uint_t ngx_workflow_run_object(wf_slice_t text);

/* Its task is not this worker's any more: what it still does is discarded. */
void ngx_workflow_run_lose(ngx_workflow_run_t *run, const char *why);

/* Its task was cancelled. */
void ngx_workflow_run_cancel(ngx_workflow_run_t *run);

/* The worker leaves: another one is to go on with the task. */
void ngx_workflow_run_hand_back(ngx_workflow_run_t *run);

/* The same for one that waits for a slot. */
void ngx_workflow_run_give_back(ngx_workflow_run_t *run);

/* Append to what is to be sent. */
void ngx_workflow_run_add_output(ngx_workflow_run_t *run,
    wf_run_output_t *output);

/* Look at the run: threads, output, timers, its end. */
void ngx_workflow_run_turn(ngx_workflow_run_t *run);

/* The handler of its timer: a time-out, retries that are due. */
void ngx_workflow_run_timer(ngx_event_t *ev);

/* Only at exit, when no thread works any more. */
void ngx_workflow_run_destroy(ngx_workflow_run_t *run);


/* ngx_workflow_wake.c: from threads to the event loop */
ngx_int_t ngx_workflow_wake_open(ngx_log_t *log);
void ngx_workflow_wake_close(void);
void ngx_workflow_wake(void *run);
void ngx_workflow_wake_loop(void);
void ngx_workflow_wake_cancel(ngx_workflow_run_t *run);

/* ngx_workflow_linger.c: something is to come within microseconds; it has; so
 * many nanoseconds it took to wake a thread */
void ngx_workflow_linger(void);
void ngx_workflow_linger_end(void);
void ngx_workflow_linger_woken(int64_t took);

/* ngx_workflow_prefetch.c */
void ngx_workflow_prefetch_init(ngx_workflow_service_t *service);
void ngx_workflow_prefetch_ended(ngx_workflow_service_t *service);
ngx_uint_t ngx_workflow_prefetch_count(ngx_workflow_service_t *service);
void ngx_workflow_prefetch_add(ngx_workflow_run_t *run);
void ngx_workflow_prefetch_remove(ngx_workflow_run_t *run);
void ngx_workflow_prefetch_begin(ngx_workflow_service_t *service);
void ngx_workflow_prefetch_give_back(ngx_workflow_service_t *service,
    ngx_msec_t wait);

/* ngx_workflow_outbox.c, ngx_workflow_outcome.c */
ngx_int_t ngx_workflow_run_emit(ngx_workflow_run_t *run);
ngx_int_t ngx_workflow_run_park(ngx_workflow_run_t *run);
ngx_int_t ngx_workflow_run_checkpoint(ngx_workflow_run_t *run,
    ngx_uint_t leave);
ngx_int_t ngx_workflow_run_finish(ngx_workflow_run_t *run,
    wf_run_state_t state);

/* Compose what waits to be published, as much as one call takes (last: the last
 * of it ends the task); publish all but that before, or all but the last event;
 * take what was sent off the list; look at what the script says of the fence. */
ngx_int_t ngx_workflow_outbox_drain(ngx_workflow_run_t *run);
ngx_int_t ngx_workflow_outbox_before_end(ngx_workflow_run_t *run);
ngx_int_t ngx_workflow_outbox_compose(ngx_workflow_run_t *run,
    ngx_workflow_messages_t *messages, wf_buf_t *text, ngx_uint_t last);
void ngx_workflow_outbox_sent(ngx_workflow_run_t *run,
    ngx_workflow_messages_t *messages, wf_buf_t *text, ngx_uint_t sent);
void ngx_workflow_outbox_fenced(ngx_workflow_run_t *run,
    redisReply *reply);

/* ngx_workflow_session.c, ngx_workflow_session_save.c: see there */
ngx_uint_t ngx_workflow_session_remote(ngx_workflow_run_t *run);
ngx_int_t ngx_workflow_session_load(ngx_workflow_run_t *run);
ngx_int_t ngx_workflow_session_take(ngx_workflow_run_t *run,
    redisReply *fields);
ngx_int_t ngx_workflow_session_save(ngx_workflow_run_t *run);
void ngx_workflow_session_abandon(ngx_workflow_run_t *run);
size_t ngx_workflow_session_changed(ngx_workflow_run_t *run);

/*
 * ngx_workflow_subtask.c: send the tasks that the run has for other services,
 * NGX_AGAIN: not all of them are sent yet; forget them; the result of a task
 * for the one that has sent it, whose text is event's; a message for the control
 * plane.
 */
ngx_int_t ngx_workflow_subtask_send(ngx_workflow_run_t *run);
void ngx_workflow_subtask_drop(ngx_workflow_run_t *run);
void ngx_workflow_subtask_reply(ngx_workflow_run_t *run, wf_slice_t data,
    ngx_workflow_end_t *end, wf_buf_t *event);
void ngx_workflow_subtask_heard(ngx_workflow_consumer_t *consumer,
    u_char *data, size_t len);

/* ngx_workflow_compose.c */
void ngx_workflow_compose_id(char *dst);
ngx_int_t ngx_workflow_compose_streams(ngx_workflow_messages_t *messages,
    wf_buf_t *text, ngx_workflow_task_t *task, wf_run_output_t *output,
    ngx_uint_t n, ngx_uint_t last, ngx_uint_t types);

/* data: what TaskResult.data holds, an object */
void ngx_workflow_compose_result(wf_buf_t *text, ngx_str_t *task_id,
    wf_slice_t result, wf_slice_t data);
void ngx_workflow_compose_error(wf_buf_t *data, const char *status,
    const char *type, wf_slice_t message);

/* A task for a service that is none of ours. */
void ngx_workflow_compose_task(wf_buf_t *text, const wf_run_task_t *task);


#endif /* NGX_WORKFLOW_RUN_H_INCLUDED_ */
