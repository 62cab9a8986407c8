/*
 * Tasks that a run's steps send to other services, and their results.
 *
 * A task's id says what was sent: "<task_id of the run>/<digest>-<number>", by
 * a digest of service and input and a number that counts equal ones.  So what
 * is sent again, by a call that is made again or by a run that begins anew, has
 * the id that it had, and is known where it goes.
 *
 * A result may come before its task is sent: that of a run that begins anew.
 * It is kept until then, so that the steps see what they have seen before.
 */

#include "wf_engine.h"


/* What follows the id of the run: slash, digest, dash, number. */

#define WF_SUBTASK_SUFFIX  (1 + WF_DIGEST_LEN + 1 + 5)


static void wf_subtask_link(wf_subtasks_t *tasks, wf_subtask_t *task);
static int wf_subtask_answer(wf_engine_run_t *run, wf_slice_t id,
    wf_item_t *item);
static int wf_subtask_early(wf_engine_run_t *run, const char *digest,
    uint32_t number, wf_item_t *item);
static int wf_subtask_parse(const wf_subtasks_t *tasks, wf_slice_t id,
    const char **digest, uint32_t *number);
static unsigned wf_subtask_bucket(const char *digest);


/* The next one of tasks that are equal. */

uint32_t
wf_subtask_number(const wf_subtasks_t *tasks, const char *digest)
{
    uint32_t       number;
    wf_subtask_t  *task;

    number = 0;

    for (task = tasks->buckets[wf_subtask_bucket(digest)];
         task != NULL;
         task = task->same)
    {
        if (task->sent && task->number > number
            && memcmp(task->digest, digest, WF_DIGEST_LEN) == 0)
        {
            number = task->number;
        }
    }

    return number + 1;
}


wf_subtasks_t *
wf_subtasks(wf_engine_run_t *run)
{
    char            digest[WF_DIGEST_LEN];
    size_t          len;
    wf_slice_t      id;
    wf_subtasks_t  *tasks;

    if (run->subtasks != NULL) {
        return run->subtasks;
    }

    id.data = run->task_id;
    id.len = strlen(run->task_id);

    if (id.len > WF_MAX_SUBTASK_ID - WF_SUBTASK_SUFFIX) {
        if (wf_subtask_digest(id, digest) != 0) {
            return NULL;
        }

        id.data = digest;
        id.len = WF_DIGEST_LEN;
    }

    len = id.len;

    tasks = calloc(1, sizeof(wf_subtasks_t) + len + 2);
    if (tasks == NULL) {
        return NULL;
    }

    memcpy(tasks->prefix, id.data, len);
    tasks->prefix[len] = '/';
    tasks->prefix_len = len + 1;

    tasks->last = &tasks->first;
    tasks->last_unsent = &tasks->unsent;

    run->subtasks = tasks;

    return tasks;
}


wf_subtask_t *
wf_subtask_create(void)
{
    return calloc(1, sizeof(wf_subtask_t) + WF_MAX_SUBTASK_ID + 1);
}


void
wf_subtask_free(wf_subtask_t *task)
{
    free((char *) task->task.service.data);
    free(task->early);
    free(task);
}


void
wf_subtasks_free(wf_subtasks_t *tasks)
{
    wf_subtask_t  *task;

    if (tasks == NULL) {
        return;
    }

    while (tasks->first != NULL) {
        task = tasks->first;
        tasks->first = task->next;

        wf_subtask_free(task);
    }

    free(tasks);
}


void
wf_subtask_add(wf_subtasks_t *tasks, wf_subtask_t *task, const char *digest,
    uint32_t number)
{
    memcpy(task->digest, digest, WF_DIGEST_LEN);
    task->number = number;

    task->task.id.data = task->id;
    task->task.id.len = (size_t) sprintf(task->id, "%s%.*s-%u", tasks->prefix,
                                         WF_DIGEST_LEN, digest,
                                         (unsigned) number);
    wf_subtask_link(tasks, task);
}


static void
wf_subtask_link(wf_subtasks_t *tasks, wf_subtask_t *task)
{
    unsigned  i;

    *tasks->last = task;
    tasks->last = &task->next;
    tasks->n++;

    i = wf_subtask_bucket(task->digest);
    task->same = tasks->buckets[i];
    tasks->buckets[i] = task;
}


void
wf_subtask_put_out(wf_subtasks_t *tasks, wf_subtask_t *task)
{
    *tasks->last_unsent = &task->task;
    tasks->last_unsent = &task->task.next;

    tasks->nunsent++;
    tasks->size += sizeof(wf_subtask_t) + task->task.input.len;
}


wf_subtask_t *
wf_subtask_find(const wf_subtasks_t *tasks, const char *digest,
    uint32_t number)
{
    wf_subtask_t  *task;

    for (task = tasks->buckets[wf_subtask_bucket(digest)];
         task != NULL;
         task = task->same)
    {
        if (task->number == number
            && memcmp(task->digest, digest, WF_DIGEST_LEN) == 0)
        {
            return task;
        }
    }

    return NULL;
}


/* Of the digest in hexadecimal, two digits. */

static unsigned
wf_subtask_bucket(const char *digest)
{
    unsigned  i, c, n;

    n = 0;

    for (i = 0; i < 2; i++) {
        c = (unsigned char) digest[i];
        n = n * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
    }

    return n;
}


/* A call that is made again sends what it has sent before. */

void
wf_subtask_begin(wf_call_t *call)
{
    wf_subtask_t  *task;

    for (task = call->job->sent; task != NULL; task = task->of_job) {
        task->again = 1;
        call->again++;
    }
}


/* Whether a result may come that a step waits for. */

int
wf_subtask_waits(const wf_engine_run_t *run)
{
    return run->graph->results && run->subtasks != NULL
           && run->subtasks->outstanding != 0;
}


const wf_run_task_t *
wf_run_take_task(wf_engine_run_t *run)
{
    wf_run_task_t  *task;
    wf_subtasks_t  *tasks;

    task = NULL;

    pthread_mutex_lock(&run->lock);

    tasks = run->subtasks;

    if (tasks != NULL && tasks->unsent != NULL) {
        task = tasks->unsent;
        tasks->unsent = task->next;

        if (tasks->unsent == NULL) {
            tasks->last_unsent = &tasks->unsent;
        }
    }

    pthread_mutex_unlock(&run->lock);

    return task;
}


void
wf_run_task_sent(wf_engine_run_t *run, const wf_run_task_t *sent)
{
    wf_subtask_t   *task;
    wf_subtasks_t  *tasks;

    task = (wf_subtask_t *) sent;

    pthread_mutex_lock(&run->lock);

    tasks = run->subtasks;

    if (tasks->size >= WF_MAX_OUTPUT) {
        (void) pthread_cond_broadcast(&run->ended);
    }

    tasks->nunsent--;
    tasks->size -= sizeof(wf_subtask_t) + task->task.input.len;

    free((char *) task->task.service.data);
    task->task.service.data = NULL;
    task->task.input.data = NULL;

    pthread_mutex_unlock(&run->lock);
}


unsigned
wf_run_unsent_tasks(wf_engine_run_t *run)
{
    unsigned  n;

    pthread_mutex_lock(&run->lock);

    n = run->subtasks != NULL ? run->subtasks->nunsent : 0;

    pthread_mutex_unlock(&run->lock);

    return n;
}


int
wf_subtask_result(wf_engine_run_t *run, wf_slice_t fields, wf_item_t *item)
{
    int         rc;
    wf_buf_t    id = WF_BUF_INIT;
    wf_slice_t  value;

    if (!wf_json_get(fields, "task_id", &value)
        || wf_json_type(value) != WF_JSON_STRING)
    {
        free(item);
        return 0;
    }

    wf_json_string(&id, value);

    if (id.failed) {
        wf_buf_free(&id);
        free(item);
        return -1;
    }

    value.data = id.data;
    value.len = id.len;

    pthread_mutex_lock(&run->lock);

    rc = wf_subtask_answer(run, value, item);

    pthread_mutex_unlock(&run->lock);

    wf_buf_free(&id);

    if (rc != 1) {
        free(item);
    }

    return rc == -1 ? -1 : 0;
}


/* Locked.  1: the item was taken over; 0: it is of no use; -1: no memory. */

static int
wf_subtask_answer(wf_engine_run_t *run, wf_slice_t id, wf_item_t *item)
{
    uint32_t        number;
    const char     *digest;
    wf_subtask_t   *task;
    wf_subtasks_t  *tasks;

    if (wf_run_ended(run)) {
        return 0;
    }

    tasks = wf_subtasks(run);
    if (tasks == NULL) {
        return -1;
    }

    if (!wf_subtask_parse(tasks, id, &digest, &number)) {
        return 0;
    }

    task = wf_subtask_find(tasks, digest, number);

    if (task == NULL) {
        return wf_subtask_early(run, digest, number, item);
    }

    if (!task->sent || task->answered) {
        return 0;
    }

    task->answered = 1;
    tasks->outstanding--;

    wf_item_send(run, item);

    return 1;
}


static int
wf_subtask_early(wf_engine_run_t *run, const char *digest, uint32_t number,
    wf_item_t *item)
{
    wf_subtask_t  *task;

    if (run->subtasks->n >= WF_MAX_SUBTASKS) {
        return 0;
    }

    task = wf_subtask_create();
    if (task == NULL) {
        return -1;
    }

    wf_subtask_add(run->subtasks, task, digest, number);
    task->early = item;

    return 1;
}


static int
wf_subtask_parse(const wf_subtasks_t *tasks, wf_slice_t id,
    const char **digest, uint32_t *number)
{
    if (id.len < tasks->prefix_len
        || memcmp(id.data, tasks->prefix, tasks->prefix_len) != 0)
    {
        return 0;
    }

    id.data += tasks->prefix_len;
    id.len -= tasks->prefix_len;

    if (wf_subtask_suffix(id, number) != 0) {
        return 0;
    }

    *digest = id.data;

    return 1;
}


int
wf_subtask_suffix(wf_slice_t text, uint32_t *number)
{
    char      c;
    size_t    i;
    uint32_t  n;

    if (text.len < WF_DIGEST_LEN + 2 || text.len > WF_SUBTASK_SUFFIX - 1
        || text.data[WF_DIGEST_LEN] != '-'
        || text.data[WF_DIGEST_LEN + 1] == '0')
    {
        return -1;
    }

    for (i = 0; i < WF_DIGEST_LEN; i++) {
        c = text.data[i];

        if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) {
            return -1;
        }
    }

    n = 0;

    for (i = WF_DIGEST_LEN + 1; i < text.len; i++) {
        c = text.data[i];

        if (c < '0' || c > '9') {
            return -1;
        }

        n = n * 10 + (uint32_t) (c - '0');
    }

    *number = n;

    return 0;
}
