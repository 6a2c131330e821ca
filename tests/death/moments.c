/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that are stopped, replaced, continued and killed at chosen moments,
 * each in a process of its own: what the one who stays is told, and that nobody
 * is disturbed by one who should be gone.  How often and how fast is kills.c's.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/mchan.h"
#include "tests/left.h"

#define PATIENCE_S 60
#define CHILDREN_MAX 4
#define SLOWNESS 10
#define LOAN_BYTES (1u << 20)

static const char *const schemes[] = {"shm", "unix"};
#define N_SCHEMES (sizeof schemes / sizeof *schemes)

/* What children tell the test; each has a row. */
struct row {
    _Atomic uint32_t n_up, n_lost, n_bad; /* Events. */
    _Atomic uint64_t sent, received;      /* To and from the last peer. */
    uint64_t said, heard;                 /* The last numbers. */
    uint32_t attachment;                  /* Of what was heard. */
    _Atomic uint64_t wanted;              /* The test: send up to this. */
    _Atomic bool reads;                   /* The test: take what comes. */
    _Atomic bool ready;
};

struct scene {
    char dir[64], uri[96];
    struct row *rows;
    pid_t children[CHILDREN_MAX];
    unsigned n_children;
    int64_t ahead; /* Of the real clock. */
};

static int64_t
real_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

/* The channels' clocks are slow, so that nobody is late for a HELLO only
 * because the machine is busy. */
static int64_t
scene_time(void *ctx)
{
    return real_time() / SLOWNESS + ((const struct scene *)ctx)->ahead;
}

static void
nap_ms(long ms)
{
    struct timespec nap = {.tv_nsec = ms * 1000000};
    nanosleep(&nap, NULL);
}

static int
set_up(void **state)
{
    static struct scene scene;
    size_t size = CHILDREN_MAX * sizeof(struct row);
    memset(&scene, 0, sizeof scene);
    strcpy(scene.dir, "/tmp/mchan-test-XXXXXX");
    assert_non_null(mkdtemp(scene.dir));
    scene.rows = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(scene.rows != MAP_FAILED);
    *state = &scene;
    return 0;
}

static void
kill_child(struct scene *scene, unsigned i)
{
    if (scene->children[i] > 0) {
        kill(scene->children[i], SIGKILL);
        waitpid(scene->children[i], NULL, 0);
        scene->children[i] = 0;
    }
}

/* For the next scheme. */
static void
start_over(struct scene *scene, const char *scheme)
{
    for (unsigned i = 0; i < CHILDREN_MAX; i++) {
        kill_child(scene, i);
        memset(&scene->rows[i], 0, sizeof scene->rows[i]);
    }
    scene->n_children = 0;
    snprintf(scene->uri, sizeof scene->uri, "%s:%s/s", scheme, scene->dir);
}

static int
tear_down(void **state)
{
    struct scene *scene = *state;
    for (unsigned i = 0; i < CHILDREN_MAX; i++) {
        kill_child(scene, i);
    }
    munmap(scene->rows, CHILDREN_MAX * sizeof(struct row));
    char path[80];
    snprintf(path, sizeof path, "%s/s", scene->dir);
    (void)unlink(path);
    return rmdir(scene->dir);
}

static struct mchan_opts
options(struct scene *scene)
{
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    opts.now_ns = scene_time;
    opts.now_ctx = scene;
    opts.loan_bytes = LOAN_BYTES;
    return opts;
}

/* Talking in numbers, the same on both ends. */

static bool
say(struct mchan *channel, struct row *row)
{
    uint8_t data[48] = {0};
    struct mchan_msg message = {.data = data, .size = sizeof data};
    uint64_t number = row->said + 1;
    memcpy(data, &number, sizeof number);
    if (mchan_send(channel, &message)) {
        return false;
    }
    row->said++;
    row->sent++;
    return true;
}

static bool
hear(struct mchan *channel, struct row *row)
{
    uint8_t data[48];
    uint64_t number;
    struct mchan_info info;
    if (mchan_recv(channel, data, sizeof data, &info) != sizeof data) {
        return false;
    }
    memcpy(&number, data, sizeof number);
    /* Which may be before its UP is collected. */
    bool same = info.attachment == row->attachment;
    row->n_bad += same && number != row->heard + 1;
    row->received = same ? row->received + 1 : 1;
    row->heard = number;
    row->attachment = info.attachment;
    return true;
}

static void
take_events(struct mchan *channel, struct row *row)
{
    struct mchan_event event;
    while (mchan_next_event(channel, &event)) {
        row->n_up += event.type == MCHAN_UP;
        row->n_lost += event.type == MCHAN_PEER_LOST;
        if (event.type == MCHAN_PROTO_ERROR) {
            fprintf(stderr, "PROTO_ERROR: %s\n", event.reason);
            row->n_bad++;
        }
        if (event.type == MCHAN_UP && row->n_up > 1) {
            row->sent = 0; /* As much again for another peer. */
        }
    }
}

/* A turn of one who talks: says what is wanted, hears what there is. */
static void
talk(struct mchan *channel, struct row *row)
{
    take_events(channel, row);
    while (row->sent < row->wanted && say(channel, row)) {
    }
    while (row->reads && hear(channel, row)) {
    }
}

static void
live(struct scene *scene, struct row *row, bool listens)
{
    struct mchan *channel;
    struct mchan_opts opts = options(scene);
    if (listens ? mchan_listen(&channel, scene->uri, &opts)
                : mchan_open(&channel, scene->uri, &opts)) {
        _exit(1);
    }
    row->ready = true;
    for (;;) {
        talk(channel, row);
        mchan_wait(channel, 1);
    }
}

/* Starts one who talks.  Its row is that of its number. */
static unsigned
start(struct scene *scene, bool listens)
{
    unsigned i = scene->n_children++;
    assert_true(i < CHILDREN_MAX);
    scene->rows[i].reads = true;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        live(scene, &scene->rows[i], listens);
    }
    scene->children[i] = pid;
    return i;
}

/* In the test itself, until what is waited for is so. */
#define TALK_UNTIL(channel, row, condition)                                    \
    do {                                                                       \
        int64_t until_ = real_time() + PATIENCE_S * NSEC_PER_SEC;              \
        while (!(condition)) {                                                 \
            talk(channel, row);                                                \
            mchan_wait(channel, 1);                                            \
            assert_true(real_time() < until_);                                 \
        }                                                                      \
    } while (0)

#define WAIT_UNTIL(condition)                                                  \
    do {                                                                       \
        int64_t until_ = real_time() + PATIENCE_S * NSEC_PER_SEC;              \
        while (!(condition)) {                                                 \
            nap_ms(1);                                                         \
            assert_true(real_time() < until_);                                 \
        }                                                                      \
    } while (0)

static struct mchan *
make(struct scene *scene, bool listens)
{
    struct mchan *channel;
    struct mchan_opts opts = options(scene);
    assert_int_equal(listens ? mchan_listen(&channel, scene->uri, &opts)
                             : mchan_open(&channel, scene->uri, &opts),
                     0);
    return channel;
}

/* Until the process has stopped, not only been told to. */
static void
stop(struct scene *scene, unsigned i)
{
    int status;
    kill(scene->children[i], SIGSTOP);
    assert_int_equal(waitpid(scene->children[i], &status, WUNTRACED),
                     scene->children[i]);
    assert_true(WIFSTOPPED(status));
}

/* Stopped and continued. */

static void
stopped_and_continued_loses_nothing(void **state)
{
    struct scene *scene = *state;
    for (unsigned i = 0; i < 2 * N_SCHEMES; i++) {
        bool listens = i % 2;
        start_over(scene, schemes[i / 2]);
        struct row ours = {.wanted = 100, .reads = true};
        struct mchan *channel = make(scene, listens);
        unsigned child = start(scene, !listens);
        struct row *theirs = &scene->rows[child];
        theirs->wanted = 100;
        TALK_UNTIL(channel, &ours,
                   ours.received == 100 && theirs->received == 100);
        stop(scene, child);
        ours.wanted = UINT64_MAX; /* Until no more fits; never a hang. */
        for (int j = 0; j < 100; j++) {
            talk(channel, &ours);
        }
        assert_true(ours.sent > 200);
        ours.wanted = ours.sent;
        theirs->wanted = 200;
        assert_int_equal(ours.n_lost, 0);
        kill(scene->children[child], SIGCONT);
        TALK_UNTIL(channel, &ours,
                   ours.received == 200 && theirs->received == ours.sent);
        assert_int_equal(ours.n_lost + theirs->n_lost, 0);
        assert_int_equal(ours.n_bad + theirs->n_bad, 0);
        mchan_close(channel);
    }
}

/* The old one, stopped in the middle of its sending, goes on with it when its
 * place is long another's. */
static void
a_stopped_client_disturbs_nobody_after_it_was_replaced(void **state)
{
    struct scene *scene = *state;
    for (unsigned i = 0; i < N_SCHEMES; i++) {
        start_over(scene, schemes[i]);
        struct row ours = {.reads = true, .wanted = 50};
        struct mchan *channel = make(scene, true);
        unsigned old = start(scene, false);
        struct row *olds = &scene->rows[old];
        olds->wanted = UINT64_MAX; /* It never stops sending. */
        TALK_UNTIL(channel, &ours, ours.received > 1000);
        stop(scene, old);
        /* The listener is another, too: as when a broker restarts. */
        mchan_close(channel);
        channel = make(scene, true);
        unsigned next = start(scene, false);
        struct row *nexts = &scene->rows[next];
        nexts->wanted = 1000;
        memset(&ours, 0, sizeof ours);
        ours.reads = true;
        ours.wanted = 1000;
        TALK_UNTIL(channel, &ours, ours.received == 1000);
        kill(scene->children[old], SIGCONT);
        nexts->wanted = 20000;
        ours.wanted = 20000;
        TALK_UNTIL(channel, &ours,
                   ours.received == 20000 && nexts->received == 20000 &&
                       olds->n_lost == 1);
        assert_int_equal(ours.n_up, 1);
        assert_int_equal(ours.n_lost + ours.n_bad + nexts->n_bad, 0);
        /* It comes again and again, and is turned away, until there is room. */
        struct mchan_stats stats;
        TALK_UNTIL(channel, &ours,
                   (mchan_stats(channel, &stats, sizeof stats),
                    stats.n_refused_peers > 0));
        assert_int_equal(olds->n_up, 1);
        kill_child(scene, next);
        TALK_UNTIL(channel, &ours, ours.n_up == 2 && ours.received > 1000);
        assert_int_equal(olds->n_up, 2);
        assert_int_equal(ours.n_bad + olds->n_bad, 0);
        mchan_close(channel);
    }
}

static void
live_stopped_before_hello(struct scene *scene, struct row *row)
{
    struct mchan *channel;
    struct mchan_opts opts = options(scene);
    if (mchan_open(&channel, scene->uri, &opts)) {
        _exit(1);
    }
    row->ready = true;
    raise(SIGSTOP);
    for (;;) {
        talk(channel, row);
        mchan_wait(channel, 1);
    }
}

static void
a_client_stopped_before_its_hello_is_replaced(void **state)
{
    /* It has memory that was made for it, and says HELLO into that when nobody
     * looks there any more. */
    struct scene *scene = *state;
    start_over(scene, "shm");
    struct row ours = {.reads = true, .wanted = 1000};
    struct mchan *channel = make(scene, true);
    struct row *olds = &scene->rows[scene->n_children];
    pid_t old = fork();
    if (!old) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        live_stopped_before_hello(scene, olds);
    }
    scene->children[scene->n_children++] = old;
    int status;
    assert_int_equal(waitpid(old, &status, WUNTRACED), old);
    struct mchan_event event;
    for (int i = 0; i < 10; i++) { /* Much at once would be our own fault. */
        mchan_arm(channel, MCHAN_READABLE);
        scene->ahead += NSEC_PER_SEC / 2;
    }
    assert_int_equal(mchan_next_event(channel, &event), 1);
    assert_int_equal(event.type, MCHAN_PROTO_ERROR);
    assert_string_equal(event.reason, "no HELLO in time");
    scene->ahead += NSEC_PER_SEC;

    unsigned next = start(scene, false);
    struct row *nexts = &scene->rows[next];
    nexts->wanted = 1000;
    TALK_UNTIL(channel, &ours, ours.received == 1000);
    kill(old, SIGCONT);
    ours.wanted = nexts->wanted = 2000;
    TALK_UNTIL(channel, &ours,
               ours.received == 2000 && nexts->received == 2000);
    assert_int_equal(ours.n_lost + ours.n_bad + nexts->n_bad, 0);
    assert_int_equal(olds->n_up, 0);
    olds->reads = true;
    olds->wanted = 10;
    kill_child(scene, next);
    TALK_UNTIL(channel, &ours,
               ours.n_up == 2 && olds->n_up == 1 && ours.received >= 10);
    assert_int_equal(ours.n_bad, 0);
    mchan_close(channel);
}

/* Listeners. */

static void
a_stopped_listener_keeps_its_place_until_it_is_killed(void **state)
{
    struct scene *scene = *state;
    for (unsigned i = 0; i < N_SCHEMES; i++) {
        start_over(scene, schemes[i]);
        struct mchan *usurper;
        unsigned old = start(scene, true);
        WAIT_UNTIL(scene->rows[old].ready);
        struct row ours = {.reads = true, .wanted = 10};
        struct mchan *channel = make(scene, false);
        TALK_UNTIL(channel, &ours, scene->rows[old].received == 10);
        stop(scene, old);
        assert_int_equal(mchan_listen(&usurper, scene->uri, NULL), -EADDRINUSE);
        kill_child(scene, old);
        TALK_UNTIL(channel, &ours, ours.n_lost == 1);
        unsigned next = start(scene, true);
        TALK_UNTIL(channel, &ours,
                   ours.n_up == 2 && scene->rows[next].received >= 10);
        assert_int_equal(ours.n_bad, 0);
        mchan_close(channel);
    }
}

static void
one_handle_outlives_ten_listeners(void **state)
{
    struct scene *scene = *state;
    for (unsigned i = 0; i < N_SCHEMES; i++) {
        start_over(scene, schemes[i]);
        struct row ours = {.reads = true, .wanted = 10};
        struct mchan *channel = make(scene, false);
        int fd = mchan_fd(channel);
        for (unsigned j = 1; j <= 10; j++) {
            scene->n_children = 0;
            memset(&scene->rows[0], 0, sizeof scene->rows[0]);
            unsigned next = start(scene, true);
            scene->rows[next].wanted = 10;
            TALK_UNTIL(channel, &ours,
                       ours.n_up == j && ours.received >= 10 &&
                           scene->rows[next].received >= 10);
            kill_child(scene, next);
            TALK_UNTIL(channel, &ours, ours.n_lost == j);
        }
        assert_int_equal(mchan_fd(channel), fd);
        assert_int_equal(ours.n_bad, 0);
        mchan_close(channel);
    }
}

/* What is told of what was under way. */

static void
last_words_of_the_killed_are_heard(void **state)
{
    struct scene *scene = *state;
    for (unsigned i = 0; i < N_SCHEMES; i++) {
        start_over(scene, schemes[i]);
        struct row ours = {0};
        struct mchan *channel = make(scene, true);
        unsigned child = start(scene, false);
        scene->rows[child].wanted = 100;
        TALK_UNTIL(channel, &ours, ours.n_up && scene->rows[child].sent == 100);
        kill_child(scene, child);
        TALK_UNTIL(channel, &ours, ours.n_lost == 1);
        while (hear(channel, &ours)) {
        }
        assert_int_equal(ours.received, 100);
        assert_int_equal(ours.n_bad, 0);
        assert_int_equal(mchan_recv(channel, NULL, 0, NULL), -ENOTCONN);
        mchan_close(channel);
    }
}

/* Each message of ours was acknowledged, or is named as dropped, or neither and
 * then still kept: never two of these. */
static void
every_message_to_the_killed_is_accounted_for(void **state)
{
    struct scene *scene = *state;
    for (unsigned i = 0; i < N_SCHEMES; i++) {
        start_over(scene, schemes[i]);
        struct row ours = {.reads = true, .wanted = 300};
        struct mchan *channel = make(scene, true);
        unsigned child = start(scene, false);
        TALK_UNTIL(channel, &ours, scene->rows[child].received == 300);
        scene->rows[child].reads = false;
        nap_ms(20);
        ours.wanted = 350;
        TALK_UNTIL(channel, &ours, ours.sent == 350);
        kill_child(scene, child);
        struct mchan_event event;
        struct mchan_stats stats;
        uint64_t dropped = 0, from = 0;
        unsigned next = start(scene, false);
        int64_t until = real_time() + PATIENCE_S * NSEC_PER_SEC;
        for (bool up = false; !up && real_time() < until;) {
            while (!up && mchan_next_event(channel, &event)) {
                up = event.type == MCHAN_UP;
                if (event.type == MCHAN_DROPPED) {
                    assert_true(!from || event.from == from + dropped);
                    from = from ? from : event.from;
                    dropped += event.to - event.from + 1;
                }
            }
            mchan_wait(channel, 1);
        }
        /* The new one knows nothing of the session: all of it is over. */
        while (mchan_next_event(channel, &event)) {
            if (event.type == MCHAN_DROPPED) {
                from = from ? from : event.from;
                dropped += event.to - event.from + 1;
            }
        }
        mchan_stats(channel, &stats, sizeof stats);
        assert_int_equal(stats.n_acked + dropped, 350);
        assert_int_equal(stats.n_dropped, dropped);
        assert_true(!dropped || from == stats.n_acked + 1);
        assert_true(stats.n_acked >= 299);
        kill_child(scene, next);
        mchan_close(channel);
    }
}

/* Loans. */

static void
live_and_lend(struct scene *scene, struct row *row)
{
    struct mchan *channel;
    struct mchan_loan loan;
    struct mchan_event event;
    struct mchan_opts opts = options(scene);
    if (mchan_open(&channel, scene->uri, &opts)) {
        _exit(1);
    }
    while (!mchan_next_event(channel, &event)) {
        mchan_wait(channel, 1);
    }
    for (uint8_t i = 1; i <= 4; i++) {
        struct mchan_msg message = {.size = 50000};
        if (mchan_loan(channel, 50000, &loan)) {
            _exit(1);
        }
        memset(loan.data, i, 50000);
        if (mchan_send_loan(channel, &loan, &message)) {
            _exit(1);
        }
    }
    row->ready = true;
    pause();
}

static void
what_the_killed_lent_stays_readable(void **state)
{
    struct scene *scene = *state;
    start_over(scene, "shm");
    struct row ours = {0};
    struct held before = held_now();
    struct mchan *channel = make(scene, true);
    pid_t child = fork();
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        live_and_lend(scene, &scene->rows[0]);
    }
    scene->children[scene->n_children++] = child;
    TALK_UNTIL(channel, &ours, scene->rows[0].ready);
    struct mchan_view views[4];
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(mchan_view(channel, &views[i]), 0);
    }
    kill_child(scene, 0);
    TALK_UNTIL(channel, &ours, ours.n_lost == 1);
    for (unsigned i = 2; i < 4; i++) { /* Sent before, looked at after. */
        assert_int_equal(mchan_view(channel, &views[i]), 0);
    }
    unsigned next = start(scene, false);
    ours.reads = true;
    scene->rows[next].wanted = 10;
    TALK_UNTIL(channel, &ours, ours.n_up == 2 && ours.received >= 10);
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *bytes = views[i].data;
        assert_int_equal(views[i].size, 50000);
        assert_int_equal(bytes[0], i + 1);
        assert_int_equal(bytes[49999], i + 1);
        mchan_release(channel, &views[i]);
    }
    mchan_close(channel);
    struct held after = held_now();
    assert_int_equal(after.n_memfds, before.n_memfds);
    assert_int_equal(after.n_fds, before.n_fds);
}

/* The child takes loans and never gives them back. */
static void
live_and_keep(struct scene *scene, struct row *row)
{
    struct mchan *channel;
    struct mchan_view view;
    struct mchan_opts opts = options(scene);
    if (mchan_open(&channel, scene->uri, &opts)) {
        _exit(1);
    }
    for (;;) {
        struct mchan_event event;
        while (mchan_next_event(channel, &event)) {
        }
        while (!mchan_view(channel, &view)) {
            row->received++;
        }
        mchan_wait(channel, 1);
    }
}

/* Lends all there is; how many that were. */
static unsigned
lend_all(struct mchan *channel)
{
    struct mchan_msg message = {.size = 65536};
    struct mchan_loan loan;
    unsigned n = 0;
    while (!mchan_loan(channel, 65536, &loan)) {
        memset(loan.data, 1, 65536);
        assert_int_equal(mchan_send_loan(channel, &loan, &message), 0);
        n++;
    }
    return n;
}

static void
what_the_killed_was_lent_comes_back(void **state)
{
    struct scene *scene = *state;
    start_over(scene, "shm");
    struct row ours = {0};
    struct mchan *channel = make(scene, true);
    unsigned n_first = 0;
    for (unsigned round = 1; round <= 5; round++) {
        memset(&scene->rows[0], 0, sizeof scene->rows[0]);
        pid_t child = fork();
        if (!child) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            live_and_keep(scene, &scene->rows[0]);
        }
        scene->children[0] = child;
        TALK_UNTIL(channel, &ours, ours.n_up == round);
        unsigned n = lend_all(channel);
        n_first = round == 1 ? n : n_first;
        assert_true(n > 4);
        assert_int_equal(n, n_first); /* All came back, each time. */
        TALK_UNTIL(channel, &ours, scene->rows[0].received == n);
        kill_child(scene, 0);
        TALK_UNTIL(channel, &ours, ours.n_lost == round);
    }
    mchan_close(channel);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(stopped_and_continued_loses_nothing),
        TEST(a_stopped_client_disturbs_nobody_after_it_was_replaced),
        TEST(a_client_stopped_before_its_hello_is_replaced),
        TEST(a_stopped_listener_keeps_its_place_until_it_is_killed),
        TEST(one_handle_outlives_ten_listeners),
        TEST(last_words_of_the_killed_are_heard),
        TEST(every_message_to_the_killed_is_accounted_for),
        TEST(what_the_killed_lent_stays_readable),
        TEST(what_the_killed_was_lent_comes_back),
    };
    return cmocka_run_group_tests_name("death/moments", tests, NULL, NULL);
}
