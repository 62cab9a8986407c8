/* What the parts of the load generator share. */

#ifndef BENCH_H_INCLUDED_
#define BENCH_H_INCLUDED_


#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>


#define BENCH_ID       36                /* bytes of a task's id */
#define BENCH_KEY      256
#define BENCH_TEXT     4096
#define BENCH_PAD      1024              /* most x that make a message larger */
#define BENCH_CHANNEL  "llama_deploy.control_plane"


/* What was asked for, as NAME=VALUE. */

typedef struct {
    int          redis;                  /* port on loopback */
    int          http;
    int          to;
    const char  *service;
    const char  *stage;                  /* where tasks are queued; see go */
    const char  *id;                     /* 8 characters that begin the ids */
    const char  *via;
    const char  *path;
    const char  *input;                  /* of tasks; NULL: of echo */
    long         n;
    long         from;                   /* number of the first task */
    long         size;                   /* bytes of a message */
    long         window;                 /* tasks under way, at most */
    long         rate;                   /* tasks in a second; 0: as they end */
    long         batch;                  /* tasks in a claim */
    long         back;
    long         delay;                  /* microseconds */
} bench_t;


/* Microseconds that tasks have taken. */

typedef struct {
    long        n;
    double      seconds;                 /* all of it */
    double     *took;
} bench_times_t;


void bench_fill(const bench_t *b);
void bench_drain(const bench_t *b);
void bench_go(const bench_t *b);
void bench_alone(const bench_t *b);
void bench_send(const bench_t *b);
void bench_proxy(const bench_t *b);

void bench_die(const char *fmt, ...)
    __attribute__((noreturn, format(printf, 1, 2)));
double bench_time(void);
void bench_print_rate(long n, double seconds);
void bench_times_init(bench_times_t *t, long n);
void bench_times_print(bench_times_t *t);

void bench_key(const bench_t *b, char *key, const char *name);
void bench_id(const bench_t *b, char *id, long i);
void bench_input(const bench_t *b, char *input);
void bench_task(const bench_t *b, char *message, long i);
void bench_event(const bench_t *b, char *message, long i);

redisContext *bench_connect(int port);
redisContext *bench_subscribe(int port);
redisReply *bench_reply(redisContext *c);
void bench_flush(redisContext *c);


/* The module's scripts and its transaction, as the module sends them. */

#define BENCH_ENDS  64                   /* tasks in one */

typedef struct {
    char         accept[64];             /* SHA1 */
    char         claim[64];

    char         prefix[BENCH_KEY];      /* of the service's keys */
    char         queue[BENCH_KEY];
    char         stage[BENCH_KEY];
    char         bell[BENCH_KEY];
    char         timers[BENCH_KEY];
    char         leases[BENCH_KEY];
    char         epoch[BENCH_KEY];

    char         input[BENCH_TEXT];      /* of every task */
    char         record[2 * BENCH_PAD + 128];
    char         result[2 * BENCH_PAD];
    char         streamed[BENCH_TEXT];   /* what is published of each */
    char         completed[BENCH_TEXT];

    const char  *guard;
    int          looks;                  /* at the epoch, behind transactions */
    int          watched;                /* the last of them was answered */
} bench_scripts_t;


typedef struct {
    char         entry[64];
    char         record[2 * BENCH_PAD + 256];
} bench_end_t;


void bench_scripts_load(bench_scripts_t *s, const bench_t *b, redisContext *c);
void bench_accept(bench_scripts_t *s, redisContext *c, const char *id,
    int claims);
void bench_claim(bench_scripts_t *s, redisContext *c, long n);
void bench_ended(bench_scripts_t *s, bench_end_t *end, redisReply *claim);

/* Tasks that end by transactions, of which the claims stand in an answer from that
 * element on: how many of these are sent; and the answers to one, of which the
 * first may have been read, and which end so many tasks. */
void bench_exec_open(bench_scripts_t *s, redisContext *c);
long bench_exec(bench_scripts_t *s, redisContext *c, redisReply *claims,
    size_t first);
long bench_executed(bench_scripts_t *s, redisContext *c);


#endif /* BENCH_H_INCLUDED_ */
