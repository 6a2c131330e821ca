/* SPDX-License-Identifier: Apache-2.0 */
/* Reads one line of an access log.  httplog.c calls it a few thousand times a
 * second, so it looks only at the fields it needs, from the end of the line
 * that is nearer, with number reading of its own: no regular expression, no
 * copy, no allocation, no terminated strings.
 *
 * Only fields that the server itself writes are trusted to be where they are:
 * the response time is the last field of the nginx and Apache lines, behind
 * everything a client can choose, and HAProxy's timers stand before it.
 *
 * HAProxy writes local time without saying which.  Zones differ from UTC by
 * whole quarters of an hour, so the distance to our own time of day, rounded to
 * quarters, is the zone, and the remainder says how long ago it was.
 * XXX a line later than 7.5 minutes, or a clock that jumps by whole quarters,
 * is therefore taken for fresh; a log format with %Ts would remove it. */
#include "probe/logline.h"

#include <stdbool.h>
#include <string.h>

#define QUARTER_HOUR (900 * NSEC_PER_SEC)

/* Nanoseconds since 1970 end in the year 2262. */
#define WALL_MS_MAX ((uint64_t)(INT64_MAX / NSEC_PER_MSEC))

/* A part of the line that is still to be read. */
struct span {
    const char *at, *end;
};

/* Numbers */

static bool
is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* Takes a whole number of at most 'max_digits' digits. */
static bool
take_number(struct span *s, unsigned max_digits, uint64_t *out)
{
    const char *first = s->at;
    uint64_t value = 0;

    while (s->at < s->end && is_digit(*s->at)) {
        if ((size_t)(s->at - first) == max_digits) {
            return false;
        }
        value = value * 10 + (uint64_t)(*s->at++ - '0');
    }
    *out = value;
    return s->at > first;
}

/* Takes "12.345" as a count of 10^-n_places; further places are dropped. */
static bool
take_decimal(struct span *s, unsigned max_digits, unsigned n_places,
             uint64_t *out)
{
    uint64_t value;

    if (!take_number(s, max_digits, &value)) {
        return false;
    }
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (s->at == s->end || !is_digit(*s->at)) {
            return false;
        }
        for (; n_places && s->at < s->end && is_digit(*s->at); n_places--) {
            value = value * 10 + (uint64_t)(*s->at++ - '0');
        }
        while (s->at < s->end && is_digit(*s->at)) {
            s->at++;
        }
    }
    for (; n_places; n_places--) {
        value *= 10;
    }
    *out = value;
    return true;
}

static bool
take_char(struct span *s, char c)
{
    if (s->at < s->end && *s->at == c) {
        s->at++;
        return true;
    }
    return false;
}

/* Times */

/* The response time fills the whole of 'field', in units of 10^-n_places
 * seconds. */
static enum logline_fault
read_response(struct span field, unsigned n_places, bool decimal,
              uint64_t *us_out)
{
    uint64_t us;
    bool negative = take_char(&field, '-');

    if (decimal ? !take_decimal(&field, 12, 6, &us)
                : !take_number(&field, 15, &us)) {
        return LOGLINE_NO_NUMBER;
    }
    if (field.at < field.end) {
        return LOGLINE_NO_NUMBER;
    }
    if (negative) {
        return LOGLINE_NEGATIVE;
    }
    for (; !decimal && n_places < 6; n_places++) {
        us *= 10;
    }
    if (us > LOGLINE_RESPONSE_US_MAX) {
        return LOGLINE_ABSURD;
    }
    *us_out = us;
    return LOGLINE_OK;
}

static enum logline_fault
check_time(nsec_t ended, nsec_t wall)
{
    if (ended > wall + LOGLINE_EARLY_MAX || ended < wall - LOGLINE_LATE_MAX) {
        return LOGLINE_TIME_JUMPS;
    }
    return LOGLINE_OK;
}

static bool
take_month(struct span *s)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

    if (s->end - s->at < 3) {
        return false;
    }
    for (unsigned i = 0; i < 12; i++) {
        if (!memcmp(s->at, names + 3 * (size_t)i, 3)) {
            s->at += 3;
            return true;
        }
    }
    return false;
}

/* Takes "06/Feb/2009:12:14:14.655" and keeps the milliseconds since that day
 * began in its zone: the day is of no use, see above. */
static bool
take_date(struct span *s, int64_t *ms_out)
{
    uint64_t day, year, hour, minute, second_ms;
    bool good = take_number(s, 2, &day) && take_char(s, '/') && take_month(s) &&
                take_char(s, '/') && take_number(s, 4, &year) &&
                take_char(s, ':') && take_number(s, 2, &hour) &&
                take_char(s, ':') && take_number(s, 2, &minute) &&
                take_char(s, ':') && take_decimal(s, 2, 3, &second_ms);

    if (!good || day < 1 || day > 31 || year < 1970 || hour > 23 ||
        minute > 59 || second_ms > 60999) {
        return false;
    }
    *ms_out = (int64_t)(hour * 60 + minute) * 60000 + (int64_t)second_ms;
    return true;
}

/* Formats */

/* The field behind the last space. */
static struct span
last_field(struct span s)
{
    const char *space = memrchr(s.at, ' ', (size_t)(s.end - s.at));

    if (space) {
        s.at = space + 1;
    }
    return s;
}

/* Behind the quote that closes the last text field of a combined line, or the
 * size of a common one, stands the response time. */
static enum logline_fault
read_combined(struct span s, unsigned n_places, bool decimal,
              struct logline *out)
{
    struct span field = last_field(s);
    struct logline line = {0};
    enum logline_fault fault;

    if (field.at == s.at || field.at - s.at < 3) {
        return LOGLINE_SHAPE;
    }
    /* A combined line that lacks the added field ends with a quoted text. */
    if (field.end > field.at && field.end[-1] == '"') {
        return LOGLINE_SHAPE;
    }
    fault = read_response(field, n_places, decimal, &line.response_us);
    if (!fault) {
        *out = line;
    }
    return fault;
}

/* "1700000000.123 0.004 200"; false if the line is not of this kind. */
static bool
read_ours(struct span s, nsec_t wall, struct logline *out,
          enum logline_fault *fault)
{
    struct logline line;
    struct span field;
    uint64_t msec, status;

    if (!take_decimal(&s, 11, 3, &msec) || !take_char(&s, ' ')) {
        return false;
    }
    if (msec > WALL_MS_MAX) {
        *fault = LOGLINE_TIME_JUMPS;
        return true;
    }
    line.ended_wall = (nsec_t)msec * NSEC_PER_MSEC;
    field.at = s.at;
    field.end = memchr(s.at, ' ', (size_t)(s.end - s.at));
    if (!field.end) {
        *fault = LOGLINE_SHAPE;
        return true;
    }
    s.at = field.end + 1;
    if (!take_number(&s, 3, &status) || (s.at < s.end && *s.at != ' ')) {
        *fault = LOGLINE_SHAPE;
        return true;
    }
    *fault = read_response(field, 0, true, &line.response_us);
    if (!*fault) {
        *fault = check_time(line.ended_wall, wall);
    }
    if (!*fault) {
        *out = line;
    }
    return true;
}

static enum logline_fault
read_nginx(struct span s, nsec_t wall, struct logline *out)
{
    enum logline_fault fault;

    if (read_ours(s, wall, out, &fault)) {
        return fault;
    }
    return read_combined(s, 0, true, out);
}

/* Moves behind the '[' of the date; a syslog prefix has brackets of its own. */
static bool
find_date(struct span *s)
{
    while ((s->at = memchr(s->at, '[', (size_t)(s->end - s->at)))) {
        s->at++;
        if (s->end - s->at > 3 && s->at[2] == '/') {
            return true;
        }
    }
    return false;
}

/* Takes "10/0/30/69/109" of which it keeps the n-th, from 0. */
static enum logline_fault
take_timer(struct span timers, unsigned n, uint64_t *us_out)
{
    struct span field = timers;
    unsigned n_slashes = 0;

    for (const char *c = timers.at; c < timers.end; c++) {
        if (*c != '/') {
            continue;
        }
        n_slashes++;
        if (n_slashes == n) {
            field.at = c + 1;
        } else if (n_slashes == n + 1) {
            field.end = c;
        }
    }
    if (n_slashes != 4) {
        return LOGLINE_SHAPE;
    }
    /* "option logasap" marks a time that is still running. */
    take_char(&field, '+');
    return read_response(field, 3, false, us_out);
}

/* ... [date] frontend backend/server TR/Tw/Tc/Tr/Ta status ... */
static enum logline_fault
read_haproxy(struct span s, unsigned timer, nsec_t wall, struct logline *out)
{
    struct logline line;
    enum logline_fault fault;
    struct span timers;
    uint64_t total_us;
    int64_t date_ms;
    nsec_t ago;

    if (!find_date(&s)) {
        return LOGLINE_SHAPE;
    }
    if (!take_date(&s, &date_ms) || !take_char(&s, ']')) {
        return LOGLINE_NO_TIME;
    }
    for (unsigned i = 0; i < 3; i++) {
        const char *space = memchr(s.at, ' ', (size_t)(s.end - s.at));
        if (!space) {
            return LOGLINE_SHAPE;
        }
        s.at = space + 1;
    }
    timers.at = s.at;
    timers.end = memchr(s.at, ' ', (size_t)(s.end - s.at));
    if (!timers.end) {
        return LOGLINE_SHAPE;
    }
    fault = take_timer(timers, timer, &line.response_us);
    if (fault) {
        return fault;
    }
    fault = take_timer(timers, 4, &total_us);
    if (fault) {
        return fault;
    }
    ago = (wall - date_ms * NSEC_PER_MSEC - (nsec_t)total_us * NSEC_PER_USEC) %
          QUARTER_HOUR;
    if (ago >= QUARTER_HOUR / 2) {
        ago -= QUARTER_HOUR;
    }
    line.ended_wall = wall - ago;
    fault = check_time(line.ended_wall, wall);
    if (!fault) {
        *out = line;
    }
    return fault;
}

/* The door */

enum logline_fault
logline_parse(enum logline_format format, const char *line, size_t size,
              nsec_t wall, struct logline *out)
{
    struct span s = {line, line + size};

    while (s.end > s.at && (s.end[-1] == '\r' || s.end[-1] == ' ')) {
        s.end--;
    }
    if (s.at == s.end) {
        return LOGLINE_EMPTY;
    }
    if (memchr(s.at, '\0', (size_t)(s.end - s.at))) {
        return LOGLINE_BINARY;
    }
    switch (format) {
    case LOGLINE_NGINX:
        return read_nginx(s, wall, out);
    case LOGLINE_APACHE:
        return read_combined(s, 6, false, out);
    case LOGLINE_HAPROXY_TOTAL:
        return read_haproxy(s, 4, wall, out);
    case LOGLINE_HAPROXY_SERVER:
        return read_haproxy(s, 3, wall, out);
    }
    return LOGLINE_SHAPE;
}

const char *
logline_fault_text(enum logline_fault fault)
{
    switch (fault) {
    case LOGLINE_OK:
        return "nothing wrong";
    case LOGLINE_EMPTY:
        return "empty line";
    case LOGLINE_BINARY:
        return "binary data";
    case LOGLINE_SHAPE:
        return "not a line of this format";
    case LOGLINE_NO_NUMBER:
        return "response time is no number";
    case LOGLINE_NEGATIVE:
        return "response time is negative";
    case LOGLINE_ABSURD:
        return "response time is over an hour";
    case LOGLINE_NO_TIME:
        return "time of day makes no sense";
    case LOGLINE_TIME_JUMPS:
        return "time of day is in the future or over an hour ago";
    case LOGLINE_FAULT_N:
        break;
    }
    return "?";
}
