/*
 * What the engine's files share.  Nobody else includes this.
 *
 * Locks: a run has one.  Whatever is marked (locked) is called with it held,
 * (free) without.  Reference counts and queues change under the lock only.
 */

#ifndef WF_ENGINE_H_INCLUDED_
#define WF_ENGINE_H_INCLUDED_


#include <pthread.h>
#include <stdlib.h>

#include "wf_run.h"
#include "wf_json.h"


#define WF_NO_MEMORY        "out of memory"

/* The largest JSON text that a step may give, in bytes. */
#define WF_MAX_JSON         (32 * 1024 * 1024)

/* Bytes of output that wait for the owner; a step that streams more waits. */
#define WF_MAX_OUTPUT       (4 * 1024 * 1024)

/* Bytes of wf_alloc() that need no malloc(). */
#define WF_CALL_ARENA       1024

/* Tasks that a run may send to other services. */
#define WF_MAX_SUBTASKS     10000

/* Bytes of a task's id, and hexadecimal digits of the digest in it. */
#define WF_MAX_SUBTASK_ID   256
#define WF_DIGEST_LEN       32

/* How often a step that blocks looks whether nginx is leaving, in ns. */
#define WF_LEAVING_PERIOD   (INT64_C(50) * 1000000)

/* A step that returned because nginx is leaving waits so long, in ms. */
#define WF_LEAVING_DELAY    1000


typedef struct {
    char               *name;
    char               *no_memory;      /* the run's error without memory */
    wf_status_t       (*run)(wf_run_t *run, const wf_event_t *ev);
    uint32_t            num_workers;
    int                 has_retry;
    wf_retry_policy_t   retry;
} wf_graph_step_t;


typedef struct {
    char               *name;
    uint32_t            nsteps;
    uint32_t           *steps;          /* that accept it, in order */
} wf_graph_type_t;


struct wf_graph_s {
    char               *name;
    char               *description;
    uint32_t            nsteps;
    uint32_t            ntypes;
    wf_graph_step_t    *steps;          /* sorted by name */
    wf_graph_type_t    *types;          /* that steps accept, sorted by name */
    int                 waits;          /* for events from outside */
    int                 results;        /* of tasks it has sent are accepted */
};


typedef struct wf_job_s   wf_job_t;
typedef struct wf_item_s  wf_item_t;
typedef struct wf_call_s  wf_call_t;
typedef struct wf_subtask_s  wf_subtask_t;


/* An event for one step.  It is in one queue at most, or in progress; what
 * the step has collected is a list of its own. */

struct wf_job_s {
    wf_job_t           *next;
    wf_job_t           *next_kept;
    wf_item_t          *item;
    wf_subtask_t       *sent;           /* tasks that its calls have sent */
    int64_t             first;          /* when it was executed first, in ms */
    int64_t             due;
    uint64_t            order;          /* in which it was sent */
    uint64_t            streamed;       /* by a call that is made again */
    uint32_t            step;
    uint32_t            retries;
    unsigned            timed:1;        /* first is set */
    unsigned            kept:1;         /* was collected, once and for all */
    unsigned            chosen:1;
};


/* An event, with a job for each step that it is sent to, and its text. */

struct wf_item_s {
    wf_event_t          event;
    uint64_t            sender;         /* number of the call, 0: none */
    uint32_t            refs;
    uint32_t            njobs;
    wf_job_t            jobs[];
};


typedef struct {
    wf_job_t           *head;
    wf_job_t           *tail;
} wf_queue_t;


typedef struct {
    wf_queue_t          waiting;        /* for one of the step's workers */
    uint32_t            busy;           /* workers: ready, run, delayed */
    uint32_t            nkept;
    wf_queue_t          kept;           /* collected, by order */
} wf_run_step_t;


/* A context value; a new one is made when it is set. */

typedef struct {
    uint32_t            refs;
    size_t              len;
    char                data[];
} wf_value_t;


typedef struct {
    wf_slice_t          key;            /* allocated, a NUL behind it */
    wf_value_t         *value;
    int                 changed;        /* was set by a step of this run */
} wf_entry_t;


/* A task that was sent to another service, or the result of one that will be
 * sent.  Once it is in Redis, its service and input are forgotten. */

struct wf_subtask_s {
    wf_run_task_t       task;           /* first */
    wf_subtask_t       *next;           /* in order */
    wf_subtask_t       *same;           /* in a bucket */
    wf_subtask_t       *of_job;
    wf_item_t          *early;          /* its result */
    uint32_t            number;         /* among equal ones, from 1 */
    unsigned            sent:1;
    unsigned            answered:1;
    unsigned            again:1;        /* by a call that is made again */
    char                digest[WF_DIGEST_LEN];
    char                id[];
};


typedef struct {
    wf_subtask_t       *first;
    wf_subtask_t      **last;
    wf_run_task_t      *unsent;         /* not yet taken by the owner */
    wf_run_task_t     **last_unsent;
    uint32_t            nunsent;        /* these, and those being sent */
    uint32_t            n;
    uint32_t            outstanding;    /* without a result */
    size_t              size;           /* of inputs not yet sent */
    wf_subtask_t       *buckets[256];
    size_t              prefix_len;
    char                prefix[];       /* what all ids begin with */
} wf_subtasks_t;


struct wf_engine_run_s {
    pthread_mutex_t     lock;
    pthread_cond_t      ended;          /* wakes wf_sleep() */
    const wf_graph_t   *graph;
    wf_run_options_t    options;        /* its slices are not used */
    const char         *task_id;
    const char         *session_id;

    int                 state;          /* BUSY: has not ended; atomic */
    unsigned            started:1;
    unsigned            woken:1;        /* until output is taken */
    unsigned            final:1;
    unsigned            save:1;         /* a checkpoint is due */

    uint64_t            ncalls;
    int64_t             saved;          /* when, in ms */

    uint32_t            nbusy;          /* workers of all steps */
    uint32_t            nready;
    uint32_t            claims;         /* calls that will take a ready job */
    uint32_t            asked;          /* threads that have not come yet */
    uint32_t            active;         /* threads asked for or working */

    wf_queue_t          ready;          /* jobs that have a worker */
    wf_job_t           *delayed;        /* the same, by due time */
    wf_call_t          *calls;          /* in progress, the oldest first */
    wf_call_t         **last_call;
    uint64_t            order;

    wf_entry_t         *entries;        /* sorted by key */
    size_t              nentries;
    size_t              size;

    wf_subtasks_t      *subtasks;       /* NULL: none were sent */

    wf_run_output_t    *output;
    wf_run_output_t   **last_output;
    size_t              output_size;
    wf_run_output_t    *no_result;      /* made early: it must not fail */

    wf_value_t         *result;
    wf_buf_t            error;
    wf_slice_t          error_text;

    wf_run_step_t       steps[];
};


typedef union wf_align_u {
    long double         real;
    long long           integer;
    void               *pointer;
    void              (*function)(void);
} wf_align_t;


typedef struct wf_chunk_s  wf_chunk_t;
typedef struct wf_hold_s   wf_hold_t;

struct wf_hold_s {
    wf_hold_t          *next;
    wf_value_t         *value;
};


/* A step's call: what the plugin knows as its run. */

struct wf_call_s {
    wf_run_t            run;            /* first */
    wf_engine_run_t    *engine;
    uint64_t            number;         /* among the run's calls, from 1 */
    uint64_t            streamed;       /* events */
    uint32_t            again;          /* tasks that were sent before */
    wf_job_t           *job;
    wf_call_t          *next;
    wf_call_t         **prev;
    unsigned            claim:1;        /* counted in the run's claims */
    unsigned            counts:1;       /* the execution failed by itself */
    unsigned            overtaken:1;    /* what it sent is worked on already */

    wf_status_t         status;
    int64_t             delay;          /* of the next execution, -1: none */

    wf_queue_t          taken;          /* what wf_collect() gave */
    wf_hold_t          *holds;          /* what wf_get() gave */
    wf_buf_t            error;
    wf_buf_t            scratch;
    wf_info_t           info;

    wf_chunk_t         *chunks;
    char               *free;
    size_t              room;
    wf_align_t          arena[WF_CALL_ARENA / sizeof(wf_align_t)];
};


/* wf_graph.c */

const wf_graph_type_t *wf_graph_type(const wf_graph_t *g, wf_slice_t name);
int wf_graph_step(const wf_graph_t *g, wf_slice_t name);    /* -1: none */
int wf_graph_accepts(const wf_graph_type_t *type, uint32_t step);

char *wf_strdup(const char *s);

/* wf_check.c */

int wf_check_name(const char *name, wf_buf_t *scratch);     /* 1: good */
int wf_check_steps(const wf_plugin_t *plugin, const wf_workflow_t *w,
    wf_buf_t *error);
int wf_check_events(const wf_plugin_t *plugin, const wf_workflow_t *w,
    wf_buf_t *error);
const wf_step_t *wf_manifest_step(const wf_plugin_t *plugin,
    const wf_workflow_t *w, uint32_t i);

/* wf_queue.c */

wf_item_t *wf_item_create(const wf_graph_type_t *type, uint32_t njobs,
    wf_slice_t data);
void wf_item_release(wf_item_t *item);                      /* locked */
void wf_queue_add(wf_queue_t *q, wf_job_t *job);
wf_job_t *wf_queue_take(wf_queue_t *q);
void wf_queue_free(wf_queue_t *q);
void wf_item_send(wf_engine_run_t *run, wf_item_t *item);   /* locked */
void wf_job_send(wf_engine_run_t *run, wf_job_t *job,
    int64_t delay);                                         /* locked */
void wf_job_delay(wf_engine_run_t *run, wf_job_t *job,
    int64_t delay);                                         /* locked */
void wf_job_done(wf_engine_run_t *run, wf_job_t *job);      /* locked */

/* wf_run.c */

int wf_run_ended(const wf_engine_run_t *run);
uint32_t wf_run_need(const wf_engine_run_t *run);           /* locked */
int wf_run_alert(wf_engine_run_t *run);     /* locked; 1: then call wake() */
void wf_run_settle(wf_engine_run_t *run);                   /* locked */

/* wf_outcome.c */

wf_run_output_t *wf_output_create(wf_slice_t type, wf_slice_t before,
    wf_slice_t data, wf_slice_t after);
void wf_output_add(wf_engine_run_t *run, wf_run_output_t *out); /* locked */
wf_run_output_t *wf_output_take(wf_engine_run_t *run);          /* locked */
void wf_run_complete(wf_engine_run_t *run, wf_value_t *result,
    wf_run_output_t *out);                                  /* locked */
void wf_run_fail(wf_engine_run_t *run, uint32_t step, wf_slice_t text,
    int final);                                             /* locked */
void wf_run_fail_idle(wf_engine_run_t *run);                /* locked */

/* wf_step.c */

void wf_call_init(wf_call_t *call, wf_engine_run_t *run);
void wf_call_begin(wf_call_t *call, wf_job_t *job);         /* locked */
void wf_call_run(wf_call_t *call);                          /* free */
void wf_call_end(wf_call_t *call);                          /* locked */
void wf_call_free(wf_call_t *call);
void *wf_call_alloc(wf_call_t *call, size_t size);
wf_status_t wf_call_error(wf_call_t *call, wf_status_t status, ...);
int wf_run_leaving(const wf_engine_run_t *run);

/* wf_host.c */

extern const wf_host_t  wf_host;

wf_status_t wf_host_check(wf_call_t *call, const char *function,
    const char *what, const char *json, size_t len, wf_slice_t *value);
wf_status_t wf_host_check_event(wf_call_t *call, const char *function,
    const char *type, const char *json, size_t len, wf_slice_t *fields);
wf_status_t wf_host_ended(wf_call_t *call);
wf_status_t wf_host_no_memory(wf_call_t *call);
void wf_host_unlock(wf_engine_run_t *run, int wake);
void wf_host_wait_room(wf_engine_run_t *run,
    const size_t *size);                                    /* locked */

/* wf_send.c */

wf_status_t wf_host_send(wf_run_t *r, const char *step, const char *type,
    const char *json, size_t len);
wf_status_t wf_host_stop(wf_run_t *r, const char *json, size_t len);
wf_status_t wf_host_stop_text(wf_run_t *r, const char *text, size_t len);
wf_status_t wf_host_stream(wf_run_t *r, const char *type, const char *json,
    size_t len);

/* wf_fields.c */

wf_status_t wf_host_event_text(wf_run_t *r, const wf_event_t *ev,
    const char *name, const char **text, size_t *len);

/* wf_subtask_send.c */

wf_status_t wf_host_send_task(wf_run_t *r, const char *service,
    const char *json, size_t len, const char **task_id);
int wf_subtask_service(const char *name);           /* 1: a service's name */
int wf_subtask_digest(wf_slice_t text, char *digest);

/* wf_subtask.c */

wf_subtasks_t *wf_subtasks(wf_engine_run_t *run);   /* locked; made if needed */
void wf_subtasks_free(wf_subtasks_t *tasks);
wf_subtask_t *wf_subtask_create(void);
void wf_subtask_free(wf_subtask_t *task);
void wf_subtask_add(wf_subtasks_t *tasks, wf_subtask_t *task,
    const char *digest, uint32_t number);                   /* locked */
void wf_subtask_put_out(wf_subtasks_t *tasks, wf_subtask_t *task); /* locked */
wf_subtask_t *wf_subtask_find(const wf_subtasks_t *tasks, const char *digest,
    uint32_t number);                                       /* locked */
uint32_t wf_subtask_number(const wf_subtasks_t *tasks,
    const char *digest);                                    /* locked */
void wf_subtask_begin(wf_call_t *call);                     /* locked */
int wf_subtask_waits(const wf_engine_run_t *run);           /* locked */
int wf_subtask_result(wf_engine_run_t *run, wf_slice_t fields,
    wf_item_t *item);                                       /* free */
int wf_subtask_suffix(wf_slice_t text, uint32_t *number);

/* wf_subtask_save.c */

void wf_save_subtasks(const wf_engine_run_t *run, wf_buf_t *b); /* locked */
void wf_save_sent(const wf_engine_run_t *run, const wf_job_t *job,
    wf_buf_t *b);                                           /* locked */
int wf_restore_subtasks(wf_engine_run_t *run, wf_slice_t list); /* locked */
int wf_restore_sent(wf_engine_run_t *run, wf_job_t *job,
    wf_slice_t list);                                       /* locked */

/* wf_restore.c */

int wf_restore_json(wf_buf_t *b, wf_slice_t string, wf_slice_t *json);
int wf_restore_text(wf_buf_t *b, wf_slice_t string, wf_slice_t *text);
int wf_restore_member(wf_slice_t object, const char *name,
    wf_json_type_t type, wf_slice_t *value);

/* wf_context.c */

wf_value_t *wf_value_create(wf_slice_t data);
void wf_value_release(wf_value_t *value);                   /* locked */
wf_entry_t *wf_context_find(const wf_engine_run_t *run,
    wf_slice_t key);                                        /* locked */
int wf_context_set(wf_engine_run_t *run, wf_slice_t key, wf_value_t *value,
    int changed);                                           /* locked */
void wf_context_free(wf_engine_run_t *run);

/* wf_collect.c */

void wf_kept_add(wf_engine_run_t *run, wf_job_t *job);      /* locked */
wf_status_t wf_kept_take(wf_call_t *call, const char *const *types, size_t n,
    const wf_event_t **events);                             /* locked */
void wf_kept_put_back(wf_engine_run_t *run, wf_queue_t *taken); /* locked */
void wf_kept_free(wf_queue_t *kept);                        /* locked */


#endif /* WF_ENGINE_H_INCLUDED_ */
