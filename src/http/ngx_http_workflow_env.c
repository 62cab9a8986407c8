/*
 * The environment of WorkflowServiceConfig: WORKFLOW_SERVICE_HOST and so on,
 * for directives that are absent, in pydantic's notation.
 */

#include "ngx_http_workflow.h"


static ngx_int_t ngx_http_workflow_env_keep(ngx_conf_t *cf, ngx_str_t *name);
static ngx_int_t ngx_http_workflow_env_bool(ngx_str_t *value,
    ngx_flag_t *flag);
static char *ngx_http_workflow_env_bad(ngx_conf_t *cf, const char *name,
    ngx_str_t *value, const char *range, const char *example);


ngx_int_t
ngx_http_workflow_env(ngx_conf_t *cf, const char *name, ngx_str_t *value)
{
    char       *text;
    ngx_str_t   s;

    text = getenv(name);

    if (text == NULL || *text == '\0') {
        return NGX_DECLINED;
    }

    s.data = (u_char *) name;
    s.len = ngx_strlen(name);

    if (ngx_http_workflow_env_keep(cf, &s) != NGX_OK) {
        return NGX_ERROR;
    }

    /* nginx moves the environment */

    value->len = ngx_strlen(text);
    value->data = ngx_pnalloc(cf->pool, value->len + 1);
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_cpystrn(value->data, (u_char *) text, value->len + 1);

    return NGX_OK;
}


/*
 * nginx hands over to a new binary only variables that it was told of; without
 * them it would come up with another configuration.
 */

static ngx_int_t
ngx_http_workflow_env_keep(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_str_t        *var;
    ngx_uint_t        i;
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cf->cycle->conf_ctx,
                                           ngx_core_module);

    var = ccf->env.elts;

    for (i = 0; i < ccf->env.nelts; i++) {
        if (var[i].len == name->len
            && ngx_memcmp(var[i].data, name->data, name->len) == 0)
        {
            return NGX_OK;
        }
    }

    var = ngx_array_push(&ccf->env);
    if (var == NULL) {
        return NGX_ERROR;
    }

    *var = *name;

    return NGX_OK;
}


char *
ngx_http_workflow_service_env(ngx_conf_t *cf, ngx_workflow_service_t *service)
{
    ngx_int_t    n;
    ngx_str_t    value;
    ngx_uint_t   i;
    const char  *range;

    struct {
        const char  *name;
        ngx_str_t   *s;
        ngx_flag_t  *flag;
        ngx_uint_t  *number;
        ngx_msec_t  *seconds;
        const char  *example;
    } vars[] = {
        { "WORKFLOW_SERVICE_HOST", &service->host, NULL, NULL, NULL, "" },
        { "WORKFLOW_SERVICE_DESCRIPTION", &service->description, NULL, NULL,
          NULL, "" },
        { "WORKFLOW_SERVICE_RUNNING", NULL, &service->running, NULL, NULL,
          "true or false" },
        { "WORKFLOW_SERVICE_RAISE_EXCEPTIONS", NULL,
          &service->raise_exceptions, NULL, NULL, "true or false" },
        { "WORKFLOW_SERVICE_PORT", NULL, NULL, &service->port, NULL,
          "a number, as 8002" },
        { "WORKFLOW_SERVICE_MAX_CONCURRENT_TASKS", NULL, NULL,
          &service->max_concurrent_tasks, NULL, "a number, as 8" },
        { "WORKFLOW_SERVICE_STEP_INTERVAL", NULL, NULL, NULL,
          &service->step_interval, "seconds, as 0.1" }
    };

    for (i = 0; i < sizeof(vars) / sizeof(vars[0]); i++) {

        if ((vars[i].s && vars[i].s->data)
            || (vars[i].flag && *vars[i].flag != NGX_CONF_UNSET)
            || (vars[i].number && *vars[i].number != NGX_CONF_UNSET_UINT)
            || (vars[i].seconds && *vars[i].seconds != NGX_CONF_UNSET_MSEC))
        {
            continue;
        }

        switch (ngx_http_workflow_env(cf, vars[i].name, &value)) {

        case NGX_OK:
            break;

        case NGX_DECLINED:
            continue;

        default:
            return NGX_CONF_ERROR;
        }

        if (vars[i].s) {
            *vars[i].s = value;
            continue;
        }

        if (vars[i].flag) {
            n = ngx_http_workflow_env_bool(&value, vars[i].flag);

        } else if (vars[i].number) {
            n = ngx_atoi(value.data, value.len);
            *vars[i].number = n;

        } else {
            n = ngx_atofp(value.data, value.len, 3);
            *vars[i].seconds = n;
        }

        range = (n == NGX_ERROR) ? "it is not understood"
                                 : ngx_http_workflow_service_range(service);
        if (range) {
            return ngx_http_workflow_env_bad(cf, vars[i].name, &value, range,
                                             vars[i].example);
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_workflow_env_bad(ngx_conf_t *cf, const char *name, ngx_str_t *value,
    const char *range, const char *example)
{
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "the environment variable %s is \"%V\": %s; set it to "
                       "%s", name, value, range, example);

    return NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_workflow_env_bool(ngx_str_t *value, ngx_flag_t *flag)
{
    ngx_uint_t  i;

    static const struct {
        const char  *text;
        ngx_flag_t   flag;
    } words[] = {
        { "true", 1 }, { "1", 1 }, { "yes", 1 }, { "on", 1 }, { "t", 1 },
        { "y", 1 }, { "false", 0 }, { "0", 0 }, { "no", 0 }, { "off", 0 },
        { "f", 0 }, { "n", 0 }
    };

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (ngx_strcasecmp(value->data, (u_char *) words[i].text) == 0) {
            *flag = words[i].flag;
            return NGX_OK;
        }
    }

    return NGX_ERROR;
}


/*
 * What a Python service would bind to is what "listen" says here: the two
 * variables change nothing, but somebody who sets them expects us there.
 */

void
ngx_http_workflow_env_listen(ngx_conf_t *cf)
{
    ngx_int_t                   n;
    ngx_str_t                   host, port;
    ngx_uint_t                  i, j;
    ngx_http_conf_port_t       *p;
    ngx_http_conf_addr_t       *addr;
    ngx_http_core_main_conf_t  *cmcf;

    ngx_str_null(&host);
    ngx_str_null(&port);

    (void) ngx_http_workflow_env(cf, "WORKFLOW_SERVICE_INTERNAL_HOST", &host);
    (void) ngx_http_workflow_env(cf, "WORKFLOW_SERVICE_INTERNAL_PORT", &port);

    if (host.len == 0 && port.len == 0) {
        return;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    n = ngx_atoi(port.data, port.len);

    p = cmcf->ports ? cmcf->ports->elts : NULL;

    for (i = 0; p && i < cmcf->ports->nelts; i++) {

        if (port.len && p[i].port != n) {
            continue;
        }

        addr = p[i].addrs.elts;

        for (j = 0; j < p[i].addrs.nelts; j++) {

            if (host.len == 0 || addr[j].opt.wildcard
                || (addr[j].opt.addr_text.len > host.len
                    && ngx_strncmp(addr[j].opt.addr_text.data, host.data,
                                   host.len) == 0
                    && addr[j].opt.addr_text.data[host.len] == ':'))
            {
                return;
            }
        }
    }

    ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                  "WORKFLOW_SERVICE_INTERNAL_HOST \"%V\" and "
                  "WORKFLOW_SERVICE_INTERNAL_PORT \"%V\" name an address that "
                  "no server listens on; write \"listen\" accordingly",
                  &host, &port);
}
