/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for wire/noteline.c and base/base64.c: one line of a program in a
 * guest.  What is accepted is within its limits and means the same when it is
 * said again; what is refused says what, why and what next in printable ASCII
 * and leaves the output alone. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "wire/noteline.h"

static void
check_printable(const char *text, size_t size)
{
    size_t length = strnlen(text, size);

    if (length == 0 || length == size) {
        abort();
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] < ' ' || text[i] > '~') {
            abort();
        }
    }
}

static void
check_accepted(const struct noteline *note)
{
    struct request_fault fault;
    struct noteline again;
    char *line;

    if (!text_is_type(note->type) || note->size > sizeof note->bytes) {
        abort();
    }
    line = noteline_encode(note);
    if (!line || noteline_decode(&again, line, strlen(line) - 1, &fault) ||
        again.size != note->size || again.latest != note->latest ||
        strcmp(again.type, note->type) ||
        memcmp(again.bytes, note->bytes, note->size)) {
        abort();
    }
    free(line);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request_fault fault = {.what = ""};
    struct noteline note, before;

    memset(&before, 0x5a, sizeof before);
    note = before;
    if (!noteline_decode(&note, size ? (const char *)data : "", size, &fault)) {
        check_accepted(&note);
        return 0;
    }
    check_printable(fault.what, sizeof fault.what);
    check_printable(fault.why, sizeof fault.why);
    check_printable(fault.next, sizeof fault.next);
    if (memcmp(&note, &before, sizeof note)) {
        abort();
    }
    return 0;
}
