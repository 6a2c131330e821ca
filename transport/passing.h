/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors that pass over a unix socket, and the memory behind them. */
#ifndef TRANSPORT_PASSING_H
#define TRANSPORT_PASSING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Sends the bytes, and 'fd' with them: 0, or -EAGAIN if there is no room.  Does
 * not block. */
int passing_send(int socket, const void *data, size_t size, int fd);

/* Receives up to 'size' bytes, and says how many descriptors came with them:
 * the first is '*fd_out' and the caller's, or -1; the others are closed.
 * Returns the number of bytes, 0 at the end, or -Exxx; does not block. */
ssize_t passing_recv(int socket, void *data, size_t size, int *fd_out,
                     unsigned *n_fds_out);

/* Memory that has this size and the seals (F_SEAL_...), so that no access to it
 * can end in SIGBUS: the descriptor, or -Exxx. */
int passing_make_memory(uint64_t size, int seals);
/* 0 if 'fd' is such memory, else -EPROTO. */
int passing_check_memory(int fd, uint64_t size, int seals);

#endif
