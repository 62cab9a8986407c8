/* Tasks for other services, and their results. */

#include <unistd.h>

#include "engine.h"


static gate_t    gate;
static unsigned  calls;
static char      ids[8][300];



static void
reset(void)
{
    memset(&gate, 0, sizeof(gate));
    pthread_mutex_init(&gate.lock, NULL);
    pthread_cond_init(&gate.changed, NULL);
    memset(ids, 0, sizeof(ids));
    calls = 0;
}


static wf_status_t
send_task(wf_run_t *run, const char *service, const char *input, unsigned i)
{
    const char   *id;
    wf_status_t   status;

    status = wf_send_task(run, service, input, strlen(input), &id);

    if (status == WF_OK) {
        (void) snprintf(ids[i], sizeof(ids[i]), "%s", id);
    }

    return status;
}


/* What the owner is to send: a line for each, "service input id". */

static char *
sends(owner_t *o, int tell)
{
    char                 *text, *end;
    const wf_run_task_t  *task;

    text = calloc(1, 65536);
    end = text;

    while ((task = wf_run_take_task(o->run)) != NULL) {
        end += sprintf(end, "%.*s %.*s %.*s\n", (int) task->service.len,
                       task->service.data, (int) task->input.len,
                       task->input.data, (int) task->id.len, task->id.data);

        if (tell) {
            wf_run_task_sent(o->run, task);
        }
    }

    return text;
}


static unsigned
count(const char *text)
{
    unsigned  n;

    for (n = 0; *text != '\0'; text++) {
        n += *text == '\n';
    }

    return n;
}


static void
result(owner_t *o, const char *id, const char *value)
{
    char  text[1024];

    (void) snprintf(text, sizeof(text), "{\"task_id\": \"%s\", "
                    "\"status\": \"completed\", \"result\": %s}", id, value);
    is_int(wf_run_event(o->run, WF_TASK_RESULT_EVENT, test_slice(text)), 0,
           "an event");
}


static char *
saved_of(owner_t *o)
{
    char      *text;
    wf_buf_t   b = WF_BUF_INIT;

    is_int(wf_run_save(o->run, &b), 0, "saved");
    text = strndup(b.data, b.len);
    wf_buf_free(&b);

    return text;
}


static char *
checkpoint(owner_t *o)
{
    char             *text;
    wf_buf_t          b = WF_BUF_INIT;
    wf_run_output_t  *out;

    is_int(wf_run_checkpoint(o->run, &b, &out), 0, "checkpoint");
    owner_keep(o, out);
    text = strndup(b.data, b.len);
    wf_buf_free(&b);

    return text;
}


static void
restore(owner_t *o, const wf_workflow_t *w, const char *saved)
{
    owner_init(o, w);
    is_int(wf_run_restore(o->run, test_slice(saved)), 0, "restored");
}


/* Sends three, two of them equal, and waits for three results. */

static wf_status_t
fan(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    calls++;

    if (send_task(run, "x", "{\"n\": 1}", 0) != WF_OK
        || send_task(run, "y", " {\"n\": 1} ", 1) != WF_OK
        || send_task(run, "x", "{\"n\": 1}", 2) != WF_OK)
    {
        return WF_ERROR;
    }

    return WF_OK;
}

static wf_status_t
joins(wf_run_t *run, const wf_event_t *ev)
{
    char               text[1024];
    wf_status_t        status;
    const wf_event_t  *e[3];

    status = wf_collect(run, ev, WF_TYPES(WF_TASK_RESULT_EVENT,
                        WF_TASK_RESULT_EVENT, WF_TASK_RESULT_EVENT), 3, e);

    if (status != WF_OK) {
        return status == WF_AGAIN ? WF_OK : status;
    }

    (void) snprintf(text, sizeof(text), "[%s, %s, %s]",
                    strrchr(e[0]->data, ':') + 2, strrchr(e[1]->data, ':') + 2,
                    strrchr(e[2]->data, ':') + 2);

    /* fields end with "}" */

    for (char *p = text; *p != '\0'; p++) {
        if (*p == '}') {
            memmove(p, p + 1, strlen(p));
        }
    }

    return wf_stop(run, text, strlen(text));
}

static const wf_step_t  fan_steps[] = {
    STEP(fan, WF_TYPES(WF_START_EVENT), NULL),
    { .name = "joins", .accepts = WF_TYPES(WF_TASK_RESULT_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT), .run = joins, .num_workers = 1 }
};
WORKFLOW(fanning, fan_steps);


static void
test_results(void)
{
    char     *text, *saved;
    owner_t   o;

    reset();
    owner_init(&o, &fanning);
    is_int(owner_run(&o, "{}"), WF_RUN_WAITING, "waits for results");
    is_int(wf_run_unsent_tasks(o.run), 3, "none is sent yet");
    text = sends(&o, 1);
    is_int(count(text), 3, "three tasks");
    ok(strncmp(text, "x {\"n\": 1} task/", 16) == 0, "in order");
    ok(strstr(text, "\ny {\"n\": 1} task/") != NULL, "as they were checked");
    is_int(wf_run_unsent_tasks(o.run), 0, "all are sent");
    free(text);

    ok(strncmp(ids[0], "task/", 5) == 0 && strlen(ids[0]) == 5 + 32 + 2,
       "an id: %s", ids[0]);
    ok(strncmp(ids[0], ids[1], 37) != 0, "another task has another one");
    ok(strncmp(ids[0], ids[2], 38) == 0, "an equal one the same digest");
    is_str(ids[0] + 37, "-1", "and a number of its own");
    is_str(ids[2] + 37, "-2", "which counts");

    result(&o, ids[2], "\"b\"");
    is_int(owner_drive(&o), WF_RUN_WAITING, "one result");
    result(&o, ids[2], "\"again\"");
    result(&o, "task/00000000000000000000000000000000-1", "\"strange\"");
    result(&o, "other", "\"other\"");
    is_int(wf_run_event(o.run, WF_TASK_RESULT_EVENT, wf_slice("{}")), 0, "-");
    is_int(wf_run_event(o.run, WF_TASK_RESULT_EVENT,
                        wf_slice("{\"task_id\": 1}")), 0, "-");
    is_int(owner_drive(&o), WF_RUN_WAITING, "what is none is left out");

    saved = saved_of(&o);
    owner_free(&o);

    restore(&o, &fanning, saved);
    text = saved_of(&o);
    is_str(text, saved, "is saved as it was");
    free(text);
    text = sends(&o, 1);
    is_str(text, "", "what is sent is not sent again");
    free(text);
    is_int(wf_run_state(o.run), WF_RUN_WAITING, "waits again");
    result(&o, ids[2], "\"again\"");
    result(&o, ids[0], "\"a\"");
    is_int(owner_drive(&o), WF_RUN_WAITING, "two results");
    result(&o, ids[1], "\"c\"");
    is_int(owner_drive(&o), WF_RUN_COMPLETED, "three results");
    is_slice(wf_run_result(o.run), "[\"b\", \"a\", \"c\"]", "each once");
    is_int(calls, 1, "sent once");
    owner_free(&o);
    free(saved);
}


/* Saved before the tasks are known to be sent: they are sent again. */

static void
test_unsent(void)
{
    char     *first, *again, *saved, *more;
    owner_t   o;

    reset();
    owner_init(&o, &fanning);
    (void) owner_run(&o, "{}");
    saved = saved_of(&o);
    first = sends(&o, 0);
    again = saved_of(&o);
    is_str(again, saved, "taken is not sent");
    free(again);
    owner_free(&o);

    restore(&o, &fanning, saved);
    is_int(wf_run_unsent_tasks(o.run), 3, "to be sent again");
    more = saved_of(&o);
    is_str(more, saved, "is saved as it was");
    free(more);
    again = sends(&o, 1);
    is_str(again, first, "the same tasks");
    owner_free(&o);

    free(first);
    free(again);
    free(saved);
}


/* A run that begins anew sends what it has sent before; results that are there
 * already come in their place. */

static void
test_anew(void)
{
    char     *first, *again, *saved;
    owner_t   o;

    reset();
    owner_init(&o, &fanning);
    (void) owner_run(&o, "{}");
    first = sends(&o, 1);
    owner_free(&o);

    owner_init(&o, &fanning);
    result(&o, ids[2], "2");
    result(&o, ids[1], "1");
    result(&o, ids[1], "111");
    is_int(wf_run_state(o.run), WF_RUN_WAITING, "nothing to do yet");
    saved = saved_of(&o);
    is_int(owner_run(&o, "{}"), WF_RUN_WAITING, "one is still to come");
    again = sends(&o, 1);
    is_int(count(again), 1, "only that is sent");
    ok(strncmp(again, first, strlen(again)) == 0, "with the id that it had");
    result(&o, ids[0], "0");
    is_int(owner_drive(&o), WF_RUN_COMPLETED, "all are there");
    is_slice(wf_run_result(o.run), "[1, 2, 0]", "in the order of sending");
    owner_free(&o);

    free(again);
    free(first);
    free(saved);
}


/* The early results of a run that is saved while the step has not sent yet. */

static wf_status_t
slow(wf_run_t *run, const wf_event_t *ev)
{
    wf_status_t  status;

    if (__atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) == 1) {
        status = send_task(run, "x", "{\"n\": 1}", 0);
        return status == WF_OK ? wf_sleep(run, 1) : status;
    }

    gate_pass(&gate);

    return fan(run, ev);
}

static wf_status_t
begins(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return send_text(run, "Go", "{}");
}

static const wf_step_t  slow_steps[] = {
    STEP(begins, WF_TYPES(WF_START_EVENT), WF_TYPES("Go")),
    { .name = "joins", .accepts = WF_TYPES(WF_TASK_RESULT_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT), .run = joins, .num_workers = 1 },
    STEP(slow, WF_TYPES("Go"), NULL)
};
WORKFLOW(slowly, slow_steps);

static void
test_early(void)
{
    char     *saved, *text;
    owner_t   o;

    /* the ids */

    reset();
    owner_init(&o, &fanning);
    (void) owner_run(&o, "{}");
    owner_free(&o);

    calls = 1;
    owner_init(&o, &slowly);
    (void) wf_run_start(o.run, wf_slice("{}"));
    owner_step(&o);
    gate_await(&gate, 1);
    result(&o, ids[1], "1");
    saved = checkpoint(&o);
    ok(strstr(saved, "\"early\": ") != NULL, "early results are saved");
    gate_open(&gate);
    is_int(owner_drive(&o), WF_RUN_WAITING, "goes on");
    owner_free(&o);

    restore(&o, &slowly, saved);
    text = saved_of(&o);
    is_str(text, saved, "as they were");
    free(text);
    is_int(owner_drive(&o), WF_RUN_WAITING, "goes on elsewhere");
    text = sends(&o, 1);
    is_int(count(text), 2, "two are sent");
    free(text);
    result(&o, ids[0], "0");
    result(&o, ids[2], "2");
    is_int(owner_drive(&o), WF_RUN_COMPLETED, "all are there");
    is_slice(wf_run_result(o.run), "[1, 0, 2]", "the early one, too");
    owner_free(&o);
    free(saved);
}


/* A call that is made again, by its retry policy or elsewhere, sends nothing
 * twice; another call of the step sends its own. */

static wf_status_t
retries(wf_run_t *run, const wf_event_t *ev)
{
    wf_status_t  status;

    status = fan(run, ev);

    if (status == WF_OK && wf_info(run)->retries < 2) {
        return wf_fail(run, "again");
    }

    return status;
}

static wf_status_t
twice(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return send_text(run, "Go", "{}") == WF_OK
           && send_text(run, "Go", "{}") == WF_OK ? WF_OK : WF_ERROR;
}

static const wf_step_t  retry_steps[] = {
    { .name = "joins", .accepts = WF_TYPES(WF_TASK_RESULT_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT), .run = joins, .num_workers = 1 },
    { .name = "retries", .accepts = WF_TYPES("Go"), .run = retries,
      .num_workers = 1, .retry = WF_RETRY(3, 1) },
    STEP(twice, WF_TYPES(WF_START_EVENT), WF_TYPES("Go"))
};
WORKFLOW(retrying, retry_steps);

static void
test_retries(void)
{
    char     *text;
    owner_t   o;

    reset();
    owner_init(&o, &retrying);
    is_int(owner_run(&o, "{}"), WF_RUN_WAITING, "waits");
    is_int(calls, 6, "two calls, three times each");
    text = sends(&o, 1);
    is_int(count(text), 6, "each has sent three tasks");
    ok(strstr(text, "-4\n") != NULL && strstr(text, "-5\n") == NULL,
       "numbered");
    free(text);
    owner_free(&o);
}

static void
test_call_made_again(void)
{
    char     *saved, *text, id[300];
    owner_t   o;

    reset();
    owner_init(&o, &slowly);
    (void) wf_run_start(o.run, wf_slice("{}"));
    (void) owner_drive(&o);
    text = sends(&o, 1);
    is_int(count(text), 1, "one");
    (void) strcpy(id, ids[0]);
    free(text);
    saved = saved_of(&o);
    owner_free(&o);

    /* the same, while the call that has sent is in progress */

    reset();
    calls = 1;
    owner_init(&o, &slowly);
    (void) wf_run_start(o.run, wf_slice("{}"));
    owner_step(&o);
    gate_await(&gate, 1);
    gate_open(&gate);
    is_int(owner_drive(&o), WF_RUN_WAITING, "waits");
    owner_free(&o);
    is_str(ids[0], id, "the same");
    free(saved);

    saved = strdup("{\"version\": 1, \"tasks\": [{\"id\": "
                   "\"0123456789abcdef0123456789abcdef-1\"}], \"pending\": "
                   "[{\"step\": \"slow\", \"type\": \"Go\", \"data\": \"{}\", "
                   "\"sent\": [\"0123456789abcdef0123456789abcdef-1\"]}]}");
    memcpy(strstr(saved, "0123"), id + 5, 32);
    memcpy(strstr(saved, "0123"), id + 5, 32);

    restore(&o, &slowly, saved);
    text = saved_of(&o);
    is_str(text, saved, "is saved as it was");
    free(text);
    is_int(owner_drive(&o), WF_RUN_WAITING, "goes on");
    text = sends(&o, 1);
    is_int(count(text), 2, "what it had sent is not sent again");
    ok(strstr(text, id) == NULL, "is not");
    free(text);
    is_str(ids[0], id, "and has its id");
    owner_free(&o);
    free(saved);
}


/* Nothing that was sent: nothing to wait for; no step that takes results:
 * neither. */

static wf_status_t
sends_nothing(wf_run_t *run, const wf_event_t *ev)
{
    (void) run;
    (void) ev;

    return WF_OK;
}

static const wf_step_t  nothing_steps[] = {
    { .name = "joins", .accepts = WF_TYPES(WF_TASK_RESULT_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT), .run = joins, .num_workers = 1 },
    STEP(sends_nothing, WF_TYPES(WF_START_EVENT), NULL)
};
WORKFLOW(nothing, nothing_steps);

static wf_status_t
one(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return send_task(run, "x", "{}", 0);
}

static wf_status_t
never(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return wf_stop(run, "0", 1);
}

static const wf_step_t  forget_steps[] = {
    STEP(never, WF_TYPES("Never"), WF_TYPES(WF_STOP_EVENT)),
    STEP(one, WF_TYPES(WF_START_EVENT), WF_TYPES("Never"))
};
WORKFLOW(forgets, forget_steps);

static const wf_step_t  last_steps[] = {
    STEP(one, WF_TYPES(WF_START_EVENT), NULL),
    STEP(sends_nothing, WF_TYPES(WF_TASK_RESULT_EVENT),
         WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(last, last_steps);

#define IDLE  "The workflow has nothing left to do and no event to wait for."

static void
test_nothing_to_wait_for(void)
{
    char     *text;
    owner_t   o;

    fails(&nothing, "{}", IDLE, 1, "nothing was sent");

    reset();
    owner_init(&o, &forgets);
    is_int(owner_run(&o, "{}"), WF_RUN_FAILED, "no step takes the result");
    text = sends(&o, 1);
    is_int(count(text), 1, "the task is sent all the same");
    free(text);
    result(&o, ids[0], "1");
    owner_free(&o);

    reset();
    owner_init(&o, &last);
    is_int(owner_run(&o, "{}"), WF_RUN_WAITING, "one is outstanding");
    result(&o, ids[0], "1");
    is_int(owner_drive(&o), WF_RUN_FAILED, "none is any more");
    is_slice(wf_run_error(o.run), IDLE, "which is said");
    owner_free(&o);
}


/* What wf_send_task() refuses. */

static const char  *service, *input;

static wf_status_t
refused(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return wf_send_task(run, service, input, strlen(input), NULL);
}

static const wf_step_t  refused_steps[] = {
    STEP(refused, WF_TYPES(WF_START_EVENT), NULL),
    STEP(sends_nothing, WF_TYPES(WF_TASK_RESULT_EVENT),
         WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(refuses, refused_steps);

#define NAME  "Error in step 'refused': wf_send_task: a service's name has 1 "  \
              "to 128 letters, digits, \"_\", \"-\" and \".\""

static void
test_refused(void)
{
    char     name[130];
    owner_t  o;

    input = "{}";
    service = NULL;
    fails(&refuses, "{}", NAME, 1, "no name");
    service = "";
    fails(&refuses, "{}", NAME, 1, "an empty one");
    service = "a}b";
    fails(&refuses, "{}", NAME, 1, "a brace");

    memset(name, 'a', 129);
    name[129] = '\0';
    service = name;
    fails(&refuses, "{}", NAME, 1, "a long one");

    name[128] = '\0';
    owner_init(&o, &refuses);
    is_int(owner_run(&o, "{}"), WF_RUN_WAITING, "as long as may be");
    owner_free(&o);

    service = "x";
    input = "{";
    fails(&refuses, "{}", "Error in step 'refused': wf_send_task: invalid JSON"
          " for x: Expecting property name enclosed in double quotes at 1", 0,
          "no JSON");
    input = "[]";
    fails(&refuses, "{}", "Error in step 'refused': wf_send_task: the input "
          "for x is not a JSON object", 0, "no object");
}


static wf_status_t
many(wf_run_t *run, const wf_event_t *ev)
{
    int          i;
    char         text[32];
    wf_status_t  status;

    (void) ev;

    for (i = 0; i < 10001; i++) {
        (void) snprintf(text, sizeof(text), "{\"n\": %d}", i / 4);

        status = wf_send_task(run, "x", text, strlen(text), NULL);
        if (status != WF_OK) {
            return status;
        }
    }

    return WF_OK;
}

static const wf_step_t  many_steps[] = {
    STEP(many, WF_TYPES(WF_START_EVENT), NULL),
    STEP(sends_nothing, WF_TYPES(WF_TASK_RESULT_EVENT),
         WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(many_tasks, many_steps);

static wf_status_t
large(wf_run_t *run, const wf_event_t *ev)
{
    int          i;
    char        *text;
    size_t       len;
    wf_status_t  status;

    (void) ev;

    len = 3 * 1024 * 1024;
    text = malloc(len);
    memset(text, ' ', len);
    text[0] = '{';
    memcpy(text + len - 7, "\"x\": 1}", 7);
    status = WF_OK;

    for (i = 0; status == WF_OK && i < 3; i++) {
        status = wf_send_task(run, "x", text, len, NULL);
        calls++;
    }

    free(text);

    return status == WF_OK ? wf_stop(run, "1", 1) : status;
}

static const wf_step_t  large_steps[] = {
    STEP(large, WF_TYPES(WF_START_EVENT), WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(large_tasks, large_steps);

static void
test_limits(void)
{
    int                   told;
    owner_t               o;
    const wf_run_task_t  *task;

    fails(&many_tasks, "{}", "Error in step 'many': wf_send_task: the run has "
          "sent 10000 tasks already", 1, "too many");

    /* a third one has no room before the first is told */

    reset();
    owner_init(&o, &large_tasks);
    (void) wf_run_start(o.run, wf_slice("{}"));
    told = 0;

    while (wf_run_state(o.run) == WF_RUN_BUSY) {
        owner_step(&o);

        /* there are two again when the third is sent */

        if (told == 0 && wf_run_unsent_tasks(o.run) == 2) {
            told++;
            task = wf_run_take_task(o.run);
            ok(task != NULL, "taken");
            wf_run_task_sent(o.run, task);
        }

        (void) usleep(1000);
    }

    owner_join(&o);
    is_int(told, 1, "one had to be told");
    is_int(wf_run_unsent_tasks(o.run), 2, "of an ended run, too");
    is_int(calls, 3, "then the third one is sent");
    owner_free(&o);
}


/* A run's id that is too long for others to be made from. */

static void
test_long_id(void)
{
    char              id[257];
    wf_buf_t          error = WF_BUF_INIT;
    owner_t           o;
    wf_graph_t       *g;
    wf_run_options_t  options;

    memset(id, 'i', 256);
    id[256] = '\0';

    reset();
    owner_init(&o, &last);
    wf_run_free(o.run);

    g = o.graph;
    memset(&options, 0, sizeof(options));
    options.task_id = test_slice(id);
    o.run = wf_run_create(g, &options);
    is_int(owner_run(&o, "{}"), WF_RUN_WAITING, "a long id");
    is_int((int) strlen(ids[0]), 32 + 1 + 32 + 2, "makes a short one");
    result(&o, ids[0], "1");
    is_int(owner_drive(&o), WF_RUN_FAILED, "which is known");
    owner_free(&o);

    id[217] = '\0';
    reset();
    owner_init(&o, &last);
    wf_run_free(o.run);
    options.task_id = test_slice(id);
    o.run = wf_run_create(o.graph, &options);
    (void) owner_run(&o, "{}");
    ok(strncmp(ids[0], id, 217) == 0, "as long as may be");
    owner_free(&o);
    wf_buf_free(&error);
}


static void
test_not_readable(void)
{
#define SAVED  "{\"version\": 1, \"running\": true, \"context\": {}, "        \
               "\"changed\": [], \"collected\": [], \"tasks\": "
#define D      "00000000000000000000000000000000"
#define JOB    "\"pending\": [{\"step\": \"fan\", \"type\": \"StartEvent\", "  \
               "\"data\": \"{}\", \"sent\": "

    static const char *const  texts[] = {
        SAVED "{}}", SAVED "[1]}", SAVED "[{}]}", SAVED "[{\"id\": 1}]}",
        SAVED "[{\"id\": \"" D "\"}]}", SAVED "[{\"id\": \"" D "-\"}]}",
        SAVED "[{\"id\": \"" D "-0\"}]}", SAVED "[{\"id\": \"" D "-01\"}]}",
        SAVED "[{\"id\": \"" D "-100000\"}]}",
        SAVED "[{\"id\": \"" D "_1\"}]}", SAVED "[{\"id\": \"" D "-1x\"}]}",
        SAVED "[{\"id\": \"g" D "-1\"}]}",
        SAVED "[{\"id\": \"" D "-1\"}, {\"id\": \"" D "-1\"}]}",
        SAVED "[{\"id\": \"" D "-1\", \"service\": 1}]}",
        SAVED "[{\"id\": \"" D "-1\", \"service\": \"x\"}]}",
        SAVED "[{\"id\": \"" D "-1\", \"service\": \"x\", \"input\": {}}]}",
        SAVED "[{\"id\": \"" D "-1\", \"service\": \"x\", \"input\": \"{\"}]}",
        SAVED "[{\"id\": \"" D "-1\", \"service\": \"x\", \"input\": \"1\"}]}",
        SAVED "[{\"id\": \"" D "-1\", \"service\": \"}\", \"input\": "
            "\"{}\"}]}",
        SAVED "[{\"id\": \"" D "-1\", \"early\": {}}]}",
        SAVED "[{\"id\": \"" D "-1\", \"early\": \"[]\"}]}",
        SAVED "[], " JOB "1}]}", SAVED "[], " JOB "[1]}]}",
        SAVED "[], " JOB "[\"" D "-1\"]}]}",
        SAVED "[{\"id\": \"" D "-1\"}], " JOB "[\"" D "-1\", \"" D
            "-1\"]}]}",
        SAVED "[{\"id\": \"" D "-1\", \"early\": \"{}\"}], " JOB "[\"" D
            "-1\"]}]}",
        "{\"version\": 1, \"running\": true, \"context\": {}, "
            "\"changed\": [], \"collected\": [], " JOB "[\"" D "-1\"]}]}"
    };
    size_t   i;
    owner_t  o;

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        owner_init(&o, &fanning);
        is_int(wf_run_restore(o.run, test_slice(texts[i])), -1, texts[i]);
        owner_free(&o);
    }

    owner_init(&o, &forgets);
    is_int(wf_run_restore(o.run, wf_slice(SAVED "[{\"id\": \"" D "-1\", "
                          "\"early\": \"{}\"}]}")), -1,
           "no step takes it any more");
    owner_free(&o);
}


int
main(void)
{
    test_results();
    test_unsent();
    test_anew();
    test_early();
    test_retries();
    test_call_made_again();
    test_nothing_to_wait_for();
    test_refused();
    test_limits();
    test_long_id();
    test_not_readable();

    return done_testing();
}
