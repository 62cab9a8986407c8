#include <workflow.h>

#include <stdlib.h>

#include "wf_event.h"
#include "wf_json.h"
#include "wf_publish.h"
#include "wf_text.h"


#define WF_EVENT_MODULE  "llama_index.core.workflow.events."


typedef struct {
    const char  *type;
    const char  *declared;      /* NULL: none */
} wf_event_class_t;


static int wf_event_flatten(wf_slice_t value, wf_slice_t data, wf_buf_t *b);
static wf_key_t *wf_event_keys(wf_slice_t object, size_t *n);
static void wf_event_add(wf_buf_t *b, wf_slice_t key, wf_slice_t value,
    int first);
static const wf_event_class_t *wf_event_class(const char *type);


static const wf_event_class_t  wf_event_classes[] = {
    { WF_EVENT, NULL },
    { WF_START_EVENT, NULL },
    { WF_STOP_EVENT, "result" },
    { WF_INPUT_REQUIRED_EVENT, "prefix" },
    { WF_HUMAN_RESPONSE_EVENT, "response" },
};


int
wf_event_parse(wf_slice_t object, wf_slice_t *qualified, wf_slice_t *fields,
    wf_buf_t *memory)
{
    wf_slice_t               members[3], data;
    static const wf_slice_t  keys[] = {
        { "__is_pydantic", 13 },
        { "value", 5 },
        { "qualified_name", 14 }
    };

    wf_json_members(object, keys, 3, members);

    if (members[0].data == NULL || wf_json_type(members[0]) != WF_JSON_TRUE
        || members[1].data == NULL || wf_json_type(members[1]) != WF_JSON_OBJECT
        || members[2].data == NULL || wf_json_type(members[2]) != WF_JSON_STRING
        || members[2].len == 2)
    {
        return -1;
    }

    *qualified = members[2];
    *fields = members[1];

    if (!wf_json_get(members[1], "_data", &data)) {
        return 0;
    }

    if (wf_json_type(data) != WF_JSON_OBJECT) {
        return -1;
    }

    if (wf_event_flatten(members[1], data, memory)) {
        return -2;
    }

    fields->data = memory->data;
    fields->len = memory->len;

    return 0;
}


/* Declared fields, then those of _data that no declared one hides. */

static int
wf_event_flatten(wf_slice_t value, wf_slice_t data, wf_buf_t *b)
{
    int              first;
    size_t           n;
    wf_key_t        *declared, key;
    wf_slice_t       name, member;
    wf_json_iter_t   it;

    declared = wf_event_keys(value, &n);
    if (declared == NULL) {
        return -1;
    }

    first = 1;
    wf_buf_addc(b, '{');
    wf_json_iter_init(&it, value);

    while (wf_json_next(&it, &name, &member)) {
        if (member.data != data.data) {
            wf_event_add(b, name, member, first);
            first = 0;
        }
    }

    wf_json_iter_init(&it, data);

    while (wf_json_next(&it, &name, &member)) {
        key = wf_key(name);

        if (!wf_keys_find(declared, n, &key)) {
            wf_event_add(b, name, member, first);
            first = 0;
        }
    }

    wf_buf_addc(b, '}');
    free(declared);

    return b->failed ? -1 : 0;
}


/* The sorted keys of an object but "_data"; NULL: no memory. */

static wf_key_t *
wf_event_keys(wf_slice_t object, size_t *n)
{
    size_t           size;
    wf_key_t        *keys, *more;
    wf_slice_t       name, member;
    wf_json_iter_t   it;

    *n = 0;
    size = 16;

    keys = malloc(size * sizeof(wf_key_t));
    if (keys == NULL) {
        return NULL;
    }

    wf_json_iter_init(&it, object);

    while (wf_json_next(&it, &name, &member)) {

        if (wf_json_string_eq(name, "_data", 5)) {
            continue;
        }

        if (*n == size) {
            size *= 2;

            more = realloc(keys, size * sizeof(wf_key_t));
            if (more == NULL) {
                free(keys);
                return NULL;
            }

            keys = more;
        }

        keys[(*n)++] = wf_key(name);
    }

    wf_keys_sort(keys, *n);

    return keys;
}


static void
wf_event_add(wf_buf_t *b, wf_slice_t key, wf_slice_t value, int first)
{
    if (!first) {
        wf_buf_adds(b, ", ");
    }

    wf_buf_add(b, key.data, key.len);
    wf_buf_adds(b, ": ");
    wf_buf_add(b, value.data, value.len);
}


void
wf_event_dump(wf_buf_t *b, const char *type, wf_slice_t fields)
{
    int                      first, others;
    wf_slice_t               key, value;
    wf_json_iter_t           it;
    const wf_event_class_t  *class;

    class = wf_event_class(type);

    first = 1;
    wf_buf_addc(b, '{');

    if (class != NULL && class->declared != NULL) {

        if (wf_json_get(fields, class->declared, &value)) {
            wf_buf_addc(b, '"');
            wf_buf_adds(b, class->declared);
            wf_buf_adds(b, "\": ");
            wf_buf_add(b, value.data, value.len);
            first = 0;

        } else if (strcmp(class->type, WF_STOP_EVENT) == 0) {

            /* the one declared field that has a default */

            wf_buf_adds(b, "\"result\": null");
            first = 0;
        }
    }

    others = 0;
    wf_json_iter_init(&it, fields);

    while (wf_json_next(&it, &key, &value)) {

        if (class == NULL) {
            wf_event_add(b, key, value, first);
            first = 0;
            continue;
        }

        if (class->declared != NULL
            && wf_json_string_eq(key, class->declared,
                                 strlen(class->declared)))
        {
            continue;
        }

        if (!others) {
            wf_buf_adds(b, first ? "\"_data\": {" : ", \"_data\": {");
        }

        wf_event_add(b, key, value, !others);
        others = 1;
    }

    wf_buf_adds(b, others ? "}}" : "}");
}


static const wf_event_class_t *
wf_event_class(const char *type)
{
    size_t  i;

    if (strncmp(type, WF_EVENT_MODULE, sizeof(WF_EVENT_MODULE) - 1) == 0) {
        type += sizeof(WF_EVENT_MODULE) - 1;
    }

    for (i = 0; i < sizeof(wf_event_classes) / sizeof(wf_event_class_t); i++) {
        if (strcmp(type, wf_event_classes[i].type) == 0) {
            return &wf_event_classes[i];
        }
    }

    return NULL;
}
