/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the moments that --since and --until take.  Reads no clock: the present
 * is an argument.  Called by mctl.c. */
#include "ctl/when.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/text.h"

#define SECOND_NS INT64_C(1000000000)
#define SECONDS_MAX (INT64_MAX / SECOND_NS)

static int
parse_ago(int64_t *out_s, const char *text, int64_t now_s)
{
    static const char units[] = "smhd";
    static const int64_t seconds[] = {1, 60, 3600, 86400};
    char number[24];
    size_t length = strlen(text);
    const char *unit = length > 1 && length < sizeof number
                           ? strchr(units, text[length - 1])
                           : NULL;
    int64_t n;

    if (!unit) {
        return -EINVAL;
    }
    memcpy(number, text, length - 1);
    number[length - 1] = '\0';
    if (text_to_i64(number, &n) || n < 0 || n > now_s / seconds[unit - units]) {
        return -EINVAL;
    }
    *out_s = now_s - n * seconds[unit - units];
    return 0;
}

static bool
reads_all(const char *text, const char *format, struct tm *tm)
{
    const char *end = strptime(text, format, tm);

    return end && !*end;
}

static int
parse_clock(int64_t *out_s, const char *text, int64_t now_s)
{
    time_t now = (time_t)now_s;
    struct tm tm;

    if (!localtime_r(&now, &tm)) {
        return -EINVAL;
    }
    tm.tm_sec = 0;
    if (!reads_all(text, "%H:%M:%S", &tm) && !reads_all(text, "%H:%M", &tm)) {
        return -EINVAL;
    }
    tm.tm_isdst = -1;
    *out_s = (int64_t)mktime(&tm);
    if (*out_s > now_s) { /* Yesterday's. */
        tm.tm_mday--;
        tm.tm_isdst = -1;
        *out_s = (int64_t)mktime(&tm);
    }
    return 0;
}

static int
parse_date(int64_t *out_s, const char *text)
{
    static const char *const formats[] = {
        "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H:%M",    "%Y-%m-%d",          NULL};

    for (size_t i = 0; formats[i]; i++) {
        struct tm tm = {.tm_isdst = -1};

        if (reads_all(text, formats[i], &tm)) {
            tm.tm_isdst = -1;
            *out_s = (int64_t)mktime(&tm);
            return *out_s > 0 ? 0 : -EINVAL;
        }
    }
    return -EINVAL;
}

int
when_parse(int64_t *out_ns, const char *text, int64_t now_s)
{
    int64_t seconds = 0;
    int error;

    if (text[0] == '@') {
        error = text_to_i64(text + 1, &seconds);
    } else {
        error = parse_ago(&seconds, text, now_s);
        error = error ? parse_clock(&seconds, text, now_s) : 0;
        error = error ? parse_date(&seconds, text) : 0;
    }
    if (error || seconds <= 0 || seconds > SECONDS_MAX) {
        return -EINVAL;
    }
    *out_ns = seconds * SECOND_NS;
    return 0;
}
