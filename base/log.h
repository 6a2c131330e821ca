/* SPDX-License-Identifier: Apache-2.0 */
/* One line per message on stderr, for programs.  Library rooms do not log:
 * they return an error, and the program that decides what it means writes the
 * line: who, what, why, and what happens next. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO,
                 LOG_LEVEL_DEBUG };

/* Names the program and sets the highest level that is written.  'program' is
 * borrowed for ever.  To be called once, by main. */
void log_open(const char *program, enum log_level highest);

__attribute__((format(printf, 1, 2))) void log_error(const char *, ...);
__attribute__((format(printf, 1, 2))) void log_warn(const char *, ...);
__attribute__((format(printf, 1, 2))) void log_info(const char *, ...);
__attribute__((format(printf, 1, 2))) void log_debug(const char *, ...);

#endif
