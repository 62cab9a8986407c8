/* workflow_service name { ... } */

#include "ngx_http_workflow.h"


static char *ngx_http_workflow_service_finish(ngx_conf_t *cf,
    ngx_workflow_service_t *service, ngx_str_t *what);
static char *ngx_http_workflow_set_msec_or_off(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_workflow_seconds(ngx_conf_t *cf, ngx_msec_t msec,
    ngx_str_t *text);


#define ngx_http_workflow_service_directive(name, set, example)               \
    { { ngx_string(#name), NGX_CONF_TAKE1, set, 0,                            \
        offsetof(ngx_workflow_service_t, name), NULL }, example }


static ngx_http_workflow_directive_t  ngx_http_workflow_service_directives[] = {

    ngx_http_workflow_service_directive(workflow, ngx_conf_set_str_slot,
        "workflow greeting;"),

    ngx_http_workflow_service_directive(queue, ngx_conf_set_str_slot,
        "queue tasks;"),

    ngx_http_workflow_service_directive(description, ngx_conf_set_str_slot,
        "description \\\"Greets whoever asks.\\\";"),

    ngx_http_workflow_service_directive(host, ngx_conf_set_str_slot,
        "host 127.0.0.1;"),

    ngx_http_workflow_service_directive(port, ngx_conf_set_num_slot,
        "port 8002;"),

    ngx_http_workflow_service_directive(running, ngx_conf_set_flag_slot,
        "running on;"),

    ngx_http_workflow_service_directive(step_interval, ngx_conf_set_msec_slot,
        "step_interval 100ms;"),

    ngx_http_workflow_service_directive(max_concurrent_tasks,
        ngx_conf_set_num_slot, "max_concurrent_tasks 8;"),

    ngx_http_workflow_service_directive(raise_exceptions,
        ngx_conf_set_flag_slot, "raise_exceptions off;"),

    ngx_http_workflow_service_directive(stream_event_types,
        ngx_conf_set_flag_slot, "stream_event_types on;"),

    ngx_http_workflow_service_directive(thread_pool, ngx_conf_set_str_slot,
        "thread_pool workflow;"),

    ngx_http_workflow_service_directive(timeout, ngx_conf_set_msec_slot,
        "timeout 10s;"),

    ngx_http_workflow_service_directive(result_ttl, ngx_conf_set_sec_slot,
        "result_ttl 1h;"),

    ngx_http_workflow_service_directive(event_ttl, ngx_conf_set_sec_slot,
        "event_ttl 10m;"),

    ngx_http_workflow_service_directive(max_events, ngx_conf_set_num_slot,
        "max_events 1024;"),

    ngx_http_workflow_service_directive(max_queued, ngx_conf_set_num_slot,
        "max_queued 1000000;"),

    ngx_http_workflow_service_directive(max_message_size,
        ngx_conf_set_size_slot, "max_message_size 1m;"),

    ngx_http_workflow_service_directive(lease, ngx_conf_set_msec_slot,
        "lease 30s;"),

    ngx_http_workflow_service_directive(max_attempts, ngx_conf_set_num_slot,
        "max_attempts 3;"),

    ngx_http_workflow_service_directive(retry_delay, ngx_conf_set_msec_slot,
        "retry_delay 1s;"),

    ngx_http_workflow_service_directive(retry_delay_max,
        ngx_conf_set_msec_slot, "retry_delay_max 1m;"),

    ngx_http_workflow_service_directive(wait_timeout, ngx_conf_set_msec_slot,
        "wait_timeout 7d;"),

    ngx_http_workflow_service_directive(checkpoint,
        ngx_http_workflow_set_msec_or_off, "checkpoint 1s;"),

    ngx_http_workflow_service_directive(drain_timeout, ngx_conf_set_msec_slot,
        "drain_timeout 30s;"),

    ngx_http_workflow_service_directive(control_plane, ngx_conf_set_str_slot,
        "control_plane http://127.0.0.1:8000;"),

    ngx_http_workflow_service_directive(control_plane_timeout,
        ngx_conf_set_msec_slot, "control_plane_timeout 5s;"),

    ngx_http_workflow_service_directive(control_plane_ssl_trusted_certificate,
        ngx_conf_set_str_slot, "control_plane_ssl_trusted_certificate "
        "/etc/ssl/certs/ca-certificates.crt;"),

    ngx_http_workflow_service_directive(control_plane_ssl_certificate,
        ngx_conf_set_str_slot, "control_plane_ssl_certificate client.crt;"),

    ngx_http_workflow_service_directive(control_plane_ssl_certificate_key,
        ngx_conf_set_str_slot,
        "control_plane_ssl_certificate_key client.key;"),

    ngx_http_workflow_service_directive(control_plane_ssl_verify,
        ngx_conf_set_flag_slot, "control_plane_ssl_verify on;"),

    ngx_http_workflow_service_directive(register_interval,
        ngx_conf_set_msec_slot, "register_interval 30s;"),

    ngx_http_workflow_service_directive(message_queue_config,
        ngx_conf_set_flag_slot, "message_queue_config on;"),

    ngx_http_workflow_service_directive(session_ttl, ngx_conf_set_sec_slot,
        "session_ttl 7d;"),

    ngx_http_workflow_service_directive(hash_secret_file,
        ngx_conf_set_str_slot, "hash_secret_file hash.secret;"),

    { ngx_null_command, NULL }
};


char *
ngx_http_workflow_service_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_workflow_main_conf_t *wmcf = conf;

    char                     *rv;
    ngx_str_t                *value, name, what;
    ngx_uint_t                i;
    ngx_workflow_service_t  **service, *s;
    u_char                    buf[NGX_WORKFLOW_MAX_NAME + 32];

    value = cf->args->elts;

    if (cf->args->nelts == 2) {
        name = value[1];

    } else if (ngx_http_workflow_env(cf, "WORKFLOW_SERVICE_SERVICE_NAME",
                                     &name)
               != NGX_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"workflow_service\" has no name, and "
                           "WORKFLOW_SERVICE_SERVICE_NAME is not set; write "
                           "\"workflow_service NAME { ... }\"");
        return NGX_CONF_ERROR;
    }

    if (ngx_http_workflow_name(cf, "workflow_service", &name) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (name.len == sizeof("control_plane") - 1
        && ngx_memcmp(name.data, "control_plane", name.len) == 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a workflow_service cannot be called "
                           "\"control_plane\", which is where services send "
                           "their results; give it another name");
        return NGX_CONF_ERROR;
    }

    service = wmcf->services.elts;

    for (i = 0; i < wmcf->services.nelts; i++) {
        if (service[i]->name.len == name.len
            && ngx_memcmp(service[i]->name.data, name.data, name.len) == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "workflow_service \"%V\" is declared twice, "
                               "first in %s:%ui; give one of them another "
                               "name", &name, service[i]->file,
                               service[i]->line);
            return NGX_CONF_ERROR;
        }
    }

    s = ngx_pcalloc(cf->pool, sizeof(ngx_workflow_service_t));
    if (s == NULL) {
        return NGX_CONF_ERROR;
    }

    s->name = name;
    s->file = cf->conf_file->file.name.data;
    s->line = cf->conf_file->line;
    s->port = NGX_CONF_UNSET_UINT;
    s->running = NGX_CONF_UNSET;
    s->raise_exceptions = NGX_CONF_UNSET;
    s->stream_event_types = NGX_CONF_UNSET;
    s->step_interval = NGX_CONF_UNSET_MSEC;
    s->max_concurrent_tasks = NGX_CONF_UNSET_UINT;
    s->timeout = NGX_CONF_UNSET_MSEC;
    s->result_ttl = NGX_CONF_UNSET;
    s->event_ttl = NGX_CONF_UNSET;
    s->max_events = NGX_CONF_UNSET_UINT;
    s->max_queued = NGX_CONF_UNSET_UINT;
    s->max_message_size = NGX_CONF_UNSET_SIZE;
    s->lease = NGX_CONF_UNSET_MSEC;
    s->max_attempts = NGX_CONF_UNSET_UINT;
    s->retry_delay = NGX_CONF_UNSET_MSEC;
    s->retry_delay_max = NGX_CONF_UNSET_MSEC;
    s->wait_timeout = NGX_CONF_UNSET_MSEC;
    s->checkpoint = NGX_CONF_UNSET_MSEC;
    s->drain_timeout = NGX_CONF_UNSET_MSEC;
    s->control_plane_timeout = NGX_CONF_UNSET_MSEC;
    s->control_plane_ssl_verify = NGX_CONF_UNSET;
    s->register_interval = NGX_CONF_UNSET_MSEC;
    s->message_queue_config = NGX_CONF_UNSET;
    s->session_ttl = NGX_CONF_UNSET;

    what.data = buf;
    what.len = ngx_sprintf(buf, "workflow_service \"%V\"", &name) - buf;

    rv = ngx_http_workflow_block(cf, ngx_http_workflow_service_directives, s,
                                 &what, ngx_http_workflow_service_range);

    if (rv == NGX_CONF_OK) {
        rv = ngx_http_workflow_service_env(cf, s);
    }

    if (rv == NGX_CONF_OK) {
        rv = ngx_http_workflow_service_finish(cf, s, &what);
    }

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    service = ngx_array_push(&wmcf->services);
    if (service == NULL) {
        return NGX_CONF_ERROR;
    }

    *service = s;

    return NGX_CONF_OK;
}


static char *
ngx_http_workflow_service_finish(ngx_conf_t *cf,
    ngx_workflow_service_t *service, ngx_str_t *what)
{
    char  *rv;

    if (service->description.data == NULL) {
        ngx_str_set(&service->description,
                    "A service that wraps a workflow.");
    }

    if (service->thread_pool.data == NULL) {
        ngx_str_set(&service->thread_pool, "workflow");
    }

    ngx_conf_init_uint_value(service->port, 0);
    ngx_conf_init_value(service->running, 1);
    ngx_conf_init_value(service->raise_exceptions, 0);
    ngx_conf_init_value(service->stream_event_types, 0);
    ngx_conf_init_msec_value(service->step_interval, 100);
    ngx_conf_init_uint_value(service->max_concurrent_tasks, 8);
    ngx_conf_init_msec_value(service->timeout, 10000);
    ngx_conf_init_value(service->result_ttl, 3600);
    ngx_conf_init_value(service->event_ttl, 600);
    ngx_conf_init_uint_value(service->max_events, 1024);
    ngx_conf_init_uint_value(service->max_queued, 1000000);
    ngx_conf_init_size_value(service->max_message_size, 1024 * 1024);
    ngx_conf_init_msec_value(service->lease, 30000);
    ngx_conf_init_uint_value(service->max_attempts, 3);
    ngx_conf_init_msec_value(service->retry_delay, 1000);
    ngx_conf_init_msec_value(service->retry_delay_max, 60000);
    ngx_conf_init_msec_value(service->wait_timeout, 7 * 24 * 3600 * 1000);
    ngx_conf_init_msec_value(service->checkpoint, 1000);
    ngx_conf_init_msec_value(service->drain_timeout, 30000);

    if (service->workflow.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%V has no workflow; write \"workflow NAME;\" with "
                           "the name of a workflow that a \"workflow_load\" "
                           "defines", what);
        return NGX_CONF_ERROR;
    }

    rv = ngx_http_workflow_control_finish(cf, service, what);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (service->queue.len == 0 && !service->message_queue_config) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%V has no queue; write \"queue NAME;\" with the "
                           "name of a \"workflow_queue\"", what);
        return NGX_CONF_ERROR;
    }

    if (service->thread_pool.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%V has a \"thread_pool\" without a name; write "
                           "\"thread_pool workflow;\"", what);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_workflow_seconds(cf, service->timeout, &service->timeout_text)
        != NGX_OK
        || ngx_http_workflow_seconds(cf, service->step_interval,
                                     &service->interval_text)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


const char *
ngx_http_workflow_service_range(void *conf)
{
    ngx_workflow_service_t *s = conf;

    ngx_uint_t  i;

    struct {
        ngx_uint_t   is_set;
        uint64_t     value;
        uint64_t     min;
        uint64_t     max;
        const char  *text;
    } ranges[] = {
        { s->port != NGX_CONF_UNSET_UINT, s->port, 0, 65535,
          "the range is 0 to 65535" },
        { s->step_interval != NGX_CONF_UNSET_MSEC, s->step_interval, 1,
          3600 * 1000, "the range is 1ms to 1h" },
        { s->max_concurrent_tasks != NGX_CONF_UNSET_UINT,
          s->max_concurrent_tasks, 1, 1048576, "the range is 1 to 1048576" },
        { s->result_ttl != NGX_CONF_UNSET, s->result_ttl, 1,
          (uint64_t) 68 * 365 * 86400, "the range is 1s to 68y" },
        { s->event_ttl != NGX_CONF_UNSET, s->event_ttl, 1,
          (uint64_t) 68 * 365 * 86400, "the range is 1s to 68y" },
        { s->max_events != NGX_CONF_UNSET_UINT, s->max_events, 1, 0x7fffffff,
          "the range is 1 to 2147483647" },
        { s->max_message_size != NGX_CONF_UNSET_SIZE, s->max_message_size, 256,
          256 * 1024 * 1024, "the range is 256 to 256m" },
        { s->lease != NGX_CONF_UNSET_MSEC, s->lease, 300, 24 * 3600 * 1000,
          "the range is 300ms to 1d" },
        { s->max_attempts != NGX_CONF_UNSET_UINT, s->max_attempts, 1, 1000000,
          "the range is 1 to 1000000" },
        { s->retry_delay != NGX_CONF_UNSET_MSEC, s->retry_delay, 0,
          30UL * 24 * 3600 * 1000, "the range is 0 to 30d" },
        { s->retry_delay_max != NGX_CONF_UNSET_MSEC, s->retry_delay_max, 0,
          30UL * 24 * 3600 * 1000, "the range is 0 to 30d" },
        { s->checkpoint != NGX_CONF_UNSET_MSEC && s->checkpoint,
          s->checkpoint, 10, 24 * 3600 * 1000,
          "the range is 10ms to 1d, or off" },
        { s->drain_timeout != NGX_CONF_UNSET_MSEC, s->drain_timeout, 1,
          24 * 3600 * 1000, "the range is 1ms to 1d" },
        { s->control_plane_timeout != NGX_CONF_UNSET_MSEC,
          s->control_plane_timeout, 10, 10 * 60 * 1000,
          "the range is 10ms to 10m" },
        { s->register_interval != NGX_CONF_UNSET_MSEC, s->register_interval,
          100, 24 * 3600 * 1000, "the range is 100ms to 1d" },
        { s->session_ttl != NGX_CONF_UNSET, s->session_ttl, 1,
          (uint64_t) 68 * 365 * 86400, "the range is 1s to 68y" }
    };

    for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {

        if (ranges[i].is_set && (ranges[i].value < ranges[i].min
                                 || ranges[i].value > ranges[i].max))
        {
            return ranges[i].text;
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_workflow_service_check(ngx_conf_t *cf,
    ngx_http_workflow_main_conf_t *wmcf, ngx_workflow_service_t *service)
{
    ngx_str_t               *name, ns;
    ngx_uint_t               i, j;
    ngx_workflow_queue_t   **queue;
    ngx_workflow_plugin_t   *plugin;

    plugin = wmcf->plugins.elts;

    for (i = 0; i < wmcf->plugins.nelts; i++) {
        name = plugin[i].workflows.elts;

        for (j = 0; j < plugin[i].workflows.nelts; j++) {
            if (name[j].len == service->workflow.len
                && ngx_memcmp(name[j].data, service->workflow.data,
                              name[j].len)
                   == 0)
            {
                service->plugin = &plugin[i];
            }
        }
    }

    if (service->plugin == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "workflow_service \"%V\" runs the workflow \"%V\", which "
                      "no plugin defines; write \"workflow_load FILE;\" with "
                      "the plugin that does in %s:%ui",
                      &service->name, &service->workflow, service->file,
                      service->line);
        return NGX_ERROR;
    }

    if (service->message_queue_config
        && ngx_http_workflow_control_queue(cf, wmcf, service) != NGX_OK)
    {
        return NGX_ERROR;
    }

    queue = wmcf->queues.elts;

    for (i = 0; i < wmcf->queues.nelts; i++) {
        if (queue[i]->name.len == service->queue.len
            && ngx_memcmp(queue[i]->name.data, service->queue.data,
                          service->queue.len)
               == 0)
        {
            service->consumer.queue = queue[i];
        }
    }

    if (service->consumer.queue == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "workflow_service \"%V\" uses the queue \"%V\", which is "
                      "not declared; write \"workflow_queue %V { url ...; }\" "
                      "in %s:%ui",
                      &service->name, &service->queue, &service->queue,
                      service->file, service->line);
        return NGX_ERROR;
    }

    if (ngx_thread_pool_get((ngx_cycle_t *) cf->cycle, &service->thread_pool)
        == NULL)
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "workflow_service \"%V\" uses the thread pool \"%V\", "
                      "which is not declared; write \"thread_pool %V threads=8 "
                      "max_queue=65536;\" above \"http\" in %s:%ui",
                      &service->name, &service->thread_pool,
                      &service->thread_pool, service->file, service->line);
        return NGX_ERROR;
    }

    service->consumer.name = service->name;

    ns = service->consumer.queue->topic_namespace;

    if (ns.len == 0) {

        if (service->control_name.len) {

            /* the control plane tells it */

            return NGX_OK;
        }

        ngx_str_set(&ns, "llama_deploy");
    }

    return ngx_workflow_consumer_init(&service->consumer, &ns, cf->pool);
}


static char *
ngx_http_workflow_set_msec_or_off(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    char *p = conf;

    ngx_str_t   *value;
    ngx_msec_t  *msec;

    value = cf->args->elts;
    msec = (ngx_msec_t *) (p + cmd->offset);

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (*msec != NGX_CONF_UNSET_MSEC) {
            return "is duplicate";
        }

        *msec = 0;
        return NGX_CONF_OK;
    }

    return ngx_conf_set_msec_slot(cf, cmd, conf);
}


/* Milliseconds as Python writes seconds: "10.0", "0.1". */

static ngx_int_t
ngx_http_workflow_seconds(ngx_conf_t *cf, ngx_msec_t msec, ngx_str_t *text)
{
    u_char  *p;

    text->data = ngx_pnalloc(cf->pool, NGX_INT64_LEN + sizeof(".123"));
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(text->data, "%M.%03M", msec / 1000, msec % 1000);

    while (p[-1] == '0' && p[-2] != '.') {
        p--;
    }

    *p = '\0';
    text->len = p - text->data;

    return NGX_OK;
}
