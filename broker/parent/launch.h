/* SPDX-License-Identifier: Apache-2.0 */
/* Starts a process of mbrokerd: the same program again, as a role, with just
 * the descriptors that role is to have.  For the parent only. */
#ifndef BROKER_PARENT_LAUNCH_H
#define BROKER_PARENT_LAUNCH_H

#include <stdint.h>
#include <sys/types.h>

/* Runs /proc/self/exe with 'argv' (ended by null); 'fds[i]' becomes its
 * descriptor 3 + i, where -1 leaves that number closed.  They stay open here.
 * The child's id, or -Exxx. */
pid_t launch(char *const argv[], const int *fds, uint32_t n_fds);

#endif
