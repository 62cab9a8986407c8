#include "ngx_workflow_run.h"
#include "ngx_workflow_worker.h"


/* tasks in an answer; tasks that a worker may have, ended or not */

#define NGX_WORKFLOW_MAX_CLAIM    256
#define NGX_WORKFLOW_MAX_CLAIMED  (2 * 1048576)


static void ngx_workflow_service_ready(ngx_workflow_consumer_t *consumer);
static void ngx_workflow_service_rung(ngx_workflow_consumer_t *consumer);
static void ngx_workflow_service_notify(ngx_workflow_consumer_t *consumer,
    ngx_str_t *task_id, ngx_uint_t cancel);
static void ngx_workflow_service_hungry(ngx_workflow_service_t *service);
static void ngx_workflow_service_poll(ngx_event_t *ev);
static ngx_uint_t ngx_workflow_service_is_able(
    ngx_workflow_service_t *service);
static void ngx_workflow_service_claim(ngx_event_t *ev);
static void ngx_workflow_service_claimed(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_service_run(ngx_workflow_service_t *service,
    redisReply *claim);
static ngx_int_t ngx_workflow_reply_str(redisReply *reply, ngx_str_t *s);


ngx_int_t
ngx_workflow_service_open(ngx_workflow_service_t *service, ngx_cycle_t *cycle)
{
    ngx_rbtree_init(&service->runs, &service->sentinel,
                    ngx_str_rbtree_insert_value);

    service->log = cycle->log;
    service->pool = ngx_thread_pool_get(cycle, &service->thread_pool);
    service->graph = ngx_workflow_plugin_graph(service->plugin,
                                               &service->workflow);

    if (service->pool == NULL) {
        return NGX_ERROR;
    }

    service->executor = ngx_workflow_executor_get(cycle, service->pool);
    service->step_time = NGX_WORKFLOW_WORK_LONG;

    if (service->executor == NULL) {
        return NGX_ERROR;
    }

    if (service->graph == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "workflow_service \"%V\" is not served: plugin \"%V\" "
                      "has no workflow \"%V\" any more",
                      &service->name, &service->plugin->path,
                      &service->workflow);
        return NGX_DECLINED;
    }

    service->shared = ngx_workflow_zone_shared(service->zone, &service->name);

    if (service->shared == NULL) {
        return NGX_ERROR;
    }

    if (service->control_name.len) {
        service->http = wf_http_create(&service->control);

        if (service->http == NULL) {
            return NGX_ERROR;
        }
    }

    service->consumer.ready = ngx_workflow_service_ready;
    service->consumer.rung = ngx_workflow_service_rung;
    service->consumer.message = ngx_workflow_service_receive;
    service->consumer.notify = ngx_workflow_service_notify;

    if (wf_graph_takes_results(service->graph)) {
        service->consumer.heard = ngx_workflow_subtask_heard;
    }

    service->consumer.data = service;

    service->poll.handler = ngx_workflow_service_poll;
    service->poll.data = service;
    service->poll.log = service->log;
    service->poll.cancelable = 1;

    service->claim.handler = ngx_workflow_service_claim;
    service->claim.data = service;
    service->claim.log = service->log;

    ngx_workflow_prefetch_init(service);

    return NGX_OK;
}


ngx_int_t
ngx_workflow_service_start(ngx_workflow_service_t *service)
{
    if (ngx_workflow_queue_join(&service->consumer, service->log) != NGX_OK) {
        return NGX_ERROR;
    }

    service->started = 1;

    if (service->running) {
        ngx_add_timer(&service->poll, service->step_interval);
        ngx_workflow_bell_hungry(&service->consumer, 1);
        ngx_workflow_lease_start(service);
    }

    return NGX_OK;
}


void
ngx_workflow_service_leave(ngx_workflow_service_t *service)
{
    if (service->leaving || service->graph == NULL) {
        return;
    }

    service->leaving = 1;

    ngx_workflow_prefetch_give_back(service, 0);

    if (service->poll.timer_set) {
        ngx_del_timer(&service->poll);
    }

    ngx_workflow_lease_leave(service);
}


ngx_int_t
ngx_workflow_service_close(ngx_workflow_service_t *service)
{
    ngx_rbtree_node_t  *root;

    if (service->graph == NULL) {
        return NGX_OK;
    }

    ngx_workflow_lease_stop(service);

    if (service->waiting_timer.timer_set) {
        ngx_del_timer(&service->waiting_timer);
    }

    if (service->learn_timer.timer_set) {
        ngx_del_timer(&service->learn_timer);
    }

    if (service->register_timer.timer_set) {
        ngx_del_timer(&service->register_timer);
    }

    /* nginx gives up waiting for a thread pool whose queue is full */

    if (service->threads) {
        return NGX_BUSY;
    }

    for ( ;; ) {
        root = service->runs.root;

        if (root == &service->sentinel) {
            break;
        }

        ngx_workflow_run_destroy((ngx_workflow_run_t *) root);
    }

    if (service->http) {
        wf_http_free(service->http);
    }

    if (service->learned) {
        ngx_destroy_pool(service->learned);
    }

    return NGX_OK;
}


void
ngx_workflow_service_slot(ngx_workflow_service_t *service, ngx_int_t n)
{
    service->slots += n;

    ngx_workflow_service_hungry(service);

    if (n < 0) {
        ngx_workflow_prefetch_ended(service);

        if (service->more || service->nwaiting) {

            /* what this turn of the event loop gives back is used at once */

            ngx_post_event(&service->claim, &ngx_posted_events);
        }
    }
}


void
ngx_workflow_service_accepting(ngx_workflow_service_t *service, ngx_int_t n)
{
    service->accepting += n;

    ngx_workflow_service_hungry(service);
}


/* Whether bells are for this worker; others hear what comes meanwhile. */

static void
ngx_workflow_service_hungry(ngx_workflow_service_t *service)
{
    ngx_workflow_bell_hungry(&service->consumer,
                             service->slots + service->accepting
                             < service->max_concurrent_tasks);
}


void
ngx_workflow_service_due(ngx_workflow_service_t *service, ngx_msec_t delay)
{
    /* whoever polls first after that time claims it; so that one does in time,
     * this worker's next poll is brought forward */

    if (service->poll.timer_set
        && (ngx_msec_int_t) (service->poll.timer.key - ngx_current_msec - delay)
           > 0)
    {
        ngx_add_timer(&service->poll, delay);
    }
}


void
ngx_workflow_service_outstanding(ngx_workflow_service_t *service,
    redisReply *reply)
{
    if (reply->type == REDIS_REPLY_INTEGER) {
        service->shared->outstanding = (ngx_atomic_uint_t) reply->integer;
    }
}


static void
ngx_workflow_service_ready(ngx_workflow_consumer_t *consumer)
{
    ngx_workflow_service_t  *service;

    service = consumer->data;

    ngx_post_event(&service->claim, &ngx_posted_events);
}


static void
ngx_workflow_service_rung(ngx_workflow_consumer_t *consumer)
{
    ngx_workflow_service_t  *service;

    service = consumer->data;
    service->more = 1;
    service->rung = 1;

    ngx_post_event(&service->claim, &ngx_posted_events);
}


static void
ngx_workflow_service_notify(ngx_workflow_consumer_t *consumer,
    ngx_str_t *task_id, ngx_uint_t cancel)
{
    ngx_workflow_run_t  *run;

    run = ngx_workflow_run_find(consumer->data, task_id);

    if (run == NULL) {
        return;
    }

    if (cancel) {
        ngx_workflow_run_cancel(run);

    } else {
        ngx_workflow_run_notify(run);
    }
}


static void
ngx_workflow_service_poll(ngx_event_t *ev)
{
    ngx_workflow_service_t  *service;

    service = ev->data;

    if (service->leaving) {
        return;
    }

    if (ngx_exiting) {

        /* the connection that should have told was not there */

        ngx_workflow_worker_leave();
        return;
    }

    ngx_add_timer(&service->poll, service->step_interval);

    ngx_workflow_service_claim(ev);
}


/* A worker that runs nothing of this service claims what comes itself.  Where
 * steps take less than to wake another worker, so does one that has a free slot,
 * or that claims already: its slots are soon free again. */

ngx_workflow_claims_e
ngx_workflow_service_claims(ngx_workflow_service_t *service)
{
    ngx_uint_t  taken, claiming;

    taken = service->slots + service->accepting + service->nwaiting;
    claiming = service->claiming || service->more;

    if (!ngx_workflow_service_is_able(service)) {
        return NGX_WORKFLOW_CLAIMS_ANY;
    }

    if (taken == 0 && !claiming) {
        return NGX_WORKFLOW_CLAIMS_NOW;
    }

    if (service->step_time >= NGX_WORKFLOW_WORK_SHORT
        || taken >= service->max_concurrent_tasks)
    {
        return NGX_WORKFLOW_CLAIMS_ANY;
    }

    return claiming ? NGX_WORKFLOW_CLAIMS_NEXT : NGX_WORKFLOW_CLAIMS_NOW;
}


/* The same of tasks, of which it may also claim some ahead of its slots; a claim
 * that is under way does not matter, as Redis does one after the other. */

void
ngx_workflow_service_may_claim(ngx_workflow_service_t *service, ngx_uint_t n,
    ngx_workflow_claims_t *claims)
{
    ngx_uint_t  free;

    claims->n = 0;
    claims->lease = service->lease;
    claims->attempts = service->max_attempts;
    claims->sessions = service->http == NULL;

    if (!ngx_workflow_service_is_able(service)) {
        return;
    }

    if (service->step_time < NGX_WORKFLOW_WORK_SHORT) {
        free = ngx_workflow_prefetch_count(service);
        claims->n = ngx_min(n, free);

    } else if (service->slots + service->accepting + service->nwaiting == 0
               && !service->claiming && !service->more)
    {
        claims->n = 1;
    }
}


static ngx_uint_t
ngx_workflow_service_is_able(ngx_workflow_service_t *service)
{
    return service->running && !service->leaving && !service->recover
           && service->consumer.queue->is_ready
           && !ngx_exiting && !ngx_quit && !ngx_terminate;
}


void
ngx_workflow_service_claim_next(ngx_workflow_service_t *service)
{
    if (service->claiming) {

        /* again, as the one under way may be too early */

        service->rung = 1;
        return;
    }

    ngx_workflow_service_claim(&service->claim);
}


/* Claim as many tasks as there are free slots, and some ahead. */

static void
ngx_workflow_service_claim(ngx_event_t *ev)
{
    ngx_workflow_claims_t    claims;
    ngx_workflow_service_t  *service;

    service = ev->data;

    if (!service->running || service->leaving
        || ngx_exiting || ngx_quit || ngx_terminate)
    {
        return;
    }

    ngx_workflow_prefetch_begin(service);

    if (service->claiming) {
        return;
    }

    claims.n = ngx_workflow_prefetch_count(service);
    claims.n = ngx_min(claims.n, NGX_WORKFLOW_MAX_CLAIM);
    claims.lease = service->lease;
    claims.attempts = service->max_attempts;
    claims.sessions = service->http == NULL;

    /* what this worker has claimed before is asked for whole */

    if (service->recover) {
        claims.n = NGX_WORKFLOW_MAX_CLAIMED;
    }

    if (claims.n == 0) {
        return;
    }

    if (ngx_workflow_task_claim(&service->consumer, &claims, service->recover,
                                ngx_workflow_service_claimed, service)
        == NULL)
    {
        /* the next poll tries again */
        return;
    }

    service->claiming = 1;
    service->recovering = service->recover;
    service->recover = 0;
    service->rung = 0;
    service->asked_at = ngx_current_msec;
}


static void
ngx_workflow_service_claimed(ngx_workflow_call_t *call, redisReply *reply)
{
    size_t                   i;
    ngx_workflow_service_t  *service;

    service = call->data;

    service->claiming = 0;

    ngx_workflow_linger_end();

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY
        || reply->elements < 2)
    {
        /* Redis may have given tasks to this worker all the same */

        service->recover = 1;
        return;
    }

    ngx_workflow_service_outstanding(service, reply->element[0]);

    /* a run that was given up may have ended: not by a transaction, then, which
     * would not see that another one has the same claim */

    if (service->recovering) {
        ngx_workflow_exec_doubt(&service->consumer);
    }

    service->more = service->recovering || service->recover || service->rung
                    || reply->element[1]->integer;

    for (i = 2; i < reply->elements; i++) {
        ngx_workflow_service_run(service, reply->element[i]);
    }

    if (service->more) {
        ngx_post_event(&service->claim, &ngx_posted_events);
    }
}


void
ngx_workflow_service_accepted(ngx_workflow_service_t *service,
    ngx_workflow_call_t *call, redisReply *reply, ngx_uint_t n)
{
    size_t  i;

    ngx_workflow_linger_end();

    i = NGX_WORKFLOW_ACCEPT_ANSWERS + n;

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY
        || reply->elements < i || call->again)
    {
        /* Redis may have given tasks to this worker all the same */

        service->recover = 1;
    }

    if (reply && reply->type == REDIS_REPLY_ARRAY && reply->elements >= i) {
        service->more |= reply->element[1]->integer;
        service->asked_at = call->sent_at;

        for ( /* void */ ; i < reply->elements; i++) {
            ngx_workflow_service_run(service, reply->element[i]);
        }
    }

    if (service->recover || service->more) {
        ngx_post_event(&service->claim, &ngx_posted_events);
    }
}


void
ngx_workflow_service_resumed(ngx_workflow_service_t *service,
    ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_int_t              outstanding;
    ngx_workflow_answer_e  answer;

    ngx_workflow_linger_end();

    answer = ngx_workflow_task_answer(reply, &outstanding);

    if (answer == NGX_WORKFLOW_ACCEPTED && reply->type == REDIS_REPLY_ARRAY
        && reply->elements == 3)
    {
        service->asked_at = call->sent_at;
        ngx_workflow_service_run(service, reply->element[2]);
        return;
    }

    /* an event for a task that does not wait needs no claim */

    if ((answer == NGX_WORKFLOW_ACCEPTED && reply->type == REDIS_REPLY_ARRAY)
        || answer == NGX_WORKFLOW_UNAVAILABLE || call->again)
    {
        /* Redis may have given it to this worker all the same */

        service->recover = 1;
    }

    /* its slot is free */

    if (service->recover || service->more) {
        ngx_post_event(&service->claim, &ngx_posted_events);
    }
}


static void
ngx_workflow_service_run(ngx_workflow_service_t *service, redisReply *claim)
{
    ngx_str_t             saved, fate;
    redisReply          **e, *events, *session;
    ngx_workflow_run_t   *run;
    ngx_workflow_task_t   task;

    static redisReply  none = { .type = REDIS_REPLY_ARRAY };

    ngx_memzero(&task, sizeof(ngx_workflow_task_t));
    ngx_str_null(&saved);
    ngx_str_null(&fate);

    e = claim->element;
    events = &none;
    session = &none;

    if (claim->type != REDIS_REPLY_ARRAY
        || (claim->elements != 3 && claim->elements != 7)
        || ngx_workflow_reply_str(e[0], &task.id) != NGX_OK
        || task.id.len > NGX_WORKFLOW_MAX_ID
        || ngx_workflow_reply_str(e[1], &task.record) != NGX_OK
        || ngx_workflow_record_task(&task) != NGX_OK
        || ngx_workflow_reply_str(e[2], &task.input) != NGX_OK
        || (claim->elements == 7
            && (ngx_workflow_reply_str(e[3], &saved) != NGX_OK
                || e[4]->type != REDIS_REPLY_ARRAY
                || ngx_workflow_reply_str(e[5], &fate) != NGX_OK
                || e[6]->type != REDIS_REPLY_ARRAY)))
    {
        ngx_log_error(NGX_LOG_ERR, service->log, 0,
                      "workflow_service \"%V\": an entry of \"%V\" is not "
                      "a task", &service->name, &service->consumer.stream);
        return;
    }

    if (claim->elements == 7) {
        events = e[4];
        session = e[6];
    }

    /* what is repeated was claimed before */

    if (!service->recovering || service->consumer.clock == 0) {
        service->consumer.clock = task.updated - (off_t) ngx_current_msec;
    }

    task.epoch = service->recovering ? 0 : service->consumer.epoch.n;

    run = ngx_workflow_run_find(service, &task.id);

    if (run) {

        if (run->task.claim_text.len == task.claim_text.len
            && ngx_memcmp(run->task.claim_text.data, task.claim_text.data,
                          task.claim_text.len)
               == 0)
        {
            return;
        }

        /* this worker was away for longer than its lease */

        ngx_workflow_run_lose(run, "its lease had ended");
        ngx_workflow_run_turn(run);
    }

    if (ngx_workflow_run_create(service, &task, &saved, events, &fate, session)
        != NGX_OK)
    {
        ngx_log_error(NGX_LOG_ERR, service->log, 0,
                      "workflow_service \"%V\": no memory to run task \"%V\", "
                      "trying again", &service->name, &task.id);

        service->recover = 1;
    }
}


static ngx_int_t
ngx_workflow_reply_str(redisReply *reply, ngx_str_t *s)
{
    if (reply->type != REDIS_REPLY_STRING) {
        return NGX_ERROR;
    }

    s->data = (u_char *) reply->str;
    s->len = reply->len;

    return NGX_OK;
}
