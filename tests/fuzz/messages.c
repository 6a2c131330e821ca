/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for wire/msg.c: two bytes, lowest first, of which the highest bit
 * says that the peer speaks the oldest version and the rest is the message's
 * type; then the message.  What is accepted must encode again and then mean the
 * same; what is refused must say why and leave the output alone. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "wire/msg.h"

#define OLDEST 0x8000u /* Bit of the first two bytes. */
#define UNTOUCHED 0x5a

static void
check_accepted(const struct msg *msg, unsigned version)
{
    uint8_t data[MSG_SIZE_MAX];
    char why[MSG_WHY_SIZE];
    struct msg again;
    ssize_t size = msg_encode(msg, version, data, sizeof data, why, sizeof why);

    if (size < 0 || msg_decode(&again, msg->type, version, data, (size_t)size,
                               why, sizeof why)) {
        abort();
    }
    if (memcmp(msg, &again, msg_struct_size(msg->type))) {
        abort();
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* As they were before an input, and again behind it. */
    static struct msg msg, before;
    char why[MSG_WHY_SIZE] = "";
    unsigned head, type, version;

    if (size < 2) {
        return 0;
    }
    if (!before.type) {
        memset(&before, UNTOUCHED, sizeof before);
        msg = before;
    }
    head = data[0] | (unsigned)data[1] << 8;
    type = head & ~OLDEST;
    version = head & OLDEST ? MSG_VERSION_MIN : MSG_VERSION_MAX;
    if (!msg_decode(&msg, type, version, data + 2, size - 2, why, sizeof why)) {
        check_accepted(&msg, version);
        memset(&msg, UNTOUCHED, msg_struct_size(type));
    } else if (why[0] == '\0' || memcmp(&msg, &before, sizeof msg)) {
        abort();
    }
    return 0;
}
