/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of access logs: what each format says, and every way to be refused. */
#include "probe/logline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* 2023-11-14 22:13:20 UTC, and the moment the lines below are read. */
#define WALL (INT64_C(1700000000) * NSEC_PER_SEC + 700 * NSEC_PER_MSEC)

#define NGINX_TAIL                                                             \
    "127.0.0.1 - - [14/Nov/2023:22:13:20 +0000] \"GET / HTTP/1.1\" 200 612 "   \
    "\"-\" \"curl/7.88.1\""
#define HAPROXY_HEAD "Nov 14 22:13:20 lb haproxy[14389]: 10.0.1.2:33317 "
#define HAPROXY_TAIL                                                           \
    " 200 2750 - - ---- 1/1/1/1/0 0/0 {1wt.eu} {} \"GET / HTTP/1.1\""

/* Parses from memory of exactly the line's size, so that a sanitizer sees each
 * byte that is read beyond it. */
static enum logline_fault
parse_bytes(enum logline_format format, const char *line, size_t size,
            struct logline *out)
{
    char *copy = malloc(size ? size : 1);
    enum logline_fault fault;

    assert_non_null(copy);
    memcpy(copy, line, size);
    fault = logline_parse(format, copy, size, WALL, out);
    free(copy);
    return fault;
}

static enum logline_fault
parse(enum logline_format format, const char *line, struct logline *out)
{
    return parse_bytes(format, line, strlen(line), out);
}

static void
expect(enum logline_format format, const char *line, uint64_t response_us,
       nsec_t ended_wall)
{
    struct logline out;

    assert_string_equal(logline_fault_text(parse(format, line, &out)),
                        "nothing wrong");
    assert_int_equal(out.response_us, response_us);
    assert_int_equal(out.ended_wall, ended_wall);
}

/* Refused for that reason, and with '*out' untouched. */
static void
refuse(enum logline_format format, const char *line, enum logline_fault why)
{
    struct logline out = {77, 77};

    assert_string_equal(logline_fault_text(parse(format, line, &out)),
                        logline_fault_text(why));
    assert_int_equal(out.response_us, 77);
    assert_int_equal(out.ended_wall, 77);
}

static void
nginx_line_of_ours_tells_time_and_end(void **state)
{
    nsec_t ended = WALL - 577 * NSEC_PER_MSEC;

    expect(LOGLINE_NGINX, "1700000000.123 0.004 200", 4000, ended);
    expect(LOGLINE_NGINX, "1700000000.123 0.000 304", 0, ended);
    expect(LOGLINE_NGINX, "1700000000.123 12.345 499", 12345000, ended);
    expect(LOGLINE_NGINX, "1700000000.123 0.004 200\r", 4000, ended);
    expect(LOGLINE_NGINX, "1700000000.123 0.004 200 more", 4000, ended);
}

static void
nginx_combined_line_with_request_time_tells_time(void **state)
{
    expect(LOGLINE_NGINX, NGINX_TAIL " 0.017", 17000, 0);
    expect(LOGLINE_NGINX, NGINX_TAIL " 3", 3000000, 0);
}

static void
nginx_combined_line_without_request_time_is_refused(void **state)
{
    refuse(LOGLINE_NGINX, NGINX_TAIL, LOGLINE_SHAPE);
}

static void
text_of_clients_is_not_taken_for_the_response_time(void **state)
{
    /* A user agent that looks like the end of a line. */
    expect(LOGLINE_NGINX,
           "1.2.3.4 - - [14/Nov/2023:22:13:20 +0000] \"GET /[x HTTP/1.1\" 200 "
           "1 \"-\" \"Moz 0.001\" 9.000",
           9000000, 0);
    refuse(LOGLINE_NGINX,
           "1.2.3.4 - - [14/Nov/2023:22:13:20 +0000] \"GET / HTTP/1.1\" 200 "
           "1 \"-\" \"Moz 0.001\"",
           LOGLINE_SHAPE);
}

static void
apache_line_tells_microseconds(void **state)
{
    const char *common =
        "127.0.0.1 - frank [14/Nov/2023:14:13:20 -0800] \"GET /a.gif "
        "HTTP/1.0\" 200 2326 15123";
    const char *combined =
        "127.0.0.1 - frank [14/Nov/2023:14:13:20 -0800] \"GET /a.gif "
        "HTTP/1.0\" 200 2326 \"http://a.example/\" \"Mozilla/4.08\" 0";

    expect(LOGLINE_APACHE, common, 15123, 0);
    expect(LOGLINE_APACHE, combined, 0, 0);
}

static void
apache_seconds_are_not_taken_for_microseconds(void **state)
{
    refuse(LOGLINE_APACHE, NGINX_TAIL " 0.017", LOGLINE_NO_NUMBER);
}

static void
haproxy_line_tells_total_or_server_time(void **state)
{
    const char *line = HAPROXY_HEAD "[14/Nov/2023:22:13:20.500] http-in "
                                    "static/srv1 10/0/30/69/109" HAPROXY_TAIL;
    nsec_t ended = INT64_C(1700000000) * NSEC_PER_SEC + 609 * NSEC_PER_MSEC;

    expect(LOGLINE_HAPROXY_TOTAL, line, 109000, ended);
    expect(LOGLINE_HAPROXY_SERVER, line, 69000, ended);
}

static void
haproxy_local_time_is_understood_in_any_zone(void **state)
{
    nsec_t ended = INT64_C(1700000000) * NSEC_PER_SEC + 510 * NSEC_PER_MSEC;

    /* Nepal, 5:45 ahead; Newfoundland, 3:30 behind. */
    expect(LOGLINE_HAPROXY_TOTAL,
           "10.0.1.2:33317 [15/Nov/2023:03:58:20.500] f~ b/s "
           "0/0/0/10/10" HAPROXY_TAIL,
           10000, ended);
    expect(LOGLINE_HAPROXY_TOTAL,
           "10.0.1.2:33317 [14/Nov/2023:18:43:20.500] f b/s "
           "0/0/0/10/10" HAPROXY_TAIL,
           10000, ended);
}

static void
haproxy_running_total_is_read(void **state)
{
    expect(LOGLINE_HAPROXY_TOTAL,
           "10.0.1.2:33317 [14/Nov/2023:22:13:20.500] f b/s "
           "0/0/0/10/+10" HAPROXY_TAIL,
           10000, INT64_C(1700000000) * NSEC_PER_SEC + 510 * NSEC_PER_MSEC);
}

static void
haproxy_aborted_request_is_refused_as_negative(void **state)
{
    refuse(LOGLINE_HAPROXY_SERVER,
           "10.0.1.2:33317 [14/Nov/2023:22:13:20.500] f b/<NOSRV> "
           "0/-1/-1/-1/10" HAPROXY_TAIL,
           LOGLINE_NEGATIVE);
    refuse(LOGLINE_HAPROXY_TOTAL,
           "10.0.1.2:33317 [14/Nov/2023:22:13:20.500] f b/s "
           "0/0/0/1/-1" HAPROXY_TAIL,
           LOGLINE_NEGATIVE);
}

static void
haproxy_lines_of_another_shape_are_refused(void **state)
{
    /* option tcplog; a notice; a line cut within the timers. */
    refuse(LOGLINE_HAPROXY_TOTAL,
           HAPROXY_HEAD "[14/Nov/2023:22:13:20.500] fnt bck/srv1 0/0/5007 212 "
                        "-- 0/0/0/0/3 0/0",
           LOGLINE_SHAPE);
    refuse(LOGLINE_HAPROXY_TOTAL,
           "Nov 14 22:13:20 lb haproxy[14389]: Server b/s is DOWN.",
           LOGLINE_SHAPE);
    refuse(LOGLINE_HAPROXY_TOTAL,
           "1.2.3.4:5 [14/Nov/2023:22:13:20.500] f b/s 0/0/0/1", LOGLINE_SHAPE);
    refuse(LOGLINE_HAPROXY_TOTAL, "1.2.3.4:5 [14/Nov/2023:22:13:20.500] f",
           LOGLINE_SHAPE);
    refuse(LOGLINE_HAPROXY_SERVER,
           "1.2.3.4:5 [14/Nov/2023:22:13:20.500] f b/s 0/0/0/1/x 200 0",
           LOGLINE_NO_NUMBER);
    refuse(LOGLINE_HAPROXY_SERVER, "1.2.3.4:5 [14/No", LOGLINE_NO_TIME);
    refuse(LOGLINE_HAPROXY_TOTAL,
           "1.2.3.4:5 [14/Nov/2023:22:13:20.500] f b/s 0/0/0/1/1/1 200",
           LOGLINE_SHAPE);
}

static void
haproxy_dates_that_do_not_exist_are_refused(void **state)
{
    static const char *const dates[] = {
        "00/Nov/2023:22:13:20.500",  "32/Nov/2023:22:13:20.500",
        "14/Nof/2023:22:13:20.500",  "14/Nov/1969:22:13:20.500",
        "14/Nov/20233:22:13:20.5",   "14/Nov/2023:24:13:20.500",
        "14/Nov/2023:22:60:20.500",  "14/Nov/2023:22:13:61.000",
        "14/Nov/2023:22:13:20.",     "14/Nov/2023 22:13:20.500",
        "14/Nov/2023:22:13:20.500+", "xx/Nov/2023:22:13:20.500",
        "1x/Nov/2023:22:13:20.500",  "14/Nov.2023:22:13:20.500",
        "14/Nov/x:22:13:20.500",     "14/Nov/2023:x:13:20.500",
        "14/Nov/2023:22.13:20.500",  "14/Nov/2023:22:x:20.500",
        "14/Nov/2023:22:13.20.500",  "14/Nov/2023:22:13:x",
    };

    for (size_t i = 0; i < sizeof dates / sizeof dates[0]; i++) {
        char line[256] = "1.2.3.4:5 [";
        strcat(line, dates[i]);
        strcat(line, "] f b/s 0/0/0/1/1 200 0");
        refuse(LOGLINE_HAPROXY_TOTAL, line, LOGLINE_NO_TIME);
    }
}

static void
haproxy_time_that_jumps_is_refused(void **state)
{
    /* A minute ahead of us. */
    refuse(LOGLINE_HAPROXY_TOTAL,
           "1.2.3.4:5 [14/Nov/2023:22:14:20.700] f b/s 0/0/0/1/1 200 0",
           LOGLINE_TIME_JUMPS);
}

static void
empty_lines_are_refused(void **state)
{
    refuse(LOGLINE_NGINX, "", LOGLINE_EMPTY);
    refuse(LOGLINE_APACHE, "  \r", LOGLINE_EMPTY);
    refuse(LOGLINE_HAPROXY_TOTAL, "\r", LOGLINE_EMPTY);
}

static void
binary_lines_are_refused(void **state)
{
    struct logline out;
    static const char hole[] = "1700000000.123 0.004 200\0\0\0";
    char noise[256];

    assert_int_equal(parse_bytes(LOGLINE_NGINX, hole, sizeof hole, &out),
                     LOGLINE_BINARY);
    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (char)(255 - i);
    }
    assert_int_equal(parse_bytes(LOGLINE_APACHE, noise, sizeof noise, &out),
                     LOGLINE_BINARY);
    /* Without the null byte it is no line of ours either. */
    assert_int_equal(parse_bytes(LOGLINE_NGINX, noise, 255, &out),
                     LOGLINE_NO_NUMBER);
}

static void
response_times_that_are_no_numbers_are_refused(void **state)
{
    static const char *const times[] = {
        "-",    "x",   "0.", ".5", "0.0x",  "1e3",
        "0x10", "--1", "+1", "1 ", "1.2.3", "9999999999999"};

    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        char line[256] = "1700000000.123 ";
        strcat(line, times[i]);
        strcat(line, " 200");
        if (strcmp(times[i], "1 ")) {
            refuse(LOGLINE_NGINX, line, LOGLINE_NO_NUMBER);
        } else {
            refuse(LOGLINE_NGINX, line, LOGLINE_SHAPE);
        }
    }
    refuse(LOGLINE_APACHE, NGINX_TAIL " 12u", LOGLINE_NO_NUMBER);
    refuse(LOGLINE_APACHE, NGINX_TAIL " 99999999999999999999",
           LOGLINE_NO_NUMBER);
}

static void
negative_response_times_are_refused(void **state)
{
    refuse(LOGLINE_NGINX, "1700000000.123 -0.004 200", LOGLINE_NEGATIVE);
    refuse(LOGLINE_NGINX, NGINX_TAIL " -1.000", LOGLINE_NEGATIVE);
    refuse(LOGLINE_APACHE, NGINX_TAIL " -15", LOGLINE_NEGATIVE);
}

static void
response_times_over_an_hour_are_refused(void **state)
{
    struct logline out;

    assert_int_equal(parse(LOGLINE_NGINX, "1700000000.123 3600.000 200", &out),
                     LOGLINE_OK);
    refuse(LOGLINE_NGINX, "1700000000.123 3600.001 200", LOGLINE_ABSURD);
    refuse(LOGLINE_NGINX, "1700000000.123 999999999999.000 200",
           LOGLINE_ABSURD);
    refuse(LOGLINE_APACHE, NGINX_TAIL " 3600000001", LOGLINE_ABSURD);
    refuse(LOGLINE_HAPROXY_TOTAL,
           "1.2.3.4:5 [14/Nov/2023:22:13:20.500] f b/s 0/0/0/1/3600001 200 0",
           LOGLINE_ABSURD);
}

static void
time_in_the_future_or_long_ago_is_refused(void **state)
{
    struct logline out;

    assert_int_equal(parse(LOGLINE_NGINX, "1700000005.000 0.004 200", &out),
                     LOGLINE_OK);
    refuse(LOGLINE_NGINX, "1700000006.000 0.004 200", LOGLINE_TIME_JUMPS);
    assert_int_equal(parse(LOGLINE_NGINX, "1699996401.000 0.004 200", &out),
                     LOGLINE_OK);
    refuse(LOGLINE_NGINX, "1699996400.000 0.004 200", LOGLINE_TIME_JUMPS);
    refuse(LOGLINE_NGINX, "0.000 0.004 200", LOGLINE_TIME_JUMPS);
    refuse(LOGLINE_NGINX, "99999999999.999 0.004 200", LOGLINE_TIME_JUMPS);
}

static void
lines_cut_short_are_refused(void **state)
{
    const char *line = "1700000000.123 0.004 200";
    struct logline out;

    /* Any cut before the last digit but two leaves no whole number behind. */
    for (size_t size = 0; size < strlen("1700000000.123 0.004 2"); size++) {
        assert_int_not_equal(parse_bytes(LOGLINE_NGINX, line, size, &out),
                             LOGLINE_OK);
    }
    refuse(LOGLINE_NGINX, "1700000000.123 0.004 abc", LOGLINE_SHAPE);
    refuse(LOGLINE_NGINX, "1700000000.123 0.004 2000", LOGLINE_SHAPE);
    refuse(LOGLINE_NGINX, "one", LOGLINE_SHAPE);
    refuse(LOGLINE_APACHE, "15", LOGLINE_SHAPE);
}

static void
every_fault_has_words_of_its_own(void **state)
{
    for (int i = 0; i < LOGLINE_FAULT_N; i++) {
        assert_string_not_equal(logline_fault_text((enum logline_fault)i), "?");
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(logline_fault_text((enum logline_fault)i),
                                    logline_fault_text((enum logline_fault)j));
        }
    }
}

static void
a_line_that_ends_too_soon_is_refused(void **state)
{
    refuse(LOGLINE_NGINX, "1700000000.123456", LOGLINE_SHAPE);
    refuse(LOGLINE_NGINX, "1700000000.123 0.00412345678", LOGLINE_SHAPE);
    refuse(LOGLINE_NGINX, "1700000000.123 0.004 2000", LOGLINE_SHAPE);
    refuse(LOGLINE_NGINX, "1700000000.123 0.004 200x", LOGLINE_SHAPE);
    refuse(LOGLINE_NGINX, "1700000000.123 0.004 ", LOGLINE_SHAPE);
    refuse(LOGLINE_NGINX, "0.017", LOGLINE_SHAPE);
    refuse(LOGLINE_NGINX, "a 0.017", LOGLINE_SHAPE);
}

/* More places than are looked at, up to the very end of the line. */
static void
more_places_than_matter_are_passed_over(void **state)
{
    expect(LOGLINE_NGINX, NGINX_TAIL " 0.0171234567890", 17123, 0);
    refuse(LOGLINE_NGINX, NGINX_TAIL " ", LOGLINE_SHAPE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_that_ends_too_soon_is_refused),
        cmocka_unit_test(more_places_than_matter_are_passed_over),
        cmocka_unit_test(nginx_line_of_ours_tells_time_and_end),
        cmocka_unit_test(nginx_combined_line_with_request_time_tells_time),
        cmocka_unit_test(nginx_combined_line_without_request_time_is_refused),
        cmocka_unit_test(text_of_clients_is_not_taken_for_the_response_time),
        cmocka_unit_test(apache_line_tells_microseconds),
        cmocka_unit_test(apache_seconds_are_not_taken_for_microseconds),
        cmocka_unit_test(haproxy_line_tells_total_or_server_time),
        cmocka_unit_test(haproxy_local_time_is_understood_in_any_zone),
        cmocka_unit_test(haproxy_running_total_is_read),
        cmocka_unit_test(haproxy_aborted_request_is_refused_as_negative),
        cmocka_unit_test(haproxy_lines_of_another_shape_are_refused),
        cmocka_unit_test(haproxy_dates_that_do_not_exist_are_refused),
        cmocka_unit_test(haproxy_time_that_jumps_is_refused),
        cmocka_unit_test(empty_lines_are_refused),
        cmocka_unit_test(binary_lines_are_refused),
        cmocka_unit_test(response_times_that_are_no_numbers_are_refused),
        cmocka_unit_test(negative_response_times_are_refused),
        cmocka_unit_test(response_times_over_an_hour_are_refused),
        cmocka_unit_test(time_in_the_future_or_long_ago_is_refused),
        cmocka_unit_test(lines_cut_short_are_refused),
        cmocka_unit_test(every_fault_has_words_of_its_own),
    };

    return cmocka_run_group_tests_name("probe/logline", tests, NULL, NULL);
}
