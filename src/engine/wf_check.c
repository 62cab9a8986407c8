/*
 * Whether a manifest's workflow can run.  Texts are the reference's where it
 * has one.
 */

#include <limits.h>

#include "wf_engine.h"


typedef struct {
    const char  **names;
    size_t        n;
} wf_names_t;


static int wf_check_step(const wf_step_t *s, wf_buf_t *error,
    wf_buf_t *scratch);
static int wf_check_types(const char *const *types, const char *what,
    const char *step, wf_buf_t *error, wf_buf_t *scratch);
static int wf_check_twice(const wf_plugin_t *plugin, const wf_workflow_t *w,
    wf_buf_t *error);
static void wf_check_say(wf_buf_t *error, const char *before,
    const char *name, const char *after);
static int wf_names_collect(const wf_plugin_t *plugin, const wf_workflow_t *w,
    wf_names_t *consumed, wf_names_t *produced);
static int wf_names_missing(const wf_workflow_t *w, const wf_names_t *names,
    const wf_names_t *in, const char *text, wf_buf_t *error);
static int wf_names_has(const wf_names_t *names, const char *name);
static int wf_names_exempt(const wf_workflow_t *w, const char *name);
static int wf_names_compare(const void *one, const void *two);


const wf_step_t *
wf_manifest_step(const wf_plugin_t *plugin, const wf_workflow_t *w, uint32_t i)
{
    return (const wf_step_t *) (const void *)
           ((const char *) w->steps + (size_t) i * plugin->step_size);
}


int
wf_check_name(const char *name, wf_buf_t *scratch)
{
    int         good;
    size_t      len;
    wf_slice_t  string;

    len = strlen(name);

    /* What is not UTF-8 does not survive being written and read. */

    scratch->len = 0;
    wf_json_quote(scratch, name, len);

    if (scratch->failed) {
        return -1;
    }

    string.data = scratch->data;
    string.len = scratch->len;

    good = len != 0 && wf_json_string_eq(string, name, len);
    scratch->len = 0;

    return good;
}


int
wf_check_steps(const wf_plugin_t *plugin, const wf_workflow_t *w,
    wf_buf_t *error)
{
    int       rc;
    uint32_t  i;
    wf_buf_t  scratch = WF_BUF_INIT;

    rc = w->name == NULL ? 0 : wf_check_name(w->name, &scratch);

    if (rc == 0) {
        wf_buf_adds(error, "A workflow has no name, or one that is not UTF-8.");
    }

    if (rc == 1 && (w->steps == NULL || w->nsteps == 0)) {
        wf_check_say(error, "The workflow ", w->name, " has no steps.");
        rc = 0;
    }

    for (i = 0; rc == 1 && i < w->nsteps; i++) {
        rc = wf_check_step(wf_manifest_step(plugin, w, i), error, &scratch);
    }

    if (rc == 1 && w->external != NULL) {
        rc = wf_check_types(w->external, "external event type", w->name,
                            error, &scratch);
    }

    if (rc == 1) {
        rc = wf_check_twice(plugin, w, error);
    }

    wf_buf_free(&scratch);

    if (rc == -1) {
        wf_buf_adds(error, WF_NO_MEMORY);
    }

    return rc == 1 ? 0 : -1;
}


static int
wf_check_step(const wf_step_t *s, wf_buf_t *error, wf_buf_t *scratch)
{
    int  rc;

    rc = s->name == NULL ? 0 : wf_check_name(s->name, scratch);

    if (rc != 1) {
        if (rc == 0) {
            wf_buf_adds(error, "A step has no name, or one that is not UTF-8.");
        }

        return rc;
    }

    if (s->run == NULL) {
        wf_check_say(error, "Step ", s->name, " has no function.");
        return 0;
    }

    if (s->num_workers > INT_MAX) {
        wf_check_say(error, "num_workers must be an integer greater than 0,"
                     " but step ", s->name, " has another.");
        return 0;
    }

    if (s->accepts == NULL || s->accepts[0] == NULL) {
        wf_check_say(error, "Step signature must have at least one parameter"
                     " annotated as type Event, but step ", s->name,
                     " accepts none.");
        return 0;
    }

    rc = wf_check_types(s->accepts, "accepted event type", s->name, error,
                        scratch);

    if (rc == 1 && s->produces != NULL) {
        rc = wf_check_types(s->produces, "produced event type", s->name,
                            error, scratch);
    }

    return rc;
}


static int
wf_check_types(const char *const *types, const char *what, const char *name,
    wf_buf_t *error, wf_buf_t *scratch)
{
    int  rc;

    for ( /* void */ ; *types != NULL; types++) {
        rc = wf_check_name(*types, scratch);

        if (rc == 0) {
            wf_buf_adds(error, "An ");
            wf_buf_adds(error, what);
            wf_check_say(error, " of ", name, " has no name, or one that is"
                         " not UTF-8.");
        }

        if (rc != 1) {
            return rc;
        }
    }

    return 1;
}


static int
wf_check_twice(const wf_plugin_t *plugin, const wf_workflow_t *w,
    wf_buf_t *error)
{
    uint32_t     i, k;
    const char  *name;

    for (i = 1; i < w->nsteps; i++) {
        name = wf_manifest_step(plugin, w, i)->name;

        for (k = 0; k < i; k++) {
            if (strcmp(wf_manifest_step(plugin, w, k)->name, name) == 0) {
                wf_check_say(error, "A step ", name, " is already part of this"
                             " workflow, please choose another name.");
                return 0;
            }
        }
    }

    return 1;
}


int
wf_check_events(const wf_plugin_t *plugin, const wf_workflow_t *w,
    wf_buf_t *error)
{
    int         rc;
    wf_names_t  consumed, produced;

    rc = wf_names_collect(plugin, w, &consumed, &produced);

    if (rc != 0) {
        wf_buf_adds(error, WF_NO_MEMORY);

    } else {
        rc = wf_names_missing(w, &consumed, &produced,
                      "The following events are consumed but never produced: ",
                      error);
    }

    if (rc == 0) {
        rc = wf_names_missing(w, &produced, &consumed,
                      "The following events are produced but never consumed: ",
                      error);
    }

    free(consumed.names);
    free(produced.names);

    return rc;
}


static int
wf_names_collect(const wf_plugin_t *plugin, const wf_workflow_t *w,
    wf_names_t *consumed, wf_names_t *produced)
{
    size_t              n, m;
    uint32_t            i;
    const wf_step_t    *s;
    const char *const  *type;

    n = 1;
    m = 1;

    for (i = 0; i < w->nsteps; i++) {
        s = wf_manifest_step(plugin, w, i);

        for (type = s->accepts; *type != NULL; type++) {
            n++;
        }

        for (type = s->produces; type != NULL && *type != NULL; type++) {
            m++;
        }
    }

    consumed->names = malloc(n * sizeof(char *));
    produced->names = malloc(m * sizeof(char *));

    if (consumed->names == NULL || produced->names == NULL) {
        return -1;
    }

    n = 0;
    m = 0;

    consumed->names[n++] = WF_STOP_EVENT;
    produced->names[m++] = WF_START_EVENT;

    for (i = 0; i < w->nsteps; i++) {
        s = wf_manifest_step(plugin, w, i);

        for (type = s->accepts; *type != NULL; type++) {
            consumed->names[n++] = *type;
        }

        for (type = s->produces; type != NULL && *type != NULL; type++) {
            produced->names[m++] = *type;
        }
    }

    consumed->n = n;
    produced->n = m;

    qsort(consumed->names, n, sizeof(char *), wf_names_compare);
    qsort(produced->names, m, sizeof(char *), wf_names_compare);

    return 0;
}


static int
wf_names_missing(const wf_workflow_t *w, const wf_names_t *names,
    const wf_names_t *in, const char *text, wf_buf_t *error)
{
    int          rc;
    size_t       i;
    const char  *name;

    rc = 0;

    for (i = 0; i < names->n; i++) {
        name = names->names[i];

        if ((i > 0 && strcmp(names->names[i - 1], name) == 0)
            || wf_names_has(in, name)
            || wf_names_exempt(w, name))
        {
            continue;
        }

        wf_buf_adds(error, rc == 0 ? text : ", ");
        wf_buf_adds(error, name);
        rc = -1;
    }

    return rc;
}


static int
wf_names_has(const wf_names_t *names, const char *name)
{
    return bsearch(&name, names->names, names->n, sizeof(char *),
                   wf_names_compare)
           != NULL;
}


static int
wf_names_exempt(const wf_workflow_t *w, const char *name)
{
    const char *const  *type;

    if (strcmp(name, WF_INPUT_REQUIRED_EVENT) == 0
        || strcmp(name, WF_HUMAN_RESPONSE_EVENT) == 0
        || strcmp(name, WF_TASK_RESULT_EVENT) == 0)
    {
        return 1;
    }

    for (type = w->external; type != NULL && *type != NULL; type++) {
        if (strcmp(*type, name) == 0) {
            return 1;
        }
    }

    return 0;
}


static int
wf_names_compare(const void *one, const void *two)
{
    const char *const  *a, *const *b;

    a = one;
    b = two;

    return strcmp(*a, *b);
}


static void
wf_check_say(wf_buf_t *error, const char *before, const char *name,
    const char *after)
{
    wf_buf_adds(error, before);
    wf_buf_adds(error, name);
    wf_buf_adds(error, after);
}
