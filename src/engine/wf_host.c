/*
 * The functions that a plugin's step is given.
 */

#include <time.h>

#include "wf_engine.h"


static wf_status_t wf_host_get(wf_run_t *r, const char *key,
    const char **json, size_t *len);
static wf_status_t wf_host_set(wf_run_t *r, const char *key,
    const char *json, size_t len);
static wf_status_t wf_host_collect(wf_run_t *r, const wf_event_t *ev,
    const char *const *types, size_t n, const wf_event_t **events);
static wf_status_t wf_host_fail(wf_run_t *r, wf_status_t status,
    const char *text);
static int wf_host_cancelled(wf_run_t *r);
static wf_status_t wf_host_sleep(wf_run_t *r, uint32_t ms);
static void wf_host_log(wf_run_t *r, wf_log_level_t level, const char *text);
static void *wf_host_alloc(wf_run_t *r, size_t size);
static const wf_info_t *wf_host_info(wf_run_t *r);
static void wf_host_release_claim(wf_call_t *call);


const wf_host_t  wf_host = {
    sizeof(wf_host_t),
    wf_host_send,
    wf_host_stop,
    wf_host_stop_text,
    wf_host_stream,
    wf_host_get,
    wf_host_set,
    wf_host_collect,
    wf_host_fail,
    wf_host_cancelled,
    wf_host_sleep,
    wf_host_log,
    wf_host_alloc,
    wf_host_info,
    wf_host_send_task,
    wf_host_event_text
};


static wf_status_t
wf_host_get(wf_run_t *r, const char *key, const char **json, size_t *len)
{
    wf_call_t        *call;
    wf_hold_t        *hold;
    wf_entry_t       *entry;
    wf_slice_t        name;
    wf_engine_run_t  *run;

    call = (wf_call_t *) r;
    run = call->engine;

    if (key == NULL) {
        return wf_call_error(call, WF_ERROR, "wf_get: no key", NULL);
    }

    hold = wf_call_alloc(call, sizeof(wf_hold_t));
    if (hold == NULL) {
        return wf_host_no_memory(call);
    }

    name.data = key;
    name.len = strlen(key);

    pthread_mutex_lock(&run->lock);

    entry = wf_context_find(run, name);

    if (entry != NULL) {
        hold->value = entry->value;
        hold->value->refs++;
    }

    pthread_mutex_unlock(&run->lock);

    if (entry == NULL) {
        return wf_call_error(call, WF_AGAIN, "Key '", key,
                             "' not found in Context", NULL);
    }

    hold->next = call->holds;
    call->holds = hold;

    *json = hold->value->data;
    *len = hold->value->len;

    return WF_OK;
}


static wf_status_t
wf_host_set(wf_run_t *r, const char *key, const char *json, size_t len)
{
    int               rc, ended;
    wf_call_t        *call;
    wf_value_t       *value;
    wf_slice_t        name, data = { NULL, 0 };
    wf_status_t       status;
    wf_engine_run_t  *run;

    call = (wf_call_t *) r;
    run = call->engine;

    call->scratch.len = 0;
    call->scratch.failed = 0;

    rc = key == NULL ? 0 : wf_check_name(key, &call->scratch);

    if (rc == 0) {
        return wf_call_error(call, WF_ERROR, "wf_set: the key is empty or not"
                             " UTF-8", NULL);
    }

    status = wf_host_check(call, "wf_set", key, json, len, &data);
    if (status != WF_OK) {
        return status;
    }

    value = rc == 1 ? wf_value_create(data) : NULL;
    if (value == NULL) {
        return wf_host_no_memory(call);
    }

    name.data = key;
    name.len = strlen(key);

    pthread_mutex_lock(&run->lock);

    ended = wf_run_ended(run);
    rc = ended ? 0 : wf_context_set(run, name, value, 1);

    pthread_mutex_unlock(&run->lock);

    if (ended || rc != 0) {
        free(value);
        return ended ? wf_host_ended(call) : wf_host_no_memory(call);
    }

    return WF_OK;
}


static wf_status_t
wf_host_collect(wf_run_t *r, const wf_event_t *ev, const char *const *types,
    size_t n, const wf_event_t **events)
{
    size_t            i;
    wf_call_t        *call;
    wf_status_t       status;
    wf_engine_run_t  *run;

    call = (wf_call_t *) r;
    run = call->engine;

    if (wf_run_ended(run)) {
        return wf_host_ended(call);
    }

    if (ev != &call->job->item->event) {
        return wf_call_error(call, WF_ERROR, "wf_collect: the event is not"
                             " the one that the step was called with", NULL);
    }

    for (i = 0; i < n; i++) {
        if (types[i] == NULL) {
            return wf_call_error(call, WF_ERROR, "wf_collect: no event type",
                                 NULL);
        }
    }

    if (n == 0) {
        return WF_OK;
    }

    pthread_mutex_lock(&run->lock);

    status = wf_kept_take(call, types, n, events);

    pthread_mutex_unlock(&run->lock);

    if (status == WF_AGAIN) {
        call->error.len = 0;
    }

    return status;
}


static wf_status_t
wf_host_fail(wf_run_t *r, wf_status_t status, const char *text)
{
    return wf_call_error((wf_call_t *) r, status, text, NULL);
}


static int
wf_host_cancelled(wf_run_t *r)
{
    wf_call_t  *call;

    call = (wf_call_t *) r;

    wf_host_release_claim(call);

    return wf_run_ended(call->engine) || wf_run_leaving(call->engine);
}


static wf_status_t
wf_host_sleep(wf_run_t *r, uint32_t ms)
{
    int64_t           now, end, next;
    wf_call_t        *call;
    wf_status_t       status;
    wf_engine_run_t  *run;
    struct timespec   ts;

    call = (wf_call_t *) r;
    run = call->engine;

    wf_host_release_claim(call);

    now = wf_time_ns();
    end = now + (int64_t) ms * 1000000;
    status = WF_OK;

    pthread_mutex_lock(&run->lock);

    for ( ;; ) {
        if (wf_run_ended(run) || wf_run_leaving(run)) {
            status = WF_CANCELLED;
            break;
        }

        if (now >= end) {
            break;
        }

        next = end;

        if (run->options.leaving != NULL && next - now > WF_LEAVING_PERIOD) {
            next = now + WF_LEAVING_PERIOD;
        }

        ts.tv_sec = (time_t) (next / 1000000000);
        ts.tv_nsec = (long) (next % 1000000000);

        (void) pthread_cond_timedwait(&run->ended, &run->lock, &ts);

        now = wf_time_ns();
    }

    pthread_mutex_unlock(&run->lock);

    return status == WF_OK ? WF_OK : wf_host_ended(call);
}


static void
wf_host_log(wf_run_t *r, wf_log_level_t level, const char *text)
{
    wf_call_t         *call;
    wf_run_options_t  *options;

    call = (wf_call_t *) r;
    options = &call->engine->options;

    if (options->log != NULL) {
        options->log(options->data, call->info.step, level, text);
    }
}


static void *
wf_host_alloc(wf_run_t *r, size_t size)
{
    return wf_call_alloc((wf_call_t *) r, size);
}


static const wf_info_t *
wf_host_info(wf_run_t *r)
{
    return &((wf_call_t *) r)->info;
}


wf_status_t
wf_host_check_event(wf_call_t *call, const char *function, const char *type,
    const char *json, size_t len, wf_slice_t *fields)
{
    wf_status_t  status;

    if (type == NULL || *type == '\0') {
        return wf_call_error(call, WF_ERROR, function, ": no event type",
                             NULL);
    }

    status = wf_host_check(call, function, type, json, len, fields);

    if (status == WF_OK && wf_json_type(*fields) != WF_JSON_OBJECT) {
        return wf_call_error(call, WF_ERROR, function, ": the fields of ",
                             type, " are not a JSON object", NULL);
    }

    return status;
}


wf_status_t
wf_host_check(wf_call_t *call, const char *function, const char *what,
    const char *json, size_t len, wf_slice_t *value)
{
    int              rc;
    char             offset[32];
    wf_slice_t       text;
    wf_json_error_t  error;

    if (wf_run_ended(call->engine)) {
        return wf_host_ended(call);
    }

    if (len > WF_MAX_JSON) {
        return wf_call_error(call, WF_FINAL, function, ": JSON",
                             what ? " for " : "", what ? what : "",
                             " is larger than 32 megabytes", NULL);
    }

    text.data = len ? json : "";
    text.len = len;

    rc = wf_json_check(text, value, &error);

    if (rc == 0) {
        return WF_OK;
    }

    if (rc == -2) {
        return wf_host_no_memory(call);
    }

    (void) snprintf(offset, sizeof(offset), " at %zu", error.offset);

    return wf_call_error(call, WF_ERROR, function, ": invalid JSON",
                         what ? " for " : "", what ? what : "", ": ",
                         error.reason, offset, NULL);
}


wf_status_t
wf_host_ended(wf_call_t *call)
{
    return wf_call_error(call, WF_CANCELLED, "The run has ended.", NULL);
}


wf_status_t
wf_host_no_memory(wf_call_t *call)
{
    return wf_call_error(call, WF_ERROR, WF_NO_MEMORY, NULL);
}


/* The call takes long: what it has sent should not wait for it. */

static void
wf_host_release_claim(wf_call_t *call)
{
    int               wake;
    wf_engine_run_t  *run;

    if (!call->claim) {
        return;
    }

    run = call->engine;

    pthread_mutex_lock(&run->lock);

    call->claim = 0;
    run->claims--;

    wake = wf_run_need(run) != 0 && wf_run_alert(run);

    wf_host_unlock(run, wake);
}


void
wf_host_unlock(wf_engine_run_t *run, int wake)
{
    pthread_mutex_unlock(&run->lock);

    if (wake) {
        run->options.wake(run->options.data);
    }
}
