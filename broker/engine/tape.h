/* SPDX-License-Identifier: Apache-2.0 */
/* The tape: what the engine was told, packed, so that it can be told again.  A
 * stream of entries in blocks (struct journal_input); each is a kind, the time
 * since the entry before, and what the kind has.  Numbers are written as their
 * difference to those of the last message of that slot, which most often is
 * small; the slots begin empty in a block that is whole.  Reading it back is
 * reading a stranger's bytes. */
#ifndef BROKER_ENGINE_TAPE_H
#define BROKER_ENGINE_TAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

struct msg;
struct uuid;

enum tape_kind {
    TAPE_KEY = 1, /* enum tape_key: what is known begins, until TAPE_KEY_END. */
    TAPE_HOST,    /* domain, host id, epoch_ns, dwell_ns, hypervisor, rows of
                   * other VMs a second, CPUs */
    TAPE_GUEST,   /* UUID, name, rows a second, CPUs of its vCPUs */
    TAPE_POLICY,  /* name, options given: names and texts */
    TAPE_KEY_END,
    TAPE_MSG,  /* A message came. */
    TAPE_SENT, /* A message was sent to the platform. */
    TAPE_TURN, /* enum tape_turn: a turn ended that changed something. */
};

enum tape_key {
    TAPE_KEY_START,  /* The engine begins: nothing is known but this. */
    TAPE_KEY_AGAIN,  /* It went on; this is for who begins to read here. */
    TAPE_KEY_GAP,    /* Something before is missing. */
    TAPE_KEY_CONFIG, /* Another configuration holds from here; nothing is
                      * missing. */
};

enum tape_turn {
    TAPE_TURN_EPOCH = 1, /* It ended an epoch. */
};

#define TAPE_SLOTS_MAX 4096
#define TAPE_SLOT_SIZE 256 /* Bytes of a message that may be in one. */

/* What the last message of each slot was, of the same kind on both sides. */
struct tape_slots {
    uint32_t n;
    struct tape_slot {
        unsigned type; /* 0: none. */
        uint8_t bytes[TAPE_SLOT_SIZE];
    } * slot;
};

int tape_slots_init(struct tape_slots *, uint32_t n); /* 0 or -ENOMEM. */
void tape_slots_fini(struct tape_slots *);
void tape_slots_clear(struct tape_slots *);

/* Writes into memory that has room; it is asserted that it had. */
struct tape_out {
    uint8_t *data; /* Borrowed. */
    size_t size, used;
};

void tape_put_uint(struct tape_out *, uint64_t);
void tape_put_int(struct tape_out *, int64_t);
void tape_put_text(struct tape_out *, const char *);
void tape_put_uuid(struct tape_out *, const struct uuid *);
/* Slot 0 is none: the message is written out. */
void tape_put_msg(struct tape_out *, struct tape_slots *, uint32_t slot,
                  const struct msg *);
/* At most so many bytes a message takes. */
size_t tape_msg_room(unsigned type);

/* Once something made no sense 'bad' stays, and all that is read is 0. */
struct tape_in {
    const uint8_t *data; /* Borrowed. */
    size_t size, used;
    bool bad;
};

uint64_t tape_get_uint(struct tape_in *, uint64_t max);
int64_t tape_get_int(struct tape_in *);
void tape_get_text(struct tape_in *, char *out, size_t size);
void tape_get_uuid(struct tape_in *, struct uuid *);
/* What it gives is in range as msg_decode() has it. */
void tape_get_msg(struct tape_in *, struct tape_slots *, struct msg *);

#endif
