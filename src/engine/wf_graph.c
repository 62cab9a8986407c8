/*
 * A workflow's tables: steps in order, and for each type the steps that take
 * it.
 */

#include "wf_engine.h"


static int wf_graph_fill(wf_graph_t *g, const wf_plugin_t *plugin,
    const wf_workflow_t *w);
static int wf_graph_add_steps(wf_graph_t *g, const wf_plugin_t *plugin,
    const wf_workflow_t *w);
static int wf_graph_add_type(wf_graph_t *g, const char *name, uint32_t step);
static void wf_graph_find_waits(wf_graph_t *g, const wf_workflow_t *w);
static int wf_graph_compare(const void *one, const void *two);
static int wf_slice_compare(const char *name, wf_slice_t s);
static wf_slice_t wf_slice_class(wf_slice_t s);
static wf_slice_t wf_slice_of(const char *s);


/* The sizes of version 1.0, whatever later versions append. */

#define wf_size_1_0(type, last)                                               \
    (offsetof(type, last) + sizeof(((type *) 0)->last))


wf_graph_t *
wf_graph_create(const wf_plugin_t *plugin, uint32_t i, wf_buf_t *error)
{
    wf_graph_t           *g;
    const wf_workflow_t  *w;

    if (plugin->size < wf_size_1_0(wf_plugin_t, workflows)
        || plugin->workflow_size < wf_size_1_0(wf_workflow_t, external)
        || plugin->workflow_size % sizeof(void *) != 0
        || plugin->step_size < wf_size_1_0(wf_step_t, retry)
        || plugin->step_size % sizeof(void *) != 0)
    {
        wf_buf_adds(error, "The plugin's structures have impossible sizes.");
        return NULL;
    }

    if (plugin->workflows == NULL || i >= plugin->nworkflows) {
        wf_buf_adds(error, "The plugin has no such workflow.");
        return NULL;
    }

    w = (const wf_workflow_t *) (const void *)
        ((const char *) plugin->workflows + (size_t) i * plugin->workflow_size);

    if (wf_check_steps(plugin, w, error) != 0) {
        return NULL;
    }

    if (!(w->flags & WF_DISABLE_VALIDATION)
        && wf_check_events(plugin, w, error) != 0)
    {
        return NULL;
    }

    g = calloc(1, sizeof(wf_graph_t));

    if (g == NULL || wf_graph_fill(g, plugin, w) != 0) {
        wf_buf_adds(error, WF_NO_MEMORY);
        wf_graph_free(g);
        return NULL;
    }

    return g;
}


static int
wf_graph_fill(wf_graph_t *g, const wf_plugin_t *plugin, const wf_workflow_t *w)
{
    g->name = wf_strdup(w->name);
    g->description = wf_strdup(w->description ? w->description : "");
    g->steps = calloc(w->nsteps, sizeof(wf_graph_step_t));

    if (g->name == NULL || g->description == NULL || g->steps == NULL) {
        return -1;
    }

    if (wf_graph_add_steps(g, plugin, w) != 0) {
        return -1;
    }

    wf_graph_find_waits(g, w);

    return 0;
}


static int
wf_graph_add_steps(wf_graph_t *g, const wf_plugin_t *plugin,
    const wf_workflow_t *w)
{
    size_t              len;
    uint32_t            i;
    wf_graph_step_t    *gs;
    const wf_step_t    *s, **order;
    const char *const  *type;

    order = malloc(w->nsteps * sizeof(wf_step_t *));
    if (order == NULL) {
        return -1;
    }

    for (i = 0; i < w->nsteps; i++) {
        order[i] = wf_manifest_step(plugin, w, i);
    }

    qsort(order, w->nsteps, sizeof(wf_step_t *), wf_graph_compare);

    for (i = 0; i < w->nsteps; i++) {
        s = order[i];
        gs = &g->steps[i];

        len = strlen(s->name) + sizeof("Error in step '': " WF_NO_MEMORY);

        gs->name = wf_strdup(s->name);
        gs->no_memory = malloc(len);
        g->nsteps++;

        if (gs->name == NULL || gs->no_memory == NULL) {
            break;
        }

        (void) snprintf(gs->no_memory, len, "Error in step '%s': %s", s->name,
                        WF_NO_MEMORY);

        gs->run = s->run;
        gs->num_workers = s->num_workers ? s->num_workers : 4;

        if (s->retry != NULL) {
            gs->has_retry = 1;
            gs->retry = *s->retry;
        }

        for (type = s->accepts; *type != NULL; type++) {
            if (wf_graph_add_type(g, *type, i) != 0) {
                break;
            }
        }

        if (*type != NULL) {
            break;
        }
    }

    free(order);

    return i == w->nsteps ? 0 : -1;
}


static int
wf_graph_add_type(wf_graph_t *g, const char *name, uint32_t step)
{
    char             *copy;
    uint32_t          i, *steps;
    wf_graph_type_t  *type, *types;

    for (i = 0; i < g->ntypes; i++) {
        if (strcmp(g->types[i].name, name) >= 0) {
            break;
        }
    }

    if (i == g->ntypes || strcmp(g->types[i].name, name) != 0) {
        types = realloc(g->types, (g->ntypes + 1) * sizeof(wf_graph_type_t));
        if (types == NULL) {
            return -1;
        }

        g->types = types;

        copy = wf_strdup(name);
        if (copy == NULL) {
            return -1;
        }

        memmove(&types[i + 1], &types[i],
                (g->ntypes - i) * sizeof(wf_graph_type_t));

        types[i].name = copy;
        types[i].nsteps = 0;
        types[i].steps = NULL;
        g->ntypes++;
    }

    type = &g->types[i];

    if (wf_graph_accepts(type, step)) {
        return 0;
    }

    steps = realloc(type->steps, (type->nsteps + 1) * sizeof(uint32_t));
    if (steps == NULL) {
        return -1;
    }

    type->steps = steps;
    type->steps[type->nsteps++] = step;

    return 0;
}


static void
wf_graph_find_waits(wf_graph_t *g, const wf_workflow_t *w)
{
    const char *const  *type;

    g->waits = wf_graph_type(g, wf_slice(WF_HUMAN_RESPONSE_EVENT)) != NULL;
    g->results = wf_graph_type(g, wf_slice(WF_TASK_RESULT_EVENT)) != NULL;

    if (w->external == NULL) {
        return;
    }

    for (type = w->external; *type != NULL; type++) {
        if (wf_graph_type(g, wf_slice_of(*type)) != NULL) {
            g->waits = 1;
        }
    }
}


void
wf_graph_free(wf_graph_t *g)
{
    uint32_t  i;

    if (g == NULL) {
        return;
    }

    for (i = 0; i < g->nsteps; i++) {
        free(g->steps[i].name);
        free(g->steps[i].no_memory);
    }

    for (i = 0; i < g->ntypes; i++) {
        free(g->types[i].name);
        free(g->types[i].steps);
    }

    free(g->steps);
    free(g->types);
    free(g->name);
    free(g->description);
    free(g);
}


const char *
wf_graph_name(const wf_graph_t *g)
{
    return g->name;
}


const char *
wf_graph_description(const wf_graph_t *g)
{
    return g->description;
}


const char *
wf_graph_match(const wf_graph_t *g, wf_slice_t qualified)
{
    uint32_t                i;
    wf_slice_t              class, other;
    const wf_graph_type_t  *type;

    type = wf_graph_type(g, qualified);
    if (type != NULL) {
        return type->name;
    }

    class = wf_slice_class(qualified);

    for (i = 0; i < g->ntypes; i++) {
        other = wf_slice_class(wf_slice_of(g->types[i].name));

        if (other.len == class.len
            && memcmp(other.data, class.data, class.len) == 0)
        {
            return g->types[i].name;
        }
    }

    return NULL;
}


const char *
wf_graph_match_public(const wf_graph_t *g, wf_slice_t qualified)
{
    const char  *type;

    type = wf_graph_match(g, qualified);

    return type != NULL && strcmp(type, WF_TASK_RESULT_EVENT) != 0 ? type
                                                                   : NULL;
}


int
wf_graph_takes_results(const wf_graph_t *g)
{
    return g->results;
}


void
wf_graph_accepted(const wf_graph_t *g, wf_buf_t *b)
{
    uint32_t     i;
    const char  *separator;

    separator = "";

    for (i = 0; i < g->ntypes; i++) {
        if (strcmp(g->types[i].name, WF_START_EVENT) != 0
            && strcmp(g->types[i].name, WF_TASK_RESULT_EVENT) != 0)
        {
            wf_buf_adds(b, separator);
            wf_buf_adds(b, g->types[i].name);
            separator = ", ";
        }
    }
}


const wf_graph_type_t *
wf_graph_type(const wf_graph_t *g, wf_slice_t name)
{
    int       c;
    uint32_t  low, high, middle;

    low = 0;
    high = g->ntypes;

    while (low < high) {
        middle = low + (high - low) / 2;

        c = wf_slice_compare(g->types[middle].name, name);

        if (c == 0) {
            return &g->types[middle];
        }

        if (c < 0) {
            low = middle + 1;

        } else {
            high = middle;
        }
    }

    return NULL;
}


int
wf_graph_step(const wf_graph_t *g, wf_slice_t name)
{
    uint32_t  i;

    for (i = 0; i < g->nsteps; i++) {
        if (wf_slice_eq(name, g->steps[i].name)) {
            return (int) i;
        }
    }

    return -1;
}


int
wf_graph_accepts(const wf_graph_type_t *type, uint32_t step)
{
    uint32_t  i;

    for (i = 0; i < type->nsteps; i++) {
        if (type->steps[i] == step) {
            return 1;
        }
    }

    return 0;
}


static int
wf_graph_compare(const void *one, const void *two)
{
    const wf_step_t *const  *a, *const *b;

    a = one;
    b = two;

    return strcmp((*a)->name, (*b)->name);
}


static int
wf_slice_compare(const char *name, wf_slice_t s)
{
    int     c;
    size_t  len, n;

    len = strlen(name);
    n = len < s.len ? len : s.len;

    c = n ? memcmp(name, s.data, n) : 0;

    if (c != 0) {
        return c;
    }

    return len < s.len ? -1 : len > s.len;
}


static wf_slice_t
wf_slice_class(wf_slice_t s)
{
    size_t  i;

    for (i = s.len; i > 0; i--) {
        if (s.data[i - 1] == '.') {
            break;
        }
    }

    s.data += i;
    s.len -= i;

    return s;
}


static wf_slice_t
wf_slice_of(const char *s)
{
    wf_slice_t  slice;

    slice.data = s;
    slice.len = strlen(s);

    return slice;
}


char *
wf_strdup(const char *s)
{
    char    *copy;
    size_t   size;

    size = strlen(s) + 1;

    copy = malloc(size);

    return copy ? memcpy(copy, s, size) : NULL;
}
