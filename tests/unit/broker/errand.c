/* SPDX-License-Identifier: Apache-2.0 */
/* Errands between platform and steward: what is none is refused before anything
 * is done for it, and an answer that is none, or another's, helps nobody. */
#include "broker/role/errand.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define GUESTS 3

static int ends[2]; /* Platform's, the steward's. */
static struct errands errands;

static int
setup(void **state)
{
    (void)state;
    memset(&errands, 0, sizeof errands);
    if (errand_pair(ends)) {
        return -1;
    }
    errands.fd = ends[0];
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static int
say(const void *data, size_t size)
{
    struct errand errand = {.number = 77};

    assert_int_equal(send(ends[0], data, size, 0), size);
    int got = errand_take(ends[1], GUESTS, &errand);
    if (got != 1) {
        assert_int_equal(errand.number, 77); /* Untouched. */
    }
    return got;
}

static void
what_is_no_errand_is_refused(void **state)
{
    struct errand errand = {.number = 1, .op = ERRAND_START, .guest = 0};
    char much[4096] = {0};

    (void)state;
    assert_int_equal(say(&errand, sizeof errand), 1);
    assert_int_equal(say(&errand, sizeof errand - 1), -EPROTO);
    assert_int_equal(say(much, sizeof much), -EPROTO);
    assert_int_equal(say(much, 1), -EPROTO);
    errand.op = ERRAND_OPS;
    assert_int_equal(say(&errand, sizeof errand), -EPROTO);
    errand.op = UINT32_MAX;
    assert_int_equal(say(&errand, sizeof errand), -EPROTO);
}

static void
only_guests_of_the_configuration_have_errands(void **state)
{
    (void)state;
    for (uint32_t op = ERRAND_START; op < ERRAND_OPS; op++) {
        struct errand errand = {.op = op, .guest = GUESTS - 1};

        assert_int_equal(say(&errand, sizeof errand), 1);
        if (op == ERRAND_RENEW) {
            continue; /* Of all guests. */
        }
        errand.guest = GUESTS;
        assert_int_equal(say(&errand, sizeof errand), -EPROTO);
        errand.guest = UINT32_MAX;
        assert_int_equal(say(&errand, sizeof errand), -EPROTO);
    }
}

static void
none_now_is_not_none_any_more(void **state)
{
    struct errand errand;

    (void)state;
    assert_int_equal(errand_take(ends[1], GUESTS, &errand), 0);
    close(ends[0]);
    assert_int_equal(errand_take(ends[1], GUESTS, &errand), -EPIPE);
    ends[0] = -1;
}

/* The steward, for one errand, after 'first' was said. */
struct steward {
    struct errand_answer first; /* Said before, if its n_found is not 0. */
    struct errand_answer answer;
    struct errand heard;
};

static void *
serve(void *ctx)
{
    struct steward *steward = ctx;

    while (!errand_take(ends[1], GUESTS, &steward->heard)) {
        usleep(1000);
    }
    if (steward->first.n_found) {
        struct errand other = {.number = steward->heard.number - 1};

        errand_answer(ends[1], &other, &steward->first);
    }
    errand_answer(ends[1], &steward->heard, &steward->answer);
    return NULL;
}

static int
start_with(struct steward *steward, struct hypervisor_found *out, char *why)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, serve, steward), 0);
    int error = errands_helper.start(&errands, 2, out, why, CONFIG_WHY_SIZE);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return error;
}

static void
an_errand_is_run_and_answered(void **state)
{
    static struct steward steward;
    struct hypervisor_found out;
    char why[CONFIG_WHY_SIZE];

    (void)state;
    memset(&steward, 0, sizeof steward);
    steward.answer.n_found = 1;
    steward.answer.found[0] =
        (struct hypervisor_found){.pid = 42, .start = 43, .ours = true};
    assert_int_equal(start_with(&steward, &out, why), 0);
    assert_int_equal(steward.heard.op, ERRAND_START);
    assert_int_equal(steward.heard.guest, 2);
    assert_int_equal(out.pid, 42);
    assert_int_equal(out.start, 43);
    assert_true(out.ours);
}

static void
an_answer_that_comes_late_is_not_the_next_ones(void **state)
{
    static struct steward steward;
    struct hypervisor_found out;
    char why[CONFIG_WHY_SIZE];

    (void)state;
    memset(&steward, 0, sizeof steward);
    steward.first.n_found = 1;
    steward.first.found[0].pid = 1;
    steward.answer.n_found = 1;
    steward.answer.found[0].pid = 42;
    assert_int_equal(start_with(&steward, &out, why), 0);
    assert_int_equal(out.pid, 42);
}

static void
a_refusal_comes_with_its_words(void **state)
{
    static struct steward steward;
    struct hypervisor_found out = {.pid = 9};
    char why[CONFIG_WHY_SIZE];

    (void)state;
    memset(&steward, 0, sizeof steward);
    steward.answer.error = -ENOMEM;
    strcpy(steward.answer.why, "no room for it");
    assert_int_equal(start_with(&steward, &out, why), -ENOMEM);
    assert_string_equal(why, "no room for it");
    assert_int_equal(out.pid, 9);
}

static void
an_answer_about_other_guests_is_none(void **state)
{
    static struct steward steward;
    struct hypervisor_found out = {.pid = 9};
    char why[CONFIG_WHY_SIZE];

    (void)state;
    memset(&steward, 0, sizeof steward);
    steward.answer.n_found = 2;
    assert_int_equal(start_with(&steward, &out, why), -EPROTO);
    assert_int_equal(out.pid, 9);
}

static void
a_steward_that_is_gone_is_no_reason_to_wait(void **state)
{
    struct hypervisor_found out[GUESTS];
    char why[CONFIG_WHY_SIZE];

    (void)state;
    close(ends[1]);
    ends[1] = -1;
    assert_true(errands_helper.find(&errands, out, GUESTS) < 0);
    assert_true(errands_helper.start(&errands, 0, out, why, sizeof why) < 0);
    assert_string_equal(why, "the steward does not answer");
    errands_helper.forget(&errands, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_no_errand_is_refused),
        TEST(only_guests_of_the_configuration_have_errands),
        TEST(none_now_is_not_none_any_more),
        TEST(an_errand_is_run_and_answered),
        TEST(an_answer_that_comes_late_is_not_the_next_ones),
        TEST(a_refusal_comes_with_its_words),
        TEST(an_answer_about_other_guests_is_none),
        TEST(a_steward_that_is_gone_is_no_reason_to_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
