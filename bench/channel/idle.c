/* SPDX-License-Identifier: Apache-2.0 */
/* Many of our channels between two processes: what they cost when nothing
 * happens, and what each takes in memory.  Called by main.c.
 *
 * Memory: each end reads its own /proc/self/smaps with a few channels and again
 * with many more, each time after every byte of every ring has been written
 * once.  The rings, which both ends map, are taken off; all else that the
 * process has more of counts, private or shared.  Time: the parent reads the
 * ends' CPU clocks while both sleep, so that reading them costs them nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/channel/carrier.h"
#include "include/mchan.h"

#define N_FEW 10
#define MESSAGE_SIZE 1024
#define SETTLE_NS NSEC_PER_SEC
#define MEET_NAPS 100000 /* Of 100 us. */

struct crowd {
    struct end *end;
    unsigned n_channels;
    struct mchan **channels;
    unsigned *to_send, *to_receive;
    bool *up;
    int stage;
};

static void
nap(nsec_t length)
{
    struct timespec ts = {.tv_sec = length / NSEC_PER_SEC,
                          .tv_nsec = length % NSEC_PER_SEC};
    nanosleep(&ts, NULL);
}

/* Each channel has several descriptors. */
static void
raise_limit(void)
{
    struct rlimit limit;
    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int
crowd_init(struct crowd *crowd, struct end *end)
{
    size_t n = end->run->n_channels + N_FEW;
    crowd->end = end;
    crowd->channels = calloc(n, sizeof *crowd->channels);
    crowd->to_send = calloc(n, sizeof *crowd->to_send);
    crowd->to_receive = calloc(n, sizeof *crowd->to_receive);
    crowd->up = calloc(n, sizeof *crowd->up);
    raise_limit();
    return crowd->channels && crowd->to_send && crowd->to_receive && crowd->up
               ? 0
               : -ENOMEM;
}

static void
crowd_fini(struct crowd *crowd)
{
    for (unsigned i = 0; crowd->channels && i < crowd->n_channels; i++) {
        mchan_close(crowd->channels[i]);
    }
    free(crowd->channels);
    free(crowd->to_send);
    free(crowd->to_receive);
    free(crowd->up);
}

/* What can be sent and received on one channel now; true if anything was. */
static bool
push(struct crowd *crowd, unsigned i)
{
    static uint8_t data[MESSAGE_SIZE];
    struct mchan_msg message = {.data = data, .size = sizeof data};
    struct mchan *channel = crowd->channels[i];
    struct mchan_event event;
    struct mchan_info info;
    bool moved = false;
    while (mchan_next_event(channel, &event) > 0) {
        crowd->up[i] |= event.type == MCHAN_UP;
        moved = true;
    }
    while (crowd->to_send[i] && !mchan_send(channel, &message)) {
        crowd->to_send[i]--;
        moved = true;
    }
    while (mchan_recv(channel, data, sizeof data, &info) >= 0) {
        crowd->to_receive[i]--;
        moved = true;
    }
    return moved;
}

static bool
finished(const struct crowd *crowd)
{
    for (unsigned i = 0; i < crowd->n_channels; i++) {
        if (!crowd->up[i] || crowd->to_send[i] || crowd->to_receive[i]) {
            return false;
        }
    }
    return true;
}

/* Goes on until both ends have nothing left to do. */
static int
settle(struct crowd *crowd)
{
    struct shared *shared = crowd->end->shared;
    int side = crowd->end->side, stage = ++crowd->stage;
    for (int naps = 0; naps < MEET_NAPS;) {
        bool moved = false;
        for (unsigned i = 0; i < crowd->n_channels; i++) {
            moved |= push(crowd, i);
        }
        if (finished(crowd)) {
            atomic_store(&shared->ready[side].stage, stage);
        }
        if (atomic_load(&shared->ready[side].stage) == stage &&
            atomic_load(&shared->ready[!side].stage) >= stage) {
            return 0;
        }
        if (!moved) {
            naps++;
            nap(100 * NSEC_PER_USEC);
        }
    }
    return -ETIMEDOUT;
}

/* 'n' channels more, each of whose rings then has been used all over. */
static int
crowd_grow(struct crowd *crowd, unsigned n)
{
    const struct run *run = crowd->end->run;
    for (unsigned end = crowd->n_channels + n; crowd->n_channels < end;
         crowd->n_channels++) {
        unsigned i = crowd->n_channels;
        struct mchan_opts opts = MCHAN_OPTS_INIT;
        char uri[128];
        opts.ring_size = run->ring_size;
        snprintf(uri, sizeof uri, "%s:%s/%u", run->carrier->uri, run->dir, i);
        int error = crowd->end->side
                        ? mchan_listen(&crowd->channels[i], uri, &opts)
                        : mchan_open(&crowd->channels[i], uri, &opts);
        if (error) {
            return error;
        }
        crowd->to_send[i] = crowd->to_receive[i] =
            run->ring_size / MESSAGE_SIZE * 5 / 4;
    }
    return settle(crowd);
}

/* Resident KiB of the process, 'memfds' those of the rings' kind. */
static int
read_smaps(double *memfds, double *others)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    char line[512];
    bool memfd = false;
    unsigned long long from, to, kib;
    if (!file) {
        return -errno;
    }
    *memfds = *others = 0;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%llx-%llx ", &from, &to) == 2) {
            memfd = strstr(line, "/memfd:");
        } else if (sscanf(line, "Rss: %llu kB", &kib) == 1) {
            *(memfd ? memfds : others) += (double)kib;
        }
    }
    fclose(file);
    return 0;
}

static int
measure_rss(struct crowd *crowd)
{
    const struct run *run = crowd->end->run;
    struct result *result = &crowd->end->shared->result[crowd->end->side];
    double memfds[2], others[2];
    int error = crowd_grow(crowd, N_FEW);
    error = error ? error : read_smaps(&memfds[0], &others[0]);
    error = error ? error : crowd_grow(crowd, run->n_channels);
    error = error ? error : read_smaps(&memfds[1], &others[1]);
    if (error) {
        return error;
    }
    double n = run->n_channels;
    double rings = 2.0 * run->ring_size / 1024;
    double beyond = (memfds[1] - memfds[0]) / n - rings;
    result->n = run->n_channels;
    result->value = (others[1] - others[0]) / n + (beyond > 0 ? beyond : 0);
    result->p99 = result->mean = result->value;
    return settle(crowd);
}

/* Sleeps on all channels, as a program does, until the parent says stop. */
static int
sleep_on_all(struct crowd *crowd, int stop_fd)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN,
                                .data.u32 = crowd->n_channels};
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, stop_fd, &event)) {
        return -errno;
    }
    for (unsigned i = 0; i < crowd->n_channels; i++) {
        event.data.u32 = i;
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, mchan_fd(crowd->channels[i]),
                      &event)) {
            return -errno;
        }
        while (mchan_arm(crowd->channels[i], MCHAN_READABLE)) {
            push(crowd, i);
        }
    }
    while (epoll_wait(epoll_fd, &event, 1, -1) != 1 ||
           event.data.u32 != crowd->n_channels) {
        do {
            push(crowd, event.data.u32);
        } while (mchan_arm(crowd->channels[event.data.u32], MCHAN_READABLE));
    }
    close(epoll_fd);
    return 0;
}

int
idle_run(struct end *end)
{
    struct crowd crowd = {0};
    int error = crowd_init(&crowd, end);
    if (!error && end->run->task == TASK_RSS) {
        error = measure_rss(&crowd);
    } else if (!error) {
        error = crowd_grow(&crowd, end->run->n_channels);
        error = error ? error : sleep_on_all(&crowd, end->run->stop_fd);
    }
    crowd_fini(&crowd);
    return error;
}

static double
cpu_seconds(int pid)
{
    clockid_t clock;
    struct timespec ts;
    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts)) {
        return -1;
    }
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void
idle_watch(const struct run *run, struct shared *shared, const int *pids)
{
    double before[2];
    for (int naps = 0;
         naps < MEET_NAPS && !(atomic_load(&shared->ready[0].stage) &&
                               atomic_load(&shared->ready[1].stage));
         naps++) {
        nap(100 * NSEC_PER_USEC);
    }
    nap(SETTLE_NS);
    for (int i = 0; i < 2; i++) {
        before[i] = cpu_seconds(pids[i]);
    }
    nap(run->length);
    for (int i = 0; i < 2; i++) {
        struct result *result = &shared->result[i];
        result->n = run->n_channels;
        result->value = (cpu_seconds(pids[i]) - before[i]) /
                        ((double)run->length / NSEC_PER_SEC) * 100;
        result->p99 = result->mean = result->value;
    }
    (void)eventfd_write(run->stop_fd, 1);
}
