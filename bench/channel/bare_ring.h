/* SPDX-License-Identifier: Apache-2.0 */
/* The bare ring: one producer, one consumer, a word before each record that
 * commits it, and nothing else.  No checks, no session, no acknowledgement, no
 * end to wait for: what a ring that is all of that is held against.  Included
 * by bare.c and bare_futex.c, so that everything is inline.
 *
 * The word before a record is its size; the producer zeroes the word behind the
 * record before it stores that.  A record never wraps: BARE_WRAP sends the
 * reader to the beginning.  Cursors are private; the consumer tells how far it
 * has read an eighth of the ring at a time. */
#ifndef BENCH_CHANNEL_BARE_RING_H
#define BENCH_CHANNEL_BARE_RING_H

#include <errno.h>
#include <stdlib.h>

#include "bench/channel/carrier.h"

#ifndef BARE_ALIGN
#define BARE_ALIGN 64u
#endif
#define BARE_WRAP UINT64_MAX

struct bare_words {
    _Alignas(128) _Atomic uint64_t read;     /* The consumer's. */
    _Alignas(128) _Atomic uint32_t sleeping; /* Somebody waits: futex. */
};

struct bare_half {
    struct bare_words *words;
    uint8_t *data;
    uint64_t position; /* The next record's. */
    uint64_t told;     /* 'read', as last told or seen. */
};

struct bare {
    uint64_t size;
    struct bare_half out, in;
};

static inline _Atomic uint64_t *
bare_word(const struct bare *bare, const struct bare_half *half,
          uint64_t position)
{
    return (_Atomic uint64_t *)(void *)(half->data +
                                        (position & (bare->size - 1)));
}

static inline uint64_t
bare_record_size(size_t size)
{
    return (size + sizeof(uint64_t) + BARE_ALIGN - 1) &
           ~(uint64_t)(BARE_ALIGN - 1);
}

static inline void
bare_copy(void *to, const void *from, size_t size)
{
    if (size == 64) {
        memcpy(to, from, 64);
    } else {
        memcpy(to, from, size);
    }
}

/* False while there is no room. */
static inline bool
bare_put(struct bare *bare, const void *data, size_t size)
{
    struct bare_half *out = &bare->out;
    uint64_t need = bare_record_size(size);
    uint64_t to_end = bare->size - (out->position & (bare->size - 1));
    uint64_t pad = need + BARE_ALIGN > to_end ? to_end : 0;
    if (out->position + pad + need + BARE_ALIGN - out->told > bare->size) {
        out->told =
            atomic_load_explicit(&out->words->read, memory_order_acquire);
        return false;
    }
    if (pad) {
        atomic_store_explicit(bare_word(bare, out, 0), 0, memory_order_relaxed);
        atomic_store_explicit(bare_word(bare, out, out->position), BARE_WRAP,
                              memory_order_release);
        out->position += pad;
    }
    _Atomic uint64_t *word = bare_word(bare, out, out->position);
    bare_copy((uint8_t *)word + sizeof *word, data, size);
    atomic_store_explicit(bare_word(bare, out, out->position + need), 0,
                          memory_order_relaxed);
    atomic_store_explicit(word, size, memory_order_release);
    out->position += need;
    return true;
}

static inline bool
bare_ready(const struct bare *bare)
{
    return atomic_load_explicit(bare_word(bare, &bare->in, bare->in.position),
                                memory_order_acquire);
}

static inline void
bare_tell(struct bare_half *in)
{
    in->told = in->position;
    atomic_store_explicit(&in->words->read, in->position, memory_order_release);
}

/* -EAGAIN while there is nothing. */
static inline ssize_t
bare_get(struct bare *bare, void *data)
{
    struct bare_half *in = &bare->in;
    _Atomic uint64_t *word = bare_word(bare, in, in->position);
    uint64_t size = atomic_load_explicit(word, memory_order_acquire);
    if (!size) {
        return -EAGAIN;
    }
    if (size == BARE_WRAP) {
        in->position += bare->size - (in->position & (bare->size - 1));
        return -EAGAIN;
    }
    bare_copy(data, (uint8_t *)word + sizeof *word, size);
    in->position += bare_record_size(size);
    if (in->position - in->told >= bare->size / 8) {
        bare_tell(in);
    }
    return (ssize_t)size;
}

static inline int
bare_prepare(struct end *end)
{
    struct bare *bare = calloc(1, sizeof *bare);
    if (!bare) {
        return -ENOMEM;
    }
    bare->size = end->run->ring_size;
    struct bare_half *halves[] = {&bare->out, &bare->in};
    for (int i = 0; i < 2; i++) {
        halves[i]->words = memory_shared(sizeof *halves[i]->words);
        halves[i]->data = memory_shared(bare->size);
        if (!halves[i]->words || !halves[i]->data) {
            return -ENOMEM;
        }
    }
    end->carrier = bare;
    return 0;
}

/* What goes out of one end comes in at the other. */
static inline int
bare_open(struct end *end)
{
    struct bare *bare = end->carrier;
    if (end->side == 1) {
        struct bare_half half = bare->out;
        bare->out = bare->in;
        bare->in = half;
    }
    return 0;
}

static inline void
bare_close(struct end *end)
{
    free(end->carrier);
}

#endif
