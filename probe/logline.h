/* SPDX-License-Identifier: Apache-2.0 */
/* Reads one line of a web server's access log: how long the request took and,
 * where the line says it well enough, when it ended.  Lines are written by
 * programs that copy what strangers send, so every byte is doubted. */
#ifndef PROBE_LOGLINE_H
#define PROBE_LOGLINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

/* Which timer of HAProxy's counts is part of the format. */
enum logline_format {
    /* log_format mbroker '$msec $request_time $status'; or nginx's combined
     * format with $request_time added at the end. */
    LOGLINE_NGINX,
    /* The common or combined format with %D added at the end. */
    LOGLINE_APACHE,
    /* option httplog, also behind a syslog prefix: Ta, the whole request. */
    LOGLINE_HAPROXY_TOTAL,
    /* The same: Tr, from the request's last byte to the server's headers. */
    LOGLINE_HAPROXY_SERVER,
};

/* Why a line was refused. */
enum logline_fault {
    LOGLINE_OK,
    LOGLINE_EMPTY,
    LOGLINE_BINARY,     /* Holds a null byte. */
    LOGLINE_SHAPE,      /* A field of the format is missing. */
    LOGLINE_NO_NUMBER,  /* The response time is no number. */
    LOGLINE_NEGATIVE,   /* The response time is below 0: not finished. */
    LOGLINE_ABSURD,     /* It is over an hour. */
    LOGLINE_NO_TIME,    /* The time of day makes no sense. */
    LOGLINE_TIME_JUMPS, /* It is in the future, or over an hour ago. */
    LOGLINE_FAULT_N,    /* Not a fault: how many there are. */
};

#define LOGLINE_RESPONSE_US_MAX UINT64_C(3600000000)
#define LOGLINE_EARLY_MAX (5 * NSEC_PER_SEC)   /* Ahead of us. */
#define LOGLINE_LATE_MAX (3600 * NSEC_PER_SEC) /* Behind us. */

struct logline {
    uint64_t response_us;
    nsec_t ended_wall; /* Since 1970; 0: the line does not say, or only to the
                        * second, which is worse than when it was read. */
};

/* Reads the 'size' bytes at 'line', without its newline.  'wall' is the time of
 * day.  Returns LOGLINE_OK with '*out', or the fault with '*out' untouched. */
enum logline_fault logline_parse(enum logline_format, const char *line,
                                 size_t size, nsec_t wall, struct logline *out);

/* In words. */
const char *logline_fault_text(enum logline_fault);

#endif
