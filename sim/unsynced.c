/* SPDX-License-Identifier: Apache-2.0 */
/* Between two syncs a disk writes what it was given in any order, a sector at
 * once, and not all of it before the power goes.  So a sector has the bytes of
 * the last sync, kept here before they are first overwritten, or those written
 * last, and each goes its own way: what was written first may be lost and what
 * came last be there.  Called by disk.c.
 *
 * XXX A sector that was written twice since the sync never comes out as it was
 * between the two; keeping each write would allow that. */
#include "sim/unsynced.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/prng.h"

static void keep(struct unsynced *unsynced, int fd, uint32_t at);
static void put(int fd, const void *bytes, size_t size, uint64_t at);

static uint64_t
size_of(int fd)
{
    struct stat st;
    int error = fstat(fd, &st);

    assert(!error);
    return (uint64_t)st.st_size;
}

void
unsynced_fini(struct unsynced *unsynced)
{
    free(unsynced->old);
    free(unsynced->is_old);
    *unsynced = (struct unsynced){.size = 0};
}

void
unsynced_touch(struct unsynced *unsynced, int fd, uint64_t at, uint64_t size)
{
    uint64_t end = at + size;

    for (uint64_t i = at / UNSYNCED_SECTOR; i * UNSYNCED_SECTOR < end; i++) {
        keep(unsynced, fd, (uint32_t)i);
    }
}

void
unsynced_settle(struct unsynced *unsynced, int fd)
{
    unsynced->n = 0;
    if (unsynced->is_old) {
        memset(unsynced->is_old, 0, unsynced->is_old_size);
    }
    unsynced->size = size_of(fd);
}

uint32_t
unsynced_lose(struct unsynced *unsynced, int fd, struct prng *prng)
{
    static const double chances[] = {0, 0.05, 0.5, 0.95, 1};
    double p = chances[prng_below(prng, sizeof chances / sizeof *chances)];
    uint64_t size = size_of(fd), old_size = unsynced->size;
    bool length_lost = prng_real(prng) < p;
    uint64_t end = size < old_size && length_lost ? old_size : size;
    uint64_t last = old_size; /* Where what lasts of a longer file ends. */
    uint32_t n = 0;

    for (size_t i = 0; i < unsynced->n; i++) {
        const struct unsynced_sector *sector = &unsynced->old[i];
        uint64_t at = (uint64_t)sector->at * UNSYNCED_SECTOR;
        /* What was cut off comes back with the length. */
        bool lost = at >= size ? length_lost : prng_real(prng) < p;

        if (lost && at < end) {
            uint64_t left = end - at;

            put(fd, sector->bytes,
                left < UNSYNCED_SECTOR ? (size_t)left : UNSYNCED_SECTOR, at);
            n++;
        } else if (!lost && at + UNSYNCED_SECTOR > last) {
            last = at + UNSYNCED_SECTOR;
        }
    }
    if (size > old_size && length_lost) {
        end = last < size ? last : size;
    }
    int error = ftruncate(fd, (off_t)end);
    assert(!error);
    unsynced_settle(unsynced, fd);
    return n;
}

static void
put(int fd, const void *bytes, size_t size, uint64_t at)
{
    ssize_t n = pwrite(fd, bytes, size, (off_t)at);

    assert(n == (ssize_t)size);
}

static bool
note(struct unsynced *unsynced, uint32_t at)
{
    size_t size = at / 8 + 1;

    if (size > unsynced->is_old_size) {
        size_t more = 2 * size;

        unsynced->is_old = realloc(unsynced->is_old, more);
        assert(unsynced->is_old);
        memset(unsynced->is_old + unsynced->is_old_size, 0,
               more - unsynced->is_old_size);
        unsynced->is_old_size = more;
    }
    bool first = !(unsynced->is_old[at / 8] & 1u << at % 8);

    unsynced->is_old[at / 8] |= (uint8_t)(1u << at % 8);
    return first;
}

/* Its bytes, once; what the file did not have reads as zeros. */
static void
keep(struct unsynced *unsynced, int fd, uint32_t at)
{
    uint64_t start = (uint64_t)at * UNSYNCED_SECTOR;

    if (!note(unsynced, at)) {
        return;
    }
    if (unsynced->n == unsynced->max) {
        unsynced->max = unsynced->max ? 2 * unsynced->max : 64;
        unsynced->old =
            realloc(unsynced->old, unsynced->max * sizeof *unsynced->old);
        assert(unsynced->old);
    }
    struct unsynced_sector *sector = &unsynced->old[unsynced->n++];

    *sector = (struct unsynced_sector){.at = at};
    if (start < unsynced->size) {
        uint64_t left = unsynced->size - start;
        ssize_t n =
            pread(fd, sector->bytes,
                  left < UNSYNCED_SECTOR ? (size_t)left : UNSYNCED_SECTOR,
                  (off_t)start);

        assert(n >= 0);
    }
}
