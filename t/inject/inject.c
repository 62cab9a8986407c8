/*
 * Makes one call fail, the n-th of those that the module makes, in a process
 * that has loaded this library by LD_PRELOAD.  The file that INJECT_CONTROL
 * names is how it is told; it is mapped, so it goes on to the processes that
 * are forked, and the test may write to it at any time.
 *
 * Whose call it is, the stack tells: that of the first caller which is not
 * nginx itself.  hiredis may be a part of the module's file: the test says what
 * of it is the module's own code.
 */

#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>


#define FRAMES  16
#define RANGES  1024


/* What the test and the processes share. */

typedef struct {
    uint64_t   begin;
    uint64_t   end;
} range_t;

typedef struct {
    uint32_t   mode;           /* of those below; 0 none */
    uint32_t   target;         /* the call that fails, from 1; 0 none */
    uint32_t   count;          /* calls that were made */
    uint32_t   failed;
    uint64_t   site;           /* where it was called, in the module */
    uint64_t   nranges;
    range_t    ranges[RANGES]; /* the module's own code, in its file */
} control_t;

#define ALLOCATIONS  1         /* of the module's own code */
#define CALLS        2         /* to the kernel, of the module or hiredis */
#define HIREDIS      3         /* allocations of hiredis */


static control_t  *control;
static range_t     nginx, module, hiredis;

static __thread int  inside;

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static int (*real_posix_memalign)(void **, size_t, size_t);
static int (*real_socket)(int, int, int);
static int (*real_connect)(int, __CONST_SOCKADDR_ARG, socklen_t);
static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_recv)(int, void *, size_t, int);
static ssize_t (*real_send)(int, const void *, size_t, int);
static int (*real_epoll_ctl)(int, int, int, struct epoll_event *);


static int
within(const range_t *range, void *address)
{
    return (uintptr_t) address >= range->begin
           && (uintptr_t) address < range->end;
}


/* Whether it is the module's code, and not that of a library within it. */

static int
ours(void *address)
{
    size_t    i;
    uint64_t  offset;

    if (!within(&module, address)) {
        return 0;
    }

    offset = (uintptr_t) address - module.begin;

    for (i = 0; i < control->nranges; i++) {
        if (offset >= control->ranges[i].begin
            && offset < control->ranges[i].end)
        {
            return 1;
        }
    }

    return 0;
}


static int
counts(uint32_t mode, void *caller)
{
    int  own, library;

    own = ours(caller);
    library = !own && (within(&module, caller) || within(&hiredis, caller));

    switch (mode) {

    case ALLOCATIONS:
        return own;

    case CALLS:
        return own || library;

    default:
        return library;
    }
}


static int
find(struct dl_phdr_info *info, size_t size, void *data)
{
    int        i;
    range_t   *range;
    uintptr_t  end;

    (void) size;
    (void) data;

    if (strstr(info->dlpi_name, "ngx_http_workflow_module.so")) {
        range = &module;

    } else if (strstr(info->dlpi_name, "libhiredis")) {
        range = &hiredis;

    } else if (info->dlpi_name[0] == '\0') {
        range = &nginx;

    } else {
        return 0;
    }

    range->begin = info->dlpi_addr;

    for (i = 0; i < info->dlpi_phnum; i++) {
        end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr
              + info->dlpi_phdr[i].p_memsz;

        if (info->dlpi_phdr[i].p_type == PT_LOAD && end > range->end) {
            range->end = end;
        }
    }

    return 0;
}


/* Whether this call is the one that fails. */

static int
fails(uint32_t mode)
{
    int       i, n, due;
    void     *frames[FRAMES];
    uint32_t  count;

    if (control == NULL || control->mode == 0 || inside
        || (control->mode == CALLS) != (mode == CALLS))
    {
        return 0;
    }

    mode = control->mode;

    inside = 1;
    due = 0;

    if (module.begin == 0) {
        (void) dl_iterate_phdr(find, NULL);
    }

    n = backtrace(frames, FRAMES);

    /* the first two are this library's */

    for (i = 2; i < n && within(&nginx, frames[i]); i++) {
        /* void */
    }

    if (i < n && counts(mode, frames[i])) {
        count = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
        due = (count == control->target);

        if (due) {
            while (i < n && !ours(frames[i])) {
                i++;
            }

            control->site = i < n ? (uintptr_t) frames[i] - module.begin : 0;
            control->failed++;
        }
    }

    inside = 0;

    return due;
}


__attribute__((constructor))
static void
begin(void)
{
    int          fd;
    void        *frames[FRAMES];
    const char  *path;

    inside = 1;

    *(void **) &real_malloc = dlsym(RTLD_NEXT, "malloc");
    *(void **) &real_calloc = dlsym(RTLD_NEXT, "calloc");
    *(void **) &real_realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **) &real_posix_memalign = dlsym(RTLD_NEXT, "posix_memalign");
    *(void **) &real_socket = dlsym(RTLD_NEXT, "socket");
    *(void **) &real_connect = dlsym(RTLD_NEXT, "connect");
    *(void **) &real_read = dlsym(RTLD_NEXT, "read");
    *(void **) &real_write = dlsym(RTLD_NEXT, "write");
    *(void **) &real_recv = dlsym(RTLD_NEXT, "recv");
    *(void **) &real_send = dlsym(RTLD_NEXT, "send");
    *(void **) &real_epoll_ctl = dlsym(RTLD_NEXT, "epoll_ctl");

    /* it loads a library when it is called first */

    (void) backtrace(frames, FRAMES);

    path = getenv("INJECT_CONTROL");
    fd = path ? open(path, O_RDWR|O_CLOEXEC) : -1;

    if (fd != -1) {
        control = mmap(NULL, sizeof(control_t), PROT_READ|PROT_WRITE,
                       MAP_SHARED, fd, 0);
        if (control == MAP_FAILED) {
            control = NULL;
        }

        (void) close(fd);
    }

    inside = 0;
}


/* Before the constructor, which dlsym() itself may need memory for, libc's own
 * names are used. */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);


void *
malloc(size_t size)
{
    if (fails(ALLOCATIONS)) {
        errno = ENOMEM;
        return NULL;
    }

    return real_malloc ? real_malloc(size) : __libc_malloc(size);
}


void *
calloc(size_t n, size_t size)
{
    if (fails(ALLOCATIONS)) {
        errno = ENOMEM;
        return NULL;
    }

    return real_calloc ? real_calloc(n, size) : __libc_calloc(n, size);
}


void *
realloc(void *p, size_t size)
{
    if (fails(ALLOCATIONS)) {
        errno = ENOMEM;
        return NULL;
    }

    return real_realloc ? real_realloc(p, size) : __libc_realloc(p, size);
}


int
posix_memalign(void **p, size_t alignment, size_t size)
{
    return fails(ALLOCATIONS) ? ENOMEM
                              : real_posix_memalign(p, alignment, size);
}


int
socket(int domain, int type, int protocol)
{
    if (fails(CALLS)) {
        errno = EMFILE;
        return -1;
    }

    return real_socket(domain, type, protocol);
}


int
connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
    if (fails(CALLS)) {
        errno = ECONNREFUSED;
        return -1;
    }

    return real_connect(fd, address, len);
}


/* The connections of hiredis break.  The module's own is an eventfd, which may
 * not be ready, or interrupted. */

static int
broken(int fd, int other)
{
    int        type;
    socklen_t  len;

    len = sizeof(type);
    errno = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 ? ECONNRESET
                                                                  : other;

    return -1;
}


ssize_t
read(int fd, void *data, size_t size)
{
    return fails(CALLS) ? broken(fd, EAGAIN) : real_read(fd, data, size);
}


ssize_t
write(int fd, const void *data, size_t size)
{
    return fails(CALLS) ? broken(fd, EINTR) : real_write(fd, data, size);
}


ssize_t
recv(int fd, void *data, size_t size, int flags)
{
    return fails(CALLS) ? broken(fd, EAGAIN) : real_recv(fd, data, size, flags);
}


ssize_t
send(int fd, const void *data, size_t size, int flags)
{
    return fails(CALLS) ? broken(fd, EINTR) : real_send(fd, data, size, flags);
}


int
epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
    if (fails(CALLS)) {
        errno = ENOMEM;
        return -1;
    }

    return real_epoll_ctl(epoll, op, fd, event);
}
