/* What a worker claims: by a call of its own, or as a message is put into Redis;
 * and the runs that come of it. */

#include "ngx_workflow_run.h"


/* tasks in an answer; tasks that a worker may have, ended or not */

#define NGX_WORKFLOW_MAX_CLAIM    256
#define NGX_WORKFLOW_MAX_CLAIMED  (2 * 1048576)


static void ngx_workflow_claims_init(ngx_workflow_service_t *service,
    ngx_workflow_claims_t *claims);
static ngx_uint_t ngx_workflow_service_is_able(
    ngx_workflow_service_t *service);
static void ngx_workflow_service_claimed(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_service_run(ngx_workflow_service_t *service,
    redisReply *claim);
static ngx_int_t ngx_workflow_reply_str(redisReply *reply, ngx_str_t *s);


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

    ngx_workflow_claims_init(service, claims);

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


static void
ngx_workflow_claims_init(ngx_workflow_service_t *service,
    ngx_workflow_claims_t *claims)
{
    claims->n = 0;
    claims->lease = service->lease;
    claims->attempts = service->max_attempts;
    claims->sessions = service->http == NULL;
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


void
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

    ngx_workflow_claims_init(service, &claims);

    claims.n = ngx_workflow_prefetch_count(service);
    claims.n = ngx_min(claims.n, NGX_WORKFLOW_MAX_CLAIM);

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
        ngx_workflow_epoch_doubt(&service->consumer);
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
