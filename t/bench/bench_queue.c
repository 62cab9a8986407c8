/* Tasks in and out of the queue, as many as can be. */

#include <unistd.h>

#include "bench.h"


#define BENCH_PIPELINE  512              /* calls whose answers are awaited */
#define BENCH_TIMEOUT   120              /* seconds */


/* The kinds of answers that are to come, in order. */

typedef struct {
    char  kinds[BENCH_PIPELINE];
    int   first;
    int   n;
} bench_awaited_t;


static void bench_await(bench_awaited_t *a, char kind);
static char bench_awaited(bench_awaited_t *a);
static long bench_hand_over(const bench_t *b, bench_scripts_t *s,
    redisContext *c);
static long bench_queued(redisContext *c, const char *key);
static void bench_nap(long left, long done, double seconds);


void
bench_fill(const bench_t *b)
{
    int               k, m;
    long              i;
    char              id[BENCH_ID + 1];
    double            began;
    redisReply       *reply;
    redisContext     *c;
    bench_scripts_t   s;

    c = bench_connect(b->redis);
    bench_scripts_load(&s, b, c);

    began = bench_time();

    for (i = 0; i < b->n; i += m) {

        for (m = 0; m < BENCH_PIPELINE && i + m < b->n; m++) {
            bench_id(b, id, b->from + i + m);
            bench_accept(&s, c, id, 0);
        }

        for (k = 0; k < m; k++) {
            reply = bench_reply(c);

            if (strcmp(reply->element[2]->str, "accepted") != 0) {
                bench_die("a task was not accepted: it is %s",
                          reply->element[2]->str);
            }

            freeReplyObject(reply);
        }
    }

    bench_print_rate(b->n, bench_time() - began);

    redisFree(c);
}


/* While tasks are being ended the next ones are claimed. */

void
bench_drain(const bench_t *b)
{
    char              kind;
    long              done, calls;
    double            began, seconds;
    redisReply       *reply;
    redisContext     *c;
    bench_awaited_t   awaited;
    bench_scripts_t   s;

    c = bench_connect(b->redis);
    bench_scripts_load(&s, b, c);
    bench_exec_open(&s, c);
    awaited.first = 0;
    awaited.n = 0;
    done = 0;

    began = bench_time();
    (void) bench_hand_over(b, &s, c);

    bench_claim(&s, c, b->batch);
    bench_await(&awaited, 'c');
    bench_claim(&s, c, b->batch);
    bench_await(&awaited, 'c');

    while (done < b->n && awaited.n > 0) {
        reply = bench_reply(c);
        kind = bench_awaited(&awaited);

        if (kind == 'f') {
            done += bench_executed(&s, c);

        } else if (reply->elements > 2) {

            for (calls = bench_exec(&s, c, reply, 2); calls > 0; calls--) {
                bench_await(&awaited, 'f');
            }

            bench_claim(&s, c, b->batch);
            bench_await(&awaited, 'c');
        }

        freeReplyObject(reply);
    }

    seconds = bench_time() - began;

    if (done < b->n) {
        bench_die("only %ld of %ld tasks were there", done, b->n);
    }

    bench_print_rate(done, seconds);

    redisFree(c);
}


static void
bench_await(bench_awaited_t *a, char kind)
{
    if (a->n == BENCH_PIPELINE) {
        bench_die("batch is too large");
    }

    a->kinds[(a->first + a->n++) % BENCH_PIPELINE] = kind;
}


static char
bench_awaited(bench_awaited_t *a)
{
    char  kind;

    kind = a->kinds[a->first];

    a->first = (a->first + 1) % BENCH_PIPELINE;
    a->n--;

    return kind;
}


/* back=1: what is left goes back into the stage. */

void
bench_go(const bench_t *b)
{
    long              queued, left, done;
    double            began, seconds;
    redisContext     *c;
    bench_scripts_t   s;

    c = bench_connect(b->redis);
    bench_scripts_load(&s, b, c);

    began = bench_time();
    queued = bench_hand_over(b, &s, c);
    left = queued;

    for ( ;; ) {
        seconds = bench_time() - began;
        done = queued - left;

        if (done >= b->n) {
            break;
        }

        if (seconds > BENCH_TIMEOUT) {
            bench_die("only %ld of %ld tasks have ended in time", done, b->n);
        }

        bench_nap(b->n - done, done, seconds);

        left = bench_queued(c, s.queue);
    }

    if (b->back) {
        freeReplyObject(redisCommand(c, "RENAME %s %s", s.queue, s.stage));
    }

    bench_print_rate(done, seconds);

    redisFree(c);
}


/* The stage becomes the queue, and a worker is woken. */

static long
bench_hand_over(const bench_t *b, bench_scripts_t *s, redisContext *c)
{
    long          n;
    redisReply   *reply;

    n = bench_queued(c, s->stage);

    if (strcmp(b->stage, "queue") == 0) {
        return n;
    }

    if (redisAppendCommand(c, "MULTI") != REDIS_OK
        || redisAppendCommand(c, "RENAME %s %s", s->stage, s->queue)
           != REDIS_OK
        || redisAppendCommand(c, "RPUSH %s 1", s->bell) != REDIS_OK
        || redisAppendCommand(c, "EXEC") != REDIS_OK)
    {
        bench_die("no memory");
    }

    freeReplyObject(bench_reply(c));
    freeReplyObject(bench_reply(c));
    freeReplyObject(bench_reply(c));

    reply = bench_reply(c);

    if (reply->element[0]->type == REDIS_REPLY_ERROR) {
        bench_die("nothing is in stage \"%s\"", b->stage);
    }

    freeReplyObject(reply);

    return n;
}


static long
bench_queued(redisContext *c, const char *key)
{
    long         n;
    redisReply  *reply;

    if (redisAppendCommand(c, "XLEN %s", key) != REDIS_OK) {
        bench_die("no memory");
    }

    reply = bench_reply(c);
    n = (long) reply->integer;
    freeReplyObject(reply);

    return n;
}


/*
 * Nobody tells when a queue is empty without costing more than this, which is
 * to ask it a few hundred times a second at most, and more seldom while there
 * is still much to do.
 */

static void
bench_nap(long left, long done, double seconds)
{
    double  us;

    us = done ? 1e6 * seconds / (double) done * (double) left / 8 : 2000;

    if (us > 50000) {
        us = 50000;
    }

    if (us < 1000) {
        us = 1000;
    }

    (void) usleep((useconds_t) us);
}
