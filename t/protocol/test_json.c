#include <stdlib.h>

#include "tap.h"
#include "wf_json.h"


#define TEXT(s)  s, sizeof(s) - 1


typedef struct {
    const char  *text;
    size_t       len;
    const char  *reason;
    size_t       offset;
} refused_t;


static int check(const char *text, size_t len, wf_json_error_t *err);
static void refuses(const refused_t *r, const char *title);
static void accepts(const char *text, size_t len);
static void check_nesting(void);
static void check_duplicates(void);
static void check_many_keys(size_t n, int twice, const char *name);


/* Python 3.11, json.loads(): msg and pos of its JSONDecodeError. */

static const refused_t  python[] = {
    { TEXT(""),
      "Expecting value", 0 },
    { TEXT("  "),
      "Expecting value", 2 },
    { TEXT("\012\011"),
      "Expecting value", 2 },
    { TEXT("{"),
      "Expecting property name enclosed in double quotes", 1 },
    { TEXT("["),
      "Expecting value", 1 },
    { TEXT("}"),
      "Expecting value", 0 },
    { TEXT("]"),
      "Expecting value", 0 },
    { TEXT(":"),
      "Expecting value", 0 },
    { TEXT(","),
      "Expecting value", 0 },
    { TEXT("\""),
      "Unterminated string starting at", 0 },
    { TEXT("{bad"),
      "Expecting property name enclosed in double quotes", 1 },
    { TEXT("{\"a\""),
      "Expecting ':' delimiter", 4 },
    { TEXT("{\"a\":"),
      "Expecting value", 5 },
    { TEXT("{\"a\" 1}"),
      "Expecting ':' delimiter", 5 },
    { TEXT("{\"a\":}"),
      "Expecting value", 5 },
    { TEXT("{\"a\":1"),
      "Expecting ',' delimiter", 6 },
    { TEXT("{\"a\":1,"),
      "Expecting property name enclosed in double quotes", 7 },
    { TEXT("{\"a\":1,}"),
      "Expecting property name enclosed in double quotes", 7 },
    { TEXT("{\"a\":1 \"b\":2}"),
      "Expecting ',' delimiter", 7 },
    { TEXT("{\"a\":1]"),
      "Expecting ',' delimiter", 6 },
    { TEXT("{1:2}"),
      "Expecting property name enclosed in double quotes", 1 },
    { TEXT("{,}"),
      "Expecting property name enclosed in double quotes", 1 },
    { TEXT("{\"a\":1,,\"b\":2}"),
      "Expecting property name enclosed in double quotes", 7 },
    { TEXT("{'a':1}"),
      "Expecting property name enclosed in double quotes", 1 },
    { TEXT("[1"),
      "Expecting ',' delimiter", 2 },
    { TEXT("[1,"),
      "Expecting value", 3 },
    { TEXT("[1,]"),
      "Expecting value", 3 },
    { TEXT("[,1]"),
      "Expecting value", 1 },
    { TEXT("[1 2]"),
      "Expecting ',' delimiter", 3 },
    { TEXT("[1}"),
      "Expecting ',' delimiter", 2 },
    { TEXT("[[1]"),
      "Expecting ',' delimiter", 4 },
    { TEXT("[1,\012  2\012  3]"),
      "Expecting ',' delimiter", 10 },
    { TEXT("nul"),
      "Expecting value", 0 },
    { TEXT("nulll"),
      "Extra data", 4 },
    { TEXT("null x"),
      "Extra data", 5 },
    { TEXT("tru"),
      "Expecting value", 0 },
    { TEXT("truE"),
      "Expecting value", 0 },
    { TEXT("falsey"),
      "Extra data", 5 },
    { TEXT("True"),
      "Expecting value", 0 },
    { TEXT("None"),
      "Expecting value", 0 },
    { TEXT("-"),
      "Expecting value", 0 },
    { TEXT("-a"),
      "Expecting value", 0 },
    { TEXT("+1"),
      "Expecting value", 0 },
    { TEXT(".5"),
      "Expecting value", 0 },
    { TEXT("01"),
      "Extra data", 1 },
    { TEXT("-01"),
      "Extra data", 2 },
    { TEXT("00"),
      "Extra data", 1 },
    { TEXT("1."),
      "Extra data", 1 },
    { TEXT("1.e5"),
      "Extra data", 1 },
    { TEXT("1e"),
      "Extra data", 1 },
    { TEXT("1e+"),
      "Extra data", 1 },
    { TEXT("1E-x"),
      "Extra data", 1 },
    { TEXT("0x10"),
      "Extra data", 1 },
    { TEXT("1 2"),
      "Extra data", 2 },
    { TEXT("{} {}"),
      "Extra data", 3 },
    { TEXT("[]]"),
      "Extra data", 2 },
    { TEXT("{}}"),
      "Extra data", 2 },
    { TEXT("\"abc"),
      "Unterminated string starting at", 0 },
    { TEXT("\"abc\\"),
      "Unterminated string starting at", 0 },
    { TEXT("\"\\x41\""),
      "Invalid \\escape", 1 },
    { TEXT("[\"\303\251\\q\"]"),
      "Invalid \\escape", 3 },
    { TEXT("\"\\u12\""),
      "Invalid \\uXXXX escape", 2 },
    { TEXT("\"\\u12g4\""),
      "Invalid \\uXXXX escape", 2 },
    { TEXT("\"\\u1234"),
      "Invalid \\uXXXX escape", 2 },
    { TEXT("\"\\u"),
      "Invalid \\uXXXX escape", 2 },
    { TEXT("\"\\ud83d\\u12\""),
      "Invalid \\uXXXX escape", 8 },
    { TEXT("\"\\ud83d\\"),
      "Unterminated string starting at", 0 },
    { TEXT("\"a\012b\""),
      "Invalid control character at", 2 },
    { TEXT("\"a\011b\""),
      "Invalid control character at", 2 },
    { TEXT("[\"\303\251\",\"\001\"]"),
      "Invalid control character at", 6 },
    { TEXT("\"\000\""),
      "Invalid control character at", 1 },
    { TEXT("\000"),
      "Expecting value", 0 },
    { TEXT("1\000"),
      "Extra data", 1 },
    { TEXT("{\"\303\251\": \303\251}"),
      "Expecting value", 6 },
    { TEXT("{\"\360\237\230\200\": 1, x}"),
      "Expecting property name enclosed in double quotes", 9 },
    { TEXT("[1,\"\303\251\" 2]"),
      "Expecting ',' delimiter", 7 },
    { TEXT("\357\273\277{}"),
      "Unexpected UTF-8 BOM (decode using utf-8-sig)", 0 },
    { TEXT("{\357\273\277}"),
      "Expecting property name enclosed in double quotes", 1 },
    { TEXT("\302\240{}"),
      "Expecting value", 0 },
    { TEXT("/* */{}"),
      "Expecting value", 0 },
    { TEXT("// x"),
      "Expecting value", 0 },
    { TEXT("\"a\" // x"),
      "Extra data", 4 },
    { TEXT("[1,2,3"),
      "Expecting ',' delimiter", 6 },
    { TEXT("{\"a\":{\"b\":[{\"c\":1}}"),
      "Expecting ',' delimiter", 18 },
    { TEXT("{\"a\":[}"),
      "Expecting value", 6 },
    { TEXT("[{\"a\":1}{\"b\":2}]"),
      "Expecting ',' delimiter", 8 },
    { TEXT("{\"a\"::1}"),
      "Expecting value", 5 },
    { TEXT("{\"a\":1:2}"),
      "Expecting ',' delimiter", 6 },
    { TEXT("undefined"),
      "Expecting value", 0 },
    { TEXT("\0141"),
      "Expecting value", 0 },
    { TEXT("[1\013]"),
      "Expecting ',' delimiter", 2 },
    { TEXT("[\"a\037b\"]"),
      "Invalid control character at", 3 },
    { TEXT("{\"k\002\":1}"),
      "Invalid control character at", 3 },
    { TEXT("@"),
      "Expecting value", 0 },
    { TEXT("\\"),
      "Expecting value", 0 },
    { TEXT("\"\\"),
      "Unterminated string starting at", 0 },
    { TEXT("{\"a\\u00zz\":1}"),
      "Invalid \\uXXXX escape", 4 },
    { TEXT("[tru]"),
      "Expecting value", 1 },
    { TEXT("[-]"),
      "Expecting value", 1 },
    { TEXT("[1.]"),
      "Expecting ',' delimiter", 2 },
    { TEXT("{\"a\":01}"),
      "Expecting ',' delimiter", 6 },};


/* Where Python accepts. */

static const refused_t  stricter[] = {
    { TEXT("NaN"), "Expecting value", 0 },
    { TEXT("[Infinity]"), "Expecting value", 1 },
    { TEXT("-Infinity"), "Expecting value", 0 },
    { TEXT("[\"\303\251\", \"\377\"]"), "Invalid UTF-8", 7 },
    { TEXT("\"\300\200\""), "Invalid UTF-8", 1 },
    { TEXT("\"\301\277\""), "Invalid UTF-8", 1 },
    { TEXT("\"\340\237\277\""), "Invalid UTF-8", 1 },
    { TEXT("\"\355\240\200\""), "Invalid UTF-8", 1 },
    { TEXT("\"\360\217\277\277\""), "Invalid UTF-8", 1 },
    { TEXT("\"\364\220\200\200\""), "Invalid UTF-8", 1 },
    { TEXT("\"\365\200\200\200\""), "Invalid UTF-8", 1 },
    { TEXT("\"\200\""), "Invalid UTF-8", 1 },
    { TEXT("\"ab\342\202\""), "Invalid UTF-8", 3 },
    { TEXT("\"ab\342\202"), "Invalid UTF-8", 3 },
    { TEXT("\"\\u0000\""), "NUL is not allowed", 1 },
    { TEXT("{\"a\\u0000\":1}"), "NUL is not allowed", 3 },
    { TEXT("\"a\\ud83d\""), "Lone surrogate", 2 },
    { TEXT("\"\\ud83dx\""), "Lone surrogate", 1 },
    { TEXT("\"\\ud83d\\n\""), "Lone surrogate", 1 },
    { TEXT("\"\\ud83d\\u0041\""), "Lone surrogate", 1 },
    { TEXT("\"\\ud83d\\u0000\""), "Lone surrogate", 1 },
    { TEXT("\"\\ud83d\\ud83d\""), "Lone surrogate", 1 },
    { TEXT("\"\\ude00\""), "Lone surrogate", 1 },
    { TEXT("9223372036854775808"), "Integer out of range", 0 },
    { TEXT("[-9223372036854775809]"), "Integer out of range", 1 },
    { TEXT("12345678901234567890123"), "Integer out of range", 0 },
    { TEXT("1e309"), "Number out of range", 0 },
    { TEXT("[1, -1E+400]"), "Number out of range", 4 },
    { TEXT("1e99999999999999999999"), "Number out of range", 0 },
    { TEXT("1.7976931348623159e308"), "Number out of range", 0 },
    { TEXT("17976931348623158079372897140530341507993413271003782693617377"
           "89804449682927647509466490179775872070963302864166928879109465"
           "55547851940402630657488671505820681908902000708383676273854845"
           "81771153176447573027006985557136695962284291481986083493647529"
           "2719074168444365510704342711559699508093042880177904174497792.0"),
      "Number out of range", 0 },
    { TEXT("{\"a\":1,\"a\":2}"), "Duplicate key", 7 },
    { TEXT("{\"a\":1,\"\\u0061\":2}"), "Duplicate key", 7 },
    { TEXT("{\"\\u00e9\":1,\"b\":2,\"\303\251\":3}"), "Duplicate key", 18 },
    { TEXT("{\"\\ud83d\\ude00\":1,\"\360\237\230\200\":3}"),
      "Duplicate key", 18 },
    { TEXT("{\"\":1,\"\":2}"), "Duplicate key", 6 },
    { TEXT("{\"\\/\":1,\"/\":2}"), "Duplicate key", 8 },
    { TEXT("{\"x\":[{\"a\":{},\"b\":0,\"a\":0}]}"), "Duplicate key", 20 },
};


static const char  *good[] = {
    "0", "-0", "-1", "1E5", "1e+05", "0e0", "0E-999999999999999999999",
    "1.50", "0.0e999999999", "-0.0", "1e308", "1.7976931348623157e308",
    "1.7976931348623158e308", "1.797693134862315807e308", "-1e-400",
    "0.000000000000000000000000000000000000000000000000000000000001e360",
    "17976931348623158079372897140530341507993413271003782693617377"
    "89804449682927647509466490179775872070963302864166928879109465"
    "55547851940402630657488671505820681908902000708383676273854845"
    "81771153176447573027006985557136695962284291481986083493647529"
    "2719074168444365510704342711559699508093042880177904174497791.9",
    "9223372036854775807", "-9223372036854775808",
    "true", "false", "null", "\"\"", "[]", "{}", "[ ]", "{ }", "[[],{}]",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uABCD\\ud83d\\ude00\"",
    "\"\177\"", "\"\303\251\342\202\254\360\237\230\200\357\277\277\"",
    "{\"a\":1,\"b\":{\"a\":[1,2.5,{\"a\":null}]},\"A\":true}",
    "{\"\":1,\" \":2}", " \t\r\n[1 , 2 ]\r\n\t ",
};


int
main(void)
{
    int              n;
    size_t           i;
    char             name[64];
    wf_buf_t         b = WF_BUF_INIT;
    wf_slice_t       key, value, members[3];
    wf_json_iter_t   it;
    wf_json_error_t  err;

    static const wf_slice_t  keys[] = { { "b", 1 }, { "x", 1 }, { "a", 1 } };
    static const char       *types[] = {
        "null", "false", "true", "-12", "1.0", "\"\"", "[]", "{}", "1e2"
    };

    for (i = 0; i < sizeof(python) / sizeof(refused_t); i++) {
        refuses(&python[i], "as Python");
    }

    for (i = 0; i < sizeof(stricter) / sizeof(refused_t); i++) {
        refuses(&stricter[i], "stricter");
    }

    for (i = 0; i < sizeof(good) / sizeof(char *); i++) {
        accepts(good[i], strlen(good[i]));
    }

    check_nesting();
    check_duplicates();

    value.data = NULL;
    value.len = 0;
    is_int(wf_json_check(value, NULL, &err), -1, "no text at all");

    is_int(wf_json_check(wf_slice(" \n {\"a\": 1}\t "), &value, &err), 0,
           "white space around");
    is_mem(value.data, value.len, "{\"a\": 1}", "the value without it");

    for (i = 0; i < sizeof(types) / sizeof(char *); i++) {
        value.data = types[i];
        value.len = strlen(types[i]);

        (void) snprintf(name, sizeof(name), "type of %s", types[i]);
        is_int(wf_json_type(value), (i < 8) ? i : WF_JSON_REAL, name);
    }

    value = wf_slice("{ \"a\" : [1,{\"]\":\"}\\\"\"}] ,\"b\":-1.5e3 , "
                     "\"\\u0063\":\"x\\\\\",\"d\":{}}");
    wf_json_iter_init(&it, value);
    ok(wf_json_next(&it, &key, &value), "first member");
    is_mem(key.data, key.len, "\"a\"", "its key");
    is_mem(value.data, value.len, "[1,{\"]\":\"}\\\"\"}]", "its value");
    ok(wf_json_next(&it, &key, &value), "second member");
    is_mem(key.data, key.len, "\"b\"", "its key");
    is_mem(value.data, value.len, "-1.5e3", "its value");
    ok(wf_json_next(&it, &key, &value), "third member");
    is_mem(key.data, key.len, "\"\\u0063\"", "its key");
    is_mem(value.data, value.len, "\"x\\\\\"", "its value");
    ok(wf_json_next(&it, &key, &value), "fourth member");
    is_mem(value.data, value.len, "{}", "its value");
    ok(!wf_json_next(&it, &key, &value), "no more");
    ok(!wf_json_next(&it, &key, &value), "still no more");

    wf_json_iter_init(&it, wf_slice("[null , \"a\",[[]], 12]"));

    for (n = 0; wf_json_next(&it, &key, &value); n++) {
        ok(key.len == 0, "an element has no key");
    }

    is_int(n, 4, "elements");
    is_mem(value.data, value.len, "12", "the last element");

    wf_json_iter_init(&it, wf_slice("[ ]"));
    ok(!wf_json_next(&it, &key, &value), "no elements");

    value = wf_slice("{\"a\":{\"b\":1},\"\\u0062\":2}");
    ok(wf_json_get(value, "b", &key), "get by what a key says");
    is_mem(key.data, key.len, "2", "the outer one");
    ok(!wf_json_get(value, "c", &key), "no such key");

    wf_json_members(value, keys, 3, members);
    is_mem(members[0].data, members[0].len, "2", "first of the members");
    ok(members[1].data == NULL, "one that is not there");
    is_mem(members[2].data, members[2].len, "{\"b\":1}", "last of the members");

    ok(wf_json_string_eq(wf_slice("\"abc\""), "abc", 3), "string equal");
    ok(wf_json_string_eq(wf_slice("\"\""), "", 0), "empty string equal");
    ok(wf_json_string_eq(wf_slice("\"a\\u00e9\\n\\ud83d\\ude00\""),
                         "a\303\251\n\360\237\230\200", 8),
       "escaped string equal");
    ok(!wf_json_string_eq(wf_slice("\"a\\n\""), "a\\n", 3),
       "a text that looks like the escape");
    ok(!wf_json_string_eq(wf_slice("\"abc\""), "ab", 2), "longer string");
    ok(!wf_json_string_eq(wf_slice("\"ab\""), "abc", 3), "shorter string");
    ok(!wf_json_string_eq(wf_slice("\"ab\\u0063\""), "ab", 2),
       "string with an escape more");
    ok(!wf_json_string_eq(wf_slice("\"\\u0061\""), "ab", 2),
       "string with a character less");

    wf_json_string(&b, wf_slice("\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\""));
    wf_json_string(&b, wf_slice("\"\""));
    wf_json_string(&b, wf_slice("\"\\u00e9\\u20AC\\ud83d\\ude00\303\251\""));
    is_mem(b.data, b.len, "a\"\\/\b\f\n\r\tz\303\251\342\202\254"
           "\360\237\230\200\303\251", "strings unescaped");
    wf_buf_free(&b);

    wf_json_quote(&b, "a\"\\/\b\f\n\r\t\001\037 ~\177", 14);
    is_mem(b.data, b.len,
           "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f ~\\u007f\"",
           "ASCII quoted as json.dumps() does");
    wf_buf_free(&b);

    wf_json_quote(&b, "\0\303\251\342\202\254\360\237\230\200\364\217\277\277",
                  14);
    is_mem(b.data, b.len, "\"\\u0000\\u00e9\\u20ac\\ud83d\\ude00"
           "\\udbff\\udfff\"", "other characters quoted");
    wf_buf_free(&b);

    wf_json_quote(&b, "a\377b\342\202\340\200c\360\237\230", 11);
    is_mem(b.data, b.len, "\"a\\ufffdb\\ufffd\\ufffd\\ufffdc\\ufffd\"",
           "what is not UTF-8 is replaced");
    wf_buf_free(&b);

    wf_json_quote(&b, NULL, 0);
    is_mem(b.data, b.len, "\"\"", "nothing quoted");
    wf_buf_free(&b);

    return done_testing();
}


/* From memory of the exact size, so that a read behind it is found. */

static int
check(const char *text, size_t len, wf_json_error_t *err)
{
    int          rc;
    char        *copy;
    wf_slice_t   s;

    copy = malloc(len ? len : 1);
    if (copy == NULL) {
        return -2;
    }

    memcpy(copy, text, len);
    s.data = copy;
    s.len = len;

    rc = wf_json_check(s, NULL, err);

    free(copy);

    return rc;
}


static void
refuses(const refused_t *r, const char *title)
{
    int              rc;
    wf_json_error_t  err = { "", 0 };

    rc = check(r->text, r->len, &err);

    if (!ok(rc == -1 && strcmp(err.reason, r->reason) == 0
            && err.offset == r->offset, "%s: %s at %zu", title, r->reason,
            r->offset))
    {
        tap_show("text", r->text, r->len);
        printf("#   got: %d %s at %zu\n", rc, err.reason, err.offset);
    }
}


static void
accepts(const char *text, size_t len)
{
    int              rc;
    wf_json_error_t  err = { "", 0 };

    rc = check(text, len, &err);

    if (!ok(rc == 0, "accepted, %zu bytes", len)) {
        tap_show("text", text, len);
        printf("#   got: %d %s at %zu\n", rc, err.reason, err.offset);
    }
}


static void
check_nesting(void)
{
    char             text[2 * WF_JSON_MAX_DEPTH + 4];
    size_t           n;
    wf_json_error_t  err;

    n = WF_JSON_MAX_DEPTH;
    memset(text, '[', n);
    memset(text + n, ']', n);
    is_int(check(text, 2 * n, &err), 0, "128 levels");

    n++;
    memset(text, '[', n);
    memset(text + n, ']', n);
    is_int(check(text, 2 * n, &err), -1, "129 levels");
    is_str(err.reason, "Nesting deeper than 128 levels", "says so");
    is_int(err.offset, 128, "and where");

    text[128] = '{';
    text[129] = '}';
    is_int(check(text, 2 * n, &err), -1, "an object at level 129");
}


static void
check_duplicates(void)
{
    check_many_keys(16, 0, "16 keys");
    check_many_keys(16, 1, "one of 16 keys twice");
    check_many_keys(17, 0, "17 keys");
    check_many_keys(17, 1, "one of 17 keys twice");
    check_many_keys(33, 0, "33 keys");
    check_many_keys(33, 1, "one of 33 keys twice");
    check_many_keys(100000, 0, "100000 keys");
    check_many_keys(100000, 1, "one of 100000 keys twice");
}


/* With objects around and in it; every third key is written with an escape,
 * and the last, if twice, says the same as the first. */

static void
check_many_keys(size_t n, int twice, const char *name)
{
    int              rc;
    size_t           i, last;
    wf_buf_t         b = WF_BUF_INIT;
    wf_json_error_t  err = { "", 0 };

    wf_buf_adds(&b, "{\"k0\":0,\"k1\":{");
    last = 0;

    for (i = 0; i < n; i++) {
        last = b.len;

        if (twice && i == n - 1) {
            wf_buf_adds(&b, "\"\\u006b0\":{}}}");
            break;
        }

        wf_buf_adds(&b, (i % 3 == 1) ? "\"\\u006b" : "\"k");
        wf_buf_addu(&b, i);
        wf_buf_adds(&b, "\":{\"k0\":0}");
        wf_buf_adds(&b, (i == n - 1) ? "}}" : ",");
    }

    rc = check(b.data, b.len, &err);

    is_int(rc, twice ? -1 : 0, name);

    if (twice) {
        is_str(err.reason, "Duplicate key", "says so");
        is_int(err.offset, last, "at its second place");
    }

    wf_buf_free(&b);
}
