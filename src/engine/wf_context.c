/*
 * A run's context: keys in order, and values that never change, so that what
 * a step was given stays as it was.
 */

#include "wf_engine.h"


static size_t wf_context_search(const wf_engine_run_t *run, wf_slice_t key,
    int *found);
static int wf_context_compare(wf_slice_t a, wf_slice_t b);


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


wf_entry_t *
wf_context_find(const wf_engine_run_t *run, wf_slice_t key)
{
    int     found;
    size_t  i;

    i = wf_context_search(run, key, &found);

    return found ? &run->entries[i] : NULL;
}


/* Takes the value over, unless it returns -1: no memory. */

int
wf_context_set(wf_engine_run_t *run, wf_slice_t key, wf_value_t *value,
    int changed)
{
    int          found;
    char        *copy;
    size_t       i, size;
    wf_entry_t  *entries;

    i = wf_context_search(run, key, &found);

    if (found) {
        wf_value_release(run->entries[i].value);
        run->entries[i].value = value;
        run->entries[i].changed = changed;
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

    copy = malloc(key.len + 1);
    if (copy == NULL) {
        return -1;
    }

    memcpy(copy, key.data, key.len);
    copy[key.len] = '\0';

    memmove(&run->entries[i + 1], &run->entries[i],
            (run->nentries - i) * sizeof(wf_entry_t));

    run->entries[i].key.data = copy;
    run->entries[i].key.len = key.len;
    run->entries[i].value = value;
    run->entries[i].changed = changed;
    run->nentries++;

    return 0;
}


void
wf_context_free(wf_engine_run_t *run)
{
    size_t  i;

    for (i = 0; i < run->nentries; i++) {
        wf_value_release(run->entries[i].value);
        free((char *) run->entries[i].key.data);
    }

    free(run->entries);
}


int
wf_run_set(wf_engine_run_t *run, wf_slice_t key, wf_slice_t json)
{
    int          rc;
    wf_value_t  *value;

    value = wf_value_create(json);
    if (value == NULL) {
        return -1;
    }

    pthread_mutex_lock(&run->lock);

    rc = wf_context_set(run, key, value, 0);

    pthread_mutex_unlock(&run->lock);

    if (rc != 0) {
        free(value);
    }

    return rc;
}


int
wf_run_context(const wf_engine_run_t *run, size_t i, wf_run_context_t *entry)
{
    if (i >= run->nentries) {
        return 0;
    }

    entry->key = run->entries[i].key;
    entry->value.data = run->entries[i].value->data;
    entry->value.len = run->entries[i].value->len;
    entry->changed = run->entries[i].changed;

    return 1;
}


static size_t
wf_context_search(const wf_engine_run_t *run, wf_slice_t key, int *found)
{
    int     c;
    size_t  low, high, middle;

    low = 0;
    high = run->nentries;
    *found = 0;

    while (low < high) {
        middle = low + (high - low) / 2;

        c = wf_context_compare(run->entries[middle].key, key);

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


static int
wf_context_compare(wf_slice_t a, wf_slice_t b)
{
    int  c;

    c = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);

    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}
