/* The messages that a worker publishes. */

#include "ngx_workflow_run.h"

#include "wf_json.h"
#include "wf_publish.h"

#include <sys/random.h>


static const char *ngx_workflow_compose_time(void);


/* Random bytes are taken in quantities: a system call for 64 ids. */

static uint8_t     ngx_workflow_random[64 * 16];
static ngx_uint_t  ngx_workflow_random_left;


void
ngx_workflow_compose_id(char *dst)
{
    size_t    n;
    ssize_t   rc;
    uint8_t  *p;

    if (ngx_workflow_random_left == 0) {

        for (n = 0; n < sizeof(ngx_workflow_random); n += rc) {
            rc = getrandom(ngx_workflow_random + n,
                           sizeof(ngx_workflow_random) - n, 0);

            if (rc == -1) {
                if (ngx_errno != NGX_EINTR) {
                    break;
                }

                rc = 0;
            }
        }

        /* a kernel without getrandom() */

        for ( /* void */ ; n < sizeof(ngx_workflow_random); n++) {
            ngx_workflow_random[n] = (uint8_t) (ngx_random() >> 7);
        }

        ngx_workflow_random_left = 64;
    }

    p = ngx_workflow_random + --ngx_workflow_random_left * 16;

    wf_uuid(dst, p);
}


/*
 * n messages; elts and text are the caller's to free.  Indexes that were
 * published by an earlier attempt are not published again, so the last message
 * of a task gets one that is free.
 */

ngx_int_t
ngx_workflow_compose_streams(ngx_workflow_messages_t *messages,
    wf_buf_t *text, ngx_workflow_task_t *task, wf_run_output_t *output,
    ngx_uint_t n, ngx_uint_t last, ngx_uint_t types)
{
    char          id[WF_UUID_LEN];
    size_t        start;
    u_char       *p;
    ngx_uint_t    i, index;
    wf_slice_t    data;
    wf_publish_t  publish;

    messages->n = n;
    messages->first = task->index;
    messages->elts = NULL;

    if (n == 0) {
        return NGX_OK;
    }

    messages->elts = ngx_alloc(n * sizeof(ngx_str_t), ngx_cycle->log);
    if (messages->elts == NULL) {
        return NGX_ERROR;
    }

    publish.id = id;
    publish.time = ngx_workflow_compose_time();
    publish.task_id = (wf_slice_t) { (char *) task->id.data, task->id.len };
    publish.session_id = (wf_slice_t) { (char *) task->session.data,
                                        task->session.len };

    for (i = 0; i < n; i++) {
        ngx_workflow_compose_id(id);

        start = text->len;

        data.data = output->data;
        data.len = output->len;

        publish.event_type = types ? output->type : (wf_slice_t) { NULL, 0 };

        index = task->index + i;

        if (last && i == n - 1) {
            index = ngx_max(index, task->streamed);
        }

        wf_publish_stream(text, &publish, data, index);

        messages->elts[i].len = text->len - start;

        output = output->next;
    }

    if (text->failed) {
        ngx_free(messages->elts);
        messages->elts = NULL;
        return NGX_ERROR;
    }

    p = (u_char *) text->data;

    for (i = 0; i < n; i++) {
        messages->elts[i].data = p;
        p += messages->elts[i].len;
    }

    return NGX_OK;
}


void
ngx_workflow_compose_result(wf_buf_t *text, ngx_str_t *task_id,
    wf_slice_t result, wf_slice_t data)
{
    char          id[WF_UUID_LEN];
    wf_publish_t  publish;

    ngx_workflow_compose_id(id);

    publish.id = id;
    publish.time = ngx_workflow_compose_time();
    publish.task_id = (wf_slice_t) { (char *) task_id->data, task_id->len };
    publish.session_id = (wf_slice_t) { NULL, 0 };

    wf_publish_result(text, &publish, result, data);
}


/* The braces are the caller's. */

void
ngx_workflow_compose_error(wf_buf_t *data, const char *status,
    const char *type, wf_slice_t message)
{
    wf_buf_adds(data, "\"status\": \"");
    wf_buf_adds(data, status);
    wf_buf_adds(data, "\", \"error\": {\"type\": \"");
    wf_buf_adds(data, type);
    wf_buf_adds(data, "\", \"message\": ");
    wf_json_quote(data, message.data, message.len);
    wf_buf_adds(data, "}");
}


/* A service of llama_deploy needs a session for each task: this one has its
 * own. */

void
ngx_workflow_compose_task(wf_buf_t *text, const wf_run_task_t *task)
{
    char          id[WF_UUID_LEN];
    wf_publish_t  publish;

    ngx_workflow_compose_id(id);

    publish.id = id;
    publish.time = ngx_workflow_compose_time();
    publish.task_id = task->id;
    publish.session_id = task->id;

    wf_publish_task(text, &publish, task->service, task->input);
}


/* Local time, as the reference has it. */

static const char *
ngx_workflow_compose_time(void)
{
    time_t     now;
    struct tm  tm;

    static time_t  cached;
    static char    text[sizeof("2026-11-23 03:12:21") + 8];

    now = ngx_time();

    if (now != cached) {
        ngx_libc_localtime(now, &tm);

        *ngx_sprintf((u_char *) text, "%04d-%02d-%02d %02d:%02d:%02d",
                     tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                     tm.tm_hour, tm.tm_min, tm.tm_sec) = '\0';
        cached = now;
    }

    return text;
}
