/* SPDX-License-Identifier: Apache-2.0 */
/* The two ends of a channel of which one is killed (kills.c): the victim, which
 * does what it is told until it is no more, and the survivor, which holds one
 * handle all the while, looks what comes of it, and writes that on the board.
 *
 * Every message bears its sender's incarnation and a number, and the receiver
 * checks that none is missing before the last one that arrived. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "include/mchan.h"
#include "tests/death/kills.h"
#include "tests/watch.h"

#define MESSAGE_MAX 4096

struct number {
    uint32_t incarnation;
    uint32_t unused;
    uint64_t n;
};

static void
fail(struct board *board, const char *why)
{
    if (!atomic_exchange(&board->failed, true)) {
        snprintf(board->why, sizeof board->why, "%s", why);
    }
}

/* Talking. */

struct talker {
    struct board *board;
    struct mchan *channel;
    uint32_t incarnation; /* Ours. */
    uint64_t n_sent;
    struct number last; /* Of the other's. */
    bool up;
    bool heard; /* Something, since then. */
    bool picky; /* The other's first number must be 1. */
};

/* False when there is no room or nobody to send to. */
static bool
say(struct talker *talker)
{
    static uint8_t data[MESSAGE_MAX];
    struct number number = {.incarnation = talker->incarnation,
                            .n = talker->n_sent + 1};
    struct mchan_msg message = {.data = data, .size = sizeof number};
    memcpy(data, &number, sizeof number);
    if (number.n % 16 == 0) {
        message.size = sizeof data - number.n % 1000;
    }
    int error = mchan_send(talker->channel, &message);
    if (error) {
        if (error != -EAGAIN && error != -ENOTCONN) {
            fail(talker->board, "a message can't be sent");
        }
        return false;
    }
    talker->n_sent++;
    return true;
}

/* False when there is nothing. */
static bool
hear(struct talker *talker)
{
    static uint8_t data[MESSAGE_MAX];
    struct number number;
    ssize_t got = mchan_recv(talker->channel, data, sizeof data, NULL);
    if (got < 0) {
        if (got != -EAGAIN && got != -ENOTCONN) {
            fail(talker->board, "a message can't be received");
        }
        return false;
    }
    memcpy(&number, data, sizeof number);
    const struct number *last = &talker->last;
    bool same = last->n && number.incarnation == last->incarnation;
    if ((same && number.n != last->n + 1) ||
        (!same && talker->picky &&
         (number.n != 1 || number.incarnation <= last->incarnation))) {
        char why[120];
        snprintf(why, sizeof why, "%u.%llu came behind %u.%llu",
                 number.incarnation, (unsigned long long)number.n,
                 last->incarnation, (unsigned long long)last->n);
        fail(talker->board, why);
    }
    talker->last = number;
    talker->heard = true;
    return true;
}

/* Asleep until something is there, 100 ms at the longest. */
static void
sleep_on(struct talker *talker, unsigned what)
{
    struct pollfd readable = {.fd = mchan_fd(talker->channel),
                              .events = POLLIN};
    if (!what || !mchan_arm(talker->channel, what)) {
        poll(&readable, 1, 100);
    }
}

/* The victim. */

static void
act(struct talker *talker, enum activity activity)
{
    switch (activity) {
    case IDLE:
        pause();
        break;
    case SENDING:
        (void)say(talker);
        break;
    case EXCHANGING:
        (void)say(talker);
        /* fallthrough */
    case RECEIVING:
    case SPINNING:
        (void)hear(talker);
        break;
    case ASLEEP:
        mchan_wait(talker->channel, -1);
        while (hear(talker)) {
        }
        break;
    case BLOCKED:
        if (!say(talker)) {
            sleep_on(talker, MCHAN_WRITABLE);
        }
        break;
    case N_ACTIVITIES:
        abort();
    }
}

static int
make_end(struct mchan **out, const struct trial *trial, bool listens)
{
    return listens ? mchan_listen(out, trial->uri, NULL)
                   : mchan_open(out, trial->uri, NULL);
}

void
ends_be_victim(const struct trial *trial)
{
    struct board *board = trial->board;
    struct mchan_event event;
    struct talker talker = {.board = board, .incarnation = trial->incarnation};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (make_end(&talker.channel, trial, trial->kills_listener)) {
        fail(board, "the replacement can't be made");
        _exit(1);
    }
    while (!mchan_next_event(talker.channel, &event)) {
        mchan_wait(talker.channel, 100);
    }
    while (!say(&talker)) {
        mchan_wait(talker.channel, 1);
    }
    while (board->go != trial->incarnation) {
        watch_nap(50 * NSEC_PER_USEC);
    }
    for (;;) {
        act(&talker, board->activity);
        while (mchan_next_event(talker.channel, &event)) {
            if (event.type != MCHAN_GAP) {
                fail(board, "the victim was left by the survivor");
            }
        }
    }
}

/* The survivor. */

static void
take_events(struct talker *talker)
{
    struct mchan_event event;
    struct board *board = talker->board;
    while (mchan_next_event(talker->channel, &event)) {
        if (event.type == MCHAN_PEER_LOST) {
            board->lost_at = watch_now();
            board->n_lost++;
        } else if (event.type == MCHAN_PROTO_ERROR &&
                   strcmp(event.reason, "no HELLO in time")) {
            /* One who could not run for two seconds is no surprise on a busy
             * machine. */
            fail(board, "a dead peer was taken for a bad one");
        }
        if (event.type == MCHAN_UP || event.type == MCHAN_PEER_LOST) {
            if (talker->up == (event.type == MCHAN_UP)) {
                fail(board, "UP and PEER_LOST do not alternate");
            }
            talker->up = event.type == MCHAN_UP;
            talker->heard = false;
        }
    }
}

static void
take_messages(struct talker *talker)
{
    struct board *board = talker->board;
    while (hear(talker)) {
        board->n_received++;
        if (talker->last.incarnation != board->heard) {
            board->heard_at = watch_now();
            board->heard = talker->last.incarnation;
        }
        if (talker->last.n % 64 == 0) {
            return; /* There may be an event. */
        }
    }
}

static void
survive_a_turn(struct talker *talker)
{
    struct board *board = talker->board;
    take_events(talker);
    enum activity activity = board->activity;
    bool begun = board->go == board->heard;
    bool waits = begun && talker->up && talker->heard;
    bool reads = activity != BLOCKED || !waits;
    bool talks = begun && (activity == RECEIVING || activity == EXCHANGING);
    if (reads) {
        take_messages(talker);
    }
    for (int i = 0; talks && i < 16 && say(talker); i++) {
    }
    if (board->answered != board->asked) {
        board->held = held_now();
        board->answered = board->asked;
    }
    if (board->sleeps) {
        sleep_on(talker, !reads  ? 0
                         : talks ? MCHAN_READABLE | MCHAN_WRITABLE
                                 : MCHAN_READABLE);
    }
}

void
ends_be_survivor(const struct trial *trial)
{
    struct board *board = trial->board;
    struct talker talker = {.board = board, .picky = true};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    free(malloc(1 << 16)); /* The heap is there when counting begins. */
    (void)held_now();
    board->before = held_now();
    if (make_end(&talker.channel, trial, !trial->kills_listener)) {
        fail(board, "the survivor can't be made");
        _exit(1);
    }
    while (!board->ends) {
        survive_a_turn(&talker);
    }
    mchan_close(talker.channel);
    board->after = held_now();
    _exit(0);
}
