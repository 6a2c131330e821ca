/* SPDX-License-Identifier: Apache-2.0 */
/* What an agent measures and tells: a report for each epoch, a notice of a
 * violation before it, with or without a broker, over a full channel and after
 * a pause. On a made-up channel and clock (agent_scene.h). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/agent/agent_scene.h"

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

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
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
        CASE(long_pause_is_a_gap_in_the_epochs),
    };

    return cmocka_run_group_tests_name("agent/epochs", tests, NULL, NULL);
}
