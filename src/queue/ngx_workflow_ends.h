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


/* Whether a transaction may be tried; if so, send it.  NGX_ERROR: the connection
 * is dropped. */
ngx_uint_t ngx_workflow_exec_may(ngx_workflow_ends_t *ends);
ngx_int_t ngx_workflow_exec_send(ngx_workflow_ends_t *ends);

/* What the script is to do about the epoch; it has told it. */
ngx_uint_t ngx_workflow_exec_asks(ngx_workflow_ends_t *ends);
void ngx_workflow_exec_epoch(ngx_workflow_consumer_t *consumer,
    redisReply *reply);

/* The transaction was not executed; or nobody knows, and the script can tell. */
void ngx_workflow_finish_again(ngx_workflow_ends_t *ends);

/* answers: one for each; NULL: all were this worker's */
void ngx_workflow_finish_done(ngx_workflow_ends_t *ends, redisReply **answers,
    redisReply *outstanding);


#endif /* NGX_WORKFLOW_ENDS_H_INCLUDED_ */
