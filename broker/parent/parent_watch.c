/* SPDX-License-Identifier: Apache-2.0 */
/* The parent's children heard and missed: what they say on their lines, beats
 * that show that they turn, who died and how, and their leaving one after the
 * other.  One that is gone, hangs or says what it may not makes the broker
 * stop; which of the three it was is said here.  Relies on line.c for words
 * with the children and on their leaving when a line ends.  Called by
 * parent.c's turn. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "broker/parent/parent_parts.h"
#include "broker/sandbox/sandbox.h"

_Static_assert(ROLE_BACK == 0 && ROLE_ENGINE == 1 && ROLE_PLATFORM == 2 &&
                   ROLE_STEWARD == 3,
               "children are numbered in the order in which they leave");

#define SANDBOX_CALL_SIZE 128

static void tell_call(const struct child *, int signal,
                      char out[SANDBOX_CALL_SIZE]);
static void say_how_it_ended(struct parent *, enum role, int status);

void
parent_reap(struct parent *parent)
{
    for (enum role role = ROLE_BACK; role < PARENT_CHILDREN; role++) {
        struct child *child = &parent->children[role];
        int status;

        if (child->pid && waitpid(child->pid, &status, WNOHANG) > 0) {
            say_how_it_ended(parent, role, status);
            child->pid = 0;
            line_close(&child->line);
            parent_close_fd(&child->words_fd);
        }
    }
}

static void
say_how_it_ended(struct parent *parent, enum role role, int status)
{
    const struct child *child = &parent->children[role];
    bool orderly = child->told_to_leave && WIFEXITED(status) &&
                   WEXITSTATUS(status) == EXIT_SUCCESS;

    if (orderly) {
        parent->end_told =
            parent->end_told || (role == ROLE_ENGINE && child->told_of_end);
        log_debug("%s (process %d) left", role_name(role), (int)child->pid);
        return;
    }
    if (WIFSIGNALED(status)) {
        char call[SANDBOX_CALL_SIZE];

        tell_call(child, WTERMSIG(status), call);
        parent_note_end(parent,
                        "%s (process %d) was killed by signal %d (%s)%s",
                        role_name(role), (int)child->pid, WTERMSIG(status),
                        strsignal(WTERMSIG(status)), call);
    } else {
        parent_note_end(parent, "%s (process %d) left by itself with status %d",
                        role_name(role), (int)child->pid, WEXITSTATUS(status));
    }
    parent->failed = true;
    parent->platform_died = parent->platform_died || role == ROLE_PLATFORM;
    parent_stop(parent, "one of its processes is gone");
}

/* Of which call it died, if it was one. */
static void
tell_call(const struct child *child, int signal, char out[SANDBOX_CALL_SIZE])
{
    char call[SANDBOX_CALL_SIZE / 2];
    int number;

    out[0] = '\0';
    if (signal != SIGSYS) {
        return;
    }
    if (read(child->words_fd, &number, sizeof number) == sizeof number) {
        sandbox_call_text(number, call, sizeof call);
        snprintf(out, SANDBOX_CALL_SIZE,
                 ": it made the system call %s, which only an intruder would",
                 call);
    } else {
        text_copy(out, SANDBOX_CALL_SIZE,
                  ": it made a system call that only an intruder would");
    }
}

void
parent_note_end(struct parent *parent, const char *format, ...)
{
    struct msg_bye ended = {{0}};
    va_list args;

    va_start(args, format);
    vsnprintf(ended.reason, sizeof ended.reason, format, args);
    va_end(args);
    log_error("%s", ended.reason);
    if (!parent->ended.reason[0]) {
        text_copy_printable(parent->ended.reason, sizeof parent->ended.reason,
                            ended.reason);
    }
}

void
parent_hear_children(struct parent *parent, nsec_t now)
{
    char why[MSG_WHY_SIZE], bytes[64];
    struct msg msg;

    if (parent->steward_ready) {
        parent->steward_ready = false;
        if (recv(parent->steward_fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
            parent->children[ROLE_STEWARD].heard = now;
        } else { /* It died, and would wake us until it is its turn. */
            loop_unwatch(parent->loop, parent->steward_fd);
        }
    }
    for (size_t i = 0; i < PARENT_LINES; i++) {
        struct child *child = &parent->children[i];

        for (int n = 0; child->pid && n < LINE_TURN_MAX; n++) {
            int got = line_recv(&child->line, &msg, why, sizeof why);
            if (!got) {
                break;
            }
            if (got < 0) {
                parent_note_end(parent, "%s sent what it may not (%.100s)",
                                role_name((enum role)i), why);
                parent->failed = true;
                parent_stop(parent, "one of its processes can't be trusted");
                break;
            }
            if (msg.type == MSG_READY) {
                child->ready = true;
            } else if (msg.type == MSG_RELOADED) {
                parent_reload_hear(parent, (enum role)i, &msg.reloaded);
            } else {
                child->heard = now; /* BEAT_REPLY. */
            }
        }
    }
}

/* One after the other: when one is gone the next is told.  Without BYE, on a
 * line that closes, a child leaves too, but platform would think that we died.
 */
void
parent_stop_next(struct parent *parent, nsec_t now)
{
    struct msg bye = {.type = MSG_BYE, .bye = parent->ended};

    if (!bye.bye.reason[0]) {
        text_copy(bye.bye.reason, sizeof bye.bye.reason, LINE_BYE);
    }
    for (enum role role = ROLE_BACK; role < PARENT_CHILDREN; role++) {
        struct child *child = &parent->children[role];

        if (!child->pid) {
            continue;
        }
        if (!child->give_up) {
            child->give_up = now + child->patience_ns;
        }
        if (role == ROLE_STEWARD) {
            parent_close_steward(parent);
            child->told_to_leave = true;
        } else if (!child->told_to_leave) {
            child->told_to_leave = !line_send(&child->line, &bye);
            child->told_of_end =
                child->told_to_leave && parent->ended.reason[0] != '\0';
        }
        if (now >= child->give_up) {
            log_error("%s (process %d) does not leave; killing it",
                      role_name(role), (int)child->pid);
            kill(child->pid, SIGKILL);
            child->give_up = now + child->patience_ns;
        }
        return;
    }
    loop_stop(parent->loop);
}

/* A process that runs but does not turn is as bad as a dead one, and is made
 * one, so that there is one way out.  A gap of our own, as when the host slept,
 * is nobody's fault. */
void
parent_beat(struct parent *parent, nsec_t now)
{
    const nsec_t hang_ns = parent->opts->hang_ns, period_ns = hang_ns / 4;

    if (now < parent->next_beat) {
        return;
    }
    struct msg msg = {.type = MSG_BEAT,
                      .beat = {.number = ++parent->n_beats, .origin_ns = now}};
    bool slept = now - parent->next_beat > period_ns;
    for (enum role role = ROLE_BACK; role < PARENT_CHILDREN; role++) {
        struct child *child = &parent->children[role];

        if (slept) {
            child->heard = now;
        }
        if (now - child->heard > hang_ns) {
            parent_note_end(
                parent, "%s (process %d) did not turn for %lld s; killing it",
                role_name(role), (int)child->pid,
                (long long)((now - child->heard) / NSEC_PER_SEC));
            kill(child->pid, SIGKILL);
        }
        if (role == ROLE_STEWARD) {
            send(parent->steward_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        } else {
            line_send(&child->line, &msg);
        }
    }
    parent->next_beat = now + period_ns;
}
