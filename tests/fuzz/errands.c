/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for errands, between the platform process and the steward.  The
 * first byte chooses: 0  what a platform that was taken over says to the
 * steward, which has rights: records, each a length and its bytes; 1  what
 * comes back to the platform: records, each 16 bytes (number, error, how many
 * were found, size) and a byte for the text, then what was found.  Whatever
 * comes, an errand that is taken makes sense; an answer that is taken is one to
 * the question, its numbers are in range, and what is refused changes nothing
 * and has a reason. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/role/errand.h"

#define GUESTS 3
#define RECORDS_MAX 16
#define UNTOUCHED 0x5a
#define ERRNO_MAX 4095

static void
check(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* To the steward. */

static void
take_all(int fd)
{
    struct errand errand, before;
    int got;

    do {
        memset(&before, UNTOUCHED, sizeof before);
        errand = before;
        got = errand_take(fd, GUESTS, &errand);
        if (got == 1) {
            check(errand.op < ERRAND_OPS);
            check(errand.op == ERRAND_FIND || errand.op == ERRAND_RENEW ||
                  errand.guest < GUESTS);
        } else {
            check(!got || got == -EPROTO || got == -EPIPE);
            check(!memcmp(&errand, &before, sizeof errand));
        }
    } while (got == 1);
}

static void
say_to_steward(const int ends[2], const uint8_t *data, size_t size)
{
    for (int i = 0; i < RECORDS_MAX && size > 0; i++) {
        size_t length = data[0] < size ? data[0] : size - 1;

        send(ends[0], data + 1, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        data += length + 1;
        size -= length + 1;
        take_all(ends[1]);
    }
}

/* To the platform. */

#define ANSWER_SIZE 17 /* Of an answer's description. */

static uint32_t
number_at(const uint8_t *data)
{
    uint32_t number;

    memcpy(&number, data, sizeof number);
    return number;
}

/* Returns how much of the input it took. */
static size_t
answer(int fd, const uint8_t *data, size_t size)
{
    static struct errand_answer said; /* Large. */
    size_t used = ANSWER_SIZE, room = sizeof said.found;
    uint32_t length = number_at(data + 12);

    memset(&said, 0, sizeof said);
    said.number = number_at(data);
    said.error = (int32_t)number_at(data + 4);
    said.n_found = number_at(data + 8);
    memset(said.why, data[16], sizeof said.why);
    room = size - used < room ? size - used : room;
    room = room < GUESTS * sizeof said.found[0] ? room
                                                : GUESTS * sizeof said.found[0];
    memcpy(said.found, data + used, room);
    /* 0: as long as it says to be, where that can be. */
    if (!length && said.n_found <= CONFIG_GUESTS_MAX) {
        length = (uint32_t)(offsetof(struct errand_answer, found) +
                            said.n_found * sizeof said.found[0]);
    }
    send(fd, &said, length % (sizeof said + 1), MSG_DONTWAIT | MSG_NOSIGNAL);
    return used + room;
}

static void
check_found(const struct hypervisor_found *found, bool all_three)
{
    for (uint32_t i = 0; i < (all_three ? GUESTS : 1); i++) {
        check(found[i].pid >= 0);
        check(*(const uint8_t *)&found[i].ours <= 1);
    }
}

static void
hear_steward(const int ends[2], const uint8_t *data, size_t size)
{
    static struct errands errands; /* Large. */
    struct hypervisor_found found[GUESTS], before[GUESTS];
    char why[CONFIG_WHY_SIZE] = "";
    bool finds = size > 0 && data[0] & 1;

    if (!size) {
        return;
    }
    data++;
    size--;
    for (int i = 0; i < RECORDS_MAX && size >= ANSWER_SIZE; i++) {
        size_t used = answer(ends[1], data, size);

        data += used;
        size -= used;
    }
    shutdown(ends[1], SHUT_WR); /* Or it would be waited for. */
    memset(&errands, 0, sizeof errands);
    errands.fd = ends[0];
    memset(before, UNTOUCHED, sizeof before);
    memcpy(found, before, sizeof found);
    int error = finds
                    ? errands_helper.find(&errands, found, GUESTS)
                    : errands_helper.start(&errands, 0, found, why, sizeof why);
    check(error <= 0 && error >= -ERRNO_MAX);
    if (!error) {
        check_found(found, finds);
        return;
    }
    check(!memcmp(found, before, sizeof found));
    check(finds || (why[0] && memchr(why, '\0', sizeof why)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int ends[2];

    if (!size) {
        return 0;
    }
    check(!errand_pair(ends));
    if (data[0] % 2) {
        hear_steward(ends, data + 1, size - 1);
    } else {
        say_to_steward(ends, data + 1, size - 1);
    }
    close(ends[0]);
    close(ends[1]);
    return 0;
}
