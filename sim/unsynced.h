/* SPDX-License-Identifier: Apache-2.0 */
/* What of a file was written since it was last synced, by sector, so that a
 * power cut can lose any of it. */
#ifndef SIM_UNSYNCED_H
#define SIM_UNSYNCED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNSYNCED_SECTOR 512

struct prng;

/* Zeroed: of an empty file. */
struct unsynced {
    uint64_t size; /* When it was last synced. */
    struct unsynced_sector {
        uint32_t at;                    /* Its number. */
        uint8_t bytes[UNSYNCED_SECTOR]; /* As they were then. */
    } * old;                            /* Owned. */
    size_t n, max;
    uint8_t *is_old; /* A bit a sector; owned. */
    size_t is_old_size;
};

void unsynced_fini(struct unsynced *);
/* These bytes of the file are about to be written, or cut off. */
void unsynced_touch(struct unsynced *, int fd, uint64_t at, uint64_t size);
/* All that was written lasts. */
void unsynced_settle(struct unsynced *, int fd);
/* The power goes: of each sector that was not synced only chance says whether
 * it is as it was or as it became; likewise of the file's length.  Returns how
 * many are as they were. */
uint32_t unsynced_lose(struct unsynced *, int fd, struct prng *);

#endif
