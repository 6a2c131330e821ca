/* SPDX-License-Identifier: Apache-2.0 */
/* The bare ring: one producer, one consumer, a word before each record that
 * commits it, and nothing else.  No checks, no session, no acknowledgement, no
 * end to wait for: what a ring that is all of that is held against.  Included
 * by bare.c and bare_futex.c, so that everything is inline.
 *
 * The word before a record is its size; the producer zeroes the word behind the
 * record before it stores that.  A record never wraps: BARE_WRAP sends the
 * reader to the beginning.  Cursors are private; the consumer tells how far it
 * has read an eighth of the ring at a time.
 *
 * What made it faster, each measured against the others in interleaved rounds
 * (docs/decisions/0014): small records follow each other without alignment,
 * which moves 9 cache lines for 8 messages of 64 bytes instead of 16; both
 * sides prefetch 1 KiB ahead; who finds nothing asks for the record's second
 * line as well as for its first, so that both come at once; large ones have
 * their payload aligned to a line and are written past the cache, where the
 * reader finds them sooner. */
#ifndef BENCH_CHANNEL_BARE_RING_H
#define BENCH_CHANNEL_BARE_RING_H

#include <errno.h>
#include <stdlib.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "bench/channel/carrier.h"

#define BARE_WRAP UINT64_MAX
#define BARE_AHEAD 1024u       /* Bytes prefetched. */
#define BARE_ALIGNED_MIN 1024u /* Records from here up are aligned. */
#define BARE_STREAM_MIN 16384u /* And from here up written past the cache. */

struct bare_words {
    _Alignas(128) _Atomic uint64_t read;     /* The consumer's. */
    _Alignas(128) _Atomic uint32_t sleeping; /* Somebody waits: futex. */
};

struct bare_half {
    struct bare_words *words;
    uint8_t *data;     /* A word before a line. */
    uint64_t position; /* The next record's. */
    uint64_t told;     /* 'read', as last told or seen. */
};

struct bare {
    uint64_t size;
    struct bare_half out, in;
    uint8_t *slots; /* Memory that records only name: bare.c. */
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
    uint64_t align = size < BARE_ALIGNED_MIN ? sizeof(uint64_t) : 64;
    return (size + sizeof(uint64_t) + align - 1) & ~(align - 1);
}

static inline void
bare_write(void *to, const void *from, size_t size)
{
    if (size == 64) {
        memcpy(to, from, 64);
        return;
    }
#if defined(__SSE2__)
    if (size >= BARE_STREAM_MIN && !(size & 63)) {
        __m128i *line = to;
        const __m128i *source = from;
        for (size_t i = 0; i < size / sizeof *line; i++) {
            _mm_stream_si128(line + i, _mm_loadu_si128(source + i));
        }
        _mm_sfence();
        return;
    }
#endif
    memcpy(to, from, size);
}

static inline void
bare_read(void *to, const void *from, size_t size)
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
    uint64_t pad = need + sizeof(uint64_t) > to_end ? to_end : 0;
    if (out->position + pad + need + 64 - out->told > bare->size) {
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
    __builtin_prefetch(bare_word(bare, out, out->position + BARE_AHEAD), 1, 3);
    bare_write((uint8_t *)word + sizeof *word, data, size);
    atomic_store_explicit(bare_word(bare, out, out->position + need), 0,
                          memory_order_relaxed);
    atomic_store_explicit(word, size, memory_order_release);
    out->position += need;
    return true;
}

/* Several of one size, which the reader sees at once: each line goes over once,
 * since it looks at the first word only.  False while there is no room, or
 * where the ring ends. */
static inline bool
bare_put_run(struct bare *bare, const void *const *data, unsigned n,
             size_t size)
{
    struct bare_half *out = &bare->out;
    uint64_t need = bare_record_size(size);
    uint64_t to_end = bare->size - (out->position & (bare->size - 1));
    if (n * need + sizeof(uint64_t) > to_end ||
        out->position + n * need + 64 - out->told > bare->size) {
        return false;
    }
    _Atomic uint64_t *first = bare_word(bare, out, out->position);
    for (unsigned i = 0; i < n; i++) {
        _Atomic uint64_t *word = bare_word(bare, out, out->position);
        __builtin_prefetch(bare_word(bare, out, out->position + BARE_AHEAD), 1,
                           3);
        bare_write((uint8_t *)word + sizeof *word, data[i], size);
        if (i) {
            atomic_store_explicit(word, size, memory_order_relaxed);
        }
        out->position += need;
    }
    atomic_store_explicit(bare_word(bare, out, out->position), 0,
                          memory_order_relaxed);
    atomic_store_explicit(first, size, memory_order_release);
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
        __builtin_prefetch((uint8_t *)word + 64, 0, 3);
        return -EAGAIN;
    }
    if (size == BARE_WRAP) {
        in->position += bare->size - (in->position & (bare->size - 1));
        word = bare_word(bare, in, in->position);
        size = atomic_load_explicit(word, memory_order_acquire);
        if (!size) {
            return -EAGAIN;
        }
    }
    __builtin_prefetch(bare_word(bare, in, in->position + BARE_AHEAD), 0, 3);
    bare_read(data, (uint8_t *)word + sizeof *word, size);
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
        halves[i]->data = memory_shared(bare->size + 64);
        if (!halves[i]->words || !halves[i]->data) {
            return -ENOMEM;
        }
        halves[i]->data += 64 - sizeof(uint64_t);
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
