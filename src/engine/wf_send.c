/*
 * What a step sends: events to steps, events to whoever follows, the result.
 */

#include "wf_engine.h"
#include "wf_publish.h"


static wf_status_t wf_host_send_to(wf_call_t *call, const char *step,
    const char *type, const wf_graph_type_t *t, wf_slice_t fields);
static wf_status_t wf_host_queue(wf_call_t *call, wf_item_t *item);
static wf_status_t wf_host_complete(wf_call_t *call, wf_slice_t json);
static wf_status_t wf_host_put_out(wf_call_t *call, const char *type,
    wf_slice_t fields);


wf_status_t
wf_host_send(wf_run_t *r, const char *step, const char *type,
    const char *json, size_t len)
{
    wf_call_t              *call;
    wf_item_t              *item;
    wf_slice_t              fields, result;
    wf_status_t             status;
    const wf_graph_type_t  *t;

    call = (wf_call_t *) r;

    status = wf_host_check_event(call, step ? "wf_send_to" : "wf_send", type,
                                 json, len, &fields);
    if (status != WF_OK) {
        return status;
    }

    result.data = type;
    result.len = strlen(type);

    t = wf_graph_type(call->engine->graph, result);

    if (step != NULL) {
        return wf_host_send_to(call, step, type, t, fields);
    }

    if (strcmp(type, WF_INPUT_REQUIRED_EVENT) == 0) {
        return wf_host_put_out(call, type, fields);
    }

    if (strcmp(type, WF_STOP_EVENT) == 0) {
        if (!wf_json_get(fields, "result", &result)) {
            result = wf_slice("null");
        }

        return wf_host_complete(call, result);
    }

    if (t == NULL) {
        return WF_OK;
    }

    item = wf_item_create(t, t->nsteps, fields);

    return wf_host_queue(call, item);
}


static wf_status_t
wf_host_send_to(wf_call_t *call, const char *step, const char *type,
    const wf_graph_type_t *t, wf_slice_t fields)
{
    int         index;
    wf_item_t  *item;
    wf_slice_t  name;

    name.data = step;
    name.len = strlen(step);

    index = wf_graph_step(call->engine->graph, name);

    if (index < 0) {
        return wf_call_error(call, WF_ERROR, "Step ", step, " does not exist",
                             NULL);
    }

    if (t == NULL || !wf_graph_accepts(t, (uint32_t) index)) {
        return wf_call_error(call, WF_ERROR, "Step ", step, " does not accept"
                             " event of type ", type, NULL);
    }

    item = wf_item_create(t, 1, fields);

    if (item != NULL) {
        item->jobs[0].step = (uint32_t) index;
    }

    return wf_host_queue(call, item);
}


static wf_status_t
wf_host_queue(wf_call_t *call, wf_item_t *item)
{
    int               wake;
    wf_engine_run_t  *run;

    run = call->engine;

    if (item == NULL) {
        return wf_host_no_memory(call);
    }

    pthread_mutex_lock(&run->lock);

    if (wf_run_ended(run)) {
        pthread_mutex_unlock(&run->lock);
        free(item);
        return wf_host_ended(call);
    }

    item->sender = call->number;
    wf_item_send(run, item);

    if (!call->claim) {
        call->claim = 1;
        run->claims++;
    }

    wake = wf_run_need(run) != 0 && wf_run_alert(run);

    wf_host_unlock(run, wake);

    return WF_OK;
}


wf_status_t
wf_host_stop(wf_run_t *r, const char *json, size_t len)
{
    wf_call_t    *call;
    wf_slice_t    value;
    wf_status_t   status;

    call = (wf_call_t *) r;

    status = wf_host_check(call, "wf_stop", NULL, json, len, &value);

    return status == WF_OK ? wf_host_complete(call, value) : status;
}


wf_status_t
wf_host_stop_text(wf_run_t *r, const char *text, size_t len)
{
    wf_call_t   *call;
    wf_slice_t   value;

    call = (wf_call_t *) r;

    if (len != 0 && memchr(text, '\0', len) != NULL) {
        return wf_call_error(call, WF_ERROR, "wf_stop_text: the text has a"
                             " NUL in it", NULL);
    }

    if (len > WF_MAX_JSON) {
        return wf_call_error(call, WF_FINAL, "wf_stop_text: the text is larger"
                             " than 32 megabytes", NULL);
    }

    call->scratch.len = 0;
    call->scratch.failed = 0;

    wf_json_quote(&call->scratch, text, len);

    if (call->scratch.failed) {
        return wf_host_no_memory(call);
    }

    value.data = call->scratch.data;
    value.len = call->scratch.len;

    return wf_host_complete(call, value);
}


/* No wake: the call returns soon, and its thread then. */

static wf_status_t
wf_host_complete(wf_call_t *call, wf_slice_t json)
{
    int               ended;
    wf_value_t       *value;
    wf_run_output_t  *out;
    wf_engine_run_t  *run;

    run = call->engine;

    value = wf_value_create(json);
    out = wf_output_create(wf_slice(WF_STOP_EVENT), wf_slice("{\"result\": "),
                           json, wf_slice("}"));

    if (value == NULL || out == NULL) {
        free(value);
        free(out);
        return wf_host_no_memory(call);
    }

    pthread_mutex_lock(&run->lock);

    ended = wf_run_ended(run);

    if (!ended) {
        wf_run_complete(run, value, out);
    }

    pthread_mutex_unlock(&run->lock);

    if (ended) {
        free(value);
        free(out);
        return wf_host_ended(call);
    }

    return WF_OK;
}


wf_status_t
wf_host_stream(wf_run_t *r, const char *type, const char *json, size_t len)
{
    wf_call_t    *call;
    wf_slice_t    fields;
    wf_status_t   status;

    call = (wf_call_t *) r;

    status = wf_host_check_event(call, "wf_stream", type, json, len, &fields);

    return status == WF_OK ? wf_host_put_out(call, type, fields) : status;
}


static wf_status_t
wf_host_put_out(wf_call_t *call, const char *type, wf_slice_t fields)
{
    int               wake;
    wf_slice_t        data;
    wf_run_output_t  *out;
    wf_engine_run_t  *run;

    run = call->engine;

    call->scratch.len = 0;
    call->scratch.failed = 0;

    wf_event_dump(&call->scratch, type, fields);

    if (call->scratch.failed) {
        return wf_host_no_memory(call);
    }

    data.data = call->scratch.data;
    data.len = call->scratch.len;

    out = wf_output_create((wf_slice_t) { type, strlen(type) }, wf_slice(""),
                           data, wf_slice(""));
    if (out == NULL) {
        return wf_host_no_memory(call);
    }

    pthread_mutex_lock(&run->lock);

    wf_host_wait_room(run, &run->output_size);

    if (wf_run_ended(run)) {
        pthread_mutex_unlock(&run->lock);
        wf_run_output_free(out);
        return wf_host_ended(call);
    }

    /* what this call streamed before the run was taken over is not repeated */

    if (call->streamed++ < call->job->streamed) {
        pthread_mutex_unlock(&run->lock);
        wf_run_output_free(out);
        return WF_OK;
    }

    wf_output_add(run, out);
    wake = wf_run_alert(run);

    wf_host_unlock(run, wake);

    return WF_OK;
}


/* A step that streams, or sends tasks, faster than they can be published is
 * slowed down: memory is not the place to keep them. */

void
wf_host_wait_room(wf_engine_run_t *run, const size_t *size)
{
    int64_t          next;
    struct timespec  ts;

    while (*size >= WF_MAX_OUTPUT && !wf_run_ended(run)
           && !wf_run_leaving(run))
    {
        next = wf_time_ns() + WF_LEAVING_PERIOD;

        ts.tv_sec = (time_t) (next / 1000000000);
        ts.tv_nsec = (long) (next % 1000000000);

        (void) pthread_cond_timedwait(&run->ended, &run->lock, &ts);
    }
}
