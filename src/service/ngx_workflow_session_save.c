/*
 * Saving what a run has set in its session, in the control plane: when it has
 * ended, and before its result is published.
 *
 * The state is read again and merged under a lock, so that tasks of a session
 * that run at a time overwrite each other key by key.  The lock is renewed for
 * as long as the save waits for a thread and is made; one that may have ended
 * is not relied on.
 */

#include "ngx_workflow_session.h"

#include "wf_control.h"


static ngx_int_t ngx_workflow_save_lock(ngx_workflow_run_t *run);
static ngx_int_t ngx_workflow_save_unlock(ngx_workflow_run_t *run);
static ngx_msec_t ngx_workflow_save_keep(ngx_workflow_run_t *run);
static void ngx_workflow_save_locked(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_save_refused(ngx_workflow_run_t *run);
static void ngx_workflow_save_unlocked(ngx_workflow_call_t *call,
    redisReply *reply);
static ngx_int_t ngx_workflow_save_post(ngx_workflow_run_t *run);
static void ngx_workflow_save_work(ngx_workflow_job_t *job);
static ngx_uint_t ngx_workflow_save_is_locked(ngx_workflow_session_job_t *s);
static int ngx_workflow_save_put(ngx_workflow_session_job_t *s,
    wf_state_t *state);
static void ngx_workflow_save_done(ngx_workflow_job_t *job);
static void ngx_workflow_save_failed(ngx_workflow_run_t *run,
    const char *text, size_t len);


size_t
ngx_workflow_session_changed(ngx_workflow_run_t *run)
{
    size_t            i, n;
    wf_run_context_t  entry;

    n = 0;

    for (i = 0; wf_run_context(run->engine, i, &entry); i++) {
        n += entry.changed ? 1 : 0;
    }

    return n;
}


/* The run has ended.  NGX_OK: nothing is to be saved any more; NGX_AGAIN: it is
 * being done; NGX_ERROR: to be tried again. */

ngx_int_t
ngx_workflow_session_save(ngx_workflow_run_t *run)
{
    ngx_msec_int_t  left;

    switch (run->session) {

    case NGX_WORKFLOW_SESSION_NONE:
    case NGX_WORKFLOW_SESSION_LOADED:

        if (!ngx_workflow_session_remote(run)
            || ngx_workflow_session_changed(run) == 0)
        {
            return NGX_OK;
        }

        /* who follows the task need not wait for that */

        if (ngx_workflow_outbox_before_end(run) != NGX_OK) {
            return NGX_ERROR;
        }

        /* a lock that was left behind has ended by then */

        run->patience = ngx_current_msec
                        + ngx_max(8 * run->service->control_plane_timeout,
                                  2 * ngx_workflow_save_keep(run));
        run->session = NGX_WORKFLOW_SESSION_LOCK;
        run->lock_at = ngx_current_msec;

        /* fall through */

    case NGX_WORKFLOW_SESSION_LOCK:
    case NGX_WORKFLOW_SESSION_SAVING:

        if (run->locking) {
            return NGX_AGAIN;
        }

        left = (ngx_msec_int_t) (run->lock_at - ngx_current_msec);

        if (left > 0) {
            run->pause = left;
            return NGX_AGAIN;
        }

        return ngx_workflow_save_lock(run) == NGX_OK ? NGX_AGAIN : NGX_ERROR;

    case NGX_WORKFLOW_SESSION_SAVE:

        return ngx_workflow_save_post(run) == NGX_OK ? NGX_AGAIN : NGX_ERROR;

    case NGX_WORKFLOW_SESSION_LOCKING:

        return NGX_AGAIN;

    default:

        /* it is saved, or has ended before it began */

        return NGX_OK;
    }
}


/* Its task is another worker's now. */

void
ngx_workflow_session_abandon(ngx_workflow_run_t *run)
{
    if (run->saving_session) {
        run->saving_session->abandoned = 1;

    } else if (run->session == NGX_WORKFLOW_SESSION_SAVE) {
        run->session = NGX_WORKFLOW_SESSION_SAVED;
        (void) ngx_workflow_save_unlock(run);
    }
}


/* Take the lock, or keep it. */

static ngx_int_t
ngx_workflow_save_lock(ngx_workflow_run_t *run)
{
    ngx_msec_t  keep;

    keep = ngx_workflow_save_keep(run);

    if (ngx_workflow_task_lock(&run->service->consumer, &run->task, keep,
                               ngx_workflow_save_locked, run)
        == NULL)
    {
        return NGX_ERROR;
    }

    run->calls++;
    run->locking = 1;
    run->locked_at = ngx_current_msec;
    run->lock_at = ngx_current_msec + keep / 3;

    if (run->session == NGX_WORKFLOW_SESSION_LOCK) {
        run->session = NGX_WORKFLOW_SESSION_LOCKING;

    } else {
        run->pause = keep / 3;
    }

    return NGX_OK;
}


/* A lock that cannot be given back ends by itself. */

static ngx_int_t
ngx_workflow_save_unlock(ngx_workflow_run_t *run)
{
    if (ngx_workflow_task_lock(&run->service->consumer, &run->task, 0,
                               ngx_workflow_save_unlocked, run)
        == NULL)
    {
        return NGX_ERROR;
    }

    run->calls++;

    return NGX_OK;
}


/* Two requests, and some time to renew it. */

static ngx_msec_t
ngx_workflow_save_keep(ngx_workflow_run_t *run)
{
    return 3 * run->service->control_plane_timeout + 1000;
}


static void
ngx_workflow_save_locked(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_uint_t           is_ours;
    ngx_workflow_run_t  *run;

    run = call->data;

    run->calls--;
    run->locking = 0;

    is_ours = (reply->type == REDIS_REPLY_INTEGER && reply->integer == 1);

    if (run->saving_session) {

        if (is_ours) {
            run->saving_session->until = run->locked_at
                                         + ngx_workflow_save_keep(run);
        }

    } else if (run->session == NGX_WORKFLOW_SESSION_LOCKING) {

        if (!is_ours) {
            ngx_workflow_save_refused(run);

        } else {
            run->session = NGX_WORKFLOW_SESSION_SAVE;

            if (run->lost) {
                ngx_workflow_session_abandon(run);
            }
        }

    } else if (is_ours) {

        /* it was renewed when it had been given back */

        (void) ngx_workflow_save_unlock(run);
    }

    ngx_workflow_run_turn(run);
}


static void
ngx_workflow_save_refused(ngx_workflow_run_t *run)
{
    static const char  busy[] = "other tasks of the session were being saved "
                                "for too long";

    if ((ngx_msec_int_t) (run->patience - ngx_current_msec) < 0) {
        ngx_workflow_save_failed(run, busy, sizeof(busy) - 1);
        run->session = NGX_WORKFLOW_SESSION_SAVED;
        return;
    }

    run->session = NGX_WORKFLOW_SESSION_LOCK;
    run->lock_at = ngx_current_msec + 5 + (ngx_msec_t) ngx_random() % 16;
}


static void
ngx_workflow_save_unlocked(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_workflow_run_t  *run;

    run = call->data;

    run->calls--;

    ngx_workflow_run_turn(run);
}


static ngx_int_t
ngx_workflow_save_post(ngx_workflow_run_t *run)
{
    size_t                       i, n;
    wf_run_context_t             entry;
    ngx_workflow_session_job_t  *s;

    s = ngx_workflow_session_job(run);
    if (s == NULL) {
        return NGX_ERROR;
    }

    s->job.work = ngx_workflow_save_work;
    s->job.done = ngx_workflow_save_done;
    s->until = run->locked_at + ngx_workflow_save_keep(run);

    n = ngx_workflow_session_changed(run);

    s->entries = ngx_alloc(n * sizeof(wf_state_entry_t), run->service->log);
    if (s->entries == NULL) {
        ngx_workflow_session_free(s);
        return NGX_ERROR;
    }

    for (i = 0; wf_run_context(run->engine, i, &entry); i++) {
        if (entry.changed) {
            s->entries[s->n].key = entry.key;
            s->entries[s->n++].json = entry.value;
        }
    }

    if (ngx_workflow_session_post(s) != NGX_OK) {
        return NGX_ERROR;
    }

    run->saving_session = s;
    run->session = NGX_WORKFLOW_SESSION_SAVING;
    run->pause = ngx_workflow_save_keep(run) / 3;

    return NGX_OK;
}


/* On a thread. */

static void
ngx_workflow_save_work(ngx_workflow_job_t *job)
{
    ngx_workflow_session_job_t  *s = (ngx_workflow_session_job_t *) job;

    wf_state_t  state;

    ngx_memzero(&state, sizeof(wf_state_t));

    s->rc = ngx_workflow_save_is_locked(s)
            ? ngx_workflow_session_get(s, &state, 1) : -1;

    if (s->rc == 0) {
        s->rc = ngx_workflow_save_is_locked(s)
                ? ngx_workflow_save_put(s, &state) : -1;
    }

    wf_state_free(&state);
}


/* For as long as a request takes; nginx' own time stands still meanwhile. */

static ngx_uint_t
ngx_workflow_save_is_locked(ngx_workflow_session_job_t *s)
{
    ngx_msec_t  until;

    if (s->abandoned) {
        wf_buf_adds(&s->error, "the task is another worker's");
        return 0;
    }

    until = wf_time() + s->job.service->control_plane_timeout;

    if ((ngx_msec_int_t) (s->until - until) < 0) {
        wf_buf_adds(&s->error, "the session's lock has ended");
        return 0;
    }

    return 1;
}


static int
ngx_workflow_save_put(ngx_workflow_session_job_t *s, wf_state_t *state)
{
    int                  rc;
    wf_buf_t             path = WF_BUF_INIT;
    wf_buf_t             body = WF_BUF_INIT;
    wf_slice_t           id, task_id;
    wf_http_exchange_t   x;
    ngx_workflow_run_t  *run;

    run = s->run;
    id = ngx_workflow_session_id(run);

    task_id.data = (char *) run->task.id.data;
    task_id.len = run->task.id.len;

    ngx_memzero(&x, sizeof(wf_http_exchange_t));

    wf_control_session(&path, id);
    wf_state_write(&body, state, s->entries, s->n, id, task_id,
                   &run->service->secrets);

    if (path.failed || body.failed) {
        wf_buf_adds(&s->error, "no memory");
        rc = -1;

    } else {
        x.path = path.data;
        x.body.data = body.data;
        x.body.len = body.len;

        rc = wf_http_request(run->service->http, &x);

        if (rc != 0) {
            wf_buf_adds(&s->error, x.error);
        }
    }

    wf_buf_free(&x.answer);
    wf_buf_free(&path);
    wf_buf_free(&body);

    return rc;
}


static void
ngx_workflow_save_done(ngx_workflow_job_t *job)
{
    ngx_workflow_session_job_t  *s = (ngx_workflow_session_job_t *) job;

    ngx_workflow_run_t  *run;

    run = s->run;

    run->calls--;
    run->saving_session = NULL;
    run->session = NGX_WORKFLOW_SESSION_SAVED;

    if (s->rc != 0 && !run->lost) {
        ngx_workflow_save_failed(run, s->error.data, s->error.len);
    }

    (void) ngx_workflow_save_unlock(run);

    ngx_workflow_session_free(s);
    ngx_workflow_run_turn(run);
}


static void
ngx_workflow_save_failed(ngx_workflow_run_t *run, const char *text, size_t len)
{
    ngx_log_error(NGX_LOG_ERR, run->service->log, 0,
                  "workflow_service \"%V\": task \"%V\": what it has set in "
                  "session \"%V\" is not saved: %*s", &run->service->name,
                  &run->task.id, &run->task.session, len, text);

    run->unsaved = 1;
    wf_buf_add(&run->session_error, text, len);
}
