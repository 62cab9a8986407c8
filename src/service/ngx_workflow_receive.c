/*
 * Messages of Pub/Sub on their way into Redis.  Tasks that come in one turn of
 * the event loop, or while a call for others is under way, go there by one call.
 */

#include "ngx_workflow_run.h"

#include <ngx_sha1.h>

#include "wf_publish.h"


/* A message under way; its strings stand behind it. */

typedef struct {
    ngx_workflow_service_t     *service;
    ngx_workflow_submission_t   s;
} ngx_workflow_received_t;


/* Tasks of one call. */

struct ngx_workflow_receiving_s {
    ngx_workflow_service_t     *service;
    ngx_workflow_accepts_t      accepts;
    ngx_uint_t                  n;
    ngx_workflow_received_t    *tasks[NGX_WORKFLOW_MAX_ACCEPTS];
};


static ngx_int_t ngx_workflow_receive_task(ngx_workflow_service_t *service,
    wf_message_t *m, ngx_str_t *message_id);
static ngx_int_t ngx_workflow_receive_event(ngx_workflow_service_t *service,
    wf_message_t *m, ngx_str_t *message_id);
static void ngx_workflow_receive_turn(ngx_event_t *ev);
static void ngx_workflow_receive_dropped(ngx_workflow_service_t *service);
static void ngx_workflow_receive_refused(ngx_workflow_service_t *service,
    wf_message_t *m, ngx_str_t *message_id, wf_buf_t *reason);
static ngx_workflow_received_t *ngx_workflow_received_create(
    ngx_workflow_service_t *service, wf_message_t *m, ngx_str_t *message_id);
static void ngx_workflow_receive_tasks_handler(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_receive_event_handler(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_received_answer(ngx_workflow_received_t *received,
    ngx_workflow_answer_e answer);
static void ngx_workflow_refuse(ngx_workflow_received_t *received,
    ngx_str_t *error);
static void ngx_workflow_refuse_handler(ngx_workflow_call_t *call,
    redisReply *reply);


void
ngx_workflow_service_receive(ngx_workflow_consumer_t *consumer, u_char *data,
    size_t len)
{
    int                       rc;
    u_char                    digest[20], hex[40];
    wf_buf_t                  detail = WF_BUF_INIT;
    wf_buf_t                  reason = WF_BUF_INIT;
    wf_slice_t                text, none, name;
    ngx_str_t                 message_id;
    ngx_sha1_t                sha1;
    wf_message_t              m;
    ngx_workflow_service_t   *service;

    service = consumer->data;

    if (service->graph == NULL) {
        return;
    }

    if (len > service->max_message_size) {
        ngx_log_error(NGX_LOG_ERR, service->log, 0,
                      "workflow_service \"%V\": a message of %uz bytes from "
                      "Pub/Sub is larger than max_message_size",
                      &service->name, len);
        return;
    }

    text.data = (char *) data;
    text.len = len;
    none.data = NULL;
    none.len = 0;
    name.data = (char *) service->name.data;
    name.len = service->name.len;

    rc = wf_message_parse(&m, text, none, name, &detail, &reason);

    /* without an id of its own a message is known by what it says, if it needs
     * to be known */

    if (m.id.len || ngx_workflow_service_is_kept(service, &m)) {
        message_id.data = (u_char *) m.id.data;
        message_id.len = m.id.len;

    } else {
        ngx_sha1_init(&sha1);
        ngx_sha1_update(&sha1, data, len);
        ngx_sha1_final(digest, &sha1);
        (void) ngx_hex_dump(hex, digest, sizeof(digest));

        message_id.data = hex;
        message_id.len = sizeof(hex);
    }

    if (rc == 0 && m.action == WF_ACTION_SEND_EVENT
        && wf_graph_match_public(service->graph, m.event) == NULL)
    {
        ngx_workflow_service_unknown_event(service, &m, &detail, &reason);
        rc = -1;
    }

    if (rc == -1) {
        ngx_workflow_receive_refused(service, &m, &message_id, &reason);

    } else if (rc == 0
               && (m.action == WF_ACTION_NEW_TASK
                   ? ngx_workflow_receive_task(service, &m, &message_id)
                   : ngx_workflow_receive_event(service, &m, &message_id))
                  != NGX_OK)
    {
        rc = -2;
    }

    if (rc == -2) {
        ngx_workflow_receive_dropped(service);
    }

    wf_message_free(&m);
    wf_buf_free(&detail);
    wf_buf_free(&reason);
}


static ngx_int_t
ngx_workflow_receive_task(ngx_workflow_service_t *service, wf_message_t *m,
    ngx_str_t *message_id)
{
    ngx_workflow_received_t   *received;
    ngx_workflow_receiving_t  *receiving;

    if (service->receiving == NULL) {
        service->receiving = ngx_calloc(sizeof(ngx_workflow_receiving_t),
                                        service->log);
        if (service->receiving == NULL) {
            return NGX_ERROR;
        }

        service->receiving->service = service;
    }

    receiving = service->receiving;

    received = ngx_workflow_received_create(service, m, message_id);
    if (received == NULL) {
        return NGX_ERROR;
    }

    if (ngx_workflow_service_collect(service, &receiving->accepts, m,
                                     message_id)
        != NGX_OK)
    {
        ngx_free(received);
        return NGX_ERROR;
    }

    receiving->tasks[receiving->n++] = received;

    if (ngx_workflow_accept_is_full(&receiving->accepts)) {
        ngx_workflow_receive_send(service);
        return NGX_OK;
    }

    if (service->nreceiving) {
        return NGX_OK;
    }

    service->accept.handler = ngx_workflow_receive_turn;
    service->accept.data = service;
    service->accept.log = service->log;

    ngx_post_event(&service->accept, &ngx_posted_events);

    return NGX_OK;
}


static ngx_int_t
ngx_workflow_receive_event(ngx_workflow_service_t *service, wf_message_t *m,
    ngx_str_t *message_id)
{
    ngx_workflow_received_t  *received;

    /* its task may have come just before */

    ngx_workflow_receive_send(service);

    received = ngx_workflow_received_create(service, m, message_id);
    if (received == NULL) {
        return NGX_ERROR;
    }

    if (ngx_workflow_service_submit(service, m, message_id, service->event_ttl,
                                    0, ngx_workflow_receive_event_handler,
                                    received)
        == NULL)
    {
        ngx_free(received);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_workflow_receive_turn(ngx_event_t *ev)
{
    ngx_workflow_receive_send(ev->data);
}


void
ngx_workflow_receive_send(ngx_workflow_service_t *service)
{
    ngx_uint_t                 i;
    ngx_workflow_receiving_t  *receiving;

    receiving = service->receiving;

    if (receiving == NULL || receiving->n == 0) {
        return;
    }

    service->receiving = NULL;

    if (ngx_workflow_service_accept(service, &receiving->accepts, 0,
                                    ngx_workflow_receive_tasks_handler,
                                    receiving)
        != NULL)
    {
        service->nreceiving++;
        return;
    }

    for (i = 0; i < receiving->n; i++) {
        ngx_workflow_receive_dropped(service);
        ngx_free(receiving->tasks[i]);
    }

    ngx_free(receiving);
}


static void
ngx_workflow_receive_dropped(ngx_workflow_service_t *service)
{
    ngx_log_error(NGX_LOG_CRIT, service->log, 0,
                  "workflow_service \"%V\": a message from Pub/Sub was "
                  "dropped for want of memory", &service->name);
}


/* A bad message: the log says why, and whoever waits for the task is told. */

static void
ngx_workflow_receive_refused(ngx_workflow_service_t *service, wf_message_t *m,
    ngx_str_t *message_id, wf_buf_t *reason)
{
    ngx_str_t                 error;
    ngx_workflow_received_t  *received;

    error.data = (u_char *) reason->data;
    error.len = reason->len;

    ngx_log_error(NGX_LOG_ERR, service->log, 0,
                  "workflow_service \"%V\": refused a message from Pub/Sub: "
                  "%V", &service->name, &error);

    if (m->action != WF_ACTION_NEW_TASK || m->task_id.len == 0) {
        return;
    }

    /* a good one of that id may have come just before */

    ngx_workflow_receive_send(service);

    received = ngx_workflow_received_create(service, m, message_id);

    if (received) {
        ngx_workflow_refuse(received, &error);
    }
}


static ngx_workflow_received_t *
ngx_workflow_received_create(ngx_workflow_service_t *service, wf_message_t *m,
    ngx_str_t *message_id)
{
    u_char                   *p;
    ngx_workflow_received_t  *received;

    received = ngx_calloc(sizeof(ngx_workflow_received_t) + m->task_id.len
                          + m->session_id.len + message_id->len, service->log);
    if (received == NULL) {
        return NULL;
    }

    p = (u_char *) received + sizeof(ngx_workflow_received_t);

    received->service = service;

    received->s.task_id.data = p;
    received->s.task_id.len = m->task_id.len;

    if (m->task_id.len) {
        p = ngx_cpymem(p, m->task_id.data, m->task_id.len);
    }

    if (m->session_id.data) {
        received->s.session.data = p;
        received->s.session.len = m->session_id.len;
        p = ngx_cpymem(p, m->session_id.data, m->session_id.len);
    }

    if (message_id->len) {
        received->s.message_id.data = p;
        received->s.message_id.len = message_id->len;
        ngx_memcpy(p, message_id->data, message_id->len);
    }

    received->s.remember = ngx_workflow_service_remember(m);

    return received;
}


static void
ngx_workflow_receive_tasks_handler(ngx_workflow_call_t *call,
    redisReply *reply)
{
    ngx_int_t                  outstanding;
    ngx_uint_t                 i;
    ngx_workflow_answer_e      answer;
    ngx_workflow_receiving_t  *receiving;

    receiving = call->data;
    outstanding = -1;

    receiving->service->nreceiving--;

    ngx_workflow_receive_send(receiving->service);

    for (i = 0; i < receiving->n; i++) {
        answer = ngx_workflow_accept_answer(reply, i, &outstanding);
        ngx_workflow_received_answer(receiving->tasks[i], answer);
    }

    if (outstanding >= 0) {
        receiving->service->shared->outstanding = outstanding;
    }

    ngx_free(receiving);
}


static void
ngx_workflow_receive_event_handler(ngx_workflow_call_t *call,
    redisReply *reply)
{
    ngx_int_t                 outstanding;
    ngx_workflow_answer_e     answer;
    ngx_workflow_service_t   *service;
    ngx_workflow_received_t  *received;

    received = call->data;
    service = received->service;
    outstanding = -1;

    answer = ngx_workflow_task_answer(reply, &outstanding);

    if (outstanding >= 0) {
        service->shared->outstanding = outstanding;
    }

    ngx_workflow_received_answer(received, answer);
}


static void
ngx_workflow_received_answer(ngx_workflow_received_t *received,
    ngx_workflow_answer_e answer)
{
    ngx_uint_t                level;
    const char               *text;
    ngx_workflow_service_t   *service;

    static ngx_str_t  full = ngx_string("The service's queue is full.");

    service = received->service;
    level = NGX_LOG_ERR;

    switch (answer) {

    case NGX_WORKFLOW_CONFLICT:
        text = "the task is known with another input";
        break;

    case NGX_WORKFLOW_FULL:
        ngx_log_error(NGX_LOG_ERR, service->log, 0,
                      "workflow_service \"%V\": the queue is full, task "
                      "\"%V\" is refused", &service->name,
                      &received->s.task_id);

        if (received->s.task_id.len) {
            ngx_workflow_refuse(received, &full);
            return;
        }

        text = NULL;
        break;

    case NGX_WORKFLOW_CROWDED:
        text = "too many events for the task";
        break;

    case NGX_WORKFLOW_KEPT:
        text = "the task of an event is not known yet, the event is kept";
        level = NGX_LOG_INFO;
        break;

    case NGX_WORKFLOW_ENDED:
        text = "an event came after the task's end";
        level = NGX_LOG_WARN;
        break;

    case NGX_WORKFLOW_UNAVAILABLE:
        text = "Redis has not taken the message";
        break;

    default:
        text = NULL;
    }

    if (text) {
        ngx_log_error(level, service->log, 0,
                      "workflow_service \"%V\": task \"%V\": %s",
                      &service->name, &received->s.task_id, text);
    }

    ngx_free(received);
}


/* Publish an error as the result of a task that will not be run. */

static void
ngx_workflow_refuse(ngx_workflow_received_t *received, ngx_str_t *error)
{
    wf_buf_t                  data = WF_BUF_INIT;
    wf_buf_t                  stream = WF_BUF_INIT;
    wf_buf_t                  result = WF_BUF_INIT;
    ngx_str_t                 elts[2];
    wf_slice_t                text;
    wf_run_output_t           output;
    ngx_workflow_call_t      *call;
    ngx_workflow_task_t       task;
    ngx_workflow_service_t   *service;
    ngx_workflow_messages_t   messages;

    static char  none[] = "{\"result\": null}";

    service = received->service;
    call = NULL;

    ngx_memzero(&task, sizeof(ngx_workflow_task_t));
    task.id = received->s.task_id;
    task.session = received->s.session;

    output.next = NULL;
    output.data = none;
    output.len = sizeof(none) - 1;
    output.type = wf_slice(WF_STOP_EVENT);

    text.data = (char *) error->data;
    text.len = error->len;

    wf_buf_adds(&data, "{");
    ngx_workflow_compose_error(&data, "failed", "WorkflowValidationError",
                               text);
    wf_buf_adds(&data, "}");

    ngx_workflow_compose_result(&result, &task.id, text,
                                (wf_slice_t) { data.data, data.len });

    if (!result.failed && !data.failed
        && ngx_workflow_compose_streams(&messages, &stream, &task, &output, 1,
                                        0, service->stream_event_types)
           == NGX_OK)
    {
        elts[0] = messages.elts[0];
        elts[1].data = (u_char *) result.data;
        elts[1].len = result.len;

        ngx_free(messages.elts);

        messages.elts = elts;
        messages.n = 2;

        call = ngx_workflow_task_refuse(&service->consumer, &received->s,
                                        error, service->result_ttl, &messages,
                                        ngx_workflow_refuse_handler, received);
    }

    wf_buf_free(&data);
    wf_buf_free(&stream);
    wf_buf_free(&result);

    if (call == NULL) {
        ngx_free(received);
    }
}


static void
ngx_workflow_refuse_handler(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_free(call->data);
}
