/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines: the first byte chooses the format, the rest are lines.  Whatever
 * they hold, a line is refused, or its times are in range. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "probe/logline.h"
#include "tests/fuzz/fuzz.h"

#define WALL (INT64_C(1700000000) * NSEC_PER_SEC)

static void
try_line(enum logline_format format, const char *line, size_t size)
{
    struct logline out = {1, 1};
    enum logline_fault fault = logline_parse(format, line, size, WALL, &out);

    assert(fault >= LOGLINE_OK && fault < LOGLINE_FAULT_N);
    if (fault) {
        assert(out.response_us == 1 && out.ended_wall == 1);
        return;
    }
    assert(out.response_us <= LOGLINE_RESPONSE_US_MAX);
    assert(!out.ended_wall || out.ended_wall <= WALL + LOGLINE_EARLY_MAX);
    assert(!out.ended_wall || out.ended_wall >= WALL - LOGLINE_LATE_MAX);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data + 1, *end = (const char *)data + size;
    enum logline_format format;

    if (!size) {
        return 0;
    }
    format = (enum logline_format)(data[0] % (LOGLINE_HAPROXY_SERVER + 1));
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;

        try_line(format, at, (size_t)(stop - at));
        at = stop + 1;
    }
    return 0;
}
