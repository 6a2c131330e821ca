/* SPDX-License-Identifier: Apache-2.0 */
/* The receiver's side of lent memory; see lent.h.  What a loan says is checked
 * against the size of the memory and what is already held; what lies in the
 * chunk is the peer's and can change while it is looked at.  Called by
 * loan.c. */
#include "channel/lending/lent.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "channel/lending/slab.h"
#include "transport/passing.h"
#include "transport/returns.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE)

void
loan_put(uint8_t out[LOAN_SIZE], uint64_t handle, uint64_t size)
{
    uint64_t words[2] = {htole64(handle), htole64(size)};
    memcpy(out, words, sizeof words);
}

void
loan_get(uint64_t *handle_out, uint64_t *size_out,
         const uint8_t loan[LOAN_SIZE])
{
    uint64_t words[2];
    memcpy(words, loan, sizeof words);
    *handle_out = le64toh(words[0]);
    *size_out = le64toh(words[1]);
}

static int
map(struct lent *lent, int fd)
{
    int error = passing_check_memory(fd, lent->size, SEALS);
    if (error) {
        return error;
    }
    lent->n_units = (uint32_t)(lent->size / SLAB_UNIT);
    lent->generations = calloc(lent->n_units, sizeof *lent->generations);
    if (!lent->generations) {
        return -ENOMEM;
    }
    void *memory = mmap(NULL, lent->size, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return -ENOMEM;
    }
    lent->memory = memory;
    return 0;
}

int
lent_create(struct lent **out, int fd, uint64_t size)
{
    struct lent *lent = calloc(1, sizeof *lent);
    int error = -ENOMEM;
    if (lent) {
        lent->size = size;
        error = map(lent, fd);
    }
    if (error) {
        lent_destroy(lent);
        return error;
    }
    *out = lent;
    return 0;
}

void
lent_destroy(struct lent *lent)
{
    if (!lent) {
        return;
    }
    if (lent->memory) {
        munmap((void *)(uintptr_t)lent->memory, lent->size);
    }
    free(lent->generations);
    free(lent);
}

int
lent_open(const struct lent *lent, const uint8_t loan[LOAN_SIZE],
          struct lent_chunk *out, const char **why)
{
    uint64_t handle, size;
    loan_get(&handle, &size, loan);
    uint32_t unit = (uint32_t)handle;
    uint64_t offset = (uint64_t)unit * SLAB_UNIT;
    uint32_t generation = (uint32_t)(handle >> 32);
    if (unit >= lent->n_units || size > lent->size - offset) {
        *why = "loan of what was not shared";
        return -EPROTO;
    }
    if (!generation || lent->generations[unit]) {
        *why = "loan of what is lent already";
        return -EPROTO;
    }
    if (lent->n_held == RETURNS_MAX) {
        *why = "more loans than can be given back";
        return -EPROTO;
    }
    out->data = lent->memory + offset;
    out->size = size;
    out->handle = handle;
    return 0;
}

void
lent_hold(struct lent *lent, const struct lent_chunk *chunk)
{
    lent->generations[(uint32_t)chunk->handle] =
        (uint32_t)(chunk->handle >> 32);
    lent->n_held++;
}

bool
lent_let_go(struct lent *lent, const void *data, uint64_t handle)
{
    uint32_t unit = (uint32_t)handle;
    uint32_t generation = (uint32_t)(handle >> 32);
    if (!generation || unit >= lent->n_units ||
        lent->memory + (size_t)unit * SLAB_UNIT != data ||
        lent->generations[unit] != generation) {
        return false;
    }
    lent->generations[unit] = 0;
    lent->n_held--;
    return true;
}
