/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of a session without anything between them: they meet, part, carry
 * messages over, and their events are looked at one by one. */
#ifndef TESTS_UNIT_CHANNEL_SESSION_SCENE_H
#define TESTS_UNIT_CHANNEL_SESSION_SCENE_H

#include "channel/mgmtback.h"
#include "channel/mgmtfront.h"
#include "channel/session.h"

#define MAX 8192

/* Both ends, without anything between them. */
struct pair {
    struct session front, back;
    struct mgmtback mvm;
};

int set_up(void **state);
int meet(struct pair *pair);
void part(struct session *session);
void part_both(struct pair *pair);
/* The next event, which must be of this type. */
struct mchan_event expect(struct session *session, enum mchan_event_type type);
void expect_range(struct session *session, enum mchan_event_type type,
                  uint64_t from, uint64_t to);
void expect_silence(struct session *session);
/* Carries one message over. */
void carry(struct session *from, struct session *to);
/* Puts again what the peer was not given. */
void replay(struct session *from, struct session *to);

#endif
