/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends that send, receive, are cut off, forget and come back at random,
 * over each transport, under thousands of seeds.  Whatever happens, a message
 * is received once and in order, or DROPPED and GAP say exactly which was not.
 *
 * usage: replay [SEEDS [FIRST]] */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/prng.h"
#include "channel/channel.h"
#include "include/mchan.h"
#include "transport/sim.h"

#define STEPS 400
#define RING 4096
#define MESSAGE_MAX (RING / 8)
#define SENT_MAX 65536
#define KEYS 3
#define TAG 7

/* Loans, where there are any: few at a time, so that one waits for another. */
#define LOAN_BYTES 65536u
#define LOAN_MAX 20000u
#define HELD_MAX 4

enum { BACK, FRONT };

/* A message that was sent, as its sender and its receiver saw it. */
struct letter {
    uint64_t session, number;
    uint32_t size;
    unsigned n_received, n_dropped;
    bool gap; /* Its receiver was told that it won't come. */
};

struct end {
    struct mchan *channel;
    /* What it sent. */
    struct letter *letters;
    uint32_t n_letters, first_letter; /* The first of the channel's. */
    /* What its events said. */
    bool up;
    uint64_t session;
    /* What it received of that session. */
    uint64_t taken_session, taken;
    uint32_t n_suspending, n_resumed;
    bool suspended;
    /* A loan that could not be sent yet, and what it was lent. */
    bool has_loan;
    struct mchan_loan loan;
    uint32_t n_held;
    struct mchan_view held[HELD_MAX];
    uint32_t held_letters[HELD_MAX];
    /* Latest values: given to the channel that stands, and taken from it. */
    uint32_t value, put[KEYS], got[KEYS];
};

struct world {
    const char *scheme;
    uint64_t seed;
    struct prng prng;
    struct sim_network *network;
    int64_t now;
    char dir[64], uri[128];
    struct mchan_opts opts;
    struct end end[2];
    bool corrupted;
    /* Sessions that an end closed, which then names what is missing. */
    uint64_t closed[STEPS];
    uint32_t n_closed;
    uint64_t n_received, n_lent, n_resumed, n_gaps, n_dropped;
};

static unsigned long seeds = 300, first_seed = 1;

static int64_t
world_time(void *ctx)
{
    return ((struct world *)ctx)->now;
}

static uint64_t
chance(struct world *world, uint64_t n)
{
    return prng_below(&world->prng, n);
}

#define REQUIRE(world, holds)                                                  \
    do {                                                                       \
        if (!(holds)) {                                                        \
            fail_msg("%s seed %lu: line %d: %s", (world)->scheme,              \
                     (unsigned long)(world)->seed, __LINE__, #holds);          \
        }                                                                      \
    } while (0)

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

/* What the n-th letter of an end says. */
static uint8_t
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

/* Values and datagrams flow beside and disturb nothing. */
static void
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

static bool
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

/* Events. */

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

static void
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

/* What is held is as it was, and goes back. */
static void
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

/* Takes one message. */
static bool
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

/* Faults. */

/* Ends all connections of this process that are not listening. */
static void
cut_sockets(void)
{
    for (int fd = 3; fd < 64; fd++) {
        int listens = 0;
        socklen_t size = sizeof listens;
        if (!getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) &&
            !listens) {
            shutdown(fd, SHUT_RDWR);
        }
    }
}

static void
cut(struct world *world)
{
    if (world->network) {
        sim_network_cut(world->network, world->uri + 4);
    } else {
        cut_sockets();
    }
}

static void
open_end(struct world *world, int which)
{
    struct end *end = &world->end[which];
    world->opts.seed = prng_u64(&world->prng); /* Else it mints the same. */
    int error = which == BACK
                    ? mchan_listen(&end->channel, world->uri, &world->opts)
                    : mchan_open(&end->channel, world->uri, &world->opts);
    REQUIRE(world, !error);
    end->up = end->suspended = false;
    end->session = 0;
    end->first_letter = end->n_letters;
    memset(end->put, 0, sizeof end->put);
}

/* It dies without a word, or says goodbye, and another takes its place. */
static void
start_anew(struct world *world, int which, bool dies)
{
    struct end *end = &world->end[which];
    collect(world, end);
    if (dies) {
        cut(world);
    }
    uint64_t id = end->channel->session.id;
    world->closed[world->n_closed++] = id;
    while (end->n_held) {
        release(world, end, 0);
    }
    end->has_loan = false;
    mchan_close(end->channel);
    /* What it sent, nobody reports. */
    for (uint32_t i = 0; i < end->n_letters; i++) {
        if (end->letters[i].session == id && !end->letters[i].n_received) {
            end->letters[i].n_dropped = 1;
        }
    }
    open_end(world, which);
}

/* Its VM moves, or was about to. */
static void
move(struct world *world, int which)
{
    struct end *end = &world->end[which];
    bool elsewhere = which == FRONT && chance(world, 2);
    if (!end->suspended) {
        end->suspended = !mchan_suspend(end->channel);
    } else {
        int error = mchan_resume(end->channel, elsewhere ? world->uri : NULL);
        REQUIRE(world, !error || error == -EAGAIN || error == -EALREADY ||
                           error == -ENOTCONN);
        end->suspended = error == -EAGAIN;
    }
}

static void
misbehave(struct world *world)
{
    switch (chance(world, 12)) {
    case 8:
    case 9:
    case 10:
        move(world, (int)chance(world, 2));
        break;
    case 11:
        if (!chance(world, 4)) {
            (void)mchan_forget(world->end[chance(world, 2)].channel);
        }
        break;
    case 0:
        start_anew(world, (int)chance(world, 2), true);
        break;
    case 1:
        start_anew(world, (int)chance(world, 2), false);
        break;
    case 2:
        if (world->network) {
            sim_network_set_stalled(world->network, world->uri + 4,
                                    chance(world, 2));
            break;
        }
        /* Fall through. */
    case 3:
        if (world->network) {
            sim_network_set_corruption(world->network, world->uri + 4,
                                       chance(world, 2) ? 0.2 : 0);
            world->corrupted = true;
            break;
        }
        /* Fall through. */
    default:
        cut(world);
    }
}

/* Time. */

static void
let_pass(struct world *world, int64_t ns)
{
    world->now += ns;
    if (world->network) {
        sim_network_run(world->network, world->now);
    }
}

static void
step(struct world *world)
{
    struct end *end = &world->end[chance(world, 2)];
    uint64_t n = 1 + chance(world, 40);
    switch (chance(world, 7)) {
    case 6:
        post_others(world, end);
        break;
    case 0:
    case 1:
        while (n-- && post(world, end)) {
        }
        break;
    case 2:
    case 3:
        while (n-- && take(world, end)) {
        }
        break;
    case 4:
        (void)mchan_arm(end->channel, (unsigned)(1 + chance(world, 3)));
        break;
    default:
        let_pass(world, (int64_t)chance(world, 30) * NSEC_PER_MSEC);
    }
    if (chance(world, 2)) {
        collect(world, end);
    }
    if (!chance(world, 20)) {
        misbehave(world);
    }
}

/* Without faults and with both at work, all comes to rest. */
static void
come_to_rest(struct world *world)
{
    if (world->network) {
        sim_network_set_stalled(world->network, world->uri + 4, false);
        sim_network_set_corruption(world->network, world->uri + 4, 0);
    }
    for (int which = 0; which < 2; which++) {
        struct end *end = &world->end[which];
        while (end->suspended) {
            collect(world, end);
            move(world, which);
        }
    }
    for (int i = 0; i < 1500; i++) {
        bool busy = false;
        for (int which = 0; which < 2; which++) {
            struct end *end = &world->end[which];
            collect(world, end);
            while (take(world, end)) {
                busy = true;
            }
            while (end->n_held) {
                release(world, end, 0);
            }
            busy |= mchan_arm(end->channel, MCHAN_READABLE) == 1;
        }
        if (!busy || i % 16 == 0) {
            let_pass(world, 10 * NSEC_PER_MSEC);
        }
    }
}

static void
judge(struct world *world)
{
    for (int which = 0; which < 2; which++) {
        struct end *end = &world->end[which];
        REQUIRE(world, end->up);
        REQUIRE(world, end->channel->session.id ==
                           world->end[!which].channel->session.id);
        REQUIRE(world,
                end->channel->session.acked == end->channel->session.sent);
        REQUIRE(world, !end->channel->window.data);
        const struct loans *loans = &end->channel->loans;
        REQUIRE(world, !loans->slab || !loans->slab->n_lent);
        REQUIRE(world, !loans->old_lent);
        REQUIRE(world, !loans->old_slabs || end->has_loan);
        REQUIRE(world, end->channel->session.n_acked +
                               end->channel->session.n_dropped ==
                           end->n_letters - end->first_letter);
        for (int key = 0; key < KEYS; key++) {
            REQUIRE(world, !end->put[key] ||
                               end->put[key] == world->end[!which].got[key]);
        }
        for (uint32_t i = 0; i < end->n_letters; i++) {
            const struct letter *letter = &end->letters[i];
            REQUIRE(world, letter->n_received || letter->gap ||
                               letter->session != end->session);
            REQUIRE(world, letter->n_received || letter->n_dropped);
            REQUIRE(world, !letter->n_received || !letter->gap);
        }
    }
}

static void
live(struct world *world, const char *scheme, uint64_t seed)
{
    const struct mchan_opts opts = MCHAN_OPTS_INIT;
    world->scheme = scheme;
    world->seed = seed;
    world->now = NSEC_PER_SEC;
    prng_init(&world->prng, seed);
    world->opts = opts;
    world->opts.ring_size = RING;
    world->opts.loan_bytes = LOAN_BYTES;
    world->opts.now_ns = world_time;
    world->opts.now_ctx = world;
    world->opts.hold_ms = seed % 4 ? 0 : (uint32_t)chance(world, 200);
    if (!strcmp(scheme, "sim")) {
        assert_int_equal(sim_network_create(&world->network, seed), 0);
        sim_network_run(world->network, world->now);
        world->opts.sim = world->network;
    }
    snprintf(world->uri, sizeof world->uri, "%s:%s/s", scheme, world->dir);
    open_end(world, BACK);
    open_end(world, FRONT);
    for (int i = 0; i < STEPS; i++) {
        step(world);
    }
    come_to_rest(world);
    judge(world);
    mchan_close(world->end[FRONT].channel);
    mchan_close(world->end[BACK].channel);
    sim_network_destroy(world->network);
}

static void
run(const char *scheme, unsigned long n)
{
    static struct world world;
    uint64_t n_received = 0, n_lent = 0, n_resumed = 0, n_gaps = 0,
             n_dropped = 0;
    struct letter *letters[2];
    for (int i = 0; i < 2; i++) {
        letters[i] = malloc(SENT_MAX * sizeof *letters[i]);
        assert_non_null(letters[i]);
    }
    char dir[] = "/tmp/mchan-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    for (uint64_t seed = first_seed; seed < first_seed + n; seed++) {
        memset(&world, 0, sizeof world);
        strcpy(world.dir, dir);
        world.end[0].letters = letters[0];
        world.end[1].letters = letters[1];
        live(&world, scheme, seed);
        n_received += world.n_received;
        n_lent += world.n_lent;
        n_resumed += world.n_resumed;
        n_gaps += world.n_gaps;
        n_dropped += world.n_dropped;
    }
    assert_int_equal(rmdir(dir), 0);
    free(letters[0]);
    free(letters[1]);
    print_message("# %s: %lu seeds, %lu messages, %lu of them lent, "
                  "%lu resumptions, %lu gaps, %lu dropped\n",
                  scheme, n, (unsigned long)n_received, (unsigned long)n_lent,
                  (unsigned long)n_resumed, (unsigned long)n_gaps,
                  (unsigned long)n_dropped);
    /* The test has seen something. */
    assert_int_equal(n_lent > 0, !strcmp(scheme, "shm"));
    assert_true(n_received && n_resumed && n_gaps && n_dropped);
}

static void
nothing_is_lost_or_doubled_in_a_simulation(void **state)
{
    run("sim", seeds);
}

static void
nothing_is_lost_or_doubled_in_shared_memory(void **state)
{
    run("shm", seeds / 4 + 1);
}

static void
nothing_is_lost_or_doubled_over_a_socket(void **state)
{
    run("unix", seeds / 4 + 1);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_or_doubled_in_a_simulation),
        cmocka_unit_test(nothing_is_lost_or_doubled_in_shared_memory),
        cmocka_unit_test(nothing_is_lost_or_doubled_over_a_socket),
    };
    seeds = argc > 1 ? strtoul(argv[1], NULL, 0) : seeds;
    first_seed = argc > 2 ? strtoul(argv[2], NULL, 0) : first_seed;
    return cmocka_run_group_tests_name("channel/replay", tests, NULL, NULL);
}
