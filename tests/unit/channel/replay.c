/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends that send, receive, are cut off, forget and come back at random,
 * over each transport, under thousands of seeds. Whatever happens, a message
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

#include "tests/unit/channel/replay_scene.h"

static unsigned long seeds = 300, first_seed = 1;

static int64_t
world_time(void *ctx)
{
    return ((struct world *)ctx)->now;
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
