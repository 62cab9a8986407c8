/* What arrives, over HTTP or by Pub/Sub, on its way into Redis. */

#include "ngx_workflow_run.h"

#include <ngx_sha1.h>

#include "wf_publish.h"


/* Messages of Pub/Sub come to every worker of every nginx: seconds for the
 * slowest of them; fewer where a message is only known by what it says, as the
 * same may be said again. */

#define NGX_WORKFLOW_REMEMBER       3600
#define NGX_WORKFLOW_REMEMBER_TEXT  60


/* Nanoseconds between messages that come one at a time. */

#define NGX_WORKFLOW_SPARSE         150000


/* What is claimed as it is put into Redis, and who waits for that. */

typedef struct {
    ngx_workflow_service_t     *service;
    ngx_workflow_call_pt        handler;    /* NULL: nobody does any more */
    void                       *data;
} ngx_workflow_accepting_t;


/* A message of Pub/Sub under way; its strings stand behind it. */

typedef struct {
    ngx_workflow_service_t     *service;
    ngx_workflow_submission_t   s;
} ngx_workflow_received_t;


static ngx_workflow_call_t *ngx_workflow_submit_task(
    ngx_workflow_service_t *service, ngx_workflow_submission_t *s,
    wf_message_t *m, ngx_msec_t deadline, ngx_workflow_call_pt handler,
    void *data);
static ngx_workflow_call_t *ngx_workflow_submit_event(
    ngx_workflow_service_t *service, ngx_workflow_submission_t *s,
    wf_message_t *m, ngx_msec_t deadline, ngx_workflow_call_pt handler,
    void *data);
static void ngx_workflow_submit_accepted(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_submit_arrived(ngx_workflow_service_t *service);
static void ngx_workflow_receive_refused(ngx_workflow_service_t *service,
    wf_message_t *m, ngx_str_t *message_id, wf_buf_t *reason);
static ngx_workflow_received_t *ngx_workflow_received_create(
    ngx_workflow_service_t *service, wf_message_t *m, ngx_str_t *message_id);
static void ngx_workflow_receive_handler(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_refuse(ngx_workflow_received_t *received,
    ngx_str_t *error);
static void ngx_workflow_refuse_handler(ngx_workflow_call_t *call,
    redisReply *reply);


ngx_workflow_call_t *
ngx_workflow_service_submit(ngx_workflow_service_t *service, wf_message_t *m,
    ngx_str_t *message_id, time_t keep, ngx_msec_t deadline,
    ngx_workflow_call_pt handler, void *data)
{
    ngx_workflow_call_t        *call;
    ngx_workflow_accepting_t   *accepting;
    ngx_workflow_submission_t   s;

    if (!service->started) {
        return NULL;
    }

    ngx_memzero(&s, sizeof(ngx_workflow_submission_t));

    s.task_id.data = (u_char *) m->task_id.data;
    s.task_id.len = m->task_id.len;
    s.session.data = (u_char *) m->session_id.data;
    s.session.len = m->session_id.len;
    s.message_id = *message_id;
    s.remember = m->id.len ? NGX_WORKFLOW_REMEMBER
                           : NGX_WORKFLOW_REMEMBER_TEXT;
    s.keep = keep;
    s.claims = ngx_workflow_service_claims(service);

    ngx_workflow_submit_arrived(service);

    accepting = NULL;

    if (s.claims == NGX_WORKFLOW_CLAIMS_NOW) {
        accepting = ngx_alloc(sizeof(ngx_workflow_accepting_t), service->log);
        if (accepting == NULL) {
            return NULL;
        }

        accepting->service = service;
        accepting->handler = handler;
        accepting->data = data;

        handler = ngx_workflow_submit_accepted;
        data = accepting;

        s.lease = service->lease;
        s.sessions = service->http == NULL;
    }

    if (m->action == WF_ACTION_NEW_TASK) {
        call = ngx_workflow_submit_task(service, &s, m, deadline, handler,
                                        data);
    } else {
        call = ngx_workflow_submit_event(service, &s, m, deadline, handler,
                                         data);
    }

    if (call == NULL) {

        if (accepting) {
            ngx_free(accepting);
        }

        return NULL;
    }

    if (accepting) {
        ngx_workflow_service_accepting(service, 1);

    } else if (s.claims == NGX_WORKFLOW_CLAIMS_NEXT) {
        ngx_workflow_service_claim_next(service);
    }

    if (service->sparse && s.claims != NGX_WORKFLOW_CLAIMS_ANY) {
        ngx_workflow_linger();
    }

    return call;
}


static ngx_workflow_call_t *
ngx_workflow_submit_task(ngx_workflow_service_t *service,
    ngx_workflow_submission_t *s, wf_message_t *m, ngx_msec_t deadline,
    ngx_workflow_call_pt handler, void *data)
{
    char  id[WF_UUID_LEN];

    if (s->task_id.len == 0) {
        ngx_workflow_compose_id(id);
        s->task_id.data = (u_char *) id;
        s->task_id.len = WF_UUID_LEN;

    } else if (service->result_ttl >= s->remember) {

        /* the task itself will be there for as long */

        s->message_id.len = 0;
    }

    s->input.data = (u_char *) m->input.data;
    s->input.len = m->input.len;
    s->max_queued = service->max_queued;

    return ngx_workflow_task_accept(&service->consumer, s, deadline, handler,
                                    data);
}


static ngx_workflow_call_t *
ngx_workflow_submit_event(ngx_workflow_service_t *service,
    ngx_workflow_submission_t *s, wf_message_t *m, ngx_msec_t deadline,
    ngx_workflow_call_pt handler, void *data)
{
    char                  id[WF_UUID_LEN];
    u_char               *p;
    const char           *type;
    ngx_workflow_call_t  *call;

    /* the type by which the workflow knows it, a line feed, the fields */

    type = wf_graph_match_public(service->graph, m->event);
    if (type == NULL) {
        return NULL;
    }

    s->input.len = ngx_strlen(type) + 1 + m->input.len;
    s->input.data = ngx_alloc(s->input.len, service->log);
    if (s->input.data == NULL) {
        return NULL;
    }

    p = ngx_cpymem(s->input.data, type, ngx_strlen(type));
    *p++ = '\n';
    ngx_memcpy(p, m->input.data, m->input.len);

    /* a call that is made again, because its answer was lost, is known */

    if (s->message_id.len == 0) {
        ngx_workflow_compose_id(id);
        s->message_id.data = (u_char *) id;
        s->message_id.len = WF_UUID_LEN;
    }

    s->max_events = service->max_events;

    call = ngx_workflow_task_event(&service->consumer, s, deadline, handler,
                                   data);

    ngx_free(s->input.data);

    return call;
}


static void
ngx_workflow_submit_accepted(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_workflow_service_t    *service;
    ngx_workflow_accepting_t  *accepting;

    accepting = call->data;
    service = accepting->service;

    ngx_workflow_service_accepting(service, -1);

    /* the task first: whoever waits is answered while it runs */

    ngx_workflow_service_accepted(service, call, reply);

    if (accepting->handler) {
        call->data = accepting->data;
        accepting->handler(call, reply);
    }

    ngx_free(accepting);
}


void
ngx_workflow_service_forget(ngx_workflow_call_t *call)
{
    ngx_workflow_accepting_t  *accepting;

    if (call->handler == ngx_workflow_submit_accepted) {
        accepting = call->data;
        accepting->handler = NULL;

    } else {
        ngx_workflow_call_forget(call);
    }
}


/* Whether messages come one at a time, each when those before have ended. */

static void
ngx_workflow_submit_arrived(ngx_workflow_service_t *service)
{
    int64_t  now;

    now = wf_time_ns();

    service->sparse = now - service->submitted > NGX_WORKFLOW_SPARSE
                      && service->slots + service->accepting == 0;
    service->submitted = now;
}


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
    ngx_workflow_received_t  *received;

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

    /* without an id of its own, a message is known by what it says */

    if (m.id.len) {
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

    } else if (rc == 0) {
        received = ngx_workflow_received_create(service, &m, &message_id);

        if (received == NULL
            || ngx_workflow_service_submit(service, &m, &message_id,
                                           service->event_ttl, 0,
                                           ngx_workflow_receive_handler,
                                           received)
               == NULL)
        {
            rc = -2;

            if (received) {
                ngx_free(received);
            }
        }
    }

    if (rc == -2) {
        ngx_log_error(NGX_LOG_CRIT, service->log, 0,
                      "workflow_service \"%V\": a message from Pub/Sub was "
                      "dropped for want of memory", &service->name);
    }

    wf_message_free(&m);
    wf_buf_free(&detail);
    wf_buf_free(&reason);
}


void
ngx_workflow_service_unknown_event(ngx_workflow_service_t *service,
    wf_message_t *m, wf_buf_t *detail, wf_buf_t *reason)
{
    wf_buf_t    types = WF_BUF_INIT;
    wf_slice_t  workflow, accepted;

    wf_graph_accepted(service->graph, &types);

    workflow.data = (char *) service->workflow.data;
    workflow.len = service->workflow.len;
    accepted.data = types.data;
    accepted.len = types.len;

    wf_message_unknown_event(m, workflow, accepted, detail, reason);

    wf_buf_free(&types);
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

    received->s.message_id.data = p;
    received->s.message_id.len = message_id->len;
    ngx_memcpy(p, message_id->data, message_id->len);

    received->s.remember = m->id.len ? NGX_WORKFLOW_REMEMBER
                                     : NGX_WORKFLOW_REMEMBER_TEXT;

    return received;
}


static void
ngx_workflow_receive_handler(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_int_t                 outstanding;
    ngx_uint_t                level;
    const char               *text;
    ngx_workflow_service_t   *service;
    ngx_workflow_received_t  *received;

    static ngx_str_t  full = ngx_string("The service's queue is full.");

    received = call->data;
    service = received->service;

    outstanding = -1;
    level = NGX_LOG_ERR;

    switch (ngx_workflow_task_answer(reply, &outstanding)) {

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

    if (outstanding >= 0) {
        service->shared->outstanding = outstanding;
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
