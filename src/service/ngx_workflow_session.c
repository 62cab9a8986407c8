/*
 * What a session remembers is the context of its tasks.
 *
 * With a control plane it is there, in the reference's layout: read before a
 * run begins, and saved when it has ended: see ngx_workflow_session_save.c.
 * Without one it is in Redis, comes with the task, and is written by the script
 * that ends the task.
 */

#include "ngx_workflow_session.h"

#include "wf_control.h"
#include "wf_json.h"


/* Keys that are named in the log. */

#define NGX_WORKFLOW_SESSION_NAMED  256


static void ngx_workflow_session_work(ngx_workflow_job_t *job);
static int ngx_workflow_session_set(ngx_workflow_session_job_t *s,
    wf_state_t *state);
static void ngx_workflow_session_done(ngx_workflow_job_t *job);
static void ngx_workflow_session_unread(ngx_workflow_session_job_t *s);


/* Whether the session of a run that begins is to be asked for. */

ngx_uint_t
ngx_workflow_session_remote(ngx_workflow_run_t *run)
{
    return run->task.session.len && run->service->http;
}


ngx_int_t
ngx_workflow_session_load(ngx_workflow_run_t *run)
{
    ngx_workflow_session_job_t  *s;

    if (run->session != NGX_WORKFLOW_SESSION_LOAD) {
        return NGX_OK;
    }

    s = ngx_workflow_session_job(run);
    if (s == NULL) {
        return NGX_ERROR;
    }

    s->job.work = ngx_workflow_session_work;
    s->job.done = ngx_workflow_session_done;

    if (ngx_workflow_session_post(s) != NGX_OK) {
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


ngx_workflow_session_job_t *
ngx_workflow_session_job(ngx_workflow_run_t *run)
{
    ngx_workflow_session_job_t  *s;

    s = ngx_calloc(sizeof(ngx_workflow_session_job_t), run->service->log);

    if (s) {
        s->run = run;
        s->job.service = run->service;
    }

    return s;
}


ngx_int_t
ngx_workflow_session_post(ngx_workflow_session_job_t *s)
{
    if (ngx_workflow_job_post(&s->job) != NGX_OK) {
        ngx_workflow_session_free(s);
        return NGX_ERROR;
    }

    s->run->calls++;

    return NGX_OK;
}


void
ngx_workflow_session_free(ngx_workflow_session_job_t *s)
{
    if (s->entries) {
        ngx_free(s->entries);
    }

    wf_buf_free(&s->error);
    wf_buf_free(&s->skipped);
    ngx_free(s);
}


/* On a thread.  The run has not begun, so nobody else sees its context. */

static void
ngx_workflow_session_work(ngx_workflow_job_t *job)
{
    ngx_workflow_session_job_t  *s = (ngx_workflow_session_job_t *) job;

    wf_state_t  state;

    ngx_memzero(&state, sizeof(wf_state_t));

    s->rc = ngx_workflow_session_get(s, &state, 0);

    if (s->rc == 0) {
        s->rc = ngx_workflow_session_set(s, &state);
    }

    wf_state_free(&state);
}


int
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


static int
ngx_workflow_session_set(ngx_workflow_session_job_t *s, wf_state_t *state)
{
    int              rc;
    wf_buf_t         key = WF_BUF_INIT;
    wf_buf_t         json = WF_BUF_INIT;
    ngx_uint_t       failed;
    wf_state_iter_t  it;

    failed = 0;

    wf_state_iter_init(&it, state);

    while (!failed && (rc = wf_state_next(&it, &key, &json)) != 0) {

        if (key.failed || json.failed) {
            failed = 1;

        } else if (rc == 1) {
            failed = wf_run_set(s->run->engine,
                                (wf_slice_t) { key.data, key.len },
                                (wf_slice_t) { json.data, json.len })
                     != 0;

        } else if (s->skipped.len < NGX_WORKFLOW_SESSION_NAMED) {
            wf_buf_adds(&s->skipped, s->skipped.len ? ", \"" : "\"");
            wf_buf_add(&s->skipped, key.data, key.len);
            wf_buf_adds(&s->skipped, "\"");
        }
    }

    wf_buf_free(&key);
    wf_buf_free(&json);

    if (failed) {
        wf_buf_adds(&s->error, "no memory");
        return -1;
    }

    return 0;
}


static void
ngx_workflow_session_done(ngx_workflow_job_t *job)
{
    ngx_workflow_session_job_t  *s = (ngx_workflow_session_job_t *) job;

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

        if (ngx_workflow_run_start(run) != NGX_OK) {
            wf_run_abort(run->engine, "There is no memory for the task's "
                         "input.", 0);
        }

    } else {
        ngx_workflow_session_unread(s);
    }

    ngx_workflow_session_free(s);
    ngx_workflow_run_turn(run);
}


static void
ngx_workflow_session_unread(ngx_workflow_session_job_t *s)
{
    wf_buf_t                *error;
    ngx_workflow_run_t      *run;
    ngx_workflow_service_t  *service;

    run = s->run;
    service = run->service;
    error = &run->session_error;

    wf_buf_adds(error, s->rc == -2
                ? "The session's state is refused: "
                : "The session's state could not be read from the control "
                  "plane: ");
    wf_buf_add(error, s->error.data, s->error.len);
    wf_buf_addc(error, '\0');

    if (s->rc == -2) {
        ngx_log_error(NGX_LOG_ERR, service->log, 0,
                      "workflow_service \"%V\": task \"%V\" is not run: the "
                      "state of session \"%V\" is refused: %*s",
                      &service->name, &run->task.id, &run->task.session,
                      s->error.len, s->error.data);
    }

    run->unread = 1;

    wf_run_abort(run->engine, error->failed
                 ? "The session's state cannot be read." : error->data,
                 s->rc == -2);
}


wf_slice_t
ngx_workflow_session_id(ngx_workflow_run_t *run)
{
    wf_slice_t  id;

    id.data = (char *) run->task.session.data;
    id.len = run->task.session.len;

    return id;
}
