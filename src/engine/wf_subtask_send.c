/* A step sends a task to another service. */

#include <openssl/evp.h>

#include "wf_engine.h"


#define WF_MAX_SERVICE  128     /* bytes of a service's name */


static wf_status_t wf_subtask_check(wf_call_t *call, const char *service,
    const char *json, size_t len, wf_slice_t *input);
static wf_status_t wf_subtask_send(wf_call_t *call, const char *digest,
    wf_subtask_t *task, const char **task_id);
static wf_subtask_t *wf_subtask_again(wf_call_t *call, const char *digest);


wf_status_t
wf_host_send_task(wf_run_t *r, const char *service, const char *json,
    size_t len, const char **task_id)
{
    int               wake;
    char             *text, digest[WF_DIGEST_LEN];
    size_t            n;
    wf_call_t        *call;
    wf_slice_t        input, sum;
    wf_status_t       status;
    wf_subtask_t     *task;
    wf_engine_run_t  *run;

    call = (wf_call_t *) r;
    run = call->engine;

    status = wf_subtask_check(call, service, json, len, &input);
    if (status != WF_OK) {
        return status;
    }

    n = strlen(service);

    task = wf_subtask_create();
    text = malloc(n + 1 + input.len + 1);

    if (task == NULL || text == NULL) {
        free(task);
        free(text);
        return wf_host_no_memory(call);
    }

    memcpy(text, service, n + 1);
    memcpy(text + n + 1, input.data, input.len);
    text[n + 1 + input.len] = '\0';

    task->task.service.data = text;
    task->task.service.len = n;
    task->task.input.data = text + n + 1;
    task->task.input.len = input.len;

    sum.data = text;
    sum.len = n + 1 + input.len;

    if (wf_subtask_digest(sum, digest) != 0) {
        wf_subtask_free(task);
        return wf_host_no_memory(call);
    }

    pthread_mutex_lock(&run->lock);

    if (run->subtasks != NULL) {
        wf_host_wait_room(run, &run->subtasks->size);
    }

    if (wf_run_ended(run)) {
        pthread_mutex_unlock(&run->lock);
        wf_subtask_free(task);
        return wf_host_ended(call);
    }

    status = wf_subtask_send(call, digest, task, task_id);
    wake = status == WF_OK && wf_run_alert(run);

    wf_host_unlock(run, wake);

    return status;
}


static wf_status_t
wf_subtask_check(wf_call_t *call, const char *service, const char *json,
    size_t len, wf_slice_t *input)
{
    wf_status_t  status;

    if (service == NULL || !wf_subtask_service(service)) {
        (void) wf_call_error(call, WF_FINAL, "wf_send_task: a service's name"
                             " has 1 to 128 letters, digits, \"_\", \"-\" and"
                             " \".\"", NULL);
        return WF_FINAL;
    }

    status = wf_host_check(call, "wf_send_task", service, json, len, input);

    if (status == WF_OK && wf_json_type(*input) != WF_JSON_OBJECT) {
        (void) wf_call_error(call, WF_ERROR, "wf_send_task: the input for ",
                             service, " is not a JSON object", NULL);
        return WF_ERROR;
    }

    return status;
}


int
wf_subtask_service(const char *name)
{
    size_t  len;

    len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                       "0123456789_-.");

    return len != 0 && len <= WF_MAX_SERVICE && name[len] == '\0';
}


int
wf_subtask_digest(wf_slice_t text, char *digest)
{
    size_t         i;
    unsigned char  md[EVP_MAX_MD_SIZE];

    static const char  hex[] = "0123456789abcdef";

    if (EVP_Digest(text.data, text.len, md, NULL, EVP_sha256(), NULL) != 1) {
        return -1;
    }

    for (i = 0; i < WF_DIGEST_LEN; i++) {
        digest[i] = hex[(i & 1 ? md[i / 2] : md[i / 2] >> 4) & 0x0f];
    }

    return 0;
}


/* Locked.  Takes over the task, or frees it. */

static wf_status_t
wf_subtask_send(wf_call_t *call, const char *digest, wf_subtask_t *task,
    const char **task_id)
{
    uint32_t          number;
    wf_subtask_t     *known;
    wf_subtasks_t    *tasks;
    wf_engine_run_t  *run;

    run = call->engine;
    known = wf_subtask_again(call, digest);

    if (known == NULL) {
        tasks = wf_subtasks(run);

        if (tasks == NULL) {
            wf_subtask_free(task);
            return wf_host_no_memory(call);
        }

        if (tasks->n >= WF_MAX_SUBTASKS) {
            wf_subtask_free(task);
            return wf_call_error(call, WF_FINAL, "wf_send_task: the run has"
                                 " sent 10000 tasks already", NULL);
        }

        number = wf_subtask_number(tasks, digest);
        known = wf_subtask_find(tasks, digest, number);

        if (known == NULL) {
            wf_subtask_add(tasks, task, digest, number);
            wf_subtask_put_out(tasks, task);
            known = task;
            tasks->outstanding++;

        } else {
            known->answered = 1;
            wf_item_send(run, known->early);
            known->early = NULL;
        }

        known->sent = 1;
        known->of_job = call->job->sent;
        call->job->sent = known;
    }

    if (known != task) {
        wf_subtask_free(task);
    }

    if (task_id != NULL) {
        *task_id = known->task.id.data;
    }

    return WF_OK;
}


/* What a call that is made again has sent before; of equal ones the first, so
 * that each has the id that it had. */

static wf_subtask_t *
wf_subtask_again(wf_call_t *call, const char *digest)
{
    wf_subtask_t  *task, *first;

    if (call->again == 0) {
        return NULL;
    }

    first = NULL;

    for (task = call->job->sent; task != NULL; task = task->of_job) {
        if (task->again && (first == NULL || task->number < first->number)
            && memcmp(task->digest, digest, WF_DIGEST_LEN) == 0)
        {
            first = task;
        }
    }

    if (first != NULL) {
        first->again = 0;
        call->again--;
    }

    return first;
}
