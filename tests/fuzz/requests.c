/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for wire/request.c: one line of the control socket.  What is
 * accepted is within its limits; what is refused says what, why and what next
 * in printable ASCII and leaves the output alone. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "wire/request.h"

static void
check_text(const char *text, size_t size)
{
    size_t length = strnlen(text, size);

    if (length == 0 || length == size) {
        abort();
    }
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 127) {
            abort();
        }
    }
}

static void
check_printable(const char *text, size_t size)
{
    check_text(text, size);
    for (size_t i = 0; text[i]; i++) {
        if (text[i] > '~') {
            abort();
        }
    }
}

static void
check_accepted(const struct request *request)
{
    if (request->verb >= REQUEST_VERB_N || request->n < 1 ||
        request->n > REQUEST_EVENTS_MAX ||
        request->n_options > REQUEST_OPTIONS_MAX) {
        abort();
    }
    if (request->subject[0]) {
        check_text(request->subject, sizeof request->subject);
    }
    for (uint32_t i = 0; i < request->n_options; i++) {
        check_text(request->options[i].text, sizeof request->options[i].text);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request_fault fault = {.what = ""};
    struct request request, before;

    memset(&before, 0x5a, sizeof before);
    request = before;
    if (!request_decode(&request, size ? (const char *)data : "", size,
                        &fault)) {
        check_accepted(&request);
        return 0;
    }
    check_printable(fault.what, sizeof fault.what);
    check_printable(fault.why, sizeof fault.why);
    check_printable(fault.next, sizeof fault.next);
    if (memcmp(&request, &before, sizeof request)) {
        abort();
    }
    return 0;
}
