/*
 * A workflow as the engine uses it: checked, its strings copied, steps in the
 * reference's order.  Immutable once made, so shared by all threads.
 */

#ifndef WF_GRAPH_H_INCLUDED_
#define WF_GRAPH_H_INCLUDED_


#include <workflow.h>

#include "wf_buf.h"


typedef struct wf_graph_s  wf_graph_t;


/*
 * Make the i-th workflow of a manifest.  Strides are taken from the manifest,
 * so that tables of an older minor version are read.  Strings and tables are
 * copied, the functions of course are not: a graph must not outlive its plugin.
 *
 * NULL: refused, or no memory, and `error` holds the text: the reference's
 * where it has one ("The following events are consumed but never produced:
 * A, B"), prefixed by nothing.
 */
wf_graph_t *wf_graph_create(const wf_plugin_t *plugin, uint32_t i,
    wf_buf_t *error);
void wf_graph_free(wf_graph_t *g);

const char *wf_graph_name(const wf_graph_t *g);
const char *wf_graph_description(const wf_graph_t *g);

/*
 * The name by which the workflow's steps accept an event that comes from
 * outside: the type that equals `qualified`, or else the one whose class name
 * (behind the last dot) equals that of `qualified`; NULL: no step accepts it.
 */
const char *wf_graph_match(const wf_graph_t *g, wf_slice_t qualified);

/* The same for an event that anybody may send: what became of tasks that were
 * sent to other services is not for them to say. */
const char *wf_graph_match_public(const wf_graph_t *g, wf_slice_t qualified);

/* Whether a step accepts results of tasks that were sent to other services. */
int wf_graph_takes_results(const wf_graph_t *g);

/* Append the types that wf_graph_match_public() knows, StartEvent left out,
 * joined by ", ". */
void wf_graph_accepted(const wf_graph_t *g, wf_buf_t *b);


#endif /* WF_GRAPH_H_INCLUDED_ */
