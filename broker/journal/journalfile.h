/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to the journal's files from outside of SQLite.  For
 * broker/journal/ only. */
#ifndef BROKER_JOURNAL_JOURNALFILE_H
#define BROKER_JOURNAL_JOURNALFILE_H

#include <stddef.h>

#define JOURNALFILE_PATH_SIZE 512

/* Renames a damaged file, its log with it, to the first free name, which is
 * written to 'to'.  0, or -Exxx with 'why'. */
int journalfile_move_aside(const char *path, char *to, size_t to_size,
                           char *why, size_t why_size);

/* The other way round, if nothing came of it: what lies at 'path' by now, and
 * all beside 'to', goes. */
void journalfile_move_back(const char *to, const char *path);

/* Makes the names of the directory that 'path' is in durable. */
int journalfile_sync_directory(const char *path);

#endif
