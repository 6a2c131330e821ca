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
 */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "include/mchan.h"
#include "tests/death/kills.h"
#include "tests/watch.h"

#define KILLS_MAX 1000000
#define PATIENCE_NS (60 * NSEC_PER_SEC)
#define WARM_UP 20 /* Kills before what is held is first counted. */
/* How long a victim is left alone at least, so that a survivor is not one that
 * is lost at once (channel/mgmtfront.h). */
#define LIFE_NS (15 * NSEC_PER_MSEC)
/* What a survivor may grow by: the allocator's moods, far less than a ring or a
 * page for each of the killed. */
#define RSS_GROWTH_KIB 1024
#define MAPPINGS_MAX 2

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
        ends_be_victim(trial);
    } else if (!pid) {
        ends_be_survivor(trial);
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
        int64_t until_ = watch_now() + PATIENCE_NS;                            \
        while (!(condition) && !(trial)->board->failed &&                      \
               watch_now() < until_) {                                         \
            watch_nap(100 * NSEC_PER_USEC);                                    \
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
    watch_nap(LIFE_NS + (int64_t)prng_below(&trial->prng, LIFE_NS));

    uint32_t lost_before = board->n_lost;
    int64_t killed_at = watch_now();
    kill_victim(trial);
    trial->victim = start(trial, true);
    if (twice) {
        watch_nap((int64_t)prng_below(&trial->prng, NSEC_PER_MSEC));
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
    int64_t until = watch_now() + PATIENCE_NS;
    while (waitpid(trial->survivor, NULL, WNOHANG) == 0) {
        if (watch_now() > until) {
            trial->failure = "the survivor does not end";
            kill(trial->survivor, SIGKILL);
        }
        watch_nap(NSEC_PER_MSEC);
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
    watch_make_dir(trial->dir, sizeof trial->dir, "death");
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

static void
tell(const struct args *args, const struct trial *trial, unsigned n)
{
    if (args->tap) {
        printf("%sok %u - %u killed %ss over %s leave nothing%s%s\n",
               trial->failure ? "not " : "", n, trial->n_killed,
               report_role(trial), trial->scheme, trial->failure ? " # " : "",
               trial->failure ? trial->failure : "");
    } else {
        report_print(trial);
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
                              .board = watch_share(sizeof(struct board))};
        if (args.only && strcmp(args.only, trial.scheme)) {
            continue;
        }
        run(&trial);
        report_sort(&trial);
        tell(&args, &trial, ++n);
        if (json) {
            report_write(json, &trial, n == 1);
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
