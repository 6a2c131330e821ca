/* SPDX-License-Identifier: Apache-2.0 */
/* A VM that was reset, reverted or cloned: back is told once, with the time,
 * and of nothing else. */
#include "tests/unit/broker/enginebench.h"

static struct msg told; /* Last, by the engine to back. */
static int n_told, back_error;

static int
take_word(void *ctx, const struct msg *msg)
{
    if (!back_error) {
        told = *msg;
        n_told++;
    }
    return back_error;
}

static int
setup_back(void **state)
{
    int error = setup(state);
    struct bench *bench = *state;

    bench->port.to_back = take_word;
    n_told = back_error = 0;
    return error;
}

static void
tell_instance(struct bench *bench, uint32_t i, uint64_t instance, nsec_t since)
{
    struct msg msg = message(MSG_VM_INSTANCE);

    msg.vm_instance.vm = bench->guests[i].uuid;
    msg.vm_instance.instance = instance;
    msg.vm_instance.since_ns = since;
    tell(bench, &msg);
    run(bench);
}

static void
the_first_instance_and_the_same_are_no_news_to_back(void **state)
{
    struct bench *bench = *state;

    tell_instance(bench, 0, 7, 100);
    tell_instance(bench, 1, 8, 100);
    tell_instance(bench, 0, 7, 100);
    tell_found(bench, 0, VM_FROZEN);
    tell_found(bench, 0, VM_RUNNING);
    tell_instance(bench, 0, 7, 200);
    assert_int_equal(n_told, 0);
    assert_null(fake_last(bench->journal, JOURNAL_EVENT, "VM_RENEWED"));
}

static void
another_instance_is_told_once_with_its_time(void **state)
{
    struct bench *bench = *state;

    tell_instance(bench, 0, 7, 100);
    tell_instance(bench, 0, 9, 200);
    assert_int_equal(n_told, 1);
    assert_int_equal(told.type, MSG_VM_RENEWED);
    assert_true(uuid_equal(&told.vm_renewed.vm, &bench->guests[0].uuid));
    assert_int_equal(told.vm_renewed.since_ns, 200);
    assert_non_null(fake_last(bench->journal, JOURNAL_EVENT, "VM_RENEWED"));
    run(bench);
    assert_int_equal(n_told, 1);
}

static void
an_instance_after_the_end_is_another(void **state)
{
    struct bench *bench = *state;
    struct msg gone = message(MSG_VM_GONE);

    tell_instance(bench, 0, 7, 100);
    gone.vm_gone.vm = bench->guests[0].uuid;
    strcpy(gone.vm_gone.reason, "it ended");
    tell(bench, &gone);
    tell_found(bench, 0, VM_RUNNING);
    tell_instance(bench, 0, 8, 200);
    assert_int_equal(n_told, 1);
}

static void
what_back_does_not_take_is_told_again_and_only_the_last(void **state)
{
    struct bench *bench = *state;

    tell_instance(bench, 0, 7, 100);
    back_error = -EAGAIN;
    tell_instance(bench, 0, 8, 200);
    tell_instance(bench, 0, 9, 300);
    assert_true(engine_deadline(bench->engine) <= bench->now + 5 * MS);
    back_error = 0;
    bench->now += 5 * MS;
    run(bench);
    assert_int_equal(n_told, 1);
    assert_int_equal(told.vm_renewed.since_ns, 300);
    assert_true(engine_deadline(bench->engine) > bench->now);
}

static void
one_that_back_has_no_channel_of_is_not_told(void **state)
{
    struct bench *bench = *state;
    struct msg msg = message(MSG_VM_FOUND);

    msg.vm_found.vm.byte[3] = 9;
    strcpy(msg.vm_found.name, "other");
    tell(bench, &msg);
    for (uint64_t instance = 1; instance <= 2; instance++) {
        msg = message(MSG_VM_INSTANCE);
        msg.vm_instance.vm.byte[3] = 9;
        msg.vm_instance.instance = instance;
        tell(bench, &msg);
        run(bench);
    }
    msg.vm_instance.vm.byte[3] = 10; /* Nobody. */
    tell(bench, &msg);
    run(bench);
    assert_int_equal(n_told, 0);
}

#define BACK_TEST(name)                                                        \
    cmocka_unit_test_setup_teardown(name, setup_back, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BACK_TEST(the_first_instance_and_the_same_are_no_news_to_back),
        BACK_TEST(another_instance_is_told_once_with_its_time),
        BACK_TEST(an_instance_after_the_end_is_another),
        BACK_TEST(what_back_does_not_take_is_told_again_and_only_the_last),
        BACK_TEST(one_that_back_has_no_channel_of_is_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
