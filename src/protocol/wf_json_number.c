#include <string.h>

#include "wf_text.h"


/* The smallest number that rounds to infinity, 2^1024 - 2^970. */

#define WF_HUGE_DIGITS  309
#define WF_HUGE                                                               \
    "179769313486231580793728971405303415079934132710037826936173778980444"   \
    "968292764750946649017977587207096330286416692887910946555547851940402"   \
    "630657488671505820681908902000708383676273854845817711531764475730270"   \
    "069855571366959622842914819860834936475292719074168444365510704342711"   \
    "559699508093042880177904174497792"


int
wf_json_integer_fits(const char *p, const char *end)
{
    const char  *limit;

    limit = "9223372036854775807";

    if (*p == '-') {
        limit = "9223372036854775808";
        p++;
    }

    return end - p < 19 || (end - p == 19 && memcmp(p, limit, 19) <= 0);
}


/*
 * Whether a number with a fraction or an exponent is within a double, decided
 * on its digits: strtod() needs a terminated text and obeys the locale.
 */

int
wf_json_real_fits(const char *p, const char *end)
{
    int64_t      point, exponent, sign;
    const char  *q, *huge;

    if (*p == '-') {
        p++;
    }

    /* the value is 0.ddd * 10^point, its first digit not 0 */

    point = 0;

    for (q = p; wf_is_digit(*q); q++) {
        if (q > p || *q != '0') {
            point++;
        }
    }

    if (point == 0) {
        p = q;

        if (*p == '.') {
            for (p++; p < end && *p == '0'; p++) {
                point--;
            }
        }
    }

    if (p == end || !wf_is_digit(*p)) {
        return 1;
    }

    for (q = p; q < end && *q != 'e' && *q != 'E'; q++) { /* void */ }

    if (q < end) {
        q++;
        sign = (*q == '-') ? -1 : 1;

        if (!wf_is_digit(*q)) {
            q++;
        }

        /* beyond what a text's length could make up for */

        for (exponent = 0; q < end && exponent < INT64_MAX / 100; q++) {
            exponent = exponent * 10 + (*q - '0');
        }

        point += sign * exponent;
    }

    if (point != WF_HUGE_DIGITS) {
        return point < WF_HUGE_DIGITS;
    }

    for (huge = WF_HUGE; *huge != '\0'; p++) {

        if (p < end && *p == '.') {
            continue;
        }

        if (p == end || !wf_is_digit(*p)) {
            return 1;
        }

        if (*p != *huge) {
            return *p < *huge;
        }

        huge++;
    }

    return 0;
}
