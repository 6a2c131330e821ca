/* SPDX-License-Identifier: Apache-2.0 */
/* One end of a channel writes values, random and plausible ones, into all that
 * both ends share, and the other must neither crash nor hang nor read or write
 * outside nor grow, but throw it out for a reason that has a name, again and
 * again, while a good neighbour of the same process notices nothing.
 *
 * The work is done in stages of three processes each (board.h): the victim, its
 * good neighbour, and the attacker.  This file starts them, watches that the
 * victim and the neighbours get on, judges, and adds up.  Built with address
 * and undefined-behaviour checks wherever the compiler has them. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "board.h"
#include "tests/watch.h"

/* What must go on may stand still this long; the machine may be busy. */
#define PATIENCE_NS (180 * NSEC_PER_SEC)
#define TICK_NS (20 * NSEC_PER_MSEC)
/* What a victim may grow by while attacked: freed memory is kept a while by the
 * address sanitizer (see below) and by the allocator. */
#define GROWTH_KIB_MAX 65536
/* Writes of which some must have come through. */
#define LONG_ENOUGH 20000

const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *
__asan_default_options(void)
{
    return "quarantine_size_mb=8:exitcode=99:detect_leaks=1";
}

const char *
__ubsan_default_options(void)
{
    return "halt_on_error=1:print_stacktrace=1:exitcode=98";
}

void
board_fail(struct board *board, const char *format, ...)
{
    if (!atomic_exchange(&board->failed, true)) {
        va_list args;
        va_start(args, format);
        vsnprintf(board->why, sizeof board->why, format, args);
        va_end(args);
    }
}

/* What all stages came to. */
struct total {
    uint64_t n_writes, n_stale, n_flips, n_up, n_meetings, n_violations;
    uint64_t n_resumed;
    uint64_t n_bad_offers, n_bad_hellos, n_floods, n_received;
    uint64_t neighbour_messages, n_turns;
    int32_t growth_kib, fds_left, memfds_left;
    uint32_t n_stages, n_crashes, n_hangs, n_failures;
    uint32_t n_reasons;
    struct board_reason reasons[BOARD_REASONS];
    char why[BOARD_WHY_SIZE];
};

/* Processes. */

enum role { VICTIM, NEIGHBOUR, ATTACKER, N_ROLES };

/* Signs of life.  Each counts for itself: a sum would hide one that stands. */
enum sign { TURNS, TO_VICTIM, TO_NEIGHBOUR, WRITES, N_SIGNS };

struct play {
    struct stage stage;
    struct board *board;
    pid_t pids[N_ROLES];
    int64_t first_kib, most_kib; /* Of the victim; 0: not known yet. */
    bool crashed, hung;
    uint64_t seen[N_SIGNS];   /* What must rise, */
    int64_t seen_at[N_SIGNS]; /* and when it last did. */
};

static pid_t
start(const struct stage *stage, enum role role)
{
    static int (*const lives[])(const struct stage *) = {
        [VICTIM] = victim_live,
        [NEIGHBOUR] = neighbour_live,
        [ATTACKER] = attacker_live,
    };
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(2);
    }
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        exit(role == ATTACKER && stage->streams ? streamer_live(stage)
                                                : lives[role](stage));
    }
    return pid;
}

/* Takes note of an end that was none.  Others may have failed before, since the
 * victim was gone; why it went is worth more. */
static void
note_end(struct play *play, enum role role, int status)
{
    static const char *const names[] = {"victim", "neighbour", "attacker"};
    struct board *board = play->board;
    if (!status) {
        return;
    }
    if (role == VICTIM || !board->failed) {
        snprintf(board->why, sizeof board->why, "the %s ended with %s %d",
                 names[role], WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    board->failed = true;
    play->crashed = play->crashed || role == VICTIM;
}

static void
look_for_dead(struct play *play)
{
    for (int i = 0; i < N_ROLES; i++) {
        int status;
        if (play->pids[i] > 0 &&
            waitpid(play->pids[i], &status, WNOHANG) == play->pids[i]) {
            play->pids[i] = 0;
            note_end(play, i, status);
        }
    }
}

static void
look_at_size(struct play *play)
{
    char path[64];
    long unused, pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)play->pids[VICTIM]);
    FILE *statm = fopen(path, "r");
    if (!statm) {
        return;
    }
    if (fscanf(statm, "%ld %ld", &unused, &pages) == 2) {
        int64_t kib = pages * (sysconf(_SC_PAGESIZE) / 1024);
        bool warm = play->board->n_writes > play->board->n_writes_wanted / 5;
        if (!play->first_kib && warm) {
            play->first_kib = kib;
        }
        play->most_kib = kib > play->most_kib ? kib : play->most_kib;
    }
    fclose(statm);
}

static void
look_for_hangs(struct play *play)
{
    static const char *const names[] = {"the victim", "what the neighbour says",
                                        "what the neighbour hears",
                                        "the attacker"};
    const struct board *board = play->board;
    const uint64_t now[N_SIGNS] = {board->n_turns, board->good_received,
                                   board->neighbour_received, board->n_writes};
    for (int i = 0; i < N_SIGNS; i++) {
        if (now[i] != play->seen[i] || !play->seen_at[i]) {
            play->seen[i] = now[i];
            play->seen_at[i] = watch_now();
        } else if (watch_now() - play->seen_at[i] > PATIENCE_NS) {
            play->hung = true;
            board_fail(play->board, "%s stands still", names[i]);
        }
    }
}

/* One stage. */

/* True while the attack goes on as it should. */
static bool
attack_goes_on(struct play *play, int64_t until)
{
    look_for_dead(play);
    look_at_size(play);
    look_for_hangs(play);
    if (watch_now() > until) {
        play->board->attack_over = true;
    }
    return play->pids[ATTACKER] && !play->board->failed;
}

/* What the neighbours said must arrive, all of it. */
static bool
has_settled(const struct board *board)
{
    return board->settled && board->good_received == board->neighbour_sent &&
           board->neighbour_received == board->good_sent;
}

static void
settle(struct play *play)
{
    struct board *board = play->board;
    int64_t until = watch_now() + PATIENCE_NS;
    int n = 0;
    board->settle = true;
    /* For a while, since one more may be on its way. */
    while (n < 5 && !board->failed && watch_now() < until) {
        look_for_dead(play);
        n = has_settled(board) ? n + 1 : 0;
        watch_nap(TICK_NS);
    }
    if (n < 5) {
        board_fail(board,
                   "of the neighbours' %llu and %llu messages came "
                   "%llu and %llu",
                   (unsigned long long)board->good_sent,
                   (unsigned long long)board->neighbour_sent,
                   (unsigned long long)board->neighbour_received,
                   (unsigned long long)board->good_received);
    }
}

/* The neighbour may see first that the victim is gone. */
static void
look_for_crash(struct play *play)
{
    int64_t until = watch_now() + 2 * NSEC_PER_SEC;
    while (play->pids[VICTIM] && watch_now() < until) {
        look_for_dead(play);
        watch_nap(TICK_NS);
    }
}

static void
end(struct play *play)
{
    struct board *board = play->board;
    int64_t until = watch_now() + PATIENCE_NS;
    board->end = true;
    while ((play->pids[VICTIM] || play->pids[NEIGHBOUR]) &&
           watch_now() < until && !board->failed) {
        look_for_dead(play);
        watch_nap(NSEC_PER_MSEC);
    }
    for (int i = 0; i < N_ROLES; i++) {
        if (play->pids[i] > 0) {
            kill(play->pids[i], SIGKILL);
            waitpid(play->pids[i], NULL, 0);
            board_fail(board, "role %d did not end", i);
        }
    }
}

static void
judge(struct play *play)
{
    struct board *board = play->board;
    int64_t growth = play->most_kib - play->first_kib;
    if (play->first_kib && growth > GROWTH_KIB_MAX) {
        board_fail(board, "the victim grew by %lld KiB", (long long)growth);
    }
    if (board->fds_left || board->memfds_left) {
        board_fail(board, "%d descriptors and %d mappings are left",
                   board->fds_left, board->memfds_left);
    }
    bool long_enough = board->n_writes >= LONG_ENOUGH;
    if (long_enough && (board->n_up < 5 || !board->n_violations)) {
        board_fail(board, "the attacker did not get through; is rawpeer.h's "
                          "layout that of transport/shm.c?");
    }
}

static void
tidy(const struct stage *stage)
{
    unlink(stage->path);
    unlink(strchr(stage->neighbour_uri, ':') + 1);
    rmdir(stage->dir);
}

static void
prepare(struct stage *stage)
{
    watch_make_dir(stage->dir, sizeof stage->dir, "hostile");
    snprintf(stage->path, sizeof stage->path, "%s/s", stage->dir);
    snprintf(stage->uri, sizeof stage->uri, "%s:%s",
             stage->streams ? "unix" : "shm", stage->path);
    snprintf(stage->neighbour_uri, sizeof stage->neighbour_uri, "shm:%s/n",
             stage->dir);
}

static void
run(struct play *play, int64_t until)
{
    prepare(&play->stage);
    for (int i = 0; i < N_ROLES; i++) {
        play->pids[i] = start(&play->stage, i);
    }
    while (attack_goes_on(play, until)) {
        watch_nap(TICK_NS);
    }
    if (!play->board->failed) {
        settle(play);
    } else {
        look_for_crash(play);
    }
    end(play);
    if (!play->board->failed) {
        judge(play);
    }
    tidy(&play->stage);
}

/* Adding up. */

static void
add_reason(struct total *total, const struct board_reason *reason)
{
    uint32_t i = 0;
    while (i < total->n_reasons &&
           strcmp(total->reasons[i].text, reason->text)) {
        i++;
    }
    if (i == BOARD_REASONS) {
        return;
    }
    if (i == total->n_reasons) {
        total->reasons[i] = *reason;
        total->n_reasons++;
    } else {
        total->reasons[i].n += reason->n;
    }
}

static void
add(struct total *total, const struct play *play)
{
    const struct board *board = play->board;
    total->n_stages++;
    total->n_writes += board->n_writes;
    total->n_stale += board->n_stale;
    total->n_flips += board->n_flips;
    total->n_up += board->n_up;
    total->n_meetings += board->n_meetings;
    total->n_resumed += board->n_resumed;
    total->n_violations += board->n_violations;
    total->n_bad_offers += board->n_bad_offers;
    total->n_bad_hellos += board->n_bad_hellos;
    total->n_floods += board->n_floods;
    total->n_received += board->n_received;
    total->n_turns += board->n_turns;
    total->neighbour_messages +=
        board->good_received + board->neighbour_received;
    if (play->most_kib - play->first_kib > total->growth_kib) {
        total->growth_kib = (int32_t)(play->most_kib - play->first_kib);
    }
    total->fds_left += board->fds_left;
    total->memfds_left += board->memfds_left;
    total->n_crashes += play->crashed;
    total->n_hangs += play->hung;
    if (board->failed && !total->n_failures++) {
        memcpy(total->why, board->why, sizeof total->why);
    }
    for (uint32_t i = 0; i < board->n_reasons; i++) {
        add_reason(total, &board->reasons[i]);
    }
}

/* Telling. */

static const char *
sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(HOSTILE_SANITIZED)
    return "address and undefined";
#else
    return "none";
#endif
}

static void
print_total(const struct total *total, double seconds)
{
#define N(field) (unsigned long long)total->field
    printf("%llu writes in %.0f s (sanitizers: %s), %llu of them into "
           "former links, and %llu flips\n",
           N(n_writes), seconds, sanitized(), N(n_stale), N(n_flips));
    printf("%llu turns of the victim, %llu meetings, %llu attachments, %llu of "
           "them resumed\n",
           N(n_turns), N(n_meetings), N(n_up), N(n_resumed));
    printf("%llu bad offers, %llu bad HELLOs, %llu floods\n", N(n_bad_offers),
           N(n_bad_hellos), N(n_floods));
    printf("%u crashes, %u hangs, %u failures%s%s\n", total->n_crashes,
           total->n_hangs, total->n_failures, total->n_failures ? ": " : "",
           total->why);
    printf("the neighbours got all of their %llu messages, once\n",
           N(neighbour_messages));
    printf("left: %d fds, %d mappings; the victim grew by %d KiB at most\n",
           total->fds_left, total->memfds_left, total->growth_kib);
    printf("%llu violations:\n", N(n_violations));
    for (uint32_t i = 0; i < total->n_reasons; i++) {
        printf("%12llu  %s\n", (unsigned long long)total->reasons[i].n,
               total->reasons[i].text);
    }
#undef N
}

static void
write_count(FILE *file, const char *name, uint64_t value)
{
    fprintf(file, "  \"%s\": %llu,\n", name, (unsigned long long)value);
}

static void
write_json(FILE *file, const struct total *total, double seconds)
{
    fprintf(file, "{\n");
    write_count(file, "writes", total->n_writes);
    fprintf(file, "  \"seconds\": %.1f,\n  \"sanitizers\": \"%s\",\n", seconds,
            sanitized());
    write_count(file, "stages", total->n_stages);
    write_count(file, "writes_into_former_links", total->n_stale);
    write_count(file, "flips", total->n_flips);
    write_count(file, "victims_turns", total->n_turns);
    write_count(file, "meetings", total->n_meetings);
    write_count(file, "attachments", total->n_up);
    write_count(file, "resumed", total->n_resumed);
    write_count(file, "bad_offers", total->n_bad_offers);
    write_count(file, "bad_hellos", total->n_bad_hellos);
    write_count(file, "floods", total->n_floods);
    write_count(file, "crashes", total->n_crashes);
    write_count(file, "hangs", total->n_hangs);
    write_count(file, "failures", total->n_failures);
    fprintf(file, "  \"why\": \"%s\",\n", total->why);
    write_count(file, "neighbour_messages", total->neighbour_messages);
    fprintf(file,
            "  \"fds_left\": %d,\n  \"mappings_left\": %d,\n"
            "  \"growth_kib\": %d,\n",
            total->fds_left, total->memfds_left, total->growth_kib);
    write_count(file, "violations", total->n_violations);
    fprintf(file, "  \"reasons\": {");
    for (uint32_t i = 0; i < total->n_reasons; i++) {
        fprintf(file, "%s\n    \"%s\": %llu", i ? "," : "",
                total->reasons[i].text,
                (unsigned long long)total->reasons[i].n);
    }
    fprintf(file, "\n  }\n}\n");
}

/* The whole. */

struct args {
    uint64_t n_writes, n_stage, seed;
    unsigned minutes;
    uint32_t first; /* Stages that an earlier run did. */
    bool tap, streams;
    const char *json;
};

static void
usage(FILE *to)
{
    fputs(
        "usage: hostile [--writes N] [--stage N] [--minutes N] [--seed N]\n"
        "               [--first N] [--streams] [--tap] [--json FILE]\n\n"
        "Writes N values (100000), random and plausible, into what it shares "
        "with a victim,\nin stages of so many (25000), for so many minutes at "
        "most (25); --first goes on\nbehind stage N, --streams says as many "
        "frames over a socket instead.  The exit\nstatus is 1 if that harmed "
        "anybody.\n",
        to);
}

static void
parse(struct args *args, int argc, char **argv)
{
    static const struct option options[] = {
        {"writes", required_argument, NULL, 'w'},
        {"stage", required_argument, NULL, 'g'},
        {"minutes", required_argument, NULL, 'm'},
        {"seed", required_argument, NULL, 's'},
        {"first", required_argument, NULL, 'f'},
        {"json", required_argument, NULL, 'j'},
        {"streams", no_argument, NULL, 'u'},
        {"tap", no_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'w':
            args->n_writes = strtoull(optarg, NULL, 10);
            break;
        case 'g':
            args->n_stage = strtoull(optarg, NULL, 10);
            break;
        case 'm':
            args->minutes = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            args->seed = strtoull(optarg, NULL, 10);
            break;
        case 'f':
            args->first = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'j':
            args->json = optarg;
            break;
        case 'u':
            args->streams = true;
            break;
        case 't':
            args->tap = true;
            break;
        default:
            usage(option == 'h' ? stdout : stderr);
            exit(option == 'h' ? 0 : 2);
        }
    }
    if (!args->n_stage || optind != argc) {
        usage(stderr);
        exit(2);
    }
}

static void
tell(const struct args *args, const struct play *play, const struct total *sum)
{
    const struct board *board = play->board;
    const struct stage *stage = &play->stage;
    const char *who = stage->victim_listens ? "client" : "listener";
    if (args->tap) {
        printf("%sok %u - a hostile %s's %llu %s%s do no harm%s%s\n",
               board->failed ? "not " : "", sum->n_stages, who,
               (unsigned long long)board->n_writes,
               stage->streams ? "frames" : "writes",
               stage->lends ? ", with loans," : "", board->failed ? " # " : "",
               board->why);
    } else {
        fprintf(stderr, "stage %u: hostile %s, ring %u%s: %llu writes%s%s\n",
                sum->n_stages, who, stage->ring_size,
                stage->lends ? ", loans" : "",
                (unsigned long long)sum->n_writes, board->failed ? " # " : "",
                board->why);
    }
    fflush(stdout);
}

int
main(int argc, char **argv)
{
    static const uint32_t ring_sizes[] = {4096, 65536, 4096, 16384};
    struct args args = {
        .n_writes = 100000, .n_stage = 25000, .minutes = 25, .seed = 1};
    struct total total = {0};
    parse(&args, argc, argv);
    int64_t began = watch_now();
    int64_t until = began + args.minutes * 60 * NSEC_PER_SEC;
    while (total.n_writes < args.n_writes && watch_now() < until &&
           !total.n_failures) {
        struct play play = {.board = watch_share(sizeof(struct board))};
        uint32_t n = args.first + total.n_stages;
        uint64_t left = args.n_writes - total.n_writes;
        play.board->n_writes_wanted = left < args.n_stage ? left : args.n_stage;
        play.stage.board = play.board;
        play.stage.victim_listens = n % 2 == 0;
        play.stage.streams = args.streams;
        play.stage.lends = !args.streams && n / 2 % 2;
        play.stage.ring_size = ring_sizes[n / 4 % 4];
        play.stage.seed = args.seed + 100 * (uint64_t)n;
        run(&play, until);
        add(&total, &play);
        tell(&args, &play, &total);
    }
    double seconds = (double)(watch_now() - began) / 1e9;
    if (args.tap) {
        printf("1..%u\n", total.n_stages);
    } else {
        print_total(&total, seconds);
    }
    FILE *json = args.json ? fopen(args.json, "w") : NULL;
    if (json) {
        write_json(json, &total, seconds);
        fclose(json);
    }
    return total.n_failures ? 1 : 0;
}
