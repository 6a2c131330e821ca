/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps the trace of a run.  A line is hashed as it would be written, so the
 * hash is the same with and without --trace.  Called by all of sim/. */
#include "sim/trace.h"

#include <inttypes.h>
#include <stdarg.h>

#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

void
trace_init(struct trace *trace, FILE *file)
{
    *trace = (struct trace){.file = file, .hash = FNV_BASIS};
}

void
trace_add(struct trace *trace, const char *who, const char *format, ...)
{
    char line[TRACE_LINE_MAX];
    va_list args;
    int used = snprintf(line, sizeof line, "%6" PRId64 ".%06" PRId64 " %-9s ",
                        trace->now / NSEC_PER_SEC,
                        trace->now % NSEC_PER_SEC / NSEC_PER_USEC, who);

    va_start(args, format);
    vsnprintf(line + used, sizeof line - (size_t)used, format, args);
    va_end(args);
    for (const char *c = line; *c; c++) {
        trace->hash = (trace->hash ^ (uint8_t)*c) * FNV_PRIME;
    }
    trace->n_lines++;
    if (trace->file) {
        fprintf(trace->file, "%s\n", line);
    }
}
