/*
 * How a run ends, and what it puts out.
 */

#include "wf_engine.h"


static void wf_run_end(wf_engine_run_t *run, wf_run_state_t state);
static void wf_run_end_without_result(wf_engine_run_t *run,
    wf_run_state_t state);


wf_run_output_t *
wf_output_create(wf_slice_t type, wf_slice_t before, wf_slice_t data,
    wf_slice_t after)
{
    char             *pos;
    size_t            len;
    wf_run_output_t  *out;

    len = before.len + data.len + after.len;

    out = malloc(sizeof(wf_run_output_t) + len + 1 + type.len);
    if (out == NULL) {
        return NULL;
    }

    pos = (char *) (out + 1);

    out->next = NULL;
    out->len = len;
    out->data = pos;

    memcpy(pos, before.data, before.len);
    pos += before.len;
    memcpy(pos, data.data, data.len);
    pos += data.len;
    memcpy(pos, after.data, after.len);
    pos += after.len;
    *pos++ = '\0';

    out->type.data = pos;
    out->type.len = type.len;

    memcpy(pos, type.data, type.len);

    return out;
}


void
wf_run_output_free(wf_run_output_t *out)
{
    free(out);
}


void
wf_output_add(wf_engine_run_t *run, wf_run_output_t *out)
{
    *run->last_output = out;
    run->last_output = &out->next;
    run->output_size += sizeof(wf_run_output_t) + out->len;
}


wf_run_output_t *
wf_run_take_output(wf_engine_run_t *run)
{
    wf_run_output_t  *out;

    pthread_mutex_lock(&run->lock);

    out = wf_output_take(run);

    pthread_mutex_unlock(&run->lock);

    return out;
}


wf_run_output_t *
wf_output_take(wf_engine_run_t *run)
{
    wf_run_output_t  *out;

    out = run->output;

    run->output = NULL;
    run->last_output = &run->output;
    run->woken = 0;

    if (run->output_size >= WF_MAX_OUTPUT) {
        (void) pthread_cond_broadcast(&run->ended);
    }

    run->output_size = 0;

    return out;
}


void
wf_run_complete(wf_engine_run_t *run, wf_value_t *result, wf_run_output_t *out)
{
    run->result = result;

    wf_output_add(run, out);
    wf_run_end(run, WF_RUN_COMPLETED);
}


void
wf_run_fail(wf_engine_run_t *run, uint32_t step, wf_slice_t text, int final)
{
    const wf_graph_step_t  *s;

    s = &run->graph->steps[step];

    wf_buf_adds(&run->error, "Error in step '");
    wf_buf_adds(&run->error, s->name);
    wf_buf_adds(&run->error, "': ");
    wf_buf_add(&run->error, text.data, text.len);

    if (run->error.failed) {
        run->error_text.data = s->no_memory;
        run->error_text.len = strlen(s->no_memory);

    } else {
        run->error_text.data = run->error.data;
        run->error_text.len = run->error.len;
    }

    run->final = final != 0;

    wf_run_end_without_result(run, WF_RUN_FAILED);
}


void
wf_run_fail_idle(wf_engine_run_t *run)
{
    run->error_text = wf_slice("The workflow has nothing left to do and no"
                               " event to wait for.");
    run->final = 1;

    wf_run_end_without_result(run, WF_RUN_FAILED);
}


void
wf_run_time_out(wf_engine_run_t *run, const char *seconds)
{
    pthread_mutex_lock(&run->lock);

    if (!wf_run_ended(run)) {
        wf_buf_adds(&run->error, "Operation timed out after ");
        wf_buf_adds(&run->error, seconds);
        wf_buf_adds(&run->error, " seconds");

        run->error_text = wf_slice("Operation timed out");

        if (!run->error.failed) {
            run->error_text.data = run->error.data;
            run->error_text.len = run->error.len;
        }

        wf_run_end_without_result(run, WF_RUN_FAILED);
    }

    pthread_mutex_unlock(&run->lock);
}


void
wf_run_abort(wf_engine_run_t *run, const char *text, int final)
{
    pthread_mutex_lock(&run->lock);

    if (!wf_run_ended(run)) {
        run->error_text.data = text;
        run->error_text.len = strlen(text);
        run->final = final;

        wf_run_end_without_result(run, WF_RUN_FAILED);
    }

    pthread_mutex_unlock(&run->lock);
}


void
wf_run_cancel(wf_engine_run_t *run)
{
    pthread_mutex_lock(&run->lock);

    if (!wf_run_ended(run)) {
        wf_run_end_without_result(run, WF_RUN_CANCELLED);
    }

    pthread_mutex_unlock(&run->lock);
}


static void
wf_run_end_without_result(wf_engine_run_t *run, wf_run_state_t state)
{
    wf_output_add(run, run->no_result);
    run->no_result = NULL;

    wf_run_end(run, state);
}


static void
wf_run_end(wf_engine_run_t *run, wf_run_state_t state)
{
    __atomic_store_n(&run->state, (int) state, __ATOMIC_RELEASE);

    (void) pthread_cond_broadcast(&run->ended);
}


wf_slice_t
wf_run_result(const wf_engine_run_t *run)
{
    wf_slice_t  result;

    result.data = run->result ? run->result->data : NULL;
    result.len = run->result ? run->result->len : 0;

    return result;
}


wf_slice_t
wf_run_error(const wf_engine_run_t *run)
{
    return run->error_text;
}


int
wf_run_error_final(const wf_engine_run_t *run)
{
    return run->final;
}
