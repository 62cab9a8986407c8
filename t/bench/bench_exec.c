/*
 * The module's transaction, with what it has in it for tasks of the workflow
 * echo.
 */

#include <stdarg.h>

#include "bench.h"


#define BENCH_EPOCH         "1.1"

/* for each task, and beside them */

#define BENCH_END_COMMANDS  3
#define BENCH_ALL_COMMANDS  5


typedef struct {
    int          n;
    const char  *args[BENCH_ENDS + 3];
    size_t       lens[BENCH_ENDS + 3];
} bench_args_t;


static void bench_exec_end(bench_scripts_t *s, redisContext *c,
    bench_end_t *end, redisReply *claim);
static void bench_command(redisContext *c, const char *fmt, ...);
static void bench_args(bench_args_t *a, const char *name, const char *key,
    const char *group);
static void bench_arg(bench_args_t *a, const char *arg);
static void bench_append(redisContext *c, bench_args_t *a);


/* The epoch, which the module's script would begin. */

void
bench_exec_open(bench_scripts_t *s, redisContext *c)
{
    s->looks = 0;
    s->watched = 0;

    bench_command(c, "SET %s %s", s->epoch, BENCH_EPOCH);
    freeReplyObject(bench_reply(c));
}


long
bench_exec(bench_scripts_t *s, redisContext *c, redisReply *claims,
    size_t first)
{
    long          calls;
    size_t        i, n;
    bench_end_t   ends[BENCH_ENDS];
    bench_args_t  zrem, xack, xdel;

    calls = 0;

    for (i = first; i < claims->elements; /* void */) {

        bench_args(&zrem, "ZREM", s->leases, NULL);
        bench_args(&xack, "XACK", s->queue, "workers");
        bench_args(&xdel, "XDEL", s->queue, NULL);

        if (!s->watched) {
            bench_command(c, "WATCH %s", s->epoch);
            bench_command(c, "EVAL %s 1 %s %s", s->guard, s->epoch,
                          BENCH_EPOCH);
        }

        bench_command(c, "MULTI");

        for (n = 0; n < BENCH_ENDS && i < claims->elements; n++, i++) {
            bench_exec_end(s, c, &ends[n], claims->element[i]);

            bench_arg(&zrem, claims->element[i]->element[0]->str);
            bench_arg(&xack, ends[n].entry);
            bench_arg(&xdel, ends[n].entry);
        }

        bench_append(c, &zrem);
        bench_append(c, &xack);
        bench_append(c, &xdel);
        bench_command(c, "XLEN %s", s->queue);
        bench_command(c, "ZCARD %s", s->timers);

        bench_command(c, "EXEC");

        bench_command(c, "WATCH %s", s->epoch);
        bench_command(c, "GET %s", s->epoch);
        s->looks++;
        s->watched = 0;

        calls++;
    }

    return calls;
}


long
bench_executed(bench_scripts_t *s, redisContext *c)
{
    long         n;
    redisReply  *reply;

    n = 0;

    do {
        reply = bench_reply(c);

        if (reply->type == REDIS_REPLY_ARRAY) {
            n = (long) reply->elements;
        }

        if (reply->type == REDIS_REPLY_ERROR) {
            bench_die("a transaction has failed: %s", reply->str);
        }

        freeReplyObject(reply);

    } while (n == 0);

    freeReplyObject(bench_reply(c));
    freeReplyObject(bench_reply(c));
    s->watched = --s->looks == 0;

    return (n - BENCH_ALL_COMMANDS) / BENCH_END_COMMANDS;
}


static void
bench_exec_end(bench_scripts_t *s, redisContext *c, bench_end_t *end,
    redisReply *claim)
{
    bench_ended(s, end, claim);

    bench_command(c, "PUBLISH %s %s", BENCH_CHANNEL, s->streamed);
    bench_command(c, "SET %stask:%s %s EX 3600", s->prefix,
                  claim->element[0]->str, end->record);
    bench_command(c, "PUBLISH %s %s", BENCH_CHANNEL, s->completed);
}


static void
bench_command(redisContext *c, const char *fmt, ...)
{
    int      rc;
    va_list  args;

    va_start(args, fmt);
    rc = redisvAppendCommand(c, fmt, args);
    va_end(args);

    if (rc != REDIS_OK) {
        bench_die("no memory");
    }
}


static void
bench_args(bench_args_t *a, const char *name, const char *key,
    const char *group)
{
    a->n = 0;

    bench_arg(a, name);
    bench_arg(a, key);

    if (group != NULL) {
        bench_arg(a, group);
    }
}


static void
bench_arg(bench_args_t *a, const char *arg)
{
    a->args[a->n] = arg;
    a->lens[a->n] = strlen(arg);
    a->n++;
}


static void
bench_append(redisContext *c, bench_args_t *a)
{
    if (redisAppendCommandArgv(c, a->n, a->args, a->lens) != REDIS_OK) {
        bench_die("no memory");
    }
}
