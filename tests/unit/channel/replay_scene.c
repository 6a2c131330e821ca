/* SPDX-License-Identifier: Apache-2.0 */
/* Letters posted, by each way of sending, and taken, by each way of receiving;
 * events judged against them. What does not agree fails with the seed that
 * repeats it. Called by the test of replay. */
#include "tests/unit/channel/replay_scene.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

uint64_t
chance(struct world *world, uint64_t n)
{
    return prng_below(&world->prng, n);
}

/* Letters. */

static struct letter *
find_letter(struct end *sender, uint64_t session, uint64_t number)
{
    for (uint32_t i = sender->n_letters; i-- > 0;) {
        struct letter *letter = &sender->letters[i];
        if (letter->session == session && letter->number == number) {
            return letter;
        }
    }
    return NULL;
}

uint8_t
byte_of(uint32_t n, uint32_t at)
{
    return (uint8_t)(n * 31 + (n >> 8) + at * 7);
}

static int
post_in_place(struct world *world, struct end *end,
              const struct mchan_msg *message)
{
    void *place;
    size_t more = chance(world, MESSAGE_MAX + 1 - message->size);
    if (mchan_reserve(end->channel, message->size + more, &place)) {
        return mchan_send(end->channel, message); /* It may be kept. */
    }
    memset(place, 0xee, message->size + more);
    if (message->size) {
        memcpy(place, message->data, message->size);
    }
    return mchan_commit(end->channel, message);
}

void
post_others(struct world *world, struct end *end)
{
    uint32_t value = ++end->value;
    struct mchan_msg message = {.data = &value, .size = sizeof value};
    message.delivery = MCHAN_LATEST;
    message.key = (uint8_t)chance(world, KEYS);
    REQUIRE(world, !mchan_send(end->channel, &message));
    end->put[message.key] = value;
    message.delivery = MCHAN_DATAGRAM;
    message.key = 0;
    REQUIRE(world, !mchan_send(end->channel, &message));
}

/* Lends it, if the transport can.  What can't be sent stays in hand. */
static int
post_by_loan(struct world *world, struct end *end, struct mchan_msg *message)
{
    if (!end->has_loan) {
        size_t size = 1 + chance(world, LOAN_MAX);
        int error = mchan_loan(end->channel, size, &end->loan);
        if (error) {
            REQUIRE(world, error == -EAGAIN || error == -ENOTCONN ||
                               error == -ENOTSUP || error == -EPROTO);
            return error;
        }
    }
    uint8_t *data = end->loan.data;
    message->size = end->loan.size;
    for (uint32_t i = 0; i < message->size; i++) {
        data[i] = byte_of(end->n_letters, i);
    }
    int error = mchan_send_loan(end->channel, &end->loan, message);
    end->has_loan = error;
    if (error && !chance(world, 3)) {
        mchan_unloan(end->channel, &end->loan);
        end->has_loan = false;
    }
    return error;
}

static int
post_copied(struct world *world, struct end *end, struct mchan_msg *message)
{
    static uint8_t data[MESSAGE_MAX];
    message->data = data;
    message->size =
        chance(world, 4) ? chance(world, 100) : chance(world, MESSAGE_MAX + 1);
    for (uint32_t i = 0; i < message->size; i++) {
        data[i] = byte_of(end->n_letters, i);
    }
    return chance(world, 4) ? mchan_send(end->channel, message)
                            : post_in_place(world, end, message);
}

bool
post(struct world *world, struct end *end)
{
    struct session *session = &end->channel->session;
    struct mchan_msg message = {.tag = TAG};
    if (end->n_letters == SENT_MAX) {
        return false;
    }
    int error =
        chance(world, 3) ? -ENOTSUP : post_by_loan(world, end, &message);
    if (error == -ENOTSUP) {
        error = post_copied(world, end, &message);
    }
    if (error) {
        return false;
    }
    end->letters[end->n_letters++] = (struct letter){
        .session = session->id,
        .number = session->sent,
        .size = (uint32_t)message.size,
    };
    return true;
}

static void
on_dropped(struct world *world, struct end *end,
           const struct mchan_event *event)
{
    for (uint64_t i = event->from; i <= event->to; i++) {
        struct letter *letter = find_letter(end, event->session, i);
        REQUIRE(world, letter);
        REQUIRE(world, !letter->n_dropped);
        letter->n_dropped++;
        world->n_dropped++;
    }
}

static bool
was_closed(const struct world *world, uint64_t session)
{
    for (uint32_t i = 0; i < world->n_closed; i++) {
        if (world->closed[i] == session) {
            return true;
        }
    }
    return false;
}

static void
on_gap(struct world *world, struct end *end, const struct mchan_event *event)
{
    struct end *sender = &world->end[end == &world->end[BACK]];
    REQUIRE(world, event->from >= 1);
    /* A session that goes on loses nothing, unless it was told how long to
     * keep it. */
    REQUIRE(world, event->to == UINT64_MAX || world->opts.hold_ms ||
                       was_closed(world, event->session));
    for (uint32_t i = 0; i < sender->n_letters; i++) {
        struct letter *letter = &sender->letters[i];
        if (letter->session == event->session &&
            letter->number >= event->from && letter->number <= event->to) {
            REQUIRE(world, !letter->n_received && !letter->gap);
            letter->gap = true;
        }
    }
    world->n_gaps++;
}

void
collect(struct world *world, struct end *end)
{
    struct mchan_event event;
    while (mchan_next_event(end->channel, &event)) {
        switch (event.type) {
        case MCHAN_UP:
            REQUIRE(world, !end->up);
            REQUIRE(world, event.resumed == (event.session == end->session));
            end->up = true;
            end->session = event.session;
            world->n_resumed += event.resumed;
            break;
        case MCHAN_PEER_LOST:
            REQUIRE(world, end->up);
            end->up = false;
            break;
        case MCHAN_DROPPED:
            on_dropped(world, end, &event);
            break;
        case MCHAN_GAP:
            on_gap(world, end, &event);
            break;
        case MCHAN_SUSPENDING:
            end->n_suspending++;
            break;
        case MCHAN_RESUMED:
            REQUIRE(world, end->up);
            end->n_resumed++;
            world->n_resumed++;
            break;
        case MCHAN_PROTO_ERROR:
            if (!world->corrupted) {
                fail_msg("%s", event.reason);
            }
            break;
        default:
            fail_msg("an event that can't be");
        }
    }
}

static void
take_value(struct world *world, struct end *end, const struct mchan_info *info,
           const uint8_t *data)
{
    uint32_t value;
    memcpy(&value, data, sizeof value);
    REQUIRE(world, !info->sequence);
    if (info->delivery == MCHAN_LATEST) {
        REQUIRE(world, info->key < KEYS);
        REQUIRE(world,
                value > end->got[info->key] ||
                    (value == end->got[info->key] && info->maybe_repeated));
        end->got[info->key] = value;
    } else {
        REQUIRE(world, info->delivery == MCHAN_DATAGRAM);
    }
}

void
release(struct world *world, struct end *end, uint32_t at)
{
    struct mchan_view *view = &end->held[at];
    const uint8_t *data = view->data;
    for (uint32_t i = 0; i < view->size; i++) {
        REQUIRE(world, data[i] == byte_of(end->held_letters[at], i));
    }
    mchan_release(end->channel, view);
    end->n_held--;
    *view = end->held[end->n_held];
    end->held_letters[at] = end->held_letters[end->n_held];
}

static void
hold(struct world *world, struct end *end, const struct mchan_view *view,
     uint32_t letter)
{
    if (end->n_held == HELD_MAX) {
        release(world, end, (uint32_t)chance(world, HELD_MAX));
    }
    end->held[end->n_held] = *view;
    end->held_letters[end->n_held++] = letter;
}

/* Copied, or where it lies. */
static int
look(struct world *world, struct end *end, struct mchan_view *out)
{
    static uint8_t data[LOAN_MAX];
    if (chance(world, 2)) {
        return mchan_view(end->channel, out);
    }
    ssize_t got = mchan_recv(end->channel, data, sizeof data, &out->info);
    out->handle = 0;
    out->data = data;
    out->size = (size_t)got;
    return got < 0 ? (int)got : 0;
}

bool
take(struct world *world, struct end *end)
{
    struct mchan_view view;
    if (look(world, end, &view)) {
        return false;
    }
    const uint8_t *data = view.data;
    if (view.info.delivery != MCHAN_RELIABLE) {
        take_value(world, end, &view.info, data);
        return true;
    }
    struct end *sender = &world->end[end == &world->end[BACK]];
    uint64_t id = end->channel->session.id;
    struct letter *letter = find_letter(sender, id, view.info.sequence);
    REQUIRE(world, letter);
    REQUIRE(world, !letter->n_received && !letter->gap);
    REQUIRE(world, !view.info.maybe_repeated);
    uint32_t n = (uint32_t)(letter - sender->letters);
    REQUIRE(world, view.info.tag == TAG && view.size == letter->size);
    for (uint32_t i = 0; i < view.size; i++) {
        REQUIRE(world, data[i] == byte_of(n, i));
    }
    if (end->taken_session != id) {
        end->taken_session = id;
        end->taken = 0;
    }
    REQUIRE(world, view.info.sequence > end->taken);
    end->taken = view.info.sequence;
    letter->n_received++;
    world->n_received++;
    if (view.handle) {
        world->n_lent++;
        hold(world, end, &view, n);
    }
    return true;
}
