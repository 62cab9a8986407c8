/*
 * One run of a workflow.  The engine has no threads, timers or sockets of its
 * own: its owner (in nginx, the worker's event loop) lends it threads that call
 * wf_run_work(), wakes it when it asked for that, and takes what it puts out.
 *
 * Threads: wf_run_work() may be called by several threads at once.  Everything
 * else is called by the owner's one thread, at any time, also while threads
 * work.  Functions that only read the outcome say when they may be called.
 */

#ifndef WF_RUN_H_INCLUDED_
#define WF_RUN_H_INCLUDED_


#include <signal.h>

#include "wf_graph.h"


typedef struct wf_engine_run_s  wf_engine_run_t;


typedef enum {
    WF_RUN_BUSY = 0,    /* threads work, or are asked for */
    WF_RUN_DELAYED,     /* nothing to do until a retry is due */
    WF_RUN_WAITING,     /* nothing to do until an event comes from outside */
    WF_RUN_COMPLETED,   /* has a result */
    WF_RUN_FAILED,      /* has an error; timeouts are errors */
    WF_RUN_CANCELLED
} wf_run_state_t;


typedef struct wf_run_output_s  wf_run_output_t;

struct wf_run_output_s {
    wf_run_output_t  *next;
    size_t            len;
    char             *data;      /* the event as a JSON object, model_dump() */
    wf_slice_t        type;      /* its type */
};


/* A task that a step sends to another service. */

typedef struct wf_run_task_s  wf_run_task_t;

struct wf_run_task_s {
    wf_run_task_t    *next;
    wf_slice_t        id;
    wf_slice_t        service;
    wf_slice_t        input;     /* a JSON object */
};


typedef struct {
    wf_slice_t        key;
    wf_slice_t        value;     /* JSON */
    int               changed;   /* set by a step, maybe to what it was */
} wf_run_context_t;


typedef struct {
    wf_slice_t     task_id;
    wf_slice_t     session_id;          /* data NULL: none */
    uint32_t       attempt;             /* from 1 */

    /* Ask for wf_run_checkpoint() by wake() when a step has ended and the last
     * one is longer ago, in milliseconds; 0: never. */
    uint32_t       checkpoint_ms;

    /*
     * Called from threads inside wf_run_work(), never with a lock held that a
     * call of the owner needs: the run has output or asks for more threads.
     * Not called again until the owner has called wf_run_take_output(), and
     * not for what the owner sees when the calling thread returns at once.
     */
    void         (*wake)(void *data);

    /* Called from any thread: a step writes to the log.  NUL-terminated. */
    void         (*log)(void *data, const char *step, wf_log_level_t level,
                        const char *text);
    void          *data;

    /*
     * Read by wf_cancelled() beside the run's own flag; may be NULL.  A step
     * that returns WF_CANCELLED while it is set has not failed: it is executed
     * again a second later, or where the run is restored.
     */
    const volatile sig_atomic_t  *leaving;
} wf_run_options_t;


/* NULL: no memory.  Strings of the options are copied, the graph is not. */
wf_engine_run_t *wf_run_create(const wf_graph_t *g,
    const wf_run_options_t *options);

/* Only when no thread works or will work on the run any more. */
void wf_run_free(wf_engine_run_t *run);

/* A key of the context that was there before the run: before wf_run_start().
 * json is checked JSON.  -1: no memory. */
int wf_run_set(wf_engine_run_t *run, wf_slice_t key, wf_slice_t json);

/* Begin with a StartEvent, whose fields are a checked JSON object.
 * -1: no memory. */
int wf_run_start(wf_engine_run_t *run, wf_slice_t input);

/*
 * Go on from what wf_run_save() wrote.  -1: not readable, or not of this
 * workflow; -2: no memory; only wf_run_free() may follow either.
 *
 * What was saved of an ended run is its context and what its steps had
 * collected: wf_run_start() then begins a run with those.
 */
int wf_run_restore(wf_engine_run_t *run, wf_slice_t saved);

/*
 * Append the run's state as a JSON object: context and which keys of it were
 * set, collected events, pending events and retries, events that steps in
 * progress were given (those will be run again), and tasks that were sent.
 * Nothing of what wf_run_take_output() takes.
 */
int wf_run_save(wf_engine_run_t *run, wf_buf_t *b);

/*
 * The same while the run goes on, in one with wf_run_take_output(): what was
 * put out until now belongs to what is saved, and what comes later does not.
 * Events that steps in progress have sent are left out: those steps will send
 * them again.  wf_run_save_due() tells whether it was asked for.
 *
 * 1: nothing is saved, since some of those events are worked on already; or
 * since the run has ended, then no output is taken either; -1: no memory.
 */
int wf_run_checkpoint(wf_engine_run_t *run, wf_buf_t *b,
    wf_run_output_t **output);
int wf_run_save_due(wf_engine_run_t *run);

/*
 * An event from outside.  type: what wf_graph_match() returned; fields: a
 * checked JSON object.  -1: no memory.  Ignored once the run has ended.
 */
int wf_run_event(wf_engine_run_t *run, const char *type, wf_slice_t fields);

/*
 * How many more threads the run can use now.  The owner must let that many
 * threads call wf_run_work() once each; they are counted as asked for from
 * now on, so that the next call returns only what comes in addition.
 * Call it after start, restore, event and wake, and when wf_run_work() has
 * returned; after a call of wake, take the output first.
 */
unsigned wf_run_threads(wf_engine_run_t *run);

/* On a lent thread: run steps as long as there are any for this thread. */
void wf_run_work(wf_engine_run_t *run);

/* BUSY as long as threads work or ought to.  An ended run has its outcome at
 * once; its threads may still be in their last steps: see wf_run_active().  A
 * run that was not started waits. */
wf_run_state_t wf_run_state(wf_engine_run_t *run);

/* Threads that were asked for and have not returned from wf_run_work(). */
unsigned wf_run_active(wf_engine_run_t *run);

/* A clock that only goes forward: in nanoseconds, in milliseconds. */
int64_t wf_time_ns(void);
int64_t wf_time(void);

/* Milliseconds until the first delayed retry is due, -1: none is delayed. */
int64_t wf_run_delay(wf_engine_run_t *run);

/* Put retries that are due into the queue; then see wf_run_threads(). */
void wf_run_wake(wf_engine_run_t *run);

/*
 * End a run that has not ended: the flag is set, what steps still send is
 * discarded, StopEvent(None) is put out.  Timed out is WF_RUN_FAILED with the
 * text "Operation timed out after <seconds> seconds".
 */
void wf_run_cancel(wf_engine_run_t *run);
void wf_run_time_out(wf_engine_run_t *run, const char *seconds);

/* The same with an error of the owner's, whose text must outlive the run; see
 * wf_run_error_final(). */
void wf_run_abort(wf_engine_run_t *run, const char *text, int final);

/* Take the list of streamed events, oldest first; free each by
 * wf_run_output_free().  After it, wake may be called again. */
wf_run_output_t *wf_run_take_output(wf_engine_run_t *run);
void wf_run_output_free(wf_run_output_t *out);

/*
 * The next task that is to be sent, NULL: there is none.  It is the run's, and
 * to be told by wf_run_task_sent(), after which it must not be used, when it is
 * where it will not get lost.  A saved run sends again what was not told.  The
 * result is an event, WF_TASK_RESULT_EVENT; "task_id" in it says whose.
 */
const wf_run_task_t *wf_run_take_task(wf_engine_run_t *run);
void wf_run_task_sent(wf_engine_run_t *run, const wf_run_task_t *task);

/* How many are not told yet, taken or not. */
unsigned wf_run_unsent_tasks(wf_engine_run_t *run);

/*
 * Of an ended run, valid until it is freed.  The result is a JSON value.  The
 * error is text, "Error in step 'greet': arg1 is required."; it is final if the
 * step said so.
 */
wf_slice_t wf_run_result(const wf_engine_run_t *run);
wf_slice_t wf_run_error(const wf_engine_run_t *run);
int wf_run_error_final(const wf_engine_run_t *run);

/* Of an ended run, valid until it is freed: entry i of its context, from 0, in
 * the order of the keys.  0: there are no more. */
int wf_run_context(const wf_engine_run_t *run, size_t i,
    wf_run_context_t *entry);


#endif /* WF_RUN_H_INCLUDED_ */
