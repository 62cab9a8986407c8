/*
 * Tasks by HTTP or Pub/Sub, or events for tasks that wait, and what is
 * published of their end.  window=N: so many are under way at a time; rate=N:
 * so many in a second, whatever becomes of them, each timed from the moment at
 * which it was due (open loop).
 */

#define _GNU_SOURCE

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"


#define BENCH_SILENCE  10                /* seconds */

/* answers to PUBLISH that may be left in the socket: to be woken for each would
 * cost more than to send it */

#define BENCH_UNREAD   256


typedef struct {
    const bench_t   *b;
    redisContext    *redis;
    redisContext    *sub;
    int              http;               /* socket */
    long             sent;
    long             answered;
    long             done;
    char             answer[BENCH_TEXT];
    size_t           len;
    double           began;
    double          *start;              /* of each task; 0: it has ended */
    bench_times_t    times;
} bench_send_t;


static void bench_send_init(bench_send_t *s, const bench_t *b);
static void bench_send_due(bench_send_t *s);
static double bench_send_time(bench_send_t *s, long i);
static void bench_send_one(bench_send_t *s, const char *message);
static void bench_send_wait(bench_send_t *s);
static void bench_send_answered(bench_send_t *s);
static void bench_send_http(bench_send_t *s);
static void bench_send_heard(bench_send_t *s);
static void bench_send_ended(bench_send_t *s, const char *message, double now);
static int bench_http_connect(int port);


void
bench_send(const bench_t *b)
{
    bench_send_t  s;

    bench_send_init(&s, b);

    s.began = bench_time();

    while (s.done < b->n || s.answered < b->n) {
        bench_send_due(&s);
        bench_send_wait(&s);
    }

    s.times.seconds = bench_time() - s.began;
    bench_times_print(&s.times);

    redisFree(s.redis);
    redisFree(s.sub);
    free(s.start);
}


static void
bench_send_init(bench_send_t *s, const bench_t *b)
{
    memset(s, 0, sizeof(*s));

    s->b = b;
    s->redis = bench_connect(b->redis);
    s->sub = bench_subscribe(b->redis);
    s->http = -1;

    if (strcmp(b->via, "http") == 0) {
        s->http = bench_http_connect(b->http);
    }

    bench_times_init(&s->times, b->n);

    s->start = calloc((size_t) b->n, sizeof(s->start[0]));
    if (s->start == NULL) {
        bench_die("no memory");
    }
}


static void
bench_send_due(bench_send_t *s)
{
    char            message[BENCH_TEXT];
    double          now;
    const bench_t  *b;

    b = s->b;

    while (s->sent < b->n) {
        now = bench_time();

        if (b->rate ? bench_send_time(s, s->sent) > now
            : s->sent - s->done >= b->window)
        {
            break;
        }

        if (strcmp(b->via, "event") == 0) {
            bench_event(b, message, b->from + s->sent);

        } else {
            bench_task(b, message, b->from + s->sent);
        }

        s->start[s->sent] = b->rate ? bench_send_time(s, s->sent)
                                    : bench_time();
        s->sent++;

        bench_send_one(s, message);
    }

    bench_flush(s->redis);
}


/* When a task is due. */

static double
bench_send_time(bench_send_t *s, long i)
{
    return s->began + (double) i / (double) s->b->rate;
}


static void
bench_send_one(bench_send_t *s, const char *message)
{
    int   n;
    char  request[2 * BENCH_TEXT];

    if (s->http == -1) {

        if (redisAppendCommand(s->redis, "PUBLISH llama_deploy.%s %s",
                               s->b->service, message)
            != REDIS_OK)
        {
            bench_die("no memory");
        }

        return;
    }

    n = snprintf(request, sizeof(request), "POST %s HTTP/1.1\r\n"
                 "Host: 127.0.0.1\r\nContent-Type: application/json\r\n"
                 "Content-Length: %zu\r\n\r\n%s",
                 s->b->path, strlen(message), message);

    if (write(s->http, request, (size_t) n) != n) {
        bench_die("http: %s", strerror(errno));
    }
}


/* Until something comes, or the next task is due. */

static void
bench_send_wait(bench_send_t *s)
{
    int               n;
    double            seconds;
    struct pollfd     fds[3];
    struct timespec   timeout;

    seconds = BENCH_SILENCE;

    if (s->b->rate && s->sent < s->b->n) {
        seconds = bench_send_time(s, s->sent) - bench_time();

        if (seconds < 0) {
            seconds = 0;
        }
    }

    timeout.tv_sec = (time_t) seconds;
    timeout.tv_nsec = (long) (1e9 * (seconds - (double) timeout.tv_sec));

    fds[0].fd = s->sub->fd;
    fds[1].fd = s->redis->fd;
    fds[2].fd = s->http;                 /* -1 is ignored */

    for (n = 0; n < 3; n++) {
        fds[n].events = POLLIN;
    }

    if (s->http == -1 && s->sent < s->b->n
        && s->sent - s->answered < BENCH_UNREAD)
    {
        fds[1].fd = -1;
    }

    n = ppoll(fds, 3, &timeout, NULL);

    if (n == -1) {
        bench_die("ppoll: %s", strerror(errno));
    }

    if (n == 0 && seconds >= BENCH_SILENCE) {
        bench_die("%ld of %ld tasks have not ended in time",
                  s->b->n - s->done, s->b->n);
    }

    if (fds[0].revents) {
        bench_send_heard(s);
    }

    if (fds[1].fd != -1 && fds[1].revents) {
        bench_send_answered(s);
    }

    if (s->http != -1 && fds[2].revents) {
        bench_send_http(s);
    }
}


/* Those to PUBLISH: how many have received it. */

static void
bench_send_answered(bench_send_t *s)
{
    redisReply  *reply;

    if (redisBufferRead(s->redis) != REDIS_OK) {
        bench_die("redis: %s", s->redis->errstr);
    }

    while (redisGetReplyFromReader(s->redis, (void **) &reply) == REDIS_OK
           && reply != NULL)
    {
        if (reply->type != REDIS_REPLY_INTEGER || reply->integer < 1) {
            bench_die("nobody receives what is published");
        }

        s->answered++;
        freeReplyObject(reply);
    }
}


/* One at a time. */

static void
bench_send_http(bench_send_t *s)
{
    ssize_t  n;

    n = read(s->http, s->answer + s->len, sizeof(s->answer) - 1 - s->len);

    if (n <= 0) {
        bench_die("nginx has closed the connection");
    }

    s->len += (size_t) n;
    s->answer[s->len] = '\0';

    if (strstr(s->answer, "\r\n\r\n") == NULL) {
        return;
    }

    if (strncmp(s->answer, "HTTP/1.1 200 ", 13) != 0) {
        bench_die("nginx answers %s", s->answer);
    }

    if (strstr(s->answer, "\r\n\r\nnull") != NULL) {
        s->answered++;
        s->len = 0;
    }
}


static void
bench_send_heard(bench_send_t *s)
{
    double       now;
    redisReply  *reply;

    if (redisBufferRead(s->sub) != REDIS_OK) {
        bench_die("redis: %s", s->sub->errstr);
    }

    now = bench_time();

    while (redisGetReplyFromReader(s->sub, (void **) &reply) == REDIS_OK
           && reply != NULL)
    {
        bench_send_ended(s, reply->element[2]->str, now);
        freeReplyObject(reply);
    }
}


static void
bench_send_ended(bench_send_t *s, const char *message, double now)
{
    long         i;
    const char  *id;

    static const char  field[] = "\"task_id\": \"";

    id = strstr(message, field);

    if (id == NULL || strstr(message, "\"completed_task\"") == NULL
        || strncmp(id + sizeof(field) - 1, s->b->id, 8) != 0)
    {
        return;
    }

    if (strstr(message, "\"status\": \"completed\"") == NULL) {
        bench_die("a task has failed: %s", message);
    }

    id += sizeof(field) - 1 + BENCH_ID - 12;
    i = strtol(id, NULL, 10) - s->b->from;

    if (i < 0 || i >= s->sent || s->start[i] == 0) {
        bench_die("a task has ended that was not under way: %s", message);
    }

    s->times.took[s->done++] = 1e6 * (now - s->start[i]);
    s->start[i] = 0;
}


static int
bench_http_connect(int port)
{
    int                 fd, on;
    struct sockaddr_in  address;

    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t) port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    on = 1;
    fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd == -1
        || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == -1
        || connect(fd, (struct sockaddr *) &address, sizeof(address)) == -1)
    {
        bench_die("http, port %d: %s", port, strerror(errno));
    }

    return fd;
}
