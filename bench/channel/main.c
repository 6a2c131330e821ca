/* SPDX-License-Identifier: Apache-2.0 */
/* bench-channel: one carrier, one task, once.  Starts the two ends, watches
 * that they end in time, cleans up behind them and prints what they measured.
 * bench/channel.py calls it for each slice of each round; a person may too. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "bench/channel/carrier.h"

#define TIME_OUT_S 20 /* Beyond the run's own length. */
#define TIME_OUT_FIFO_S 3
#define RING_RTT (1u << 16)
#define RING_FLOW (1u << 20)
#define RING_SHARE 8 /* A message is at most this part of a ring. */
#define SIZE_COPIED_MAX 65536
#define CHANNELS_MAX 1000

static const char usage[] =
    "usage: bench-channel --carrier NAME [OPTION...] | --list\n"
    "  --what TASK      rtt, rate, ref, idle or rss (rtt)\n"
    "  --size N         bytes of a message (64)\n"
    "  --seconds S      how long to measure (0.5)\n"
    "  --wait HOW       poll, spin (then sleep) or sleep; the first of these\n"
    "                   that the carrier has\n"
    "  --every US       pause after each answer, for rtt (0)\n"
    "  --cpus A,B       where the ends are pinned (anywhere)\n"
    "  --ring N         size of a ring (65536; for rate, ref and\n"
    "                   what is too large for that 1048576)\n"
    "  --channels N     for idle and rss (100)\n"
    "  --fifo           before all other processes of this machine, so that\n"
    "                   they don't disturb (for root; keep it short)\n"
    "  --json           print a line of JSON\n"
    "  --list           print the carriers there are, and those left out\n"
    "Exits with 0, 1 if the run failed, 2 if it was asked for wrongly.\n";

static const char *const task_names[] = {"rtt", "rate", "ref", "idle", "rss"};
static const char *const wait_names[] = {"poll", "spin", "sleep"};

#define N_OF(array) (sizeof(array) / sizeof *(array))

static int
bad(const char *what, const char *value)
{
    fprintf(stderr, "bench-channel: %s: %s (see --help)\n", what, value);
    return 2;
}

static int
name_in(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(names[i], name)) {
            return (int)i;
        }
    }
    return -1;
}

static int
list(void)
{
    for (size_t i = 0; carrier_table[i]; i++) {
        printf("%-16s %s\n", carrier_table[i]->name, carrier_table[i]->summary);
    }
    for (size_t i = 0; carrier_left_out[i]; i += 2) {
        printf("%-16s left out: %s\n", carrier_left_out[i],
               carrier_left_out[i + 1]);
    }
    return 0;
}

/* Options. */

struct options {
    struct run run;
    int wait; /* -1: the carrier's first. */
    bool json;
};

static int
set_number(struct options *options, int option, const char *text)
{
    struct run *run = &options->run;
    uint64_t n;
    double real;
    if (option == 's' || option == 'e') {
        if (text_to_real(text, &real) || real < 0 || real > 3600e6) {
            return -EINVAL;
        }
        if (option == 's') {
            run->length = (nsec_t)(real * NSEC_PER_SEC);
        } else {
            run->gap = (nsec_t)(real * NSEC_PER_USEC);
        }
        return 0;
    }
    if (text_to_u64(text, &n)) {
        return -EINVAL;
    }
    if (option == 'n') {
        run->size = n;
        return n < 16 || n > BUFFER_SIZE ? -EINVAL : 0;
    }
    if (option == 'r') {
        run->ring_size = (uint32_t)n;
        return n < 4096 || n > (64u << 20) || n & (n - 1) ? -EINVAL : 0;
    }
    run->n_channels = (unsigned)n;
    return n < 1 || n > CHANNELS_MAX ? -EINVAL : 0;
}

static int
set_cpus(struct run *run, const char *text)
{
    uint32_t cpus[2];
    if (text_to_cpus(text, cpus, 2) != 2) {
        return -EINVAL;
    }
    run->cpus[0] = (int)cpus[0];
    run->cpus[1] = (int)cpus[1];
    return 0;
}

static int
set(struct options *options, int option, const char *text)
{
    int n;
    switch (option) {
    case 'c':
        options->run.carrier = carrier_find(text);
        return options->run.carrier ? 0 : -EINVAL;
    case 'w':
        n = name_in(task_names, N_OF(task_names), text);
        options->run.task = (enum task)n;
        return n < 0 ? -EINVAL : 0;
    case 'W':
        options->wait = name_in(wait_names, N_OF(wait_names), text);
        return options->wait < 0 ? -EINVAL : 0;
    case 'p':
        return set_cpus(&options->run, text);
    default:
        return set_number(options, option, text);
    }
}

static const struct option long_options[] = {
    {"carrier", required_argument, NULL, 'c'},
    {"what", required_argument, NULL, 'w'},
    {"size", required_argument, NULL, 'n'},
    {"seconds", required_argument, NULL, 's'},
    {"wait", required_argument, NULL, 'W'},
    {"every", required_argument, NULL, 'e'},
    {"cpus", required_argument, NULL, 'p'},
    {"ring", required_argument, NULL, 'r'},
    {"channels", required_argument, NULL, 'N'},
    {"fifo", no_argument, NULL, 'f'},
    {"json", no_argument, NULL, 'j'},
    {"list", no_argument, NULL, 'l'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool
can(const struct carrier_class *carrier, enum task task)
{
    switch (task) {
    case TASK_RTT:
        return carrier->ping;
    case TASK_RATE:
        return carrier->pour;
    case TASK_REF:
        return carrier->lend;
    case TASK_IDLE:
    case TASK_RSS:
        break;
    }
    return carrier->uri;
}

/* What was not said follows from what was.  0, or 2 with a word. */
static int
complete(struct options *options)
{
    struct run *run = &options->run;
    const struct carrier_class *carrier = run->carrier;
    if (!carrier) {
        return bad("missing", "--carrier");
    }
    if (options->wait < 0) {
        options->wait = __builtin_ctz(carrier->waits);
    }
    run->wait = (enum wait_mode)options->wait;
    if (!(carrier->waits & WAITS(run->wait))) {
        return bad("this carrier can't wait so", wait_names[run->wait]);
    }
    if (run->size > carrier->size_max ||
        (run->task != TASK_REF && run->size > SIZE_COPIED_MAX)) {
        return bad("this carrier takes no message so large", carrier->name);
    }
    if (!can(carrier, run->task)) {
        return bad("this carrier can't do that", task_names[run->task]);
    }
    if (!run->ring_size) {
        bool flow = run->task == TASK_RATE || run->task == TASK_REF;
        bool large = run->size > RING_RTT / RING_SHARE;
        run->ring_size = flow || large ? RING_FLOW : RING_RTT;
    }
    if (run->task != TASK_REF && run->size > run->ring_size / RING_SHARE) {
        return bad("the ring is too small for it", "--size");
    }
    return 0;
}

/* -1, or the exit status. */
static int
parse(int argc, char **argv, struct options *options)
{
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 'l':
            return list();
        case 'h':
            fputs(usage, stdout);
            return 0;
        case 'j':
            options->json = true;
            break;
        case 'f':
            options->run.fifo = true;
            break;
        case '?':
            return bad("wrong option", argv[optind - 1]);
        default:
            if (set(options, option, optarg)) {
                return bad("can't be", optarg);
            }
        }
    }
    if (optind < argc) {
        return bad("unexpected", argv[optind]);
    }
    int status = complete(options);
    return status ? status : -1;
}

/* The ends. */

static int
work(struct end *end)
{
    const struct carrier_class *carrier = end->run->carrier;
    switch (end->run->task) {
    case TASK_RTT:
        return end->side ? carrier->echo(end) : carrier->ping(end);
    case TASK_RATE:
        return end->side ? carrier->drain(end) : carrier->pour(end);
    case TASK_REF:
        return end->side ? carrier->borrow(end) : carrier->lend(end);
    case TASK_IDLE:
    case TASK_RSS:
        break;
    }
    return idle_run(end);
}

/* End 0 stays until end 1 has everything, and the other way round. */
static void
part(struct end *end)
{
    struct timespec nap = {.tv_nsec = 50 * NSEC_PER_USEC};
    if (end->side == 1) {
        end_done(end);
        return;
    }
    while (!atomic_load(&end->shared->done)) {
        if (end->run->carrier->idle) {
            end->run->carrier->idle(end);
        }
        nanosleep(&nap, NULL);
    }
}

static int
end_run(struct end *end)
{
    const struct run *run = end->run;
    int error = cpu_pin(run->cpus[end->side]);
    if (error) {
        return error;
    }
    if (run->task == TASK_IDLE || run->task == TASK_RSS) {
        return work(end);
    }
    memset(end->out, 1, BUFFER_SIZE);
    memset(end->in, 2, BUFFER_SIZE);
    error = run->carrier->open(end);
    if (!error) {
        error = end_meet(end);
    }
    if (!error) {
        error = work(end);
    }
    if (!error) {
        part(end);
        meter_finish(end);
    }
    run->carrier->close(end);
    return error;
}

/* A carrier with threads of its own would starve them that way. */
static int
priority(const struct run *run, int value)
{
    struct sched_param param = {.sched_priority = value};
    int error = 0;
    if (run->fifo && run->carrier->threads && value == 1) {
        param.sched_priority = 0;
        error = sched_setscheduler(0, SCHED_OTHER, &param) ||
                setpriority(PRIO_PROCESS, 0, -20);
    } else if (run->fifo) {
        error = sched_setscheduler(0, SCHED_FIFO, &param);
    }
    return error ? -errno : 0;
}

static pid_t
end_fork(const struct end *from, int side)
{
    pid_t parent = getpid(), pid = fork();
    if (pid) {
        return pid;
    }
    struct end end = *from;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        _exit(1);
    }
    end.side = side;
    int error = priority(end.run, 1);
    error = error ? error : end_run(&end);
    end.shared->result[side].error = error;
    _exit(error ? 1 : 0);
}

/* The parent. */

/* Waits for both; true if they ended well.  One that fails or is late takes the
 * other with it. */
static bool
watch(const int *pids, nsec_t time_out, double *cpu_seconds)
{
    struct timespec step = {.tv_sec = time_out / NSEC_PER_SEC};
    int left = 2, status;
    bool well = true;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    while (left) {
        struct rusage used;
        pid_t pid = wait4(-1, &status, WNOHANG, &used);
        if (pid > 0) {
            left--;
            *cpu_seconds +=
                (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
            if (status && well) {
                well = false;
                step.tv_sec = 2;
                kill(pids[pid == pids[0]], SIGTERM);
            }
        } else if (sigtimedwait(&set, NULL, &step) < 0 && errno == EAGAIN) {
            well = false;
            for (int i = 0; i < 2; i++) {
                kill(pids[i], step.tv_sec == 2 ? SIGKILL : SIGTERM);
            }
            step.tv_sec = 2;
        }
    }
    return well;
}

static void
print(const struct options *options, const struct shared *shared,
      double cpu_seconds)
{
    const struct run *run = &options->run;
    const struct result *result =
        &shared->result[run->task == TASK_RTT ? 0 : 1];
    const char *unit = run->task == TASK_RTT ? "ns" : "messages/s";
    if (run->task == TASK_IDLE || run->task == TASK_RSS) {
        bool second = shared->result[1].value > shared->result[0].value;
        result = &shared->result[second];
        unit = run->task == TASK_IDLE ? "%" : "KiB";
    }
    if (!options->json) {
        printf("%s %s %zu %s: %.6g %s, p99 %.6g, mean %.6g, of %llu\n",
               run->carrier->name, task_names[run->task], run->size,
               wait_names[run->wait], result->value, unit, result->p99,
               result->mean, (unsigned long long)result->n);
        return;
    }
    printf("{\"carrier\": \"%s\", \"what\": \"%s\", \"size\": %zu, "
           "\"wait\": \"%s\", \"cpus\": [%d, %d], \"value\": %.8g, "
           "\"p99\": %.8g, \"mean\": %.8g, \"unit\": \"%s\", \"n\": %llu, "
           "\"cpu_s\": %.6f}\n",
           run->carrier->name, task_names[run->task], run->size,
           wait_names[run->wait], run->cpus[0], run->cpus[1], result->value,
           result->p99, result->mean, unit, (unsigned long long)result->n,
           cpu_seconds);
}

/* With the sockets that some leave in it. */
static void
remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir) {
        closedir(dir);
    }
    (void)rmdir(path);
}

static int
prepare(struct end *end, struct run *run)
{
    snprintf(run->dir, sizeof run->dir, "/tmp/bench-channel-XXXXXX");
    if (!mkdtemp(run->dir)) {
        return -errno;
    }
    snprintf(run->name, sizeof run->name, "bench-%d", (int)getpid());
    run->ticks_per_ns = ticks_measure();
    run->grain = ticks_grain();
    run->stop_fd = eventfd(0, EFD_CLOEXEC);
    end->run = run;
    end->shared = memory_shared(sizeof *end->shared);
    end->out = aligned_alloc(4096, BUFFER_SIZE);
    end->in = aligned_alloc(4096, BUFFER_SIZE);
    end->meter.buckets = calloc(N_BUCKETS, sizeof *end->meter.buckets);
    end->meter.windows = calloc(N_WINDOWS, sizeof *end->meter.windows);
    if (!end->shared || !end->out || !end->in || !end->meter.buckets ||
        !end->meter.windows) {
        return -ENOMEM;
    }
    return run->carrier->prepare ? run->carrier->prepare(end) : 0;
}

static void
release(struct end *end)
{
    free(end->carrier);
    free(end->out);
    free(end->in);
    free(end->meter.buckets);
    free(end->meter.windows);
}

static int
run_both(struct options *options, struct end *end)
{
    struct run *run = &options->run;
    double cpu_seconds = 0;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fflush(stdout);
    /* Whoever watches must get in between. */
    int error = priority(run, 2);
    if (error) {
        fprintf(stderr, "bench-channel: --fifo: %s\n", strerror(-error));
        return 1;
    }
    int pids[2] = {end_fork(end, 0), end_fork(end, 1)};
    nsec_t slack = run->fifo ? TIME_OUT_FIFO_S : TIME_OUT_S;
    nsec_t time_out = 2 * run->length + slack * NSEC_PER_SEC;
    if (run->task == TASK_IDLE) {
        idle_watch(run, end->shared, pids);
    }
    bool well = watch(pids, time_out, &cpu_seconds);
    if (run->carrier->clean) {
        run->carrier->clean(run, pids);
    }
    if (well) {
        print(options, end->shared, cpu_seconds);
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        error = end->shared->result[i].error;
        fprintf(stderr, "bench-channel: %s, end %d: %s\n", run->carrier->name,
                i, error ? strerror(-error) : "did not finish");
    }
    return 1;
}

int
main(int argc, char **argv)
{
    struct options options = {.run = {.size = 64,
                                      .length = NSEC_PER_SEC / 2,
                                      .n_channels = 100,
                                      .cpus = {-1, -1}},
                              .wait = -1};
    struct end end = {0};
    int status = parse(argc, argv, &options);
    if (status >= 0) {
        return status;
    }
    int error = prepare(&end, &options.run);
    if (error) {
        fprintf(stderr, "bench-channel: %s\n", strerror(-error));
        status = 1;
    } else {
        status = run_both(&options, &end);
    }
    release(&end);
    remove_dir(options.run.dir);
    return status;
}
