/* SPDX-License-Identifier: Apache-2.0 */
/* What one VM may use of the broker: two token buckets for what it says, one
 * for how often it may be looked at, the rates of the table of rights, and a
 * bounded memory in which telemetry beyond all that waits, the newest of it.
 * Pure but for that memory; one per guest, in back.c. */
#ifndef BROKER_BACK_ALLOWANCE_H
#define BROKER_BACK_ALLOWANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bucket.h"
#include "broker/config/config.h"
#include "wire/grant.h"

/* Messages a second that are taken from a channel at most, as a multiple of
 * those that are heard: what is between is counted and dropped or refused, what
 * is beyond waits in the channel. */
#define ALLOWANCE_LOOKS 16
#define ALLOWANCE_LOOKS_MIN 16000
#define ALLOWANCE_LOOK_BYTES 512 /* A longer message is several looks. */

enum allowance_says {
    ALLOWANCE_HEAR,   /* It is within its rates; they are charged. */
    ALLOWANCE_KEEP,   /* Telemetry: give it to allowance_keep(). */
    ALLOWANCE_DROP,   /* It would mean nothing later; counted. */
    ALLOWANCE_REFUSE, /* It asks for something: refuse in words; counted. */
};

struct allowance {
    struct quota_config quota;
    struct bucket messages, bytes, looks;
    struct grant_meter meter;
    uint8_t *held;        /* Owned; null until something had to wait. */
    uint64_t memory_next; /* What quota.memory becomes once nothing waits. */
    size_t first, used;
    uint32_t n_held;
    uint64_t n_heard, n_heard_bytes, n_dropped, n_denied;
};

void allowance_init(struct allowance *, const struct quota_config *);
void allowance_fini(struct allowance *);
/* Another quota holds; nothing that waits is lost. */
void allowance_set_quota(struct allowance *, const struct quota_config *);

/* A message that the table of rights lets a guest send. */
enum allowance_says allowance_ask(struct allowance *, const struct grant *,
                                  size_t size, nsec_t now);
/* Keeps it until it may be heard, and drops the oldest for it, counted. */
void allowance_keep(struct allowance *, unsigned type, const void *data,
                    size_t size);
/* The oldest that is kept, if it may be heard now: its rates are charged and it
 * is copied to 'out', of MSG_SIZE_MAX bytes.  Returns whether there was one. */
bool allowance_next(struct allowance *, unsigned *type_out, void *out,
                    size_t *size_out, nsec_t now);
/* Drops all that is kept, counted. */
void allowance_forget(struct allowance *);
/* When allowance_next() has one; NSEC_NEVER if none is kept. */
nsec_t allowance_deadline(const struct allowance *, nsec_t now);

/* How long it may not be looked at; 0: it may.  And what looking costs. */
nsec_t allowance_looks_wait(const struct allowance *, uint32_t n, nsec_t now);
void allowance_looked(struct allowance *, uint32_t n, nsec_t now);

/* Bytes that it has in the broker for what waits. */
size_t allowance_memory(const struct allowance *);

#endif
