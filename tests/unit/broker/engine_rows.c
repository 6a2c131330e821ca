/* SPDX-License-Identifier: Apache-2.0 */
/* How much of the journal one VM may cause: a number of rows a second, however
 * long an epoch is, by its own quota, and nothing of another VM's. */
#include "tests/unit/broker/enginebench.h"

/* Begins anew with that quota of rows (0: the default) and that epoch. */
static void
begin(struct bench *bench, uint32_t rows, uint32_t rows_of_first, nsec_t epoch)
{
    struct msg ready = message(MSG_READY);

    engine_destroy(bench->engine);
    bench->config.quota.rows_per_second = rows;
    bench->guests[0].quota.rows_per_second = rows_of_first;
    bench->config.epoch_ns = epoch;
    assert_int_equal(engine_create(&bench->engine, &bench->config, &bench->port,
                                   bench->journal, bench->now),
                     0);
    for (uint32_t i = 0; i < 2; i++) {
        tell_domain(bench, i, 0);
        tell_found(bench, i, VM_RUNNING);
    }
    tell(bench, &ready);
    run(bench);
    bench->now += 10 * NSEC_PER_SEC; /* What that took is given back. */
    run(bench);
    bench->journal->n = 0;
}

static uint32_t
n_rows(const struct bench *bench, const char *name, uint32_t guest)
{
    char uuid[UUID_TEXT_SIZE];
    uint32_t n = 0;

    assert_true(bench->journal->n < FAKE_ROWS);
    uuid_format(&bench->guests[guest].uuid, uuid);
    for (uint64_t i = 0; i < bench->journal->n; i++) {
        const struct journal_row *row = &bench->journal->rows[i];
        n += !strcmp(row->name, name) && strstr(row->subject, uuid);
    }
    return n;
}

static const struct vm *
vm_of(struct bench *bench, uint32_t guest)
{
    return host_vm(status_of(bench).host, &bench->guests[guest].uuid);
}

/* A second of it; the platform does what it is asked. */
static void
flood(struct bench *bench, uint32_t guest, int n)
{
    for (int i = 0; i < n; i++) {
        uint64_t n_sent = bench->n_sent;

        tell_notice(bench, guest);
        run(bench);
        if (bench->n_sent != n_sent) {
            obey(bench);
        }
        bench->now += NSEC_PER_SEC / n;
    }
}

static void
a_flood_leaves_so_many_rows_a_second_however_long_epochs_are(void **state)
{
    static const nsec_t epochs[] = {10 * MS, 500 * MS, 60 * NSEC_PER_SEC};
    struct bench *bench = *state;

    for (size_t i = 0; i < 3; i++) {
        begin(bench, 0, 0, epochs[i]);
        for (int second = 0; second < 5; second++) {
            flood(bench, 0, 200);
        }
        /* Half a second's at once, and 16 in each second. */
        assert_in_range(n_rows(bench, "GUEST_NOTICE", 0), 80, 8 + 5 * 16);
        assert_int_equal(vm_of(bench, 0)->usage.n_rows_withheld,
                         5 * 200 - n_rows(bench, "GUEST_NOTICE", 0));
        /* Decisions, actions and outcomes come of rows alone. */
        assert_true(bench->journal->n <= 4u * (8 + 5 * 16) + 40);
    }
}

static void
a_guest_s_own_quota_counts(void **state)
{
    struct bench *bench = *state;

    begin(bench, 100, 2, EPOCH);
    flood(bench, 0, 200);
    flood(bench, 1, 200);
    assert_in_range(n_rows(bench, "GUEST_NOTICE", 0), 2, 3);
    assert_in_range(n_rows(bench, "GUEST_NOTICE", 1), 100, 150);
}

static void
one_guest_s_flood_takes_no_row_of_another_s(void **state)
{
    struct bench *bench = *state;

    begin(bench, 0, 0, EPOCH);
    for (int i = 0; i < 20; i++) {
        flood(bench, 0, 50);
        uint32_t before = n_rows(bench, "GUEST_NOTICE", 1);
        tell_notice(bench, 1);
        assert_int_equal(n_rows(bench, "GUEST_NOTICE", 1), before + 1);
    }
    assert_int_equal(vm_of(bench, 1)->usage.n_rows_withheld, 0);
    assert_true(vm_of(bench, 0)->usage.n_rows_withheld > 0);
}

static void
tell_alarm(struct bench *bench, uint32_t guest)
{
    struct msg msg = message(MSG_GUEST_ALARM);

    msg.guest_alarm.vm = bench->guests[guest].uuid;
    msg.guest_alarm.cause = ++bench->causes;
    strcpy(msg.guest_alarm.reason, "nonsense");
    tell(bench, &msg);
}

static void
a_flood_cannot_hide_alarms_and_those_are_bounded_too(void **state)
{
    struct bench *bench = *state;

    begin(bench, 0, 0, EPOCH);
    flood(bench, 0, 200);
    for (int i = 0; i < 100; i++) {
        tell_notice(bench, 0); /* What is left is gone. */
    }
    tell_alarm(bench, 0);
    assert_int_equal(n_rows(bench, "GUEST_ALARM", 0), 1);
    for (int i = 0; i < 100; i++) {
        tell_alarm(bench, 0);
    }
    assert_int_equal(n_rows(bench, "GUEST_ALARM", 0), 2);
    assert_int_equal(status_of(bench).counts->n_alarms, 101);
}

static void
what_a_guest_used_is_known(void **state)
{
    struct msg msg = message(MSG_GUEST_USAGE);
    struct bench *bench = *state;

    msg.guest_usage = (struct msg_guest_usage){.vm = bench->guests[1].uuid,
                                               .n_messages = 1,
                                               .n_bytes = 2,
                                               .n_dropped = 3,
                                               .n_denied = 4,
                                               .n_refused = 5,
                                               .n_waits = 6,
                                               .memory_bytes = 7};
    tell(bench, &msg);
    const struct vm_usage *usage = &vm_of(bench, 1)->usage;
    assert_int_equal(usage->n_messages, 1);
    assert_int_equal(usage->n_bytes, 2);
    assert_int_equal(usage->n_dropped, 3);
    assert_int_equal(usage->n_denied, 4);
    assert_int_equal(usage->n_refused, 5);
    assert_int_equal(usage->n_waits, 6);
    assert_int_equal(usage->memory_bytes, 7);
    assert_int_equal(vm_of(bench, 0)->usage.n_messages, 0);
    msg.guest_usage.vm.byte[0] = 99; /* None of ours: nothing comes of it. */
    tell(bench, &msg);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_flood_leaves_so_many_rows_a_second_however_long_epochs_are),
        TEST(a_guest_s_own_quota_counts),
        TEST(one_guest_s_flood_takes_no_row_of_another_s),
        TEST(a_flood_cannot_hide_alarms_and_those_are_bounded_too),
        TEST(what_a_guest_used_is_known),
    };

    return cmocka_run_group_tests_name("engine_rows", tests, NULL, NULL);
}
