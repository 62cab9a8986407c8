#include <stdlib.h>

#include "tap.h"
#include "wf_buf.h"


int
main(void)
{
    int         i;
    char       *p;
    wf_buf_t    b = WF_BUF_INIT;
    wf_slice_t  s;

    wf_buf_adds(&b, "");
    wf_buf_add(&b, NULL, 0);
    is_int(b.len, 0, "nothing appended");
    ok(b.data == NULL && !b.failed, "nothing allocated");

    wf_buf_adds(&b, "one ");
    wf_buf_add(&b, "two!", 3);
    wf_buf_addc(&b, ' ');
    wf_buf_addu(&b, 0);
    wf_buf_addc(&b, ' ');
    wf_buf_addu(&b, UINT64_MAX);
    is_mem(b.data, b.len, "one two 0 18446744073709551615", "appended");

    wf_buf_free(&b);
    ok(b.data == NULL && b.len == 0 && b.size == 0, "free empties");

    for (i = 0; i < 100000; i++) {
        wf_buf_addc(&b, (char) ('a' + i % 26));
    }

    is_int(b.len, 100000, "grown");
    ok(b.data[99999] == (char) ('a' + 99999 % 26), "grown keeps its bytes");
    ok(b.size < 1000000, "not grown beyond reason");

    p = wf_buf_reserve(&b, 1000000);
    ok(p == b.data + b.len && b.size - b.len >= 1000000, "reserved");
    is_int(b.len, 100000, "reserving appends nothing");

    p = wf_buf_reserve(&b, SIZE_MAX);
    ok(p == NULL && b.failed, "a size beyond SIZE_MAX fails");

    wf_buf_addc(&b, 'x');
    is_int(b.len, 100000, "a failed buffer ignores what is appended");
    ok(wf_buf_reserve(&b, 0) == NULL, "a failed buffer reserves nothing");

    wf_buf_free(&b);
    ok(!b.failed, "free forgets the failure");

    s = wf_slice("abc");
    ok(wf_slice_eq(s, "abc"), "equal");
    ok(!wf_slice_eq(s, "abcd") && !wf_slice_eq(s, "ab")
       && !wf_slice_eq(s, "abd"), "not equal");

    s.data = NULL;
    s.len = 0;
    ok(wf_slice_eq(s, ""), "no slice equals no text");
    ok(!wf_slice_eq(s, "a"), "no slice differs from text");

    return done_testing();
}
