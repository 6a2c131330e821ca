/* SPDX-License-Identifier: Apache-2.0 */
/* An agent's core with a channel that is made up, in place of the library's:
 * what it sends is decoded and kept, and a test puts what the broker says into
 * its inbox. The clock is made up, too; run_until() runs the turns that the
 * agent asks for, and no others. */
#ifndef TESTS_UNIT_AGENT_AGENT_SCENE_H
#define TESTS_UNIT_AGENT_AGENT_SCENE_H

#include "agent/agent.h"
#include "include/mchan.h"
#include "probe/probe.h"
#include "probe/sim.h"
#include "wire/msg.h"

#define MS NSEC_PER_MSEC
#define SENT_MAX 512
#define INBOX_MAX 64

/* The other end of the agent's channel, in the broker's place. */
struct mchan {
    struct msg sent[SENT_MAX];
    unsigned n_sent;
    struct {
        uint16_t tag;
        size_t size;
        uint8_t data[MSG_SIZE_MAX];
    } inbox[INBOX_MAX];
    unsigned first, n_inbox;
    struct mchan_event events[8];
    unsigned n_events;
    int send_error; /* What mchan_send() returns; 0: it works. */
    unsigned armed;
    size_t message_max; /* 0: as large as any. */
    unsigned version;   /* Of the protocol, as the broker chose. */
    bool closed;
};

struct bench {
    struct mchan channel;
    struct agent *agent;
    struct probe_request storage[8192];
    struct probe_world world;
    struct option_values options;
    struct probe_env env;
    nsec_t now;
    char said[8192];
    unsigned n_said;
};

int setup(void **state);
int teardown(void **state);
void event(struct bench *, enum mchan_event_type type, const char *reason);
/* The session goes on over another attachment. */
void come_back(struct bench *);
void deliver_bytes(struct bench *, uint16_t tag, const void *data, size_t size);
void deliver(struct bench *, const struct msg *msg);
/* Runs each turn that the agent asks for until 'until'. */
void run_until(struct bench *, nsec_t until);
void run_ms(struct bench *, unsigned ms);
void welcome_version(struct bench *, unsigned version);
void welcome(struct bench *);
unsigned count_sent(const struct bench *, enum msg_type type);
/* The last message sent of a type. */
const struct msg *last_sent(const struct bench *, enum msg_type type);
void requests(struct bench *, unsigned n, uint64_t response_us);

#endif
