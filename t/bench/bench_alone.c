/*
 * The least that a task can take: the script that accepts and claims it, and the
 * transaction that ends it, one after the other, until its completed_task has
 * arrived at a subscriber.
 */

#include "bench.h"


static void bench_wait(redisContext *c);
static void bench_hear(redisContext *sub);


void
bench_alone(const bench_t *b)
{
    long              i;
    char              id[BENCH_ID + 1];
    double            began, start;
    redisReply       *reply;
    redisContext     *c, *sub;
    bench_times_t     times;
    bench_scripts_t   s;

    c = bench_connect(b->redis);
    sub = bench_subscribe(b->redis);
    bench_scripts_load(&s, b, c);
    bench_exec_open(&s, c);
    bench_times_init(&times, b->n);

    /* the first claim makes the group that claims */

    bench_claim(&s, c, 1);
    bench_wait(c);

    began = bench_time();

    for (i = 0; i < b->n; i++) {
        start = bench_time();

        bench_id(b, id, b->from + i);
        bench_accept(&s, c, id, 1);
        reply = bench_reply(c);

        if (reply->elements != 4) {
            bench_die("the task that was queued was not claimed");
        }

        (void) bench_exec(&s, c, reply, 3);

        freeReplyObject(reply);
        (void) bench_executed(&s, c);

        bench_hear(sub);

        times.took[i] = 1e6 * (bench_time() - start);
    }

    times.seconds = bench_time() - began;
    bench_times_print(&times);

    redisFree(c);
    redisFree(sub);
}


static void
bench_wait(redisContext *c)
{
    freeReplyObject(bench_reply(c));
}


static void
bench_hear(redisContext *sub)
{
    int          completed;
    redisReply  *message;

    do {
        message = bench_reply(sub);
        completed = strstr(message->element[2]->str, "\"completed_task\"")
                    != NULL;
        freeReplyObject(message);

    } while (!completed);
}
