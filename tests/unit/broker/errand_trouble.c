/* SPDX-License-Identifier: Apache-2.0 */
/* Errands when the system refuses, the steward says what is no answer, or goes
 * away in the middle: who runs the errand gets an error and nothing that was
 * said.  Answers are written before they are asked for, since their numbers are
 * known. */
#include "broker/role/errand.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/scarce.h"

#define GUESTS 2

static int ends[2]; /* The platform's, the steward's. */
static struct errands errands;
static struct errand_answer answer;
static struct hypervisor_found found[GUESTS];
static char why[CONFIG_WHY_SIZE];

static int
set_up(void **state)
{
    memset(&errands, 0, sizeof errands);
    memset(&answer, 0, sizeof answer);
    memset(found, 0, sizeof found);
    why[0] = '\0';
    if (errand_pair(ends)) {
        return -1;
    }
    errands.fd = ends[0];
    answer.number = 1;
    return 0;
}

static int
tear_down(void **state)
{
    close(ends[0]);
    close(ends[1]);
    return 0;
}

/* As many bytes of the answer as the test likes. */
static void
steward_says(size_t size)
{
    assert_int_equal(send(ends[1], &answer, size, 0), size);
}

static size_t
whole(uint32_t n)
{
    return offsetof(struct errand_answer, found) + n * sizeof answer.found[0];
}

static int
start(void)
{
    return errands_helper.start(&errands, 0, found, why, sizeof why);
}

static void
a_pair_is_whole_or_not_there(void **state)
{
    int pair[2];

    scarce_arm("socketpair", 1, EMFILE);
    assert_int_equal(errand_pair(pair), -EMFILE);
    assert_true(scarce_disarm());
    for (unsigned n = 1; n <= 2; n++) {
        scarce_arm("setsockopt", n, ENOBUFS);
        int error = errand_pair(pair);
        if (!scarce_disarm()) {
            assert_int_equal(error, 0);
            close(pair[0]);
            close(pair[1]);
        } else {
            assert_int_equal(error, -ENOBUFS);
        }
    }
}

static void
an_answer_of_another_length_is_none(void **state)
{
    answer.n_found = 1;
    strcpy(answer.why, "not to be told");
    static const int off[] = {-1, 1, 0};
    for (size_t i = 0; i < 2; i++) {
        answer.number = errands.n_sent + 1;
        steward_says(whole(1) + (size_t)off[i]);
        assert_int_equal(start(), -EPROTO);
        assert_string_equal(why, "the steward does not answer");
    }
    answer.number = errands.n_sent + 1;
    steward_says(1);
    assert_int_equal(start(), -EPROTO);
    answer.number = errands.n_sent + 1;
    answer.n_found = UINT32_MAX;
    steward_says(whole(1));
    assert_int_equal(start(), -EPROTO);
    assert_int_equal(found[0].pid, 0);
}

static void
as_many_are_found_as_were_asked_for(void **state)
{
    answer.n_found = 1;
    steward_says(whole(1));
    assert_int_equal(errands_helper.find(&errands, found, GUESTS), -EPROTO);
    answer.number = 2;
    answer.n_found = 2;
    answer.found[1].pid = 5;
    steward_says(whole(2));
    assert_int_equal(errands_helper.find(&errands, found, GUESTS), 0);
    assert_int_equal(found[1].pid, 5);
    answer.number = 3;
    answer.error = -EIO;
    steward_says(whole(2));
    assert_int_equal(errands_helper.find(&errands, found, GUESTS), -EIO);
}

static void
who_is_interrupted_goes_on_waiting(void **state)
{
    answer.n_found = 1;
    answer.found[0].pid = 7;
    steward_says(whole(1));
    scarce_arm("recv", 1, EINTR);
    assert_int_equal(start(), 0);
    assert_true(scarce_disarm());
    assert_int_equal(found[0].pid, 7);
}

static void
what_the_system_refuses_is_told(void **state)
{
    scarce_arm("recv", 1, EAGAIN); /* As after ERRAND_PATIENCE_S. */
    assert_int_equal(start(), -EAGAIN);
    assert_true(scarce_disarm());
    scarce_arm("send", 1, ENOBUFS);
    assert_int_equal(start(), -ENOBUFS);
    assert_true(scarce_disarm());
    answer.number = errands.n_sent + 1;
    shutdown(ends[1], SHUT_WR);
    assert_int_equal(start(), -EPIPE);
}

static void
the_steward_tells_none_from_gone(void **state)
{
    static const struct {
        int error, told;
    } rows[] = {{EAGAIN, 0}, {EINTR, 0}, {EBADF, -EPIPE}};
    struct errand errand = {.number = 77};

    for (size_t i = 0; i < 3; i++) {
        scarce_arm("recv", 1, rows[i].error);
        assert_int_equal(errand_take(ends[1], GUESTS, &errand), rows[i].told);
        assert_true(scarce_disarm());
        assert_int_equal(errand.number, 77);
    }
    scarce_arm("send", 1, ENOBUFS);
    assert_int_equal(errand_answer(ends[1], &errand, &answer), -ENOBUFS);
    assert_true(scarce_disarm());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_pair_is_whole_or_not_there),
        TEST(an_answer_of_another_length_is_none),
        TEST(as_many_are_found_as_were_asked_for),
        TEST(who_is_interrupted_goes_on_waiting),
        TEST(what_the_system_refuses_is_told),
        TEST(the_steward_tells_none_from_gone),
    };

    return cmocka_run_group_tests_name("errand_trouble", tests, NULL, NULL);
}
