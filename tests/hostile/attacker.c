/* SPDX-License-Identifier: Apache-2.0 */
/* The hostile end of a "shm:" channel: meets the victim as it should, says
 * HELLO as it should, and then writes into the memory that both map what it
 * should not, where it should not, whenever it likes; some of the time it also
 * talks as one should, to get further.  When the victim throws it out it comes
 * again, and goes on writing into the memory of its former links too, as one
 * that was stopped and continued after it was replaced.  Some of the time the
 * meeting itself is hostile.
 *
 * What counts as a write is one store of a value into memory that was handed
 * over, made while the victim has not yet said that this peer is gone (or into
 * that of a former link). */
#include "attacker.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define WRITES_PER_LINK_MAX 2000

void
attacker_nap(long us)
{
    struct timespec nap = {.tv_nsec = us * 1000};
    nanosleep(&nap, NULL);
}

/* Writing. */

void
attacker_count(struct attacker *attacker)
{
    attacker->n_here++;
    atomic_fetch_add_explicit(&attacker->board->n_writes, 1,
                              memory_order_relaxed);
}

void
attacker_write(struct attacker *attacker, size_t at, uint64_t value)
{
    if (chance(attacker, 32) == 0) {
        attacker->raw.memory[at + chance(attacker, 8)] = (uint8_t)value;
    } else {
        raw_store(&attacker->raw, at, value);
    }
    attacker_count(attacker);
}

static void
write_former(struct attacker *attacker)
{
    if (!attacker->n_former) {
        return;
    }
    const struct former *former =
        &attacker->former[chance(attacker, attacker->n_former)];
    size_t at =
        8 * chance(attacker, chance(attacker, 2) ? 32 : former->size / 8);
    uint64_t value = aim_value(attacker);
    memcpy(former->memory + at, &value, sizeof value);
    attacker->board->n_stale++;
    attacker_count(attacker);
}

bool
attacker_is_done(struct attacker *attacker)
{
    const struct board *board = attacker->board;
    return board->n_gone != attacker->gone || board->attack_over ||
           board->failed || board->n_writes >= board->n_writes_wanted ||
           attacker->n_here >= WRITES_PER_LINK_MAX ||
           (attacker->n_here % 512 == 511 && raw_is_over(&attacker->raw));
}

/* A link. */

static void
keep_former(struct attacker *attacker)
{
    struct raw *raw = &attacker->raw;
    if (!raw->memory) {
        return;
    }
    struct former *former;
    if (attacker->n_former < FORMER_MAX) {
        former = &attacker->former[attacker->n_former++];
    } else {
        former = &attacker->former[chance(attacker, FORMER_MAX)];
        munmap(former->memory, former->size);
    }
    former->memory = raw->memory;
    former->size = raw->size;
    raw->memory = NULL;
}

static void
come_once(struct attacker *attacker)
{
    struct board *board = attacker->board;
    struct raw *raw = &attacker->raw;
    attacker->gone = board->n_gone;
    attacker->n_here = 0;
    if (!raw_meet(raw, PATIENCE_MS)) {
        attacker_nap(100);
        return;
    }
    board->n_meetings++;
    if (greet_victim(attacker)) {
        ways_attack(attacker);
    }
    for (uint64_t i = chance(attacker, 64); i; i--) {
        write_former(attacker);
    }
    keep_former(attacker);
    raw_leave(raw);
}

int
attacker_live(const struct stage *stage)
{
    struct attacker attacker = {.stage = stage, .board = stage->board};
    const struct board *board = stage->board;
    prng_init(&attacker.prng, stage->seed + 2);
    raw_init(&attacker.raw, !stage->victim_listens, stage->path);
    while (!board->attack_over && !board->failed &&
           board->n_writes < board->n_writes_wanted) {
        come_once(&attacker);
    }
    raw_fini(&attacker.raw);
    return 0;
}
