/* SPDX-License-Identifier: Apache-2.0 */
/* User, groups, capabilities and limits.  Capabilities are kept across the
 * change of user by PR_SET_KEEPCAPS, then cut to the plan's; the bounding set
 * goes whole, as nothing is ever run by exec.  Called by sandbox.c. */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker/sandbox/parts.h"
#include "broker/sandbox/sandbox.h"

static int change_ids(uid_t, gid_t);
static int set_caps(uint64_t caps);
static int lower(int resource, uint64_t most);

int
ids_drop(const struct sandbox_plan *plan, bool own_users, uint64_t *caps_out,
         char *why, size_t why_size)
{
    uint64_t caps = own_users ? 0 : plan->caps & ids_permitted();

    for (int cap = 0; cap <= CAP_LAST_CAP; cap++) {
        prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* As far as we may. */
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (plan->has_ids && !own_users && !geteuid()) {
        int error = change_ids(plan->uid, plan->gid);

        if (error) {
            snprintf(why, why_size, "user %u, group %u: %s",
                     (unsigned)plan->uid, (unsigned)plan->gid,
                     strerror(-error));
            return error;
        }
    }
    int error = set_caps(caps);
    if (error) {
        snprintf(why, why_size, "capabilities: %s", strerror(-error));
        return error;
    }
    /* The kernel did the like when the user changed.  Sanitizers trace. */
    if (!own_users && plan->has_ids) {
        prctl(PR_SET_DUMPABLE, SANDBOX_SANITIZED, 0, 0, 0);
    }
    *caps_out = caps;
    return 0;
}

int
ids_set_limits(const struct sandbox_plan *plan)
{
    int error = lower(RLIMIT_CORE, 0);

    if (!error && plan->n_fds_max != SANDBOX_NO_LIMIT) {
        error = lower(RLIMIT_NOFILE, plan->n_fds_max);
    }
    if (!error && plan->n_tasks_max != SANDBOX_NO_LIMIT && !SANDBOX_SANITIZED) {
        error = lower(RLIMIT_NPROC, plan->n_tasks_max);
    }
    if (!error && plan->data_max != SANDBOX_NO_LIMIT && !SANDBOX_SANITIZED) {
        error = lower(RLIMIT_DATA, plan->data_max);
    }
    return error;
}

static int
change_ids(uid_t uid, gid_t gid)
{
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) || setgroups(0, NULL) ||
        setresgid(gid, gid, gid) || setresuid(uid, uid, uid)) {
        return -errno;
    }
    return 0;
}

uint64_t
ids_permitted(void)
{
    struct __user_cap_header_struct header = {.version =
                                                  _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};

    if (syscall(SYS_capget, &header, data)) {
        return 0;
    }
    return data[0].permitted | (uint64_t)data[1].permitted << 32;
}

static int
set_caps(uint64_t caps)
{
    struct __user_cap_header_struct header = {.version =
                                                  _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct data[2] = {
        {.effective = (uint32_t)caps, .permitted = (uint32_t)caps},
        {.effective = (uint32_t)(caps >> 32),
         .permitted = (uint32_t)(caps >> 32)}};

    return syscall(SYS_capset, &header, data) ? -errno : 0;
}

/* Never raises. */
static int
lower(int resource, uint64_t most)
{
    struct rlimit limit;

    if (getrlimit(resource, &limit)) {
        return -errno;
    }
    if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max > most) {
        limit.rlim_max = most;
    }
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > limit.rlim_max ||
        resource == RLIMIT_NOFILE) {
        limit.rlim_cur = limit.rlim_max;
    }
    return setrlimit(resource, &limit) ? -errno : 0;
}
