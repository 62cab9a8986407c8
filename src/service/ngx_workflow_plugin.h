/*
 * Plugins: shared objects that define workflows (include/workflow.h).
 *
 * When the configuration is read a plugin is opened, checked and closed again;
 * each worker opens it for itself, so that a replaced file is in use after a
 * reload.
 */

#ifndef NGX_WORKFLOW_PLUGIN_H_INCLUDED_
#define NGX_WORKFLOW_PLUGIN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "wf_graph.h"


typedef struct {
    ngx_str_t     path;             /* NUL-terminated */
    ngx_array_t   workflows;        /* of ngx_str_t: names */
    void         *handle;           /* in a worker */
    ngx_array_t   graphs;           /* of wf_graph_t *, in a worker */
} ngx_workflow_plugin_t;


/* Open, check, note the names of the workflows, close.  NGX_ERROR: error holds
 * the reason, NUL-terminated. */
ngx_int_t ngx_workflow_plugin_check(ngx_workflow_plugin_t *plugin,
    ngx_pool_t *pool, wf_buf_t *error);

/* In a worker. */
ngx_int_t ngx_workflow_plugin_open(ngx_workflow_plugin_t *plugin,
    ngx_pool_t *pool, wf_buf_t *error);
void ngx_workflow_plugin_close(ngx_workflow_plugin_t *plugin);

/* NULL: the plugin has no workflow of that name, or is not open. */
wf_graph_t *ngx_workflow_plugin_graph(ngx_workflow_plugin_t *plugin,
    ngx_str_t *name);


#endif /* NGX_WORKFLOW_PLUGIN_H_INCLUDED_ */
