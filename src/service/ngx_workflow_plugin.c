#include "ngx_workflow_plugin.h"

#include <dlfcn.h>


static ngx_int_t ngx_workflow_plugin_load(ngx_workflow_plugin_t *plugin,
    wf_buf_t *error);
static ngx_int_t ngx_workflow_plugin_graphs(ngx_workflow_plugin_t *plugin,
    const wf_plugin_t *manifest, wf_buf_t *error);
static const wf_plugin_t *ngx_workflow_plugin_manifest(
    ngx_workflow_plugin_t *plugin, wf_buf_t *error);


ngx_int_t
ngx_workflow_plugin_check(ngx_workflow_plugin_t *plugin, ngx_pool_t *pool,
    wf_buf_t *error)
{
    const char   *text;
    ngx_str_t    *name;
    ngx_uint_t    i;
    wf_graph_t  **graph;

    if (ngx_array_init(&plugin->workflows, pool, 4, sizeof(ngx_str_t))
        != NGX_OK
        || ngx_array_init(&plugin->graphs, pool, 4, sizeof(wf_graph_t *))
           != NGX_OK)
    {
        wf_buf_adds(error, "no memory");
        wf_buf_addc(error, '\0');
        return NGX_ERROR;
    }

    if (ngx_workflow_plugin_load(plugin, error) != NGX_OK) {
        return NGX_ERROR;
    }

    graph = plugin->graphs.elts;

    for (i = 0; i < plugin->graphs.nelts; i++) {
        text = wf_graph_name(graph[i]);

        name = ngx_array_push(&plugin->workflows);
        if (name == NULL) {
            goto failed;
        }

        name->len = ngx_strlen(text);
        name->data = ngx_pnalloc(pool, name->len);
        if (name->data == NULL) {
            goto failed;
        }

        ngx_memcpy(name->data, text, name->len);
    }

    ngx_workflow_plugin_close(plugin);

    return NGX_OK;

failed:

    ngx_workflow_plugin_close(plugin);

    wf_buf_adds(error, "no memory");
    wf_buf_addc(error, '\0');

    return NGX_ERROR;
}


ngx_int_t
ngx_workflow_plugin_open(ngx_workflow_plugin_t *plugin, ngx_pool_t *pool,
    wf_buf_t *error)
{
    /* the array of the configuration is the master's: this one is the
     * worker's own */

    if (ngx_array_init(&plugin->graphs, pool, 4, sizeof(wf_graph_t *))
        != NGX_OK)
    {
        wf_buf_adds(error, "no memory");
        wf_buf_addc(error, '\0');
        return NGX_ERROR;
    }

    return ngx_workflow_plugin_load(plugin, error);
}


void
ngx_workflow_plugin_close(ngx_workflow_plugin_t *plugin)
{
    ngx_uint_t    i;
    wf_graph_t  **graph;

    graph = plugin->graphs.elts;

    for (i = 0; i < plugin->graphs.nelts; i++) {
        wf_graph_free(graph[i]);
    }

    plugin->graphs.nelts = 0;

    if (plugin->handle) {
        (void) dlclose(plugin->handle);
        plugin->handle = NULL;
    }
}


wf_graph_t *
ngx_workflow_plugin_graph(ngx_workflow_plugin_t *plugin, ngx_str_t *name)
{
    ngx_uint_t    i;
    const char   *text;
    wf_graph_t  **graph;

    graph = plugin->graphs.elts;

    for (i = 0; i < plugin->graphs.nelts; i++) {
        text = wf_graph_name(graph[i]);

        if (ngx_strlen(text) == name->len
            && ngx_memcmp(text, name->data, name->len) == 0)
        {
            return graph[i];
        }
    }

    return NULL;
}


static ngx_int_t
ngx_workflow_plugin_load(ngx_workflow_plugin_t *plugin, wf_buf_t *error)
{
    const char         *text;
    const wf_plugin_t  *manifest;
    ngx_file_info_t     fi;

    if (ngx_file_info(plugin->path.data, &fi) == NGX_FILE_ERROR) {
        wf_buf_adds(error, strerror(ngx_errno));
        goto failed;
    }

    if (!ngx_is_file(&fi)) {
        wf_buf_adds(error, "is not a file");
        goto failed;
    }

    /* opening it runs its constructors, in the master as root */

    if (fi.st_mode & S_IWOTH) {
        wf_buf_adds(error, "is writable by others, which would let them run "
                    "code as nginx; use \"chmod o-w\"");
        goto failed;
    }

    plugin->handle = dlopen((char *) plugin->path.data, RTLD_NOW|RTLD_LOCAL);
    if (plugin->handle == NULL) {
        text = dlerror();
        wf_buf_adds(error, text ? text : "dlopen() failed");
        goto failed;
    }

    manifest = ngx_workflow_plugin_manifest(plugin, error);

    if (manifest
        && ngx_workflow_plugin_graphs(plugin, manifest, error) == NGX_OK)
    {
        return NGX_OK;
    }

    ngx_workflow_plugin_close(plugin);

failed:

    wf_buf_addc(error, '\0');

    return NGX_ERROR;
}


static ngx_int_t
ngx_workflow_plugin_graphs(ngx_workflow_plugin_t *plugin,
    const wf_plugin_t *manifest, wf_buf_t *error)
{
    uint32_t      i;
    ngx_str_t     name;
    wf_graph_t   *graph, **slot;

    for (i = 0; i < manifest->nworkflows; i++) {

        graph = wf_graph_create(manifest, i, error);
        if (graph == NULL) {
            return NGX_ERROR;
        }

        name.data = (u_char *) wf_graph_name(graph);
        name.len = ngx_strlen(name.data);

        if (ngx_workflow_plugin_graph(plugin, &name)) {
            wf_buf_adds(error, "has two workflows of the name \"");
            wf_buf_add(error, name.data, name.len);
            wf_buf_adds(error, "\"");
            wf_graph_free(graph);
            return NGX_ERROR;
        }

        slot = ngx_array_push(&plugin->graphs);
        if (slot == NULL) {
            wf_buf_adds(error, "no memory");
            wf_graph_free(graph);
            return NGX_ERROR;
        }

        *slot = graph;
    }

    return NGX_OK;
}


static const wf_plugin_t *
ngx_workflow_plugin_manifest(ngx_workflow_plugin_t *plugin, wf_buf_t *error)
{
    void               *symbol;
    const wf_plugin_t  *manifest;
    const wf_plugin_t *(*entry)(void);

    symbol = dlsym(plugin->handle, WF_PLUGIN_SYMBOL);

    if (symbol == NULL) {
        wf_buf_adds(error, "has no function \"" WF_PLUGIN_SYMBOL "\"; a plugin "
                    "ends with WF_PLUGIN(...), see workflow.h");
        return NULL;
    }

    /* ISO C has no cast from an object to a function */

    ngx_memcpy(&entry, &symbol, sizeof(entry));

    manifest = entry();

    if (manifest == NULL) {
        wf_buf_adds(error, "has no manifest");
        return NULL;
    }

    if (manifest->abi_major != WF_ABI_MAJOR
        || manifest->abi_minor > WF_ABI_MINOR)
    {
        wf_buf_adds(error, "was built for version ");
        wf_buf_addu(error, manifest->abi_major);
        wf_buf_adds(error, ".");
        wf_buf_addu(error, manifest->abi_minor);
        wf_buf_adds(error, " of workflow.h, and this module takes ");
        wf_buf_addu(error, WF_ABI_MAJOR);
        wf_buf_adds(error, ".0 to ");
        wf_buf_addu(error, WF_ABI_MAJOR);
        wf_buf_adds(error, ".");
        wf_buf_addu(error, WF_ABI_MINOR);
        wf_buf_adds(error, "; build it again with this module's header");
        return NULL;
    }

    /* the size that version 1.0 had */

    if (manifest->size < offsetof(wf_plugin_t, workflows)
                         + sizeof(manifest->workflows)
        || manifest->nworkflows == 0
        || manifest->workflows == NULL)
    {
        wf_buf_adds(error, "has a broken or empty manifest");
        return NULL;
    }

    return manifest;
}
