/*
 * What the engine's tests share: workflows made of a table of steps, and an
 * owner that lends its runs threads as nginx does.
 */

#ifndef TEST_ENGINE_H_INCLUDED_
#define TEST_ENGINE_H_INCLUDED_


#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tap.h"
#include "wf_json.h"
#include "wf_run.h"


#define TEST_UNUSED   __attribute__((unused))
#define TEST_THREADS  256
#define TEST_PATIENCE 20        /* seconds */

#define STEP(step, accepted, produced)                                        \
    { .name = #step, .accepts = accepted, .produces = produced, .run = step }

#define WORKFLOW(variable, steps)                                             \
    static const wf_workflow_t  variable = WF_WORKFLOW(#variable, "", steps)

#define send_text(run, type, json)  wf_send(run, type, json, strlen(json))
#define set_text(run, key, json)    wf_set(run, key, json, strlen(json))


typedef struct {
    wf_graph_t          *graph;
    wf_engine_run_t     *run;
    pthread_mutex_t      lock;
    pthread_cond_t       changed;
    int                  signals;       /* wakes and returns not seen yet */
    unsigned             wakes;
    unsigned             returned;
    unsigned             nthreads;
    pthread_t            threads[TEST_THREADS];
    char                *output;        /* a line for each */
    size_t               len;
    char                *log;
    volatile sig_atomic_t  leaving;
} owner_t;


/* A place for steps to wait until the test lets them go. */

typedef struct {
    pthread_mutex_t      lock;
    pthread_cond_t       changed;
    unsigned             arrived;
    int                  open;
} gate_t;

#define GATE  { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 }


static TEST_UNUSED void
test_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t ms)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);

    ts.tv_sec += (time_t) (ms / 1000);
    ts.tv_nsec += (long) (ms % 1000) * 1000000;

    if (ts.tv_nsec >= 1000000000) {
        ts.tv_nsec -= 1000000000;
        ts.tv_sec++;
    }

    if (pthread_cond_timedwait(cond, lock, &ts) == ETIMEDOUT
        && ms >= TEST_PATIENCE * 1000)
    {
        printf("Bail out! waited too long\n");
        exit(1);
    }
}


static TEST_UNUSED void
gate_pass(gate_t *gate)
{
    pthread_mutex_lock(&gate->lock);

    gate->arrived++;
    pthread_cond_broadcast(&gate->changed);

    while (!gate->open) {
        test_wait(&gate->changed, &gate->lock, TEST_PATIENCE * 1000);
    }

    pthread_mutex_unlock(&gate->lock);
}


static TEST_UNUSED void
gate_await(gate_t *gate, unsigned n)
{
    pthread_mutex_lock(&gate->lock);

    while (gate->arrived < n) {
        test_wait(&gate->changed, &gate->lock, TEST_PATIENCE * 1000);
    }

    pthread_mutex_unlock(&gate->lock);
}


static TEST_UNUSED void
gate_open(gate_t *gate)
{
    pthread_mutex_lock(&gate->lock);

    gate->open = 1;
    pthread_cond_broadcast(&gate->changed);

    pthread_mutex_unlock(&gate->lock);
}


static TEST_UNUSED wf_slice_t
test_slice(const char *text)
{
    wf_slice_t  s;

    s.data = text;
    s.len = strlen(text);

    return s;
}


static TEST_UNUSED wf_graph_t *
test_graph(const wf_workflow_t *w, wf_buf_t *error)
{
    wf_plugin_t  plugin = { WF_ABI_MAJOR, WF_ABI_MINOR, sizeof(wf_plugin_t),
                            sizeof(wf_workflow_t), sizeof(wf_step_t), 1, w };

    return wf_graph_create(&plugin, 0, error);
}


static TEST_UNUSED void
owner_wake(void *data)
{
    owner_t  *o = data;

    pthread_mutex_lock(&o->lock);

    o->wakes++;
    o->signals++;
    pthread_cond_broadcast(&o->changed);

    pthread_mutex_unlock(&o->lock);
}


static TEST_UNUSED void
owner_log(void *data, const char *step, wf_log_level_t level, const char *text)
{
    char      line[1200];
    owner_t  *o = data;

    (void) snprintf(line, sizeof(line), "%s %d %s", step, (int) level, text);

    pthread_mutex_lock(&o->lock);

    free(o->log);
    o->log = strdup(line);

    pthread_mutex_unlock(&o->lock);
}


/* checkpoint_ms: see wf_run_options_t. */

static TEST_UNUSED void
owner_init_saving(owner_t *o, const wf_workflow_t *w, uint32_t checkpoint_ms)
{
    wf_buf_t          error = WF_BUF_INIT;
    wf_run_options_t  options;

    memset(o, 0, sizeof(owner_t));
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->changed, NULL);

    o->graph = test_graph(w, &error);

    if (o->graph == NULL) {
        printf("Bail out! %.*s\n", (int) error.len, error.data);
        exit(1);
    }

    memset(&options, 0, sizeof(options));
    options.task_id = wf_slice("task");
    options.session_id = wf_slice("session");
    options.attempt = 1;
    options.checkpoint_ms = checkpoint_ms;
    options.wake = owner_wake;
    options.log = owner_log;
    options.data = o;
    options.leaving = &o->leaving;

    o->run = wf_run_create(o->graph, &options);
}


static TEST_UNUSED void
owner_init(owner_t *o, const wf_workflow_t *w)
{
    owner_init_saving(o, w, 0);
}


static TEST_UNUSED void *
owner_thread(void *data)
{
    owner_t  *o = data;

    wf_run_work(o->run);

    pthread_mutex_lock(&o->lock);

    o->returned++;
    o->signals++;
    pthread_cond_broadcast(&o->changed);

    pthread_mutex_unlock(&o->lock);

    return NULL;
}


static TEST_UNUSED void
owner_keep(owner_t *o, wf_run_output_t *out)
{
    wf_run_output_t  *next;

    for ( /* void */ ; out != NULL; out = next) {
        next = out->next;

        o->output = realloc(o->output, o->len + out->len + 2);
        memcpy(o->output + o->len, out->data, out->len);
        o->len += out->len;
        o->output[o->len++] = '\n';
        o->output[o->len] = '\0';

        wf_run_output_free(out);
    }
}


static TEST_UNUSED void
owner_lend(owner_t *o)
{
    unsigned  n;

    for (n = wf_run_threads(o->run); n > 0; n--) {
        if (o->nthreads == TEST_THREADS
            || pthread_create(&o->threads[o->nthreads++], NULL, owner_thread,
                              o)
               != 0)
        {
            printf("Bail out! no more threads\n");
            exit(1);
        }
    }
}


/* What the event loop does after each event. */

static TEST_UNUSED void
owner_step(owner_t *o)
{
    owner_keep(o, wf_run_take_output(o->run));
    owner_lend(o);
}


static TEST_UNUSED void
owner_join(owner_t *o)
{
    unsigned  i;

    for (i = 0; i < o->nthreads; i++) {
        pthread_join(o->threads[i], NULL);
    }

    o->nthreads = 0;
    owner_step(o);
}


/* Lend threads until the run has ended or waits. */

static TEST_UNUSED wf_run_state_t
owner_drive(owner_t *o)
{
    int64_t         delay;
    wf_run_state_t  state;

    for ( ;; ) {
        owner_step(o);
        state = wf_run_state(o->run);

        if (state > WF_RUN_DELAYED) {
            break;
        }

        delay = wf_run_delay(o->run);

        pthread_mutex_lock(&o->lock);

        if (o->signals == 0 && delay != 0) {
            test_wait(&o->changed, &o->lock,
                      delay > 0 ? delay : TEST_PATIENCE * 1000);
        }

        o->signals = 0;

        pthread_mutex_unlock(&o->lock);

        wf_run_wake(o->run);
    }

    owner_join(o);

    return state;
}


static TEST_UNUSED wf_run_state_t
owner_run(owner_t *o, const char *input)
{
    if (wf_run_start(o->run, test_slice(input)) != 0) {
        printf("Bail out! no memory\n");
        exit(1);
    }

    return owner_drive(o);
}


static TEST_UNUSED void
owner_free(owner_t *o)
{
    wf_run_free(o->run);
    wf_graph_free(o->graph);
    free(o->output);
    free(o->log);
    pthread_cond_destroy(&o->changed);
    pthread_mutex_destroy(&o->lock);
}


static TEST_UNUSED void
is_slice(wf_slice_t got, const char *expected, const char *name)
{
    is_mem(got.data, got.len, expected, name);
}


static TEST_UNUSED void
completes(const wf_workflow_t *w, const char *input, const char *result,
    const char *name)
{
    owner_t  o;

    owner_init(&o, w);
    is_int(owner_run(&o, input), WF_RUN_COMPLETED, name);
    is_slice(wf_run_result(o.run), result, name);
    owner_free(&o);
}


static TEST_UNUSED void
fails(const wf_workflow_t *w, const char *input, const char *error, int final,
    const char *name)
{
    owner_t  o;

    owner_init(&o, w);
    is_int(owner_run(&o, input), WF_RUN_FAILED, name);
    is_slice(wf_run_error(o.run), error, name);
    is_int(wf_run_error_final(o.run), final, name);
    is_str(o.output, "{\"result\": null}\n", name);
    owner_free(&o);
}


#endif /* TEST_ENGINE_H_INCLUDED_ */
