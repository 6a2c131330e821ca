/* SPDX-License-Identifier: Apache-2.0 */
/* A journal's file replayed, as mjournal says it in lines of JSON. */
#ifndef BROKER_REPLAY_AGAIN_H
#define BROKER_REPLAY_AGAIN_H

#include <stddef.h>
#include <stdio.h>

struct again {
    const char *path;
    const char *policy; /* NAME[:KEY=VALUE,…]; "": those that were in force. */
    const char *config; /* A configuration's file; "": none. */
};

/* Writes {"difference": …} each, {"replay": …} and {"report": …}.  0, or -Exxx
 * with 'why' if there is nothing to replay. */
int again_replay(const struct again *, FILE *out, char *why, size_t why_size);

#endif
