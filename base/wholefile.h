/* SPDX-License-Identifier: Apache-2.0 */
/* Small files that are there whole or not at all. */
#ifndef BASE_WHOLEFILE_H
#define BASE_WHOLEFILE_H

/* What a file is called while it is written: its name and this. */
#define WHOLEFILE_ASIDE ".new"

/* Puts 'text' into a file 'name' of the directory, in the place of the one that
 * is there, on the disk when it returns.  The file can be read by its owner
 * alone.  Returns 0 or -Exxx, and then the old file stays. */
int wholefile_write(int dirfd, const char *name, const char *text);

#endif
