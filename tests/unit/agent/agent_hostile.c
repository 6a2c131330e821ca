/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing that a broker, a channel or a probe does makes an agent stop:
 * nonsense, floods, what they may not say, failures. It is refused, counted
 * and told to people. On a made-up channel and clock (agent_scene.h). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/agent/agent_scene.h"
#include "wire/grant.h"

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
        CASE(nonsense_of_the_broker_is_counted_and_survived),
        CASE(flood_of_the_broker_is_read_in_bounded_turns),
        CASE(channel_that_fails_to_send_is_survived),
        CASE(absurd_response_time_of_a_probe_is_refused),
        CASE(garbage_of_a_probe_is_reported_and_told),
        CASE(more_probes_than_fit_are_refused),
    };

    return cmocka_run_group_tests_name("agent/hostile", tests, NULL, NULL);
}
