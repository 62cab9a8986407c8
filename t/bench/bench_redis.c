/* Messages, keys and connections. */

#include "bench.h"


/* "{\"arg1\": \"...\"}" as it stands in a message. */

#define BENCH_TASK                                                            \
    "{\"action\": \"new_task\", \"data\": {\"task_id\": \"%s\","              \
    " \"session_id\": null,"                                                  \
    " \"input\": \"{\\\"arg1\\\": \\\"%.*s\\\"}\"}}"

#define BENCH_EVENT                                                           \
    "{\"action\": \"send_event\", \"data\": {\"task_id\": \"%s\","            \
    " \"session_id\": null, \"input\": \"{\\\"__is_pydantic\\\": true,"       \
    " \\\"value\\\": {\\\"response\\\": \\\"%.*s\\\"},"                       \
    " \\\"qualified_name\\\":"                                                \
    " \\\"llama_index.core.workflow.events.HumanResponseEvent\\\"}\"}}"


static int bench_pad(const bench_t *b, const char *format);


static char  bench_xs[BENCH_PAD + 1];


void
bench_key(const bench_t *b, char *key, const char *name)
{
    (void) snprintf(key, BENCH_KEY, "{llama_deploy.%s}:%s", b->service, name);
}


void
bench_id(const bench_t *b, char *id, long i)
{
    (void) snprintf(id, BENCH_ID + 1, "%.8s-0000-4000-8000-%012ld", b->id, i);
}


/* How many x make a message as large as it is to be. */

static int
bench_pad(const bench_t *b, const char *format)
{
    long  n;

    n = b->size - (long) (strlen(format) - strlen("%s%.*s")) - BENCH_ID;

    if (n < 1 || n > BENCH_PAD) {
        bench_die("size=%ld cannot be", b->size);
    }

    memset(bench_xs, 'x', BENCH_PAD);

    return (int) n;
}


void
bench_input(const bench_t *b, char *input)
{
    int  pad;

    if (b->input != NULL) {
        (void) snprintf(input, BENCH_TEXT, "%s", b->input);
        return;
    }

    pad = bench_pad(b, BENCH_TASK);
    (void) snprintf(input, BENCH_TEXT, "{\"arg1\": \"%.*s\"}", pad, bench_xs);
}


void
bench_task(const bench_t *b, char *message, long i)
{
    int   pad;
    char  id[BENCH_ID + 1];

    bench_id(b, id, i);
    pad = bench_pad(b, BENCH_TASK);
    (void) snprintf(message, BENCH_TEXT, BENCH_TASK, id, pad, bench_xs);
}


void
bench_event(const bench_t *b, char *message, long i)
{
    int   pad;
    char  id[BENCH_ID + 1];

    bench_id(b, id, i);
    pad = bench_pad(b, BENCH_EVENT);
    (void) snprintf(message, BENCH_TEXT, BENCH_EVENT, id, pad, bench_xs);
}


redisContext *
bench_connect(int port)
{
    redisContext  *c;

    c = redisConnect("127.0.0.1", port);

    if (c == NULL || c->err) {
        bench_die("redis, port %d: %s", port, c ? c->errstr : "no memory");
    }

    return c;
}


/* Whoever publishes from now on is heard. */

redisContext *
bench_subscribe(int port)
{
    redisContext  *c;

    c = bench_connect(port);

    if (redisAppendCommand(c, "SUBSCRIBE %s", BENCH_CHANNEL) != REDIS_OK) {
        bench_die("no memory");
    }

    freeReplyObject(bench_reply(c));

    return c;
}


redisReply *
bench_reply(redisContext *c)
{
    redisReply  *reply;

    if (redisGetReply(c, (void **) &reply) != REDIS_OK) {
        bench_die("redis: %s", c->errstr);
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        bench_die("redis: %s", reply->str);
    }

    return reply;
}


/* Send what has been appended. */

void
bench_flush(redisContext *c)
{
    int  done;

    do {
        if (redisBufferWrite(c, &done) != REDIS_OK) {
            bench_die("redis: %s", c->errstr);
        }

    } while (!done);
}
