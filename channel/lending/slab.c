/* SPDX-License-Identifier: Apache-2.0 */
/* The book of what is lent; see slab.h.  Chunks that become free are kept by
 * size, last in first out, since the last is the one that caches still hold.
 * They are joined to larger ones only when a large one is missing: a user who
 * lends messages of one size, again and again, then never splits nor joins.
 * Believes the user of the channel as little as the peer, since either can name
 * chunks that are not theirs.  Called by loan.c. */
#include "channel/lending/slab.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/passing.h"

enum unit_state {
    UNIT_INNER, /* No chunk begins here. */
    UNIT_FREE,
    UNIT_TAKEN,
    UNIT_LENT,
};

#define NONE UINT32_MAX

static void make_chunks(struct slab *);
static void join_chunks(struct slab *);

/* Making. */

/* Our own mapping is made before the seal that allows no other to write. */
static int
make_memory(struct slab *slab, int *fd_out)
{
    int fd = passing_make_memory(slab->size, F_SEAL_SHRINK | F_SEAL_GROW);
    if (fd < 0) {
        return fd;
    }
    int error = 0;
    void *memory =
        mmap(NULL, slab->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        error = -errno;
    } else if (fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)) {
        error = errno == EINVAL ? -ENOTSUP : -errno; /* Before Linux 5.1. */
        munmap(memory, slab->size);
    }
    if (error) {
        close(fd);
        return error;
    }
    slab->memory = memory;
    *fd_out = fd;
    return 0;
}

int
slab_create(struct slab **out, uint64_t size, int *fd_out)
{
    assert(size && size % SLAB_UNIT == 0 && size <= SLAB_SIZE_MAX);
    struct slab *slab = calloc(1, sizeof *slab);
    if (!slab) {
        return -ENOMEM;
    }
    slab->size = size;
    slab->n_units = (uint32_t)(size / SLAB_UNIT);
    slab->units = calloc(slab->n_units, sizeof *slab->units);
    int error = slab->units ? make_memory(slab, fd_out) : -ENOMEM;
    if (error) {
        slab_destroy(slab);
        return error;
    }
    make_chunks(slab);
    *out = slab;
    return 0;
}

void
slab_destroy(struct slab *slab)
{
    if (!slab) {
        return;
    }
    if (slab->memory) {
        munmap(slab->memory, slab->size);
    }
    free(slab->units);
    free(slab);
}

/* Free chunks. */

static void
put_free(struct slab *slab, uint32_t unit, unsigned order)
{
    struct slab_unit *chunk = &slab->units[unit];
    chunk->state = UNIT_FREE;
    chunk->order = (uint8_t)order;
    chunk->next = slab->lists & 1u << order ? slab->free[order] : NONE;
    slab->free[order] = unit;
    slab->lists |= 1u << order;
}

static uint32_t
get_free(struct slab *slab, unsigned order)
{
    uint32_t unit = slab->free[order];
    slab->free[order] = slab->units[unit].next;
    if (slab->free[order] == NONE) {
        slab->lists &= ~(1u << order);
    }
    return unit;
}

/* The largest that fit, from the start. */
static void
make_chunks(struct slab *slab)
{
    uint32_t unit = 0;
    for (int order = SLAB_ORDERS - 1; order >= 0; order--) {
        if (slab->n_units & 1u << order) {
            put_free(slab, unit, (unsigned)order);
            unit += 1u << order;
        }
    }
}

/* Joins each free chunk with its other half while that is free too.  From the
 * start on: what lies before is then joined already as far as it can be. */
static void
join_chunks(struct slab *slab)
{
    struct slab_unit *units = slab->units;
    uint32_t unit = 0;
    while (unit < slab->n_units) {
        uint32_t head = unit;
        unsigned order = units[unit].order;
        unit += 1u << order;
        while (units[head].state == UNIT_FREE && head & 1u << order &&
               units[head ^ 1u << order].state == UNIT_FREE &&
               units[head ^ 1u << order].order == order) {
            units[head].state = UNIT_INNER;
            head ^= 1u << order;
            units[head].order = (uint8_t)++order;
        }
    }
    slab->lists = 0;
    slab->fragments = false;
    for (unit = 0; unit < slab->n_units; unit += 1u << units[unit].order) {
        if (units[unit].state == UNIT_FREE) {
            put_free(slab, unit, units[unit].order);
        }
    }
}

/* Taking. */

static unsigned
order_of(size_t size)
{
    size_t units = (size + SLAB_UNIT - 1) / SLAB_UNIT;
    return units <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(units - 1);
}

static bool
fits(const struct slab *slab, size_t size)
{
    return size <= slab->size && 1u << order_of(size) <= slab->n_units;
}

/* The lists of free chunks that are not smaller than this. */
static uint32_t
lists_from(struct slab *slab, unsigned order)
{
    if (!(slab->lists >> order) && slab->fragments) {
        join_chunks(slab);
    }
    return slab->lists >> order << order;
}

bool
slab_may_take(struct slab *slab, size_t size)
{
    return !fits(slab, size) || lists_from(slab, order_of(size));
}

int64_t
slab_take(struct slab *slab, size_t size)
{
    if (!fits(slab, size)) {
        return -EMSGSIZE;
    }
    unsigned order = order_of(size);
    uint32_t lists = lists_from(slab, order);
    if (!lists) {
        return -EAGAIN;
    }
    unsigned found = (unsigned)__builtin_ctz(lists);
    uint32_t unit = get_free(slab, found);
    while (found > order) {
        found--;
        put_free(slab, unit + (1u << found), found);
    }
    struct slab_unit *chunk = &slab->units[unit];
    chunk->state = UNIT_TAKEN;
    chunk->order = (uint8_t)order;
    chunk->generation += !chunk->generation;
    slab->n_taken++;
    return unit;
}

static void
set_free(struct slab *slab, uint32_t unit)
{
    slab->units[unit].generation++;
    put_free(slab, unit, slab->units[unit].order);
    slab->fragments = true;
}

void
slab_untake(struct slab *slab, uint32_t unit)
{
    assert(slab->units[unit].state == UNIT_TAKEN);
    slab->n_taken--;
    set_free(slab, unit);
}

/* Lending. */

uint8_t *
slab_data(const struct slab *slab, uint32_t unit)
{
    return slab->memory + (size_t)unit * SLAB_UNIT;
}

size_t
slab_chunk_size(const struct slab *slab, uint32_t unit)
{
    return (size_t)SLAB_UNIT << slab->units[unit].order;
}

uint64_t
slab_handle(const struct slab *slab, uint32_t unit)
{
    return unit | (uint64_t)slab->units[unit].generation << 32;
}

/* The chunk with this handle, in this state. */
static int64_t
find(const struct slab *slab, uint64_t handle, enum unit_state state)
{
    uint32_t unit = (uint32_t)handle;
    if (unit >= slab->n_units || slab->units[unit].state != state ||
        slab_handle(slab, unit) != handle) {
        return -ENOENT;
    }
    return unit;
}

int64_t
slab_find(const struct slab *slab, const void *data, uint64_t handle)
{
    int64_t unit = find(slab, handle, UNIT_TAKEN);
    if (unit >= 0 && slab_data(slab, (uint32_t)unit) != data) {
        return -ENOENT;
    }
    return unit;
}

int64_t
slab_find_lent(const struct slab *slab, uint64_t handle, uint32_t sequence)
{
    int64_t unit = find(slab, handle, UNIT_LENT);
    if (unit >= 0 && slab->units[unit].sequence != sequence) {
        return -ENOENT;
    }
    return unit;
}

void
slab_lend(struct slab *slab, uint32_t unit, uint32_t sequence)
{
    assert(slab->units[unit].state == UNIT_TAKEN);
    slab->units[unit].state = UNIT_LENT;
    slab->units[unit].sequence = sequence;
    slab->n_taken--;
    slab->n_lent++;
}

int
slab_give_back(struct slab *slab, uint64_t handle)
{
    int64_t unit = find(slab, handle, UNIT_LENT);
    if (unit < 0) {
        return -EPROTO;
    }
    slab->n_lent--;
    set_free(slab, (uint32_t)unit);
    return 0;
}
