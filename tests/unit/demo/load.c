/* SPDX-License-Identifier: Apache-2.0 */
/* What the demo's load generator counts with: the ends of replies, the moments
 * of requests, and response times. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "demo/curve.h"
#include "demo/latency.h"
#include "demo/reply.h"

/* Replies. */

static const char chunked[] = "HTTP/1.1 200 OK\r\n"
                              "Server: x\r\n"
                              "Transfer-Encoding: chunked\r\n\r\n"
                              "5\r\nhello\r\n"
                              "A;x=y\r\n0123456789\r\n"
                              "0\r\nTrailer: y\r\n\r\n";
static const char counted[] = "HTTP/1.1 404 Not Found\r\n"
                              "content-length: 7\r\n"
                              "Connection: close\r\n\r\n"
                              "absent\n";

static void
chunked_reply_ends_after_its_last_chunk(void **state)
{
    struct reply reply;
    size_t used;

    reply_init(&reply);
    assert_int_equal(reply_feed(&reply, chunked, sizeof chunked - 1, &used), 1);
    assert_int_equal(used, sizeof chunked - 1);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.body_size, 15);
    assert_false(reply.close);
}

static void
counted_reply_ends_after_its_length(void **state)
{
    char two[sizeof counted + 20];
    struct reply reply;
    size_t used;

    snprintf(two, sizeof two, "%sHTTP/1.1 200 OK\r\n", counted);
    reply_init(&reply);
    assert_int_equal(reply_feed(&reply, two, strlen(two), &used), 1);
    assert_int_equal(used, sizeof counted - 1);
    assert_int_equal(reply.status, 404);
    assert_int_equal(reply.body_size, 7);
    assert_true(reply.close);
}

static void
empty_reply_ends_with_its_headers(void **state)
{
    const char *text = "HTTP/1.1 204 No Content\r\n\r\n";
    struct reply reply;
    size_t used;

    reply_init(&reply);
    assert_int_equal(reply_feed(&reply, text, strlen(text), &used), 1);
    assert_int_equal(used, strlen(text));
}

static void
reply_may_come_in_any_pieces(void **state)
{
    struct reply reply;

    for (size_t piece = 1; piece < sizeof chunked; piece++) {
        size_t at = 0, used;
        int over = 0;

        reply_init(&reply);
        while (at < sizeof chunked - 1) {
            size_t left = sizeof chunked - 1 - at;

            assert_int_equal(over, 0);
            over = reply_feed(&reply, chunked + at, piece < left ? piece : left,
                              &used);
            at += used;
        }
        assert_int_equal(over, 1);
        assert_int_equal(reply.body_size, 15);
    }
}

static void
refused(const char *text)
{
    struct reply reply;
    size_t used;

    reply_init(&reply);
    int over = reply_feed(&reply, text, strlen(text), &used);
    if (over != -EPROTO) {
        fail_msg("\"%s\" gave %d", text, over);
    }
}

static void
what_is_no_reply_is_refused(void **state)
{
    refused("ICY 200 OK\r\n");
    refused("HTTP/1.1 x00\r\n");
    refused("HTTP/1.1 200 OK\r\nno colon here\r\n");
    refused("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n");
    refused("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n");
    refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: br\r\n");
    refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            "fffffffffffffffff\r\n");
    refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            "1\r\nab\r\n");
}

static void
gigantic_header_is_cut_and_survived(void **state)
{
    char text[8192];
    struct reply reply;
    size_t used;

    int n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nX: ");
    memset(text + n, 'x', 6000);
    snprintf(text + n + 6000, sizeof text - (size_t)n - 6000,
             "\r\nContent-Length: 1\r\n\r\n!");
    reply_init(&reply);
    assert_int_equal(reply_feed(&reply, text, strlen(text), &used), 1);
    assert_int_equal(reply.body_size, 1);
}

/* Arrivals. */

static void
make_curve(struct curve *curve, const char *text, double peak, double seconds)
{
    assert_int_equal(curve_parse(curve, text), 0);
    curve->peak = peak;
    curve->length = (nsec_t)(seconds * 1e9);
}

static void
curve_is_straight_between_its_points(void **state)
{
    struct curve curve;

    make_curve(&curve, "0 1, 0.5", 200, 10);
    assert_true(curve_rate(&curve, 0) == 0);
    assert_true(curve_rate(&curve, 2500 * NSEC_PER_MSEC) == 100);
    assert_true(curve_rate(&curve, 5 * NSEC_PER_SEC) == 200);
    assert_true(curve_rate(&curve, 7500 * NSEC_PER_MSEC) == 150);
    assert_true(curve_rate(&curve, 10 * NSEC_PER_SEC) == 100);
    assert_true(curve_rate(&curve, 99 * NSEC_PER_SEC) == 100);
}

static void
curves_that_are_none_are_refused(void **state)
{
    struct curve curve;
    char many[512] = "";

    assert_int_equal(curve_parse(&curve, ""), -EINVAL);
    assert_int_equal(curve_parse(&curve, "0.5 x"), -EINVAL);
    assert_int_equal(curve_parse(&curve, "1.5"), -EINVAL);
    assert_int_equal(curve_parse(&curve, "-0.1"), -EINVAL);
    for (int i = 0; i <= CURVE_POINTS_MAX; i++) {
        strcat(many, "1 ");
    }
    assert_int_equal(curve_parse(&curve, many), -EINVAL);
}

static void
same_seed_is_the_same_load(void **state)
{
    struct arrivals one, two, other;
    struct curve curve;
    bool differs = false;

    make_curve(&curve, "0.2 1 0.2", 500, 5);
    arrivals_init(&one, &curve, 7);
    arrivals_init(&two, &curve, 7);
    arrivals_init(&other, &curve, 8);
    for (;;) {
        nsec_t at = arrivals_next(&one);

        assert_true(at == arrivals_next(&two));
        differs |= at != arrivals_next(&other);
        if (at == NSEC_NEVER) {
            break;
        }
    }
    assert_true(differs);
}

static void
arrivals_follow_the_curve_and_are_poisson(void **state)
{
    struct arrivals arrivals;
    struct curve curve;
    double sum = 0, square = 0;
    nsec_t at, last = 0;
    unsigned n = 0, rising = 0;

    make_curve(&curve, "0 1", 2000, 100);
    arrivals_init(&arrivals, &curve, 1);
    while ((at = arrivals_next(&arrivals)) != NSEC_NEVER) {
        /* The area so far is what a Poisson process counts evenly. */
        double area = (double)at * (double)at - (double)last * (double)last;
        double expected = area / 1e18 * 2000 / 100 / 2;

        assert_true(at >= last && at < curve.length);
        sum += expected;
        square += expected * expected;
        rising += at > curve.length / 2;
        last = at;
        n++;
    }
    assert_in_range(n, 98500, 101500); /* 100,000, five deviations. */
    assert_true((double)rising / n > 0.74 && (double)rising / n < 0.76);
    double mean = sum / n, variance = square / n - mean * mean;
    assert_true(mean > 0.98 && mean < 1.02);
    assert_true(variance > 0.95 && variance < 1.05);
}

static void
no_rate_is_no_request(void **state)
{
    struct arrivals arrivals;
    struct curve curve;

    make_curve(&curve, "1", 0, 5);
    arrivals_init(&arrivals, &curve, 1);
    assert_true(arrivals_next(&arrivals) == NSEC_NEVER);
    make_curve(&curve, "0", 100, 5);
    arrivals_init(&arrivals, &curve, 1);
    assert_true(arrivals_next(&arrivals) == NSEC_NEVER);
}

/* Response times. */

static void
quantiles_are_right_to_three_percent(void **state)
{
    static struct latency latency;

    for (uint64_t us = 1; us <= 100000; us++) {
        latency_add(&latency, us, 3000);
    }
    for (double share = 0.01; share <= 1; share += 0.01) {
        double found = (double)latency_quantile(&latency, share);

        assert_true(found >= share * 100000 * 0.999);
        assert_true(found <= share * 100000 * 1.033);
    }
    assert_int_equal(latency.n_over, 97000);
    assert_int_equal(latency.max_us, 100000);
}

static void
response_at_the_threshold_is_in_time(void **state)
{
    struct latency latency = {.n = 0};

    latency_add(&latency, 3000, 3000);
    assert_int_equal(latency.n_over, 0);
    latency_add(&latency, 3001, 3000);
    assert_int_equal(latency.n_over, 1);
}

static void
latencies_are_added_up(void **state)
{
    static struct latency one, two, both;

    latency_add(&one, 10, 100);
    latency_add(&two, 1000, 100);
    latency_add(&two, UINT64_C(1) << 50, 100);
    latency_merge(&both, &one);
    latency_merge(&both, &two);
    assert_int_equal(both.n, 3);
    assert_int_equal(both.n_over, 2);
    assert_true(both.max_us == UINT64_C(1) << 50);
    assert_int_equal(latency_quantile(&both, 0.3), 10);
    assert_in_range(latency_quantile(&both, 0.6), 1000, 1031);
}

static void
nothing_has_no_quantile(void **state)
{
    struct latency latency = {.n = 0};

    assert_int_equal(latency_quantile(&latency, 0.5), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunked_reply_ends_after_its_last_chunk),
        cmocka_unit_test(counted_reply_ends_after_its_length),
        cmocka_unit_test(empty_reply_ends_with_its_headers),
        cmocka_unit_test(reply_may_come_in_any_pieces),
        cmocka_unit_test(what_is_no_reply_is_refused),
        cmocka_unit_test(gigantic_header_is_cut_and_survived),
        cmocka_unit_test(curve_is_straight_between_its_points),
        cmocka_unit_test(curves_that_are_none_are_refused),
        cmocka_unit_test(same_seed_is_the_same_load),
        cmocka_unit_test(arrivals_follow_the_curve_and_are_poisson),
        cmocka_unit_test(no_rate_is_no_request),
        cmocka_unit_test(quantiles_are_right_to_three_percent),
        cmocka_unit_test(response_at_the_threshold_is_in_time),
        cmocka_unit_test(latencies_are_added_up),
        cmocka_unit_test(nothing_has_no_quantile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
