/* SPDX-License-Identifier: Apache-2.0 */
/* The process that is attacked: a user of libmchan who does everything the API
 * offers over a channel whose other end is hostile, and beside it keeps up a
 * conversation with a good neighbour over a channel of its own.  Whatever it is
 * given it touches, every byte; its buffers are exactly as large as it says, so
 * that a sanitizer sees the first byte beyond them, and what is mapped has
 * guards around it (guard.c).
 *
 * Its clock jumps ahead whenever a peer was lost, so that limits of pace, which
 * are tested elsewhere, do not make the attack slow. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/prng.h"
#include "board.h"
#include "include/mchan.h"
#include "tests/left.h"

#define MESSAGE_MAX 8192
#define VIEWS_MAX 8
#define LOANS_MAX 4
#define LOAN_BYTES (1u << 20)

struct victim {
    const struct stage *stage;
    struct board *board;
    struct prng prng;
    int64_t ahead; /* Of the real clock. */
    struct mchan *channel, *good;
    bool suspended;
    struct mchan_view views[VIEWS_MAX];
    unsigned n_views;
    struct mchan_loan loans[LOANS_MAX];
    unsigned n_loans;
    uint64_t touched; /* So that no read is left out. */
};

static int64_t
victim_time(void *ctx)
{
    const struct victim *victim = ctx;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NSEC_PER_SEC + now.tv_nsec + victim->ahead;
}

/* What happened. */

static void
count_reason(struct board *board, const char *text)
{
    uint32_t i = 0;
    while (i < board->n_reasons && strcmp(board->reasons[i].text, text)) {
        i++;
    }
    if (i == BOARD_REASONS) {
        return;
    }
    if (i == board->n_reasons) {
        snprintf(board->reasons[i].text, sizeof board->reasons[i].text, "%s",
                 text);
        board->n_reasons++;
    }
    board->reasons[i].n++;
}

static void
take_events(struct victim *victim)
{
    struct mchan_event event;
    struct board *board = victim->board;
    while (mchan_next_event(victim->channel, &event)) {
        if (event.type == MCHAN_UP) {
            board->n_up++;
        } else if (event.type == MCHAN_PROTO_ERROR) {
            board->n_violations++;
            count_reason(board, event.reason);
            if (!event.reason[0]) {
                board_fail(board, "a violation without a reason");
            }
        }
        if (event.type == MCHAN_PROTO_ERROR || event.type == MCHAN_PEER_LOST) {
            victim->ahead += 2 * NSEC_PER_SEC;
            board->n_gone++;
        }
    }
    if (board->silent) {
        victim->ahead += NSEC_PER_MSEC;
    }
}

static void
touch(struct victim *victim, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) {
        victim->touched += bytes[i];
    }
}

/* Everything a user can do. */

static size_t
some_size(struct victim *victim)
{
    switch (prng_below(&victim->prng, 4)) {
    case 0:
        return prng_below(&victim->prng, 2 * MESSAGE_MAX);
    case 1:
        return prng_below(&victim->prng, 200);
    default:
        return prng_below(&victim->prng, 64);
    }
}

static void
do_send(struct victim *victim)
{
    struct mchan_msg message = {.size = some_size(victim)};
    uint8_t *data = malloc(message.size ? message.size : 1);
    memset(data, 0x5a, message.size);
    message.data = data;
    message.tag = (uint16_t)prng_u64(&victim->prng);
    message.delivery = (uint8_t)prng_below(&victim->prng, 3);
    if (message.delivery == MCHAN_LATEST) {
        message.key = (uint8_t)prng_below(&victim->prng, MCHAN_KEYS);
    }
    (void)mchan_send(victim->channel, &message);
    free(data);
}

static void
do_send_many(struct victim *victim)
{
    static const uint8_t data[200];
    struct mchan_msg messages[10] = {{0}};
    for (size_t i = 0; i < 10; i++) {
        messages[i].data = data;
        messages[i].size = prng_below(&victim->prng, sizeof data);
    }
    (void)mchan_send_many(victim->channel, messages, 10);
}

static void
do_recv(struct victim *victim)
{
    size_t size =
        prng_below(&victim->prng, 2) ? MESSAGE_MAX : some_size(victim);
    struct mchan_info info;
    uint8_t *data = malloc(size ? size : 1);
    for (int i = 0; i < 4; i++) {
        ssize_t got = mchan_recv(victim->channel, data, size, &info);
        if (got < 0) {
            break;
        }
        if ((size_t)got > size) {
            board_fail(victim->board, "%zd bytes were received into %zu", got,
                       size);
            break;
        }
        touch(victim, data, (size_t)got);
        victim->board->n_received++;
    }
    free(data);
}

static void
do_reserve(struct victim *victim)
{
    size_t size = some_size(victim);
    struct mchan_msg message = {.size = size};
    void *data;
    if (mchan_reserve(victim->channel, size, &data)) {
        return;
    }
    memset(data, 0xa5, size);
    if (size) {
        message.size -= prng_below(&victim->prng, size);
    }
    if (prng_below(&victim->prng, 4) == 0) {
        do_recv(victim); /* Which gives the room back. */
    }
    if (prng_below(&victim->prng, 8)) {
        (void)mchan_commit(victim->channel, &message);
    } else {
        mchan_abort(victim->channel);
    }
}

static void
release_one(struct victim *victim)
{
    if (victim->n_views) {
        const struct mchan_view *view = &victim->views[--victim->n_views];
        touch(victim, view->data, view->size); /* Still there. */
        mchan_release(victim->channel, view);
    }
}

static void
do_view(struct victim *victim)
{
    struct mchan_view view;
    if (victim->n_views == VIEWS_MAX) {
        release_one(victim);
    }
    if (mchan_view(victim->channel, &view)) {
        return;
    }
    if (view.size > LOAN_BYTES) {
        board_fail(victim->board, "a view of %zu bytes", view.size);
        return;
    }
    touch(victim, view.data, view.size);
    if (view.handle && prng_below(&victim->prng, 2)) {
        victim->views[victim->n_views++] = view;
    } else {
        mchan_release(victim->channel, &view);
    }
}

/* What is lent to us to fill is nobody else's. */
static void
check_loan(struct victim *victim, const struct mchan_loan *loan)
{
    uintptr_t from = (uintptr_t)loan->data, to = from + loan->size;
    for (unsigned i = 0; i < victim->n_loans; i++) {
        const struct mchan_loan *other = &victim->loans[i];
        uintptr_t other_from = (uintptr_t)other->data;
        if (from < other_from + other->size && other_from < to) {
            board_fail(victim->board, "two loans overlap");
        }
    }
}

static void
do_loan(struct victim *victim)
{
    if (victim->n_loans < LOANS_MAX) {
        struct mchan_loan loan;
        size_t size = 4096;
        if (prng_below(&victim->prng, 2)) {
            size += prng_below(&victim->prng, 60000);
        }
        if (!mchan_loan(victim->channel, size, &loan)) {
            check_loan(victim, &loan);
            memset(loan.data, 0x3c, size);
            victim->loans[victim->n_loans++] = loan;
        }
        return;
    }
    const struct mchan_loan *loan = &victim->loans[--victim->n_loans];
    struct mchan_msg message = {.size = loan->size};
    if (prng_below(&victim->prng, 4) == 0 ||
        mchan_send_loan(victim->channel, loan, &message)) {
        mchan_unloan(victim->channel, loan);
    }
}

static void
do_wait(struct victim *victim)
{
    if (prng_below(&victim->prng, 2)) {
        (void)mchan_arm(victim->channel, MCHAN_READABLE | MCHAN_WRITABLE);
    } else if (prng_below(&victim->prng, 16)) {
        (void)mchan_wait(victim->channel, 0);
    } else {
        (void)mchan_wait(victim->channel, 1);
    }
}

static void
do_suspend(struct victim *victim)
{
    if (victim->suspended) {
        victim->suspended = mchan_resume(victim->channel, NULL) != 0;
    } else if (prng_below(&victim->prng, 64) == 0) {
        victim->suspended = mchan_suspend(victim->channel) == 0;
    }
}

/* Sessions that another end would know, had there been one. */
static void
do_move(struct victim *victim)
{
    uint8_t bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)prng_u64(&victim->prng);
    }
    switch (prng_below(&victim->prng, 8)) {
    case 0:
        (void)mchan_import(victim->channel, bytes, sizeof bytes);
        break;
    case 1:
        (void)mchan_import(victim->channel, NULL, 0);
        break;
    case 2:
        (void)mchan_export(victim->channel, NULL, 0);
        break;
    default:
        break;
    }
}

static void
do_ask(struct victim *victim)
{
    struct mchan_stats stats;
    struct mchan_peer peer;
    (void)mchan_ack(victim->channel);
    (void)mchan_stats(victim->channel, &stats, sizeof stats);
    if (stats.n_acked > stats.n_sent || stats.n_dropped > stats.n_sent) {
        board_fail(victim->board,
                   "of %llu sent %llu are acknowledged and %llu dropped",
                   (unsigned long long)stats.n_sent,
                   (unsigned long long)stats.n_acked,
                   (unsigned long long)stats.n_dropped);
    }
    (void)mchan_peer(victim->channel, &peer);
    (void)mchan_message_max(victim->channel);
    (void)mchan_deadline(victim->channel);
}

static void
use_channel(struct victim *victim)
{
    static void (*const actions[])(struct victim *) = {
        do_send, do_send_many, do_recv, do_recv,    do_recv, do_reserve,
        do_view, do_view,      do_loan, do_wait,    do_ask,  release_one,
        do_wait, do_suspend,   do_recv, do_reserve, do_move,
    };
    size_t n = sizeof actions / sizeof *actions;
    actions[prng_below(&victim->prng, n)](victim);
    take_events(victim);
}

/* The good neighbour, and who talks with it. */

static bool
say_number(struct mchan *channel, uint64_t number)
{
    uint8_t data[64] = {0};
    struct mchan_msg message = {.data = data, .size = sizeof data};
    memcpy(data, &number, sizeof number);
    return !mchan_send(channel, &message);
}

/* Takes all there are; each must be the next. */
static void
hear_numbers(struct board *board, struct mchan *channel,
             _Atomic uint64_t *received)
{
    uint8_t data[64];
    uint64_t number;
    ssize_t got;
    while ((got = mchan_recv(channel, data, sizeof data, NULL)) >= 0) {
        memcpy(&number, data, sizeof number);
        if (got != sizeof data || number != *received + 1) {
            board_fail(board, "the neighbours' message %llu came behind %llu",
                       (unsigned long long)number,
                       (unsigned long long)*received);
        }
        (*received)++;
    }
    if (got != -EAGAIN && got != -ENOTCONN) {
        board_fail(board, "the neighbours' channel says %zd", got);
    }
}

/* Nothing but its beginning may happen to a good channel. */
static bool
take_good_events(struct board *board, struct mchan *channel)
{
    struct mchan_event event;
    bool up = false;
    while (mchan_next_event(channel, &event)) {
        up = true;
        if (event.type != MCHAN_UP && !board->end) {
            board_fail(board, "the neighbours' channel had event %d: %s",
                       event.type, event.reason);
        }
    }
    return up;
}

static void
serve_neighbour(struct victim *victim)
{
    struct board *board = victim->board;
    take_good_events(board, victim->good);
    hear_numbers(board, victim->good, &board->good_received);
    if (!board->settle) {
        if (say_number(victim->good, board->good_sent + 1)) {
            board->good_sent++;
        }
    } else {
        board->settled = true;
        mchan_arm(victim->good, MCHAN_READABLE); /* Acknowledges. */
    }
}

int
neighbour_live(const struct stage *stage)
{
    struct board *board = stage->board;
    struct mchan *channel;
    if (mchan_open(&channel, stage->neighbour_uri, NULL)) {
        board_fail(board, "the neighbour can't open its channel");
        return 1;
    }
    while (!board->end) {
        take_good_events(board, channel);
        hear_numbers(board, channel, &board->neighbour_received);
        for (int i = 0; i < 4 && !board->settle; i++) {
            if (say_number(channel, board->neighbour_sent + 1)) {
                board->neighbour_sent++;
            }
        }
        mchan_wait(channel, 2);
    }
    mchan_close(channel);
    return 0;
}

/* Life. */

static bool
make_channels(struct victim *victim)
{
    const struct stage *stage = victim->stage;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    opts.ring_size = stage->ring_size;
    opts.now_ns = victim_time;
    opts.now_ctx = victim;
    opts.seed = stage->seed + 1;
    opts.retry_min_ms = opts.retry_max_ms = 1;
    opts.hold_ms = 100;
    opts.loan_bytes = stage->lends ? LOAN_BYTES : 0;
    opts.handoff_ms = stage->seed & 4 ? 50 : 0;
    if (mchan_listen(&victim->good, stage->neighbour_uri, NULL)) {
        return false;
    }
    return !(stage->victim_listens
                 ? mchan_listen(&victim->channel, stage->uri, &opts)
                 : mchan_open(&victim->channel, stage->uri, &opts));
}

static void
let_go(struct victim *victim)
{
    while (victim->n_views) {
        release_one(victim);
    }
    while (victim->n_loans) {
        mchan_unloan(victim->channel, &victim->loans[--victim->n_loans]);
    }
    mchan_close(victim->channel);
    mchan_close(victim->good);
}

int
victim_live(const struct stage *stage)
{
    struct board *board = stage->board;
    struct victim victim = {.stage = stage, .board = board};
    prng_init(&victim.prng, stage->seed);
    struct held before = held_now();
    if (!make_channels(&victim)) {
        board_fail(board, "the victim can't make its channels");
        return 1;
    }
    while (!board->end) {
        use_channel(&victim);
        if (board->n_turns++ % 32 == 0) {
            serve_neighbour(&victim);
        }
    }
    let_go(&victim);
    struct held after = held_now();
    board->fds_left = after.n_fds - before.n_fds;
    board->memfds_left = after.n_memfds - before.n_memfds;
    return victim.touched == UINT64_MAX; /* It never is. */
}
