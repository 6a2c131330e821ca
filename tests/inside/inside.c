/* SPDX-License-Identifier: Apache-2.0 */
/* Faults from inside: a piece of work is done over and over, and each time the
 * next of its allocations fails, or of its writes, or of what else the kernel
 * may refuse, until no call is left to fail.  Each time it must end in good
 * order: no crash, no hang, nothing left allocated, and what it did is done or
 * not done, never half.  Every try is a process of its own, so that one that
 * dies is counted and the next goes on.
 *
 *     inside [--all] [NAME...]
 *
 * Without --all the long pieces of work are tried for the first calls and then
 * for some of the others, SOME in all. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/config/config.h"
#include "broker/journal/journal.h"
#include "broker/platform/caprecord.h"
#include "broker/platform/knobs.h"
#include "broker/platform/saved.h"
#include "broker/replay/again.h"
#include "hardware/hardware.h"
#include "hardware/sim.h"
#include "include/mchan.h"
#include "sim/run.h"
#include "sim/unsynced.h"
#include "tests/inside/fail.h"
#include "tests/lived.h"

#define SOME 160
#define CALLS_MAX 200000
#define PATIENCE_S 60 /* Of one try. */

/* How a try ended, as an exit status. */
enum ended {
    WAS_WELL = 0, /* A call failed, and all was well. */
    NOTHING_LEFT, /* There was no such call. */
    LEAKED = 10,
    HALF_DONE,
};

static char dir[64];

struct work {
    const char *name;
    unsigned kinds; /* Bits 1 << enum fail_kind. */
    bool is_long;
    void (*prepare)(void); /* What is there before; may be null. */
    /* Does it, with calls failing; then disarms and says if all is well. */
    bool (*run)(void);
};

static const char *
path(const char *name)
{
    static char text[128];

    snprintf(text, sizeof text, "%s/%s", dir, name);
    return text;
}

/* The pieces of work. */

static bool
read_configuration(void)
{
    static const char text[] =
        "cpus = [0, 1]; pstate = { driver = \"sim\"; }; cap = { driver = "
        "\"sim\"; }; budget = { max_w = 300; safe_w = 100; }; guests = ( { "
        "name = \"web1\"; vcpus = [0]; }, { name = \"web2\"; vcpus = [1]; } ); "
        "policy = { name = \"basic\"; };";
    struct broker_config config;
    char why[CONFIG_WHY_SIZE] = "";

    int error = config_parse(&config, text, "a text", why, sizeof why);
    fail_disarm();
    if (!error) {
        config_fini(&config);
    }
    return !error || why[0];
}

static void
count_row(void *ctx, const struct journal_row *row)
{
    *(int *)ctx += !strcmp(row->name, "DURABLE");
}

static int
durable_rows(void)
{
    const struct journal_opts opts = {.size_max = 1 << 20, .age_max_s = 3600};
    struct journal *journal;
    char why[256];
    int n = 0;

    if (journal_open(&journal, path("journal"), &opts, why, sizeof why) < 0) {
        return -1;
    }
    journal_tail(journal, 100, count_row, &n);
    journal_close(journal);
    return n;
}

static void
begin_journal(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s/journal*", dir);
    if (system(command) || durable_rows()) {
        exit(99);
    }
}

/* What was acknowledged as durable is there. */
static bool
write_journal(void)
{
    const struct journal_opts opts = {
        .size_max = 1 << 20, .age_max_s = 3600, .no_thread = true};
    struct journal_row row = {.cause = 1, .name = "DURABLE", .detail = "{}"};
    struct journal *journal = NULL;
    int n_promised = 0;
    char why[256];

    int error = journal_open(&journal, path("journal"), &opts, why, sizeof why);
    for (int i = 0; error >= 0 && i < 3; i++) {
        if (!journal_add(journal, &row) && !journal_sync(journal)) {
            n_promised = i + 1;
        } else {
            break;
        }
    }
    if (error >= 0) {
        journal_close(journal);
    }
    fail_disarm();
    return durable_rows() >= n_promised;
}

static void
begin_record(void)
{
    const struct caprecord old = {.term = 1, .order = 1, .mw = 1000};
    int fd = open(dir, O_RDONLY | O_DIRECTORY);

    if (caprecord_write(fd, &old)) {
        exit(99);
    }
    close(fd);
}

static bool
write_record(void)
{
    const struct caprecord new = {.term = 2, .order = 1, .mw = 2000};
    struct caprecord found;
    int fd = open(dir, O_RDONLY | O_DIRECTORY);

    int error = fd < 0 ? -errno : caprecord_write(fd, &new);
    fail_disarm();
    if (fd < 0) {
        return true; /* What failed was ours. */
    }
    int unread = caprecord_read(fd, &found);
    close(fd);
    /* Written is new; failed is one of both, whole. */
    return !unread && (found.term == 2 || (error && found.term == 1)) &&
           found.mw == found.term * 1000;
}

static void
forget_saved(void)
{
    unlink(path("pstate-cpu0"));
}

/* A p-state is where it was, or where it was ordered to, and then what was
 * found is in a file. */
static bool
set_pstate(void)
{
    const struct pstate_domain domain = {
        .n_cpus = 1, .table = {.n = 3, .freq_khz = {3000, 2000, 1000}}};
    struct broker_config config = {
        .n_cpus = 1, .pstate_max = 15, .writes_per_second_max = 100};
    const struct hardware_class *class = hardware_find("sim");
    struct option_values options;
    struct hardware_env env = {.options = &options};
    struct hardware_sim *sim = NULL;
    struct hardware *hw = NULL;
    struct knobs *knobs = NULL;
    struct knob_steps steps = {0};
    char why[256] = "";
    int saved = open(dir, O_RDONLY | O_DIRECTORY), error;
    uint32_t at = 0;

    options_init(&options, class->options);
    if (saved < 0) {
        fail_disarm(); /* What failed was ours. */
        return true;
    }
    error = hardware_sim_create(&sim, &domain, 1);
    env.sim = sim;
    if (!error) {
        error = class->open(&hw, &env, why, sizeof why);
    }
    if (!error) {
        error = knobs_create(&knobs, &config, class, hw, saved, NULL, why,
                             sizeof why);
    }
    if (!error) {
        error = knobs_set(knobs, 0, 2, 1000, &steps, why, sizeof why);
    }
    fail_disarm();
    if (sim) {
        at = hardware_sim_pstate(sim, 0);
    }
    bool kept = !access(path("pstate-cpu0"), F_OK);
    knobs_destroy(knobs);
    class->close(hw);
    hardware_sim_destroy(sim);
    close(saved);
    return error ? at == 0 || (at == 2 && kept) : at == 2 && kept;
}

static bool
use_channel(const char *scheme)
{
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    struct mchan *back = NULL, *front = NULL;
    struct mchan_msg msg = {.data = "well", .size = 5, .tag = 1};
    struct mchan_event event;
    char uri[192], data[64];
    bool good = true;

    snprintf(uri, sizeof uri, "%s:%s", scheme, path("channel"));
    int error = mchan_listen(&back, uri, &opts);
    error = error ? error : mchan_open(&front, uri, &opts);
    for (int i = 0; i < 200 && !error; i++) {
        (void)mchan_send(front, &msg);
        mchan_wait(back, 1);
        while (mchan_next_event(back, &event) > 0) {
        }
        while (mchan_next_event(front, &event) > 0) {
        }
        ssize_t got = mchan_recv(back, data, sizeof data, NULL);
        if (got >= 0) {
            good = got == 5 && !memcmp(data, "well", 5);
            break;
        }
    }
    mchan_close(front);
    mchan_close(back);
    fail_disarm();
    unlink(path("channel"));
    return good;
}

static bool
use_unix_channel(void)
{
    return use_channel("unix");
}

static bool
use_shm_channel(void)
{
    return use_channel("shm");
}

/* A whole broker, its guests and their channels, from their start on, for two
 * made-up seconds; what always holds is checked by run_scenario(). */
static struct scenario scenario;
static struct run_result result;

static void
read_scenario(void)
{
    static const char text[] =
        "about = \"x\"; duration_s = 2; host = { cpus = [0]; policy = { name = "
        "\"basic\"; }; cap = { driver = \"sim\"; }; budget = { max_w = 300; "
        "safe_w = 100; }; }; guests = ( { name = \"web\"; cpu = 0; load = ( { "
        "at_s = 0; rate = 100; } ); } ); faults = ( { at_s = 1; fault = "
        "\"order_cap\"; text = \"200\"; } ); expect = ( { power_w = [0, 999]; "
        "} "
        ");";
    char why[256];

    if (!scenario.duration &&
        scenario_parse(&scenario, text, "a text", why, sizeof why)) {
        fprintf(stderr, "%s\n", why);
        exit(99);
    }
}

static bool
run_broker(void)
{
    run_scenario(&scenario, NULL, &result);
    fail_disarm();
    /* A driver that could not be opened is done without. */
    if (result.broken[0] && !strstr(result.broken, "memory") &&
        !strstr(result.broken, "and the broker does not know it")) {
        fprintf(stderr, "# %s\n", result.broken);
        return false;
    }
    return true;
}

static void
read_life(void)
{
    char why[512];

    if (!scenario.duration && lived_read(&scenario, why, sizeof why)) {
        fprintf(stderr, "%s\n", why);
        exit(99);
    }
}

/* What a simulated disk remembers, as a witness, can't do without memory. */
void __real_unsynced_touch(struct unsynced *, int fd, uint64_t at,
                           uint64_t size);
void __wrap_unsynced_touch(struct unsynced *, int fd, uint64_t at,
                           uint64_t size);

void
__wrap_unsynced_touch(struct unsynced *unsynced, int fd, uint64_t at,
                      uint64_t size)
{
    fail_hold(true);
    __real_unsynced_touch(unsynced, fd, at, size);
    fail_hold(false);
}

static void
copy_journal(void *ctx, const char *journal_path)
{
    char command[256];

    snprintf(command, sizeof command, "cp %s* %s", journal_path, dir);
    if (system(command)) {
        exit(99);
    }
}

static void
keep_journal(void)
{
    char why[512];

    if (access(path("journal.db"), F_OK) &&
        lived(copy_journal, NULL, why, sizeof why)) {
        fprintf(stderr, "no journal: %s\n", why);
        exit(99);
    }
}

/* All of it, or a reason. */
static bool
replay_journal(void)
{
    const struct again again = {
        .path = path("journal.db"), .policy = "none", .config = ""};
    char why[512] = "";
    static char said[1 << 20];
    FILE *out = fmemopen(said, sizeof said, "w");

    int error = out ? again_replay(&again, out, why, sizeof why) : -ENOMEM;
    if (out) {
        fclose(out);
    }
    fail_disarm();
    return error ? !out || error == -ENOMEM || why[0]
                 : strstr(said, "\"replay\"") != NULL;
}

#define ALLOCS (1 << FAIL_ALLOC)
#define WRITES (1 << FAIL_WRITE)
#define CALLS (1 << FAIL_CALL)

static const struct work works[] = {
    {"configuration", ALLOCS, .run = read_configuration},
    {"journal", ALLOCS | WRITES | CALLS, .is_long = true,
     .prepare = begin_journal, .run = write_journal},
    {"cap-record", WRITES | CALLS, .prepare = begin_record,
     .run = write_record},
    {"p-state", ALLOCS | WRITES | CALLS, .prepare = forget_saved,
     .run = set_pstate},
    {"channel-unix", ALLOCS | WRITES | CALLS, .run = use_unix_channel},
    {"channel-shm", ALLOCS | WRITES | CALLS, .run = use_shm_channel},
    {"replay", ALLOCS | CALLS, .is_long = true, .prepare = keep_journal,
     .run = replay_journal},
    {"broker", ALLOCS, .is_long = true, .prepare = read_scenario,
     .run = run_broker},
    {"life", ALLOCS, .is_long = true, .prepare = read_life,
     .run = run_broker},
    {NULL},
};

/* Trying. */

/* A build that counts branches writes its counts only at exit(). */
extern void __gcov_dump(void) __attribute__((weak));

static void
end_try(enum ended ended)
{
    if (__gcov_dump) {
        __gcov_dump();
    }
    _exit(ended);
}

static int
try(const struct work *work, enum fail_kind kind, uint64_t n, bool on,
    int error, uint64_t *n_calls_out)
{
    if (work->prepare) {
        work->prepare();
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(PATIENCE_S);
        work->run(); /* Once, for what is allocated once for ever. */
        if (work->prepare) {
            work->prepare();
        }
        int64_t before = fail_n_live();
        uint64_t n_calls = fail_n_calls(kind);
        fail_arm(kind, n, on, error);
        bool well = work->run();
        *n_calls_out = fail_n_calls(kind) - n_calls;
        bool any = fail_disarm();
        int64_t leaked = fail_n_live() - before;
        end_try(!well        ? HALF_DONE
                : leaked > 0 ? LEAKED
                : any        ? WAS_WELL
                             : NOTHING_LEFT);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

static bool
tell(const char *name, uint64_t n, const char *how, int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) <= NOTHING_LEFT) {
        return true;
    }
    printf("# %s, call %" PRIu64 " fails (%s): %s\n", name, n, how,
           WIFSIGNALED(status)                ? strsignal(WTERMSIG(status))
           : WEXITSTATUS(status) == LEAKED    ? "something leaks"
           : WEXITSTATUS(status) == HALF_DONE ? "it is half done"
                                              : "it can't be prepared");
    return false;
}

static bool
try_all(const struct work *work, enum fail_kind kind, bool all,
        uint64_t *n_calls, const char *name)
{
    static const struct {
        bool on;
        int error;
        const char *how;
    } ways[] = {{false, ENOSPC, "once"}, {true, EIO, "and all after it"}};
    uint64_t n_tried = 0, n = 1;
    bool good = true;

    int status = try(work, kind, CALLS_MAX, false, 0, n_calls);
    bool some = work->is_long && !all && *n_calls > SOME;
    uint64_t stride = some ? *n_calls / (SOME / 2) : 1;
    good &= tell(name, 0, "none", status);

    for (size_t i = 0; i < 2; i++) {
        for (n = 1; n < CALLS_MAX; n_tried++) {
            status = try(work, kind, n, ways[i].on, ways[i].error, n_calls);
            good &= tell(name, n, ways[i].how, status);
            if (WIFEXITED(status) && WEXITSTATUS(status) == NOTHING_LEFT) {
                break;
            }
            n += n >= SOME / 2 ? stride : 1;
        }
    }
    printf("# %s: %" PRIu64 " tries, up to call %" PRIu64 "\n", name, n_tried,
           n);
    return good && n < CALLS_MAX;
}

static bool
try_each_kind(const struct work *work, bool all, size_t *n)
{
    static const char *const of[FAIL_N_KINDS] = {
        [FAIL_ALLOC] = "allocations",
        [FAIL_WRITE] = "writes",
        [FAIL_CALL] = "calls",
    };
    uint64_t *n_calls = mmap(NULL, sizeof *n_calls, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool good = true;

    if (n_calls == MAP_FAILED) {
        exit(99);
    }

    for (int kind = FAIL_ALLOC; kind < FAIL_N_KINDS; kind++) {
        char name[80];

        snprintf(name, sizeof name, "%s of %s", of[kind], work->name);
        if (work->kinds & 1U << kind) {
            bool well = try_all(work, (enum fail_kind)kind, all, n_calls, name);

            good &= well;
            printf("%sok %zu - %s\n", well ? "" : "not ", ++*n, name);
        }
    }
    munmap(n_calls, sizeof *n_calls);
    scenario_fini(&scenario);
    memset(&scenario, 0, sizeof scenario);
    return good;
}

int
main(int argc, char **argv)
{
    bool all = argc > 1 && !strcmp(argv[1], "--all");
    const char *wanted = argc > 1 + all ? argv[1 + all] : NULL;
    size_t n = 0, n_failed = 0;

    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    /* In memory where there is such a place: syncing is not what is tested. */
    strcpy(dir, access("/dev/shm", W_OK) ? "/tmp/mbroker-inside-XXXXXX"
                                         : "/dev/shm/mbroker-inside-XXXXXX");
    if (!mkdtemp(dir)) {
        return 1;
    }
    for (const struct work *work = works; work->name; work++) {
        if (!wanted || !strcmp(wanted, work->name)) {
            n_failed += !try_each_kind(work, all, &n);
        }
    }
    printf("1..%zu\n", n);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) || n_failed;
}
