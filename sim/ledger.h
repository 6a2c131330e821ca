/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle of msim's moves: remembers each reliable message that a user
 * handed to a channel, and says when one is given out twice, in a wrong order,
 * or is gone without a word.  It knows nothing of how that is prevented. */
#ifndef SIM_LEDGER_H
#define SIM_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEDGER_WHY_SIZE 256
#define LEDGER_SPEAKERS_MAX 256
#define LEDGER_EARS_MAX 256
#define LEDGER_SESSIONS_MAX 1024
/* What a note needs of a message; it may be longer. */
#define LEDGER_NOTE_SIZE 16

struct ledger;

/* Speakers and ears are incarnations of users, numbered as they come: one that
 * is started again is another. */
struct ledger_note {
    uint16_t vm;
    uint16_t speaker;
    uint32_t serial; /* From 1, for each speaker and VM. */
    bool from_guest;
};

/* Returns 0 or -ENOMEM. */
int ledger_create(struct ledger **out);
void ledger_destroy(struct ledger *);

void ledger_write(uint8_t out[LEDGER_NOTE_SIZE], const struct ledger_note *);
/* False if these bytes are no note: something mixed them up. */
bool ledger_read(const void *data, size_t size, struct ledger_note *out);

/* It was accepted, and is number 'sequence' of the session; 'attachment' is
 * that end's last. */
void ledger_sent(struct ledger *, const struct ledger_note *, uint64_t session,
                 uint64_t sequence, uint32_t attachment);
/* This guest is in that session now. */
void ledger_joined(struct ledger *, uint16_t guest, uint64_t session);
/* It was given to an ear. */
void ledger_given(struct ledger *, const struct ledger_note *, uint32_t ear,
                  uint64_t session, uint64_t sequence, bool maybe_repeated);
/* A user was told DROPPED, or GAP, of what guests or MVMs sent in a session. */
void ledger_told(struct ledger *, bool from_guest, uint64_t session,
                 uint64_t from, uint64_t to);
/* A guest was told GAP without an end: of what was sent to it in that session
 * all from 'from' on is gone, and what an end that does not know it yet still
 * takes for it in an attachment before that one; not what the end that told it
 * numbers anew. */
void ledger_cut(struct ledger *, uint64_t session, uint64_t from,
                uint32_t attachment);
/* A guest is no more, or was set back: what it still had to say or to be told
 * may be gone. */
void ledger_gone(struct ledger *, uint16_t speaker);

/* The first thing that went wrong so far; "" if nothing did. */
const char *ledger_why(const struct ledger *);
/* Nothing more will be given: each is accounted for. */
bool ledger_balances(struct ledger *);

struct ledger_counts {
    uint64_t n_sent, n_given, n_repeated, n_told;
};
void ledger_counts(const struct ledger *, struct ledger_counts *out);

#endif
