/* SPDX-License-Identifier: Apache-2.0 */
/* The disk under a made-up broker: a directory of its own for what a broker
 * keeps, and between the journal's SQLite and its files a layer that fails on
 * request and knows each write. */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISK_PATH_SIZE 64

struct disk;

enum disk_fault {
    DISK_WORKS,
    DISK_FULL,       /* No write finds room. */
    DISK_FAILS,      /* Writes fail. */
    DISK_SYNC_FAILS, /* Writes work, and making them last fails. */
};

/* 'point' is called before and behind each write and sync; while it answers
 * false nothing is written.  One disk at a time: SQLite's default is replaced.
 * Returns 0 or -Exxx. */
int disk_create(struct disk **out, bool (*point)(void *ctx, const char *where),
                void *ctx);
void disk_destroy(struct disk *); /* Removes the directory; accepts null. */

/* The power goes, while nobody has the journal open: of what was not synced the
 * seed says what is lost, sector by sector.  Returns how many sectors are. */
uint32_t disk_cut_power(struct disk *, uint64_t seed);

void disk_set_fault(struct disk *, enum disk_fault);
enum disk_fault disk_fault(const struct disk *);
/* Where the journal is, and where what was found is kept: the disk's to close.
 */
const char *disk_journal_path(const struct disk *);
int disk_saved_dirfd(const struct disk *);
/* Whether what was found of the domain with this lowest CPU is kept. */
bool disk_has_saved(const struct disk *, uint32_t cpu);
/* Successful ones, of the journal. */
uint64_t disk_n_syncs(const struct disk *);

#endif
