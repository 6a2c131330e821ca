/* SPDX-License-Identifier: Apache-2.0 */
/* What every policy obeys, whoever wrote it: it is a pure function of its
 * state, its options and the view; it says why; it stays within bounds; what it
 * saves of a VM it reads back, and nothing else. */
#include "policy/policy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cbor.h"
#include "base/prng.h"
#include "base/text.h"

#define EPOCH (500 * NSEC_PER_MSEC)
#define N_VMS 4
#define N_CPUS 3
#define N_WISHES 256
#define N_TURNS 400
#define SAVED_SIZE 4096

/* A host under load from a seed, and one instance of a policy on it. */
struct world {
    const struct policy_class *policy;
    struct option_values options;
    struct prng chance;
    struct host host;
    void *host_state;
    nsec_t now;
    uint64_t causes;
    uint8_t behind; /* What lies behind the bytes of notes. */
    struct wish room[N_WISHES];
    struct wish_list list;
};

static void
world_init(struct world *world, const struct policy_class *policy,
           uint64_t seed)
{
    memset(world, 0, sizeof *world);
    world->policy = policy;
    options_init(&world->options, policy->options);
    prng_init(&world->chance, seed);
    assert_int_equal(host_init(&world->host, N_CPUS + 1, N_CPUS, N_VMS), 0);
    for (uint32_t i = 0; i <= N_CPUS; i++) {
        struct cpu *cpu = &world->host.cpus[world->host.n_cpus++];
        cpu->id = i;
        cpu->domain = i < N_CPUS ? i : UINT32_MAX;
        cpu->util_permille = UTIL_UNKNOWN;
    }
    for (uint32_t i = 0; i < N_CPUS; i++) {
        struct domain *domain = &world->host.domains[world->host.n_domains++];
        domain->desc.id = i;
        domain->desc.n_cpus = 1;
        domain->desc.cpus[0] = i;
        domain->desc.table.n = 1 + i * 4; /* 1, 5 and 9 p-states. */
        for (uint32_t j = 0; j < domain->desc.table.n; j++) {
            domain->desc.table.freq_khz[j] = 2400000 - j * 200000;
        }
        domain->known = true;
    }
    for (uint32_t i = 0; i < N_VMS; i++) {
        struct uuid uuid = {{(uint8_t)(i + 1)}};
        struct vm *vm = host_add_vm(&world->host, &uuid);
        vm->policy_state = calloc(1, policy->vm_state_size + 1);
        vm->n_vcpus = 1 + i % 3;
        for (uint32_t j = 0; j < vm->n_vcpus; j++) {
            vm->vcpu_cpu[j] = (i + j) % (N_CPUS + 1);
        }
    }
    world->host_state = calloc(1, policy->host_state_size + 1);
    world->now = 77 * NSEC_PER_SEC;
    world->list = (struct wish_list){.wish = world->room, .max = N_WISHES};
}

static void
world_fini(struct world *world)
{
    for (uint32_t i = 0; i < N_VMS; i++) {
        free(world->host.vms[i].policy_state);
    }
    free(world->host_state);
    host_fini(&world->host);
}

/* An application says something: what the policy might wait for, or anything
 * else, of a type it asked for or another. */
static void
say_note(struct world *world, struct vm *vm)
{
    static const char *const likely[] = {
        "0", "1", "3", "99", "100000", "-1", "1.5", "{}", " 2", "2\n", "0x1"};
    const struct policy_note *asked = world->policy->notes;
    struct prng *chance = &world->chance;
    uint8_t bytes[NOTE_SIZE_MAX];
    uint32_t n_asked = 0, size;

    while (asked && asked[n_asked].type) {
        n_asked++;
    }
    uint64_t which = prng_below(chance, n_asked + 1);
    if (prng_below(chance, 3)) {
        const char *text = likely[prng_below(chance, 11)];
        size = (uint32_t)strlen(text);
        memcpy(bytes, text, size);
    } else {
        size = (uint32_t)(prng_below(chance, 2)
                              ? prng_below(chance, 20)
                              : prng_below(chance, NOTE_SIZE_MAX + 1));
        for (uint32_t i = 0; i < size; i++) {
            bytes[i] = (uint8_t)prng_u64(chance);
        }
    }
    struct note *note = notes_keep(
        vm->notes, which < n_asked ? asked[which].type : "nobody/asked", bytes,
        size);
    memset((uint8_t *)note->bytes + size, world->behind, NOTE_SIZE_MAX - size);
    note->when = world->now;
    note->cause = ++world->causes;
    note->asked = which < n_asked;
    note->urgent = note->asked && asked[which].urgent;
    note->news = note->asked;
    vm->news |= note->asked ? VM_NEWS_NOTE : 0u;
}

static void
happen_notes(struct world *world, struct vm *vm)
{
    for (uint32_t i = 0; i < vm->notes->n; i++) {
        vm->notes->note[i].news = false;
        vm->notes->note[i].stale |= !vm->agent_up;
    }
    if (vm->agent_up && prng_below(&world->chance, 3) == 0) {
        say_note(world, vm);
    }
}

static void
happen_vm(struct world *world, struct vm *vm)
{
    struct prng *chance = &world->chance;
    uint64_t growth = EPOCH * vm->n_vcpus;

    vm->news = 0;
    if (prng_below(chance, 20) == 0) {
        vm->agent_up = !vm->agent_up;
        vm->agent_cause = ++world->causes;
        vm->news |= vm->agent_up ? VM_NEWS_UP : VM_NEWS_LOST;
    }
    if (prng_below(chance, 40) == 0) {
        vm->state = (enum vm_state)prng_below(chance, 3);
    } else if (prng_below(chance, 4) == 0) {
        vm->state = VM_RUNNING;
    }
    if (prng_below(chance, 4)) {
        vm->available_ns += growth;
        vm->busy_ns += prng_below(chance, growth + 1);
        vm->sample_time = world->now;
        vm->util_permille = (uint32_t)prng_below(chance, 1001);
        vm->news |= VM_NEWS_SAMPLE;
    }
    if (vm->agent_up && prng_below(chance, 4) == 0) {
        vm->notice.number++;
        vm->notice.n_requests = 1 + prng_below(chance, 1000);
        vm->notice.n_violations = prng_below(chance, vm->notice.n_requests);
        vm->notice.threshold_us = 3000;
        vm->notice.cause = ++world->causes;
        vm->news |= VM_NEWS_NOTICE;
    }
    if (vm->agent_up && prng_below(chance, 2) == 0) {
        if (vm->n_epochs == VM_EPOCHS_KEPT) {
            memmove(vm->epochs, vm->epochs + 1,
                    (VM_EPOCHS_KEPT - 1) * sizeof *vm->epochs);
            vm->n_epochs--;
        }
        struct sla_epoch *epoch = &vm->epochs[vm->n_epochs++];
        memset(epoch, 0, sizeof *epoch);
        epoch->n_requests = prng_below(chance, 1000);
        epoch->n_violations = prng_below(chance, epoch->n_requests + 1);
        epoch->threshold_us = 3000;
        epoch->worst_us = prng_below(chance, 10000);
        epoch->cause = ++world->causes;
        vm->news |= VM_NEWS_REPORT;
    }
}

/* Time passes, things happen, the policy is asked. */
static int
turn(struct world *world)
{
    struct prng *chance = &world->chance;
    struct platform_view view = {
        .host = &world->host, .options = &world->options, .epoch_ns = EPOCH};

    world->now += (nsec_t)prng_below(chance, EPOCH);
    view.epoch = prng_below(chance, 2);
    for (uint32_t i = 0; i < world->host.n_vms; i++) {
        happen_vm(world, &world->host.vms[i]);
        happen_notes(world, &world->host.vms[i]);
        view.urgent |= (world->host.vms[i].news & VM_NEWS_NOTICE) != 0;
    }
    world->list.n = 0;
    return world->policy->decide(world->host_state, &view, world->now,
                                 &world->list);
}

static bool
same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static void
assert_same_wishes(const struct world *a, const struct world *b)
{
    assert_int_equal(a->list.n, b->list.n);
    for (size_t i = 0; i < a->list.n; i++) {
        const struct wish *x = &a->room[i], *y = &b->room[i];
        assert_int_equal(x->kind, y->kind);
        assert_true(uuid_equal(&x->vm, &y->vm));
        assert_int_equal(x->vcpu, y->vcpu);
        assert_int_equal(x->withdraw, y->withdraw);
        assert_int_equal(x->value, y->value);
        assert_int_equal(x->valid_until, y->valid_until);
        assert_string_equal(x->text, y->text);
        assert_true(same_text(x->reason.rule, y->reason.rule));
        assert_true(x->reason.cause == y->reason.cause);
        assert_int_equal(x->reason.n_values, y->reason.n_values);
        for (uint32_t j = 0; j < x->reason.n_values; j++) {
            assert_true(x->reason.values[j].value == y->reason.values[j].value);
        }
    }
}

static void
for_each_policy(void (*check)(const struct policy_class *))
{
    assert_non_null(policy_table[0]);
    for (size_t i = 0; policy_table[i]; i++) {
        print_message("# %s\n", policy_table[i]->name);
        check(policy_table[i]);
    }
}

/* The class itself. */

static void
check_class(const struct policy_class *policy)
{
    assert_true(text_is_name(policy->name));
    assert_ptr_equal(policy_find(policy->name), policy);
    assert_non_null(policy->summary);
    assert_in_range(strlen(policy->summary), 10, 120);
    assert_non_null(policy->decide);
    assert_int_equal(policy->save_vm != NULL, policy->vm_state_size > 0);
    assert_int_equal(policy->load_vm != NULL, policy->vm_state_size > 0);
    assert_in_range(policy->vm_state_size, 0, 64 * 1024);
    assert_in_range(policy->host_state_size, 0, 1024 * 1024);
    for (size_t i = 0; policy->notes && policy->notes[i].type; i++) {
        assert_true(i < NOTES_MAX);
        assert_true(text_is_type(policy->notes[i].type));
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(policy->notes[i].type,
                                    policy->notes[j].type);
        }
    }
}

static void
every_class_is_complete(void **state)
{
    for_each_policy(check_class);
    assert_null(policy_find("nonesuch"));
    assert_null(policy_find(""));
}

static void
check_options(const struct policy_class *policy)
{
    struct option_values values;
    char why[256] = "", number[32];

    options_init(&values, policy->options); /* Asserts that defaults fit. */
    assert_true(!policy->check || !policy->check(&values, why, sizeof why));
    for (size_t i = 0; policy->options && policy->options[i].name; i++) {
        const struct option_desc *desc = &policy->options[i];
        assert_true(i < OPTION_MAX);
        assert_true(text_is_name(desc->name));
        assert_non_null(desc->help);
        assert_in_range(strlen(desc->help), 10, 200);
        assert_int_equal(options_set(&values, desc->name, desc->default_text,
                                     why, sizeof why),
                         0);
        if (desc->type == OPTION_INT || desc->type == OPTION_REAL) {
            snprintf(number, sizeof number, "%.0f", desc->max + 1);
            assert_int_equal(
                options_set(&values, desc->name, number, why, sizeof why),
                -ERANGE);
        }
    }
}

static void
defaults_are_valid_and_ranges_hold(void **state)
{
    for_each_policy(check_options);
}

/* A pure function. */

static void
check_repeats(const struct policy_class *policy)
{
    static struct world a, b;

    for (uint64_t seed = 1; seed <= 5; seed++) {
        world_init(&a, policy, seed);
        world_init(&b, policy, seed);
        for (unsigned i = 0; i < N_TURNS; i++) {
            assert_int_equal(turn(&a), turn(&b));
            assert_same_wishes(&a, &b);
        }
        world_fini(&a);
        world_fini(&b);
    }
}

/* A note's bytes end where its size says. */
static void
check_size_of_notes(const struct policy_class *policy)
{
    static struct world a, b;

    for (uint64_t seed = 6; seed <= 10; seed++) {
        world_init(&a, policy, seed);
        world_init(&b, policy, seed);
        a.behind = 0;
        b.behind = '1';
        for (unsigned i = 0; i < N_TURNS; i++) {
            assert_int_equal(turn(&a), turn(&b));
            assert_same_wishes(&a, &b);
        }
        world_fini(&a);
        world_fini(&b);
    }
}

static void
what_lies_behind_a_note_is_not_read(void **state)
{
    for_each_policy(check_size_of_notes);
}

static void
same_input_gives_the_same_wishes(void **state)
{
    for_each_policy(check_repeats);
}

static void
check_no_hidden_state(const struct policy_class *policy)
{
    static struct world alone, a, b;

    /* One that runs alone and one that runs beside another must agree. */
    world_init(&alone, policy, 1);
    world_init(&a, policy, 1);
    world_init(&b, policy, 2);
    for (unsigned i = 0; i < N_TURNS; i++) {
        turn(&alone);
        turn(&b);
        turn(&a);
        turn(&b);
        assert_same_wishes(&alone, &a);
    }
    world_fini(&alone);
    world_fini(&a);
    world_fini(&b);
}

static void
instances_do_not_know_of_each_other(void **state)
{
    for_each_policy(check_no_hidden_state);
}

static void
check_view_untouched(const struct policy_class *policy)
{
    static struct world world;
    static struct vm vms[N_VMS];
    static struct notes notes[N_VMS];
    static uint8_t bytes[N_VMS * NOTES_MAX * NOTE_SIZE_MAX];
    struct cpu cpus[N_CPUS + 1];
    struct domain *domains = calloc(N_CPUS, sizeof *domains);

    world_init(&world, policy, 3);
    for (unsigned i = 0; i < N_TURNS; i++) {
        struct platform_view view = {.host = &world.host,
                                     .options = &world.options,
                                     .epoch_ns = EPOCH,
                                     .epoch = true,
                                     .urgent = true};
        turn(&world);
        memcpy(vms, world.host.vms, sizeof vms);
        memcpy(cpus, world.host.cpus, sizeof cpus);
        memcpy(domains, world.host.domains, N_CPUS * sizeof *domains);
        memcpy(notes, world.host.notes, sizeof notes);
        memcpy(bytes, world.host.note_bytes, sizeof bytes);
        world.list.n = 0;
        policy->decide(world.host_state, &view, world.now, &world.list);
        assert_memory_equal(vms, world.host.vms, sizeof vms);
        assert_memory_equal(cpus, world.host.cpus, sizeof cpus);
        assert_memory_equal(notes, world.host.notes, sizeof notes);
        assert_memory_equal(bytes, world.host.note_bytes, sizeof bytes);
        assert_memory_equal(domains, world.host.domains,
                            N_CPUS * sizeof *domains);
    }
    free(domains);
    world_fini(&world);
}

static void
the_host_is_only_read(void **state)
{
    for_each_policy(check_view_untouched);
}

/* Wishes. */

static void
check_reason(const struct world *world, const struct wish *wish)
{
    const struct reason *reason = &wish->reason;
    size_t length = strlen(world->policy->name);

    assert_non_null(reason->rule);
    assert_int_equal(strncmp(reason->rule, world->policy->name, length), 0);
    assert_int_equal(reason->rule[length], '/');
    assert_in_range(strlen(reason->rule), length + 2, 31);
    /* A cause it was told of, or none: then the engine numbers it. */
    assert_true(reason->cause <= world->causes);
    assert_in_range(reason->n_values, 0, REASON_VALUES_MAX);
    for (uint32_t i = 0; i < reason->n_values; i++) {
        assert_non_null(reason->values[i].name);
        assert_non_null(reason->values[i].unit);
        assert_true(reason->values[i].value == reason->values[i].value);
    }
    assert_in_range(reason->n_rejected, 0, REASON_REJECTED_MAX);
    for (uint32_t i = 0; i < reason->n_rejected; i++) {
        assert_non_null(reason->rejected[i].why);
    }
}

static void
check_wish(const struct world *world, const struct wish *wish)
{
    check_reason(world, wish);
    assert_in_range(wish->kind, WISH_PSTATE, WISH_NOTIFY);
    if (wish->kind != WISH_PSTATE) {
        return;
    }
    const struct vm *vm = host_vm(&world->host, &wish->vm);
    assert_non_null(vm);
    assert_true(wish->vcpu < vm->n_vcpus);
    if (wish->withdraw) {
        return;
    }
    const struct domain *domain =
        host_domain_of_cpu(&world->host, vm->vcpu_cpu[wish->vcpu]);
    assert_non_null(domain);
    assert_in_range(wish->value, 0, domain->desc.table.n - 1);
    /* It ends unless it is renewed: a dead policy must not pin a CPU. */
    assert_true(wish->valid_until > world->now);
    assert_true(wish->valid_until <= world->now + 60 * EPOCH);
}

static void
check_wishes(const struct policy_class *policy)
{
    static struct world world;

    for (uint64_t seed = 1; seed <= 5; seed++) {
        world_init(&world, policy, seed);
        for (unsigned i = 0; i < N_TURNS; i++) {
            assert_int_equal(turn(&world), 0);
            for (size_t j = 0; j < world.list.n; j++) {
                check_wish(&world, &world.room[j]);
            }
        }
        world_fini(&world);
    }
}

static void
every_wish_is_in_range_says_why_and_ends(void **state)
{
    for_each_policy(check_wishes);
}

static void
check_small_list(const struct policy_class *policy)
{
    static struct world world;

    for (size_t max = 0; max < 8; max++) {
        world_init(&world, policy, 4);
        world.list.max = max;
        memset(world.room, 0x77, sizeof world.room);
        for (unsigned i = 0; i < N_TURNS; i++) {
            int error = turn(&world);
            assert_true(error == 0 || error == -ENOSPC);
            assert_true(world.list.n <= max);
            assert_int_equal(world.room[max].vcpu, 0x77777777);
        }
        world_fini(&world);
    }
}

static void
full_list_is_said_and_never_overrun(void **state)
{
    for_each_policy(check_small_list);
}

static void
check_empty_host(const struct policy_class *policy)
{
    static struct world world;

    world_init(&world, policy, 4);
    world.host.n_vms = 0;
    assert_int_equal(turn(&world), 0);
    assert_int_equal(world.list.n, 0);
    world.host.n_vms = N_VMS;
    world.host.n_domains = 0;
    for (uint32_t i = 0; i <= N_CPUS; i++) {
        world.host.cpus[i].domain = UINT32_MAX;
    }
    for (unsigned i = 0; i < N_TURNS; i++) {
        assert_int_equal(turn(&world), 0);
        for (size_t j = 0; j < world.list.n; j++) {
            assert_true(world.room[j].withdraw ||
                        world.room[j].kind != WISH_PSTATE);
        }
    }
    world_fini(&world);
}

static void
host_without_vms_or_controls_gets_no_wishes(void **state)
{
    for_each_policy(check_empty_host);
}

/* A VM's state on its way to another host. */

static void
check_round_trip(const struct policy_class *policy)
{
    static struct world world;
    uint8_t saved[SAVED_SIZE], again[SAVED_SIZE];
    struct cbor_out out, second;
    struct cbor_in in;

    if (!policy->save_vm) {
        return;
    }
    world_init(&world, policy, 5);
    for (unsigned i = 0; i < N_TURNS; i++) {
        assert_int_equal(turn(&world), 0);
        const void *vm_state = world.host.vms[i % N_VMS].policy_state;
        void *loaded = calloc(1, policy->vm_state_size);
        cbor_out_init(&out, saved, sizeof saved);
        assert_int_equal(policy->save_vm(vm_state, &out), 0);
        cbor_in_init(&in, saved, out.used);
        assert_int_equal(policy->load_vm(loaded, &in), 0);
        assert_true(cbor_in_done(&in));
        cbor_out_init(&second, again, sizeof again);
        assert_int_equal(policy->save_vm(loaded, &second), 0);
        assert_int_equal(second.used, out.used);
        assert_memory_equal(saved, again, out.used);
        /* No prefix of it is taken for the whole. */
        for (size_t size = 0; size < out.used; size++) {
            cbor_in_init(&in, saved, size);
            assert_int_equal(policy->load_vm(loaded, &in), -EPROTO);
        }
        /* And where there is no room to save, that is said. */
        cbor_out_init(&second, again, out.used - 1);
        assert_int_equal(policy->save_vm(vm_state, &second), -ENOSPC);
        free(loaded);
    }
    world_fini(&world);
}

static void
saved_state_is_read_back(void **state)
{
    for_each_policy(check_round_trip);
}

static void
check_garbage(const struct policy_class *policy)
{
    static struct world world;
    uint8_t saved[SAVED_SIZE];
    struct prng chance;
    struct cbor_out out;
    struct cbor_in in;

    if (!policy->load_vm) {
        return;
    }
    prng_init(&chance, 6);
    world_init(&world, policy, 6);
    for (unsigned i = 0; i < 20000; i++) {
        void *vm_state = world.host.vms[i % N_VMS].policy_state;
        cbor_out_init(&out, saved, sizeof saved);
        policy->save_vm(vm_state, &out);
        /* A few bytes of what it saved itself, or nothing but chance. */
        for (uint64_t n = prng_below(&chance, 3) + 1; n; n--) {
            saved[prng_below(&chance, out.used)] = (uint8_t)prng_u64(&chance);
        }
        cbor_in_init(&in, saved, out.used);
        int error = policy->load_vm(vm_state, &in);
        assert_true(error == 0 || error == -EPROTO);
        /* Whatever was let in, the policy stays within its bounds with it. */
        if (i % 16 == 0) {
            assert_int_equal(turn(&world), 0);
            for (size_t j = 0; j < world.list.n; j++) {
                check_wish(&world, &world.room[j]);
            }
        }
    }
    world_fini(&world);
}

static void
garbage_is_refused_or_harmless(void **state)
{
    for_each_policy(check_garbage);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_is_complete),
        cmocka_unit_test(defaults_are_valid_and_ranges_hold),
        cmocka_unit_test(what_lies_behind_a_note_is_not_read),
        cmocka_unit_test(same_input_gives_the_same_wishes),
        cmocka_unit_test(instances_do_not_know_of_each_other),
        cmocka_unit_test(the_host_is_only_read),
        cmocka_unit_test(every_wish_is_in_range_says_why_and_ends),
        cmocka_unit_test(full_list_is_said_and_never_overrun),
        cmocka_unit_test(host_without_vms_or_controls_gets_no_wishes),
        cmocka_unit_test(saved_state_is_read_back),
        cmocka_unit_test(garbage_is_refused_or_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
