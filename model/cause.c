/* SPDX-License-Identifier: Apache-2.0 */
/* Counts, writes and reads cause numbers: 24 bits of start count, one bit that
 * says who counted, 39 bits of count.  Relies on base/text.h; called by back
 * and engine, which stamp, and by the control socket, which reads what people
 * type. */
#include "model/cause.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define START_SHIFT 40
#define START_MAX ((UINT64_C(1) << 24) - 1)
#define ENGINE_BIT (UINT64_C(1) << 39)
#define COUNT_MAX (ENGINE_BIT - 1)

void
cause_counter_init(struct cause_counter *counter, uint64_t start, bool engine)
{
    /* The start count comes from a file; a damaged one must still count. */
    uint64_t known = start & START_MAX ? start & START_MAX : 1;

    counter->next = known << START_SHIFT | (engine ? ENGINE_BIT : 0) | 1;
}

uint64_t
cause_next(struct cause_counter *counter)
{
    uint64_t cause = counter->next;

    /* At 1000 a second the count wraps after 17 years without a restart. */
    if ((cause & COUNT_MAX) == COUNT_MAX) {
        counter->next = cause - COUNT_MAX + 1;
    } else {
        counter->next = cause + 1;
    }
    return cause;
}

void
cause_format(uint64_t cause, char out[CAUSE_TEXT_SIZE])
{
    if (cause == CAUSE_NONE) {
        snprintf(out, CAUSE_TEXT_SIZE, "-");
        return;
    }
    snprintf(out, CAUSE_TEXT_SIZE, "%" PRIu64 ".%s%" PRIu64,
             cause >> START_SHIFT, cause & ENGINE_BIT ? "e" : "",
             cause & COUNT_MAX);
}

/* Reads "N" or "eN", the part after the start count. */
static int
parse_count(uint64_t *out, const char *text)
{
    uint64_t count;
    bool engine = *text == 'e';
    int error = text_to_u64(text + engine, &count);

    if (error || count == 0 || count > COUNT_MAX) {
        return -EINVAL;
    }
    *out = count | (engine ? ENGINE_BIT : 0);
    return 0;
}

/* Reads the start count, which ends at 'dot'. */
static int
parse_start(uint64_t *out, const char *text, const char *dot)
{
    char copy[CAUSE_TEXT_SIZE] = "";
    size_t length = (size_t)(dot - text);

    if (length >= sizeof copy) {
        return -EINVAL;
    }
    memcpy(copy, text, length);
    int error = text_to_u64(copy, out);
    return error || *out == 0 || *out > START_MAX ? -EINVAL : 0;
}

int
cause_parse(uint64_t *out, const char *text, uint64_t current)
{
    const char *dot = strchr(text, '.');
    uint64_t start = current;
    uint64_t count;

    if (!dot && text_to_u64(text, &count) == 0 && count >> START_SHIFT != 0 &&
        (count & COUNT_MAX) != 0) {
        *out = count;
        return 0;
    }
    int error = dot ? parse_start(&start, text, dot) : 0;
    if (error || start == 0 || start > START_MAX) {
        return -EINVAL;
    }
    error = parse_count(&count, dot ? dot + 1 : text);
    if (error) {
        return error;
    }
    *out = start << START_SHIFT | count;
    return 0;
}
