/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for wire/msg.c: two bytes of message type, lowest first, then the
 * message.  What is accepted must encode again and then mean the same; what is
 * refused must say why and leave the output alone. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "wire/msg.h"

static void check_accepted(const struct msg *msg);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[MSG_WHY_SIZE] = "";
    struct msg msg, before;
    unsigned type;

    if (size < 2) {
        return 0;
    }
    type = data[0] | (unsigned)data[1] << 8;
    memset(&before, 0x5a, sizeof before);
    msg = before;
    if (!msg_decode(&msg, type, MSG_VERSION_MAX, data + 2, size - 2, why,
                    sizeof why)) {
        check_accepted(&msg);
    } else if (why[0] == '\0' || memcmp(&msg, &before, sizeof msg)) {
        abort();
    }
    return 0;
}

static void
check_accepted(const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];
    char why[MSG_WHY_SIZE];
    struct msg again;
    ssize_t size =
        msg_encode(msg, MSG_VERSION_MAX, data, sizeof data, why, sizeof why);

    if (size < 0 || msg_decode(&again, msg->type, MSG_VERSION_MAX, data,
                               (size_t)size, why, sizeof why)) {
        abort();
    }
    if (memcmp(msg, &again, msg_struct_size(msg->type))) {
        abort();
    }
}
