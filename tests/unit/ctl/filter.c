/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of system calls, read as the kernel runs them: by number, by
 * arguments, by the processor they were made for, and such as make no sense. */
#include "ctl/filter.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define LOAD(member)                                                           \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define EQUAL(k, jt, jf) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, jt, jf)
#define ABOVE(k, jt, jf) BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, k, jt, jf)
#define LEAST(k, jt, jf) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, k, jt, jf)
#define BITS(k, jt, jf) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, k, jt, jf)
#define GO(k) BPF_STMT(BPF_JMP | BPF_JA, k)
#define AND(k) BPF_STMT(BPF_ALU | BPF_AND | BPF_K, k)
#define ANSWER(action) BPF_STMT(BPF_RET | BPF_K, action)
#define ALLOW ANSWER(SECCOMP_RET_ALLOW)
#define KILL ANSWER(SECCOMP_RET_KILL_PROCESS)
#define REFUSE ANSWER(SECCOMP_RET_ERRNO | 38)

#define JUDGE(program, call)                                                   \
    filter_judge(program, sizeof(program) / sizeof(program)[0], call)

static void
a_call_is_known_by_its_number(void **state)
{
    static const struct sock_filter program[] = {
        LOAD(nr), EQUAL(3, 0, 1), ALLOW, EQUAL(4, 0, 1), KILL, REFUSE};

    (void)state;
    assert_int_equal(JUDGE(program, 3), FILTER_ALLOWS);
    assert_int_equal(JUDGE(program, 4), FILTER_REFUSES);
    assert_int_equal(JUDGE(program, 5), FILTER_REFUSES);
}

static void
ranges_and_bits_are_followed(void **state)
{
    static const struct sock_filter above[] = {LOAD(nr), ABOVE(10, 0, 1), ALLOW,
                                               REFUSE};
    static const struct sock_filter least[] = {LOAD(nr), LEAST(10, 0, 1), ALLOW,
                                               REFUSE};
    static const struct sock_filter bits[] = {LOAD(nr), BITS(8, 0, 1), ALLOW,
                                              REFUSE};
    static const struct sock_filter masked[] = {LOAD(nr), AND(7),
                                                EQUAL(2, 0, 1), ALLOW, REFUSE};

    (void)state;
    assert_int_equal(JUDGE(above, 10), FILTER_REFUSES);
    assert_int_equal(JUDGE(above, 11), FILTER_ALLOWS);
    assert_int_equal(JUDGE(least, 9), FILTER_REFUSES);
    assert_int_equal(JUDGE(least, 10), FILTER_ALLOWS);
    assert_int_equal(JUDGE(bits, 7), FILTER_REFUSES);
    assert_int_equal(JUDGE(bits, 9), FILTER_ALLOWS);
    assert_int_equal(JUDGE(masked, 10), FILTER_ALLOWS);
    assert_int_equal(JUDGE(masked, 11), FILTER_REFUSES);
}

static void
what_depends_on_arguments_is_sometimes(void **state)
{
    static const struct sock_filter program[] = {
        LOAD(nr), EQUAL(3, 0, 3), LOAD(args[0]), EQUAL(7, 0, 1), ALLOW, REFUSE};
    static const struct sock_filter vain[] = {LOAD(args[1]), EQUAL(7, 0, 1),
                                              ALLOW, ALLOW};

    (void)state;
    assert_int_equal(JUDGE(program, 3), FILTER_SOMETIMES);
    assert_int_equal(JUDGE(program, 4), FILTER_REFUSES);
    assert_int_equal(JUDGE(vain, 4), FILTER_ALLOWS);
}

/* After an argument the number is read again, as compilers do. */
static void
a_number_read_again_is_known_again(void **state)
{
    static const struct sock_filter program[] = {LOAD(args[0]), LOAD(nr),
                                                 EQUAL(3, 0, 1), ALLOW, REFUSE};

    (void)state;
    assert_int_equal(JUDGE(program, 3), FILTER_ALLOWS);
    assert_int_equal(JUDGE(program, 4), FILTER_REFUSES);
}

static void
a_filter_for_another_processor_refuses(void **state)
{
    static const struct sock_filter program[] = {
        LOAD(arch), EQUAL(AUDIT_ARCH_S390, 1, 0), KILL, ALLOW};

    (void)state;
    assert_int_equal(JUDGE(program, 3), FILTER_REFUSES);
}

static void
to_log_is_to_allow(void **state)
{
    static const struct sock_filter program[] = {ANSWER(SECCOMP_RET_LOG)};

    (void)state;
    assert_int_equal(JUDGE(program, 3), FILTER_ALLOWS);
}

static void
what_runs_off_its_end_refuses(void **state)
{
    static const struct sock_filter nothing[] = {LOAD(nr)};
    static const struct sock_filter far[] = {GO(100), ALLOW};
    static const struct sock_filter jump[] = {LOAD(nr), EQUAL(3, 200, 0),
                                              ALLOW};
    static const struct sock_filter unknown[] = {LOAD(args[0]),
                                                 EQUAL(3, 200, 0), ALLOW};

    (void)state;
    assert_int_equal(filter_judge(nothing, 0, 3), FILTER_REFUSES);
    assert_int_equal(JUDGE(nothing, 3), FILTER_REFUSES);
    assert_int_equal(JUDGE(far, 3), FILTER_REFUSES);
    assert_int_equal(JUDGE(jump, 3), FILTER_REFUSES);
    assert_int_equal(JUDGE(jump, 4), FILTER_ALLOWS);
    assert_int_equal(JUDGE(unknown, 3), FILTER_SOMETIMES);
}

/* Every instruction a fork in the road: as many ways as atoms. */
static void
a_maze_comes_to_an_end(void **state)
{
    static struct sock_filter program[FILTER_INSTRUCTIONS_MAX];
    const struct sock_filter load = LOAD(args[0]), fork = EQUAL(1, 1, 0),
                             allow = ALLOW;

    (void)state;
    for (size_t i = 0; i < FILTER_INSTRUCTIONS_MAX; i++) {
        program[i] = fork;
    }
    program[0] = load;
    program[FILTER_INSTRUCTIONS_MAX - 1] = allow;
    program[FILTER_INSTRUCTIONS_MAX - 2] = allow;
    assert_int_not_equal(JUDGE(program, 3), FILTER_ALLOWS);
}

static void
nobody_has_no_filters(void **state)
{
    uint32_t n_allowed = 7, n_sometimes = 7;

    (void)state;
    assert_true(filter_count(INT32_MAX, &n_allowed, &n_sometimes) < 0);
    assert_int_equal(n_allowed, 7);
    assert_int_equal(n_sometimes, 7);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_known_by_its_number),
        cmocka_unit_test(ranges_and_bits_are_followed),
        cmocka_unit_test(what_depends_on_arguments_is_sometimes),
        cmocka_unit_test(a_number_read_again_is_known_again),
        cmocka_unit_test(a_filter_for_another_processor_refuses),
        cmocka_unit_test(to_log_is_to_allow),
        cmocka_unit_test(what_runs_off_its_end_refuses),
        cmocka_unit_test(a_maze_comes_to_an_end),
        cmocka_unit_test(nobody_has_no_filters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
