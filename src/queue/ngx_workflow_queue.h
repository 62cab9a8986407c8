/*
 * A workflow_queue in a worker: tasks at rest in Redis and their way out.
 *
 * Three connections: one for commands, pipelined; one that blocks on the
 * services' bells; one for Pub/Sub.  Worker's event loop only.
 */

#ifndef NGX_WORKFLOW_QUEUE_H_INCLUDED_
#define NGX_WORKFLOW_QUEUE_H_INCLUDED_


#include "ngx_workflow_redis.h"

#include "wf_buf.h"


/* bytes of a service's name or a namespace, and of an id in a message */

#define NGX_WORKFLOW_MAX_NAME  128
#define NGX_WORKFLOW_MAX_ID    256


typedef struct ngx_workflow_queue_s     ngx_workflow_queue_t;
typedef struct ngx_workflow_consumer_s  ngx_workflow_consumer_t;
typedef struct ngx_workflow_call_s      ngx_workflow_call_t;
typedef struct ngx_workflow_ends_s      ngx_workflow_ends_t;


/* Of a service, see ngx_workflow_epoch.c. */

#define NGX_WORKFLOW_EPOCH_LEN  32

typedef struct {
    ngx_str_t                   key;
    ngx_str_t                   value;        /* the last that was told */
    u_char                      value_buf[NGX_WORKFLOW_EPOCH_LEN];
    ngx_uint_t                  n;            /* rises with a new value; 0: none
                                                 was told yet */
    unsigned                    doubtful:1;   /* it may be another one now */
} ngx_workflow_epoch_t;


struct ngx_workflow_queue_s {
    ngx_str_t                   name;
    ngx_str_t                   topic_namespace;  /* len 0: not configured */
    ngx_workflow_redis_conf_t   redis;
    ngx_str_t                   file;         /* where it is declared */
    ngx_uint_t                  line;

    /* in a worker */

    ngx_log_t                  *log;
    ngx_str_t                   worker;       /* this process' unique name */
    ngx_str_t                   machine;      /* what names begin with here */
    ngx_queue_t                 consumers;    /* that have joined it */

    ngx_workflow_redis_t        commands;
    ngx_queue_t                 calls;        /* in order; sent ones first */
    ngx_workflow_command_t      loaded;
    ngx_uint_t                  loading;      /* scripts not yet answered */
    ngx_event_t                 retry;
    ngx_workflow_command_t      tried;        /* whether Redis allows what
                                                 transactions need */
    ngx_uint_t                  trying;       /* answers that are to come */
    ngx_workflow_command_t      guarded;      /* what is before each of them */
    ngx_workflow_command_t      watch;        /* behind one, for the next: what
                                                 is watched, and looked at */
    ngx_workflow_command_t      look;
    ngx_uint_t                  looks;        /* answers that are to come */
    ngx_workflow_consumer_t    *watching;     /* whose epoch; NULL: none */
    ngx_workflow_consumer_t    *watched;      /* ... and it was as it was told */

    ngx_workflow_redis_t        blocking;
    ngx_workflow_command_t      ring;
    ngx_workflow_command_t      identified;
    ngx_workflow_command_t      unblocked;
    ngx_event_t                 listen;
    ngx_str_t                   client_id;
    u_char                      client_id_buf[NGX_INT64_LEN];

    ngx_workflow_redis_t        subscriber;

    ngx_uint_t                  channels;
    ngx_uint_t                  ours;         /* listeners of this nginx */

    /* the worker has begun or ceased to listen, or to pass on what it hears */
    void                      (*listening)(ngx_workflow_queue_t *queue);

    unsigned                    is_open:1;
    unsigned                    is_ready:1;
    unsigned                    may_exec:1;   /* transactions */
    unsigned                    ringing:1;    /* a blocking read under way */
    unsigned                    unblocking:1;
    unsigned                    leaving:1;
    unsigned                    listens:1;    /* to Pub/Sub */
    unsigned                    counting:1;   /* who does */
    unsigned                    others:1;     /* not only this nginx */
};


/*
 * What a service is to its queue.  Keys of one service share a hash tag:
 * "{<topic_namespace>.<service>}:".
 */

struct ngx_workflow_consumer_s {
    ngx_queue_t                 link;
    ngx_workflow_queue_t       *queue;
    ngx_str_t                   name;         /* of the service */

    /* by ngx_workflow_consumer_init() */
    ngx_str_t                   topic_namespace;
    ngx_str_t                   workers;      /* <namespace>:worker: */
    ngx_str_t                   channel;      /* of this worker */
    ngx_str_t                   topic;        /* <namespace>.<service> */
    ngx_str_t                   control;      /* <namespace>.control_plane */
    ngx_str_t                   subtasks;     /* <namespace>:subtasks */
    ngx_str_t                   prefix;
    ngx_str_t                   stream;
    ngx_str_t                   bell;
    ngx_str_t                   timers;
    ngx_str_t                   leases;
    ngx_str_t                   dead;
    ngx_workflow_epoch_t        epoch;

    /* the queue can be talked to (again) */
    void                      (*ready)(ngx_workflow_consumer_t *consumer);

    /* there may be a task to claim */
    void                      (*rung)(ngx_workflow_consumer_t *consumer);

    /* a message on the service's topic */
    void                      (*message)(ngx_workflow_consumer_t *consumer,
                                         u_char *data, size_t len);

    /* a message for the control plane; NULL: not listened to */
    void                      (*heard)(ngx_workflow_consumer_t *consumer,
                                       u_char *data, size_t len);

    /* a task that this worker runs has new events, or was cancelled */
    void                      (*notify)(ngx_workflow_consumer_t *consumer,
                                        ngx_str_t *task_id,
                                        ngx_uint_t cancel);

    void                       *data;

    ngx_queue_t                 ends;         /* tasks that end, see
                                                 ngx_workflow_finish.c */
    ngx_uint_t                  nsent;        /* calls for them under way */
    off_t                       clock;        /* Redis' clock less
                                                 ngx_current_msec; 0: nothing
                                                 was claimed yet */
    ngx_event_t                 finish;

    unsigned                    hungry:1;     /* has a free slot */
    unsigned                    listening:1;  /* the blocking read covers it */
};


/*
 * A call is a script (or command) that is answered some day: it is sent again
 * when the connection is lost, when Redis has forgotten the script, and when
 * it refuses for the time being.  All scripts are idempotent.
 *
 * A call with a deadline gives up: its handler gets NULL once at the deadline.
 * One without a deadline never gives up; error replies reach only handlers of
 * calls with a deadline.  A call that is made once is not sent again: its
 * handler gets NULL when the connection is lost.
 */

#define NGX_WORKFLOW_ONCE  ((ngx_msec_t) -1)

typedef void (*ngx_workflow_call_pt)(ngx_workflow_call_t *call,
    redisReply *reply);

struct ngx_workflow_call_s {
    ngx_workflow_command_t      command;
    ngx_queue_t                 link;
    ngx_workflow_queue_t       *queue;
    ngx_workflow_call_pt        handler;      /* NULL: nobody asks any more */
    void                       *data;
    char                       *text;
    size_t                      len;
    ngx_event_t                 timer;
    ngx_msec_t                  sent_at;
    unsigned                    sent:1;
    unsigned                    once:1;
    unsigned                    again:1;      /* it may have been done before */
    unsigned                    streams:1;    /* its last argument is "0", or
                                                 "1": events before its own are
                                                 lost */
    unsigned                    gap:1;        /* refused for want of them */
};


typedef enum {
    NGX_WORKFLOW_SCRIPT_ACCEPT = 0,
    NGX_WORKFLOW_SCRIPT_ANSWER,
    NGX_WORKFLOW_SCRIPT_CANCEL,
    NGX_WORKFLOW_SCRIPT_CHECKPOINT,
    NGX_WORKFLOW_SCRIPT_CLAIM,
    NGX_WORKFLOW_SCRIPT_EMIT,
    NGX_WORKFLOW_SCRIPT_EVENT,
    NGX_WORKFLOW_SCRIPT_FINISH,
    NGX_WORKFLOW_SCRIPT_GUARD,
    NGX_WORKFLOW_SCRIPT_LOCK,
    NGX_WORKFLOW_SCRIPT_PARK,
    NGX_WORKFLOW_SCRIPT_REAP,
    NGX_WORKFLOW_SCRIPT_REFUSE,
    NGX_WORKFLOW_SCRIPT_RENEW,
    NGX_WORKFLOW_SCRIPT_RETRY,
    NGX_WORKFLOW_SCRIPT_SEND,
    NGX_WORKFLOW_SCRIPT_WORKERS,
    NGX_WORKFLOW_SCRIPT_LAST
} ngx_workflow_script_e;


/* Arguments of a command, collected one by one; a full table or a failed
 * allocation shows when the call is made. */

#define NGX_WORKFLOW_MAX_ARGS  24

typedef struct {
    ngx_uint_t                  n;
    ngx_uint_t                  size;
    const char                **argv;
    size_t                     *len;
    const char                 *argv_buf[NGX_WORKFLOW_MAX_ARGS];
    size_t                      len_buf[NGX_WORKFLOW_MAX_ARGS];
    u_char                      numbers[8][NGX_INT64_LEN];
    ngx_uint_t                  nnumbers;
    unsigned                    failed:1;
    unsigned                    streams:1;    /* as in the call */
} ngx_workflow_args_t;

void ngx_workflow_args_init(ngx_workflow_args_t *args);
void ngx_workflow_args_script(ngx_workflow_args_t *args,
    ngx_workflow_script_e script, ngx_uint_t keys);
void ngx_workflow_args_add(ngx_workflow_args_t *args, const void *data,
    size_t len);
void ngx_workflow_args_str(ngx_workflow_args_t *args, ngx_str_t *s);
void ngx_workflow_args_number(ngx_workflow_args_t *args, uint64_t n);
void ngx_workflow_args_free(ngx_workflow_args_t *args);

/* The same as it is sent, where many tasks share a command: a script, of which so
 * many keys, and then so many arguments, follow; and one of these. */
void ngx_workflow_text_script(wf_buf_t *b, ngx_workflow_script_e script,
    ngx_uint_t keys, ngx_uint_t args);
void ngx_workflow_text_arg(wf_buf_t *b, const void *data, size_t len);
void ngx_workflow_text_str(wf_buf_t *b, ngx_str_t *s);
void ngx_workflow_text_number(wf_buf_t *b, uint64_t n);


/* In a worker: a service whose namespace and Redis are known takes part.  The
 * first one opens the queue; until then calls with a deadline are refused. */
ngx_int_t ngx_workflow_queue_join(ngx_workflow_consumer_t *consumer,
    ngx_log_t *log);

/* Stop claiming, and then listening to Pub/Sub; calls go on.  These take queues
 * that are not open as well. */
void ngx_workflow_queue_leave(ngx_workflow_queue_t *queue);
void ngx_workflow_queue_deaf(ngx_workflow_queue_t *queue);

/* Close; calls that are not answered are forgotten. */
void ngx_workflow_queue_close(ngx_workflow_queue_t *queue);


/* deadline in milliseconds, 0: none, or NGX_WORKFLOW_ONCE.  Frees the args'
 * memory.  NULL: not made; with a deadline, or once, also when Redis is not to
 * be reached just now. */
ngx_workflow_call_t *ngx_workflow_call(ngx_workflow_queue_t *queue,
    ngx_workflow_args_t *args, ngx_msec_t deadline,
    ngx_workflow_call_pt handler, void *data);

/* The same of a command in Redis' protocol; text is from malloc(), and freed
 * with the call; when none is made it is the caller's. */
ngx_workflow_call_t *ngx_workflow_call_text(ngx_workflow_queue_t *queue,
    char *text, size_t len, ngx_msec_t deadline, ngx_workflow_call_pt handler,
    void *data);

/* The handler will not be called; the call itself may still happen. */
void ngx_workflow_call_forget(ngx_workflow_call_t *call);


/*
 * A worker that shuts down gracefully waits for what is held: calls that
 * somebody asks for, and runs.
 */
void ngx_workflow_hold(void);
void ngx_workflow_release(void);

/* ngx_workflow_finish.c: at the end of a worker, before and after the
 * connection is closed */
void ngx_workflow_finish_flush(ngx_workflow_consumer_t *consumer);
void ngx_workflow_finish_close(ngx_workflow_consumer_t *consumer);

/* ngx_workflow_epoch.c: a connection is ready; it is lost, or a server has come
 * that does not know the scripts */
void ngx_workflow_epoch_open(ngx_workflow_queue_t *queue);
void ngx_workflow_epoch_lost(ngx_workflow_queue_t *queue);

/* ... this worker has claimed tasks of which it does not know. */
void ngx_workflow_epoch_doubt(ngx_workflow_consumer_t *consumer);

/* ngx_workflow_script.c */
void ngx_workflow_script_init(void);
const char *ngx_workflow_script_text(ngx_uint_t script);
const char *ngx_workflow_script_sha(ngx_uint_t script);   /* 40 digits */

/* ngx_workflow_bell.c */
void ngx_workflow_bell_open(ngx_workflow_queue_t *queue);

/* A service's slots have become free, or are all taken. */
void ngx_workflow_bell_hungry(ngx_workflow_consumer_t *consumer,
    ngx_uint_t hungry);

/* ngx_workflow_subscribe.c: before a service joins; the first one has joined;
 * another one has */
ngx_int_t ngx_workflow_subscribe_channel(ngx_workflow_consumer_t *consumer);
void ngx_workflow_subscribe_open(ngx_workflow_queue_t *queue);
void ngx_workflow_subscribe_again(ngx_workflow_queue_t *queue);

/* Whether more listen than those of ours; NGX_AGAIN: Redis is asked, or none
 * did when it was. */
ngx_int_t ngx_workflow_subscribe_others(ngx_workflow_queue_t *queue,
    ngx_uint_t ours);


#endif /* NGX_WORKFLOW_QUEUE_H_INCLUDED_ */
