/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes the one-value files of sysfs, procfs and cgroups below a
 * directory descriptor, so that tests and the simulator can hand in a tree of
 * their own.  No path leaves the directory's descriptor by being absolute. */
#ifndef BASE_SYSFS_H
#define BASE_SYSFS_H

#include <stddef.h>
#include <stdint.h>

/* Reads at most size-1 bytes and terminates them; a trailing newline is taken
 * off.  Returns the length or -Exxx. */
int sysfs_read(int dirfd, const char *path, char *out, size_t size);
int sysfs_read_u64(int dirfd, const char *path, uint64_t *out);
/* Writes 'text' in one write().  Returns 0 or -Exxx. */
int sysfs_write(int dirfd, const char *path, const char *text);

#endif
