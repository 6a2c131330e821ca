/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a stranger's bytes are text at all, and text that may be shown. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF)
 * without a null. */
bool utf8_is_text(const void *data, size_t size);

/* Text without control characters (C0, DEL, C1) and those that break a line or
 * turn its direction, so that it can be written to a log or a terminal as it
 * is. */
bool utf8_is_printable(const void *data, size_t size);

#endif
