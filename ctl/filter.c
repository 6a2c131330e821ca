/* SPDX-License-Identifier: Apache-2.0 */
/* /proc says that a process has filters, and not what they are.  The kernel
 * hands out the programs themselves (PTRACE_SECCOMP_GET_FILTER); run here for
 * each call, they tell how many are let through.  Where a program looks at a
 * call's arguments both ways are followed, as its jumps go forward only. Called
 * by doctor.c and facts.c. */
#include "ctl/filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#else
#define ARCH 0 /* Filters refuse all: better too few than too many. */
#endif

#define STEPS_MAX 100000 /* Of one call: ways through a program. */

/* What is in the accumulator: a number, or anybody's guess. */
struct run {
    const struct sock_filter *program;
    size_t n;
    uint32_t call;
    unsigned n_steps;
    bool allows, refuses;
};

static void follow(struct run *, size_t at, uint32_t value, bool known);
static bool compare(uint16_t code, uint32_t value, uint32_t k);
static int get_filters(int32_t pid, enum filter_answer *answers);

enum filter_answer
filter_judge(const struct sock_filter *program, size_t n, uint32_t call)
{
    struct run run = {.program = program, .n = n, .call = call};

    follow(&run, 0, 0, true);
    if (run.allows && !run.refuses) {
        return FILTER_ALLOWS;
    }
    return run.allows ? FILTER_SOMETIMES : FILTER_REFUSES;
}

int
filter_count(int32_t pid, uint32_t *allowed_out, uint32_t *sometimes_out)
{
    enum filter_answer answers[FILTER_CALLS];
    uint32_t n_allowed = 0, n_sometimes = 0;
    int status;

    for (size_t i = 0; i < FILTER_CALLS; i++) {
        answers[i] = FILTER_ALLOWS;
    }
    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL)) {
        return -errno;
    }
    int error = ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) ||
                        waitpid(pid, &status, __WALL) != pid
                    ? -errno
                    : get_filters(pid, answers);
    ptrace(PTRACE_DETACH, pid, NULL, NULL);
    for (size_t i = 0; i < FILTER_CALLS; i++) {
        n_allowed += answers[i] != FILTER_REFUSES;
        n_sometimes += answers[i] == FILTER_SOMETIMES;
    }
    if (!error) {
        *allowed_out = n_allowed;
        *sometimes_out = n_sometimes;
    }
    return error;
}

/* The strictest of all filters' answers is the kernel's. */
static int
get_filters(int32_t pid, enum filter_answer *answers)
{
    struct sock_filter *program =
        calloc(FILTER_INSTRUCTIONS_MAX, sizeof *program);
    int error = program ? 0 : -ENOMEM;

    for (unsigned long i = 0; !error; i++) {
        long n = ptrace(PTRACE_SECCOMP_GET_FILTER, pid, (void *)i, program);

        if (n < 0) {
            error = errno == ENOENT && i ? 0 : -errno;
            break;
        }
        for (uint32_t call = 0; call < FILTER_CALLS; call++) {
            enum filter_answer answer = filter_judge(program, (size_t)n, call);

            answers[call] = answer < answers[call] ? answer : answers[call];
        }
    }
    free(program);
    return error;
}

static void
end(struct run *run, uint32_t action)
{
    bool allows = (action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ALLOW ||
                  (action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_LOG;

    run->allows = run->allows || allows;
    run->refuses = run->refuses || !allows;
}

static void
load(const struct run *run, uint32_t offset, uint32_t *value, bool *known)
{
    *known = true;
    if (offset == offsetof(struct seccomp_data, nr)) {
        *value = run->call;
    } else if (offset == offsetof(struct seccomp_data, arch)) {
        *value = ARCH;
    } else {
        *known = false;
    }
}

static void
follow(struct run *run, size_t at, uint32_t value, bool known)
{
    while (at < run->n && run->n_steps++ < STEPS_MAX) {
        const struct sock_filter *i = &run->program[at++];

        switch (BPF_CLASS(i->code)) {
        case BPF_LD:
            load(run, i->k, &value, &known);
            break;
        case BPF_RET:
            end(run, i->k);
            return;
        case BPF_JMP:
            if (BPF_OP(i->code) == BPF_JA) {
                at += i->k;
            } else if (known) {
                at += compare(i->code, value, i->k) ? i->jt : i->jf;
            } else {
                follow(run, at + i->jt, value, false);
                at += i->jf;
            }
            break;
        case BPF_ALU:
            known = known && BPF_OP(i->code) == BPF_AND;
            value &= i->k;
            break;
        default: /* Kept in memory: no guess is wrong. */
            known = false;
            break;
        }
    }
    run->refuses = true;
}

static bool
compare(uint16_t code, uint32_t value, uint32_t k)
{
    switch (BPF_OP(code)) {
    case BPF_JEQ:
        return value == k;
    case BPF_JGT:
        return value > k;
    case BPF_JGE:
        return value >= k;
    default:
        return (value & k) != 0;
    }
}
