/* SPDX-License-Identifier: Apache-2.0 */
/* What a hostile end writes, and where: values that may be believed since they
 * are near what both ends know, values by chance, and places of every kind,
 * mostly where somebody looks.  Called by attacker.c, ways.c and greet.c. */
#include "attacker.h"
#include "transport/returns.h"
#include "transport/ring.h"

/* What. */

uint64_t
aim_record(struct attacker *attacker)
{
    const struct raw *raw = &attacker->raw;
    struct record record = {
        .size = (uint32_t)chance(attacker, raw->ring_size / 8 + 32),
        .kind = (uint8_t)chance(attacker, RECORD_N_KINDS + 1),
        .flags = chance(attacker, 16) == 0,
        .tag = (uint16_t)prng_u64(&attacker->prng),
    };
    return record_first_word(&record);
}

uint64_t
aim_near(struct attacker *attacker, uint64_t position)
{
    return position + 64 * (chance(attacker, 9) - 4);
}

uint64_t
aim_value(struct attacker *attacker)
{
    const struct raw *raw = &attacker->raw;
    switch (chance(attacker, 12)) {
    case 0:
        return prng_u64(&attacker->prng);
    case 1:
        return UINT64_C(1) << chance(attacker, 64);
    case 2:
        return ~UINT64_C(0) >> chance(attacker, 64);
    case 3:
        return 0;
    case 4:
        return aim_near(attacker, raw->head) | chance(attacker, 4);
    case 5:
        return aim_near(attacker, raw->position) | chance(attacker, 4);
    case 6:
        return aim_near(attacker, raw->head);
    case 7:
        return aim_near(attacker, raw->position);
    case 8: /* The second word of a header. */
        return (raw->n_sent + chance(attacker, 4)) | (uint64_t)raw->attachment
                                                         << 32;
    case 9:
        return raw->n_taken + chance(attacker, 5) - 2;
    default:
        return aim_record(attacker);
    }
}

/* Where. */

static size_t
some_word(struct attacker *attacker)
{
    const struct raw *raw = &attacker->raw;
    static const size_t words[] = {
        offsetof(struct ring_words, released),
        offsetof(struct ring_words, acked),
        offsetof(struct ring_words, data_event),
        offsetof(struct ring_words, space_event),
    };
    size_t word = words[chance(attacker, sizeof words / sizeof *words)];
    return word +
           (chance(attacker, 3) ? raw_my_words(raw) : raw_their_words(raw));
}

/* A header in either ring, mostly near where the reader is. */
static size_t
some_header(struct attacker *attacker)
{
    const struct raw *raw = &attacker->raw;
    bool mine = chance(attacker, 3);
    uint64_t position = mine ? raw->head : raw->position;
    position = chance(attacker, 4)
                   ? aim_near(attacker, position)
                   : RING_ALIGN * chance(attacker, raw->ring_size / RING_ALIGN);
    size_t ring = mine ? raw_my_ring(raw) : raw_their_ring(raw);
    return ring + (position & (raw->ring_size - 1)) + 8 * chance(attacker, 2);
}

size_t
aim_place(struct attacker *attacker)
{
    const struct raw *raw = &attacker->raw;
    switch (chance(attacker, 8)) {
    case 0:
    case 1:
        return some_word(attacker);
    case 2:
        if (raw->lends) {
            size_t words = 2 * sizeof(struct returns) / 8;
            return raw_returns(raw) +
                   8 * chance(attacker, chance(attacker, 2) ? 64 : words);
        }
        /* fallthrough */
    case 3:
        return 8 * chance(attacker, raw->size / 8);
    default:
        return some_header(attacker);
    }
}
