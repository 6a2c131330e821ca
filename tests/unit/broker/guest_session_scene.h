/* SPDX-License-Identifier: Apache-2.0 */
/* One guest's session with what it sends and tells kept, on a made-up clock,
 * and the messages that an agent would say in it. */
#ifndef TESTS_UNIT_BROKER_GUEST_SESSION_SCENE_H
#define TESTS_UNIT_BROKER_GUEST_SESSION_SCENE_H

#include "broker/back/guest_session.h"
#include "wire/msg.h"

#define BEAT NSEC_PER_SEC
#define KEPT_MAX 64

extern struct guest_session session;
extern struct cause_counter causes;
extern struct msg sent[KEPT_MAX], events[KEPT_MAX];
extern int n_sent, n_events, send_error;
extern nsec_t now;
extern unsigned spoken; /* The version that answers have to be in. */

int setup(void **state);
void say(const struct msg *msg);
struct msg hello(const char *claims);
struct msg report(uint64_t epoch);
struct msg notice(void);
struct msg beat(uint64_t number);
void establish(void);
struct msg note(void);
void establish_version_2(void);
void establish_version(unsigned version);

#endif
