/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for the tape: a block of inputs as a journal's file may have it,
 * whose chain is no secret, so that who may write the file may make one.  The
 * first byte says how many slots there are, less one; the rest is the block: a
 * byte chooses what is read next.  What is given is in range and can be written
 * again, and read again means the same; once it is bad it stays so, and nothing
 * more comes of it. */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine/tape.h"
#include "model/uuid.h"
#include "wire/msg.h"

#define TEXT_SIZE 64
#define WRITTEN_MAX 65536
#define SLOTS_MAX 64

static void
check(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* Writes what was read with slots of its own, and reads it back. */
struct again {
    struct tape_slots writes, reads;
    uint8_t bytes[WRITTEN_MAX];
};

static void
check_again(struct again *again, uint32_t slot, const struct msg *msg)
{
    struct tape_out out = {.data = again->bytes, .size = sizeof again->bytes};
    struct msg read;

    tape_put_msg(&out, &again->writes, slot, msg);
    struct tape_in in = {.data = again->bytes, .size = out.used};
    memset(&read, 0, sizeof read);
    tape_get_msg(&in, &again->reads, &read);
    check(!in.bad && in.used == out.used);
    check(!memcmp(&read, msg, msg_struct_size(msg->type)));
}

static void
read_msg(struct tape_in *in, struct tape_slots *slots, struct again *again)
{
    struct msg msg = {0};
    uint8_t data[MSG_SIZE_MAX];

    tape_get_msg(in, slots, &msg);
    if (!in->bad) {
        check(msg_encode(&msg, MSG_VERSION_MAX, data, sizeof data, NULL, 0) >
              0);
        check_again(again, 0, &msg);
        if (msg_struct_size(msg.type) <= TAPE_SLOT_SIZE) {
            check_again(again, again->writes.n - 1, &msg);
        }
    }
}

static void
read_one(struct tape_in *in, struct tape_slots *slots, struct again *again)
{
    char text[TEXT_SIZE];
    struct uuid uuid;

    switch (tape_get_uint(in, UINT64_MAX) % 6) {
    case 0:
        check(tape_get_uint(in, 1000) <= 1000);
        break;
    case 1:
        (void)tape_get_int(in);
        break;
    case 2:
        memset(text, 'x', sizeof text);
        tape_get_text(in, text, sizeof text);
        check(memchr(text, '\0', sizeof text));
        check(!in->bad || !text[0]);
        break;
    case 3:
        tape_get_uuid(in, &uuid);
        break;
    case 4:
        tape_slots_clear(slots);
        break;
    default:
        read_msg(in, slots, again);
        break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct again again; /* Large; its slots end with each input. */
    struct tape_slots slots;

    if (!size) {
        return 0;
    }
    uint32_t n = 1 + data[0] % SLOTS_MAX;
    if (tape_slots_init(&slots, n)) {
        return 0;
    }
    if (tape_slots_init(&again.writes, n) || tape_slots_init(&again.reads, n)) {
        abort();
    }
    struct tape_in in = {.data = data + 1, .size = size - 1};
    while (!in.bad && in.used < in.size) {
        read_one(&in, &slots, &again);
        check(in.used <= in.size);
    }
    bool bad = in.bad;
    check(!bad || !tape_get_uint(&in, UINT64_MAX));
    check(in.bad || !bad);
    tape_slots_fini(&slots);
    tape_slots_fini(&again.writes);
    tape_slots_fini(&again.reads);
    return 0;
}
