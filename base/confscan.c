/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at a configuration's text before libconfig 1.5 does, and refuses what
 * that would get wrong in silence: whole numbers beyond 32 bits without an L
 * wrap around (3000000000 becomes -1294967296), a comment that never ends
 * swallows the rest of the file, \x00 cuts a text short, @include reads any
 * file the broker may read and names its words in the error, and nesting is
 * freed by recursion.  It is given a newline more, because it refuses a comment
 * that ends with the file.  It knows only strings, comments, brackets and
 * numbers; all else is left to the parser.  Called by the
 * broker's and the agent's configuration and by msim for its scenarios.
 *
 * libconfig ends in a crash where it finds no memory.  So all that it could
 * need is asked for before it begins and given back to the C library, which
 * keeps it at hand meanwhile: there is no memory, in words, or there is enough.
 * That holds for a process's first thread and with glibc's allocator.
 *
 * XXX libconfig leaks the texts it has read when it then refuses the file, some
 * bytes per refused file; only another parser would end that. */
#include "base/confscan.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/reserve.h"

#define DEPTH_MAX 16

/* What libconfig allocates at most for a byte of text: the worst are lists in
 * lists, two bytes each, at 256 for a setting, its list and the first places of
 * that, and the largest list is copied as it grows. */
#define RESERVE_PER_BYTE 160
#define RESERVE_MORE (256 << 10) /* Its parser's tables and buffers. */

struct scan {
    const struct confscan_at *at;
    const char *c; /* What is looked at. */
    unsigned line;
    unsigned depth;
    unsigned opened_line[DEPTH_MAX];
    char opened[DEPTH_MAX];
};

static int parse(const struct confscan_at *, const char *text,
                 unsigned last_line, config_t *tree);
static int scan_line_start(struct scan *);
static int scan_token(struct scan *);

int
confscan_read(const struct confscan_at *at, const char *text, config_t *tree)
{
    struct scan scan = {.at = at, .c = text, .line = 1};
    int error = scan_line_start(&scan);

    while (!error && *scan.c) {
        error = scan_token(&scan);
    }
    if (!error && scan.depth) {
        error = confscan_refuse(at, scan.opened_line[scan.depth - 1],
                                "syntax error: '%c' is never closed",
                                scan.opened[scan.depth - 1]);
    }
    return error ? error : parse(at, text, scan.line, tree);
}

static int
parse(const struct confscan_at *at, const char *text, unsigned last_line,
      config_t *tree)
{
    char *with_newline;

    if (asprintf(&with_newline, "%s\n", text) < 0) {
        confscan_refuse(at, 1, "no memory");
        return -ENOMEM;
    }
    if (!reserve_begin(strlen(with_newline) * RESERVE_PER_BYTE +
                       RESERVE_MORE)) {
        reserve_end();
        free(with_newline);
        confscan_refuse(at, 1, "no memory");
        return -ENOMEM;
    }
    config_init(tree);
    bool parsed = config_read_string(tree, with_newline) == CONFIG_TRUE;
    reserve_end();
    free(with_newline);
    if (parsed) {
        return 0;
    }
    unsigned line = (unsigned)config_error_line(tree);
    const char *what = config_error_text(tree);
    bool syntax = what && !strcmp(what, "syntax error");

    confscan_refuse(at, line < last_line ? line : last_line, "%s%s",
                    what ? what : "no memory",
                    syntax ? " here or just before: a setting is NAME = VALUE;"
                           : "");
    config_destroy(tree);
    return -EINVAL;
}

/* libconfig takes @include at the start of any line that is not in a string or
 * comment; we refuse it at the start of any line at all. */
static int
scan_line_start(struct scan *scan)
{
    const char *c = scan->c + strspn(scan->c, " \t\r\f\v");

    if (!strncmp(c, "@include", strlen("@include"))) {
        return confscan_refuse(scan->at, scan->line,
                               "@include is refused: a configuration is "
                               "one file; put its text here");
    }
    return 0;
}

static int
scan_newline(struct scan *scan)
{
    scan->c++;
    scan->line++;
    return scan_line_start(scan);
}

static int
scan_string(struct scan *scan)
{
    unsigned line = scan->line;
    int error = 0;

    scan->c++;
    while (!error && *scan->c && *scan->c != '"') {
        if (*scan->c == '\n') {
            error = scan_newline(scan);
            continue;
        }
        if (!strncmp(scan->c, "\\x00", 4)) {
            return confscan_refuse(scan->at, scan->line,
                                   "\\x00 in a text would end it there; "
                                   "leave it out");
        }
        bool escape = scan->c[0] == '\\' && scan->c[1] && scan->c[1] != '\n';
        scan->c += escape ? 2 : 1;
    }
    if (!error && !*scan->c) {
        return confscan_refuse(scan->at, line,
                               "syntax error: this text never ends; it "
                               "needs a closing \"");
    }
    scan->c += !error;
    return error;
}

static int
scan_comment(struct scan *scan)
{
    unsigned line = scan->line;
    int error = 0;

    scan->c += 2;
    while (!error && *scan->c && strncmp(scan->c, "*/", 2) != 0) {
        if (*scan->c == '\n') {
            error = scan_newline(scan);
        } else {
            scan->c++;
        }
    }
    if (!error && !*scan->c) {
        return confscan_refuse(scan->at, line,
                               "this comment never ends; it needs a "
                               "closing */");
    }
    scan->c += error ? 0 : 2;
    return error;
}

static int
scan_open(struct scan *scan)
{
    if (scan->depth == DEPTH_MAX) {
        return confscan_refuse(scan->at, scan->line, "nested more than %d deep",
                               DEPTH_MAX);
    }
    scan->opened[scan->depth] = *scan->c;
    scan->opened_line[scan->depth] = scan->line;
    scan->depth++;
    scan->c++;
    return 0;
}

static int
scan_close(struct scan *scan)
{
    const char *open = "{[(", *close = "}])";
    char wanted = open[strchr(close, *scan->c) - close];

    if (!scan->depth || scan->opened[scan->depth - 1] != wanted) {
        return confscan_refuse(scan->at, scan->line,
                               "syntax error: '%c' closes nothing that "
                               "is open here",
                               *scan->c);
    }
    scan->depth--;
    scan->c++;
    return 0;
}

/* A word that starts like a number.  Fractions are libconfig's business. */
static int
scan_number(struct scan *scan)
{
    const char *start = scan->c;
    bool hex = start[0] == '0' && (start[1] == 'x' || start[1] == 'X');
    char *end;

    errno = 0;
    long long value = strtoll(start, &end, hex ? 16 : 10);
    bool is_long = *end == 'L' || *end == 'l';
    bool fraction = *end == '.' || *end == 'e' || *end == 'E';
    if (errno && !fraction) {
        return confscan_refuse(
            scan->at, scan->line, "%.*s does not fit in 64 bits",
            (int)(end - start > 40 ? 40 : end - start), start);
    }
    /* The sign was passed before; -2147483648 may be asked for with an L. */
    if (!fraction && !is_long && value > INT32_MAX) {
        return confscan_refuse(
            scan->at, scan->line, "%.*s does not fit in 32 bits; write %.*sL",
            (int)(end - start), start, (int)(end - start), start);
    }
    while (isalnum((unsigned char)*scan->c) || *scan->c == '.') {
        scan->c++;
    }
    return 0;
}

static int
scan_token(struct scan *scan)
{
    const char *c = scan->c;

    if (*c == '\n') {
        return scan_newline(scan);
    }
    if (*c == '"') {
        return scan_string(scan);
    }
    if (*c == '#' || (c[0] == '/' && c[1] == '/')) {
        scan->c += strcspn(c, "\n");
        return 0;
    }
    if (c[0] == '/' && c[1] == '*') {
        return scan_comment(scan);
    }
    if (*c == '{' || *c == '[' || *c == '(') {
        return scan_open(scan);
    }
    if (*c == '}' || *c == ']' || *c == ')') {
        return scan_close(scan);
    }
    if (isdigit((unsigned char)*c)) {
        return scan_number(scan);
    }
    if (isalpha((unsigned char)*c) || *c == '*') {
        scan->c += strspn(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "abcdefghijklmnopqrstuvwxyz0123456789-_*");
        return 0;
    }
    scan->c++;
    return 0;
}

/* Refusals. */

int
confscan_refuse(const struct confscan_at *at, unsigned line, const char *format,
                ...)
{
    va_list args;
    int used = snprintf(at->why, at->why_size, "%s:%u: ", at->path, line);

    if (used >= 0 && (size_t)used < at->why_size) {
        va_start(args, format);
        vsnprintf(at->why + used, at->why_size - (size_t)used, format, args);
        va_end(args);
    }
    return -EINVAL;
}

/* Files. */

static int
refuse_file(int error, const char *path, const char *what, char *why,
            size_t why_size)
{
    snprintf(why, why_size, "%s: %s", path, what);
    return error;
}

static int
read_all(int fd, const char *path, char **text_out, char *why, size_t why_size)
{
    char *text = malloc(CONFSCAN_TEXT_MAX + 2);
    size_t used = 0;
    ssize_t n = 1;

    if (!text) {
        return refuse_file(-ENOMEM, path, "no memory", why, why_size);
    }
    while (n > 0 && used <= CONFSCAN_TEXT_MAX) {
        n = read(fd, text + used, CONFSCAN_TEXT_MAX + 1 - used);
        used += n > 0 ? (size_t)n : 0;
    }
    text[used] = '\0';
    int error = 0;
    if (n < 0) {
        error = refuse_file(-errno, path, strerror(errno), why, why_size);
    } else if (used > CONFSCAN_TEXT_MAX) {
        error = refuse_file(-EFBIG, path,
                            "longer than 1 MiB; a configuration is not", why,
                            why_size);
    } else if (memchr(text, '\0', used)) {
        error =
            refuse_file(-EINVAL, path, "has NUL bytes; a configuration is text",
                        why, why_size);
    }
    if (error) {
        free(text);
        return error;
    }
    *text_out = text;
    return 0;
}

int
confscan_load(char **text_out, const char *path, char *why, size_t why_size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0) {
        return refuse_file(-errno, path, strerror(errno), why, why_size);
    }
    int error = 0;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        error = refuse_file(-EINVAL, path, "not a regular file", why, why_size);
    }
    if (!error) {
        error = read_all(fd, path, text_out, why, why_size);
    }
    close(fd);
    return error;
}
