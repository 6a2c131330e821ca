/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's directories and what lies in its run directory: lock, sockets,
 * saved states.  For the processes of mbrokerd only. */
#ifndef BROKER_PARENT_RUNDIR_H
#define BROKER_PARENT_RUNDIR_H

#include <stddef.h>
#include <sys/types.h>

#include "broker/config/config.h"

#define RUNDIR_SAVED "saved"
#define RUNDIR_JOURNAL "journal" /* In the state directory. */
#define RUNDIR_CAP "cap"         /* In the state directory: its record. */
#define RUNDIR_LOCK "lock"

/* Makes the directory at 'path' if it isn't there (not those above it) and
 * opens it; one that isn't ours, or that others may write, is refused.  A
 * descriptor or -Exxx with 'why'. */
int rundir_open(const char *path, mode_t mode, char *why, size_t why_size);
/* The same below 'dirfd', for the process that runs as 'uid' and 'gid', whose
 * it and all files in it become. */
int rundir_open_below(int dirfd, const char *name, uid_t uid, gid_t gid,
                      char *why, size_t why_size);

/* Moves the journal of a broker that kept it in the state directory itself to
 * the journal's own, as what may be there under its name is one no more. */
void rundir_move_journal(int state_dirfd, int journal_dirfd, uid_t, gid_t);

/* Makes the socket of a guest's channel and listens.  One that a dead broker
 * left is replaced, one somebody answers at is refused.  A descriptor; -1 if
 * the channel is none (sim:); or -Exxx with 'why'. */
int rundir_listen(const struct guest_config *, char *why, size_t why_size);

/* Takes a guest's away that was made here. */
void rundir_remove(const struct guest_config *);

/* Takes the sockets away that a broker of this configuration made: all in its
 * run directory, whose lock the caller holds, and those elsewhere that nobody
 * answers at. */
void rundir_clean(const struct broker_config *);

#endif
