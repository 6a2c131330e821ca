/* SPDX-License-Identifier: Apache-2.0 */
/* Kills one end of a channel again and again, in the middle of whatever it
 * does, and looks at the other, which stays: how long until it knows
 * (PEER_LOST), how long until it talks with the replacement, and what is left
 * at the end.
 *
 * Three processes.  The supervisor (this program) starts a victim, waits until
 * a message of its has arrived, tells it what to do, kills it at a random
 * moment with SIGKILL, reaps it, and starts the next as whoever restarts a
 * program would: by fork().  The survivor holds one handle all the while.  They
 * tell each other what they see on a board of shared memory; times are
 * CLOCK_MONOTONIC, from just before kill() to the survivor's having the event
 * or the message in its hands.  One in eight is killed once more on its way up.
 *
 * Every message bears its sender's incarnation and a number, and the receiver
 * checks that none is missing before the last one that arrived. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/prng.h"
#include "include/mchan.h"
#include "left.h"

#define KILLS_MAX 1000000
#define PATIENCE_NS (60 * NSEC_PER_SEC)
#define WARM_UP 20 /* Kills before what is held is first counted. */
#define MESSAGE_MAX 4096
/* How long a victim is left alone at least, so that a survivor is not one that
 * is lost at once (channel/mgmtfront.h). */
#define LIFE_NS (15 * NSEC_PER_MSEC)
/* What a survivor may grow by: the allocator's moods, far less than a ring or a
 * page for each of the killed. */
#define RSS_GROWTH_KIB 1024
#define MAPPINGS_MAX 2

enum activity {
    IDLE,
    SENDING,
    RECEIVING,
    EXCHANGING,
    ASLEEP,
    SPINNING,
    BLOCKED, /* The ring is full, since the survivor does not read. */
    N_ACTIVITIES,
};

struct number {
    uint32_t incarnation;
    uint32_t unused;
    uint64_t n;
};

/* Each word has one writer, the supervisor (S), the survivor (V) or the victim
 * of the moment. */
struct board {
    _Atomic uint32_t activity; /* S: of the victim. */
    _Atomic uint32_t go;       /* S: the incarnation that may begin it. */
    _Atomic bool sleeps;       /* S: the survivor sleeps, rather than looks. */
    _Atomic bool ends;         /* S: the survivor is to close. */
    _Atomic uint32_t asked;    /* S: times that what is held was asked for, */
    _Atomic uint32_t answered; /* V: and told. */
    _Atomic uint32_t heard;    /* V: the last incarnation that spoke, */
    _Atomic int64_t heard_at;  /* V: and when it did so first. */
    _Atomic uint32_t n_lost;   /* V: PEER_LOST so far, */
    _Atomic int64_t lost_at;   /* V: and when the last came. */
    _Atomic uint64_t n_received;
    _Atomic bool failed; /* Anybody, and why: */
    char why[160];
    struct held before, held, after;
};

/* One row of the table. */
struct trial {
    const char *scheme;
    bool kills_listener;
    unsigned n_kills;
    uint64_t seed;
    struct prng prng;
    char dir[64], uri[96];
    struct board *board;
    uint32_t incarnation;
    pid_t survivor, victim;
    /* By how the survivor waits: 0 looks, 1 sleeps. */
    unsigned n_times[2];
    int64_t *lost_ns[2], *again_ns[2];
    unsigned n_killed;
    int32_t n_shm, n_run, n_dir;
    struct held first, last;
    const char *failure;
};

static int64_t
now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

static void
nap(int64_t ns)
{
    struct timespec time = {.tv_nsec = (long)ns};
    nanosleep(&time, NULL);
}

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

static void
be_victim(struct trial *trial)
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
        nap(50 * NSEC_PER_USEC);
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
            board->lost_at = now_ns();
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
            board->heard_at = now_ns();
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

static void
be_survivor(const struct trial *trial)
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

/* The supervisor. */

static pid_t
start(struct trial *trial, bool victim)
{
    trial->incarnation += victim;
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(2);
    }
    if (!pid && victim) {
        be_victim(trial);
    } else if (!pid) {
        be_survivor(trial);
    }
    return pid;
}

static void
reap(pid_t *pid)
{
    if (*pid > 0) {
        waitpid(*pid, NULL, 0);
        *pid = 0;
    }
}

static void
kill_victim(struct trial *trial)
{
    kill(trial->victim, SIGKILL);
    reap(&trial->victim);
    trial->n_killed++;
}

/* Whether what is waited for came to be, in good time and without failure. */
#define WAIT_FOR(trial, condition)                                             \
    ({                                                                         \
        int64_t until_ = now_ns() + PATIENCE_NS;                               \
        while (!(condition) && !(trial)->board->failed && now_ns() < until_) { \
            nap(100 * NSEC_PER_USEC);                                          \
        }                                                                      \
        (condition) && !(trial)->board->failed;                                \
    })

static bool
kill_once(struct trial *trial)
{
    struct board *board = trial->board;
    bool twice = prng_below(&trial->prng, 8) == 0;
    board->sleeps = prng_below(&trial->prng, 2);
    board->activity = (uint32_t)prng_below(&trial->prng, N_ACTIVITIES);
    board->go = trial->incarnation;
    nap(LIFE_NS + (int64_t)prng_below(&trial->prng, LIFE_NS));

    uint32_t lost_before = board->n_lost;
    int64_t killed_at = now_ns();
    kill_victim(trial);
    trial->victim = start(trial, true);
    if (twice) {
        nap((int64_t)prng_below(&trial->prng, NSEC_PER_MSEC));
        kill_victim(trial);
        trial->victim = start(trial, true);
    }
    if (!WAIT_FOR(trial, board->n_lost != lost_before)) {
        trial->failure = "the survivor never heard of a death";
        return false;
    }
    int64_t lost_at = board->lost_at;
    if (!WAIT_FOR(trial, board->heard == trial->incarnation)) {
        trial->failure = "the survivor never heard the replacement";
        return false;
    }
    if (!twice) {
        unsigned n = trial->n_times[board->sleeps]++;
        trial->lost_ns[board->sleeps][n] = lost_at - killed_at;
        trial->again_ns[board->sleeps][n] = board->heard_at - killed_at;
    }
    return true;
}

static bool
ask_held(struct trial *trial, struct held *out)
{
    struct board *board = trial->board;
    board->activity = IDLE;
    board->go = trial->incarnation;
    board->asked++;
    if (!WAIT_FOR(trial, board->answered == board->asked)) {
        trial->failure = "the survivor does not answer";
        return false;
    }
    *out = board->held;
    return true;
}

static void
kill_many(struct trial *trial)
{
    unsigned n_warm =
        trial->n_kills > 2 * WARM_UP ? WARM_UP : (trial->n_kills + 1) / 2;
    trial->survivor = start(trial, false);
    trial->victim = start(trial, true);
    if (!WAIT_FOR(trial, trial->board->heard == trial->incarnation)) {
        trial->failure = "they never met";
        return;
    }
    bool counted = false;
    while (trial->n_killed < trial->n_kills) {
        if (!kill_once(trial)) {
            return;
        }
        if (!counted && trial->n_killed >= n_warm) {
            counted = true;
            if (!ask_held(trial, &trial->first)) {
                return;
            }
        }
    }
    (void)ask_held(trial, &trial->last);
}

/* The survivor closes while a victim lives, who is killed last. */
static void
wind_up(struct trial *trial)
{
    struct board *board = trial->board;
    if (trial->failure || board->failed) {
        kill(trial->survivor, SIGKILL);
    }
    board->activity = IDLE;
    board->ends = true;
    int64_t until = now_ns() + PATIENCE_NS;
    while (waitpid(trial->survivor, NULL, WNOHANG) == 0) {
        if (now_ns() > until) {
            trial->failure = "the survivor does not end";
            kill(trial->survivor, SIGKILL);
        }
        nap(NSEC_PER_MSEC);
    }
    trial->survivor = 0;
    kill_victim(trial);
    if (trial->kills_listener) {
        /* The last one was killed too, and only another tidies up after it. */
        struct mchan *next;
        if (!mchan_listen(&next, trial->uri, NULL)) {
            mchan_close(next);
        }
    }
}

/* Judgement. */

static bool
leaves_nothing(const struct trial *trial)
{
    const struct board *board = trial->board;
    const struct held *first = &trial->first, *last = &trial->last;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    const bool sanitized = true; /* They keep what was freed. */
#else
    const bool sanitized = false;
#endif
    return !trial->n_shm && !trial->n_run && !trial->n_dir &&
           last->n_fds == first->n_fds && last->n_memfds == first->n_memfds &&
           (sanitized ||
            last->n_mappings <= first->n_mappings + MAPPINGS_MAX) &&
           board->after.n_fds == board->before.n_fds &&
           board->after.n_memfds == board->before.n_memfds &&
           (sanitized || last->rss_kib - first->rss_kib <= RSS_GROWTH_KIB);
}

static void
run(struct trial *trial)
{
    strcpy(trial->dir, "/tmp/mchan-death-XXXXXX");
    if (!mkdtemp(trial->dir)) {
        perror("mkdtemp");
        exit(2);
    }
    snprintf(trial->uri, sizeof trial->uri, "%s:%s/s", trial->scheme,
             trial->dir);
    prng_init(&trial->prng, trial->seed);
    for (int i = 0; i < 2; i++) {
        trial->lost_ns[i] = calloc(trial->n_kills, sizeof(int64_t));
        trial->again_ns[i] = calloc(trial->n_kills, sizeof(int64_t));
    }
    int32_t n_shm = left_in("/dev/shm"), n_run = left_in("/run");
    kill_many(trial);
    wind_up(trial);
    trial->n_shm = left_in("/dev/shm") - n_shm;
    trial->n_run = left_in("/run") - n_run;
    trial->n_dir = left_in(trial->dir);
    if (trial->board->failed) {
        trial->failure = trial->board->why;
    } else if (!trial->failure && !leaves_nothing(trial)) {
        trial->failure = "something is left";
    }
    char path[80];
    snprintf(path, sizeof path, "%s/s", trial->dir);
    (void)unlink(path);
    (void)rmdir(trial->dir);
}

static int
compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Of sorted times, in ms. */
static double
quantile_ms(const int64_t *times, unsigned n, double q)
{
    return n ? (double)times[(unsigned)((n - 1) * q + 0.5)] / 1e6 : 0;
}

/* Telling. */

static const char *
role(const struct trial *trial)
{
    return trial->kills_listener ? "listener" : "client";
}

static void
print_times(const char *what, const int64_t *times, unsigned n, double target)
{
    double p50 = quantile_ms(times, n, 0.5);
    printf("  %-36s %8.3f %8.3f %8.3f   %4.0f  %s\n", what, p50,
           quantile_ms(times, n, 0.99), quantile_ms(times, n, 1), target,
           p50 <= target ? "met" : "MISSED");
}

static void
print_row(const struct trial *trial)
{
    static const char *const ways[2] = {"polls", "sleeps"};
    const struct board *board = trial->board;
    printf("%s, %u killed %ss, %llu messages came through: %s\n", trial->scheme,
           trial->n_killed, role(trial), (unsigned long long)board->n_received,
           trial->failure ? trial->failure : "nothing left");
    printf("  left: %d in /dev/shm, %d in /run, %d beside the socket, %d fds, "
           "%d mappings (%d of memory files), %d KiB of RSS\n",
           trial->n_shm, trial->n_run, trial->n_dir,
           trial->last.n_fds - trial->first.n_fds,
           trial->last.n_mappings - trial->first.n_mappings,
           trial->last.n_memfds - trial->first.n_memfds,
           trial->last.rss_kib - trial->first.rss_kib);
    printf("  %-36s %8s %8s %8s   %4s\n", "ms", "p50", "p99", "max", "goal");
    for (int i = 0; i < 2; i++) {
        char what[64];
        snprintf(what, sizeof what, "killed -> PEER_LOST, who %s", ways[i]);
        print_times(what, trial->lost_ns[i], trial->n_times[i], 1);
        snprintf(what, sizeof what, "killed -> traffic again, who %s", ways[i]);
        print_times(what, trial->again_ns[i], trial->n_times[i], 5);
    }
}

static void
write_times(FILE *file, const char *name, int64_t *const times[2],
            const unsigned n[2])
{
    static const char *const ways[2] = {"poll", "sleep"};
    fprintf(file, "   \"%s_ms\": {", name);
    for (int i = 0; i < 2; i++) {
        fprintf(file,
                "%s\"%s\": {\"n\": %u, \"p50\": %.4f, \"p99\": %.4f, "
                "\"max\": %.4f}",
                i ? ", " : "", ways[i], n[i], quantile_ms(times[i], n[i], 0.5),
                quantile_ms(times[i], n[i], 0.99),
                quantile_ms(times[i], n[i], 1));
    }
    fprintf(file, "}");
}

static void
write_row(FILE *file, const struct trial *trial, bool first)
{
    fprintf(file,
            "%s  {\"transport\": \"%s\", \"killed\": \"%s\", \"kills\": %u, "
            "\"messages\": %llu, \"failure\": ",
            first ? "[\n" : ",\n", trial->scheme, role(trial), trial->n_killed,
            (unsigned long long)trial->board->n_received);
    fprintf(file, trial->failure ? "\"%s\",\n" : "null,\n", trial->failure);
    fprintf(file,
            "   \"left\": {\"dev_shm\": %d, \"run\": %d, \"socket_dir\": %d, "
            "\"fds\": %d, \"mappings\": %d, \"memfds\": %d, \"rss_kib\": "
            "%d},\n",
            trial->n_shm, trial->n_run, trial->n_dir,
            trial->last.n_fds - trial->first.n_fds,
            trial->last.n_mappings - trial->first.n_mappings,
            trial->last.n_memfds - trial->first.n_memfds,
            trial->last.rss_kib - trial->first.rss_kib);
    write_times(file, "peer_lost", trial->lost_ns, trial->n_times);
    fprintf(file, ",\n");
    write_times(file, "traffic_again", trial->again_ns, trial->n_times);
    fprintf(file, "}");
}

static void
sort_times(struct trial *trial)
{
    for (int i = 0; i < 2; i++) {
        qsort(trial->lost_ns[i], trial->n_times[i], sizeof(int64_t), compare);
        qsort(trial->again_ns[i], trial->n_times[i], sizeof(int64_t), compare);
    }
}

struct args {
    unsigned n_kills;
    uint64_t seed;
    bool tap;
    const char *json;
    const char *only;
};

static void
usage(FILE *to)
{
    fputs("usage: kills [--kills N] [--only SCHEME] [--seed N] [--tap] "
          "[--json FILE]\n\n"
          "Kills clients, then listeners, N times each (100), over shm and "
          "over unix.\n"
          "Prints what was left and how long the survivors took; --tap says "
          "it as tests do,\n--json also writes it to FILE.  The exit status "
          "is 1 if anything was left or wrong.\n",
          to);
}

static void
parse(struct args *args, int argc, char **argv)
{
    static const struct option options[] = {
        {"kills", required_argument, NULL, 'n'},
        {"only", required_argument, NULL, 'o'},
        {"seed", required_argument, NULL, 's'},
        {"json", required_argument, NULL, 'j'},
        {"tap", no_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'n':
            args->n_kills = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'o':
            args->only = optarg;
            break;
        case 's':
            args->seed = strtoull(optarg, NULL, 10);
            break;
        case 'j':
            args->json = optarg;
            break;
        case 't':
            args->tap = true;
            break;
        default:
            usage(option == 'h' ? stdout : stderr);
            exit(option == 'h' ? 0 : 2);
        }
    }
    if (!args->n_kills || args->n_kills > KILLS_MAX || optind != argc) {
        usage(stderr);
        exit(2);
    }
}

static struct board *
new_board(void)
{
    struct board *board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return board;
}

static void
tell(const struct args *args, const struct trial *trial, unsigned n)
{
    if (args->tap) {
        printf("%sok %u - %u killed %ss over %s leave nothing%s%s\n",
               trial->failure ? "not " : "", n, trial->n_killed, role(trial),
               trial->scheme, trial->failure ? " # " : "",
               trial->failure ? trial->failure : "");
    } else {
        print_row(trial);
    }
    fflush(stdout);
}

int
main(int argc, char **argv)
{
    static const char *const schemes[] = {"shm", "unix"};
    struct args args = {.n_kills = 100, .seed = 1};
    parse(&args, argc, argv);
    FILE *json = args.json ? fopen(args.json, "w") : NULL;
    if (args.json && !json) {
        perror(args.json);
        return 2;
    }
    bool alone = left_alone();
    unsigned n = 0, n_failed = 0;
    for (int i = 0; i < 4; i++) {
        struct trial trial = {.scheme = schemes[i / 2],
                              .kills_listener = i % 2,
                              .n_kills = args.n_kills,
                              .seed = args.seed + (uint64_t)i,
                              .board = new_board()};
        if (args.only && strcmp(args.only, trial.scheme)) {
            continue;
        }
        run(&trial);
        sort_times(&trial);
        tell(&args, &trial, ++n);
        if (json) {
            write_row(json, &trial, n == 1);
        }
        n_failed += trial.failure != NULL;
        for (int j = 0; j < 2; j++) {
            free(trial.lost_ns[j]);
            free(trial.again_ns[j]);
        }
    }
    if (args.tap) {
        printf("1..%u\n", n);
    } else if (!alone) {
        printf("/dev/shm and /run are shared with other programs here\n");
    }
    if (json) {
        fprintf(json, "\n]\n");
        fclose(json);
    }
    return n_failed ? 1 : 0;
}
