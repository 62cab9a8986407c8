/*
 * The Lua scripts, embedded at build time from src/queue/scripts, and their
 * SHA1 sums, by which Redis knows them.
 */

#include "ngx_workflow_queue.h"

#include <ngx_sha1.h>

#include "ngx_workflow_scripts.h"


typedef struct {
    const char  *text;
    size_t       len;
    char         sha[41];
} ngx_workflow_script_t;


#define ngx_workflow_script(name)                                             \
    { ngx_workflow_script_##name, sizeof(ngx_workflow_script_##name) - 1, "" }

static ngx_workflow_script_t  ngx_workflow_scripts[] = {
    ngx_workflow_script(accept),
    ngx_workflow_script(answer),
    ngx_workflow_script(cancel),
    ngx_workflow_script(checkpoint),
    ngx_workflow_script(claim),
    ngx_workflow_script(emit),
    ngx_workflow_script(event),
    ngx_workflow_script(finish),
    ngx_workflow_script(guard),
    ngx_workflow_script(lock),
    ngx_workflow_script(park),
    ngx_workflow_script(reap),
    ngx_workflow_script(refuse),
    ngx_workflow_script(renew),
    ngx_workflow_script(retry),
    ngx_workflow_script(send),
    ngx_workflow_script(workers)
};


void
ngx_workflow_script_init(void)
{
    u_char       digest[20];
    ngx_uint_t   i;
    ngx_sha1_t   sha1;

    for (i = 0; i < NGX_WORKFLOW_SCRIPT_LAST; i++) {
        ngx_sha1_init(&sha1);
        ngx_sha1_update(&sha1, ngx_workflow_scripts[i].text,
                        ngx_workflow_scripts[i].len);
        ngx_sha1_final(digest, &sha1);

        (void) ngx_hex_dump((u_char *) ngx_workflow_scripts[i].sha, digest,
                            sizeof(digest));
    }
}


const char *
ngx_workflow_script_text(ngx_uint_t script)
{
    return ngx_workflow_scripts[script].text;
}


const char *
ngx_workflow_script_sha(ngx_uint_t script)
{
    return ngx_workflow_scripts[script].sha;
}
