/*
 * Tasks that end, several in one call: collected by ngx_workflow_finish.c, and
 * sent by that as a script, or by ngx_workflow_exec.c as a transaction.
 */

#ifndef NGX_WORKFLOW_ENDS_H_INCLUDED_
#define NGX_WORKFLOW_ENDS_H_INCLUDED_


#include "ngx_workflow_task.h"


#define NGX_WORKFLOW_MAX_ENDS       64
#define NGX_WORKFLOW_MAX_ENDS_SIZE  (1024 * 1024)


struct ngx_workflow_ends_s {
    ngx_queue_t                 link;        /* in consumer->ends */
    ngx_workflow_consumer_t    *consumer;
    ngx_workflow_command_t      command;
    time_t                      ttl;
    time_t                      session_ttl;
    wf_buf_t                    text;        /* arguments, as they are sent */
    ngx_uint_t                  nargs;
    ngx_uint_t                  epoch;       /* of those that a transaction may
                                                end; 0: the script must */
    ngx_uint_t                  ncommands;   /* in the transaction */
    ngx_uint_t                  n;
    ngx_workflow_finish_pt      handlers[NGX_WORKFLOW_MAX_ENDS];
    void                       *data[NGX_WORKFLOW_MAX_ENDS];
    ngx_uint_t                  messages[NGX_WORKFLOW_MAX_ENDS];
    unsigned                    sent:1;
    unsigned                    again:1;     /* Redis may have, or get, a
                                                transaction for them */
};


/* Send a transaction.  NGX_ERROR: the connection is dropped. */
ngx_int_t ngx_workflow_exec_send(ngx_workflow_ends_t *ends);

/* Its commands are composed and sent one by one; the handler is that of the
 * answer. */

typedef struct {
    ngx_workflow_consumer_t  *consumer;
    const char               *next;        /* argument of the script's */
    wf_buf_t                  command;
    wf_buf_t                  ids;
    wf_buf_t                  entries;
    wf_buf_t                  gone;        /* keys that go with their tasks */
    ngx_uint_t                ngone;
    ngx_uint_t                ncommands;   /* between MULTI and EXEC */
    ngx_uint_t                failed;
} ngx_workflow_exec_t;


void ngx_workflow_exec_begin(ngx_workflow_exec_t *exec, ngx_uint_t nargs,
    const char *name);
void ngx_workflow_exec_end(ngx_workflow_exec_t *exec,
    ngx_workflow_command_t *command);

/* ngx_workflow_epoch.c: whether a transaction may be tried; what stands before it,
 * and behind it; an answer to what may be refused. */
ngx_uint_t ngx_workflow_epoch_may(ngx_workflow_ends_t *ends);
void ngx_workflow_epoch_guard(ngx_workflow_exec_t *exec);
void ngx_workflow_epoch_watch(ngx_workflow_exec_t *exec);
void ngx_workflow_epoch_guarded(ngx_workflow_command_t *command,
    redisReply *reply);

/* What the script is to do about the epoch; it has told it. */
ngx_uint_t ngx_workflow_epoch_asks(ngx_workflow_ends_t *ends);
void ngx_workflow_epoch_told(ngx_workflow_consumer_t *consumer,
    redisReply *reply);

/* The transaction was not executed; or nobody knows, and the script can tell. */
void ngx_workflow_finish_again(ngx_workflow_ends_t *ends);

/* answers: one for each; NULL: all were this worker's */
void ngx_workflow_finish_done(ngx_workflow_ends_t *ends, redisReply **answers,
    redisReply *outstanding);


#endif /* NGX_WORKFLOW_ENDS_H_INCLUDED_ */
