/*
 * The Test Anything Protocol for test programs in C: each check prints a line,
 * done_testing() prints the plan and gives main()'s return value.
 *
 *     ok(cond, "name %d", n)            is_int(got, expected, "name")
 *     is_str(got, expected, "name")     both NUL-terminated, NULL allowed
 *     is_mem(got, len, expected, "name")    expected is NUL-terminated
 *
 * Each check returns 1 if it passed.  Not for several threads at once.
 */

#ifndef TAP_H_INCLUDED_
#define TAP_H_INCLUDED_


#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>


#define TAP_PRINTF(f, a)  __attribute__((format(printf, f, a), unused))

static unsigned  tap_run;
static unsigned  tap_failed;


static int tap_report(int passed, const char *file, int line, const char *fmt,
    ...) TAP_PRINTF(4, 5);
static void tap_show(const char *title, const char *data, size_t len)
    __attribute__((unused));
static int tap_is_int(long long got, long long expected, const char *file,
    int line, const char *name) __attribute__((unused));
static int tap_is_mem(const char *got, size_t len, const char *expected,
    size_t expected_len, const char *file, int line, const char *name)
    __attribute__((unused));
static int tap_is_str(const char *got, const char *expected, const char *file,
    int line, const char *name) __attribute__((unused));
static int done_testing(void) __attribute__((unused));


#define ok(cond, ...)                                                         \
    tap_report((cond) ? 1 : 0, __FILE__, __LINE__, __VA_ARGS__)

#define is_int(got, expected, name)                                           \
    tap_is_int((long long) (got), (long long) (expected), __FILE__, __LINE__, \
               name)

#define is_str(got, expected, name)                                           \
    tap_is_str(got, expected, __FILE__, __LINE__, name)

#define is_mem(got, len, expected, name)                                      \
    tap_is_mem(got, len, expected, strlen(expected), __FILE__, __LINE__, name)


static int
tap_report(int passed, const char *file, int line, const char *fmt, ...)
{
    va_list  args;

    tap_run++;

    printf("%sok %u - ", passed ? "" : "not ", tap_run);

    va_start(args, fmt);
    (void) vprintf(fmt, args);
    va_end(args);

    printf("\n");

    if (!passed) {
        tap_failed++;
        printf("#   failed at %s line %d\n", file, line);
    }

    (void) fflush(stdout);

    return passed;
}


/* A diagnostic of one line, whatever the data is. */

static void
tap_show(const char *title, const char *data, size_t len)
{
    size_t         i;
    unsigned char  c;

    printf("#   %s: ", title);

    if (data == NULL) {
        printf("NULL\n");
        return;
    }

    for (i = 0; i < len; i++) {
        c = (unsigned char) data[i];

        if (c < 0x20 || c == 0x7f) {
            printf("\\x%02x", c);

        } else {
            (void) putchar(c);
        }
    }

    printf("\n");
}


static int
tap_is_int(long long got, long long expected, const char *file, int line,
    const char *name)
{
    if (tap_report(got == expected, file, line, "%s", name)) {
        return 1;
    }

    printf("#   got: %lld\n#   expected: %lld\n", got, expected);

    return 0;
}


static int
tap_is_mem(const char *got, size_t len, const char *expected,
    size_t expected_len, const char *file, int line, const char *name)
{
    int  same;

    same = (len == expected_len
            && (len == 0
                || (got != NULL && memcmp(got, expected, len) == 0)));

    if (tap_report(same, file, line, "%s", name)) {
        return 1;
    }

    tap_show("got", got, len);
    tap_show("expected", expected, expected_len);

    return 0;
}


static int
tap_is_str(const char *got, const char *expected, const char *file, int line,
    const char *name)
{
    int  same;

    same = (got == NULL || expected == NULL) ? got == expected
                                             : strcmp(got, expected) == 0;

    if (tap_report(same, file, line, "%s", name)) {
        return 1;
    }

    tap_show("got", got, got ? strlen(got) : 0);
    tap_show("expected", expected, expected ? strlen(expected) : 0);

    return 0;
}


static int
done_testing(void)
{
    printf("1..%u\n", tap_run);

    if (tap_failed) {
        printf("# %u of %u failed\n", tap_failed, tap_run);
    }

    return tap_failed != 0 || tap_run == 0;
}


#endif /* TAP_H_INCLUDED_ */
