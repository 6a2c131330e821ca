/* SPDX-License-Identifier: Apache-2.0 */
/* Starts the first process of a guest. */
#ifndef HYPERVISOR_GUESTINIT_H
#define HYPERVISOR_GUESTINIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define GUESTINIT_PATH_SIZE 80 /* NAME.pid and the like. */

/* All borrowed for the call. */
struct guestinit {
    int proc_dirfd, state_dirfd;
    const char *name;    /* As text_is_name() has it. */
    const char *command; /* For /bin/sh -c. */
    const char *boot_id; /* Of this run of the kernel. */
    const uint32_t *cpus;
    uint32_t n_cpus; /* 0: any. */
    bool log;        /* Its output goes to NAME.log, else to /dev/null. */
};

/* Begins it and returns at once with its number; it is the caller's child.  It
 * writes "PID START BOOT_ID" to NAME.pid before it runs the command, and lives
 * until all that descends from it has ended.  Returns -Exxx if it can't be
 * begun; if it fails later, it says so in its log and ends. */
pid_t guestinit_start(const struct guestinit *);

#endif
