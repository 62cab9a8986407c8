/*
 * What a session remembers is the context of its tasks.
 *
 * With a control plane it is there, in the reference's layout: read before a run
 * begins, and read again and merged when the run has ended and before its result
 * is published, under a lock, so that tasks of a session that run at a time
 * overwrite each other key by key.  Without one it is in Redis, comes with the
 * task, and is written by the script that ends the task.
 */

#include "ngx_workflow_job.h"
#include "ngx_workflow_run.h"

#include "wf_control.h"
#include "wf_json.h"


/* A lock is asked for again and again, for so many requests' time. */

#define NGX_WORKFLOW_SESSION_PATIENCE  8

/* Keys that are named in the log. */

#define NGX_WORKFLOW_SESSION_NAMED     256


typedef struct {
    ngx_workflow_job_t     job;
    ngx_workflow_run_t    *run;
    int                    rc;        /* 0; -1: no answer; -2: refused */
    wf_buf_t               error;

    /* what was read: the lengths of keys and values, and their text */
    wf_buf_t               lens;
    wf_buf_t               text;
    wf_buf_t               skipped;

    /* what is to be saved: the run's */
    ngx_uint_t             n;
    wf_state_entry_t      *entries;
} ngx_workflow_session_job_t;


static ngx_int_t ngx_workflow_session_post(ngx_workflow_run_t *run,
    ngx_uint_t save);
static void ngx_workflow_session_free(ngx_workflow_session_job_t *s);
static void ngx_workflow_session_load_work(ngx_workflow_job_t *job);
static int ngx_workflow_session_get(ngx_workflow_session_job_t *s,
    wf_state_t *state, ngx_uint_t must);
static void ngx_workflow_session_keep(ngx_workflow_session_job_t *s,
    wf_state_t *state);
static void ngx_workflow_session_load_done(ngx_workflow_job_t *job);
static ngx_int_t ngx_workflow_session_set(ngx_workflow_session_job_t *s);
static ngx_int_t ngx_workflow_session_lock(ngx_workflow_run_t *run,
    ngx_msec_t keep);
static void ngx_workflow_session_locked(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_session_unlocked(ngx_workflow_call_t *call,
    redisReply *reply);
static void ngx_workflow_session_save_work(ngx_workflow_job_t *job);
static int ngx_workflow_session_put(ngx_workflow_session_job_t *s,
    wf_state_t *state);
static void ngx_workflow_session_save_done(ngx_workflow_job_t *job);
static void ngx_workflow_session_unsaved(ngx_workflow_run_t *run,
    const char *text, size_t len);
static wf_slice_t ngx_workflow_session_id(ngx_workflow_run_t *run);


/* Whether the session of a run that begins is to be asked for. */

ngx_uint_t
ngx_workflow_session_remote(ngx_workflow_run_t *run)
{
    return run->task.session.len && run->service->http;
}


ngx_int_t
ngx_workflow_session_load(ngx_workflow_run_t *run)
{
    if (run->session != NGX_WORKFLOW_SESSION_LOAD) {
        return NGX_OK;
    }

    if (ngx_workflow_session_post(run, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    run->session = NGX_WORKFLOW_SESSION_LOADING;

    return NGX_OK;
}


/* What came with the task. */

ngx_int_t
ngx_workflow_session_take(ngx_workflow_run_t *run, redisReply *fields)
{
    ngx_uint_t       i;
    wf_slice_t       key, json;
    wf_json_error_t  error;

    for (i = 0; i + 1 < fields->elements; i += 2) {

        if (fields->element[i]->type != REDIS_REPLY_STRING
            || fields->element[i + 1]->type != REDIS_REPLY_STRING)
        {
            continue;
        }

        key.data = fields->element[i]->str;
        key.len = fields->element[i]->len;
        json.data = fields->element[i + 1]->str;
        json.len = fields->element[i + 1]->len;

        if (wf_json_check(json, &json, &error) != 0) {
            ngx_log_error(NGX_LOG_WARN, run->service->log, 0,
                          "workflow_service \"%V\": session \"%V\": the key "
                          "\"%*s\" in Redis is not JSON, and is not used",
                          &run->service->name, &run->task.session, key.len,
                          key.data);
            continue;
        }

        if (wf_run_set(run->engine, key, json) != 0) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_workflow_session_post(ngx_workflow_run_t *run, ngx_uint_t save)
{
    size_t                       i, n;
    wf_run_context_t             entry;
    ngx_workflow_session_job_t  *s;

    s = ngx_calloc(sizeof(ngx_workflow_session_job_t), run->service->log);
    if (s == NULL) {
        return NGX_ERROR;
    }

    s->run = run;
    s->job.service = run->service;
    s->job.work = save ? ngx_workflow_session_save_work
                       : ngx_workflow_session_load_work;
    s->job.done = save ? ngx_workflow_session_save_done
                       : ngx_workflow_session_load_done;

    if (save) {
        n = ngx_workflow_session_changed(run);

        s->entries = ngx_alloc(n * sizeof(wf_state_entry_t),
                               run->service->log);
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
    }

    if (ngx_workflow_job_post(&s->job) != NGX_OK) {
        ngx_workflow_session_free(s);
        return NGX_ERROR;
    }

    run->calls++;

    return NGX_OK;
}


static void
ngx_workflow_session_free(ngx_workflow_session_job_t *s)
{
    if (s->entries) {
        ngx_free(s->entries);
    }

    wf_buf_free(&s->error);
    wf_buf_free(&s->lens);
    wf_buf_free(&s->text);
    wf_buf_free(&s->skipped);
    ngx_free(s);
}


/* On a thread. */

static void
ngx_workflow_session_load_work(ngx_workflow_job_t *job)
{
    ngx_workflow_session_job_t  *s = (ngx_workflow_session_job_t *) job;

    wf_state_t  state;

    ngx_memzero(&state, sizeof(wf_state_t));

    s->rc = ngx_workflow_session_get(s, &state, 0);

    if (s->rc == 0) {
        ngx_workflow_session_keep(s, &state);
    }

    wf_state_free(&state);
}


/* must: a session that the control plane does not know is an error. */

static int
ngx_workflow_session_get(ngx_workflow_session_job_t *s, wf_state_t *state,
    ngx_uint_t must)
{
    int                      rc;
    wf_buf_t                 path = WF_BUF_INIT;
    wf_slice_t               id, answer;
    wf_http_exchange_t       x;
    ngx_workflow_service_t  *service;

    service = s->job.service;
    id = ngx_workflow_session_id(s->run);

    /* these would be names of other paths */

    if (wf_slice_eq(id, ".") || wf_slice_eq(id, "..")) {
        wf_buf_adds(&s->error, "it is not the id of a session");
        return -2;
    }

    ngx_memzero(&x, sizeof(wf_http_exchange_t));

    wf_control_session(&path, id);
    x.path = path.data;

    rc = path.failed ? -1 : wf_http_request(service->http, &x);

    wf_buf_free(&path);

    if (rc == 0) {
        answer.data = x.answer.data;
        answer.len = x.answer.len;

        rc = wf_state_read(state, answer, id, &service->secrets, &s->error);

        /* no memory may be better next time */

        rc = rc == 0 ? 0 : rc == -1 ? -2 : -1;

    } else if (x.status == 404 && !must) {
        rc = 0;

    } else {
        wf_buf_adds(&s->error, x.error);
    }

    wf_buf_free(&x.answer);

    return rc;
}


static void
ngx_workflow_session_keep(ngx_workflow_session_job_t *s, wf_state_t *state)
{
    int              rc;
    size_t           lens[2];
    wf_buf_t         key = WF_BUF_INIT;
    wf_buf_t         json = WF_BUF_INIT;
    wf_state_iter_t  it;

    wf_state_iter_init(&it, state);

    while ((rc = wf_state_next(&it, &key, &json)) != 0) {

        if (rc == 1) {
            lens[0] = key.len;
            lens[1] = json.len;

            wf_buf_add(&s->lens, lens, sizeof(lens));
            wf_buf_add(&s->text, key.data, key.len);
            wf_buf_add(&s->text, json.data, json.len);

        } else if (s->skipped.len < NGX_WORKFLOW_SESSION_NAMED) {
            wf_buf_adds(&s->skipped, s->skipped.len ? ", \"" : "\"");
            wf_buf_add(&s->skipped, key.data, key.len);
            wf_buf_adds(&s->skipped, "\"");
        }
    }

    if (key.failed || json.failed || s->lens.failed || s->text.failed) {
        wf_buf_adds(&s->error, "no memory");
        s->rc = -1;
    }

    wf_buf_free(&key);
    wf_buf_free(&json);
}


static void
ngx_workflow_session_load_done(ngx_workflow_job_t *job)
{
    ngx_workflow_session_job_t  *s = (ngx_workflow_session_job_t *) job;

    wf_buf_t                *error;
    ngx_workflow_run_t      *run;
    ngx_workflow_service_t  *service;

    run = s->run;
    service = run->service;

    run->calls--;
    run->session = NGX_WORKFLOW_SESSION_LOADED;
    run->started = ngx_current_msec;

    if (run->lost || wf_run_state(run->engine) >= WF_RUN_COMPLETED) {
        /* it has been cancelled meanwhile */

    } else if (s->rc == 0) {

        if (s->skipped.len) {
            ngx_log_error(NGX_LOG_WARN, service->log, 0,
                          "workflow_service \"%V\": session \"%V\": keys that "
                          "a Python service has pickled are not used, and kept "
                          "as they are: %*s", &service->name,
                          &run->task.session, s->skipped.len,
                          s->skipped.data);
        }

        if (ngx_workflow_session_set(s) != NGX_OK
            || ngx_workflow_run_start(run) != NGX_OK)
        {
            wf_run_abort(run->engine, "There is no memory for the session's "
                         "state.", 0);
        }

    } else {
        error = &run->session_error;

        wf_buf_adds(error, s->rc == -2
                    ? "The session's state is refused: "
                    : "The session's state could not be read from the control "
                      "plane: ");
        wf_buf_add(error, s->error.data, s->error.len);
        wf_buf_addc(error, '\0');

        if (s->rc == -2) {
            ngx_log_error(NGX_LOG_ERR, service->log, 0,
                          "workflow_service \"%V\": task \"%V\" is not run: "
                          "the state of session \"%V\" is refused: %*s",
                          &service->name, &run->task.id, &run->task.session,
                          s->error.len, s->error.data);
        }

        run->unread = 1;
        wf_run_abort(run->engine, error->failed ? "The session's state cannot "
                     "be read." : error->data, s->rc == -2);
    }

    ngx_workflow_session_free(s);
    ngx_workflow_run_turn(run);
}


static ngx_int_t
ngx_workflow_session_set(ngx_workflow_session_job_t *s)
{
    size_t      i, lens[2];
    wf_slice_t  key, json;

    key.data = s->text.data;

    for (i = 0; i < s->lens.len; i += sizeof(lens)) {
        ngx_memcpy(lens, s->lens.data + i, sizeof(lens));

        key.len = lens[0];
        json.data = key.data + key.len;
        json.len = lens[1];

        if (wf_run_set(s->run->engine, key, json) != 0) {
            return NGX_ERROR;
        }

        key.data = json.data + json.len;
    }

    return NGX_OK;
}


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
    ngx_msec_t  timeout;

    timeout = run->service->control_plane_timeout;

    switch (run->session) {

    case NGX_WORKFLOW_SESSION_LOAD:
    case NGX_WORKFLOW_SESSION_LOADING:

        /* it has ended before it began */

        return NGX_OK;

    case NGX_WORKFLOW_SESSION_NONE:
    case NGX_WORKFLOW_SESSION_LOADED:

        if (!ngx_workflow_session_remote(run)
            || ngx_workflow_session_changed(run) == 0)
        {
            return NGX_OK;
        }

        run->patience = ngx_current_msec
                        + NGX_WORKFLOW_SESSION_PATIENCE * timeout;

        /* fall through */

    case NGX_WORKFLOW_SESSION_LOCK:

        /* two requests, and the time until a thread makes them */

        if (ngx_workflow_session_lock(run, 3 * timeout + 1000) != NGX_OK) {
            return NGX_ERROR;
        }

        run->session = NGX_WORKFLOW_SESSION_LOCKING;
        return NGX_AGAIN;

    case NGX_WORKFLOW_SESSION_SAVE:

        if (ngx_workflow_session_post(run, 1) != NGX_OK) {
            return NGX_ERROR;
        }

        run->session = NGX_WORKFLOW_SESSION_SAVING;
        return NGX_AGAIN;

    case NGX_WORKFLOW_SESSION_SAVED:
        return NGX_OK;

    default:
        return NGX_AGAIN;
    }
}


static ngx_int_t
ngx_workflow_session_lock(ngx_workflow_run_t *run, ngx_msec_t keep)
{
    if (ngx_workflow_task_lock(&run->service->consumer, &run->task, keep,
                               keep ? ngx_workflow_session_locked
                                    : ngx_workflow_session_unlocked,
                               run)
        == NULL)
    {
        return NGX_ERROR;
    }

    run->calls++;

    return NGX_OK;
}


static void
ngx_workflow_session_locked(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_workflow_run_t  *run;
    static const char    busy[] = "other tasks of the session were being saved "
                                  "for too long";

    run = call->data;

    run->calls--;

    if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 1) {
        run->session = NGX_WORKFLOW_SESSION_SAVE;

        if (run->lost) {
            (void) ngx_workflow_session_lock(run, 0);
        }

    } else if ((ngx_msec_int_t) (run->patience - ngx_current_msec) < 0) {
        ngx_workflow_session_unsaved(run, busy, sizeof(busy) - 1);
        run->session = NGX_WORKFLOW_SESSION_SAVED;

    } else {
        run->session = NGX_WORKFLOW_SESSION_LOCK;
        run->pause = 5 + (ngx_msec_t) ngx_random() % 16;
    }

    ngx_workflow_run_turn(run);
}


static void
ngx_workflow_session_unlocked(ngx_workflow_call_t *call, redisReply *reply)
{
    ngx_workflow_run_t  *run;

    run = call->data;

    run->calls--;

    ngx_workflow_run_turn(run);
}


/* On a thread. */

static void
ngx_workflow_session_save_work(ngx_workflow_job_t *job)
{
    ngx_workflow_session_job_t  *s = (ngx_workflow_session_job_t *) job;

    wf_state_t  state;

    ngx_memzero(&state, sizeof(wf_state_t));

    s->rc = ngx_workflow_session_get(s, &state, 1);

    if (s->rc == 0) {
        s->rc = ngx_workflow_session_put(s, &state);
    }

    wf_state_free(&state);
}


static int
ngx_workflow_session_put(ngx_workflow_session_job_t *s, wf_state_t *state)
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
ngx_workflow_session_save_done(ngx_workflow_job_t *job)
{
    ngx_workflow_session_job_t  *s = (ngx_workflow_session_job_t *) job;

    ngx_workflow_run_t  *run;

    run = s->run;

    run->calls--;
    run->session = NGX_WORKFLOW_SESSION_SAVED;

    if (s->rc != 0) {
        ngx_workflow_session_unsaved(run, s->error.data, s->error.len);
    }

    /* a lock that cannot be given back ends by itself */

    (void) ngx_workflow_session_lock(run, 0);

    ngx_workflow_session_free(s);
    ngx_workflow_run_turn(run);
}


static void
ngx_workflow_session_unsaved(ngx_workflow_run_t *run, const char *text,
    size_t len)
{
    ngx_log_error(NGX_LOG_ERR, run->service->log, 0,
                  "workflow_service \"%V\": task \"%V\": what it has set in "
                  "session \"%V\" is not saved: %*s", &run->service->name,
                  &run->task.id, &run->task.session, len, text);

    run->unsaved = 1;
    wf_buf_add(&run->session_error, text, len);
}


static wf_slice_t
ngx_workflow_session_id(ngx_workflow_run_t *run)
{
    wf_slice_t  id;

    id.data = (char *) run->task.session.data;
    id.len = run->task.session.len;

    return id;
}
