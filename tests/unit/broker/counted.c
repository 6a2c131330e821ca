/* SPDX-License-Identifier: Apache-2.0 */
/* Nobody can write counts, which are files, from inside a sandbox, nor who was
 * killed for what he tried.  So who enters shares the memory of one who stays
 * outside, and that one writes them when the other is over.  Relies on gcov's
 * own two functions in builds that count; in others it is a plain fork.
 * Called by the tests of the sandbox. */
#include "tests/unit/broker/counted.h"

#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define STACK_SIZE (4 << 20) /* A sandbox's plan alone has 256 KiB. */

#ifdef MBROKER_COUNTED

void __gcov_dump(void);
void __gcov_reset(void);

/* Waits for one whom only the tests' process may wait for. */
static int
wait_for_end(pid_t pid)
{
    struct pollfd pidfd = {.fd = (int)syscall(SYS_pidfd_open, pid, 0),
                           .events = POLLIN};

    return pidfd.fd < 0 || poll(&pidfd, 1, -1) != 1 ? -1 : 0;
}

/* The one outside.  Who enters is a child of the tests' process, as ever: a
 * parent of the same memory could be read. */
static _Noreturn void
stay_outside(int (*run)(void *), void *ctx, pid_t *entered)
{
    char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

    if (stack == MAP_FAILED) {
        _exit(1);
    }
    __gcov_reset(); /* What was counted before the fork is the parent's. */
    *entered =
        clone(run, stack + STACK_SIZE, CLONE_VM | CLONE_PARENT | SIGCHLD, ctx);
    if (*entered < 0 || wait_for_end(*entered)) {
        _exit(1);
    }
    __gcov_dump();
    _exit(0);
}

static int
run_beside(int (*run)(void *), void *ctx)
{
    pid_t *entered = mmap(NULL, sizeof *entered, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;

    assert_true(entered != MAP_FAILED);
    pid_t outside = fork();
    if (!outside) {
        stay_outside(run, ctx, entered);
    }
    assert_true(outside > 0);
    assert_int_equal(waitpid(outside, &status, 0), outside);
    assert_int_equal(status, 0);
    assert_int_equal(waitpid(*entered, &status, 0), *entered);
    munmap(entered, sizeof *entered);
    return status;
}

#endif

int
run_counted(bool may_share, int (*run)(void *ctx), void *ctx)
{
    int status;

#ifdef MBROKER_COUNTED
    if (may_share) {
        return run_beside(run, ctx);
    }
#endif
    (void)may_share;
    pid_t child = fork();
    if (!child) {
        _exit(run(ctx));
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}
