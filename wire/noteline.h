/* SPDX-License-Identifier: Apache-2.0 */
/* Notes as programs in a guest hand them to their agent: one line of JSON,
 * {"type": "org.example/1", "text": …} or {…, "base64": …}, perhaps with
 * "latest": true.  Read here because whoever connects is a stranger until the
 * line is understood. */
#ifndef WIRE_NOTELINE_H
#define WIRE_NOTELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/msg.h"
#include "wire/request.h"

#define NOTELINE_SIZE_MAX 16384 /* Bytes of a line without its newline. */

struct noteline {
    char type[MSG_NOTE_TYPE_SIZE];
    bool latest; /* Only the newest of its type counts. */
    size_t size;
    uint8_t bytes[MSG_NOTE_SIZE_MAX];
};

/* Reads a line of 'size' bytes without its newline.  Returns 0, or -EPROTO with
 * 'fault' filled in; '*out' is untouched then. */
int noteline_decode(struct noteline *out, const char *line, size_t size,
                    struct request_fault *fault);

/* The line that says it, with its newline: text to be freed by the caller; null
 * if memory is short. */
char *noteline_encode(const struct noteline *);

#endif
