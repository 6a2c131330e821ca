/* SPDX-License-Identifier: Apache-2.0 */
/* Small things with strings that the C library leaves sharp. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies 'from' into 'to' of 'size' bytes, always terminated.  Returns 0, or
 * -ENAMETOOLONG if it was cut. */
int text_copy(char *to, size_t size, const char *from);

/* Copies text that may come from a stranger for people to read: a byte that
 * can't be shown becomes '?', and a cut never leaves part of a character. */
void text_copy_printable(char *to, size_t size, const char *from);

/* Adds to the text that 'to' of 'size' bytes holds already.  Returns 0, or
 * -ENAMETOOLONG if it was cut; it then is full, and takes no more. */
int text_append(char *to, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Reads a whole number or a number that fills all of 'text'.  Returns 0,
 * -EINVAL or -ERANGE; '*out' is untouched on failure. */
int text_to_i64(const char *text, int64_t *out);
int text_to_u64(const char *text, uint64_t *out);
int text_to_real(const char *text, double *out);

/* Reads a CPU list as the kernel writes it, "0-3,8", into 'out'.  Returns how
 * many, -EINVAL, or -E2BIG if more than 'max'. */
int text_to_cpus(const char *text, uint32_t *out, size_t max);

/* True for 1..64 of [A-Za-z0-9._-] not starting with a dot or dash: what a
 * name may be that becomes part of a path or of mgmt:// names. */
bool text_is_name(const char *text);

/* True for what the type of an application's message may be called: 1..64
 * bytes, one or more such names with a slash between them, as in
 * "org.example.sla-percentile/1". */
bool text_is_type(const char *text);

#endif
