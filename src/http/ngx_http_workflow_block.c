/* Blocks of directives of our own: "workflow_queue name { ... }". */

#include "ngx_http_workflow.h"


typedef struct {
    ngx_http_workflow_directive_t  *directives;
    void                           *conf;
    ngx_str_t                      *what;
    ngx_http_workflow_range_pt      range;
} ngx_http_workflow_block_t;


static char *ngx_http_workflow_block_handler(ngx_conf_t *cf,
    ngx_command_t *dummy, void *conf);
static char *ngx_http_workflow_unknown(ngx_conf_t *cf,
    ngx_http_workflow_block_t *block);


char *
ngx_http_workflow_block(ngx_conf_t *cf,
    ngx_http_workflow_directive_t *directives, void *conf, ngx_str_t *what,
    ngx_http_workflow_range_pt range)
{
    char                       *rv;
    ngx_conf_t                  save;
    ngx_http_workflow_block_t   block;

    block.directives = directives;
    block.conf = conf;
    block.what = what;
    block.range = range;

    save = *cf;

    cf->handler = ngx_http_workflow_block_handler;
    cf->handler_conf = (void *) &block;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    return rv;
}


static char *
ngx_http_workflow_block_handler(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf)
{
    ngx_http_workflow_block_t *block = conf;

    const char                     *rv;
    ngx_str_t                      *value;
    ngx_http_workflow_directive_t  *d;

    value = cf->args->elts;

    if (ngx_strcmp(value[0].data, "include") == 0) {

        if (cf->args->nelts != 2) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"include\" in %V takes one argument; write "
                               "for example \"include workflow.conf;\"",
                               block->what);
            return NGX_CONF_ERROR;
        }

        return ngx_conf_include(cf, dummy, conf);
    }

    for (d = block->directives; d->command.name.len; d++) {
        if (d->command.name.len == value[0].len
            && ngx_strcmp(d->command.name.data, value[0].data) == 0)
        {
            break;
        }
    }

    if (d->command.name.len == 0) {
        return ngx_http_workflow_unknown(cf, block);
    }

    if (cf->args->nelts != 2) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" in %V takes one argument; write for example "
                           "\"%s\"", &value[0], block->what, d->example);
        return NGX_CONF_ERROR;
    }

    rv = d->command.set(cf, &d->command, block->conf);

    if (rv == NGX_CONF_OK) {
        rv = block->range(block->conf);
    }

    if (rv == NGX_CONF_OK) {
        return NGX_CONF_OK;
    }

    /* a value may be a password: none is repeated */

    if (rv != NGX_CONF_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" in %V: %s; write for example \"%s\"",
                           &value[0], block->what, rv, d->example);
    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" in %V: write for example \"%s\"",
                           &value[0], block->what, d->example);
    }

    return NGX_CONF_ERROR;
}


static char *
ngx_http_workflow_unknown(ngx_conf_t *cf, ngx_http_workflow_block_t *block)
{
    u_char                         *p, *last;
    ngx_str_t                      *value;
    ngx_http_workflow_directive_t  *d;
    u_char                          names[NGX_MAX_CONF_ERRSTR];

    p = names;
    last = names + sizeof(names);

    for (d = block->directives; d->command.name.len; d++) {
        p = ngx_slprintf(p, last, "%s%V", p == names ? "" : ", ",
                         &d->command.name);
    }

    value = cf->args->elts;

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown directive \"%V\" in %V, which takes %*s",
                       &value[0], block->what, p - names, names);

    return NGX_CONF_ERROR;
}


ngx_int_t
ngx_http_workflow_name(ngx_conf_t *cf, const char *what, ngx_str_t *name)
{
    u_char      c;
    ngx_uint_t  i;

    if (name->len == 0 || name->len > NGX_WORKFLOW_MAX_NAME) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the name of a %s has 1 to %d characters, not %uz",
                           what, NGX_WORKFLOW_MAX_NAME, name->len);
        return NGX_ERROR;
    }

    for (i = 0; i < name->len; i++) {
        c = name->data[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.')
        {
            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is no name for a %s; use letters, digits, "
                           "\"_\", \"-\" and \".\"", name, what);
        return NGX_ERROR;
    }

    return NGX_OK;
}
