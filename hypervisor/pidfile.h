/* SPDX-License-Identifier: Apache-2.0 */
/* Files that name a guest's first process. */
#ifndef HYPERVISOR_PIDFILE_H
#define HYPERVISOR_PIDFILE_H

#include "hypervisor/proctree.h"

/* Reads "PID START BOOT_ID", which guestinit.c wrote.  0 if that process lives;
 * -ENOENT if there is no file, -ESRCH if it names none that lives, by number,
 * starting time and run of the kernel. */
int pidfile_read_own(int proc_dirfd, int state_dirfd, const char *path,
                     const char *boot_id, struct process_id *out);

/* Reads a file that somebody else wrote, which has a number and nothing to tell
 * whose it was.  'path' is relative to 'state_dirfd', or absolute.  -ESRCH also
 * if the process started after the file was written, so that it can't be the
 * one that was meant; -EPERM if it is this process or one above it, or not one
 * that the file's writer may name: who is neither root nor we, only his own. */
int pidfile_read_foreign(int proc_dirfd, int state_dirfd, const char *path,
                         struct process_id *out);

#endif
