/* SPDX-License-Identifier: Apache-2.0 */
/* A crowd of agents in one process: each has its channel to a real mbrokerd,
 * greets, and then says so many messages a second, every fifth (or N-th) a beat
 * and the others reports, until the time is over and all was acknowledged.
 * Beats tell the round trip through the broker.  With --pushy a message that
 * the channel does not take when it is due is not said at all, and counted: a
 * flood.  Says "ready" when all were welcomed and warmed up, and in the end one
 * line of JSON; stays, its channels up, until its input ends.  Started by
 * bench/noisy_neighbour.py and tests/load/run.py.
 *
 *     crowd --uri unix:DIR/g%u.sock --guests FIRST-LAST --rate N --seconds S */
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "include/mchan.h"
#include "wire/msg.h"

#define GREETING_S 60      /* For all to be welcomed. */
#define SETTLE_S 30        /* For all to be acknowledged. */
#define GRACE_S 120        /* Beyond all of that we are stuck: alarm(). */
#define WARM_UP_RATE 30000 /* Beats a second of all together. */
#define BATCH_MAX 4096     /* Messages of a flood in one go. */
#define URI_SIZE 256
#define EVENTS_MAX 256

struct guest {
    struct mchan *channel;
    bool greeted, welcomed, gone;
    nsec_t due;
    uint64_t n_said; /* Messages since the welcome, */
    uint64_t n_beats, epoch;
};

struct crowd {
    const char *uri;
    uint64_t first, last, rate, seconds;
    uint64_t n_warm_up; /* Beats of each, before it begins. */
    uint64_t beat_each; /* Messages of which one is a beat. */
    bool pushy;
    struct guest *guests;
    uint32_t n_guests, n_welcomed;
    int epoll_fd;
    uint64_t n_hellos, n_reports, n_beats, n_replies, n_full, n_late;
    uint64_t n_words, n_denied, n_dropped, n_lost;
    uint32_t *round_trips_ns; /* Owned. */
    size_t n_round_trips, max_round_trips;
    uint8_t buffer[MSG_SIZE_MAX * 2];
};

static nsec_t
read_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static void
die(const char *what, int error)
{
    fprintf(stderr, "crowd: %s: %s\n", what, strerror(-error));
    exit(1);
}

/* Saying. */

static int
say(struct guest *guest, const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];
    ssize_t size = msg_encode(msg, MSG_VERSION_MAX, data, sizeof data, NULL, 0);
    struct mchan_msg out = {.data = data,
                            .size = (size_t)size,
                            .tag = (uint16_t)msg->type,
                            .delivery = MCHAN_RELIABLE};

    assert(size > 0);
    return mchan_send(guest->channel, &out);
}

static void
greet(struct crowd *crowd, struct guest *guest)
{
    struct msg msg;

    msg.type = MSG_HELLO;
    msg.hello = (struct msg_hello){.version_min = MSG_VERSION_MIN,
                                   .version_max = MSG_VERSION_MAX,
                                   .software = "crowd",
                                   .time_ns = read_clock()};
    guest->greeted = !say(guest, &msg);
    crowd->n_hellos += guest->greeted;
}

static bool
say_next(struct crowd *crowd, struct guest *guest, nsec_t now)
{
    bool beat = guest->n_said % crowd->beat_each == 0;
    struct msg msg;

    if (beat) {
        msg.type = MSG_BEAT;
        msg.beat = (struct msg_beat){.number = guest->n_beats,
                                     .origin_ns = read_clock(),
                                     .offset_error_ns = UINT64_MAX};
    } else {
        msg.type = MSG_REPORT;
        msg.report = (struct msg_report){.epoch = guest->epoch,
                                         .start_ns = now - NSEC_PER_SEC,
                                         .end_ns = now,
                                         .n_requests = 100,
                                         .n_violations = 1,
                                         .threshold_us = 3000,
                                         .worst_us = 3100,
                                         .worst_end_ns = now,
                                         .seen_ns = now,
                                         .sent_ns = now,
                                         .util_permille = 500};
    }
    if (say(guest, &msg)) {
        return false;
    }
    guest->n_said++;
    guest->n_beats += beat;
    guest->epoch += !beat;
    crowd->n_beats += beat;
    crowd->n_reports += !beat;
    return true;
}

/* All that is due; a moment of its own for each. */
static void
say_due(struct crowd *crowd, struct guest *guest, nsec_t now)
{
    nsec_t period = NSEC_PER_SEC / (nsec_t)crowd->rate;

    for (int i = 0; i < BATCH_MAX && guest->due <= now; i++) {
        if (say_next(crowd, guest, now)) {
            guest->due += period;
        } else if (crowd->pushy) {
            uint64_t n = (uint64_t)((now - guest->due) / period) + 1;

            crowd->n_full += n;
            guest->due += (nsec_t)n * period;
        } else {
            crowd->n_late++;
            return;
        }
    }
}

/* Hearing. */

static void
on_message(struct crowd *crowd, struct guest *guest, const struct msg *msg)
{
    switch ((int)msg->type) {
    case MSG_WELCOME:
        crowd->n_welcomed += !guest->welcomed;
        guest->welcomed = true;
        break;
    case MSG_BEAT_REPLY:
        crowd->n_replies++;
        if (crowd->n_round_trips < crowd->max_round_trips) {
            nsec_t passed = read_clock() - msg->beat_reply.origin_ns;

            crowd->round_trips_ns[crowd->n_round_trips++] =
                passed < UINT32_MAX ? (uint32_t)passed : UINT32_MAX;
        }
        break;
    case MSG_DENIED:
        crowd->n_words++;
        crowd->n_denied = msg->denied.n_denied;
        crowd->n_dropped = msg->denied.n_dropped;
        break;
    default:
        fprintf(stderr, "crowd: the broker says %s: %s\n", msg_name(msg->type),
                msg->type == MSG_REFUSED ? msg->refused.reason : "");
        guest->gone = true;
    }
}

static void
hear(struct crowd *crowd, struct guest *guest)
{
    struct mchan_event event;
    struct mchan_info info;
    struct msg msg;
    ssize_t size;

    do {
        while (mchan_next_event(guest->channel, &event) > 0) {
            if (event.type == MCHAN_UP && !guest->greeted) {
                greet(crowd, guest);
            } else if (event.type == MCHAN_PEER_LOST) {
                crowd->n_lost++;
                guest->gone = true;
            }
        }
        while ((size = mchan_recv(guest->channel, crowd->buffer,
                                  sizeof crowd->buffer, &info)) >= 0) {
            if (!msg_decode(&msg, info.tag, MSG_VERSION_MAX, crowd->buffer,
                            (size_t)size, NULL, 0)) {
                on_message(crowd, guest, &msg);
            }
        }
    } while (mchan_arm(guest->channel, MCHAN_READABLE) > 0);
}

static void
wait_and_hear(struct crowd *crowd, int timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(crowd->epoll_fd, events, EVENTS_MAX, timeout_ms);

    for (int i = 0; i < n; i++) {
        hear(crowd, &crowd->guests[events[i].data.u32]);
    }
}

/* The run. */

static void
open_all(struct crowd *crowd)
{
    char uri[URI_SIZE];

    for (uint32_t i = 0; i < crowd->n_guests; i++) {
        struct guest *guest = &crowd->guests[i];
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        const char *place = strstr(crowd->uri, "%u");

        snprintf(uri, sizeof uri, "%.*s%u%s", (int)(place - crowd->uri),
                 crowd->uri, (unsigned)crowd->first + i, place + 2);
        int error = mchan_open(&guest->channel, uri, NULL);
        if (error) {
            die(uri, error);
        }
        if (epoll_ctl(crowd->epoll_fd, EPOLL_CTL_ADD, mchan_fd(guest->channel),
                      &event)) {
            die("epoll", -errno);
        }
        hear(crowd, guest);
    }
    nsec_t end = read_clock() + GREETING_S * NSEC_PER_SEC;
    while (crowd->n_welcomed < crowd->n_guests && read_clock() < end) {
        wait_and_hear(crowd, 10);
        for (uint32_t i = 0; i < crowd->n_guests; i++) {
            struct guest *guest = &crowd->guests[i];

            if (!guest->greeted) {
                greet(crowd, guest);
                hear(crowd, guest);
            }
        }
    }
}

static nsec_t run(struct crowd *);

/* Beats until each ring was used from end to end, so that no page of it is used
 * for the first time later. */
static void
warm_up(struct crowd *crowd)
{
    struct crowd asked = *crowd;

    if (!crowd->n_warm_up) {
        return;
    }
    crowd->rate = WARM_UP_RATE / crowd->n_guests + 1;
    crowd->rate = crowd->rate < 150 ? crowd->rate : 150;
    crowd->seconds = crowd->n_warm_up / crowd->rate + 1;
    crowd->beat_each = 1;
    crowd->pushy = false;
    (void)run(crowd);
    crowd->rate = asked.rate;
    crowd->seconds = asked.seconds;
    crowd->beat_each = asked.beat_each;
    crowd->pushy = asked.pushy;
    crowd->n_round_trips = 0;
}

/* Their moments are spread over a period, so that it is no march. */
static nsec_t
run(struct crowd *crowd)
{
    nsec_t began = read_clock(), now = began;
    nsec_t period = NSEC_PER_SEC / (nsec_t)crowd->rate;
    nsec_t end = began + (nsec_t)crowd->seconds * NSEC_PER_SEC;

    for (uint32_t i = 0; i < crowd->n_guests; i++) {
        crowd->guests[i].due = began + period * i / crowd->n_guests;
    }
    while (now < end) {
        nsec_t next = end;

        for (uint32_t i = 0; i < crowd->n_guests; i++) {
            struct guest *guest = &crowd->guests[i];

            if (guest->due <= now && guest->welcomed && !guest->gone) {
                say_due(crowd, guest, now);
                hear(crowd, guest); /* Sending may have moved the channel. */
            }
            if (!guest->gone) {
                next = nsec_min(next, guest->due);
            }
        }
        now = read_clock();
        wait_and_hear(crowd, next > now ? 1 : 0);
        now = read_clock();
    }
    return now - began;
}

static uint64_t
sent(const struct crowd *crowd)
{
    return crowd->n_hellos + crowd->n_beats + crowd->n_reports;
}

static uint64_t
acknowledged(const struct crowd *crowd)
{
    struct mchan_stats stats;
    uint64_t n = 0;

    for (uint32_t i = 0; i < crowd->n_guests; i++) {
        mchan_stats(crowd->guests[i].channel, &stats, sizeof stats);
        n += stats.n_acked;
    }
    return n;
}

static void
settle(struct crowd *crowd)
{
    nsec_t end = read_clock() + SETTLE_S * NSEC_PER_SEC;

    while ((acknowledged(crowd) < sent(crowd) ||
            (crowd->n_replies < crowd->n_beats && !crowd->pushy)) &&
           read_clock() < end) {
        wait_and_hear(crowd, 10);
        for (uint32_t i = 0; i < crowd->n_guests; i++) {
            hear(crowd, &crowd->guests[i]);
        }
    }
}

static int
by_size(const void *a, const void *b)
{
    const uint32_t *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

static double
percentile_us(const struct crowd *crowd, double share)
{
    size_t n = crowd->n_round_trips;
    size_t at = (size_t)((double)n * share);

    return n ? crowd->round_trips_ns[at < n ? at : n - 1] / 1e3 : 0;
}

static void
report(struct crowd *crowd, nsec_t passed)
{
    qsort(crowd->round_trips_ns, crowd->n_round_trips,
          sizeof *crowd->round_trips_ns, by_size);
    printf("{\"guests\": %" PRIu32 ", \"welcomed\": %" PRIu32
           ", \"seconds\": %.3f, \"sent\": %" PRIu64 ", \"acked\": %" PRIu64
           ", \"hellos\": %" PRIu64 ", \"reports\": %" PRIu64
           ", \"beats\": %" PRIu64 ", \"replies\": %" PRIu64
           ", \"not_taken\": %" PRIu64 ", \"late\": %" PRIu64
           ", \"lost_channels\": %" PRIu64 ", \"told_denied\": %" PRIu64
           ", \"told_dropped\": %" PRIu64 ", \"words\": %" PRIu64
           ", \"rtt_p50_us\": %.1f, \"rtt_p99_us\": %.1f, "
           "\"rtt_max_us\": %.1f}\n",
           crowd->n_guests, crowd->n_welcomed, (double)passed / 1e9,
           sent(crowd), acknowledged(crowd), crowd->n_hellos, crowd->n_reports,
           crowd->n_beats, crowd->n_replies, crowd->n_full, crowd->n_late,
           crowd->n_lost, crowd->n_denied, crowd->n_dropped, crowd->n_words,
           percentile_us(crowd, 0.5), percentile_us(crowd, 0.99),
           percentile_us(crowd, 1));
    fflush(stdout);
}

/* Its channels stay up, and their beats too, until the input ends. */
static void
stay(struct crowd *crowd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    struct epoll_event events[EVENTS_MAX];

    if (epoll_ctl(crowd->epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event)) {
        return; /* A file, which has ended. */
    }
    for (;;) {
        int n = epoll_wait(crowd->epoll_fd, events, EVENTS_MAX, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 == UINT32_MAX) {
                char byte;

                if (read(STDIN_FILENO, &byte, 1) <= 0) {
                    return;
                }
            } else {
                hear(crowd, &crowd->guests[events[i].data.u32]);
            }
        }
    }
}

static void
usage(void)
{
    fprintf(
        stderr,
        "usage: crowd --uri unix:DIR/g%%u.sock --guests FIRST-LAST "
        "--rate N --seconds S [--beat-each N] [--warm-up BEATS] [--pushy]\n");
    exit(2);
}

static void
parse(struct crowd *crowd, int argc, char **argv)
{
    static const struct option options[] = {
        {"uri", required_argument, NULL, 'u'},
        {"guests", required_argument, NULL, 'g'},
        {"rate", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'},
        {"beat-each", required_argument, NULL, 'b'},
        {"warm-up", required_argument, NULL, 'w'},
        {"pushy", no_argument, NULL, 'p'},
        {0}};
    char *dash;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        switch (option) {
        case 'u':
            crowd->uri = optarg;
            break;
        case 'g':
            dash = strchr(optarg, '-');
            if (!dash) {
                usage();
            }
            *dash = '\0';
            if (text_to_u64(optarg, &crowd->first) ||
                text_to_u64(dash + 1, &crowd->last)) {
                usage();
            }
            break;
        case 'r':
            if (text_to_u64(optarg, &crowd->rate)) {
                usage();
            }
            break;
        case 's':
            if (text_to_u64(optarg, &crowd->seconds)) {
                usage();
            }
            break;
        case 'b':
            if (text_to_u64(optarg, &crowd->beat_each) || !crowd->beat_each) {
                usage();
            }
            break;
        case 'w':
            if (text_to_u64(optarg, &crowd->n_warm_up)) {
                usage();
            }
            break;
        case 'p':
            crowd->pushy = true;
            break;
        default:
            usage();
        }
    }
    if (!crowd->uri || !strstr(crowd->uri, "%u") || !crowd->rate ||
        crowd->rate > 10000000 || !crowd->seconds || crowd->seconds > 86400 ||
        crowd->last < crowd->first || crowd->last - crowd->first >= 100000) {
        usage();
    }
    crowd->n_guests = (uint32_t)(crowd->last - crowd->first + 1);
}

int
main(int argc, char **argv)
{
    static struct crowd crowd = {.beat_each = 5};
    struct rlimit files;

    parse(&crowd, argc, argv);
    alarm((unsigned)(crowd.seconds + crowd.n_warm_up) + GREETING_S + SETTLE_S +
          GRACE_S);
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    crowd.max_round_trips =
        (crowd.rate * crowd.seconds / crowd.beat_each + 2) * crowd.n_guests;
    if (crowd.max_round_trips > 4000000) {
        crowd.max_round_trips = 4000000;
    }
    crowd.round_trips_ns =
        malloc(crowd.max_round_trips * sizeof *crowd.round_trips_ns);
    crowd.guests = calloc(crowd.n_guests, sizeof *crowd.guests);
    crowd.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!crowd.round_trips_ns || !crowd.guests || crowd.epoll_fd < 0) {
        die("start", -ENOMEM);
    }
    open_all(&crowd);
    if (crowd.n_welcomed < crowd.n_guests) {
        fprintf(stderr, "crowd: %" PRIu32 " of %" PRIu32 " were welcomed\n",
                crowd.n_welcomed, crowd.n_guests);
        return 1;
    }
    warm_up(&crowd);
    printf("ready\n");
    fflush(stdout);
    nsec_t passed = run(&crowd);
    settle(&crowd);
    report(&crowd, passed);
    stay(&crowd);
    for (uint32_t i = 0; i < crowd.n_guests; i++) {
        mchan_close(crowd.guests[i].channel);
    }
    free(crowd.guests);
    free(crowd.round_trips_ns);
    close(crowd.epoll_fd);
    return 0;
}
