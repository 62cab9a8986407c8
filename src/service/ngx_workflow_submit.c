/* Messages, from wherever they come, on their way into Redis. */

#include "ngx_workflow_run.h"

#include "wf_publish.h"


/* Nanoseconds between messages that come one at a time. */

#define NGX_WORKFLOW_SPARSE         150000


/* What is claimed as it is put into Redis, and who waits for that. */

typedef struct {
    ngx_workflow_service_t     *service;
    ngx_uint_t                  tasks;      /* 0: it is an event */
    ngx_uint_t                  claims;
    ngx_workflow_call_pt        handler;    /* NULL: nobody does any more */
    void                       *data;
} ngx_workflow_accepting_t;


static ngx_workflow_call_t *ngx_workflow_submit_event(
    ngx_workflow_service_t *service, wf_message_t *m, ngx_str_t *message_id,
    time_t keep, ngx_msec_t deadline, ngx_workflow_call_pt handler,
    void *data);
static void ngx_workflow_submit_message(ngx_workflow_submission_t *s,
    wf_message_t *m, ngx_str_t *message_id);
static ngx_workflow_accepting_t *ngx_workflow_submit_accepting(
    ngx_workflow_service_t *service, ngx_workflow_call_pt handler, void *data);
static void ngx_workflow_submit_sent(ngx_workflow_accepting_t *accepting);
static void ngx_workflow_submit_accepted(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_submit_arrived(ngx_workflow_service_t *service);


ngx_workflow_call_t *
ngx_workflow_service_submit(ngx_workflow_service_t *service, wf_message_t *m,
    ngx_str_t *message_id, time_t keep, ngx_msec_t deadline,
    ngx_workflow_call_pt handler, void *data)
{
    ngx_workflow_accepts_t  accepts;

    if (m->action != WF_ACTION_NEW_TASK) {
        return ngx_workflow_submit_event(service, m, message_id, keep,
                                         deadline, handler, data);
    }

    ngx_memzero(&accepts, sizeof(ngx_workflow_accepts_t));

    if (ngx_workflow_service_collect(service, &accepts, m, message_id)
        != NGX_OK)
    {
        return NULL;
    }

    return ngx_workflow_service_accept(service, &accepts, deadline, handler,
                                       data);
}


ngx_uint_t
ngx_workflow_service_is_kept(ngx_workflow_service_t *service, wf_message_t *m)
{
    return m->action == WF_ACTION_NEW_TASK && m->task_id.len
           && service->result_ttl >= ngx_workflow_service_remember(m);
}


time_t
ngx_workflow_service_remember(wf_message_t *m)
{
    return m->id.len ? NGX_WORKFLOW_REMEMBER : NGX_WORKFLOW_REMEMBER_TEXT;
}


ngx_int_t
ngx_workflow_service_collect(ngx_workflow_service_t *service,
    ngx_workflow_accepts_t *accepts, wf_message_t *m, ngx_str_t *message_id)
{
    char                       id[WF_UUID_LEN];
    ngx_workflow_submission_t  s;

    if (!service->started) {
        return NGX_ERROR;
    }

    ngx_workflow_submit_arrived(service);
    ngx_workflow_submit_message(&s, m, message_id);

    if (ngx_workflow_service_is_kept(service, m)) {
        s.message_id.len = 0;
    }

    if (s.task_id.len == 0) {
        ngx_workflow_compose_id(id);
        s.task_id.data = (u_char *) id;
        s.task_id.len = WF_UUID_LEN;
    }

    s.input.data = (u_char *) m->input.data;
    s.input.len = m->input.len;

    return ngx_workflow_accept_add(accepts, &s);
}


ngx_workflow_call_t *
ngx_workflow_service_accept(ngx_workflow_service_t *service,
    ngx_workflow_accepts_t *accepts, ngx_msec_t deadline,
    ngx_workflow_call_pt handler, void *data)
{
    ngx_workflow_call_t       *call;
    ngx_workflow_claims_t      claims;
    ngx_workflow_accepting_t  *accepting;

    accepting = NULL;

    ngx_workflow_service_may_claim(service, accepts->n, &claims);

    if (claims.n) {
        accepting = ngx_workflow_submit_accepting(service, handler, data);
        if (accepting == NULL) {
            wf_buf_free(&accepts->text);
            return NULL;
        }

        accepting->tasks = accepts->n;
        accepting->claims = claims.n;

        handler = ngx_workflow_submit_accepted;
        data = accepting;
    }

    call = ngx_workflow_accept_send(&service->consumer, accepts,
                                    service->max_queued, &claims, deadline,
                                    handler, data);

    if (accepting && call) {
        ngx_workflow_submit_sent(accepting);

    } else if (accepting) {
        ngx_free(accepting);
    }

    return call;
}


static ngx_workflow_call_t *
ngx_workflow_submit_event(ngx_workflow_service_t *service, wf_message_t *m,
    ngx_str_t *message_id, time_t keep, ngx_msec_t deadline,
    ngx_workflow_call_pt handler, void *data)
{
    char                        id[WF_UUID_LEN];
    u_char                     *p;
    const char                 *type;
    ngx_workflow_call_t        *call;
    ngx_workflow_accepting_t   *accepting;
    ngx_workflow_submission_t   s;

    if (!service->started) {
        return NULL;
    }

    ngx_workflow_submit_arrived(service);
    ngx_workflow_submit_message(&s, m, message_id);

    /* the type by which the workflow knows it, a line feed, the fields */

    type = wf_graph_match_public(service->graph, m->event);
    if (type == NULL) {
        return NULL;
    }

    s.input.len = ngx_strlen(type) + 1 + m->input.len;
    s.input.data = ngx_alloc(s.input.len, service->log);
    if (s.input.data == NULL) {
        return NULL;
    }

    p = ngx_cpymem(s.input.data, type, ngx_strlen(type));
    *p++ = '\n';
    ngx_memcpy(p, m->input.data, m->input.len);

    /* a call that is made again, because its answer was lost, is known */

    if (s.message_id.len == 0) {
        ngx_workflow_compose_id(id);
        s.message_id.data = (u_char *) id;
        s.message_id.len = WF_UUID_LEN;
    }

    s.max_events = service->max_events;
    s.keep = keep;
    s.claims = ngx_workflow_service_claims(service);
    s.lease = service->lease;

    accepting = NULL;
    call = NULL;

    if (s.claims == NGX_WORKFLOW_CLAIMS_NOW) {
        accepting = ngx_workflow_submit_accepting(service, handler, data);

        handler = ngx_workflow_submit_accepted;
        data = accepting;
    }

    if (s.claims != NGX_WORKFLOW_CLAIMS_NOW || accepting) {
        call = ngx_workflow_task_event(&service->consumer, &s, deadline,
                                       handler, data);
    }

    ngx_free(s.input.data);

    if (call == NULL) {

        if (accepting) {
            ngx_free(accepting);
        }

        return NULL;
    }

    if (accepting) {
        ngx_workflow_submit_sent(accepting);

    } else if (s.claims == NGX_WORKFLOW_CLAIMS_NEXT) {
        ngx_workflow_service_claim_next(service);

        if (service->sparse) {
            ngx_workflow_linger();
        }
    }

    return call;
}


static void
ngx_workflow_submit_message(ngx_workflow_submission_t *s, wf_message_t *m,
    ngx_str_t *message_id)
{
    ngx_memzero(s, sizeof(ngx_workflow_submission_t));

    s->task_id.data = (u_char *) m->task_id.data;
    s->task_id.len = m->task_id.len;
    s->session.data = (u_char *) m->session_id.data;
    s->session.len = m->session_id.len;
    s->message_id = *message_id;
    s->remember = ngx_workflow_service_remember(m);
}


static ngx_workflow_accepting_t *
ngx_workflow_submit_accepting(ngx_workflow_service_t *service,
    ngx_workflow_call_pt handler, void *data)
{
    ngx_workflow_accepting_t  *accepting;

    accepting = ngx_alloc(sizeof(ngx_workflow_accepting_t), service->log);
    if (accepting == NULL) {
        return NULL;
    }

    accepting->service = service;
    accepting->tasks = 0;
    accepting->claims = 1;
    accepting->handler = handler;
    accepting->data = data;

    return accepting;
}


static void
ngx_workflow_submit_sent(ngx_workflow_accepting_t *accepting)
{
    ngx_workflow_service_accepting(accepting->service,
                                   (ngx_int_t) accepting->claims);

    if (accepting->service->sparse) {
        ngx_workflow_linger();
    }
}


static void
ngx_workflow_submit_accepted(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_workflow_service_t    *service;
    ngx_workflow_accepting_t  *accepting;

    accepting = call->data;
    service = accepting->service;

    ngx_workflow_service_accepting(service, -(ngx_int_t) accepting->claims);

    /* the task first: whoever waits is answered while it runs */

    if (accepting->tasks) {
        ngx_workflow_service_accepted(service, call, reply, accepting->tasks);

    } else {
        ngx_workflow_service_resumed(service, call, reply);
    }

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
