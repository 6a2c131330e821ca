/* SPDX-License-Identifier: Apache-2.0 */
/* The made-up channel behind include/mchan.h's functions, and an agent with a
 * simulated probe on it. A test that links this must not link the real
 * channel. Called by the tests of agent/agent.c and agent/dialog.c. */
#include "tests/unit/agent/agent_scene.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

size_t
mchan_message_max(const struct mchan *c)
{
    return c->message_max ? c->message_max : 65536;
}

int
mchan_send(struct mchan *c, const struct mchan_msg *msg)
{
    char why[MSG_WHY_SIZE] = "";

    assert_int_equal(msg->delivery, MCHAN_RELIABLE);
    if (c->send_error) {
        return c->send_error;
    }
    assert_true(c->n_sent < SENT_MAX);
    if (msg_decode(&c->sent[c->n_sent++], msg->tag, c->version ? c->version : 1,
                   msg->data, msg->size, why, sizeof why)) {
        fail_msg("the agent sent what is no message: %s", why);
    }
    return 0;
}

ssize_t
mchan_recv(struct mchan *c, void *data, size_t size, struct mchan_info *info)
{
    size_t n;

    if (!c->n_inbox) {
        return -EAGAIN;
    }
    n = c->inbox[c->first].size;
    assert_true(n <= size);
    memcpy(data, c->inbox[c->first].data, n);
    memset(info, 0, sizeof *info);
    info->tag = c->inbox[c->first].tag;
    c->first = (c->first + 1) % INBOX_MAX;
    c->n_inbox--;
    return (ssize_t)n;
}

int
mchan_next_event(struct mchan *c, struct mchan_event *out)
{
    if (!c->n_events) {
        return 0;
    }
    *out = c->events[0];
    memmove(c->events, c->events + 1, sizeof c->events[0] * --c->n_events);
    return 1;
}

int
mchan_arm(struct mchan *c, unsigned what)
{
    c->armed = what;
    return c->n_inbox || c->n_events;
}

int64_t
mchan_deadline(const struct mchan *c)
{
    return c->n_inbox || c->n_events ? 0 : INT64_MAX;
}

void
mchan_close(struct mchan *c)
{
    if (c) {
        c->closed = true;
    }
}

static nsec_t
bench_now(void *ctx)
{
    struct bench *b = ctx;

    return b->now;
}

static void
bench_say(void *ctx, enum log_level level, const char *line)
{
    struct bench *b = ctx;
    size_t used = strlen(b->said);

    b->n_said++;
    snprintf(b->said + used, sizeof b->said - used, "%s\n", line);
}

int
setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    struct agent_env env = {.ctx = b, .now = bench_now, .say = bench_say};
    struct agent_config config = {
        .sla = {.threshold_us = 3000,
                .epoch_ns = 500 * MS,
                .tolerated_permille = 10},
        .software = "test 1",
        .claims = "web1",
    };
    char why[160] = "";

    b->now = 1000 * MS;
    if (agent_create(&b->agent, &config, &env, &b->channel, b->now)) {
        return -1;
    }
    probe_world_init(&b->world, b->storage, 8192);
    options_init(&b->options, probe_find("sim")->options);
    /* Looks that don't fall together with epochs by themselves. */
    if (options_set(&b->options, "period_ms", "70", why, sizeof why)) {
        return -1;
    }
    b->env.options = &b->options;
    b->env.world = &b->world;
    if (agent_add_probe(b->agent, probe_find("sim"), &b->env, why,
                        sizeof why)) {
        return -1;
    }
    *state = b;
    return 0;
}

int
teardown(void **state)
{
    struct bench *b = *state;

    agent_destroy(b->agent);
    if (!b->channel.closed) {
        return -1;
    }
    free(b);
    return 0;
}

void
event(struct bench *b, enum mchan_event_type type, const char *reason)
{
    struct mchan_event *e = &b->channel.events[b->channel.n_events++];

    memset(e, 0, sizeof *e);
    e->type = type;
    snprintf(e->reason, sizeof e->reason, "%s", reason);
    agent_on_channel(b->agent);
}

void
come_back(struct bench *b)
{
    struct mchan_event *e = &b->channel.events[b->channel.n_events];

    event(b, MCHAN_UP, "");
    e->resumed = true;
}

void
deliver_bytes(struct bench *b, uint16_t tag, const void *data, size_t size)
{
    struct mchan *c = &b->channel;
    unsigned slot = (c->first + c->n_inbox) % INBOX_MAX;

    assert_true(c->n_inbox < INBOX_MAX);
    c->inbox[slot].tag = tag;
    c->inbox[slot].size = size;
    memcpy(c->inbox[slot].data, data, size);
    c->n_inbox++;
    agent_on_channel(b->agent);
}

void
deliver(struct bench *b, const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];
    char why[MSG_WHY_SIZE] = "";
    ssize_t size = msg_encode(msg, 1, data, sizeof data, why, sizeof why);

    assert_true(size > 0);
    deliver_bytes(b, (uint16_t)msg->type, data, (size_t)size);
}

void
run_until(struct bench *b, nsec_t until)
{
    unsigned n_turns = 0;

    for (;;) {
        nsec_t next = agent_deadline(b->agent, b->now);
        if (next > until) {
            break;
        }
        b->now = next > b->now ? next : b->now;
        agent_run(b->agent, b->now);
        assert_true(n_turns++ < 10000); /* It spins. */
    }
    b->now = until;
}

void
run_ms(struct bench *b, unsigned ms)
{
    run_until(b, b->now + ms * MS);
}

void
welcome_version(struct bench *b, unsigned version)
{
    struct msg msg = {.type = MSG_WELCOME};

    event(b, MCHAN_UP, "");
    run_ms(b, 0);
    strcpy(msg.welcome.name, "mgmt://local/vm/web1/agent");
    msg.welcome.version = version;
    msg.welcome.beat_ms = 1000;
    deliver(b, &msg);
    run_ms(b, 0);
}

void
welcome(struct bench *b)
{
    welcome_version(b, 1);
}

unsigned
count_sent(const struct bench *b, enum msg_type type)
{
    unsigned n = 0;

    for (unsigned i = 0; i < b->channel.n_sent; i++) {
        n += b->channel.sent[i].type == type;
    }
    return n;
}

const struct msg *
last_sent(const struct bench *b, enum msg_type type)
{
    for (unsigned i = b->channel.n_sent; i > 0; i--) {
        if (b->channel.sent[i - 1].type == type) {
            return &b->channel.sent[i - 1];
        }
    }
    fail_msg("no %s was sent", msg_name(type));
    return NULL;
}

void
requests(struct bench *b, unsigned n, uint64_t response_us)
{
    for (unsigned i = 0; i < n; i++) {
        assert_true(probe_world_add(&b->world, b->now, response_us));
    }
}
