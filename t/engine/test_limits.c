/* How large the JSON is that a step may give: 32 megabytes. */

#include "engine.h"


#define LIMIT  (32 * 1024 * 1024)

static char  *large;        /* an object of LIMIT bytes, with a blank more */


static wf_status_t
gives(wf_run_t *run, const wf_event_t *ev)
{
    char    what;
    size_t  len;

    what = ev->data[strlen("{\"give\": \"")];
    len = strstr(ev->data, "more") == NULL ? LIMIT : LIMIT + 1;

    switch (what) {
    case 'e':
        return wf_send(run, WF_STOP_EVENT, large, len);
    case 's':
        return wf_stream(run, "Progress", large, len);
    case 'c':
        return wf_set(run, "key", large, len);
    case 'r':
        return wf_stop(run, large, len);
    default:
        return wf_stop_text(run, large, len);
    }
}

static wf_status_t
ends(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;

    return wf_stop(run, "null", 4);
}

static const wf_step_t  give_steps[] = {
    STEP(gives, WF_TYPES(WF_START_EVENT), WF_TYPES(WF_STOP_EVENT)),
    { .name = "z_ends", .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT), .run = ends },
};
WORKFLOW(giving, give_steps);


static void
test_limit(const char *what, const char *error)
{
    char     input[64], text[128];
    owner_t  o;

    /* one thread: the step that ends the run follows */

    (void) snprintf(input, sizeof(input), "{\"give\": \"%s\"}", what);
    owner_init(&o, &giving);
    (void) wf_run_start(o.run, test_slice(input));
    (void) wf_run_threads(o.run);
    wf_run_work(o.run);
    ok(wf_run_state(o.run) == WF_RUN_COMPLETED, "%s, 32 megabytes", what);
    owner_free(&o);

    (void) snprintf(input, sizeof(input), "{\"give\": \"%s more\"}", what);
    (void) snprintf(text, sizeof(text), "Error in step 'gives': %s is larger "
                    "than 32 megabytes", error);
    owner_init(&o, &giving);
    (void) wf_run_start(o.run, test_slice(input));
    (void) wf_run_threads(o.run);
    wf_run_work(o.run);
    is_int(wf_run_state(o.run), WF_RUN_FAILED, what);
    is_slice(wf_run_error(o.run), text, "a byte more: the text");
    is_int(wf_run_error_final(o.run), 1, "a byte more: for good");
    owner_free(&o);
}


int
main(void)
{
    large = malloc(LIMIT + 2);

    if (large == NULL) {
        printf("Bail out! no memory\n");
        return 1;
    }

    memset(large, ' ', LIMIT + 1);
    memcpy(large, "{\"result\": 1", 12);
    large[LIMIT - 1] = '}';
    large[LIMIT + 1] = '\0';

    test_limit("event", "wf_send: JSON for StopEvent");
    test_limit("streamed", "wf_stream: JSON for Progress");
    test_limit("context", "wf_set: JSON for key");
    test_limit("result", "wf_stop: JSON");
    test_limit("text", "wf_stop_text: the text");

    free(large);

    return done_testing();
}
