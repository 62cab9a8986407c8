/*
 * bench COMMAND NAME=VALUE...: load for bench.pl, and the floors that the
 * module is measured against.  What was measured is printed as JSON.
 *
 *     fill   queue tasks by the accept script, pipelined
 *     drain  claim and end them by the scripts, pipelined: the floor
 *     go     hand tasks that were filled into a stage to the service's workers
 *            at once, and wait until n of them have ended
 *     alone  accept, claim, end and hear of one task after the other: the floor
 *     send   tasks or events by HTTP or Pub/Sub, and their completed_task
 *     proxy  TCP with a delay
 */

#include <math.h>
#include <stdarg.h>
#include <time.h>

#include "bench.h"


typedef struct {
    const char  *name;
    void       (*run)(const bench_t *b);
} bench_command_t;


static void bench_option(bench_t *b, char *arg);
static int bench_compare(const void *one, const void *two);
static double bench_percentile(const bench_times_t *t, double p);


int
main(int argc, char **argv)
{
    int      i;
    size_t   n;
    bench_t  b;

    static const bench_command_t  commands[] = {
        { "fill", bench_fill },
        { "drain", bench_drain },
        { "go", bench_go },
        { "alone", bench_alone },
        { "send", bench_send },
        { "proxy", bench_proxy },
    };

    memset(&b, 0, sizeof(b));

    b.service = "echo";
    b.stage = "queue";
    b.id = "bench000";
    b.via = "pubsub";
    b.path = "/process_message";
    b.n = 1000;
    b.size = 400;
    b.window = 1;
    b.batch = 64;

    for (i = 2; i < argc; i++) {
        bench_option(&b, argv[i]);
    }

    for (n = 0; argc > 1 && n < sizeof(commands) / sizeof(commands[0]); n++) {
        if (strcmp(argv[1], commands[n].name) == 0) {
            commands[n].run(&b);
            return 0;
        }
    }

    bench_die("usage: bench fill|drain|go|alone|send|proxy NAME=VALUE...");
}


static void
bench_option(bench_t *b, char *arg)
{
    char    *value, *end;
    long     number;
    size_t   i;

    const struct {
        const char   *name;
        const char  **text;
        long         *number;
        int          *port;
    } options[] = {
        { "service", &b->service, NULL, NULL },
        { "stage", &b->stage, NULL, NULL },
        { "id", &b->id, NULL, NULL },
        { "via", &b->via, NULL, NULL },
        { "path", &b->path, NULL, NULL },
        { "input", &b->input, NULL, NULL },
        { "n", NULL, &b->n, NULL },
        { "from", NULL, &b->from, NULL },
        { "size", NULL, &b->size, NULL },
        { "window", NULL, &b->window, NULL },
        { "rate", NULL, &b->rate, NULL },
        { "batch", NULL, &b->batch, NULL },
        { "back", NULL, &b->back, NULL },
        { "delay", NULL, &b->delay, NULL },
        { "redis", NULL, NULL, &b->redis },
        { "http", NULL, NULL, &b->http },
        { "to", NULL, NULL, &b->to },
    };

    value = strchr(arg, '=');
    if (value == NULL) {
        bench_die("\"%s\" is not NAME=VALUE", arg);
    }

    *value++ = '\0';

    for (i = 0; i < sizeof(options) / sizeof(options[0]); i++) {

        if (strcmp(arg, options[i].name) != 0) {
            continue;
        }

        if (options[i].text != NULL) {
            *options[i].text = value;
            return;
        }

        number = strtol(value, &end, 10);

        if (end == value || *end != '\0' || number < 0) {
            bench_die("%s: \"%s\" is no number", arg, value);
        }

        if (options[i].number != NULL) {
            *options[i].number = number;

        } else {
            *options[i].port = (int) number;
        }

        return;
    }

    bench_die("unknown option \"%s\"", arg);
}


void
bench_die(const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    (void) fprintf(stderr, "bench: ");
    (void) vfprintf(stderr, fmt, args);
    (void) fprintf(stderr, "\n");
    va_end(args);

    exit(1);
}


double
bench_time(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


void
bench_print_rate(long n, double seconds)
{
    printf("{\"n\": %ld, \"seconds\": %.6f, \"rate\": %.1f}\n",
           n, seconds, (double) n / seconds);
}


void
bench_times_init(bench_times_t *t, long n)
{
    t->n = n;
    t->took = calloc((size_t) n, sizeof(t->took[0]));

    if (t->took == NULL) {
        bench_die("no memory");
    }
}


void
bench_times_print(bench_times_t *t)
{
    qsort(t->took, (size_t) t->n, sizeof(t->took[0]), bench_compare);

    printf("{\"n\": %ld, \"seconds\": %.6f, \"rate\": %.1f, \"p50\": %.1f,"
           " \"p99\": %.1f, \"max\": %.1f}\n",
           t->n, t->seconds, (double) t->n / t->seconds,
           bench_percentile(t, 0.5), bench_percentile(t, 0.99),
           t->took[t->n - 1]);

    free(t->took);
}


static int
bench_compare(const void *one, const void *two)
{
    double  a, b;

    a = *(const double *) one;
    b = *(const double *) two;

    return (a > b) - (a < b);
}


static double
bench_percentile(const bench_times_t *t, double p)
{
    long  i;

    i = (long) ceil(p * (double) t->n) - 1;

    return t->took[i < 0 ? 0 : i];
}
