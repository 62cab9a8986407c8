#ifndef NGX_HTTP_WORKFLOW_H_INCLUDED_
#define NGX_HTTP_WORKFLOW_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_workflow_worker.h"


typedef struct {
    ngx_array_t               plugins;     /* of ngx_workflow_plugin_t */
    ngx_array_t               queues;      /* of ngx_workflow_queue_t * */
    ngx_array_t               services;    /* of ngx_workflow_service_t * */
    ngx_array_t               passes;      /* of ngx_http_workflow_pass_t */
    ngx_shm_zone_t           *zone;
    size_t                    zone_size;
    u_char                   *zone_file;
    ngx_uint_t                zone_line;
} ngx_http_workflow_main_conf_t;

typedef struct {
    ngx_workflow_service_t   *service;
    ngx_str_t                 status;      /* GET /, up to the number */
    ngx_str_t                 location;
} ngx_http_workflow_loc_conf_t;

/* A workflow_pass, whose service may be declared behind it. */

typedef struct {
    ngx_http_workflow_loc_conf_t  *conf;
    ngx_str_t                      name;
    u_char                        *file;
    ngx_uint_t                     line;
} ngx_http_workflow_pass_t;


/*
 * A directive inside a block.  The example is shown with errors: what a right
 * line looks like.
 */

typedef struct {
    ngx_command_t             command;
    const char               *example;
} ngx_http_workflow_directive_t;

/* Whether what has been set so far is in range; otherwise the range. */
typedef const char *(*ngx_http_workflow_range_pt)(void *conf);

/* Parse a block's directives into conf.  what: "workflow_queue \"name\"". */
char *ngx_http_workflow_block(ngx_conf_t *cf,
    ngx_http_workflow_directive_t *directives, void *conf, ngx_str_t *what,
    ngx_http_workflow_range_pt range);

/* The name of a block: letters, digits and "_-.", at most
 * NGX_WORKFLOW_MAX_NAME. */
ngx_int_t ngx_http_workflow_name(ngx_conf_t *cf, const char *what,
    ngx_str_t *name);

char *ngx_http_workflow_queue_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_workflow_service_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

const char *ngx_http_workflow_service_range(void *conf);

/* A service's directives that are absent, from WORKFLOW_SERVICE_*. */
char *ngx_http_workflow_service_env(ngx_conf_t *cf,
    ngx_workflow_service_t *service);
ngx_int_t ngx_http_workflow_env(ngx_conf_t *cf, const char *name,
    ngx_str_t *value);

/* WORKFLOW_SERVICE_INTERNAL_HOST and _PORT against what is listened on. */
void ngx_http_workflow_env_listen(ngx_conf_t *cf);

/* What a service says of its control plane; and the queue that this tells. */
char *ngx_http_workflow_control_finish(ngx_conf_t *cf,
    ngx_workflow_service_t *service, ngx_str_t *what);
char *ngx_http_workflow_control_tls(ngx_conf_t *cf,
    ngx_workflow_service_t *service, ngx_str_t *what);
char *ngx_http_workflow_control_secrets(ngx_conf_t *cf,
    ngx_workflow_service_t *service, ngx_str_t *what);
ngx_int_t ngx_http_workflow_control_queue(ngx_conf_t *cf,
    ngx_http_workflow_main_conf_t *wmcf, ngx_workflow_service_t *service);

/* What can be checked only when all is read. */
ngx_int_t ngx_http_workflow_service_check(ngx_conf_t *cf,
    ngx_http_workflow_main_conf_t *wmcf, ngx_workflow_service_t *service);

/* The fixed part of the answer to GET /. */
ngx_int_t ngx_http_workflow_status_text(ngx_conf_t *cf,
    ngx_http_workflow_loc_conf_t *conf);

ngx_int_t ngx_http_workflow_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_workflow_message(ngx_http_request_t *r);
ngx_int_t ngx_http_workflow_task(ngx_http_request_t *r, ngx_str_t *task_id);

/* Send a whole answer in JSON.  The body must live as long as the request. */
ngx_int_t ngx_http_workflow_reply(ngx_http_request_t *r, ngx_uint_t status,
    u_char *data, size_t len);
ngx_int_t ngx_http_workflow_reply_buf(ngx_http_request_t *r,
    ngx_uint_t status, wf_buf_t *b);
ngx_int_t ngx_http_workflow_unavailable(ngx_http_request_t *r,
    const char *detail);

/* While an answer is waited for, notice a client that leaves. */
ngx_int_t ngx_http_workflow_watch(ngx_http_request_t *r);

#define ngx_http_workflow_reply_text(r, status, text)                         \
    ngx_http_workflow_reply(r, status, (u_char *) text, sizeof(text) - 1)


extern ngx_module_t  ngx_http_workflow_module;


#endif /* NGX_HTTP_WORKFLOW_H_INCLUDED_ */
