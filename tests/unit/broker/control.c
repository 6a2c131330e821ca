/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket and its clients: bad, slow and forbidden ones are tried as
 * carefully as good ones; after each the next good request is served. */
#include "base/prng.h"
#include "tests/unit/broker/controlbench.h"

/* Bad input. */

static void
after_a_bad_request_the_next_good_one_is_served(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "null",
        "\xff",
        "{\"verb\":1}",
        "{\"verb\":\"status\",\"x\":1}",
        "GET / x",
        "{}",
        "[[[[[[[[[[[[[[[[[[[[[[[[",
    };
    struct fixture *f = *state;
    int fd = dial(f);

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *answer = ask_on(f, fd, bad[i]);
        assert_true(json_is_false(json_object_get(answer, "ok")));
        json_decref(answer);
        answer = ask_on(f, fd, "{\"verb\":\"power\"}");
        assert_true(json_is_true(json_object_get(answer, "ok")));
        json_decref(answer);
    }
    close(fd);
}

static void
an_oversized_line_is_refused_once_and_skipped(void **state)
{
    struct fixture *f = *state;
    char part[1000];
    int fd = dial(f);

    memset(part, 'x', sizeof part);
    for (int i = 0; i < 20; i++) {
        say(fd, part, sizeof part);
        control_run(f->control, f->now);
    }
    assert_error(hear(f, fd), "too long");
    say(fd, "\n", 1);
    json_t *answer = ask_on(f, fd, "{\"verb\":\"power\"}");
    assert_true(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    close(fd);
}

static void
a_line_in_single_bytes_is_one_request(void **state)
{
    static const char request[] = "{\"verb\":\"power\"}\n";
    struct fixture *f = *state;
    int fd = dial(f);

    for (size_t i = 0; i + 1 < sizeof request; i++) {
        say(fd, request + i, 1);
        control_run(f->control, f->now);
    }
    json_t *answer = hear(f, fd);
    assert_true(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    close(fd);
}

static void
many_requests_at_once_are_all_answered_in_order(void **state)
{
    struct fixture *f = *state;
    char all[100 * 40] = "";
    int fd = dial(f);

    for (int i = 0; i < 50; i++) {
        strcat(all, i % 2 ? "{\"verb\":\"power\"}\n" : "{\"verb\":\"?\"}\n");
    }
    say(fd, all, strlen(all));
    for (int i = 0; i < 50; i++) {
        json_t *answer = hear(f, fd);
        assert_int_equal(json_is_true(json_object_get(answer, "ok")), i % 2);
        json_decref(answer);
    }
    close(fd);
}

static int
asked_until_refused(struct fixture *f, int fd, const char *request, int most)
{
    for (int n = 0; n < most; n++) {
        json_t *answer = ask_on(f, fd, request);
        json_t *error = json_object_get(answer, "error");
        const char *what = json_string_value(json_object_get(error, "what"));
        bool refused = what && !strcmp(what, "this is asked too often");

        assert_non_null(answer);
        json_decref(answer);
        if (refused) {
            return n;
        }
    }
    return most;
}

static void
who_asks_too_often_is_refused_in_words_for_a_while(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f), other = dial(f);
    struct control_stats stats;

    assert_int_equal(asked_until_refused(f, fd, "{\"verb\":\"power\"}", 1000),
                     400);
    control_stats(f->control, &stats);
    assert_int_equal(stats.n_refused, 1);
    /* Another verb, and another client, have their own. */
    assert_int_equal(asked_until_refused(f, fd, "{\"verb\":\"cpus\"}", 5), 5);
    assert_int_equal(asked_until_refused(f, other, "{\"verb\":\"power\"}", 5),
                     5);
    f->now += NSEC_PER_SEC / 10;
    assert_int_equal(asked_until_refused(f, fd, "{\"verb\":\"power\"}", 1000),
                     20);
    /* What changes something may be asked less often. */
    assert_int_equal(
        asked_until_refused(f, fd, "{\"verb\":\"vm_end\",\"vm\":\"?\"}", 1000),
        100);
    close(fd);
    close(other);
}

/* One turn does a bounded part and asks for the next at once. */
static void
a_turn_is_bounded_and_the_next_is_asked_for(void **state)
{
    struct fixture *f = *state;
    struct control_stats stats;
    int fds[16];

    for (int i = 0; i < 16; i++) {
        fds[i] = dial(f);
    }
    for (int i = 0; i < 16; i++) {
        say(fds[i], "{\"verb\":\"power\"}\n", 17);
    }
    control_run(f->control, f->now);
    control_stats(f->control, &stats);
    assert_in_range(stats.n_requests, 1, 8);
    assert_int_equal(control_deadline(f->control), f->now);
    for (int i = 0; i < 16; i++) {
        json_decref(hear(f, fds[i]));
        close(fds[i]);
    }
}

/* Many rows of the journal take milliseconds each time. */
static void
a_long_answer_ends_the_turn(void **state)
{
    struct fixture *f = *state;
    struct control_stats stats;
    int fds[4];

    for (uint64_t i = 1; i <= 300; i++) {
        struct journal_row row = {.cause = UINT64_C(1) << 40 | i,
                                  .name = "TEST",
                                  .detail = "{\"a\":1}"};
        assert_int_equal(journal_add(f->journal, &row), 0);
    }
    for (int i = 0; i < 4; i++) {
        fds[i] = dial(f);
    }
    for (int i = 0; i < 4; i++) {
        say(fds[i], "{\"verb\":\"events\",\"n\":300}\n", 26);
    }
    control_run(f->control, f->now);
    control_stats(f->control, &stats);
    assert_int_equal(stats.n_requests, 1);
    assert_int_equal(control_deadline(f->control), f->now);
    for (int i = 0; i < 4; i++) {
        json_decref(hear(f, fds[i]));
        close(fds[i]);
    }
}

static void
a_greedy_client_delays_nobody_by_more_than_a_round(void **state)
{
    struct fixture *f = *state;
    char all[200 * 20] = "", byte;
    int greedy[12], fd;

    for (int i = 0; i < 200; i++) {
        strcat(all, "{\"verb\":\"power\"}\n");
    }
    for (int i = 0; i < 12; i++) {
        greedy[i] = dial(f);
        say(greedy[i], all, strlen(all));
    }
    fd = dial(f);
    say(fd, "{\"verb\":\"power\"}\n", 17);
    for (int turns = 0; turns < 5; turns++) {
        control_run(f->control, f->now);
    }
    assert_int_equal(recv(fd, &byte, 1, MSG_PEEK), 1);
    for (int i = 0; i < 12; i++) {
        close(greedy[i]);
    }
    close(fd);
}

static void
a_client_that_shuts_its_end_still_gets_its_answer(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    say(fd, "{\"verb\":\"power\"}\n", 17);
    shutdown(fd, SHUT_WR);
    json_t *answer = hear(f, fd);
    assert_true(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    assert_null(hear(f, fd));
    close(fd);
}

static void
clients_that_vanish_leave_nothing_behind(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 5 * CONTROL_CLIENTS_MAX; i++) {
        int fd = dial(f);
        if (i % 3 == 0) {
            say(fd, "{\"verb\":\"sta", 12);
        } else if (i % 3 == 1) {
            say(fd, "{\"verb\":\"plugins\"}\n", 19);
        }
        close(fd);
        control_run(f->control, f->now);
    }
    control_run(f->control, f->now);
    assert_int_equal(control_deadline(f->control), NSEC_NEVER);
    assert_still_serves(f);
}

static void
random_bytes_do_no_harm(void **state)
{
    struct fixture *f = *state;
    struct prng prng;

    prng_init(&prng, 11);
    for (int i = 0; i < 200; i++) {
        char noise[3000];
        int fd = dial(f);
        size_t n = prng_below(&prng, sizeof noise);
        for (size_t j = 0; j < n; j++) {
            noise[j] = (char)prng_below(&prng, 256);
        }
        say(fd, noise, n);
        control_run(f->control, f->now);
        control_run(f->control, f->now);
        close(fd);
    }
    assert_int_equal(f->engine.n_changes, 0);
    assert_still_serves(f);
}

/* Time. */

static void
a_half_sent_request_is_closed_after_its_time(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    say(fd, "{\"verb\":", 8);
    control_run(f->control, f->now);
    f->now += CONTROL_IDLE_NS - 1;
    /* A byte now and then does not put it off. */
    say(fd, "\"", 1);
    control_run(f->control, f->now);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(control_deadline(f->control), f->now + 1);
    f->now += 1;
    assert_error(hear(f, fd), "begun and not ended");
    assert_null(hear(f, fd));
    close(fd);
    assert_still_serves(f);
}

static void
an_idle_client_is_closed_and_a_busy_one_is_not(void **state)
{
    struct fixture *f = *state;
    int idle = dial(f), busy = dial(f);

    for (int i = 0; i < 4; i++) {
        f->now += CONTROL_IDLE_NS / 2;
        json_decref(ask_on(f, busy, "{\"verb\":\"power\"}"));
    }
    assert_error(hear(f, idle), "quiet");
    assert_null(hear(f, idle));
    json_t *answer = ask_on(f, busy, "{\"verb\":\"power\"}");
    assert_non_null(answer);
    json_decref(answer);
    close(idle);
    close(busy);
}

static void
a_client_that_reads_nothing_is_closed(void **state)
{
    struct fixture *f = *state;
    struct control_stats stats;
    int fd = dial(f);

    /* More answers than any socket buffer holds. */
    for (int i = 0; i < 3000; i++) {
        if (send(fd, "{\"verb\":\"plugins\"}\n", 19, MSG_NOSIGNAL) < 19) {
            break;
        }
        control_run(f->control, f->now);
    }
    control_stats(f->control, &stats);
    assert_true(stats.n_requests < 3000);
    f->now += CONTROL_IDLE_NS;
    control_run(f->control, f->now);
    assert_int_equal(control_deadline(f->control), NSEC_NEVER);
    close(fd);
    assert_still_serves(f);
}

/* Watching. */

static int
watch(struct fixture *f)
{
    int fd = dial(f);
    json_t *answer = ask_on(f, fd, "{\"verb\":\"watch\"}");

    assert_true(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    return fd;
}

static void
watchers_hear_every_line_in_order(void **state)
{
    struct fixture *f = *state;
    int one = watch(f), two = watch(f);

    for (int i = 0; i < 100; i++) {
        char line[40];
        snprintf(line, sizeof line, "{\"n\":%d}", i);
        control_watch(f->control, line);
    }
    for (int i = 0; i < 100; i++) {
        json_t *a = hear(f, one), *b = hear(f, two);
        assert_int_equal(json_integer_value(json_object_get(a, "n")), i);
        assert_int_equal(json_integer_value(json_object_get(b, "n")), i);
        json_decref(a);
        json_decref(b);
    }
    close(one);
    close(two);
}

static void
a_watcher_may_stay_quiet_for_ever(void **state)
{
    struct fixture *f = *state;
    int fd = watch(f);

    f->now += 1000 * CONTROL_IDLE_NS;
    control_run(f->control, f->now);
    control_watch(f->control, "{\"n\":1}");
    json_t *line = hear(f, fd);
    assert_non_null(line);
    json_decref(line);
    close(fd);
}

/* A line that says its number. */
static void
watch_number(struct fixture *f, int number)
{
    char line[800];
    int n = snprintf(line, sizeof line, "{\"n\":%d,\"x\":\"", number);

    memset(line + n, 'x', 700);
    snprintf(line + n + 700, sizeof line - (size_t)n - 700, "\"}");
    control_watch(f->control, line);
}

static void
a_slow_watcher_loses_lines_and_is_told_how_many(void **state)
{
    struct fixture *f = *state;
    int fd = watch(f), n_sent = 0, next = 0, n_lost = 0;
    char byte;

    while (n_sent < 2000) {
        watch_number(f, n_sent++);
    }
    /* It reads again: all that was kept, in order; then, before anything
     * newer, how many are missing. */
    while (next < n_sent) {
        control_run(f->control, f->now);
        if (recv(fd, &byte, 1, MSG_PEEK) < 0) {
            assert_int_equal(n_lost, 0);
            watch_number(f, n_sent++);
        }
        json_t *line = hear(f, fd);
        json_t *lost = json_object_get(line, "lost");
        if (lost) {
            n_lost = (int)json_integer_value(lost);
            next += n_lost;
        } else {
            assert_int_equal(json_integer_value(json_object_get(line, "n")),
                             next);
            next++;
        }
        json_decref(line);
    }
    assert_true(n_lost > 0);
    assert_int_equal(next, n_sent);
    close(fd);
}

static void
a_stuck_watcher_is_closed_in_the_end(void **state)
{
    struct fixture *f = *state;
    char line[1000];
    int fd = watch(f);

    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\0';
    for (int i = 0; i < 2000; i++) {
        control_watch(f->control, line);
    }
    assert_int_equal(control_deadline(f->control), f->now + CONTROL_STUCK_NS);
    f->now += CONTROL_STUCK_NS;
    control_run(f->control, f->now);
    assert_int_equal(control_deadline(f->control), NSEC_NEVER);
    close(fd);
}

static void
a_watcher_that_leaves_is_forgotten(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 2 * CONTROL_CLIENTS_MAX; i++) {
        int fd = watch(f);
        close(fd);
        control_watch(f->control, "{\"n\":1}");
        control_run(f->control, f->now);
    }
    assert_still_serves(f);
}

/* Rights and places. */

static void
a_stranger_is_turned_away_and_journalled_once_a_second(void **state)
{
    struct fixture *f = *state;
    struct control_stats stats;

    for (int i = 0; i < 5; i++) {
        int fd = dial_as(f, NOBODY, NOBODY);
        assert_error(hear(f, fd), "not permitted");
        assert_null(hear(f, fd));
        close(fd);
        f->now += 10 * NSEC_PER_MSEC;
    }
    control_stats(f->control, &stats);
    assert_int_equal(stats.n_denied, 5);
    f->now += NSEC_PER_SEC;
    close(dial_as(f, NOBODY, NOBODY));
    f->now += 10 * NSEC_PER_MSEC;

    json_t *data = ask(f, "{\"verb\":\"events\"}");
    json_t *rows = json_object_get(data, "rows");
    assert_int_equal(json_array_size(rows), 2);
    json_t *detail = json_object_get(json_array_get(rows, 1), "detail");
    assert_int_equal(json_integer_value(json_object_get(detail, "uid")),
                     NOBODY);
    assert_int_equal(json_integer_value(json_object_get(detail, "times")), 5);
    assert_string_equal(text_of(detail, "asked"), "connect");
    json_decref(data);
}

/* However many come at once: turning them away costs a bounded time, and who
 * may come waits a moment. */
static void
a_flood_of_strangers_is_answered_now_and_then(void **state)
{
    struct fixture *f = *state;
    struct control_stats stats;

    for (int i = 0; i < 20; i++) {
        close(dial_as(f, NOBODY, NOBODY));
    }
    control_stats(f->control, &stats);
    assert_int_equal(stats.n_denied, 1);
    assert_true(control_deadline(f->control) > f->now);
    assert_true(control_deadline(f->control) <= f->now + NSEC_PER_SEC / 10);
    int fd = dial(f);
    say(fd, "{\"verb\":\"power\"}\n", 17);
    for (int i = 0; i < 5; i++) {
        f->now = nsec_min(control_deadline(f->control), f->now + NSEC_PER_SEC);
        control_run(f->control, f->now);
    }
    json_t *answer = hear(f, fd);
    assert_true(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    close(fd);
}

static void
restart_with_groups(struct fixture *f)
{
    struct rights rights = {
        .owner = geteuid(), .has_control = true, .control_gid = READERS_GID};

    control_destroy(f->control);
    start_control(f, &rights);
}

static void
a_reader_may_look_and_change_nothing(void **state)
{
    static const char *const changes[] = {
        "{\"verb\":\"policy_set\",\"name\":\"none\"}",
        "{\"verb\":\"vm_start\",\"vm\":\"web0\"}",
        "{\"verb\":\"vm_freeze\",\"vm\":\"web0\"}",
        "{\"verb\":\"vm_thaw\",\"vm\":\"web0\"}",
        "{\"verb\":\"vm_end\",\"vm\":\"web0\"}"};
    struct fixture *f = *state;

    restart_with_groups(f);
    int fd = dial_as(f, NOBODY, READERS_GID);
    for (size_t i = 0; i < 5; i++) {
        assert_error(ask_on(f, fd, changes[i]), "not permitted");
        json_t *answer = ask_on(f, fd, "{\"verb\":\"status\"}");
        assert_true(json_is_true(json_object_get(answer, "ok")));
        json_decref(answer);
    }
    assert_int_equal(f->engine.n_changes, 0);
    close(fd);
}

static void
places_are_kept_for_those_who_may_change_things(void **state)
{
    struct fixture *f = *state;
    int fds[CONTROL_CLIENTS_MAX];
    int n = CONTROL_CLIENTS_MAX - CONTROL_CLIENTS_RESERVED;

    restart_with_groups(f);
    for (int i = 0; i < n; i++) {
        fds[i] = dial_as(f, NOBODY, READERS_GID);
    }
    int one_more = dial_as(f, NOBODY, READERS_GID);
    assert_error(hear(f, one_more), "busy");
    close(one_more);
    assert_still_serves(f);
    for (int i = 0; i < n; i++) {
        close(fds[i]);
    }
}

static void
a_client_too_many_is_told_so(void **state)
{
    struct fixture *f = *state;
    int fds[CONTROL_CLIENTS_MAX];

    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        fds[i] = dial(f);
    }
    int one_more = dial(f);
    assert_error(hear(f, one_more), "busy");
    assert_null(hear(f, one_more));
    close(one_more);
    close(fds[0]);
    control_run(f->control, f->now);
    assert_still_serves(f);
    for (int i = 1; i < CONTROL_CLIENTS_MAX; i++) {
        close(fds[i]);
    }
}

/* The listening socket. */

static void
a_second_broker_at_the_same_socket_is_refused(void **state)
{
    struct fixture *f = *state;
    char why[256] = "";

    assert_int_equal(control_listen(f->path, why, sizeof why), -EADDRINUSE);
    assert_non_null(strstr(why, "another broker"));
    assert_non_null(strstr(why, f->path));
    assert_still_serves(f);
}

static void
a_socket_left_behind_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct rights rights = {.owner = geteuid()};

    control_destroy(f->control);
    assert_int_equal(access(f->path, F_OK), 0);
    start_control(f, &rights);
    assert_still_serves(f);
}

static void
a_path_too_long_for_a_socket_is_named(void **state)
{
    char path[200], why[400] = "";

    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    assert_int_equal(control_listen(path, why, sizeof why), -ENAMETOOLONG);
    assert_non_null(strstr(why, "shorter"));
    assert_int_equal(control_listen("/no/such/dir/s", why, sizeof why),
                     -ENOENT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(after_a_bad_request_the_next_good_one_is_served),
        TEST(an_oversized_line_is_refused_once_and_skipped),
        TEST(a_line_in_single_bytes_is_one_request),
        TEST(many_requests_at_once_are_all_answered_in_order),
        TEST(who_asks_too_often_is_refused_in_words_for_a_while),
        TEST(a_turn_is_bounded_and_the_next_is_asked_for),
        TEST(a_long_answer_ends_the_turn),
        TEST(a_greedy_client_delays_nobody_by_more_than_a_round),
        TEST(a_client_that_shuts_its_end_still_gets_its_answer),
        TEST(clients_that_vanish_leave_nothing_behind),
        TEST(random_bytes_do_no_harm),
        TEST(a_half_sent_request_is_closed_after_its_time),
        TEST(an_idle_client_is_closed_and_a_busy_one_is_not),
        TEST(a_client_that_reads_nothing_is_closed),
        TEST(watchers_hear_every_line_in_order),
        TEST(a_watcher_may_stay_quiet_for_ever),
        TEST(a_slow_watcher_loses_lines_and_is_told_how_many),
        TEST(a_stuck_watcher_is_closed_in_the_end),
        TEST(a_watcher_that_leaves_is_forgotten),
        TEST(a_stranger_is_turned_away_and_journalled_once_a_second),
        TEST(a_flood_of_strangers_is_answered_now_and_then),
        TEST(a_reader_may_look_and_change_nothing),
        TEST(places_are_kept_for_those_who_may_change_things),
        TEST(a_client_too_many_is_told_so),
        TEST(a_second_broker_at_the_same_socket_is_refused),
        TEST(a_socket_left_behind_is_replaced),
        TEST(a_path_too_long_for_a_socket_is_named),
    };

    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
