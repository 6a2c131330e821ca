/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to the journal's files from outside of SQLite.  For
 * broker/journal/journaldb.c only. */
#ifndef BROKER_JOURNAL_JOURNALFILE_H
#define BROKER_JOURNAL_JOURNALFILE_H

#include <stddef.h>
#include <stdint.h>

/* Renames a damaged file, its log with it, to the first free name, which 'why'
 * says.  0 or -Exxx. */
int journalfile_move_aside(const char *path, char *why, size_t why_size);

/* The count of starts that is kept beside the file; 0 if there is none. */
uint64_t journalfile_read_starts(const char *path);
/* Writes it anew; the old one stands until the new one is whole.  0 or
 * -Exxx. */
int journalfile_write_starts(const char *path, uint64_t starts);

#endif
