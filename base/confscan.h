/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration's text to libconfig's tree, looked at before libconfig reads
 * it.  For every program that has a configuration, and for msim's scenarios. */
#ifndef BASE_CONFSCAN_H
#define BASE_CONFSCAN_H

#include <stddef.h>

#define CONFSCAN_TEXT_MAX (1 << 20) /* Bytes of a configuration. */

struct config_t;

/* Where refusals go. */
struct confscan_at {
    const char *path; /* Of the file, for messages. */
    char *why;
    size_t why_size;
};

/* Reads a regular file of at most CONFSCAN_TEXT_MAX bytes without NUL.
 * '*text_out' is the caller's to free.  Returns 0, or -Exxx with 'why' naming
 * the file. */
int confscan_load(char **text_out, const char *path, char *why,
                  size_t why_size);

/* Refuses what libconfig would get wrong or should never see, then parses.  The
 * tree is the caller's to destroy.  Returns 0, -ENOMEM or -EINVAL, said in
 * 'at'; on failure there is no tree. */
int confscan_read(const struct confscan_at *at, const char *text,
                  struct config_t *tree);

/* Writes "PATH:LINE: ..." and returns -EINVAL. */
__attribute__((format(printf, 3, 4))) int
confscan_refuse(const struct confscan_at *, unsigned line, const char *format,
                ...);

#endif
