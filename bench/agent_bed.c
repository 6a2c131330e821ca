/* SPDX-License-Identifier: Apache-2.0 */
/* The surroundings for measuring an agent's cost: writes a log at a given rate
 * and is the broker at the other end of a channel, which welcomes, answers
 * beats and counts what is reported.  Started by bench/agent_cost.py for each
 * round; tells its counts at the end, so that an agent that saw nothing is not
 * taken for a cheap one.
 *
 *     agent_bed URI LOG LINES_PER_SECOND SECONDS */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/prng.h"
#include "base/text.h"
#include "include/mchan.h"
#include "wire/msg.h"

#define STEP_NS (5 * NSEC_PER_MSEC) /* Lines are written in steps of this. */
#define REQUEST_US_MEAN 1500.0

struct bed {
    struct mchan *channel;
    int log_fd;
    struct prng prng;
    uint64_t n_lines, n_slow; /* Written; of these over 3 ms. */
    uint64_t n_reports, n_notices, n_requests, n_violations, n_bad;
};

static volatile sig_atomic_t stopped;

static void
on_stop(int signum)
{
    stopped = 1;
}

static nsec_t
read_clock(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* One line, in one write() as servers do. */
static void
write_line(struct bed *bed)
{
    uint64_t ms = (uint64_t)(prng_exp(&bed->prng, REQUEST_US_MEAN) / 1000);
    nsec_t wall = read_clock(CLOCK_REALTIME) / NSEC_PER_MSEC;
    char line[96];
    int size =
        snprintf(line, sizeof line, "%" PRId64 ".%03d %" PRIu64 ".%03d 200\n",
                 wall / 1000, (int)(wall % 1000), ms / 1000, (int)(ms % 1000));

    if (write(bed->log_fd, line, (size_t)size) == size) {
        bed->n_lines++;
        bed->n_slow += ms > 3;
    }
}

static void
answer(struct bed *bed, const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];
    struct mchan_msg out = {
        .data = data, .tag = (uint16_t)msg->type, .delivery = MCHAN_RELIABLE};
    ssize_t size = msg_encode(msg, MSG_VERSION_MAX, data, sizeof data, NULL, 0);

    out.size = (size_t)size;
    if (size < 0 || mchan_send(bed->channel, &out)) {
        bed->n_bad++;
    }
}

static void
on_message(struct bed *bed, const struct msg *msg)
{
    static const struct msg_report none;
    /* A NOTICE begins as a REPORT does. */
    const struct msg_report *epoch =
        msg->type == MSG_REPORT || msg->type == MSG_NOTICE ? &msg->report
                                                           : &none;
    struct msg reply = {0};

    printf("{\"message\": \"%s\", \"epoch\": %" PRIu64
           ", \"requests\": %" PRIu64 ", \"violations\": %" PRIu64 "}\n",
           msg_name(msg->type), epoch->epoch, epoch->n_requests,
           epoch->n_violations);
    fflush(stdout);
    switch ((int)msg->type) {
    case MSG_HELLO:
        reply.type = MSG_WELCOME;
        reply.welcome.version = MSG_VERSION_MAX;
        text_copy(reply.welcome.name, sizeof reply.welcome.name,
                  "mgmt://local/vm/bench/agent");
        reply.welcome.beat_ms = 1000;
        answer(bed, &reply);
        break;
    case MSG_BEAT:
        reply.type = MSG_BEAT_REPLY;
        reply.beat_reply.number = msg->beat.number;
        reply.beat_reply.origin_ns = msg->beat.origin_ns;
        reply.beat_reply.receive_ns = reply.beat_reply.transmit_ns =
            read_clock(CLOCK_BOOTTIME);
        answer(bed, &reply);
        break;
    case MSG_REPORT:
        bed->n_reports++;
        bed->n_requests += msg->report.n_requests;
        bed->n_violations += msg->report.n_violations;
        break;
    case MSG_NOTICE:
        bed->n_notices++;
        break;
    default:
        break;
    }
}

static void
read_channel(struct bed *bed)
{
    uint8_t data[MSG_SIZE_MAX];
    struct mchan_event event;
    struct mchan_info info;
    struct msg msg;
    ssize_t size;

    while (mchan_next_event(bed->channel, &event) > 0) {
    }
    while ((size = mchan_recv(bed->channel, data, sizeof data, &info)) >= 0) {
        if (msg_decode(&msg, info.tag, MSG_VERSION_MAX, data, (size_t)size,
                       NULL, 0)) {
            bed->n_bad++;
        } else {
            on_message(bed, &msg);
        }
    }
}

static void
run(struct bed *bed, uint64_t rate, nsec_t length)
{
    nsec_t start = read_clock(CLOCK_BOOTTIME), now = start;
    struct pollfd pfd = {.fd = mchan_fd(bed->channel), .events = POLLIN};

    while (!stopped && now - start < length) {
        uint64_t due =
            (uint64_t)((double)(now - start) * (double)rate / NSEC_PER_SEC);
        struct timespec wait = {.tv_nsec = STEP_NS};

        while (bed->n_lines < due) {
            write_line(bed);
        }
        if (!mchan_arm(bed->channel, MCHAN_READABLE)) {
            ppoll(&pfd, 1, &wait, NULL);
        }
        read_channel(bed);
        now = read_clock(CLOCK_BOOTTIME);
    }
}

int
main(int argc, char **argv)
{
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    struct bed bed = {0};
    uint64_t rate, seconds;
    int error;

    if (argc != 5 || text_to_u64(argv[3], &rate) ||
        text_to_u64(argv[4], &seconds)) {
        fprintf(stderr, "usage: agent_bed URI LOG LINES_PER_SECOND SECONDS\n");
        return 2;
    }
    signal(SIGTERM, on_stop);
    prng_init(&bed.prng, 1);
    bed.log_fd = open(argv[2], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    error =
        bed.log_fd < 0 ? -errno : mchan_listen(&bed.channel, argv[1], &opts);
    if (error) {
        fprintf(stderr, "agent_bed: %s\n", strerror(-error));
        return 1;
    }
    run(&bed, rate, (nsec_t)seconds * NSEC_PER_SEC);
    printf("{\"lines\": %" PRIu64 ", \"slow\": %" PRIu64
           ", \"reports\": %" PRIu64 ", \"notices\": %" PRIu64
           ", \"requests\": %" PRIu64 ", \"violations\": %" PRIu64
           ", \"bad\": %" PRIu64 "}\n",
           bed.n_lines, bed.n_slow, bed.n_reports, bed.n_notices,
           bed.n_requests, bed.n_violations, bed.n_bad);
    mchan_close(bed.channel);
    close(bed.log_fd);
    return 0;
}
