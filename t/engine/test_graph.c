/* A workflow's tables and the texts of those that are refused. */

#include "engine.h"


static wf_status_t
run(wf_run_t *r, const wf_event_t *ev)
{
    (void) r;
    (void) ev;

    return WF_OK;
}


static const char *
text_of(wf_buf_t *b)
{
    static char  text[512];

    (void) snprintf(text, sizeof(text), "%.*s", (int) b->len,
                    b->data ? b->data : "");
    wf_buf_free(b);

    return text;
}


static void
refused(const wf_workflow_t *w, const char *text, const char *name)
{
    wf_buf_t     error = WF_BUF_INIT;
    wf_graph_t  *g;

    g = test_graph(w, &error);

    ok(g == NULL, "%s", name);
    is_str(text_of(&error), text, name);

    wf_graph_free(g);
}


static void
accepted(const wf_workflow_t *w, const char *name)
{
    wf_buf_t     error = WF_BUF_INIT;
    wf_graph_t  *g;

    g = test_graph(w, &error);

    ok(g != NULL, "%s", name);
    is_str(text_of(&error), "", name);

    wf_graph_free(g);
}


#define START  WF_TYPES(WF_START_EVENT)
#define STOP   WF_TYPES(WF_STOP_EVENT)


static void
test_workflow_validation(void)
{
    const wf_step_t  unproduced[] = {
        { .name = "one", .accepts = START, .produces = STOP, .run = run },
        { .name = "two", .accepts = WF_TYPES("B", "A", "B"), .run = run }
    };
    const wf_step_t  unconsumed[] = {
        { .name = "one", .accepts = START,
          .produces = WF_TYPES(WF_STOP_EVENT, "Z", "Y"), .run = run }
    };
    const wf_step_t  no_start[] = {
        { .name = "one", .accepts = WF_TYPES("A"),
          .produces = WF_TYPES(WF_STOP_EVENT, "A"), .run = run }
    };
    const wf_step_t  no_stop[] = {
        { .name = "one", .accepts = START, .run = run }
    };
    const wf_step_t  human[] = {
        { .name = "one", .accepts = START,
          .produces = WF_TYPES(WF_INPUT_REQUIRED_EVENT), .run = run },
        { .name = "two", .accepts = WF_TYPES(WF_HUMAN_RESPONSE_EVENT),
          .produces = STOP, .run = run }
    };
    const wf_step_t  external[] = {
        { .name = "one", .accepts = WF_TYPES(WF_START_EVENT, "Tick"),
          .produces = WF_TYPES(WF_STOP_EVENT, "Tock"), .run = run }
    };
    wf_workflow_t           w = WF_WORKFLOW("w", NULL, unproduced);

    refused(&w, "The following events are consumed but never produced: A, B",
            "validation_unproduced_events");

    w.flags = WF_DISABLE_VALIDATION;
    accepted(&w, "disable_validation");

    w = (wf_workflow_t) WF_WORKFLOW("w", NULL, unconsumed);
    refused(&w, "The following events are produced but never consumed: Y, Z",
            "validation_unconsumed_events");

    w = (wf_workflow_t) WF_WORKFLOW("w", NULL, no_start);
    refused(&w, "The following events are produced but never consumed: "
            "StartEvent", "validation_start_event_not_consumed");

    w = (wf_workflow_t) WF_WORKFLOW("w", NULL, no_stop);
    refused(&w, "The following events are consumed but never produced: "
            "StopEvent", "a workflow that never stops");

    w = (wf_workflow_t) WF_WORKFLOW("w", NULL, human);
    accepted(&w, "events of a human need not be produced or consumed");

    w = (wf_workflow_t) WF_WORKFLOW("w", NULL, external);
    w.external = WF_TYPES("Tick", "Tock");
    accepted(&w, "nor external ones");
}


static void
test_steps(void)
{
    wf_step_t      steps[2];
    wf_workflow_t  w = WF_WORKFLOW("w", NULL, steps);
    const wf_step_t  good = { .name = "one", .accepts = START,
                              .produces = STOP, .run = run };

    steps[0] = good;
    steps[1] = good;
    refused(&w, "A step one is already part of this workflow, please choose "
            "another name.", "add_step: a name used twice");

    steps[1].name = NULL;
    refused(&w, "A step has no name, or one that is not UTF-8.", "no name");
    steps[1].name = "";
    refused(&w, "A step has no name, or one that is not UTF-8.", "empty name");
    steps[1].name = "\xff";
    refused(&w, "A step has no name, or one that is not UTF-8.", "bad name");

    steps[1].name = "two";
    steps[1].accepts = NULL;
    refused(&w, "Step signature must have at least one parameter annotated as "
            "type Event, but step two accepts none.", "no accepted types");
    steps[1].accepts = (const char *const[]) { NULL };
    refused(&w, "Step signature must have at least one parameter annotated as "
            "type Event, but step two accepts none.", "empty accepted types");
    steps[1].accepts = WF_TYPES("A", "");
    refused(&w, "An accepted event type of two has no name, or one that is not "
            "UTF-8.", "an accepted type without a name");
    steps[1].accepts = START;
    steps[1].produces = WF_TYPES("");
    refused(&w, "An produced event type of two has no name, or one that is not "
            "UTF-8.", "a produced type without a name");
    steps[1].produces = NULL;

    steps[1].run = NULL;
    refused(&w, "Step two has no function.", "no function");
    steps[1].run = run;

    steps[1].num_workers = (uint32_t) -1;
    refused(&w, "num_workers must be an integer greater than 0, but step two "
            "has another.", "num_workers");
    steps[1].num_workers = 0;

    accepted(&w, "a good one");

    w.external = WF_TYPES("");
    refused(&w, "An external event type of w has no name, or one that is not "
            "UTF-8.", "an external type without a name");
    w.external = NULL;

    w.nsteps = 0;
    refused(&w, "The workflow w has no steps.", "no steps");
    w.nsteps = 2;
    w.steps = NULL;
    refused(&w, "The workflow w has no steps.", "no table");
    w.steps = steps;
    w.name = NULL;
    refused(&w, "A workflow has no name, or one that is not UTF-8.",
            "no workflow name");
}


static void
test_manifest(void)
{
    wf_buf_t     error = WF_BUF_INIT;
    wf_graph_t  *g;
    struct {
        wf_step_t  step;
        void      *later;
    } steps[2] = {
        { { .name = "b", .accepts = START, .produces = STOP, .run = run },
          NULL },
        { { .name = "a", .accepts = START, .produces = STOP, .run = run },
          NULL }
    };
    struct {
        wf_workflow_t  w;
        void          *later;
    } workflows[2] = {
        { { "first", "1", &steps[0].step, 1, 0, NULL }, NULL },
        { { "second", "2", &steps[0].step, 2, 0, NULL }, NULL }
    };
    wf_plugin_t  plugin = { 1, 0, sizeof(wf_plugin_t), sizeof(workflows[0]),
                            sizeof(steps[0]), 2, &workflows[0].w };

    g = wf_graph_create(&plugin, 1, &error);
    ok(g != NULL, "structures that are larger");
    is_str(wf_graph_name(g), "second", "name");
    is_str(wf_graph_description(g), "2", "description");
    wf_graph_free(g);

    g = wf_graph_create(&plugin, 2, &error);
    ok(g == NULL, "no such workflow");
    is_str(text_of(&error), "The plugin has no such workflow.", "its text");

    plugin.step_size = 8;
    g = wf_graph_create(&plugin, 0, &error);
    ok(g == NULL, "steps that are smaller");
    is_str(text_of(&error), "The plugin's structures have impossible sizes.",
           "its text");

    plugin.step_size = sizeof(steps[0]);
    plugin.workflow_size = 0;
    ok(wf_graph_create(&plugin, 0, &error) == NULL, "no workflow size");
    plugin.workflow_size = sizeof(workflows[0]) + 1;
    ok(wf_graph_create(&plugin, 0, &error) == NULL, "an odd workflow size");
    wf_buf_free(&error);
}


static void
test_match(void)
{
    const wf_step_t  steps[] = {
        { .name = "one", .accepts = WF_TYPES(WF_START_EVENT, "my.mod.Custom"),
          .produces = STOP, .run = run },
        { .name = "two", .accepts = WF_TYPES(WF_HUMAN_RESPONSE_EVENT,
                                             "other.Custom", "Custom2"),
          .produces = STOP, .run = run }
    };
    wf_buf_t                b = WF_BUF_INIT;
    wf_graph_t             *g;
    const wf_workflow_t     w = { "w", NULL, steps, 2, WF_DISABLE_VALIDATION,
                                  NULL };

    g = test_graph(&w, &b);

    is_str(wf_graph_match(g, test_slice("llama_index.core.workflow.events."
                                        "HumanResponseEvent")),
           WF_HUMAN_RESPONSE_EVENT, "a qualified name");
    is_str(wf_graph_match(g, test_slice("HumanResponseEvent")),
           WF_HUMAN_RESPONSE_EVENT, "a class name");
    is_str(wf_graph_match(g, test_slice("other.Custom")), "other.Custom",
           "equality comes first");
    is_str(wf_graph_match(g, test_slice("any.Custom")), "my.mod.Custom",
           "then the class name");
    is_str(wf_graph_match(g, test_slice("a.b.Custom2")), "Custom2", "another");
    is_str(wf_graph_match(g, test_slice("Custom3")), NULL, "an unknown one");
    is_str(wf_graph_match(g, test_slice("")), NULL, "nothing");

    wf_graph_accepted(g, &b);
    is_str(text_of(&b), "Custom2, HumanResponseEvent, my.mod.Custom, "
           "other.Custom", "what is accepted");

    wf_graph_free(g);
}


int
main(void)
{
    test_workflow_validation();
    test_steps();
    test_manifest();
    test_match();

    return done_testing();
}
