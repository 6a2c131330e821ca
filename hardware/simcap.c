/* SPDX-License-Identifier: Apache-2.0 */
/* A power cap that misbehaves on request.  It lives in the made-up world, or,
 * for tests between real processes, in a small file below what stands for /sys:
 * there it outlives a broker that is killed, as a real register does, and a
 * test sees what limits the host and says how the register is to fail.  Relies
 * on base/sysfs; called by sim.c and by simulators. */
#include "hardware/simcap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/sysfs.h"

#define TEXT_SIZE 64
#define NAME_SIZE 96

int
simcap_get(struct simcap *cap, uint64_t *mw_out)
{
    if (cap->fault == SIMCAP_GONE) {
        return -ENODEV;
    }
    if (cap->late_gets && !--cap->late_gets) {
        cap->mw = cap->coming;
    }
    *mw_out = cap->fault == SIMCAP_LIES ? cap->said : cap->mw;
    return 0;
}

int
simcap_set(struct simcap *cap, uint64_t mw)
{
    if (cap->fault == SIMCAP_GONE) {
        return -ENODEV;
    }
    cap->n_sets++;
    if (mw < SIMCAP_LOW_MW || mw > SIMCAP_HIGH_MW) {
        return -ERANGE;
    }
    switch (cap->fault) {
    case SIMCAP_FAILS:
        return -EIO;
    case SIMCAP_LATE:
        cap->coming = mw;
        cap->late_gets = SIMCAP_LATE_GETS;
        break;
    case SIMCAP_LIES:
        cap->said = mw;
        break;
    case SIMCAP_NONE:
        cap->mw = mw;
        cap->late_gets = 0;
        break;
    case SIMCAP_STICKS:
    case SIMCAP_GONE:
    case SIMCAP_N:
        break;
    }
    return 0;
}

int
simcap_fault_parse(enum simcap_fault *out, const char *name)
{
    static const char *const names[SIMCAP_N] = {
        [SIMCAP_NONE] = "none", [SIMCAP_FAILS] = "fails",
        [SIMCAP_STICKS] = "sticks", [SIMCAP_LATE] = "late",
        [SIMCAP_LIES] = "lies", [SIMCAP_GONE] = "gone",
    };

    for (int i = 0; i < SIMCAP_N; i++) {
        if (!strcmp(names[i], name)) {
            *out = (enum simcap_fault)i;
            return 0;
        }
    }
    return -EINVAL;
}

int
simcap_load(struct simcap *cap, int dirfd, const char *file)
{
    char text[TEXT_SIZE], name[NAME_SIZE];
    uint64_t mw, n_sets;

    snprintf(name, sizeof name, "%s.fault", file);
    cap->fault = SIMCAP_NONE;
    if (sysfs_read(dirfd, name, text, sizeof text) >= 0 &&
        simcap_fault_parse(&cap->fault, text)) {
        return -EIO;
    }
    int length = sysfs_read(dirfd, file, text, sizeof text);
    if (length == -ENOENT || length == 0) {
        cap->mw = cap->n_sets = 0;
        return 0;
    }
    if (length < 0) {
        return length;
    }
    if (sscanf(text, "mw %" SCNu64 " sets %" SCNu64, &mw, &n_sets) != 2) {
        return -EIO;
    }
    cap->mw = mw;
    cap->n_sets = n_sets;
    return 0;
}

int
simcap_store(const struct simcap *cap, int dirfd, const char *file)
{
    char text[TEXT_SIZE];

    /* Always as long: who reads meanwhile reads all of it. */
    int length = snprintf(text, sizeof text,
                          "mw %010" PRIu64 "\nsets %010" PRIu64 "\n", cap->mw,
                          cap->n_sets);
    int fd = openat(dirfd, file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return -errno;
    }
    ssize_t put = write(fd, text, (size_t)length);
    int error = put < 0 ? -errno : put < length ? -ENOSPC : 0;
    close(fd);
    return error;
}
