/* Runs that are saved while they go on. */

#include "engine.h"


static gate_t    gate, other;
static unsigned  calls[3];


static void
shut(gate_t *g)
{
    memset(g, 0, sizeof(gate_t));
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->changed, NULL);
}


static void
reset(void)
{
    shut(&gate);
    shut(&other);
    memset(calls, 0, sizeof(calls));
}


static void
count(unsigned i)
{
    (void) __atomic_add_fetch(&calls[i], 1, __ATOMIC_SEQ_CST);
}


/* The saved text, NULL: nothing was saved; what was taken with it is kept as
 * output. */

static char *
checkpoint(owner_t *o, int expected, const char *name)
{
    int               rc;
    char             *text;
    wf_buf_t          b = WF_BUF_INIT;
    wf_run_output_t  *out;

    rc = wf_run_checkpoint(o->run, &b, &out);

    is_int(rc, expected, name);
    is_int(b.len != 0, rc == 0, name);

    owner_keep(o, out);

    text = rc == 0 ? strndup(b.data, b.len) : NULL;
    wf_buf_free(&b);

    return text;
}


static void
await_due(owner_t *o)
{
    for ( ;; ) {
        owner_step(o);

        if (wf_run_save_due(o->run)) {
            break;
        }

        pthread_mutex_lock(&o->lock);

        while (o->signals == 0) {
            test_wait(&o->changed, &o->lock, TEST_PATIENCE * 1000);
        }

        o->signals = 0;

        pthread_mutex_unlock(&o->lock);
    }
}


/* Another process goes on with it. */

static void
go_on(owner_t *o, const wf_workflow_t *w, const char *saved)
{
    owner_init(o, w);
    is_int(wf_run_restore(o->run, test_slice(saved)), 0, "restored");
    gate_open(&gate);
    gate_open(&other);
    is_int(owner_drive(o), WF_RUN_COMPLETED, "goes on and completes");
}


/* Three steps; the second one stops, streams, stops and streams. */

static wf_status_t
one(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    count(0);

    if (wf_stream(run, "Progress", "{\"at\": 1}", 9) != WF_OK
        || wf_set(run, "k", "\"v\"", 3) != WF_OK
        || wf_sleep(run, 5) != WF_OK)
    {
        return WF_ERROR;
    }

    return send_text(run, "Two", "{\"from\": 1}");
}

static wf_status_t
two(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    count(1);
    gate_pass(&other);

    if (send_text(run, "Three", "{\"from\": 2}") != WF_OK
        || wf_stream(run, "Progress", "{\"at\": 2}", 9) != WF_OK)
    {
        return WF_ERROR;
    }

    gate_pass(&gate);

    return wf_stream(run, "Progress", "{\"at\": 3}", 9);
}

static wf_status_t
three(wf_run_t *run, const wf_event_t *ev)
{
    size_t       len;
    const char  *json;

    (void) ev;

    count(2);

    return wf_get(run, "k", &json, &len) == WF_OK ? wf_stop(run, json, len)
                                                  : WF_ERROR;
}

static const wf_step_t  chain_steps[] = {
    STEP(one, WF_TYPES(WF_START_EVENT), WF_TYPES("Two")),
    STEP(three, WF_TYPES("Three"), WF_TYPES(WF_STOP_EVENT)),
    STEP(two, WF_TYPES("Two"), WF_TYPES("Three"))
};
WORKFLOW(chain, chain_steps);


static void
test_after_a_step(void)
{
    char     *saved;
    owner_t   o;

    reset();
    owner_init_saving(&o, &chain, 1);
    (void) wf_run_start(o.run, wf_slice("{}"));
    is_int(wf_run_save_due(o.run), 0, "not due before a step has ended");
    owner_step(&o);
    await_due(&o);
    ok(o.wakes > 0, "the owner is told that it is due");
    gate_open(&other);
    gate_await(&gate, 1);

    saved = checkpoint(&o, 0, "saved");

    is_str(saved, "{\"version\": 1, \"context\": "
           "{\"k\": \"\\\"v\\\"\"}, \"changed\": [\"k\"], \"pending\": "
           "[{\"step\": \"two\", \"type\": \"Two\", "
           "\"data\": \"{\\\"from\\\": 1}\", \"streamed\": 1}]}",
           "what the step in progress was given, not what it has sent");
    is_str(o.output, "{\"at\": 1}\n{\"at\": 2}\n",
           "what was put out until then");
    ok(wf_run_take_output(o.run) == NULL, "was taken in one with it");
    is_int(wf_run_save_due(o.run), 0, "not due any more");

    gate_open(&gate);
    is_int(owner_drive(&o), WF_RUN_COMPLETED, "the run was not disturbed");
    is_str(o.output,
           "{\"at\": 1}\n{\"at\": 2}\n{\"at\": 3}\n{\"result\": \"v\"}\n",
           "what came later was not taken");
    is_int(wf_run_save_due(o.run), 0, "an ended run is not due");
    owner_free(&o);

    reset();
    go_on(&o, &chain, saved);
    is_int(calls[0], 0, "after the last step that had ended");
    is_int(calls[1], 1, "the step that was in progress runs again");
    is_int(calls[2], 1, "what it sends runs once");
    is_str(o.output, "{\"at\": 3}\n{\"result\": \"v\"}\n",
           "nothing is put out twice");
    owner_free(&o);

    free(saved);
}


static void
test_not_due(uint32_t ms, const char *name)
{
    owner_t  o;

    reset();
    owner_init_saving(&o, &chain, ms);
    (void) wf_run_start(o.run, wf_slice("{}"));
    owner_step(&o);
    gate_open(&other);
    gate_await(&gate, 1);
    is_int(wf_run_save_due(o.run), 0, name);
    gate_open(&gate);
    (void) owner_drive(&o);
    owner_free(&o);
}


/*
 * A step in progress whose events are worked on already: two of three pieces
 * are done and collected.  Going on from there, with the step run again, would
 * do them twice: nothing is saved until the step has ended.
 */

static wf_status_t
split(wf_run_t *run, const wf_event_t *ev)
{
    int   i;
    char  json[32];

    (void) ev;

    count(0);

    for (i = 1; i <= 3; i++) {
        (void) snprintf(json, sizeof(json), "{\"n\": %d}", i);

        if (send_text(run, "Piece", json) != WF_OK) {
            return WF_ERROR;
        }

        if (i == 2) {
            (void) wf_cancelled(run);
            gate_pass(&gate);
        }
    }

    return WF_OK;
}

static wf_status_t
piece(wf_run_t *run, const wf_event_t *ev)
{
    return wf_send(run, "Done", ev->data, ev->len);
}

static wf_status_t
join(wf_run_t *run, const wf_event_t *ev)
{
    char               text[128];
    wf_status_t        status;
    const wf_event_t  *e[3];

    status = wf_collect(run, ev, WF_TYPES("Done", "Done", "Done"), 3, e);

    if (status != WF_OK) {
        count(2);
        return status == WF_AGAIN ? WF_OK : status;
    }

    gate_pass(&other);

    (void) snprintf(text, sizeof(text), "[%s, %s, %s]", e[0]->data,
                    e[1]->data, e[2]->data);

    return wf_stop(run, text, strlen(text));
}

static const wf_step_t  split_steps[] = {
    { .name = "join", .accepts = WF_TYPES("Done"),
      .produces = WF_TYPES(WF_STOP_EVENT), .run = join, .num_workers = 1 },
    { .name = "piece", .accepts = WF_TYPES("Piece"),
      .produces = WF_TYPES("Done"), .run = piece, .num_workers = 1 },
    STEP(split, WF_TYPES(WF_START_EVENT), WF_TYPES("Piece"))
};
WORKFLOW(splitting, split_steps);

#define PIECES  "[{\"n\": 1}, {\"n\": 2}, {\"n\": 3}]"


static void
test_events_worked_on(void)
{
    char     *saved;
    owner_t   o;

    reset();
    owner_init(&o, &splitting);
    (void) wf_run_start(o.run, wf_slice("{}"));

    /* until both pieces were collected and their threads have returned */

    for ( ;; ) {
        owner_step(&o);

        pthread_mutex_lock(&o.lock);

        if (__atomic_load_n(&calls[2], __ATOMIC_SEQ_CST) == 2
            && wf_run_active(o.run) == 1)
        {
            pthread_mutex_unlock(&o.lock);
            break;
        }

        while (o.signals == 0) {
            test_wait(&o.changed, &o.lock, TEST_PATIENCE * 1000);
        }

        o.signals = 0;

        pthread_mutex_unlock(&o.lock);
    }

    gate_await(&gate, 1);

    saved = checkpoint(&o, 1, "pieces are worked on");
    free(saved);

    gate_open(&gate);
    gate_await(&other, 1);

    saved = checkpoint(&o, 0, "the step that sent them has ended");

    gate_open(&other);
    is_int(owner_drive(&o), WF_RUN_COMPLETED, "pieces complete");
    is_slice(wf_run_result(o.run), PIECES, "each of them once");
    owner_free(&o);

    reset();

    go_on(&o, &splitting, saved);
    is_slice(wf_run_result(o.run), PIECES, "pieces: each once again");
    is_int(calls[0], 0, "pieces: none is sent again");
    owner_free(&o);

    free(saved);
}


/* A run that has ended meanwhile is not saved, and keeps its last output. */

static void
test_ended(void)
{
    owner_t  o;

    reset();
    gate_open(&gate);
    gate_open(&other);
    owner_init(&o, &chain);
    (void) wf_run_start(o.run, wf_slice("{}"));
    (void) wf_run_threads(o.run);
    wf_run_work(o.run);
    is_int(wf_run_state(o.run), WF_RUN_COMPLETED, "ended");
    ok(checkpoint(&o, 1, "an ended run is not saved") == NULL, "nothing");
    ok(o.output == NULL, "nothing is taken");
    owner_step(&o);
    ok(strstr(o.output, "{\"result\": \"v\"}\n") != NULL, "it is there");
    owner_free(&o);
}


int
main(void)
{
    test_after_a_step();
    test_not_due(0, "never due");
    test_not_due(3600 * 1000, "due in an hour");
    test_events_worked_on();
    test_ended();

    return done_testing();
}
