/* SPDX-License-Identifier: Apache-2.0 */
/* The back core with three guests behind unix sockets, an engine's place in
 * which what it is told is kept, and the guests' side of a conversation. Time
 * is made up and passes in turns() alone; waiting for what sockets bring is
 * bounded by real time. */
#ifndef TESTS_UNIT_BROKER_BACK_SCENE_H
#define TESTS_UNIT_BROKER_BACK_SCENE_H

#include <time.h>

#include "broker/back/back.h"
#include "broker/config/config.h"
#include "include/mchan.h"
#include "wire/msg.h"

#define N_GUESTS 3
#define KEPT_MAX 20000
#define PATIENCE_S 20 /* Then a test has failed. */

extern char dir[64], uris[N_GUESTS][96];
extern struct broker_config config;
extern struct guest_config guests[N_GUESTS];
extern struct back *back;
extern struct mchan *agents[N_GUESTS]; /* Borrowed; null: nobody dialled. */
extern struct msg *heard;              /* By the engine. */
extern int n_heard, engine_error;
extern nsec_t now;

int to_engine(void *ctx, const struct msg *msg);
int setup(void **state);
int teardown(void **state);
/* Lets made-up time pass, a little in each turn.  Agents' channels are moved on
 * by looking for events, which none here cares about. */
void turns(int n);
int count(enum msg_type type, int guest);
time_t real_time(void);
/* Runs turns until the engine heard that much. */
void until(enum msg_type type, int guest, int n);
struct mchan *dial(int guest);
void hang_up(struct mchan *channel);
/* Sends, turning until there is room. */
void say(struct mchan *channel, const struct msg *msg);
void say_hello(struct mchan *channel, const char *claims);
void say_report(struct mchan *channel, uint64_t epoch);
/* The next message from the broker. */
struct msg hear(struct mchan *channel);
/* A guest of a small quota. */
struct mchan *dial_small(int guest, uint32_t version);
struct back_stats stats_now(void);
void say_notice(struct mchan *channel, uint64_t epoch);
/* The messages of a type that have come to an agent by now. */
int hear_all(struct mchan *channel, enum msg_type type, struct msg *last);

#endif
