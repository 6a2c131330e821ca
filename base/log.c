/* SPDX-License-Identifier: Apache-2.0 */
/* One line per message on stderr.  The program's name and level are the one
 * piece of file-scope state in this room: a program has one stderr.  Under
 * systemd the line starts with its priority, "<4>", which the journal reads. */
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_LINE_MAX 1024

static struct {
    const char *program;
    enum log_level highest;
    bool journal; /* stderr is not a terminal nor a file: systemd's socket. */
} log_state = {"mbroker", LOG_LEVEL_INFO, false};

__attribute__((format(printf, 2, 0))) static void
write_line(enum log_level, const char *format, va_list);

void
log_open(const char *program, enum log_level highest)
{
    struct stat st;

    log_state.program = program;
    log_state.highest = highest;
    log_state.journal = !fstat(STDERR_FILENO, &st) && S_ISSOCK(st.st_mode);
}

#define LOG_FUNCTION(name, level)                                              \
    void name(const char *format, ...)                                         \
    {                                                                          \
        va_list args;                                                          \
                                                                               \
        va_start(args, format);                                                \
        write_line(level, format, args);                                       \
        va_end(args);                                                          \
    }

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

/* Builds the whole line first, so that lines of several processes don't mix;
 * bytes a terminal would obey become '?'. */
static void
write_line(enum log_level level, const char *format, va_list args)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    static const int priorities[] = {3, 4, 6, 7};
    char line[LOG_LINE_MAX];
    size_t used = 0;

    if (level > log_state.highest) {
        return;
    }
    if (log_state.journal) {
        used = (size_t)snprintf(line, sizeof line, "<%d>", priorities[level]);
    }
    used += (size_t)snprintf(line + used, sizeof line - used,
                             "%s: %s: ", log_state.program, names[level]);
    vsnprintf(line + used, sizeof line - used - 1, format, args);
    for (char *c = line; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            *c = '?';
        }
    }
    used = strlen(line);
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, used) < 0) {
        return; /* Nobody left to tell. */
    }
}
