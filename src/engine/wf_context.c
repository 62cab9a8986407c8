/*
 * A run's context: keys in order, and values that never change, so that what
 * a step was given stays as it was.
 */

#include "wf_engine.h"


static size_t wf_context_find(const wf_engine_run_t *run, const char *key,
    int *found);


wf_value_t *
wf_value_create(wf_slice_t data)
{
    wf_value_t  *value;

    value = malloc(sizeof(wf_value_t) + data.len + 1);
    if (value == NULL) {
        return NULL;
    }

    value->refs = 1;
    value->len = data.len;
    memcpy(value->data, data.data, data.len);
    value->data[data.len] = '\0';

    return value;
}


void
wf_value_release(wf_value_t *value)
{
    if (--value->refs == 0) {
        free(value);
    }
}


wf_value_t *
wf_context_get(const wf_engine_run_t *run, const char *key)
{
    int     found;
    size_t  i;

    i = wf_context_find(run, key, &found);

    return found ? run->entries[i].value : NULL;
}


/* Takes the value over, unless it returns -1: no memory. */

int
wf_context_set(wf_engine_run_t *run, const char *key, wf_value_t *value)
{
    int          found;
    char        *copy;
    size_t       i, size;
    wf_entry_t  *entries;

    i = wf_context_find(run, key, &found);

    if (found) {
        wf_value_release(run->entries[i].value);
        run->entries[i].value = value;
        return 0;
    }

    if (run->nentries == run->size) {
        size = run->size ? run->size * 2 : 8;

        entries = realloc(run->entries, size * sizeof(wf_entry_t));
        if (entries == NULL) {
            return -1;
        }

        run->entries = entries;
        run->size = size;
    }

    copy = wf_strdup(key);
    if (copy == NULL) {
        return -1;
    }

    memmove(&run->entries[i + 1], &run->entries[i],
            (run->nentries - i) * sizeof(wf_entry_t));

    run->entries[i].key = copy;
    run->entries[i].value = value;
    run->nentries++;

    return 0;
}


void
wf_context_free(wf_engine_run_t *run)
{
    size_t  i;

    for (i = 0; i < run->nentries; i++) {
        wf_value_release(run->entries[i].value);
        free(run->entries[i].key);
    }

    free(run->entries);
}


static size_t
wf_context_find(const wf_engine_run_t *run, const char *key, int *found)
{
    int     c;
    size_t  low, high, middle;

    low = 0;
    high = run->nentries;
    *found = 0;

    while (low < high) {
        middle = low + (high - low) / 2;

        c = strcmp(run->entries[middle].key, key);

        if (c == 0) {
            *found = 1;
            return middle;
        }

        if (c < 0) {
            low = middle + 1;

        } else {
            high = middle;
        }
    }

    return low;
}
