/* SPDX-License-Identifier: Apache-2.0 */
/* How a broker ended whose engine could not write it into the journal any more:
 * a line in the state directory, for the next one's.  For the parent only. */
#ifndef BROKER_PARENT_ENDED_H
#define BROKER_PARENT_ENDED_H

#include <stddef.h>

/* 0 or -Exxx. */
int ended_write(int state_dirfd, const char *text);
/* 'out' is printable, and "" if there is nothing to tell. */
void ended_read(int state_dirfd, char *out, size_t size);
/* It was told. */
void ended_forget(int state_dirfd);

#endif
