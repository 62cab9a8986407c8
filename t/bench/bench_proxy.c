/*
 * A TCP proxy on loopback that hands on what it gets delay microseconds later,
 * in both directions; for 1 millisecond a program like this is exact enough,
 * where Perl is not.  Its port is printed.  It ends when its standard input
 * does.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"


#define BENCH_LINKS  64
#define BENCH_CHUNK  65536


/* What was read and is to be written when its time has come. */

typedef struct bench_chunk_s  bench_chunk_t;

struct bench_chunk_s {
    bench_chunk_t   *next;
    double           due;
    size_t           len;
    size_t           sent;
    char             data[];
};


/* A connection, and the one that its bytes go to. */

typedef struct {
    int              fd;                 /* -1: none */
    int              peer;               /* index */
    bench_chunk_t   *first;              /* for this one */
    bench_chunk_t   *last;
} bench_link_t;


typedef struct {
    const bench_t   *b;
    int              listen;
    char            *chunk;
    bench_link_t     links[2 * BENCH_LINKS];
} bench_proxy_t;


static int bench_socket(void);
static void bench_proxy_listen(bench_proxy_t *p);
static void bench_proxy_accept(bench_proxy_t *p);
static void bench_proxy_read(bench_proxy_t *p, bench_link_t *link);
static void bench_proxy_write(bench_proxy_t *p, bench_link_t *link);
static void bench_proxy_close(bench_proxy_t *p, bench_link_t *link);
static int bench_proxy_wait(bench_proxy_t *p);


void
bench_proxy(const bench_t *b)
{
    int            i;
    bench_proxy_t  p;

    memset(&p, 0, sizeof(p));
    p.b = b;
    p.chunk = malloc(BENCH_CHUNK);

    if (p.chunk == NULL) {
        bench_die("no memory");
    }

    for (i = 0; i < 2 * BENCH_LINKS; i++) {
        p.links[i].fd = -1;
    }

    bench_proxy_listen(&p);

    while (bench_proxy_wait(&p)) {
        for (i = 0; i < 2 * BENCH_LINKS; i++) {
            bench_proxy_write(&p, &p.links[i]);
        }
    }
}


static int
bench_socket(void)
{
    int  fd, on;

    on = 1;
    fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd == -1
        || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == -1)
    {
        bench_die("socket: %s", strerror(errno));
    }

    return fd;
}


static void
bench_proxy_listen(bench_proxy_t *p)
{
    socklen_t            len;
    struct sockaddr_in   address;

    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    len = sizeof(address);
    p->listen = bench_socket();

    if (bind(p->listen, (struct sockaddr *) &address, len) == -1
        || listen(p->listen, BENCH_LINKS) == -1
        || getsockname(p->listen, (struct sockaddr *) &address, &len) == -1)
    {
        bench_die("listen: %s", strerror(errno));
    }

    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    (void) fflush(stdout);
}


static void
bench_proxy_accept(bench_proxy_t *p)
{
    int                  i, client, server, on;
    struct sockaddr_in   address;

    on = 1;
    client = accept(p->listen, NULL, NULL);

    if (client == -1
        || setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == -1)
    {
        bench_die("accept: %s", strerror(errno));
    }

    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t) p->b->to);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    server = bench_socket();

    if (connect(server, (struct sockaddr *) &address, sizeof(address)) == -1) {
        bench_die("port %d: %s", p->b->to, strerror(errno));
    }

    for (i = 0; i < 2 * BENCH_LINKS; i += 2) {

        if (p->links[i].fd == -1 && p->links[i + 1].fd == -1) {
            p->links[i].fd = client;
            p->links[i].peer = i + 1;
            p->links[i + 1].fd = server;
            p->links[i + 1].peer = i;
            return;
        }
    }

    bench_die("too many connections");
}


static void
bench_proxy_read(bench_proxy_t *p, bench_link_t *link)
{
    ssize_t         n;
    bench_link_t   *peer;
    bench_chunk_t  *chunk;

    n = read(link->fd, p->chunk, BENCH_CHUNK);

    if (n <= 0) {
        bench_proxy_close(p, link);
        return;
    }

    chunk = malloc(sizeof(*chunk) + (size_t) n);
    if (chunk == NULL) {
        bench_die("no memory");
    }

    chunk->next = NULL;
    chunk->due = bench_time() + (double) p->b->delay / 1e6;
    chunk->len = (size_t) n;
    chunk->sent = 0;
    memcpy(chunk->data, p->chunk, (size_t) n);

    peer = &p->links[link->peer];

    if (peer->first == NULL) {
        peer->first = chunk;

    } else {
        peer->last->next = chunk;
    }

    peer->last = chunk;
}


static void
bench_proxy_write(bench_proxy_t *p, bench_link_t *link)
{
    ssize_t         n;
    bench_chunk_t  *chunk;

    while (link->fd != -1 && link->first != NULL
           && link->first->due <= bench_time())
    {
        chunk = link->first;

        n = send(link->fd, chunk->data + chunk->sent, chunk->len - chunk->sent,
                 MSG_DONTWAIT|MSG_NOSIGNAL);

        if (n == -1 && errno == EAGAIN) {
            return;
        }

        if (n == -1) {
            bench_proxy_close(p, link);
            return;
        }

        chunk->sent += (size_t) n;

        if (chunk->sent == chunk->len) {
            link->first = chunk->next;
            free(chunk);
        }
    }
}


static void
bench_proxy_close(bench_proxy_t *p, bench_link_t *link)
{
    int             i;
    bench_link_t   *end;
    bench_chunk_t  *chunk;

    for (i = 0; i < 2; i++) {
        end = i ? &p->links[link->peer] : link;

        (void) close(end->fd);
        end->fd = -1;

        while (end->first != NULL) {
            chunk = end->first;
            end->first = chunk->next;
            free(chunk);
        }
    }
}


/* Until something comes or is due; 0: standard input has ended. */

static int
bench_proxy_wait(bench_proxy_t *p)
{
    int               i;
    double            now, left, seconds;
    bench_link_t     *link;
    struct pollfd     fds[2 + 2 * BENCH_LINKS];
    struct timespec   timeout;

    seconds = 3600;
    now = bench_time();

    fds[0].fd = STDIN_FILENO;
    fds[0].events = POLLIN;
    fds[1].fd = p->listen;
    fds[1].events = POLLIN;

    for (i = 0; i < 2 * BENCH_LINKS; i++) {
        link = &p->links[i];

        fds[2 + i].fd = link->fd;
        fds[2 + i].events = POLLIN;

        if (link->fd == -1 || link->first == NULL) {
            continue;
        }

        left = link->first->due - now;

        if (left <= 0) {
            fds[2 + i].events = POLLIN|POLLOUT;

        } else if (left < seconds) {
            seconds = left;
        }
    }

    timeout.tv_sec = (time_t) seconds;
    timeout.tv_nsec = (long) (1e9 * (seconds - (double) timeout.tv_sec));

    if (ppoll(fds, 2 + 2 * BENCH_LINKS, &timeout, NULL) == -1) {
        bench_die("ppoll: %s", strerror(errno));
    }

    if (fds[0].revents) {
        return 0;
    }

    for (i = 0; i < 2 * BENCH_LINKS; i++) {
        link = &p->links[i];

        if (link->fd == fds[2 + i].fd && fds[2 + i].revents & ~POLLOUT) {
            bench_proxy_read(p, link);
        }
    }

    if (fds[1].revents) {
        bench_proxy_accept(p);
    }

    return 1;
}
