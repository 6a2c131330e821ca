/* SPDX-License-Identifier: Apache-2.0 */
/* The hostile guest of hostile_shm.c and hostile_loan.c: maps the rings of a
 * scene and behaves, up to where its test wants it not to. */
#ifndef TESTS_CHANNEL_RINGPEER_H
#define TESTS_CHANNEL_RINGPEER_H

#include "base/record.h"
#include "scene.h"

/* Bytes of the memory before the rings. */
#define RINGPEER_WORDS 4096u

/* Knocks and maps what is handed over; the channel's opts say how large. */
void ringpeer_connect(struct scene *);
void ringpeer_leave(struct scene *);
void ringpeer_wake(struct scene *);
/* Writes a record and wakes the other end. */
void ringpeer_put(struct scene *, const struct record *, const void *data);
/* Comes anew, up to and with HELLO; 0: no loans. */
void ringpeer_come_up(struct scene *, uint64_t loan_bytes);

#endif
