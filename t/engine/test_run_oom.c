/*
 * Every allocation fails in turn, alone and with all that follow.  Linked with
 * -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
 */

#include "engine.h"


static long  left = -1;         /* allocations until one fails; -1: none does */
static int   lasting;          /* all later ones fail too */
static int   failed;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);


static int
fails_now(void)
{
    if (left < 0) {
        return 0;
    }

    if (left > 0) {
        left--;
        return 0;
    }

    failed = 1;

    if (!lasting) {
        left = -1;
    }

    return 1;
}

void *
__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
    return fails_now() ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t size)
{
    return fails_now() ? NULL : __real_realloc(p, size);
}


static char  result[256];      /* the fields of a TaskResultEvent */


/* A workflow that uses all that allocates. */

static wf_status_t
first(wf_run_t *run, const wf_event_t *ev)
{
    char         *p;
    size_t        len;
    const char   *id, *text;
    wf_status_t   status;

    p = wf_alloc(run, 5000);
    if (p == NULL) {
        return wf_fail(run, "out of memory");
    }

    p[4999] = '\0';

    if ((status = send_text(run, "A", "{\"n\": 1}")) != WF_OK
        || (status = wf_send_to(run, "second", "B", "{}", 2)) != WF_OK
        || (status = wf_stream(run, "Progress", "{\"n\": 1}", 8)) != WF_OK
        || (status = set_text(run, "k", "{\"v\": [1]}")) != WF_OK
        || (status = wf_event_text(run, ev, "text", &text, &len)) != WF_OK
        || (status = wf_send_task(run, "x", "{}", 2, &id)) != WF_OK)
    {
        return status;
    }

    (void) snprintf(result, sizeof(result), "{\"task_id\": \"%s\"}", id);

    return send_text(run, WF_INPUT_REQUIRED_EVENT, "{\"prefix\": \"?\"}");
}

static wf_status_t
second(wf_run_t *run, const wf_event_t *ev)
{
    size_t             len;
    const char        *json;
    wf_status_t        status;
    const wf_event_t  *events[3];

    if (strcmp(ev->type, WF_TASK_RESULT_EVENT) == 0) {
        return WF_OK;
    }

    status = wf_collect(run, ev, WF_TYPES("B", WF_HUMAN_RESPONSE_EVENT, "A"),
                        3, events);

    if (status == WF_AGAIN) {
        return WF_OK;
    }

    if (status == WF_OK) {
        status = wf_get(run, "k", &json, &len);
    }

    return status == WF_OK ? wf_stop(run, json, len) : status;
}

static const wf_step_t  steps[] = {
    STEP(first, WF_TYPES(WF_START_EVENT),
         WF_TYPES("A", "B", WF_INPUT_REQUIRED_EVENT)),
    STEP(second, WF_TYPES("A", "B", WF_HUMAN_RESPONSE_EVENT,
                          WF_TASK_RESULT_EVENT), WF_TYPES(WF_STOP_EVENT))
};
static const wf_workflow_t  workflow = WF_WORKFLOW("w", "d", steps);


/* Each wake saves the run, in the middle of a step. */

typedef struct {
    wf_engine_run_t  *run;
    wf_buf_t          saved;
    int               failed;
} keeper_t;


static void
save(void *data)
{
    wf_buf_t          b = WF_BUF_INIT;
    keeper_t         *k = data;
    wf_run_output_t  *out, *next;

    if (wf_run_checkpoint(k->run, &b, &out) == 0) {
        wf_buf_free(&k->saved);
        k->saved = b;

    } else {
        wf_buf_free(&b);
        k->failed = 1;
    }

    for ( /* void */ ; out != NULL; out = next) {
        next = out->next;
        wf_run_output_free(out);
    }
}


static void
work(wf_engine_run_t *run)
{
    unsigned          n;
    wf_run_output_t  *out, *next;

    for (out = wf_run_take_output(run); out != NULL; out = next) {
        next = out->next;
        wf_run_output_free(out);
    }

    for (n = wf_run_threads(run); n > 0; n--) {
        wf_run_work(run);
    }
}


static int
says_no_memory(wf_slice_t text)
{
    char  copy[256];

    (void) snprintf(copy, sizeof(copy), "%.*s", (int) text.len, text.data);

    return strstr(copy, "Error in step '") == copy
           && strstr(copy, "': out of memory") != NULL;
}


/* 1: got to the end; 0: no memory, told properly; -1: anything else. */

static int
ended(wf_engine_run_t *run)
{
    switch (wf_run_state(run)) {
    case WF_RUN_COMPLETED:
        return wf_slice_eq(wf_run_result(run), "{\"v\": [1]}") ? 1 : -1;
    case WF_RUN_FAILED:
        return says_no_memory(wf_run_error(run)) ? 0 : -1;
    default:
        return -1;
    }
}


/* Send what is to be sent; a result, one that is early, then the answer. */

static int
answer(wf_engine_run_t *run)
{
    char                  early[256], *number;
    const wf_run_task_t  *task;

    while ((task = wf_run_take_task(run)) != NULL) {
        wf_run_task_sent(run, task);
    }

    (void) strcpy(early, result);
    number = strstr(early, "-1\"");

    if (number != NULL) {
        number[1] = '2';

        if (wf_run_event(run, WF_TASK_RESULT_EVENT, test_slice(early)) != 0
            || wf_run_event(run, WF_TASK_RESULT_EVENT, test_slice(result))
               != 0)
        {
            return -1;
        }
    }

    return wf_run_event(run, WF_HUMAN_RESPONSE_EVENT, wf_slice("{}"));
}


static int
go_on(const wf_graph_t *g, const wf_run_options_t *options, wf_slice_t saved)
{
    int               rc;
    wf_engine_run_t  *run;

    run = wf_run_create(g, options);
    if (run == NULL) {
        return 0;
    }

    rc = wf_run_restore(run, saved);

    if (rc == 0) {
        rc = answer(run);

        if (rc == 0) {
            work(run);
            rc = ended(run);

        } else {
            rc = rc == -1 ? 0 : -1;
        }

    } else {
        rc = rc == -2 ? 0 : -1;
    }

    wf_run_free(run);

    return rc;
}


static int
everything(void)
{
    int                rc;
    keeper_t           k = { NULL, WF_BUF_INIT, 0 };
    wf_buf_t           b = WF_BUF_INIT;
    wf_graph_t        *g;
    wf_engine_run_t   *run;
    wf_run_options_t   options;

    g = test_graph(&workflow, &b);

    if (g == NULL) {
        rc = b.failed || wf_slice_eq((wf_slice_t) { b.data, b.len },
                                     "out of memory") ? 0 : -1;
        wf_buf_free(&b);
        return rc;
    }

    memset(&options, 0, sizeof(options));
    options.task_id = wf_slice("task");
    options.wake = save;
    options.data = &k;

    run = wf_run_create(g, &options);

    if (run == NULL) {
        wf_graph_free(g);
        return 0;
    }

    rc = 0;
    k.run = run;
    options.wake = NULL;

    if (wf_run_set(run, wf_slice("given"), wf_slice("1")) == 0
        && wf_run_start(run, wf_slice("{\"text\": \"x\"}")) == 0)
    {
        work(run);

        if (wf_run_state(run) != WF_RUN_WAITING) {
            rc = ended(run);

        } else if (wf_run_save(run, &b) == 0) {
            rc = go_on(g, &options, (wf_slice_t) { b.data, b.len });
        }

        if (k.saved.len == 0 || k.failed) {
            rc = rc == 1 ? 0 : rc;

        } else if (rc == 1) {
            rc = go_on(g, &options,
                       (wf_slice_t) { k.saved.data, k.saved.len });
        }
    }

    wf_buf_free(&k.saved);
    wf_buf_free(&b);
    wf_run_free(run);
    wf_graph_free(g);

    return rc;
}


static void
test(const char *name)
{
    int   rc, wrong;
    long  n;

    wrong = 0;
    n = 0;

    do {
        left = n++;
        failed = 0;

        rc = everything();

        left = -1;

        if (rc != (failed ? 0 : 1)) {
            printf("# allocation %ld: %d\n", n, rc);
            wrong++;
        }

    } while (failed && n < 10000);

    is_int(wrong, 0, name);
    ok(n > 40 && n < 10000, "%ld allocations failed", n - 1);
    is_int(rc, 1, "the last run completes");
}


int
main(void)
{
    test("one allocation fails: it is told, and nothing hangs");

    lasting = 1;
    test("so when all that follow fail");

    return done_testing();
}
