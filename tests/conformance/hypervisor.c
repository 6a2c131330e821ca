/* SPDX-License-Identifier: Apache-2.0 */
/* Rules that every hypervisor driver obeys, with one guest "a" that it can
 * start and one "b" that it can't. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "base/text.h"
#include "hypervisor/hypervisor.h"
#include "tests/unit/hardware/tree.h"

#define PATIENCE (30 * NSEC_PER_SEC)

struct fixture {
    const struct hypervisor_class *class;
    struct tree state;
    int proc_dirfd;
    struct option_values options;
    struct hypervisor_guest guests[2];
    struct hypervisor_env env;
    struct hypervisor *hv;
    struct vm_sample sample[4];
    nsec_t skipped;
    char why[256];
};

#define FOR_EACH_CLASS(class)                                                  \
    for (const struct hypervisor_class *const *at = hypervisor_table, *class;  \
         (class = *at); at++)

static nsec_t
now_of(const struct fixture *f)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec * NSEC_PER_SEC + t.tv_nsec + f->skipped;
}

static void
prepare(struct fixture *f, const struct hypervisor_class *class)
{
    *f = (struct fixture){.class = class};
    tree_make(&f->state);
    f->proc_dirfd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    options_init(&f->options, class->options);
    for (int i = 0; i < 2; i++) {
        f->guests[i] = (struct hypervisor_guest){.uuid = {{(uint8_t)(i + 1)}},
                                                 .n_vcpus = 1};
        f->guests[i].name[0] = (char)('a' + i);
    }
    f->guests[0].command = "while :; do sleep 0.05; done";
    f->env = (struct hypervisor_env){
        .proc_dirfd = f->proc_dirfd,
        .state_dirfd = f->state.dirfd,
        .guests = f->guests,
        .n_guests = 2,
        .options = &f->options,
        .seed = 1,
    };
    assert_int_equal(class->open(&f->hv, &f->env, f->why, sizeof f->why), 0);
}

static int
look(struct fixture *f)
{
    return f->class->sample(f->hv, now_of(f), f->sample, 4);
}

static int
control(struct fixture *f, int guest, enum vm_op op)
{
    f->why[0] = '\0';
    return f->class->control(f->hv, &f->guests[guest].uuid, op, now_of(f),
                             f->why, sizeof f->why);
}

static void
await(struct fixture *f, enum vm_state wanted)
{
    nsec_t end = now_of(f) + PATIENCE;

    while (look(f) != 1 || f->sample[0].state != wanted) {
        assert_true(now_of(f) < end);
        usleep(2000);
    }
}

static void
finish(struct fixture *f)
{
    if (f->hv && look(f) > 0 && f->sample[0].state != VM_ENDED) {
        control(f, 0, VM_OP_END);
        f->skipped += 10 * NSEC_PER_SEC;
        await(f, VM_ENDED);
    }
    f->class->close(f->hv);
    close(f->proc_dirfd);
    tree_remove(&f->state);
}

static void
refused(int error, int wanted, const struct fixture *f)
{
    if (error != wanted || strlen(f->why) < 5) {
        fail_msg("%s: %d where %d was wanted, \"%s\"", f->class->name, error,
                 wanted, f->why);
    }
}

static void
class_is_complete(void **state)
{
    FOR_EACH_CLASS(class)
    {
        assert_true(text_is_name(class->name));
        assert_true(class->summary && class->summary[0]);
        assert_non_null(class->open);
        assert_non_null(class->sample);
        assert_non_null(class->control);
        assert_non_null(class->close);
        assert_ptr_equal(hypervisor_find(class->name), class);
    }
    assert_null(hypervisor_find("no such hypervisor"));
}

static void
options_explain_themselves(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct option_values values;

        options_init(&values, class->options);
        for (size_t i = 0; i < values.n; i++) {
            assert_true(text_is_name(values.descs[i].name));
            assert_true(values.descs[i].help && values.descs[i].help[0]);
        }
    }
}

static void
operations_have_names(void **state)
{
    assert_string_equal(vm_op_name(VM_OP_START), "start");
    assert_string_equal(vm_op_name(VM_OP_FREEZE), "freeze");
    assert_string_equal(vm_op_name(VM_OP_THAW), "thaw");
    assert_string_equal(vm_op_name(VM_OP_END), "end");
}

static void
closing_nothing_is_nothing(void **state)
{
    FOR_EACH_CLASS(class)
    {
        class->close(NULL);
    }
}

static void
opening_starts_nothing(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct fixture f;

        prepare(&f, class);
        assert_int_equal(look(&f), 0);
        finish(&f);
    }
}

static void
no_guests_are_fine(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct fixture f;

        prepare(&f, class);
        class->close(f.hv);
        f.hv = NULL;
        f.env.n_guests = 0;
        f.env.guests = NULL;
        assert_int_equal(class->open(&f.hv, &f.env, f.why, sizeof f.why), 0);
        assert_int_equal(look(&f), 0);
        finish(&f);
    }
}

static void
two_stand_side_by_side(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct hypervisor *second = NULL;
        struct fixture f;

        prepare(&f, class);
        assert_int_equal(class->open(&second, &f.env, f.why, sizeof f.why), 0);
        class->close(second);
        assert_int_equal(look(&f), 0);
        finish(&f);
    }
}

static void
guest_goes_through_its_life(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct fixture f;

        prepare(&f, class);
        assert_int_equal(control(&f, 0, VM_OP_START), 0);
        await(&f, VM_RUNNING);
        assert_string_equal(f.sample[0].name, "a");
        assert_true(uuid_equal(&f.sample[0].uuid, &f.guests[0].uuid));
        assert_int_equal(f.sample[0].n_vcpus, 1);
        assert_int_equal(control(&f, 0, VM_OP_FREEZE), 0);
        await(&f, VM_FROZEN);
        assert_int_equal(control(&f, 0, VM_OP_THAW), 0);
        await(&f, VM_RUNNING);
        assert_int_equal(control(&f, 0, VM_OP_END), 0);
        f.skipped += 10 * NSEC_PER_SEC;
        await(&f, VM_ENDED);
        assert_int_equal(look(&f), 0);
        finish(&f);
    }
}

/* Who tells instances keeps to one as long as the VM lives. */
static void
instance_is_another_after_another_start_only(void **state)
{
    FOR_EACH_CLASS(class)
    {
        uint64_t instance[2];
        struct fixture f;

        prepare(&f, class);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(control(&f, 0, VM_OP_START), 0);
            await(&f, VM_RUNNING);
            instance[i] = f.sample[0].instance;
            assert_int_equal(control(&f, 0, VM_OP_FREEZE), 0);
            await(&f, VM_FROZEN);
            assert_int_equal(control(&f, 0, VM_OP_THAW), 0);
            await(&f, VM_RUNNING);
            assert_int_equal(f.sample[0].instance, instance[i]);
            assert_int_equal(control(&f, 0, VM_OP_END), 0);
            f.skipped += 10 * NSEC_PER_SEC;
            await(&f, VM_ENDED);
        }
        assert_true(!instance[0] || instance[0] != instance[1]);
        finish(&f);
    }
}

static void
what_is_so_already_is_refused_with_a_why(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct fixture f;

        prepare(&f, class);
        assert_int_equal(control(&f, 0, VM_OP_START), 0);
        await(&f, VM_RUNNING);
        refused(control(&f, 0, VM_OP_START), -EALREADY, &f);
        refused(control(&f, 0, VM_OP_THAW), -EALREADY, &f);
        assert_int_equal(control(&f, 0, VM_OP_FREEZE), 0);
        await(&f, VM_FROZEN);
        refused(control(&f, 0, VM_OP_FREEZE), -EALREADY, &f);
        finish(&f);
    }
}

static int
migrate(struct fixture *f, int guest, const char *to)
{
    f->why[0] = '\0';
    return f->class->migrate(f->hv, &f->guests[guest].uuid, to, now_of(f),
                             f->why, sizeof f->why);
}

/* Who can migrate refuses what can't be, and the VM stays as it is. */
static void
guest_that_has_nowhere_to_go_stays(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct fixture f;

        prepare(&f, class);
        if (class->migrate) {
            assert_true(migrate(&f, 0, "nowhere") < 0); /* It isn't there. */
            assert_true(f.why[0]);
            assert_int_equal(control(&f, 0, VM_OP_START), 0);
            await(&f, VM_RUNNING);
            refused(migrate(&f, 0, "nowhere"), -EHOSTUNREACH, &f);
            refused(migrate(&f, 0, ""), -EHOSTUNREACH, &f);
            f.skipped += 10 * NSEC_PER_SEC;
            await(&f, VM_RUNNING);
        }
        finish(&f);
    }
}

static void
guest_that_is_not_there_is_refused_with_a_why(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct fixture f;

        prepare(&f, class);
        refused(control(&f, 0, VM_OP_FREEZE), -ENOENT, &f);
        refused(control(&f, 0, VM_OP_THAW), -ENOENT, &f);
        refused(control(&f, 0, VM_OP_END), -ENOENT, &f);
        finish(&f);
    }
}

static void
unknown_guest_is_refused_with_a_why(void **state)
{
    static const struct uuid stranger = {{99}};

    FOR_EACH_CLASS(class)
    {
        struct fixture f;

        prepare(&f, class);
        for (int op = VM_OP_START; op <= VM_OP_END; op++) {
            f.why[0] = '\0';
            refused(class->control(f.hv, &stranger, op, now_of(&f), f.why,
                                   sizeof f.why),
                    -ENOENT, &f);
        }
        finish(&f);
    }
}

static void
guest_without_a_command_is_not_started(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct fixture f;

        prepare(&f, class);
        refused(control(&f, 1, VM_OP_START), -ENOTSUP, &f);
        assert_int_equal(look(&f), 0);
        finish(&f);
    }
}

static void
sample_keeps_to_its_room(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct fixture f;

        prepare(&f, class);
        f.guests[1].command = f.guests[0].command;
        class->close(f.hv);
        f.hv = NULL;
        assert_int_equal(class->open(&f.hv, &f.env, f.why, sizeof f.why), 0);
        assert_int_equal(control(&f, 0, VM_OP_START), 0);
        assert_int_equal(control(&f, 1, VM_OP_START), 0);
        f.sample[1].n_vcpus = 77;
        assert_int_equal(class->sample(f.hv, now_of(&f), f.sample, 1), 1);
        assert_int_equal(f.sample[1].n_vcpus, 77);
        assert_int_equal(class->sample(f.hv, now_of(&f), NULL, 0), 0);
        control(&f, 0, VM_OP_END);
        control(&f, 1, VM_OP_END);
        f.skipped += 10 * NSEC_PER_SEC;
        nsec_t end = now_of(&f) + PATIENCE;
        while (look(&f)) {
            assert_true(now_of(&f) < end);
            usleep(2000);
        }
        finish(&f);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(class_is_complete),
        cmocka_unit_test(options_explain_themselves),
        cmocka_unit_test(operations_have_names),
        cmocka_unit_test(closing_nothing_is_nothing),
        cmocka_unit_test(opening_starts_nothing),
        cmocka_unit_test(no_guests_are_fine),
        cmocka_unit_test(two_stand_side_by_side),
        cmocka_unit_test(guest_goes_through_its_life),
        cmocka_unit_test(instance_is_another_after_another_start_only),
        cmocka_unit_test(what_is_so_already_is_refused_with_a_why),
        cmocka_unit_test(guest_that_has_nowhere_to_go_stays),
        cmocka_unit_test(guest_that_is_not_there_is_refused_with_a_why),
        cmocka_unit_test(unknown_guest_is_refused_with_a_why),
        cmocka_unit_test(guest_without_a_command_is_not_started),
        cmocka_unit_test(sample_keeps_to_its_room),
    };

    return cmocka_run_group_tests_name("hypervisor", tests, NULL, NULL);
}
