/* SPDX-License-Identifier: Apache-2.0 */
/* The order in which a process gives things up.  Root comes first, since it
 * takes privileges; then the user and what is left of them; then the promise
 * not to get new ones, which Landlock and seccomp ask for; the filter is last,
 * because it forbids all of the above.  What can't be had is said, not assumed.
 * Called by broker/role/confine.c. */
#include "broker/sandbox/sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/text.h"
#include "broker/sandbox/parts.h"

#define WHY_SIZE 160

static int take_root(const struct sandbox_plan *, struct sandbox_report *,
                     bool *own_users);
static void take_landlock(const struct sandbox_plan *, struct sandbox_report *);
static void take_seccomp(const struct sandbox_plan *, struct sandbox_report *);
static void say(struct sandbox_report *, const char *part, const char *what);
static void miss(struct sandbox_report *, const char *part, const char *why);
static void say_caps(struct sandbox_report *, uint64_t caps);

int
sandbox_enter(const struct sandbox_plan *plan, struct sandbox_report *out)
{
    bool may_change_ids = plan->has_ids && !geteuid();
    char why[WHY_SIZE] = "", text[64];
    bool own_users = false;
    uint64_t caps = 0;

    *out = (struct sandbox_report){.has_ids = false};
    syscall(SYS_close_range, (unsigned)plan->first_free_fd, ~0U, 0);
    int error = take_root(plan, out, &own_users);
    if (error) {
        return error;
    }
    error = ids_drop(plan, own_users, &caps, why, sizeof why);
    if (!error && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) {
        error = -errno;
        snprintf(why, sizeof why, "no_new_privs: %s", strerror(-error));
    }
    if (!error) {
        error = ids_set_limits(plan);
        snprintf(why, sizeof why, "limits: %s", strerror(-error));
    }
    if (error) {
        text_copy(out->missing, sizeof out->missing, why);
        return error;
    }
    snprintf(text, sizeof text, "user %u", (unsigned)geteuid());
    say(out, "", text);
    out->has_ids = may_change_ids;
    if (plan->has_ids && !may_change_ids) {
        miss(out, "a user of its own", "only root can give it one");
    }
    say_caps(out, caps);
    if (plan->root && !out->has_root) {
        take_landlock(plan, out);
    }
    if (plan->seccomp) {
        take_seccomp(plan, out);
    }
    return 0;
}

static int
take_root(const struct sandbox_plan *plan, struct sandbox_report *out,
          bool *own_users)
{
    char why[WHY_SIZE] = "";

    if (!plan->root) {
        return 0;
    }
    int error = root_enter(plan, own_users, why, sizeof why);
    if (error == -ECANCELED) {
        text_copy(out->missing, sizeof out->missing, why);
        return error;
    }
    out->has_root = !error;
    if (error) {
        miss(out, "an empty root", why);
    } else {
        say(out, "",
            *own_users ? "an empty root (user namespace)" : "an empty root");
    }
    return 0;
}

static void
take_landlock(const struct sandbox_plan *plan, struct sandbox_report *out)
{
    char why[WHY_SIZE] = "";

    if (landlock_enter(plan, why, sizeof why)) {
        miss(out, "Landlock instead", why);
    } else {
        say(out, "", "Landlock");
    }
}

static void
take_seccomp(const struct sandbox_plan *plan, struct sandbox_report *out)
{
    char why[WHY_SIZE] = "", text[32];

    int n = calls_filter(plan, why, sizeof why);
    if (n < 0) {
        miss(out, "seccomp", why);
        return;
    }
    out->has_seccomp = true;
    snprintf(text, sizeof text, "%d system calls", n);
    say(out, "", text);
}

static void
say(struct sandbox_report *out, const char *part, const char *what)
{
    text_append(out->in_force, sizeof out->in_force, "%s%s%s",
                out->in_force[0] ? ", " : "", part, what);
}

static void
miss(struct sandbox_report *out, const char *part, const char *why)
{
    text_append(out->missing, sizeof out->missing, "%s%s (%s)",
                out->missing[0] ? "; " : "", part, why);
}

static void
say_caps(struct sandbox_report *out, uint64_t caps)
{
    char text[64];

    if (caps) {
        snprintf(text, sizeof text, "%d capabilities",
                 __builtin_popcountll(caps));
    } else {
        snprintf(text, sizeof text, "no capabilities");
    }
    say(out, "", text);
}
