/* SPDX-License-Identifier: Apache-2.0 */
/* Strings to numbers and names, strictly: what isn't wholly the thing asked for
 * is refused.  Relies on the C library's strto*; called by every room that
 * reads text. */
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define NAME_MAX_LENGTH 64

int
text_copy(char *to, size_t size, const char *from)
{
    size_t length = strlen(from);
    bool cut = length >= size;

    if (cut) {
        length = size - 1;
    }
    memcpy(to, from, length);
    to[length] = '\0';
    return cut ? -ENAMETOOLONG : 0;
}

void
text_copy_printable(char *to, size_t size, const char *from)
{
    size_t used = 0;

    while (*from) {
        size_t length = 1;

        while (length < 4 && from[length] && !utf8_is_printable(from, length)) {
            length++;
        }
        bool shown = utf8_is_printable(from, length);
        if (!shown) {
            length = 1;
        }
        if (used + length >= size) {
            break;
        }
        memcpy(to + used, shown ? from : "?", length);
        used += length;
        from += length;
    }
    to[used] = '\0';
}

int
text_append(char *to, size_t size, const char *format, ...)
{
    size_t used = strlen(to);
    va_list args;

    va_start(args, format);
    int length = vsnprintf(to + used, size - used, format, args);
    va_end(args);
    return (size_t)length >= size - used ? -ENAMETOOLONG : 0;
}

int
text_to_i64(const char *text, int64_t *out)
{
    char *end;

    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || isspace((unsigned char)*text)) {
        return -EINVAL;
    }
    if (errno) {
        return -errno;
    }
    *out = value;
    return 0;
}

int
text_to_u64(const char *text, uint64_t *out)
{
    char *end;

    if (!isdigit((unsigned char)*text)) {
        return -EINVAL;
    }
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*end) {
        return -EINVAL;
    }
    if (errno) {
        return -errno;
    }
    *out = value;
    return 0;
}

int
text_to_real(const char *text, double *out)
{
    char *end;

    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *end || isspace((unsigned char)*text) ||
        !isfinite(value)) {
        return -EINVAL;
    }
    if (errno) {
        return -errno;
    }
    *out = value;
    return 0;
}

int
text_to_cpus(const char *text, uint32_t *out, size_t max)
{
    const char *at = text;
    size_t n = 0;

    while (*at) {
        char *end;

        if (!isdigit((unsigned char)*at)) {
            return -EINVAL;
        }
        unsigned long first = strtoul(at, &end, 10), last = first;
        if (*end == '-') {
            if (!isdigit((unsigned char)end[1])) {
                return -EINVAL;
            }
            last = strtoul(end + 1, &end, 10);
        }
        if (last < first || last > UINT16_MAX || (*end && *end != ',') ||
            (*end == ',' && !end[1])) {
            return -EINVAL;
        }
        for (unsigned long cpu = first; cpu <= last; cpu++) {
            if (n == max) {
                return -E2BIG;
            }
            out[n++] = (uint32_t)cpu;
        }
        at = *end ? end + 1 : end;
    }
    return (int)n;
}

/* Bytes at the start of 'text' that are a name; 0 if it begins with none. */
static size_t
name_length(const char *text)
{
    size_t length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789._-");

    return text[0] == '.' || text[0] == '-' ? 0 : length;
}

bool
text_is_name(const char *text)
{
    size_t length = name_length(text);

    return length >= 1 && length <= NAME_MAX_LENGTH && !text[length];
}

bool
text_is_type(const char *text)
{
    const char *at = text;
    size_t length = name_length(at);

    while (length >= 1 && at[length] == '/') {
        at += length + 1;
        length = name_length(at);
    }
    return length >= 1 && !at[length] && at + length - text <= NAME_MAX_LENGTH;
}
