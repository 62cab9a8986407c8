/*
 * Calls of the module's scripts, with what the module hands them for a task of
 * the workflow echo.
 */

#include "bench.h"

/* ISO C compilers may stop at 4095 bytes. */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverlength-strings"
#include "scripts.h"
#pragma GCC diagnostic pop


#define BENCH_MESSAGE                                                         \
    "{\"id_\": \"6d6a0f26-d327-4113-9ba2-10da240cd49b\","                     \
    " \"publisher_id\": \"default\", \"data\": {\"task_id\":"                 \
    " \"6d6a0f26-d327-4113-9ba2-10da240cd49b\", %s}, \"action\": \"%s\","     \
    " \"stats\": {\"publish_time\": \"2026-11-23 14:56:53\","                 \
    " \"process_start_time\": null, \"process_end_time\": null},"             \
    " \"type\": \"control_plane\"}"


static void bench_script(redisContext *c, const char *text, char *sha);


void
bench_scripts_load(bench_scripts_t *s, const bench_t *b, redisContext *c)
{
    int   n;
    char  data[3 * BENCH_PAD];

    bench_script(c, ngx_workflow_script_accept, s->accept);
    bench_script(c, ngx_workflow_script_claim, s->claim);

    bench_key(b, s->prefix, "");
    bench_key(b, s->queue, "queue");
    bench_key(b, s->stage, b->stage);
    bench_key(b, s->bell, "bell");
    bench_key(b, s->timers, "timers");
    bench_key(b, s->leases, "leases");
    bench_key(b, s->epoch, "epoch");

    s->guard = ngx_workflow_script_guard;

    bench_input(b, s->input);

    /* {"arg1": "xxx"}: "xxx_result" */

    n = (int) strspn(s->input + strcspn(s->input, "x"), "x");
    (void) snprintf(s->result, sizeof(s->result), "\"%.*s_result\"", n,
                    s->input + strcspn(s->input, "x"));

    (void) snprintf(s->record, sizeof(s->record), "bench 1 1 1 -"
                    " 1795622461542 1795622461541 cc94a25cf4023264"
                    " result=%zu\n%s", strlen(s->result), s->result);

    (void) snprintf(data, sizeof(data), "\"session_id\": null, \"data\":"
                    " {\"result\": %.1200s}, \"index\": 0", s->result);
    (void) snprintf(s->streamed, sizeof(s->streamed), BENCH_MESSAGE, data,
                    "task_stream");

    (void) snprintf(data, sizeof(data), "\"history\": [], \"result\": %.1200s,"
                    " \"data\": {\"status\": \"completed\","
                    " \"result\": %.1200s}", s->result, s->result);
    (void) snprintf(s->completed, sizeof(s->completed), BENCH_MESSAGE, data,
                    "completed_task");
}


static void
bench_script(redisContext *c, const char *text, char *sha)
{
    redisReply  *reply;

    if (redisAppendCommand(c, "SCRIPT LOAD %s", text) != REDIS_OK) {
        bench_die("no memory");
    }

    reply = bench_reply(c);

    (void) snprintf(sha, 64, "%s", reply->str);
    freeReplyObject(reply);
}


/* Each of these appends its calls and leaves the answers to the caller. */

/* claims: at once; the answer has the claim where that to a claim has it. */

void
bench_accept(bench_scripts_t *s, redisContext *c, const char *id, int claims)
{
    if (redisAppendCommand(c, "EVALSHA %s 1 %s %s bench %d 30000 3 1 0"
                           " %s %s %s %s",
                           s->accept, s->stage, s->prefix, claims, id,
                           s->input, "cc94a25cf4023264 -\n", "")
        != REDIS_OK)
    {
        bench_die("no memory");
    }
}


void
bench_claim(bench_scripts_t *s, redisContext *c, long n)
{
    if (redisAppendCommand(c, "EVALSHA %s 5 %s %s %s %s %s %s bench %d 0"
                           " 30000 3 1",
                           s->claim, s->queue, s->bell, s->timers, s->leases,
                           s->epoch, s->prefix, (int) n)
        != REDIS_OK)
    {
        bench_die("no memory");
    }
}


void
bench_ended(bench_scripts_t *s, bench_end_t *end, redisReply *claim)
{
    if (sscanf(claim->element[1]->str, "running %63s bench 1 ", end->entry)
        != 1)
    {
        bench_die("a claim is not what it was");
    }

    (void) snprintf(end->record, sizeof(end->record), "completed %s %s",
                    end->entry, s->record);
}
