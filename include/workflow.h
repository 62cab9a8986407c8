/*
 * workflow.h: the plugin interface of ngx_http_workflow_module.
 *
 * A workflow is a table of steps; a step is a function that is called with
 * an event of a type that it accepts and sends events of its own.  A plugin
 * is a shared object that defines workflows and exports them by WF_PLUGIN():
 *
 *     static wf_status_t
 *     greet(wf_run_t *run, const wf_event_t *ev)
 *     {
 *         return wf_stop(run, "\"hello\"", 7);
 *     }
 *
 *     static const wf_step_t  steps[] = {
 *         { .name = "greet",
 *           .accepts = WF_TYPES(WF_START_EVENT),
 *           .produces = WF_TYPES(WF_STOP_EVENT),
 *           .run = greet },
 *     };
 *
 *     WF_PLUGIN(WF_WORKFLOW("greeting", "Greets whoever asks.", steps));
 *
 * JSON crosses this interface as text with a length.  Text that a plugin is
 * given is valid UTF-8 JSON within the limits of the README and has a NUL
 * behind it that its length does not count; text that a plugin gives need
 * not have one, is checked, has 32 megabytes at most, and is copied before the
 * call returns.
 *
 * Threads: step functions run on threads of an nginx thread pool, several at
 * a time, also of one step.  A wf_run_t belongs to the call that it was given
 * to: it may be used by that call's thread only, and not after the function
 * has returned.  A plugin must not fork, wait for children, install signal
 * handlers or change the locale.
 *
 * Compatibility: a plugin runs in a host of the same WF_ABI_MAJOR and of the
 * same or a later WF_ABI_MINOR.  Structures grow at their end only.
 */

#ifndef WORKFLOW_H_INCLUDED_
#define WORKFLOW_H_INCLUDED_


#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>


#define WF_ABI_MAJOR  1
#define WF_ABI_MINOR  2


/* Event types that every workflow knows, llama_index.core.workflow.events. */

#define WF_EVENT                 "Event"
#define WF_START_EVENT           "StartEvent"          /* the task's input */
#define WF_STOP_EVENT            "StopEvent"           /* result */
#define WF_INPUT_REQUIRED_EVENT  "InputRequiredEvent"  /* prefix */
#define WF_HUMAN_RESPONSE_EVENT  "HumanResponseEvent"  /* response */

/*
 * What became of a task that a step has sent by wf_send_task():
 *
 *     {"service": "...", "task_id": "...",
 *      "status": "completed" | "failed" | "cancelled",
 *      "result": any JSON value | null,
 *      "error": {"type": "...", "message": "..."} | null}
 */

#define WF_TASK_RESULT_EVENT     "TaskResultEvent"     /* since 1.1 */


typedef enum {
    WF_OK = 0,
    WF_AGAIN = 1,       /* wf_collect(): the set is not complete yet;
                           wf_get(): there is no such key */
    WF_ERROR = -1,      /* failed; may succeed when it is tried again */
    WF_FINAL = -2,      /* failed, and would fail again: no retries */
    WF_CANCELLED = -3   /* the run was cancelled meanwhile */
} wf_status_t;


typedef enum {
    WF_LOG_ERROR = 0,
    WF_LOG_WARN,
    WF_LOG_INFO,
    WF_LOG_DEBUG
} wf_log_level_t;


typedef struct wf_run_s   wf_run_t;
typedef struct wf_host_s  wf_host_t;


/*
 * An event: its type and its fields, a JSON object.  Events given to a step
 * stay valid until the step's function returns.
 */

typedef struct {
    const char  *type;
    const char  *data;
    size_t       len;
} wf_event_t;


/* What wf_info() tells; valid until the step's function returns. */

typedef struct {
    const char  *workflow;
    const char  *step;
    const char  *task_id;
    const char  *session_id;   /* NULL: the task belongs to no session */
    uint32_t     attempt;      /* of the task, from 1 */
    uint32_t     retries;      /* of this step for this event, from 0 */
} wf_info_t;


/*
 * A step's retry policy.  maximum_attempts counts all executions, the first
 * included.  next, where not NULL, is asked instead: it returns the delay in
 * milliseconds before the next execution, or -1 to give up; elapsed_ms counts
 * from the first execution's start, attempts is the number of executions that
 * have failed, error is the text of the last failure.
 */

typedef struct {
    uint32_t     maximum_attempts;
    uint32_t     delay_ms;
    int64_t    (*next)(uint64_t elapsed_ms, uint32_t attempts,
                       const char *error);
} wf_retry_policy_t;

/* The policy of ConstantDelayRetryPolicy(). */
#define WF_RETRY_DEFAULT  WF_RETRY(3, 5000)

#define WF_RETRY(attempts, delay)                                             \
    (&(const wf_retry_policy_t) { (attempts), (delay), NULL })


/*
 * A step.  An event goes to every step that accepts its exact type; up to
 * num_workers calls of one step run at a time.  The function returns WF_OK, or
 * what wf_fail() returned.
 */

typedef struct {
    const char               *name;
    const char *const        *accepts;       /* WF_TYPES() */
    const char *const        *produces;      /* WF_TYPES(), or NULL: none */
    wf_status_t             (*run)(wf_run_t *run, const wf_event_t *ev);
    uint32_t                  num_workers;   /* 0: 4 */
    const wf_retry_policy_t  *retry;         /* NULL: no retries */
} wf_step_t;


/*
 * A workflow.  What is consumed must be produced and the other way round, or
 * nginx refuses the plugin; InputRequiredEvent, HumanResponseEvent,
 * TaskResultEvent and the types in external, which come from outside too, are
 * exempt.  A run that has nothing left to do waits if a step accepts
 * HumanResponseEvent or a type in external, or if it has sent a task whose
 * TaskResultEvent a step accepts and that is still to come; it fails otherwise.
 */

typedef struct {
    const char         *name;
    const char         *description;
    const wf_step_t    *steps;
    uint32_t            nsteps;
    uint32_t            flags;
    const char *const  *external;      /* WF_TYPES(), or NULL: none */
} wf_workflow_t;

#define WF_DISABLE_VALIDATION  0x01    /* the graph is not checked */


typedef struct {
    uint32_t              abi_major;
    uint32_t              abi_minor;
    uint32_t              size;             /* of this structure */
    uint32_t              workflow_size;    /* of wf_workflow_t */
    uint32_t              step_size;        /* of wf_step_t */
    uint32_t              nworkflows;
    const wf_workflow_t  *workflows;
} wf_plugin_t;


#define WF_TYPES(...)  ((const char *const[]) { __VA_ARGS__, NULL })

#define WF_WORKFLOW(name, description, steps)                                 \
    { (name), (description), (steps),                                         \
      (uint32_t) (sizeof(steps) / sizeof((steps)[0])), 0, NULL }

/* The symbol by which the host finds a plugin. */

#define WF_PLUGIN_SYMBOL  "wf_plugin"

#if defined(__GNUC__)
#define WF_EXPORT         __attribute__((visibility("default")))
#define WF_PRINTF(f, a)   __attribute__((format(printf, f, a)))
#define WF_UNUSED         __attribute__((unused))
#else
#define WF_EXPORT
#define WF_PRINTF(f, a)
#define WF_UNUSED
#endif

#define WF_PLUGIN(...)                                                        \
    static const wf_workflow_t  wf_plugin_workflows_[] = { __VA_ARGS__ };     \
    static const wf_plugin_t  wf_plugin_ = {                                  \
        WF_ABI_MAJOR, WF_ABI_MINOR, sizeof(wf_plugin_t),                      \
        sizeof(wf_workflow_t), sizeof(wf_step_t),                             \
        sizeof(wf_plugin_workflows_) / sizeof(wf_plugin_workflows_[0]),       \
        wf_plugin_workflows_                                                  \
    };                                                                        \
    WF_EXPORT const wf_plugin_t *wf_plugin(void);                             \
    const wf_plugin_t *wf_plugin(void) { return &wf_plugin_; }                \
    extern const wf_plugin_t *wf_plugin(void)


/*
 * The host's functions, found through the run.  Use the wf_*() functions
 * below, which say what they do.
 */

struct wf_host_s {
    size_t            size;            /* of this structure */
    wf_status_t     (*send)(wf_run_t *run, const char *step, const char *type,
                            const char *json, size_t len);
    wf_status_t     (*stop)(wf_run_t *run, const char *json, size_t len);
    wf_status_t     (*stop_text)(wf_run_t *run, const char *text, size_t len);
    wf_status_t     (*stream)(wf_run_t *run, const char *type,
                              const char *json, size_t len);
    wf_status_t     (*get)(wf_run_t *run, const char *key, const char **json,
                           size_t *len);
    wf_status_t     (*set)(wf_run_t *run, const char *key, const char *json,
                           size_t len);
    wf_status_t     (*collect)(wf_run_t *run, const wf_event_t *ev,
                               const char *const *types, size_t n,
                               const wf_event_t **events);
    wf_status_t     (*fail)(wf_run_t *run, wf_status_t status,
                            const char *text);
    int             (*cancelled)(wf_run_t *run);
    wf_status_t     (*sleep)(wf_run_t *run, uint32_t ms);
    void            (*log)(wf_run_t *run, wf_log_level_t level,
                           const char *text);
    void           *(*alloc)(wf_run_t *run, size_t size);
    const wf_info_t *(*info)(wf_run_t *run);

    /* since 1.1 */
    wf_status_t     (*send_task)(wf_run_t *run, const char *service,
                                 const char *json, size_t len,
                                 const char **task_id);

    /* since 1.2 */
    wf_status_t     (*event_text)(wf_run_t *run, const wf_event_t *ev,
                                  const char *name, const char **text,
                                  size_t *len);
};

struct wf_run_s {
    const wf_host_t  *host;
};


/*
 * Functions that return wf_status_t have kept an error text when they return
 * other than WF_OK or WF_AGAIN, so that a step may return their status as its
 * own.  WF_CANCELLED is returned once the run has ended or was cancelled.
 */


/* Send an event to every step that accepts its type.  json is an object, the
 * event's fields.  A StopEvent ends the run; an InputRequiredEvent is only
 * streamed. */

static inline wf_status_t
wf_send(wf_run_t *run, const char *type, const char *json, size_t len)
{
    return run->host->send(run, NULL, type, json, len);
}


/* Send an event to one step. */

static inline wf_status_t
wf_send_to(wf_run_t *run, const char *step, const char *type,
    const char *json, size_t len)
{
    return run->host->send(run, step, type, json, len);
}


/* End the run.  The result is any JSON value. */

static inline wf_status_t
wf_stop(wf_run_t *run, const char *json, size_t len)
{
    return run->host->stop(run, json, len);
}


/* End the run.  The result is a string, given as UTF-8 text. */

static inline wf_status_t
wf_stop_text(wf_run_t *run, const char *text, size_t len)
{
    return run->host->stop_text(run, text, len);
}


/*
 * Send a task to another service of the namespace, or to this one; json is an
 * object, the task's input.  Its result comes as a TaskResultEvent, for which
 * the run waits without a thread or a slot.  *task_id, unless task_id is NULL,
 * is the task's id, valid until the step's function returns: it is made from
 * the run's own task, service and input, so that a step that is executed again
 * sends the same task once; equal tasks are told apart by their number.  Blocks
 * while more than 4 megabytes of the run's tasks wait to be sent.
 */

static inline wf_status_t
wf_send_task(wf_run_t *run, const char *service, const char *json, size_t len,
    const char **task_id)
{
    return run->host->send_task(run, service, json, len, task_id);
}


/* Publish an event to whoever follows the task.  json is an object.  Blocks
 * while more than 4 megabytes of the run's events wait to be published. */

static inline wf_status_t
wf_stream(wf_run_t *run, const char *type, const char *json, size_t len)
{
    return run->host->stream(run, type, json, len);
}


/*
 * A field of an event that the step was given, which must be there and a
 * string: *text is UTF-8, ends with a zero that *len does not count, and stays
 * valid until the step's function returns.  Where it is not, the step fails for
 * good when it returns the result: "NAME is required.", "NAME must be a
 * string."
 */

static inline wf_status_t
wf_event_text(wf_run_t *run, const wf_event_t *ev, const char *name,
    const char **text, size_t *len)
{
    return run->host->event_text(run, ev, name, text, len);
}


/* Read a key of the run's context.  The value stays valid until the step's
 * function returns, whatever others set meanwhile. */

static inline wf_status_t
wf_get(wf_run_t *run, const char *key, const char **json, size_t *len)
{
    return run->host->get(run, key, json, len);
}


/* Set a key of the run's context to any JSON value. */

static inline wf_status_t
wf_set(wf_run_t *run, const char *key, const char *json, size_t len)
{
    return run->host->set(run, key, json, len);
}


/*
 * Keep ev until this step has received one event for each of the n types;
 * then return WF_OK and the oldest of each, in the order of types (a type may
 * be named more than once).  WF_AGAIN: not complete yet.  Steps do not share
 * what they collect.
 */

static inline wf_status_t
wf_collect(wf_run_t *run, const wf_event_t *ev, const char *const *types,
    size_t n, const wf_event_t **events)
{
    return run->host->collect(run, ev, types, n, events);
}


/* Whether the run was cancelled, has timed out, or nginx is leaving: a step
 * that takes long asks now and then, and returns. */

static inline int
wf_cancelled(wf_run_t *run)
{
    return run->host->cancelled(run);
}


/* Block the thread; returns WF_CANCELLED at once when the run is cancelled. */

static inline wf_status_t
wf_sleep(wf_run_t *run, uint32_t ms)
{
    return run->host->sleep(run, ms);
}


/* Memory that is freed when the step's function returns; NULL: there is none
 * left.  Aligned for any type. */

static inline void *
wf_alloc(wf_run_t *run, size_t size)
{
    return run->host->alloc(run, size);
}


static inline const wf_info_t *
wf_info(wf_run_t *run)
{
    return run->host->info(run);
}


/* Say why the step fails, in printf's way, up to 1023 bytes, and return the
 * result from the step: return wf_fail(run, "..."). */

static inline wf_status_t wf_fail(wf_run_t *run, const char *fmt, ...)
    WF_PRINTF(2, 3) WF_UNUSED;

static inline wf_status_t
wf_fail(wf_run_t *run, const char *fmt, ...)
{
    char     text[1024];
    va_list  args;

    va_start(args, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    return run->host->fail(run, WF_ERROR, text);
}


/* The same for an error that another try would not mend. */

static inline wf_status_t wf_fail_final(wf_run_t *run, const char *fmt, ...)
    WF_PRINTF(2, 3) WF_UNUSED;

static inline wf_status_t
wf_fail_final(wf_run_t *run, const char *fmt, ...)
{
    char     text[1024];
    va_list  args;

    va_start(args, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    return run->host->fail(run, WF_FINAL, text);
}


/* Write a line to nginx' error log, in printf's way, up to 1023 bytes. */

static inline void wf_log(wf_run_t *run, wf_log_level_t level,
    const char *fmt, ...) WF_PRINTF(3, 4) WF_UNUSED;

static inline void
wf_log(wf_run_t *run, wf_log_level_t level, const char *fmt, ...)
{
    char     text[1024];
    va_list  args;

    va_start(args, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    run->host->log(run, level, text);
}


#endif /* WORKFLOW_H_INCLUDED_ */
