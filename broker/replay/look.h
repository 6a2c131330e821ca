/* SPDX-License-Identifier: Apache-2.0 */
/* What mjournal says of a journal's file, in lines of JSON. */
#ifndef BROKER_REPLAY_LOOK_H
#define BROKER_REPLAY_LOOK_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "broker/journal/journal.h"

struct journal_report;

struct look {
    const char *path;
    struct journal_filter filter; /* For events. */
    const char *vm;               /* Name or UUID; "": any. */
    uint64_t n;                   /* The last so many; 0: all. */
    const char *link;             /* To look for; "": none. */
};

/* Write {"vm": row} for rows that name VMs, a line for each row asked for, and
 * {"report": …}.  0, or -Exxx with 'why' if the file can't be read. */
int look_events(const struct look *, FILE *out, char *why, size_t why_size);
/* Writes {"report": …} with the link's row. */
int look_verify(const struct look *, FILE *out, char *why, size_t why_size);

/* The line of a report; 'link_row' is a row's id, 0: none, or none sought. */
int look_put_report(FILE *out, const struct journal_report *, const char *link,
                    uint64_t link_row);

/* Writes a line and drops it.  0, or -ENOMEM: there is no line, or not all of
 * it was written; what a stream could not take, ferror() tells. */
int look_put_line(FILE *out, json_t *line);

#endif
