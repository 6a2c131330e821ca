/* SPDX-License-Identifier: Apache-2.0 */
/* What the platform keeps of the host's power cap, so that a new one goes on
 * where a dead one stopped: which order was taken last, what it asked for and
 * until when.  It is on disk before the hardware is touched. */
#ifndef BROKER_PLATFORM_CAPRECORD_H
#define BROKER_PLATFORM_CAPRECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define CAPRECORD_FILE "record" /* In its directory. */
#define CAPRECORD_BOOT_SIZE 37  /* Of the kernel's name for this boot. */

struct caprecord {
    uint64_t term, order, command;
    uint64_t mw;    /* 0: none was ordered yet. */
    nsec_t until;   /* When the lease ends, in the boot named below. */
    bool clamped;   /* p-states stand in for the cap. */
    bool disobeyed; /* Since it reads back well and is not kept. */
    char boot[CAPRECORD_BOOT_SIZE];
};

/* Returns after it is on disk, whole or not at all.  0 or -Exxx. */
int caprecord_write(int dirfd, const struct caprecord *);
/* 0, -ENOENT, -EBADMSG (damaged; then it is no use to anybody) or -Exxx. */
int caprecord_read(int dirfd, struct caprecord *out);

/* Whether p-states stand in for a cap now, by the file; what can't be read says
 * yes only if it is there and damaged. */
bool caprecord_is_clamped(int dirfd);

#endif
