/*
 * workflow_jansson.h: workflow.h for authors who use jansson.
 *
 * Optional: a plugin that includes it links with -ljansson.  Functions that
 * take a json_t to send, stream, set or stop with take the reference too, also
 * when they fail; NULL is what jansson returns without memory and fails.  So
 *
 *     return wf_stop_json(run, json_sprintf("Hello, %s!", name));
 *
 * needs no more.  As in workflow.h, an error text has been kept whenever the
 * status is neither WF_OK nor WF_AGAIN: a step may return it as its own.
 */

#ifndef WORKFLOW_JANSSON_H_INCLUDED_
#define WORKFLOW_JANSSON_H_INCLUDED_


#include <stdlib.h>

#include <jansson.h>
#include <workflow.h>


/* For the functions below. */

static inline wf_status_t
wf_json_load_(wf_run_t *run, const char *text, size_t len, json_t **json)
{
    json_error_t  error;

    *json = json_loadb(text, len, JSON_DECODE_ANY, &error);

    if (*json == NULL) {
        return wf_fail(run, "jansson: %s", error.text);
    }

    return WF_OK;
}


static inline char *
wf_json_dump_(wf_run_t *run, json_t *json)
{
    char  *text;

    text = json_dumps(json, JSON_ENCODE_ANY|JSON_COMPACT);
    json_decref(json);

    if (text == NULL) {
        (void) wf_fail(run, "no value, or no memory for its JSON");
    }

    return text;
}


/* The event's fields, an object.  The caller owns the reference. */

static inline wf_status_t
wf_event_json(wf_run_t *run, const wf_event_t *ev, json_t **fields)
{
    return wf_json_load_(run, ev->data, ev->len, fields);
}


/* A field that must be there and a string; valid as long as fields is. */

static inline wf_status_t
wf_string_field(wf_run_t *run, const json_t *fields, const char *name,
    const char **value)
{
    json_t  *field;

    *value = NULL;

    field = json_object_get(fields, name);

    if (field == NULL) {
        return wf_fail_final(run, "%s is required.", name);
    }

    if (!json_is_string(field)) {
        return wf_fail_final(run, "%s must be a string.", name);
    }

    *value = json_string_value(field);

    return WF_OK;
}


/* A field that must be there and an integer from min to max. */

static inline wf_status_t
wf_int_field(wf_run_t *run, const json_t *fields, const char *name, int min,
    int max, int *value)
{
    json_t      *field;
    json_int_t   n;

    *value = 0;

    field = json_object_get(fields, name);

    if (field == NULL) {
        return wf_fail_final(run, "%s is required.", name);
    }

    n = json_integer_value(field);

    if (!json_is_integer(field) || n < min || n > max) {
        return wf_fail_final(run, "%s must be an integer from %d to %d.",
                             name, min, max);
    }

    *value = (int) n;

    return WF_OK;
}


/* Send an event.  Takes fields, an object. */

static inline wf_status_t
wf_send_json(wf_run_t *run, const char *type, json_t *fields)
{
    char         *text;
    wf_status_t   rc;

    text = wf_json_dump_(run, fields);
    if (text == NULL) {
        return WF_ERROR;
    }

    rc = wf_send(run, type, text, strlen(text));
    free(text);

    return rc;
}


/* Publish an event to whoever follows the task.  Takes fields, an object. */

static inline wf_status_t
wf_stream_json(wf_run_t *run, const char *type, json_t *fields)
{
    char         *text;
    wf_status_t   rc;

    text = wf_json_dump_(run, fields);
    if (text == NULL) {
        return WF_ERROR;
    }

    rc = wf_stream(run, type, text, strlen(text));
    free(text);

    return rc;
}


/* Send a task to another service.  Takes the input, an object. */

static inline wf_status_t
wf_send_task_json(wf_run_t *run, const char *service, json_t *input,
    const char **task_id)
{
    char         *text;
    wf_status_t   rc;

    text = wf_json_dump_(run, input);
    if (text == NULL) {
        return WF_ERROR;
    }

    rc = wf_send_task(run, service, text, strlen(text), task_id);
    free(text);

    return rc;
}


/* End the run.  Takes the result, any value. */

static inline wf_status_t
wf_stop_json(wf_run_t *run, json_t *result)
{
    char         *text;
    wf_status_t   rc;

    text = wf_json_dump_(run, result);
    if (text == NULL) {
        return WF_ERROR;
    }

    rc = wf_stop(run, text, strlen(text));
    free(text);

    return rc;
}


/* Read a key of the context.  WF_AGAIN: there is none.  The caller owns the
 * reference, a value of its own: changing it changes nothing in the context. */

static inline wf_status_t
wf_get_json(wf_run_t *run, const char *key, json_t **value)
{
    size_t        len;
    const char   *text;
    wf_status_t   rc;

    *value = NULL;

    rc = wf_get(run, key, &text, &len);
    if (rc != WF_OK) {
        return rc;
    }

    return wf_json_load_(run, text, len, value);
}


/* Set a key of the context.  Takes the value. */

static inline wf_status_t
wf_set_json(wf_run_t *run, const char *key, json_t *value)
{
    char         *text;
    wf_status_t   rc;

    text = wf_json_dump_(run, value);
    if (text == NULL) {
        return WF_ERROR;
    }

    rc = wf_set(run, key, text, strlen(text));
    free(text);

    return rc;
}


#endif /* WORKFLOW_JANSSON_H_INCLUDED_ */
