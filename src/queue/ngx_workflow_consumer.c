/* The names of a service's keys and channels. */

#include "ngx_workflow_task.h"


ngx_int_t
ngx_workflow_consumer_init(ngx_workflow_consumer_t *consumer, ngx_str_t *ns,
    ngx_pool_t *pool)
{
    size_t      len;
    u_char     *p;
    ngx_str_t  *name;

    name = &consumer->name;

    len = ns->len + name->len + sizeof("{.}:control_plane");

    p = ngx_pnalloc(pool, 12 * len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    consumer->topic_namespace.data = p;
    p = ngx_sprintf(p, "%V", ns);
    consumer->topic_namespace.len = p - consumer->topic_namespace.data;

    consumer->workers.data = p;
    p = ngx_sprintf(p, "%V:worker:", ns);
    consumer->workers.len = p - consumer->workers.data;

    consumer->topic.data = p;
    p = ngx_sprintf(p, "%V.%V", ns, name);
    consumer->topic.len = p - consumer->topic.data;

    consumer->control.data = p;
    p = ngx_sprintf(p, "%V.control_plane", ns);
    consumer->control.len = p - consumer->control.data;

    consumer->subtasks.data = p;
    p = ngx_sprintf(p, "%V:subtasks", ns);
    consumer->subtasks.len = p - consumer->subtasks.data;

    consumer->prefix.data = p;
    p = ngx_sprintf(p, "{%V.%V}:", ns, name);
    consumer->prefix.len = p - consumer->prefix.data;

    consumer->stream.data = p;
    p = ngx_sprintf(p, "%Vqueue", &consumer->prefix);
    consumer->stream.len = p - consumer->stream.data;

    consumer->bell.data = p;
    p = ngx_sprintf(p, "%Vbell", &consumer->prefix);
    consumer->bell.len = p - consumer->bell.data;

    consumer->timers.data = p;
    p = ngx_sprintf(p, "%Vtimers", &consumer->prefix);
    consumer->timers.len = p - consumer->timers.data;

    consumer->leases.data = p;
    p = ngx_sprintf(p, "%Vleases", &consumer->prefix);
    consumer->leases.len = p - consumer->leases.data;

    consumer->dead.data = p;
    p = ngx_sprintf(p, "%Vdead", &consumer->prefix);
    consumer->dead.len = p - consumer->dead.data;

    consumer->epoch.key.data = p;
    p = ngx_sprintf(p, "%Vepoch", &consumer->prefix);
    consumer->epoch.key.len = p - consumer->epoch.key.data;

    ngx_queue_init(&consumer->ends);

    return NGX_OK;
}
