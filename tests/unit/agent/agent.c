/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's core against a channel made up here, on a made-up clock: what it
 * says to a broker and when, and that nothing a broker does makes it stop. */
#include "agent/agent.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "include/mchan.h"
#include "probe/probe.h"
#include "probe/sim.h"
#include "wire/grant.h"
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

static int
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

static int
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

static void
event(struct bench *b, enum mchan_event_type type, const char *reason)
{
    struct mchan_event *e = &b->channel.events[b->channel.n_events++];

    memset(e, 0, sizeof *e);
    e->type = type;
    snprintf(e->reason, sizeof e->reason, "%s", reason);
    agent_on_channel(b->agent);
}

/* The session goes on over another attachment. */
static void
come_back(struct bench *b)
{
    struct mchan_event *e = &b->channel.events[b->channel.n_events];

    event(b, MCHAN_UP, "");
    e->resumed = true;
}

static void
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

static void
deliver(struct bench *b, const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];
    char why[MSG_WHY_SIZE] = "";
    ssize_t size = msg_encode(msg, 1, data, sizeof data, why, sizeof why);

    assert_true(size > 0);
    deliver_bytes(b, (uint16_t)msg->type, data, (size_t)size);
}

/* Runs each turn that the agent asks for until 'until'. */
static void
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

static void
run_ms(struct bench *b, unsigned ms)
{
    run_until(b, b->now + ms * MS);
}

static void
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

static void
welcome(struct bench *b)
{
    welcome_version(b, 1);
}

static unsigned
count_sent(const struct bench *b, enum msg_type type)
{
    unsigned n = 0;

    for (unsigned i = 0; i < b->channel.n_sent; i++) {
        n += b->channel.sent[i].type == type;
    }
    return n;
}

/* The last message sent of a type. */
static const struct msg *
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

static void
requests(struct bench *b, unsigned n, uint64_t response_us)
{
    for (unsigned i = 0; i < n; i++) {
        assert_true(probe_world_add(&b->world, b->now, response_us));
    }
}

static void
hello_is_said_when_a_broker_is_there_and_not_before(void **state)
{
    struct bench *b = *state;
    const struct msg *hello;

    run_ms(b, 2000);
    assert_int_equal(b->channel.n_sent, 0);
    event(b, MCHAN_UP, "");
    run_ms(b, 1);
    assert_int_equal(b->channel.n_sent, 1);
    hello = last_sent(b, MSG_HELLO);
    assert_int_equal(hello->hello.version_min, MSG_VERSION_MIN);
    assert_int_equal(hello->hello.version_max, MSG_VERSION_MAX);
    assert_string_equal(hello->hello.software, "test 1");
    assert_string_equal(hello->hello.claims, "web1");
    assert_int_equal(hello->hello.n_offers, 1);
    assert_string_equal(hello->hello.offers[0], "sim");
    assert_int_equal(hello->hello.time_ns, 3000 * MS);
}

static void
hello_is_repeated_when_nobody_answers(void **state)
{
    struct bench *b = *state;

    event(b, MCHAN_UP, "");
    run_ms(b, 4000);
    assert_int_equal(count_sent(b, MSG_HELLO), 1);
    run_ms(b, 2000);
    assert_int_equal(count_sent(b, MSG_HELLO), 2);
}

static void
nothing_but_hello_is_said_before_welcome(void **state)
{
    struct bench *b = *state;

    event(b, MCHAN_UP, "");
    requests(b, 10, 9000);
    run_ms(b, 1600);
    assert_int_equal(b->channel.n_sent, count_sent(b, MSG_HELLO));
}

static void
beat_follows_welcome_and_each_period(void **state)
{
    struct bench *b = *state;
    struct agent_stats stats;

    welcome(b);
    agent_stats(b->agent, &stats);
    assert_true(stats.established);
    assert_int_equal(count_sent(b, MSG_BEAT), 1);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.origin_ns, b->now);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.offset_error_ns, UINT64_MAX);
    run_ms(b, 3000);
    assert_int_equal(count_sent(b, MSG_BEAT), 4);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.number, 3);
}

static void
beats_carry_the_offset_that_answers_told(void **state)
{
    struct bench *b = *state;
    struct msg reply = {.type = MSG_BEAT_REPLY};

    welcome(b);
    reply.beat_reply.number = 0;
    reply.beat_reply.origin_ns = b->now;
    reply.beat_reply.receive_ns = b->now + 7000 * MS + 10;
    reply.beat_reply.transmit_ns = b->now + 7000 * MS + 10;
    b->now += 20;
    deliver(b, &reply);
    run_ms(b, 0); /* The first answer is told at once. */
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.number, 1);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.offset_ns, -7000 * MS);
    assert_true(last_sent(b, MSG_BEAT)->beat.offset_error_ns <= 11);
}

static void
beat_that_could_not_be_sent_is_no_beat(void **state)
{
    struct bench *b = *state;

    welcome(b);
    b->channel.send_error = -EAGAIN;
    run_ms(b, 3000);
    b->channel.send_error = 0;
    run_ms(b, 100);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.number, 1);
}

static void
new_broker_starts_with_an_unknown_offset(void **state)
{
    struct bench *b = *state;
    struct msg reply = {.type = MSG_BEAT_REPLY};

    welcome(b);
    reply.beat_reply.origin_ns = b->now;
    reply.beat_reply.receive_ns = reply.beat_reply.transmit_ns = b->now;
    deliver(b, &reply);
    run_ms(b, 1);
    event(b, MCHAN_PEER_LOST, "it left");
    welcome(b);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.offset_error_ns, UINT64_MAX);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.number, 0);
}

static void
report_tells_each_epoch(void **state)
{
    struct bench *b = *state;
    const struct msg_report *report;

    welcome(b);
    b->world.util_permille = 333;
    run_ms(b, 100);
    requests(b, 150, 1000);
    b->now += 1000;
    requests(b, 1, 2999);
    run_ms(b, 500);
    assert_int_equal(count_sent(b, MSG_REPORT), 1);
    report = &last_sent(b, MSG_REPORT)->report;
    assert_int_equal(report->epoch, 0);
    assert_int_equal(report->start_ns, 1000 * MS);
    assert_int_equal(report->end_ns, 1500 * MS);
    assert_int_equal(report->n_requests, 151);
    assert_int_equal(report->n_violations, 0);
    assert_int_equal(report->threshold_us, 3000);
    assert_int_equal(report->worst_us, 2999);
    assert_int_equal(report->worst_end_ns, 1100 * MS + 1000);
    assert_true(report->seen_ns >= report->worst_end_ns);
    assert_true(report->seen_ns <= report->worst_end_ns + 100 * MS);
    assert_int_equal(report->sent_ns, 1500 * MS);
    assert_int_equal(report->util_permille, 333);
    assert_int_equal(report->n_refused, 0);
    assert_int_equal(count_sent(b, MSG_NOTICE), 0);
}

static void
notice_of_a_violation_goes_before_the_report(void **state)
{
    struct bench *b = *state;
    const struct msg *sent = b->channel.sent;
    unsigned n;

    welcome(b);
    requests(b, 98, 1000);
    requests(b, 1, 5000);
    run_ms(b, 500);
    n = b->channel.n_sent;
    assert_int_equal(sent[n - 2].type, MSG_NOTICE);
    assert_int_equal(sent[n - 1].type, MSG_REPORT);
    assert_int_equal(sent[n - 2].notice.n_requests, 99);
    assert_int_equal(sent[n - 2].notice.n_violations, 1);
    assert_int_equal(sent[n - 2].notice.tolerated_permille, 10);
    assert_int_equal(sent[n - 2].notice.epoch, sent[n - 1].report.epoch);
    assert_int_equal(sent[n - 2].notice.sent_ns, 1500 * MS);
}

static void
tolerated_share_raises_no_notice(void **state)
{
    struct bench *b = *state;

    welcome(b);
    requests(b, 99, 1000);
    requests(b, 1, 5000);
    run_ms(b, 500);
    assert_int_equal(count_sent(b, MSG_NOTICE), 0);
    assert_int_equal(last_sent(b, MSG_REPORT)->report.n_violations, 1);
}

static void
line_written_in_the_last_moment_counts_in_its_epoch(void **state)
{
    struct bench *b = *state;

    welcome(b);
    run_until(b, 1500 * MS - 1);
    requests(b, 1, 5000);
    run_until(b, 1500 * MS);
    assert_int_equal(last_sent(b, MSG_REPORT)->report.n_requests, 1);
}

static void
request_whose_end_is_unknown_ended_when_it_was_seen(void **state)
{
    struct bench *b = *state;
    const struct msg_report *report;

    welcome(b);
    assert_true(probe_world_add(&b->world, 0, 1000));
    run_ms(b, 500);
    report = &last_sent(b, MSG_REPORT)->report;
    assert_true(report->worst_end_ns >= 1000 * MS);
    assert_int_equal(report->worst_end_ns, report->seen_ns);
}

static void
probe_with_more_to_show_is_asked_at_once(void **state)
{
    struct bench *b = *state;
    struct agent_stats stats;

    run_ms(b, 10);
    requests(b, 8000, 1000);
    run_ms(b, 70);
    agent_stats(b->agent, &stats);
    assert_int_equal(stats.n_requests, 8000);
}

static void
measuring_goes_on_without_a_broker(void **state)
{
    struct bench *b = *state;
    struct agent_stats stats;

    welcome(b);
    event(b, MCHAN_PEER_LOST, "it was killed");
    run_ms(b, 1);
    requests(b, 20, 1000);
    run_ms(b, 3000);
    agent_stats(b->agent, &stats);
    assert_false(stats.established);
    assert_int_equal(stats.n_requests, 20);
    assert_non_null(strstr(b->said, "it was killed"));
}

static void
reports_of_the_last_epochs_are_kept_for_the_next_broker(void **state)
{
    struct bench *b = *state;
    struct agent_stats stats;
    unsigned n_epochs = AGENT_REPORTS_KEPT + 4;

    run_ms(b, n_epochs * 500);
    welcome(b);
    agent_stats(b->agent, &stats);
    assert_int_equal(count_sent(b, MSG_REPORT), AGENT_REPORTS_KEPT);
    assert_int_equal(stats.n_reports_lost, n_epochs - AGENT_REPORTS_KEPT);
    /* In order, the newest last. */
    for (unsigned i = 0, epoch = 4; i < b->channel.n_sent; i++) {
        if (b->channel.sent[i].type == MSG_REPORT) {
            assert_int_equal(b->channel.sent[i].report.epoch, epoch);
            epoch++;
        }
    }
}

static void
old_violation_is_reported_but_raises_no_notice(void **state)
{
    struct bench *b = *state;

    requests(b, 5, 9000);
    run_ms(b, 2000);
    welcome(b);
    assert_int_equal(count_sent(b, MSG_NOTICE), 0);
    assert_int_equal(b->channel.sent[1].type, MSG_REPORT);
    assert_int_equal(b->channel.sent[1].report.n_violations, 5);
}

static void
violation_just_before_welcome_still_raises_a_notice(void **state)
{
    struct bench *b = *state;

    requests(b, 5, 9000);
    run_ms(b, 700);
    welcome(b);
    assert_int_equal(count_sent(b, MSG_NOTICE), 1);
}

static void
full_channel_keeps_notice_and_reports_in_order(void **state)
{
    struct bench *b = *state;
    unsigned before;

    welcome(b);
    b->channel.send_error = -EAGAIN;
    before = b->channel.n_sent;
    requests(b, 5, 9000);
    run_ms(b, 600);
    assert_int_equal(b->channel.n_sent, before);
    agent_arm(b->agent);
    assert_true(b->channel.armed & MCHAN_WRITABLE);
    b->channel.send_error = 0;
    agent_on_channel(b->agent);
    run_ms(b, 0);
    assert_int_equal(b->channel.sent[before].type, MSG_NOTICE);
    assert_int_equal(b->channel.sent[before + 1].type, MSG_REPORT);
    assert_false(agent_arm(b->agent));
    assert_false(b->channel.armed & MCHAN_WRITABLE);
}

static void
channel_full_at_hello_is_greeted_later(void **state)
{
    struct bench *b = *state;

    b->channel.send_error = -EAGAIN;
    event(b, MCHAN_UP, "");
    run_ms(b, 300);
    b->channel.send_error = 0;
    run_ms(b, 100);
    assert_int_equal(count_sent(b, MSG_HELLO), 1);
}

static void
refused_agent_asks_again_ever_less_often(void **state)
{
    struct bench *b = *state;
    struct msg refused = {.type = MSG_REFUSED};
    unsigned n_hellos[3];

    strcpy(refused.refused.reason, "you are not web1");
    for (unsigned round = 0; round < 8; round++) {
        event(b, MCHAN_UP, "");
        run_ms(b, 0);
        if (count_sent(b, MSG_HELLO)) {
            deliver(b, &refused);
            run_ms(b, 0);
        }
        n_hellos[0] = count_sent(b, MSG_HELLO);
        /* A channel that comes back at once does not shorten the wait. */
        event(b, MCHAN_PEER_LOST, "refused");
        event(b, MCHAN_UP, "");
        run_ms(b, 500);
        n_hellos[1] = count_sent(b, MSG_HELLO);
        assert_int_equal(n_hellos[0], n_hellos[1]);
        run_ms(b, 70000);
        n_hellos[2] = count_sent(b, MSG_HELLO);
        assert_true(n_hellos[2] > n_hellos[1]);
        b->channel.n_sent = 0;
    }
    assert_non_null(strstr(b->said, "you are not web1"));
    assert_non_null(strstr(b->said, "in 60 s"));
}

static void
welcome_ends_the_long_waits(void **state)
{
    struct bench *b = *state;
    struct msg refused = {.type = MSG_REFUSED};
    unsigned n;

    event(b, MCHAN_UP, "");
    run_ms(b, 0);
    for (unsigned i = 0; i < 5; i++) {
        deliver(b, &refused);
        run_ms(b, 60000);
    }
    welcome(b);
    n = count_sent(b, MSG_HELLO);
    deliver(b, &refused);
    run_ms(b, 1100);
    assert_int_equal(count_sent(b, MSG_HELLO), n + 1);
}

static void
resumed_elsewhere_the_offset_is_unknown_again(void **state)
{
    struct bench *b = *state;
    struct msg reply = {.type = MSG_BEAT_REPLY};

    welcome(b);
    reply.beat_reply.origin_ns = b->now;
    reply.beat_reply.receive_ns = reply.beat_reply.transmit_ns = b->now;
    deliver(b, &reply);
    run_ms(b, 1);
    assert_true(last_sent(b, MSG_BEAT)->beat.offset_error_ns < MS);
    event(b, MCHAN_SUSPENDING, "");
    event(b, MCHAN_RESUMED, "");
    run_ms(b, 1100);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.offset_error_ns, UINT64_MAX);
}

static void
a_resumed_session_needs_no_second_greeting(void **state)
{
    struct bench *b = *state;
    unsigned n_beats;

    welcome(b);
    n_beats = count_sent(b, MSG_BEAT);
    event(b, MCHAN_PEER_LOST, "gone");
    run_ms(b, 300);
    come_back(b);
    run_ms(b, 1);
    assert_int_equal(count_sent(b, MSG_HELLO), 1);
    /* The broker waits for a word. */
    assert_int_equal(count_sent(b, MSG_BEAT), n_beats + 1);
}

static void
who_was_not_welcomed_greets_again(void **state)
{
    struct bench *b = *state;

    event(b, MCHAN_UP, "");
    run_ms(b, 1);
    event(b, MCHAN_PEER_LOST, "gone");
    come_back(b);
    run_ms(b, 1);
    assert_int_equal(count_sent(b, MSG_HELLO), 2);
}

static void
who_was_refused_in_the_end_greets_again(void **state)
{
    struct bench *b = *state;
    struct msg refused = {.type = MSG_REFUSED};

    strcpy(refused.refused.reason, "you are not web1");
    welcome(b);
    event(b, MCHAN_PEER_LOST, "gone");
    run_ms(b, 1);
    deliver(b, &refused); /* Its last word. */
    run_ms(b, 1);
    come_back(b);
    run_ms(b, 1);
    assert_int_equal(count_sent(b, MSG_HELLO), 2);
}

static void
a_new_session_is_greeted_even_after_a_welcome(void **state)
{
    struct bench *b = *state;

    welcome(b);
    event(b, MCHAN_PEER_LOST, "gone");
    event(b, MCHAN_UP, "");
    run_ms(b, 1);
    assert_int_equal(count_sent(b, MSG_HELLO), 2);
}

static void
nothing_beats_while_it_is_suspended(void **state)
{
    struct bench *b = *state;
    unsigned n_beats;

    welcome(b);
    event(b, MCHAN_SUSPENDING, "");
    run_ms(b, 1);
    n_beats = count_sent(b, MSG_BEAT);
    run_ms(b, 20000);
    assert_int_equal(count_sent(b, MSG_BEAT), n_beats);
    assert_null(strstr(b->said, "has not answered"));
    event(b, MCHAN_RESUMED, "");
    run_ms(b, 1);
    assert_int_equal(count_sent(b, MSG_BEAT), n_beats + 1);
}

static void
late_answers_to_beats_before_a_move_are_no_fault(void **state)
{
    struct bench *b = *state;
    struct msg reply = {.type = MSG_BEAT_REPLY};

    welcome(b);
    reply.beat_reply.origin_ns = b->now;
    reply.beat_reply.receive_ns = reply.beat_reply.transmit_ns = b->now;
    event(b, MCHAN_SUSPENDING, "");
    event(b, MCHAN_RESUMED, "");
    run_ms(b, 1);
    reply.beat_reply.number = 77;
    deliver(b, &reply);
    run_ms(b, 1);
    assert_null(strstr(b->said, "answers no beat"));
    /* One was under way. */
    deliver(b, &reply);
    run_ms(b, 1);
    assert_non_null(strstr(b->said, "answers no beat"));
}

static void
welcome_to_another_version_is_no_welcome(void **state)
{
    struct bench *b = *state;
    struct msg msg = {.type = MSG_WELCOME};
    struct agent_stats stats;

    event(b, MCHAN_UP, "");
    run_ms(b, 0);
    msg.welcome.version = 99;
    msg.welcome.beat_ms = 1000;
    deliver(b, &msg);
    run_ms(b, 10);
    agent_stats(b->agent, &stats);
    assert_false(stats.established);
    assert_non_null(strstr(b->said, "version 99"));
}

static void
goodbye_of_the_broker_is_followed_by_a_new_hello(void **state)
{
    struct bench *b = *state;
    struct msg bye = {.type = MSG_BYE};
    unsigned n_reports;

    welcome(b);
    deliver(b, &bye);
    run_ms(b, 900);
    n_reports = count_sent(b, MSG_REPORT);
    assert_int_equal(n_reports, 0);
    assert_int_equal(count_sent(b, MSG_HELLO), 1);
    run_ms(b, 200);
    assert_int_equal(count_sent(b, MSG_HELLO), 2);
}

/* Beyond its rights the broker is not heard either. */
static void
what_the_broker_may_not_send_is_counted(void **state)
{
    static const uint8_t garbage[MSG_SIZE_MAX + 1];
    struct bench *b = *state;
    struct agent_stats stats;

    welcome(b);
    for (unsigned type = 0; type < 300; type++) {
        const struct grant *grant = grant_find(type, GRANT_BACK, GRANT_AGENT);

        deliver_bytes(b, (uint16_t)type, garbage, grant ? grant->size + 1 : 0);
        run_ms(b, 1);
        agent_stats(b->agent, &stats);
        assert_int_equal(stats.n_proto_errors, type + 1);
    }
    assert_true(stats.established);
}

static void
a_broker_that_says_too_much_is_not_heard_for_a_while(void **state)
{
    struct msg denied = {.type = MSG_DENIED, .denied = {.reason = "too much"}};
    struct bench *b = *state;
    struct agent_stats stats;
    uint8_t data[MSG_SIZE_MAX];
    ssize_t size = msg_encode(&denied, 3, data, sizeof data, NULL, 0);

    welcome_version(b, 3);
    for (int i = 0; i < 100; i++) {
        deliver_bytes(b, MSG_DENIED, data, (size_t)size);
        run_ms(b, 0);
    }
    agent_stats(b->agent, &stats);
    assert_int_equal(stats.n_denied, 50);
    assert_int_equal(stats.n_proto_errors, 50);
    assert_non_null(
        strstr(b->said, "DENIED comes more than 10 times a second"));
    run_ms(b, 200);
    deliver_bytes(b, MSG_DENIED, data, (size_t)size);
    run_ms(b, 0);
    agent_stats(b->agent, &stats);
    assert_int_equal(stats.n_denied, 51);
}

static void
people_are_told_what_the_broker_did_not_hear(void **state)
{
    struct msg denied = {.type = MSG_DENIED,
                         .denied = {.type = MSG_NOTICE,
                                    .n_denied = 3,
                                    .n_dropped = 44,
                                    .reason = "more than 5 a second"}};
    struct bench *b = *state;
    uint8_t data[MSG_SIZE_MAX];
    ssize_t size = msg_encode(&denied, 3, data, sizeof data, NULL, 0);
    unsigned n_said;

    welcome_version(b, 3);
    n_said = b->n_said;
    for (int i = 0; i < 7; i++) {
        deliver_bytes(b, MSG_DENIED, data, (size_t)size);
        run_ms(b, 0);
    }
    assert_int_equal(b->n_said, n_said + 3); /* 1, 2 and 4. */
    assert_non_null(strstr(b->said, "more than 5 a second"));
    assert_non_null(strstr(b->said, "refused 3 requests and dropped 44"));
}

static void
nonsense_of_the_broker_is_counted_and_survived(void **state)
{
    struct bench *b = *state;
    struct msg report = {.type = MSG_REPORT};
    struct msg reply = {.type = MSG_BEAT_REPLY};
    struct agent_stats stats;
    uint8_t noise[64];

    welcome(b);
    memset(noise, 0xa5, sizeof noise);
    deliver_bytes(b, MSG_WELCOME, noise, sizeof noise);
    deliver_bytes(b, MSG_REFUSED, noise, 0);
    deliver_bytes(b, 60000, noise, 5);
    report.report.threshold_us = 1;
    deliver(b, &report);
    reply.beat_reply.number = 77;
    deliver(b, &reply);
    run_ms(b, 600);
    agent_stats(b->agent, &stats);
    assert_int_equal(stats.n_proto_errors, 5);
    assert_true(stats.established);
    assert_int_equal(count_sent(b, MSG_REPORT), 1);
    /* Told for the first, second and fourth, not for each. */
    assert_int_equal(b->n_said, 1 + 3);
}

static void
unasked_welcome_changes_nothing(void **state)
{
    struct bench *b = *state;
    struct msg msg = {.type = MSG_WELCOME};

    welcome(b);
    msg.welcome.version = 1;
    msg.welcome.beat_ms = 10;
    deliver(b, &msg);
    run_ms(b, 1999);
    assert_int_equal(count_sent(b, MSG_BEAT), 2);
}

static void
flood_of_the_broker_is_read_in_bounded_turns(void **state)
{
    struct bench *b = *state;
    struct msg reply = {.type = MSG_BEAT_REPLY};

    welcome(b);
    for (unsigned i = 0; i < INBOX_MAX; i++) {
        deliver(b, &reply);
    }
    agent_run(b->agent, b->now);
    assert_int_equal(b->channel.n_inbox, INBOX_MAX - AGENT_MESSAGES_PER_TURN);
    assert_int_equal(agent_deadline(b->agent, b->now), b->now);
    run_ms(b, 0);
    assert_int_equal(b->channel.n_inbox, 0);
}

static void
silent_broker_is_told_of_once(void **state)
{
    struct bench *b = *state;

    welcome(b);
    run_ms(b, 10000);
    assert_non_null(strstr(b->said, "has not answered"));
    assert_int_equal(b->n_said, 2);
}

static void
stop_says_bye_once_and_then_nothing(void **state)
{
    struct bench *b = *state;

    welcome(b);
    agent_stop(b->agent, "maintenance");
    assert_string_equal(last_sent(b, MSG_BYE)->bye.reason, "maintenance");
    run_ms(b, 2000);
    event(b, MCHAN_UP, "");
    run_ms(b, 100);
    assert_int_equal(b->channel.sent[b->channel.n_sent - 1].type, MSG_BYE);
    agent_stop(b->agent, "again");
    assert_int_equal(count_sent(b, MSG_BYE), 1);
}

static void
stop_without_a_broker_says_nothing(void **state)
{
    struct bench *b = *state;

    agent_stop(b->agent, "maintenance");
    assert_int_equal(b->channel.n_sent, 0);
}

static void
channel_that_fails_to_send_is_survived(void **state)
{
    static const int errors[] = {-ENOTCONN, -EPROTO, -EMSGSIZE};
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        welcome(b);
        b->channel.send_error = errors[i];
        run_ms(b, 1200);
        event(b, MCHAN_PEER_LOST, "gone");
        run_ms(b, 100);
        b->channel.send_error = 0;
    }
    welcome(b);
    run_ms(b, 600);
    assert_true(count_sent(b, MSG_REPORT) > 0);
}

static void
long_pause_is_a_gap_in_the_epochs(void **state)
{
    struct bench *b = *state;
    struct agent_stats stats;

    welcome(b);
    run_ms(b, 600);
    b->now += 3600 * NSEC_PER_SEC; /* The guest was frozen. */
    run_ms(b, 1000);
    agent_stats(b->agent, &stats);
    assert_true(stats.n_epochs < 10);
    assert_true(stats.n_epochs_skipped > 7000);
    assert_true(last_sent(b, MSG_REPORT)->report.epoch > 7000);
}

static void
absurd_response_time_of_a_probe_is_refused(void **state)
{
    struct bench *b = *state;

    welcome(b);
    requests(b, 1, UINT64_MAX / 200);
    run_ms(b, 600);
    assert_int_equal(last_sent(b, MSG_REPORT)->report.n_requests, 0);
    assert_int_equal(last_sent(b, MSG_REPORT)->report.n_refused, 1);
}

static void
garbage_of_a_probe_is_reported_and_told(void **state)
{
    struct bench *b = *state;
    char why[160] = "";
    struct probe_request storage[4];
    struct probe_world world;
    struct option_values options;
    struct probe_env env = {.options = &options, .world = &world};

    probe_world_init(&world, storage, 4);
    options_init(&options, probe_find("sim")->options);
    assert_int_equal(
        options_set(&options, "garbage_permille", "1000", why, sizeof why), 0);
    assert_int_equal(
        agent_add_probe(b->agent, probe_find("sim"), &env, why, sizeof why), 0);
    welcome(b);
    for (unsigned i = 0; i < 3; i++) {
        probe_world_add(&world, b->now, 1000);
    }
    run_ms(b, 600);
    assert_int_equal(last_sent(b, MSG_REPORT)->report.n_requests, 0);
    assert_int_equal(last_sent(b, MSG_REPORT)->report.n_refused, 3);
    assert_non_null(strstr(b->said, "refused 3 so far"));
    /* Once a minute, however much comes. */
    probe_world_add(&world, b->now, 1000);
    run_ms(b, 50000);
    assert_null(strstr(b->said, "refused 4 so far"));
    run_ms(b, 11000);
    assert_non_null(strstr(b->said, "refused 4 so far"));
}

static void
more_probes_than_fit_are_refused(void **state)
{
    struct bench *b = *state;
    char why[160] = "";

    for (unsigned i = 1; i < AGENT_PROBES_MAX; i++) {
        assert_int_equal(agent_add_probe(b->agent, probe_find("sim"), &b->env,
                                         why, sizeof why),
                         0);
    }
    assert_int_equal(
        agent_add_probe(b->agent, probe_find("sim"), &b->env, why, sizeof why),
        -ENOSPC);
    assert_non_null(strstr(why, "8"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_the_broker_may_not_send_is_counted),
        CASE(a_broker_that_says_too_much_is_not_heard_for_a_while),
        CASE(people_are_told_what_the_broker_did_not_hear),
        CASE(hello_is_said_when_a_broker_is_there_and_not_before),
        CASE(hello_is_repeated_when_nobody_answers),
        CASE(nothing_but_hello_is_said_before_welcome),
        CASE(beat_follows_welcome_and_each_period),
        CASE(beats_carry_the_offset_that_answers_told),
        CASE(beat_that_could_not_be_sent_is_no_beat),
        CASE(new_broker_starts_with_an_unknown_offset),
        CASE(resumed_elsewhere_the_offset_is_unknown_again),
        CASE(a_resumed_session_needs_no_second_greeting),
        CASE(who_was_not_welcomed_greets_again),
        CASE(who_was_refused_in_the_end_greets_again),
        CASE(a_new_session_is_greeted_even_after_a_welcome),
        CASE(nothing_beats_while_it_is_suspended),
        CASE(late_answers_to_beats_before_a_move_are_no_fault),
        CASE(report_tells_each_epoch),
        CASE(notice_of_a_violation_goes_before_the_report),
        CASE(tolerated_share_raises_no_notice),
        CASE(line_written_in_the_last_moment_counts_in_its_epoch),
        CASE(probe_with_more_to_show_is_asked_at_once),
        CASE(request_whose_end_is_unknown_ended_when_it_was_seen),
        CASE(measuring_goes_on_without_a_broker),
        CASE(reports_of_the_last_epochs_are_kept_for_the_next_broker),
        CASE(old_violation_is_reported_but_raises_no_notice),
        CASE(violation_just_before_welcome_still_raises_a_notice),
        CASE(full_channel_keeps_notice_and_reports_in_order),
        CASE(channel_full_at_hello_is_greeted_later),
        CASE(refused_agent_asks_again_ever_less_often),
        CASE(welcome_ends_the_long_waits),
        CASE(welcome_to_another_version_is_no_welcome),
        CASE(goodbye_of_the_broker_is_followed_by_a_new_hello),
        CASE(nonsense_of_the_broker_is_counted_and_survived),
        CASE(unasked_welcome_changes_nothing),
        CASE(flood_of_the_broker_is_read_in_bounded_turns),
        CASE(silent_broker_is_told_of_once),
        CASE(stop_says_bye_once_and_then_nothing),
        CASE(stop_without_a_broker_says_nothing),
        CASE(channel_that_fails_to_send_is_survived),
        CASE(long_pause_is_a_gap_in_the_epochs),
        CASE(absurd_response_time_of_a_probe_is_refused),
        CASE(garbage_of_a_probe_is_reported_and_told),
        CASE(more_probes_than_fit_are_refused),
    };

    return cmocka_run_group_tests_name("agent/agent", tests, NULL, NULL);
}
