/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of records with one producer and one consumer, in memory that both map
 * or, as the window of a byte stream, in memory of our own.
 *
 * Records start at multiples of 16 bytes with the header of base/record.h.  The
 * first eight bytes of the header commit the record: the producer zeroes them
 * for the next one, then release-stores its own; the consumer waits for
 * something that is not zero.  A record never wraps; a RECORD_PAD fills the end
 * of the ring when one would.  Positions count bytes for ever; the offset in
 * the ring is the position modulo its size.
 *
 * Both cursors are private to their side.  What the sides must tell each other
 * are two blocks of words, one written by each, 128 bytes apart.  Nothing the
 * other side wrote is believed: a header is read once, then checked; a position
 * is checked against what we know ourselves. */
#ifndef TRANSPORT_RING_H
#define TRANSPORT_RING_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/record.h"

/* What the other side must not do is found on each message's way.  A build with
 * MCHAN_TRUSTING believes it instead, so that bench/ can say what looking
 * costs; nothing else is ever built so. */
#ifdef MCHAN_TRUSTING
#define RING_REFUSE(condition) ((void)sizeof(condition), false)
#else
#define RING_REFUSE(condition) __builtin_expect(!!(condition), 0)
#endif

#define RING_ALIGN 16u
#define RING_LINE 64u /* What travels between CPUs. */
#define RING_SIZE_MIN 4096u
#define RING_SIZE_DEFAULT 65536u
#define RING_SIZE_MAX (64u << 20)
#define RING_MESSAGE_MAX 65536u

/* What one side tells the other.  Sole writer: that side.  The first line
 * changes with the traffic and is looked at when a ring is full; the second
 * changes only when somebody goes to sleep or stays awake for long, so that the
 * look at it behind each message costs nothing. */
struct ring_words {
    alignas(128) _Atomic uint64_t released; /* Consumer: free up to here. */
    _Atomic uint64_t acked;                 /* Consumer: done up to here. */
    /* Wishes: a position with RING_ARMED, or RING_AWAKE. */
    alignas(128) _Atomic uint64_t data_event; /* Consumer: wake me for this. */
    _Atomic uint64_t space_event;             /* Producer: wake me for this. */
};

#define RING_ARMED 1u /* Wake me when this position is passed. */
#define RING_AWAKE                                                             \
    2u /* I don't sleep, and will issue a barrier for both of                  \
          us before I do: no need to fence. */

/* Bytes of records without a sleep, after which one that can issue barriers
 * says that it is awake.  A barrier costs the sleeper some 10 us, a fence the
 * other side some 20 ns per record. */
#define RING_AWAKE_AFTER (256u << 10)

/* How the sides' looks at each other are ordered; the transport says.  All zero
 * is always right. */
struct ring_fencing {
    /* Makes everything stored by all threads of all processes that called the
     * transport's registration visible, as if each had fenced; 0 or -Exxx.
     * Null: there is no such thing between these two. */
    int (*barrier)(void);
    bool registered; /* Such a barrier of the other side reaches us. */
};

struct ring_tx {
    uint8_t *data;           /* Borrowed. */
    uint64_t size;           /* Our own copy. */
    uint64_t head;           /* Where the next record goes. */
    uint64_t tail;           /* All before it may be written over. */
    uint64_t zeroed;         /* Where a header was zeroed ahead. */
    uint64_t woken;          /* Head at the last look at data_event. */
    struct ring_words *mine; /* Null if the ring is not shared. */
    struct ring_words *peers;
    struct ring_fencing fencing;
    uint64_t slept; /* Head when it was last armed. */
    bool awake;     /* What our space_event says. */
};

struct ring_run {
    uint64_t start;
    uint64_t first; /* The word that commits them all, stored last. */
};

struct ring_rx {
    uint8_t *data;
    uint64_t size;
    uint64_t position; /* The next record to look at. */
    uint64_t released; /* What the producer was told. */
    uint32_t message_max;
    bool long_ones; /* The last record had a second line. */
    struct ring_words *mine;
    struct ring_words *peers;
    struct ring_fencing fencing;
    uint64_t slept; /* Position when it was last armed. */
    bool awake;     /* What our data_event says. */
};

bool ring_size_valid(uint64_t size);
/* The largest payload that is ever accepted in a ring of this size. */
uint32_t ring_message_max(uint64_t size);

/* The memory is zeroed and aligned to RING_LINE; 'mine' and 'peers' are null
 * for a ring that is not shared. */
void ring_tx_init(struct ring_tx *, uint8_t *data, uint64_t size,
                  struct ring_words *mine, struct ring_words *peers);
void ring_rx_init(struct ring_rx *, uint8_t *data, uint64_t size,
                  struct ring_words *mine, struct ring_words *peers);

/* Bytes that a record takes. */
static inline uint64_t
ring_record_size(uint32_t payload)
{
    uint64_t size = (uint64_t)payload + RECORD_HEADER_SIZE;
    return (size + RING_ALIGN - 1) & ~(uint64_t)(RING_ALIGN - 1);
}

/* The producer. */

/* Writes a whole record.  False when the ring is full. */
static inline bool ring_tx_put(struct ring_tx *, const struct record *,
                               const void *payload);

/* Several records that the consumer sees at once, for which each line goes over
 * once.  ring_tx_add() is false when the ring is full or its end is near: a run
 * has no pads.  Between begin and end nothing else is done with the ring. */
static inline void ring_tx_begin(const struct ring_tx *, struct ring_run *);
static inline bool ring_tx_add(struct ring_tx *, struct ring_run *,
                               const struct record *, const void *payload);
static inline void ring_tx_end(struct ring_tx *, const struct ring_run *);

/* Where 'payload' bytes may be written, at most ring_message_max(), or null
 * when the ring is full.  Nothing is visible before ring_tx_commit() with the
 * same size. */
static inline uint8_t *ring_tx_reserve(struct ring_tx *, uint32_t payload);
static inline void ring_tx_commit(struct ring_tx *, const struct record *);
/* Takes back what the consumer released; '*acked' becomes what it says it is
 * done with.  0, or -EPROTO if it released what was never written. */
int ring_tx_refresh(struct ring_tx *, uint64_t *acked);
/* True if the consumer sleeps and what was committed since the last call is
 * what it waits for. */
static inline bool ring_tx_must_wake(struct ring_tx *);
static inline bool ring_tx_has_room(const struct ring_tx *, uint32_t payload);
/* What must be released, so that a record of 'payload' bytes fits. */
uint64_t ring_tx_position_for(const struct ring_tx *, uint32_t payload);
/* Asks to be woken when everything before 'position' is released; to be
 * followed by a last look.  0, or -Exxx if the wish may be overlooked this
 * once, so that sleeping for long is not safe. */
int ring_tx_arm(struct ring_tx *, uint64_t position);

/* A ring of our own: frees everything before 'position'. */
void ring_tx_release(struct ring_tx *, uint64_t position);

/* The consumer. */

/* True if a look may find something. */
static inline bool ring_rx_is_written(const struct ring_rx *);
/* 1 with the header of the next record, copied and in bounds; 0 if there is
 * none; -EPROTO with a constant 'why'.  Pads are passed over. */
static inline int ring_rx_peek(struct ring_rx *, struct record *out,
                               const char **why);
/* The payload of the record that ring_rx_peek() returned.  The other side may
 * change it at any time: copy first, look later. */
static inline const uint8_t *ring_rx_payload(const struct ring_rx *);
static inline void ring_rx_consume(struct ring_rx *, const struct record *);
/* Gives back everything before 'position' and says 'acked'.  True if the
 * producer waits for that and must be woken. */
bool ring_rx_release(struct ring_rx *, uint64_t position, uint64_t acked);
/* Asks to be woken for the next record; to be followed by a last peek.  Never
 * taken back: positions only rise, so an old wish matches nothing.  Returns as
 * ring_tx_arm(). */
int ring_rx_arm(struct ring_rx *);

#include "transport/ringfast.h"

#endif
