/* The context that steps share, and what they collect. */

#include "engine.h"


static wf_status_t
writes(wf_run_t *run, const wf_event_t *ev)
{
    size_t       len, again;
    const char  *json, *later;

    (void) ev;

    if (set_text(run, "b", " [1, 2] ") != WF_OK
        || set_text(run, "a", "\"x\"") != WF_OK
        || set_text(run, "\xc3\xa9", "1") != WF_OK
        || wf_get(run, "b", &json, &len) != WF_OK
        || set_text(run, "b", "{\"later\": true}") != WF_OK
        || wf_get(run, "b", &later, &again) != WF_OK)
    {
        return WF_ERROR;
    }

    if (len != 6 || memcmp(json, "[1, 2]", 7) != 0) {
        return wf_fail(run, "a value that was given has changed");
    }

    if (again != 15 || strcmp(later, "{\"later\": true}") != 0) {
        return wf_fail(run, "not the last value");
    }

    return wf_get(run, "\xc3\xa9", &json, &len) == WF_OK
           ? wf_send(run, "Next", "{}", 2) : WF_ERROR;
}

static wf_status_t
reads(wf_run_t *run, const wf_event_t *ev)
{
    int          i;
    char         key[16];
    size_t       len;
    const char  *json;

    (void) ev;

    for (i = 0; i < 100; i++) {
        (void) snprintf(key, sizeof(key), "k%d", i * 37 % 100);

        if (wf_set(run, key, key + 1, strlen(key + 1)) != WF_OK) {
            return WF_ERROR;
        }
    }

    for (i = 0; i < 100; i++) {
        (void) snprintf(key, sizeof(key), "k%d", i);

        if (wf_get(run, key, &json, &len) != WF_OK
            || strcmp(json, key + 1) != 0)
        {
            return wf_fail(run, "%s", key);
        }
    }

    if (wf_get(run, NULL, &json, &len) != WF_ERROR
        || wf_get(run, "none", &json, &len) != WF_AGAIN)
    {
        return wf_fail(run, "found");
    }

    return wf_get(run, "a", &json, &len) == WF_OK ? wf_stop(run, json, len)
                                                   : WF_ERROR;
}

static const wf_step_t  context_steps[] = {
    STEP(writes, WF_TYPES(WF_START_EVENT), WF_TYPES("Next")),
    STEP(reads, WF_TYPES("Next"), WF_TYPES(WF_STOP_EVENT))
};
WORKFLOW(contexts, context_steps);


/* test_collect_events: a sequence of letters is sent, and what is collected
 * for "A", "B", "A" is put together. */

static wf_status_t
spread(wf_run_t *run, const wf_event_t *ev)
{
    int          n;
    char         type[2], json[32];
    const char  *p;

    n = 0;

    for (p = strchr(ev->data, ':') + 3; *p != '"'; p++) {
        type[0] = *p;
        type[1] = '\0';
        (void) snprintf(json, sizeof(json), "{\"n\": %d}", n++);

        if (send_text(run, type, json) != WF_OK) {
            return WF_ERROR;
        }
    }

    return WF_OK;
}

static wf_status_t
joins(wf_run_t *run, const wf_event_t *ev)
{
    char               text[64], *end;
    size_t             i;
    wf_event_t         other;
    wf_status_t        status;
    const wf_event_t  *events[3];
    const char *const  nothing[] = { NULL };

    if (wf_collect(run, ev, NULL, 0, NULL) != WF_OK) {
        return wf_fail(run, "an empty list");
    }

    other = *ev;

    if (wf_collect(run, &other, WF_TYPES("A"), 1, events) != WF_ERROR
        || wf_collect(run, ev, nothing, 1, events) != WF_ERROR
        || wf_collect(run, ev, WF_TYPES("A", "B", "never"), 3, events)
           != WF_AGAIN)
    {
        return wf_fail(run, "what cannot be collected");
    }

    if (ev->type[0] == 'C') {
        return wf_stop(run, "0", 1);
    }

    status = wf_collect(run, ev, WF_TYPES("A", "B", "A"), 3, events);

    if (status == WF_OK) {
        end = text + sprintf(text, "{\"set\": \"");

        for (i = 0; i < 3; i++) {
            end += sprintf(end, "%s%.1s", events[i]->type,
                           strchr(events[i]->data, ':') + 2);
        }

        end += sprintf(end, "\"}");

        status = wf_stream(run, "Set", text, (size_t) (end - text));
    }

    return status == WF_AGAIN ? WF_OK : status;
}

static wf_status_t
others(wf_run_t *run, const wf_event_t *ev)
{
    const wf_event_t  *events[1];

    /* Another step that collects the same takes nothing from the first. */

    return wf_collect(run, ev, WF_TYPES("A"), 1, events) == WF_OK
           && events[0] == ev ? WF_OK : WF_ERROR;
}

static const wf_step_t  collect_steps[] = {
    { .name = "joins", .accepts = WF_TYPES("A", "B", "C"),
      .produces = WF_TYPES(WF_STOP_EVENT), .run = joins, .num_workers = 1 },
    STEP(others, WF_TYPES("A"), NULL),
    STEP(spread, WF_TYPES(WF_START_EVENT), WF_TYPES("A", "B", "C"))
};
WORKFLOW(collecting, collect_steps);


static void
collects(const char *letters, const char *sets)
{
    char     input[64], output[256];
    owner_t  o;

    (void) snprintf(input, sizeof(input), "{\"s\": \"%sC\"}", letters);
    (void) snprintf(output, sizeof(output), "%s{\"result\": 0}\n", sets);

    owner_init(&o, &collecting);
    (void) owner_run(&o, input);
    is_str(o.output, output, letters);
    owner_free(&o);
}


int
main(void)
{
    completes(&contexts, "{}", "\"x\"", "get, set");

    collects("AB", "");
    collects("ABA", "{\"set\": \"A0B1A2\"}\n");
    collects("AAB", "{\"set\": \"A0B2A1\"}\n");
    collects("AAAAAB", "{\"set\": \"A0B5A1\"}\n");
    collects("AAAAABB", "{\"set\": \"A0B5A1\"}\n{\"set\": \"A2B6A3\"}\n");
    collects("BBBAAAA",
             "{\"set\": \"A3B0A4\"}\n{\"set\": \"A5B1A6\"}\n");
    collects("BBAABBAA",
             "{\"set\": \"A2B0A3\"}\n{\"set\": \"A6B1A7\"}\n");

    return done_testing();
}
