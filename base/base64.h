/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 (RFC 4648, section 4): how bytes that are no text go through JSON. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Bytes of text that 'size' bytes become, with the terminating null. */
#define BASE64_TEXT_SIZE(size) (((size) + 2) / 3 * 4 + 1)

/* Writes 'size' bytes as text, which has BASE64_TEXT_SIZE(size) bytes. */
void base64_encode(char *out, const void *data, size_t size);

/* Reads 'length' bytes of text, padded, without blanks or line breaks.  Returns
 * how many bytes it is, -EINVAL if it is none, or -EMSGSIZE if it is more than
 * 'size'; 'out' may be written to in any case. */
ssize_t base64_decode(void *out, size_t size, const char *text, size_t length);

#endif
