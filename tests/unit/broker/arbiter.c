/* SPDX-License-Identifier: Apache-2.0 */
/* The arbiter: who wins, who loses and why, what ends, and what a change is
 * blamed on. */
#include "broker/engine/arbiter.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "model/cause.h"

#define MS NSEC_PER_MSEC
#define N_VMS 12

/* CPUs 0 and 1 share domain 0 (five p-states), CPU 2 has domain 1 (three), CPU
 * 3 none.  VM i has one vCPU on CPU i % 4. */
struct bench {
    struct host host;
    struct arbiter *arbiter;
    nsec_t now;
    char why[160];
};

static void
make(struct bench *bench, nsec_t dwell_ns)
{
    arbiter_destroy(bench->arbiter);
    assert_int_equal(arbiter_create(&bench->arbiter, &bench->host, dwell_ns),
                     0);
}

static int
setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    struct host *host = &bench->host;

    assert_int_equal(host_init(host, 4, 2, N_VMS), 0);
    host->n_cpus = 4;
    host->n_domains = 2;
    for (uint32_t i = 0; i < 4; i++) {
        host->cpus[i].id = i;
        host->cpus[i].domain = i < 2 ? 0 : i == 2 ? 1 : UINT32_MAX;
    }
    host->domains[0].desc.table.n = 5;
    host->domains[1].desc.table.n = 3;
    for (uint32_t i = 0; i < N_VMS; i++) {
        struct uuid uuid = {{(uint8_t)(i + 1)}};
        struct vm *vm = host_add_vm(host, &uuid);
        vm->n_vcpus = 1;
        vm->vcpu_cpu[0] = i % 4;
    }
    bench->now = 1000 * NSEC_PER_SEC;
    make(bench, 0);
    *state = bench;
    return 0;
}

static int
teardown(void **state)
{
    struct bench *bench = *state;

    arbiter_destroy(bench->arbiter);
    host_fini(&bench->host);
    free(bench);
    return 0;
}

static struct wish
wish_for(const struct bench *bench, uint32_t vm, int64_t value, uint64_t cause)
{
    struct wish wish;

    memset(&wish, 0, sizeof wish);
    wish.kind = WISH_PSTATE;
    wish.vm = bench->host.vms[vm].uuid;
    wish.value = value;
    wish.valid_until = NSEC_NEVER;
    wish.reason.rule = "test/rule";
    wish.reason.cause = cause;
    return wish;
}

static int
give(struct bench *bench, const struct wish *wish)
{
    return arbiter_wish(bench->arbiter, wish, bench->now, bench->why,
                        sizeof bench->why);
}

static int
want(struct bench *bench, uint32_t vm, int64_t value, uint64_t cause)
{
    struct wish wish = wish_for(bench, vm, value, cause);

    return give(bench, &wish);
}

static int
take_back(struct bench *bench, uint32_t vm, uint64_t cause)
{
    struct wish wish = wish_for(bench, vm, 0, cause);

    wish.withdraw = true;
    return give(bench, &wish);
}

/* Resolves; the verdict on domain 0. */
static const struct verdict *
resolve(struct bench *bench)
{
    const struct verdict *out;

    assert_int_equal(arbiter_resolve(bench->arbiter, bench->now, &out), 2);
    return out;
}

static void
nobody_wants_anything(void **state)
{
    struct bench *bench = *state;

    assert_null(arbiter_verdict(bench->arbiter, 0));
    assert_false(resolve(bench)->wanted);
    assert_false(resolve(bench)->changed);
    assert_non_null(arbiter_verdict(bench->arbiter, 0));
    assert_null(arbiter_verdict(bench->arbiter, 2));
    assert_int_equal(arbiter_deadline(bench->arbiter), NSEC_NEVER);
}

static void
only_wish_wins_and_changes_once(void **state)
{
    struct bench *bench = *state;

    assert_int_equal(want(bench, 0, 3, 7), 1);
    const struct verdict *verdict = resolve(bench);
    assert_true(verdict->wanted);
    assert_true(verdict->changed);
    assert_int_equal(verdict->pstate, 3);
    assert_int_equal(verdict->cause, 7);
    assert_int_equal(verdict->time, bench->now);
    assert_int_equal(verdict->n_losers, 0);
    bench->now += 5;
    assert_false(resolve(bench)->changed);
    assert_int_equal(resolve(bench)->time, bench->now - 5);
    assert_false(verdict[1].wanted);
}

static void
fastest_wins_in_a_domain_of_two_cpus(void **state)
{
    struct bench *bench = *state;

    want(bench, 0, 3, 7); /* On CPU 0. */
    want(bench, 1, 1, 8); /* On CPU 1, of the same domain. */
    want(bench, 2, 2, 9); /* On CPU 2. */
    const struct verdict *verdict = resolve(bench);
    assert_int_equal(verdict[0].pstate, 1);
    assert_int_equal(verdict[0].winner.reason.cause, 8);
    assert_int_equal(verdict[0].n_losers, 1);
    assert_int_equal(verdict[0].losers[0].wish.value, 3);
    assert_non_null(strstr(verdict[0].losers[0].why, "p-state 1 is faster"));
    assert_int_equal(verdict[1].pstate, 2);
}

static void
among_equals_the_last_to_change_wins(void **state)
{
    struct bench *bench = *state;

    want(bench, 0, 2, 7);
    want(bench, 1, 4, 8);
    resolve(bench);
    want(bench, 1, 2, 9);
    const struct verdict *verdict = resolve(bench);
    assert_false(verdict->changed);
    assert_int_equal(verdict->winner.reason.cause, 9);
    assert_non_null(strstr(verdict->losers[0].why, "too"));
}

static void
losers_are_counted_beyond_the_list(void **state)
{
    struct bench *bench = *state;

    for (uint32_t i = 0; i < N_VMS; i++) {
        bench->host.vms[i].vcpu_cpu[0] = 0;
        want(bench, i, i == 5 ? 0 : 2, i + 1);
    }
    const struct verdict *verdict = resolve(bench);
    assert_int_equal(verdict->winner.reason.cause, 6);
    assert_int_equal(verdict->n_losers, ARBITER_LOSERS_MAX);
    assert_int_equal(verdict->n_more_losers, N_VMS - 1 - ARBITER_LOSERS_MAX);
}

static void
withdrawn_wish_lets_the_next_win_and_is_blamed(void **state)
{
    struct bench *bench = *state;

    want(bench, 0, 3, 7);
    want(bench, 1, 1, 8);
    resolve(bench);
    bench->now += MS;
    assert_int_equal(take_back(bench, 1, 99), 1);
    const struct verdict *verdict = resolve(bench);
    assert_int_equal(verdict->pstate, 3);
    assert_int_equal(verdict->winner.reason.cause, 7);
    assert_int_equal(verdict->cause, 99);
    assert_int_equal(take_back(bench, 1, 100), 0);
}

static void
last_wish_withdrawn_releases(void **state)
{
    struct bench *bench = *state;

    want(bench, 0, 3, 7);
    resolve(bench);
    take_back(bench, 0, 8);
    const struct verdict *verdict = resolve(bench);
    assert_false(verdict->wanted);
    assert_true(verdict->changed);
    assert_int_equal(verdict->cause, 8);
    assert_false(resolve(bench)->changed);
}

static void
wish_ends_when_its_time_is_over(void **state)
{
    struct bench *bench = *state;
    struct wish wish = wish_for(bench, 0, 3, 7);

    wish.valid_until = bench->now + 100;
    give(bench, &wish);
    assert_true(resolve(bench)->wanted);
    assert_int_equal(arbiter_deadline(bench->arbiter), bench->now + 100);
    bench->now += 99;
    assert_true(resolve(bench)->wanted);
    bench->now += 1;
    const struct verdict *verdict = resolve(bench);
    assert_false(verdict->wanted);
    assert_int_equal(verdict->cause, CAUSE_NONE);
    assert_null(arbiter_standing(bench->arbiter, &wish.vm, 0));
    arbiter_blame(bench->arbiter, 0, 55);
    assert_int_equal(arbiter_verdict(bench->arbiter, 0)->cause, 55);
}

static void
renewal_moves_the_time_and_keeps_the_reason(void **state)
{
    struct bench *bench = *state;
    struct wish wish = wish_for(bench, 0, 3, 7);

    wish.valid_until = bench->now + 100;
    give(bench, &wish);
    resolve(bench);
    wish.valid_until = bench->now + 200;
    wish.reason.cause = CAUSE_NONE;
    wish.reason.rule = "test/hold";
    assert_int_equal(give(bench, &wish), 0);
    const struct wish *standing = arbiter_standing(bench->arbiter, &wish.vm, 0);
    assert_int_equal(standing->valid_until, bench->now + 200);
    assert_string_equal(standing->reason.rule, "test/rule");
    /* With a cause it is news, though the value is the same. */
    wish.reason.cause = 8;
    assert_int_equal(give(bench, &wish), 1);
    assert_false(resolve(bench)->changed);
}

static void
nonsense_is_refused_in_words(void **state)
{
    struct bench *bench = *state;
    struct wish wish = wish_for(bench, 0, 3, 7);

    wish.vm.byte[7] = 1;
    assert_int_equal(give(bench, &wish), -EINVAL);
    assert_non_null(strstr(bench->why, "not on this host"));
    wish = wish_for(bench, 0, 3, 7);
    wish.vcpu = 1;
    assert_int_equal(give(bench, &wish), -EINVAL);
    assert_non_null(strstr(bench->why, "no vCPU 1"));
    assert_int_equal(want(bench, 0, 5, 7), -EINVAL);
    assert_non_null(strstr(bench->why, "0..4"));
    assert_int_equal(want(bench, 0, -1, 7), -EINVAL);
    assert_int_equal(want(bench, 2, 3, 7), -EINVAL);
    assert_int_equal(want(bench, 3, 0, 7), -EINVAL);
    assert_non_null(strstr(bench->why, "can't be set"));
    wish = wish_for(bench, 0, 3, 7);
    wish.kind = WISH_CAP;
    assert_int_equal(give(bench, &wish), -EINVAL);
    assert_non_null(strstr(bench->why, "cap"));
    wish = wish_for(bench, 0, 3, 7);
    wish.withdraw = true;
    wish.vcpu = VM_VCPUS_MAX;
    assert_int_equal(give(bench, &wish), -EINVAL);
    assert_false(resolve(bench)->wanted);
}

static void
vcpu_that_moves_takes_its_wish_along(void **state)
{
    struct bench *bench = *state;

    want(bench, 0, 4, 7);
    resolve(bench);
    bench->host.vms[0].vcpu_cpu[0] = 2;
    const struct verdict *verdict = resolve(bench);
    assert_false(verdict[0].wanted);
    /* Three p-states there: no slower than the slowest. */
    assert_true(verdict[1].wanted);
    assert_int_equal(verdict[1].pstate, 2);
    bench->host.vms[0].vcpu_cpu[0] = 3;
    assert_false(resolve(bench)[1].wanted);
}

static void
wishes_of_a_vm_that_goes_are_forgotten(void **state)
{
    struct bench *bench = *state;

    bench->host.vms[0].n_vcpus = 2;
    bench->host.vms[0].vcpu_cpu[1] = 2;
    struct wish wish = wish_for(bench, 0, 1, 7);
    give(bench, &wish);
    wish.vcpu = 1;
    give(bench, &wish);
    want(bench, 1, 3, 8);
    resolve(bench);
    arbiter_forget_vm(bench->arbiter, &bench->host.vms[0].uuid, 66);
    host_remove_vm(&bench->host, &bench->host.vms[0]);
    const struct verdict *verdict = resolve(bench);
    assert_int_equal(verdict[0].pstate, 3);
    assert_int_equal(verdict[0].cause, 66);
    assert_false(verdict[1].wanted);
    assert_int_equal(verdict[1].cause, 66);
}

static void
everything_can_be_forgotten(void **state)
{
    struct bench *bench = *state;

    want(bench, 0, 1, 7);
    want(bench, 2, 1, 8);
    resolve(bench);
    arbiter_forget_all(bench->arbiter, 77);
    const struct verdict *verdict = resolve(bench);
    assert_false(verdict[0].wanted || verdict[1].wanted);
    assert_int_equal(verdict[0].cause, 77);
}

static void
places_of_vms_that_went_are_used_again(void **state)
{
    struct bench *bench = *state;

    for (uint32_t i = 0; i < 10 * N_VMS; i++) {
        struct vm *vm = &bench->host.vms[0];
        if (vm->vcpu_cpu[0] != 3) {
            assert_int_equal(want(bench, 0, 1, 7), 1);
        }
        resolve(bench);
        struct uuid uuid = {{(uint8_t)(i + 1), 9}};
        arbiter_forget_vm(bench->arbiter, &vm->uuid, 8);
        host_remove_vm(&bench->host, vm);
        vm = host_add_vm(&bench->host, &uuid);
        vm->n_vcpus = 1;
    }
}

/* Dwell time. */

static void
second_lowering_waits_for_the_dwell_time(void **state)
{
    struct bench *bench = *state;

    make(bench, 1000 * MS);
    want(bench, 0, 0, 1);
    resolve(bench);
    want(bench, 0, 1, 2);
    assert_int_equal(resolve(bench)->pstate, 1); /* The first goes at once. */
    nsec_t lowered = bench->now;
    bench->now += 400 * MS;
    want(bench, 0, 2, 3);
    const struct verdict *verdict = resolve(bench);
    assert_int_equal(verdict->pstate, 1);
    assert_true(verdict->held);
    assert_false(verdict->changed);
    assert_int_equal(verdict->winner.value, 2);
    assert_int_equal(arbiter_deadline(bench->arbiter), lowered + 1000 * MS);
    bench->now = lowered + 1000 * MS;
    verdict = resolve(bench);
    assert_int_equal(verdict->pstate, 2);
    assert_false(verdict->held);
    assert_int_equal(verdict->cause, 3);
}

static void
raises_and_releases_wait_for_nothing(void **state)
{
    struct bench *bench = *state;

    make(bench, 1000 * MS);
    want(bench, 0, 1, 1);
    resolve(bench);
    want(bench, 0, 3, 2);
    resolve(bench);
    want(bench, 0, 2, 3);
    assert_int_equal(resolve(bench)->pstate, 2);
    want(bench, 0, 3, 4);
    assert_true(resolve(bench)->held);
    take_back(bench, 0, 5);
    assert_false(resolve(bench)->wanted);
    assert_false(resolve(bench)->held);
}

/* Against a plain model, with chance: the verdict is the least standing wish.
 */
static void
verdict_is_the_least_of_what_stands(void **state)
{
    struct bench *bench = *state;
    int64_t standing[N_VMS];
    struct prng chance;

    prng_init(&chance, 1);
    memset(standing, -1, sizeof standing);
    for (unsigned i = 0; i < 20000; i++) {
        uint32_t vm = (uint32_t)prng_below(&chance, N_VMS);
        uint32_t cpu = bench->host.vms[vm].vcpu_cpu[0];
        if (prng_below(&chance, 4) == 0) {
            take_back(bench, vm, i + 1);
            standing[vm] = -1;
        } else {
            int64_t value = (int64_t)prng_below(&chance, 3);
            assert_int_equal(want(bench, vm, value, i + 1) >= 0, cpu != 3);
            standing[vm] = cpu == 3 ? -1 : value;
        }
        const struct verdict *verdict = resolve(bench);
        for (uint32_t domain = 0; domain < 2; domain++) {
            int64_t least = -1;
            uint32_t n = 0;
            for (uint32_t j = 0; j < N_VMS; j++) {
                uint32_t at = bench->host.vms[j].vcpu_cpu[0];
                if (standing[j] >= 0 && (at < 2 ? 0u : 1u) == domain) {
                    least =
                        least < 0 || standing[j] < least ? standing[j] : least;
                    n++;
                }
            }
            assert_int_equal(verdict[domain].wanted, least >= 0);
            if (least >= 0) {
                assert_int_equal(verdict[domain].pstate, least);
                assert_int_equal(verdict[domain].winner.value, least);
                assert_int_equal(verdict[domain].n_losers +
                                     verdict[domain].n_more_losers,
                                 n - 1);
            }
            if (verdict[domain].changed) {
                assert_int_equal(verdict[domain].cause, i + 1);
            }
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_wants_anything),
        TEST(only_wish_wins_and_changes_once),
        TEST(fastest_wins_in_a_domain_of_two_cpus),
        TEST(among_equals_the_last_to_change_wins),
        TEST(losers_are_counted_beyond_the_list),
        TEST(withdrawn_wish_lets_the_next_win_and_is_blamed),
        TEST(last_wish_withdrawn_releases),
        TEST(wish_ends_when_its_time_is_over),
        TEST(renewal_moves_the_time_and_keeps_the_reason),
        TEST(nonsense_is_refused_in_words),
        TEST(vcpu_that_moves_takes_its_wish_along),
        TEST(wishes_of_a_vm_that_goes_are_forgotten),
        TEST(everything_can_be_forgotten),
        TEST(places_of_vms_that_went_are_used_again),
        TEST(second_lowering_waits_for_the_dwell_time),
        TEST(raises_and_releases_wait_for_nothing),
        TEST(verdict_is_the_least_of_what_stands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
