/*
 * The task's state machine: what is asked of the scripts, and what they
 * answer.  Worker's event loop only.
 *
 * States in Redis: queued, running, waiting (for an event); completed, failed,
 * cancelled, dead.
 */

#ifndef NGX_WORKFLOW_TASK_H_INCLUDED_
#define NGX_WORKFLOW_TASK_H_INCLUDED_


#include "ngx_workflow_queue.h"

#include "wf_buf.h"


/* A task as a worker has claimed it; strings are the owner's. */

typedef struct {
    ngx_str_t                 id;
    ngx_str_t                 session;      /* data NULL: none */
    ngx_str_t                 input;
    ngx_str_t                 entry;        /* its id in the stream */
    ngx_str_t                 claim_text;   /* the number of the claim, which
                                               fences what this worker does */
    ngx_uint_t                attempt;
    ngx_uint_t                taken;        /* of its events in Redis */
    ngx_uint_t                index;        /* of the next streamed event */
    ngx_uint_t                streamed;     /* published by others before */
    ngx_uint_t                marked;       /* more is kept beside the record */
    ngx_uint_t                changed;      /* by this worker, since it was
                                               claimed */
    ngx_uint_t                epoch;        /* of the service, when claimed; 0:
                                               it was not known */
    off_t                     updated;      /* when it was claimed, in
                                               milliseconds of the epoch */
    ngx_str_t                 reply;        /* "service\ntask_id" of the task
                                               that has sent it; len 0: none */
    ngx_str_t                 origin;       /* as in its record, which all but
                                               id, input, taken and index are
                                               of */
    ngx_str_t                 record;
} ngx_workflow_task_t;


/* A task's record in Redis; strings are in its text, "-" or len 0 where there
 * is nothing. */

typedef struct {
    ngx_str_t                 state;
    ngx_str_t                 entry;
    ngx_str_t                 claim;
    ngx_str_t                 attempts;
    ngx_str_t                 streamed;
    ngx_str_t                 marks;
    ngx_str_t                 updated;      /* milliseconds of the epoch; "-":
                                               as created */
    ngx_str_t                 created;
    ngx_str_t                 origin;       /* from that on to the digest of
                                               the input */

    ngx_str_t                 session;      /* data NULL: none */
    ngx_str_t                 reply;
    ngx_str_t                 result;
    ngx_str_t                 error;
} ngx_workflow_record_t;


/* Who claims what is put into Redis. */

typedef enum {
    NGX_WORKFLOW_CLAIMS_ANY = 0,            /* a worker is woken */
    NGX_WORKFLOW_CLAIMS_NEXT,               /* this worker, next */
    NGX_WORKFLOW_CLAIMS_NOW                 /* this worker, by the same call */
} ngx_workflow_claims_e;


/* A new task, or an event, on its way into Redis. */

typedef struct {
    ngx_str_t                 task_id;
    ngx_str_t                 session;      /* data NULL: none */
    ngx_str_t                 message_id;   /* len 0: none to remember */
    ngx_str_t                 input;        /* task: JSON object; event: what
                                               run is given, see event() */
    time_t                    remember;
    time_t                    keep;         /* event for an unknown task */
    ngx_uint_t                max_events;
    ngx_str_t                 reply;        /* as a task has it */
    ngx_uint_t                only;         /* task: if the service has been
                                               here */
    ngx_workflow_claims_e     claims;       /* event: its task */
    ngx_msec_t                lease;        /* of one that is claimed */
} ngx_workflow_submission_t;


/* What a worker claims. */

typedef struct {
    ngx_uint_t                n;            /* at most */
    ngx_msec_t                lease;
    ngx_uint_t                attempts;
    ngx_uint_t                sessions;     /* are kept in Redis, and come with
                                               their tasks */
} ngx_workflow_claims_t;


/* New tasks on their way into Redis; all zero: none. */

#define NGX_WORKFLOW_MAX_ACCEPTS       64
#define NGX_WORKFLOW_MAX_ACCEPTS_SIZE  (1024 * 1024)

typedef struct {
    ngx_uint_t                n;
    wf_buf_t                  text;
} ngx_workflow_accepts_t;


/* Messages to publish, one behind the other. */

typedef struct {
    ngx_uint_t                n;
    ngx_uint_t                first;        /* index of the first */
    ngx_str_t                *elts;
} ngx_workflow_messages_t;


/* How a task ends.  Strings that are empty are none. */

typedef struct {
    const char               *state;        /* as in Redis */
    ngx_str_t                 result;       /* JSON */
    ngx_str_t                 error;
    time_t                    ttl;          /* of both */
    ngx_str_t                 completed;    /* to publish */
    ngx_str_t                 input;        /* of a dead one */
    time_t                    session_ttl;
    ngx_str_t                 session;      /* len 0: none is kept here */
    ngx_uint_t                nset;         /* keys of it that were set */
    ngx_str_t                *set;          /* key, value, key, ... */
    ngx_str_t                 sender;       /* service of the task that has
                                               sent this one, */
    ngx_str_t                 sender_keys;  /* their prefix, */
    ngx_str_t                 sender_id;    /* that task, */
    ngx_str_t                 event;        /* and what it is given */
} ngx_workflow_end_t;


typedef enum {
    NGX_WORKFLOW_ACCEPTED = 0,
    NGX_WORKFLOW_KNOWN,
    NGX_WORKFLOW_CONFLICT,
    NGX_WORKFLOW_FULL,
    NGX_WORKFLOW_CROWDED,
    NGX_WORKFLOW_KEPT,
    NGX_WORKFLOW_UNKNOWN,
    NGX_WORKFLOW_ENDED,
    NGX_WORKFLOW_UNAVAILABLE
} ngx_workflow_answer_e;


/* ngx_workflow_record.c */
ngx_int_t ngx_workflow_record_parse(ngx_str_t *text,
    ngx_workflow_record_t *record);
/* The task's fields are set to what its record says. */
ngx_int_t ngx_workflow_record_task(ngx_workflow_task_t *task);
void ngx_workflow_record_new(wf_buf_t *b, ngx_str_t *input, ngx_str_t *session,
    ngx_str_t *reply);
/* worker: that has claimed it; updated: milliseconds of the epoch. */
void ngx_workflow_record_end(wf_buf_t *b, ngx_workflow_task_t *task,
    ngx_workflow_end_t *end, ngx_str_t *worker, ngx_uint_t streamed,
    off_t updated);

/* Its keys and channels: those of its name in a namespace. */
ngx_int_t ngx_workflow_consumer_init(ngx_workflow_consumer_t *consumer,
    ngx_str_t *topic_namespace, ngx_pool_t *pool);


/* NULL: not made; handlers' replies are read by the functions below. */

/* The answer to an event whose task is to be claimed now has the claim behind
 * it; if there is none, what this worker has claimed is to be repeated. */
ngx_workflow_call_t *ngx_workflow_task_event(
    ngx_workflow_consumer_t *consumer, ngx_workflow_submission_t *s,
    ngx_msec_t deadline, ngx_workflow_call_pt handler, void *data);

ngx_workflow_call_t *ngx_workflow_task_refuse(
    ngx_workflow_consumer_t *consumer, ngx_workflow_submission_t *s,
    ngx_str_t *error, time_t ttl, ngx_workflow_messages_t *messages,
    ngx_workflow_call_pt handler, void *data);

/* The answer is its record, or nil. */
ngx_workflow_call_t *ngx_workflow_task_status(
    ngx_workflow_consumer_t *consumer, ngx_str_t *task_id,
    ngx_msec_t deadline, ngx_workflow_call_pt handler, void *data);

/* again: repeat what this worker has claimed and not ended.  A lost answer is
 * NULL for the handler. */
ngx_workflow_call_t *ngx_workflow_task_claim(
    ngx_workflow_consumer_t *consumer, ngx_workflow_claims_t *claims,
    ngx_uint_t again, ngx_workflow_call_pt handler, void *data);

/* The tasks are told one by one by ngx_workflow_task_renew_add(). */
void ngx_workflow_task_renew_init(ngx_workflow_consumer_t *consumer,
    ngx_workflow_args_t *args, ngx_msec_t lease);
void ngx_workflow_task_renew_add(ngx_workflow_args_t *args,
    ngx_workflow_task_t *task);

/* The workers of this machine that Redis knows of a service. */
ngx_workflow_call_t *ngx_workflow_task_workers(
    ngx_workflow_consumer_t *consumer, ngx_workflow_call_pt handler,
    void *data);

ngx_workflow_call_t *ngx_workflow_task_reap(
    ngx_workflow_consumer_t *consumer, ngx_str_t *worker,
    ngx_workflow_call_pt handler, void *data);

ngx_workflow_call_t *ngx_workflow_task_cancel(
    ngx_workflow_consumer_t *consumer, ngx_str_t *task_id,
    ngx_msec_t deadline, ngx_workflow_call_pt handler, void *data);

/* the events of a running task from the taken one on */
ngx_workflow_call_t *ngx_workflow_task_events(
    ngx_workflow_consumer_t *consumer, ngx_workflow_task_t *task,
    ngx_workflow_call_pt handler, void *data);

ngx_workflow_call_t *ngx_workflow_task_emit(
    ngx_workflow_consumer_t *consumer, ngx_workflow_task_t *task,
    ngx_workflow_messages_t *messages, ngx_workflow_call_pt handler,
    void *data);

ngx_workflow_call_t *ngx_workflow_task_park(
    ngx_workflow_consumer_t *consumer, ngx_workflow_task_t *task,
    ngx_str_t *saved, ngx_msec_t wait, ngx_workflow_messages_t *messages,
    ngx_workflow_call_pt handler, void *data);

/* saved empty: the last one stays.  leave: another worker is to go on. */
ngx_workflow_call_t *ngx_workflow_task_checkpoint(
    ngx_workflow_consumer_t *consumer, ngx_workflow_task_t *task,
    ngx_str_t *saved, ngx_uint_t leave, ngx_workflow_messages_t *messages,
    ngx_workflow_call_pt handler, void *data);

ngx_workflow_call_t *ngx_workflow_task_retry(
    ngx_workflow_consumer_t *consumer, ngx_workflow_task_t *task,
    ngx_str_t *error, ngx_msec_t delay, ngx_workflow_messages_t *messages,
    ngx_workflow_call_pt handler, void *data);

/*
 * ngx_workflow_accept.c: collect new tasks, which are copied; NGX_ERROR: no
 * memory for this one.  When they are full they are to be sent, by one call,
 * after which they are none again.  max_queued: in the queue, 0: no limit.
 *
 * The answer has what is claimed in the same call from that element on that is
 * behind the answers, of which the first is NGX_WORKFLOW_ACCEPT_ANSWERS; before
 * those, how many tasks are outstanding, and 1 if there may be more to claim.
 */

#define NGX_WORKFLOW_ACCEPT_ANSWERS  2

ngx_int_t ngx_workflow_accept_add(ngx_workflow_accepts_t *accepts,
    ngx_workflow_submission_t *s);
ngx_uint_t ngx_workflow_accept_is_full(ngx_workflow_accepts_t *accepts);
ngx_workflow_call_t *ngx_workflow_accept_send(
    ngx_workflow_consumer_t *consumer, ngx_workflow_accepts_t *accepts,
    ngx_uint_t max_queued, ngx_workflow_claims_t *claims, ngx_msec_t deadline,
    ngx_workflow_call_pt handler, void *data);

/* What is said of task i; or of an event. */
ngx_workflow_answer_e ngx_workflow_accept_answer(redisReply *reply,
    ngx_uint_t i, ngx_int_t *outstanding);

/* ngx_workflow_finish.c; all is copied.  The times to live must be the same at
 * each call for a consumer.  The handler is told 1, or 0: the task is not this
 * worker's any more; and how many tasks are outstanding. */

typedef void (*ngx_workflow_finish_pt)(void *data, redisReply *answer,
    redisReply *outstanding);

ngx_int_t ngx_workflow_task_finish(ngx_workflow_consumer_t *consumer,
    ngx_workflow_task_t *task, ngx_workflow_end_t *end,
    ngx_workflow_messages_t *messages, ngx_workflow_finish_pt handler,
    void *data);

/*
 * ngx_workflow_sent.c: publish a task for a service that is none of ours, once.
 * The answer is how many listen, or a string if it was published before:
 * "!" and an event, its result, or another one.
 */
ngx_workflow_call_t *ngx_workflow_task_send(
    ngx_workflow_consumer_t *consumer, ngx_str_t *task_id,
    ngx_str_t *sent_id, ngx_str_t *service, ngx_str_t *message, time_t wait,
    ngx_workflow_call_pt handler, void *data);

/* Its result, for the task of this service that has sent it.  fields: those of
 * the event, "service" and the brace before them left out. */
ngx_workflow_call_t *ngx_workflow_task_result(
    ngx_workflow_consumer_t *consumer, ngx_str_t *sent_id, ngx_str_t *fields,
    time_t keep, ngx_workflow_call_pt handler, void *data);

/*
 * ngx_workflow_lock.c: a lock of a task's session, among all services and
 * machines of its namespace.  keep: milliseconds after which it is gone; 0:
 * give it back.  The answer is 1, or 0 as long as another task has it.
 */
ngx_workflow_call_t *ngx_workflow_task_lock(
    ngx_workflow_consumer_t *consumer, ngx_workflow_task_t *task,
    ngx_msec_t keep, ngx_workflow_call_pt handler, void *data);


/* Where what the task says is published. */
ngx_str_t *ngx_workflow_task_channel(ngx_workflow_consumer_t *consumer,
    ngx_workflow_task_t *task);

/* The answer to an event, or a cancellation; *outstanding as far as it is
 * told. */
ngx_workflow_answer_e ngx_workflow_task_answer(redisReply *reply,
    ngx_int_t *outstanding);


#endif /* NGX_WORKFLOW_TASK_H_INCLUDED_ */
