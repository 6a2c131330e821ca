/* SPDX-License-Identifier: Apache-2.0 */
/* Follows a file that others append to, line by line, whatever they do to it:
 * it may appear late, be renamed and made anew, be cut to nothing and filled
 * again, be deleted, or be something else than a file.  Reads only when asked;
 * knows no time. */
#ifndef PROBE_FOLLOW_H
#define PROBE_FOLLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FOLLOW_LINE_MAX 8192     /* Bytes of a line; longer ones are skipped. */
#define FOLLOW_BUFFER_SIZE 32768 /* Bytes of one read(). */
#define FOLLOW_LOOK_MAX (256 * 1024) /* Bytes read in one look. */
/* At least every so many looks the path is compared with the open file, even if
 * that still grows. */
#define FOLLOW_CHECK_LOOKS 20
/* A file that was replaced is left when so many looks in a row found nothing
 * new in it (its writer may need a moment to notice), or at last after that
 * many looks. */
#define FOLLOW_QUIET_LOOKS 2
#define FOLLOW_LEAVE_LOOKS 100

/* Allocated by the caller; it reads the counts only. */
struct follow {
    const char *path; /* Borrowed for its life. */
    int fd;           /* -1: the file is not there (yet). */
    dev_t dev;
    ino_t ino;
    uint64_t offset; /* Bytes of the file read so far. */
    bool started;    /* A file found from now on is new to us. */
    bool skipping;   /* Within a line that is not wanted: too long, */
    bool headless;   /* or begun before we came. */
    bool replaced;   /* The path names another file by now. */
    unsigned n_looks, n_quiet, n_leaving;
    uint64_t n_long; /* Lines longer than FOLLOW_LINE_MAX. */
    uint64_t n_cut;  /* Lines whose file ended or was cut within them. */
    uint64_t n_files, n_truncated; /* Files opened; times one was cut. */
    size_t used;
    char buffer[FOLLOW_BUFFER_SIZE];
};

/* A line without its newline; borrowed for the call.  'offset' is where in its
 * file it starts. */
typedef void follow_line_fn(void *ctx, const char *line, size_t size,
                            uint64_t offset);

/* Starts: a file that is there now is followed from its end (the rest of a line
 * that is just being written is left out), one that appears later from its
 * beginning. */
void follow_init(struct follow *, const char *path);
void follow_fini(struct follow *);

/* Looks once: hands over each whole line that is new, up to FOLLOW_LOOK_MAX
 * bytes.  Returns 1 if there is more at once, 0 if not, -ENOENT if there is no
 * file, or -Exxx (-EINVAL: not a regular file). */
int follow_look(struct follow *, follow_line_fn *, void *ctx);

#endif
