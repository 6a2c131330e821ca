/* SPDX-License-Identifier: Apache-2.0 */
/* Locks between brokers: a file each, that says who holds it.  A lock belongs
 * to its descriptor (flock): whoever inherits that holds it too, and it goes
 * with the last of them, however they end. */
#ifndef BROKER_PARENT_LOCK_H
#define BROKER_PARENT_LOCK_H

#include <stddef.h>
#include <sys/types.h>

#define LOCK_HOLDER_SIZE 256

struct lock_holder {
    pid_t pid; /* 0: the file does not say. */
    uid_t uid; /* Whose the file is; what is in it is only his word. */
    char run_dir[LOCK_HOLDER_SIZE];
};

/* Takes the lock at 'path' and writes 'self' into it.  Returns a descriptor;
 * -EWOULDBLOCK and '*holder' if another broker has it; or -Exxx. */
int lock_take(const char *path, const struct lock_holder *self,
              struct lock_holder *holder);
/* Takes the file away, if it is ours to remove, and closes.  To be called when
 * no other process holds the lock any more. */
void lock_drop(const char *path, int fd);

#endif
