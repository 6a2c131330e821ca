/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a process that tried a system call which only an intruder
 * would make: the kernel does not make it, and sends SIGSYS instead, whose
 * handler says which call it was and dies of the same signal.
 *
 * A process that is taken over may know of the handler, but can't put it aside:
 * the filter kills who calls rt_sigaction for SIGSYS, and where the signal is
 * blocked, or its stack is none, the kernel kills without asking the handler.
 * The handler is good for once (SA_RESETHAND).  A second thread of the
 * intruder's might still keep the first from dying in it; the call was not made
 * all the same, and is then like one that is answered ENOSYS.  Called by
 * calls.c, and by the handler. */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker/sandbox/parts.h"
#include "broker/sandbox/sandbox.h"

int
caught_begin(const struct sandbox_plan *plan)
{
    struct sigaction action = {.sa_sigaction = plan->caught};

    if (!plan->caught) {
        return 0;
    }
    action.sa_flags = (int)(SA_SIGINFO | SA_RESETHAND | SA_NODEFER);
    sigfillset(&action.sa_mask);
    sigdelset(&action.sa_mask, SIGSYS);
    return sigaction(SIGSYS, &action, NULL) ? -errno : 0;
}

/* What the handler was there for happens now: it is reset.  A signal to
 * ourselves is allowed; should it be held up, the next forbidden call is not.
 */
void
sandbox_die(void)
{
    for (;;) {
        syscall(SYS_tgkill, getpid(), gettid(), SIGSYS);
        syscall(SYS_vhangup);
    }
}
