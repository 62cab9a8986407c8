#include "ngx_http_workflow.h"


static void *ngx_http_workflow_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_workflow_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_workflow_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_http_workflow_load(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_workflow_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_workflow_pass(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_workflow_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_workflow_add_zone(ngx_conf_t *cf,
    ngx_http_workflow_main_conf_t *wmcf);
static ngx_int_t ngx_http_workflow_init_zone(ngx_shm_zone_t *zone,
    void *data);
static ngx_int_t ngx_http_workflow_resolve_pass(ngx_conf_t *cf,
    ngx_http_workflow_main_conf_t *wmcf, ngx_http_workflow_pass_t *pass);
static ngx_int_t ngx_http_workflow_init_module(ngx_cycle_t *cycle);
static ngx_shm_zone_t *ngx_http_workflow_old_zone(ngx_cycle_t *cycle,
    ngx_shm_zone_t *zone);
static void ngx_http_workflow_configure(ngx_shm_zone_t *zone,
    ngx_http_workflow_main_conf_t *wmcf);
static ngx_int_t ngx_http_workflow_init_process(ngx_cycle_t *cycle);
static void ngx_http_workflow_exit_process(ngx_cycle_t *cycle);


static ngx_command_t  ngx_http_workflow_commands[] = {

    { ngx_string("workflow_load"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_workflow_load,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("workflow_queue"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_workflow_queue_block,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("workflow_service"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_http_workflow_service_block,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("workflow_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_workflow_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("workflow_pass"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_workflow_pass,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_workflow_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_workflow_postconfiguration,   /* postconfiguration */

    ngx_http_workflow_create_main_conf,    /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_workflow_create_loc_conf,     /* create location configuration */
    ngx_http_workflow_merge_loc_conf       /* merge location configuration */
};


ngx_module_t  ngx_http_workflow_module = {
    NGX_MODULE_V1,
    &ngx_http_workflow_module_ctx,         /* module context */
    ngx_http_workflow_commands,            /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_workflow_init_module,         /* init module */
    ngx_http_workflow_init_process,        /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_workflow_exit_process,        /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_http_workflow_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_workflow_main_conf_t  *wmcf;

    wmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_workflow_main_conf_t));
    if (wmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&wmcf->plugins, cf->pool, 4,
                       sizeof(ngx_workflow_plugin_t))
        != NGX_OK
        || ngx_array_init(&wmcf->queues, cf->pool, 4,
                          sizeof(ngx_workflow_queue_t *))
           != NGX_OK
        || ngx_array_init(&wmcf->services, cf->pool, 4,
                          sizeof(ngx_workflow_service_t *))
           != NGX_OK
        || ngx_array_init(&wmcf->passes, cf->pool, 4,
                          sizeof(ngx_http_workflow_pass_t))
           != NGX_OK)
    {
        return NULL;
    }

    return wmcf;
}


static void *
ngx_http_workflow_create_loc_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_workflow_loc_conf_t));
}


/* "if" and "limit_except" within a location pass to its service too. */

static char *
ngx_http_workflow_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_workflow_loc_conf_t *prev = parent;
    ngx_http_workflow_loc_conf_t *conf = child;

    ngx_uint_t                      i;
    ngx_http_core_loc_conf_t       *clcf;
    ngx_http_workflow_pass_t       *pass, *inherited;
    ngx_http_workflow_main_conf_t  *wmcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (!clcf->noname || clcf->handler || prev->location.data == NULL) {
        return NGX_CONF_OK;
    }

    wmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_workflow_module);

    inherited = ngx_array_push(&wmcf->passes);
    if (inherited == NULL) {
        return NGX_CONF_ERROR;
    }

    pass = wmcf->passes.elts;

    for (i = 0; pass[i].conf != prev; i++) { /* void */ }

    *inherited = pass[i];
    inherited->conf = conf;

    conf->location = prev->location;
    clcf->handler = ngx_http_workflow_handler;

    return NGX_CONF_OK;
}


static char *
ngx_http_workflow_load(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_workflow_main_conf_t *wmcf = conf;

    wf_buf_t                error = WF_BUF_INIT;
    ngx_str_t              *value, *name, *other;
    ngx_int_t               rc;
    ngx_uint_t              i, j, k;
    ngx_workflow_plugin_t  *plugin, *p;

    value = cf->args->elts;

    if (ngx_conf_full_name(cf->cycle, &value[1], 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    plugin = ngx_array_push(&wmcf->plugins);
    if (plugin == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(plugin, sizeof(ngx_workflow_plugin_t));
    plugin->path = value[1];

    rc = ngx_workflow_plugin_check(plugin, cf->pool, &error);

    if (rc != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "plugin \"%V\": %s",
                           &plugin->path,
                           error.failed ? "no memory" : error.data);
    }

    wf_buf_free(&error);

    if (rc != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    /* a workflow is known by its name alone */

    p = wmcf->plugins.elts;
    name = plugin->workflows.elts;

    for (i = 0; i < wmcf->plugins.nelts - 1; i++) {
        other = p[i].workflows.elts;

        for (j = 0; j < p[i].workflows.nelts; j++) {
            for (k = 0; k < plugin->workflows.nelts; k++) {

                if (other[j].len == name[k].len
                    && ngx_memcmp(other[j].data, name[k].data, name[k].len)
                       == 0)
                {
                    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                       "the workflow \"%V\" of plugin \"%V\" "
                                       "is already defined by \"%V\"; load "
                                       "one of them", &name[k], &plugin->path,
                                       &p[i].path);
                    return NGX_CONF_ERROR;
                }
            }
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_workflow_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_workflow_main_conf_t *wmcf = conf;

    ssize_t     size;
    ngx_str_t  *value;

    if (wmcf->zone_size) {
        return "is duplicate";
    }

    value = cf->args->elts;

    size = ngx_parse_size(&value[1]);

    if (size == NGX_ERROR || size == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"workflow_zone %V;\" is no size; write for "
                           "example \"workflow_zone 128k;\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    wmcf->zone_size = size;
    wmcf->zone_file = cf->conf_file->file.name.data;
    wmcf->zone_line = cf->conf_file->line;

    return NGX_CONF_OK;
}


static char *
ngx_http_workflow_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_workflow_loc_conf_t *wlcf = conf;

    ngx_str_t                      *value;
    ngx_http_core_loc_conf_t       *clcf;
    ngx_http_workflow_pass_t       *pass;
    ngx_http_workflow_main_conf_t  *wmcf;

    if (wlcf->location.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_workflow_name(cf, "workflow_service", &value[1]) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->exact_match || clcf->named
#if (NGX_PCRE)
        || clcf->regex
#endif
       )
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"workflow_pass\" needs to know what of the path "
                           "is the location's; write a prefix location, as "
                           "\"location /%V/ { workflow_pass %V; }\"",
                           &value[1], &value[1]);
        return NGX_CONF_ERROR;
    }

    wmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_workflow_module);

    pass = ngx_array_push(&wmcf->passes);
    if (pass == NULL) {
        return NGX_CONF_ERROR;
    }

    pass->conf = wlcf;
    pass->name = value[1];
    pass->file = cf->conf_file->file.name.data;
    pass->line = cf->conf_file->line;

    wlcf->location = clcf->name;
    clcf->handler = ngx_http_workflow_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_workflow_postconfiguration(ngx_conf_t *cf)
{
    ngx_uint_t                      i;
    ngx_workflow_service_t        **service;
    ngx_http_workflow_pass_t       *pass;
    ngx_http_workflow_main_conf_t  *wmcf;

    wmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_workflow_module);

    service = wmcf->services.elts;

    for (i = 0; i < wmcf->services.nelts; i++) {
        if (ngx_http_workflow_service_check(cf, wmcf, service[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    pass = wmcf->passes.elts;

    for (i = 0; i < wmcf->passes.nelts; i++) {
        if (ngx_http_workflow_resolve_pass(cf, wmcf, &pass[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (wmcf->services.nelts == 0) {
        return NGX_OK;
    }

    ngx_http_workflow_env_listen(cf);

    return ngx_http_workflow_add_zone(cf, wmcf);
}


static ngx_int_t
ngx_http_workflow_add_zone(ngx_conf_t *cf, ngx_http_workflow_main_conf_t *wmcf)
{
    size_t                    size;
    ngx_str_t                 name;
    ngx_uint_t                i;
    ngx_workflow_service_t  **service;

    size = ngx_workflow_zone_size(wmcf->services.nelts);

    if (wmcf->zone_size == 0) {

        /* a zone is kept by a reload only if its size stays the same: it grows
         * seldom */

        wmcf->zone_size = 128 * 1024;

        while (wmcf->zone_size < size) {
            wmcf->zone_size *= 2;
        }

    } else if (wmcf->zone_size < size) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"workflow_zone\" is too small; write "
                      "\"workflow_zone %uzk;\" or more in %s:%ui",
                      (size + 1023) / 1024, wmcf->zone_file,
                      wmcf->zone_line);
        return NGX_ERROR;
    }

    ngx_str_set(&name, "ngx_http_workflow_module");

    wmcf->zone = ngx_shared_memory_add(cf, &name, wmcf->zone_size,
                                       &ngx_http_workflow_module);
    if (wmcf->zone == NULL) {
        return NGX_ERROR;
    }

    wmcf->zone->init = ngx_http_workflow_init_zone;
    wmcf->zone->data = wmcf;

    service = wmcf->services.elts;

    for (i = 0; i < wmcf->services.nelts; i++) {
        service[i]->zone = wmcf->zone;
    }

    return NGX_OK;
}


/* What services share is made here, before there are workers that could race.
 * The configuration may still be refused. */

static ngx_int_t
ngx_http_workflow_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_uint_t                      i;
    ngx_workflow_service_t        **service;
    ngx_http_workflow_main_conf_t  *wmcf;

    wmcf = zone->data;

    if (ngx_workflow_zone_init(zone, data) != NGX_OK) {
        return NGX_ERROR;
    }

    service = wmcf->services.elts;

    for (i = 0; i < wmcf->services.nelts; i++) {
        if (ngx_workflow_zone_shared(zone, &service[i]->name) == NULL) {
            ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                          "the zone \"%V\" is full of services that are no "
                          "longer declared; restart nginx or write a larger "
                          "\"workflow_zone\"", &zone->shm.name);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_workflow_resolve_pass(ngx_conf_t *cf,
    ngx_http_workflow_main_conf_t *wmcf, ngx_http_workflow_pass_t *pass)
{
    ngx_uint_t                i;
    ngx_workflow_service_t  **service;

    service = wmcf->services.elts;

    for (i = 0; i < wmcf->services.nelts; i++) {
        if (service[i]->name.len == pass->name.len
            && ngx_memcmp(service[i]->name.data, pass->name.data,
                          pass->name.len)
               == 0)
        {
            pass->conf->service = service[i];

            return ngx_http_workflow_status_text(cf, pass->conf);
        }
    }

    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                  "\"workflow_pass %V;\": there is no such service; write "
                  "\"workflow_service %V { ... }\" in %s:%ui",
                  &pass->name, &pass->name, pass->file, pass->line);

    return NGX_ERROR;
}


/* The configuration is accepted, and its workers are not started yet: those of
 * the one before learn of it. */

static ngx_int_t
ngx_http_workflow_init_module(ngx_cycle_t *cycle)
{
    ngx_shm_zone_t                 *old;
    ngx_http_workflow_main_conf_t  *wmcf;

    wmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_workflow_module);

    if (wmcf == NULL || wmcf->services.nelts == 0) {
        return NGX_OK;
    }

    old = ngx_http_workflow_old_zone(cycle, wmcf->zone);

    if (old) {
        ngx_workflow_zone_replace(old);
        ngx_http_workflow_configure(old, wmcf);
    }

    ngx_workflow_zone_next(wmcf->zone);
    ngx_http_workflow_configure(wmcf->zone, wmcf);

    return NGX_OK;
}


/* The zone before, which is still mapped, if it is not the same one; that of
 * another file of this module may look different. */

static ngx_shm_zone_t *
ngx_http_workflow_old_zone(ngx_cycle_t *cycle, ngx_shm_zone_t *zone)
{
    ngx_uint_t        i;
    ngx_shm_zone_t   *old;
    ngx_list_part_t  *part;

    if (cycle->old_cycle == NULL) {
        return NULL;
    }

    for (part = &cycle->old_cycle->shared_memory.part; part; part = part->next)
    {
        old = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (old[i].tag == zone->tag && old[i].shm.addr
                && old[i].shm.addr != zone->shm.addr)
            {
                return &old[i];
            }
        }
    }

    return NULL;
}


static void
ngx_http_workflow_configure(ngx_shm_zone_t *zone,
    ngx_http_workflow_main_conf_t *wmcf)
{
    ngx_uint_t                i;
    ngx_workflow_service_t  **service;

    service = wmcf->services.elts;

    for (i = 0; i < wmcf->services.nelts; i++) {
        ngx_workflow_zone_configure(zone, &service[i]->name,
                                    ngx_workflow_control_key(service[i]));
    }

    ngx_workflow_zone_configured(zone);
}


static ngx_int_t
ngx_http_workflow_init_process(ngx_cycle_t *cycle)
{
    ngx_http_workflow_main_conf_t  *wmcf;

    /* not in the cache manager and the cache loader */

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    wmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_workflow_module);

    if (wmcf == NULL || wmcf->services.nelts == 0) {
        return NGX_OK;
    }

    return ngx_workflow_worker_open(cycle, &wmcf->plugins, &wmcf->queues,
                                    &wmcf->services);
}


static void
ngx_http_workflow_exit_process(ngx_cycle_t *cycle)
{
    ngx_workflow_worker_close();
}
