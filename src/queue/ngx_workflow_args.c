/* The arguments of a command to Redis. */

#include "ngx_workflow_queue.h"


void
ngx_workflow_args_init(ngx_workflow_args_t *args)
{
    args->n = 0;
    args->size = NGX_WORKFLOW_MAX_ARGS;
    args->argv = args->argv_buf;
    args->len = args->len_buf;
    args->nnumbers = 0;
    args->failed = 0;
    args->streams = 0;
}


void
ngx_workflow_args_script(ngx_workflow_args_t *args,
    ngx_workflow_script_e script, ngx_uint_t keys)
{
    ngx_workflow_args_init(args);

    ngx_workflow_args_add(args, "EVALSHA", 7);
    ngx_workflow_args_add(args, ngx_workflow_script_sha(script), 40);
    ngx_workflow_args_number(args, keys);
}


void
ngx_workflow_args_add(ngx_workflow_args_t *args, const void *data, size_t len)
{
    void        *argv, *lens;
    ngx_uint_t   size;

    if (args->failed) {
        return;
    }

    if (args->n == args->size) {
        size = args->size * 2;

        argv = ngx_alloc(size * sizeof(char *), ngx_cycle->log);
        lens = ngx_alloc(size * sizeof(size_t), ngx_cycle->log);

        if (argv == NULL || lens == NULL) {
            if (argv) {
                ngx_free(argv);
            }

            if (lens) {
                ngx_free(lens);
            }

            args->failed = 1;
            return;
        }

        ngx_memcpy(argv, args->argv, args->n * sizeof(char *));
        ngx_memcpy(lens, args->len, args->n * sizeof(size_t));

        ngx_workflow_args_free(args);

        args->argv = argv;
        args->len = lens;
        args->size = size;
    }

    args->argv[args->n] = len ? data : "";
    args->len[args->n++] = len;
}


void
ngx_workflow_args_str(ngx_workflow_args_t *args, ngx_str_t *s)
{
    ngx_workflow_args_add(args, s->data, s->len);
}


void
ngx_workflow_args_number(ngx_workflow_args_t *args, uint64_t n)
{
    u_char  *p, *last;

    if (args->nnumbers == sizeof(args->numbers) / sizeof(args->numbers[0])) {
        args->failed = 1;
        return;
    }

    p = args->numbers[args->nnumbers++];
    last = ngx_sprintf(p, "%uL", n);

    ngx_workflow_args_add(args, p, last - p);
}


void
ngx_workflow_args_free(ngx_workflow_args_t *args)
{
    if (args->argv != args->argv_buf) {
        ngx_free(args->argv);
        ngx_free(args->len);

        args->argv = args->argv_buf;
        args->len = args->len_buf;
    }
}


void
ngx_workflow_text_script(wf_buf_t *b, ngx_workflow_script_e script,
    ngx_uint_t keys, ngx_uint_t args)
{
    wf_buf_addc(b, '*');
    wf_buf_addu(b, 3 + keys + args);
    wf_buf_adds(b, "\r\n");

    ngx_workflow_text_arg(b, "EVALSHA", 7);
    ngx_workflow_text_arg(b, ngx_workflow_script_sha(script), 40);
    ngx_workflow_text_number(b, keys);
}


void
ngx_workflow_text_arg(wf_buf_t *b, const void *data, size_t len)
{
    wf_buf_addc(b, '$');
    wf_buf_addu(b, len);
    wf_buf_adds(b, "\r\n");
    wf_buf_add(b, data, len);
    wf_buf_adds(b, "\r\n");
}


void
ngx_workflow_text_str(wf_buf_t *b, ngx_str_t *s)
{
    ngx_workflow_text_arg(b, s->data, s->len);
}


void
ngx_workflow_text_number(wf_buf_t *b, uint64_t n)
{
    size_t  len;
    u_char  text[NGX_INT64_LEN];

    len = ngx_sprintf(text, "%uL", n) - text;

    ngx_workflow_text_arg(b, text, len);
}
