/* SPDX-License-Identifier: Apache-2.0 */
/* load: sends HTTP requests to web servers at moments that were fixed before,
 * whatever becomes of the requests ("open loop"), and counts each response time
 * from its moment, so that a request that waits because the ones before it are
 * slow counts as slow.  The rate follows a curve; the same seed is the same
 * load.  Prints one JSON object a second, and a last one with "total".
 *
 * It should itself never be slow: one thread, no memory taken while it runs,
 * and on request a real-time priority, so that what takes CPU time from the
 * guests takes none from it.  Started by demo/run.py and by hand. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "demo/curve.h"
#include "demo/latency.h"
#include "demo/reply.h"

#define TARGETS_MAX 16
#define CONNECTIONS_MAX 128 /* To each target. */
#define QUEUE_MAX 16384     /* Requests of a target that wait to be sent. */
#define REQUEST_SIZE 512
#define READ_SIZE 65536
#define GRACE (2 * NSEC_PER_SEC) /* For answers, after the last request. */
#define BEGIN_DELAY (20 * NSEC_PER_MSEC)

/* One request under way, and the connection it uses. */
struct connection {
    int fd;
    bool busy;
    nsec_t due; /* When it should have been sent. */
    struct target *target;
    struct reply reply;
};

/* What is counted of a second, or of all that is measured. */
struct counts {
    uint64_t n_sent, n_errors, n_unanswered;
    struct latency latency;
};

struct target {
    char name[64];
    struct sockaddr_in address;
    struct arrivals arrivals;
    nsec_t next; /* The next arrival, since the start. */
    nsec_t queue[QUEUE_MAX];
    size_t head, n;
    struct connection connection[CONNECTIONS_MAX];
    struct counts second, total;
};

struct load {
    struct curve curve;
    double seconds, settle_s;
    uint64_t seed, threshold_us;
    uint32_t n_connections, n_targets;
    int fifo;
    char path[256];
    char request[REQUEST_SIZE];
    size_t request_size;
    int epoll_fd, timer_fd;
    nsec_t start, settled;
    unsigned n_lines;
    struct target target[TARGETS_MAX];
};

static volatile sig_atomic_t stopped;

static int read_options(struct load *, int argc, char **argv);
static void prepare(struct load *);
static int connect_all(struct load *);
static void run(struct load *);
static void print_line(struct load *, bool total, nsec_t now);

int
main(int argc, char **argv)
{
    static struct load load = {.seconds = 10,
                               .curve = {.n = 1, .share = {1}, .peak = 100},
                               .threshold_us = 3000,
                               .n_connections = 32,
                               .path = "/"};

    int error = read_options(&load, argc, argv);
    if (error) {
        return 2;
    }
    prepare(&load);
    if (connect_all(&load)) {
        return 1;
    }
    run(&load);
    print_line(&load, true, 0);
    return 0;
}

/* The command line. */

static const char usage[] =
    "usage: load --target HOST:PORT [--target ...] [options]\n"
    "  --path PATH        what to ask for (/)\n"
    "  --rate N           requests per second to each target at the peak "
    "(100)\n"
    "  --curve \"0.3 1\"    shares of the peak, evenly spread over the time "
    "(1)\n"
    "  --seconds N        how long (10)\n"
    "  --settle N         of these, how many at first are not in the total "
    "(0)\n"
    "  --seed N           of all chance (0)\n"
    "  --threshold-us N   response times over this are counted (3000)\n"
    "  --connections N    to each target (32)\n"
    "  --fifo PRIORITY    run as SCHED_FIFO, where that is allowed\n";

static int
add_target(struct load *load, const char *text)
{
    struct target *target = &load->target[load->n_targets];
    const char *colon = strrchr(text, ':');
    char host[64];
    int64_t port = 0;

    if (load->n_targets == TARGETS_MAX || !colon ||
        (size_t)(colon - text) >= sizeof host ||
        text_copy(target->name, sizeof target->name, text)) {
        return -EINVAL;
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    target->address.sin_family = AF_INET;
    if (inet_pton(AF_INET, host, &target->address.sin_addr) != 1 ||
        text_to_i64(colon + 1, &port) || port < 1 || port > 65535) {
        return -EINVAL;
    }
    target->address.sin_port = htons((uint16_t)port);
    load->n_targets++;
    return 0;
}

static int
read_number(const char *text, double min, double max, double *out)
{
    double value;

    if (text_to_real(text, &value) || value < min || value > max) {
        return -EINVAL;
    }
    *out = value;
    return 0;
}

static int
read_option(struct load *load, int option, const char *text)
{
    double number = 0;
    int error = 0;

    switch (option) {
    case 't':
        return add_target(load, text);
    case 'p':
        return text_copy(load->path, sizeof load->path, text);
    case 'r':
        return read_number(text, 0, 1e6, &load->curve.peak);
    case 'c':
        return curve_parse(&load->curve, text);
    case 's':
        return read_number(text, 0.1, 86400, &load->seconds);
    case 'w':
        return read_number(text, 0, 86400, &load->settle_s);
    case 'S':
        return text_to_u64(text, &load->seed);
    case 'T':
        return text_to_u64(text, &load->threshold_us);
    case 'n':
        error = read_number(text, 1, CONNECTIONS_MAX, &number);
        load->n_connections = (uint32_t)number;
        return error;
    case 'f':
        error = read_number(text, 1, 99, &number);
        load->fifo = (int)number;
        return error;
    default:
        return -EINVAL;
    }
}

static int
read_options(struct load *load, int argc, char **argv)
{
    static const struct option options[] = {
        {"target", required_argument, NULL, 't'},
        {"path", required_argument, NULL, 'p'},
        {"rate", required_argument, NULL, 'r'},
        {"curve", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 's'},
        {"settle", required_argument, NULL, 'w'},
        {"seed", required_argument, NULL, 'S'},
        {"threshold-us", required_argument, NULL, 'T'},
        {"connections", required_argument, NULL, 'n'},
        {"fifo", required_argument, NULL, 'f'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (read_option(load, option, optarg)) {
            if (optarg) {
                fprintf(stderr, "load: \"%s\" makes no sense here\n", optarg);
            }
            fputs(usage, stderr);
            return -EINVAL;
        }
    }
    if (!load->n_targets || optind != argc) {
        fputs(usage, stderr);
        return -EINVAL;
    }
    return 0;
}

/* Getting ready. */

static void
on_signal(int signum)
{
    (void)signum;
    stopped = 1;
}

static nsec_t
now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
}

static void
prepare(struct load *load)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct sched_param param = {.sched_priority = load->fifo};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1);
    if (load->fifo && sched_setscheduler(0, SCHED_FIFO, &param)) {
        fprintf(stderr,
                "load: no real-time priority (%s); response times may "
                "hold some of our own slowness\n",
                strerror(errno));
    }
    load->curve.length = (nsec_t)(load->seconds * 1e9);
    load->settled = (nsec_t)(load->settle_s * 1e9);
    load->request_size = (size_t)snprintf(
        load->request, sizeof load->request,
        "GET %s HTTP/1.1\r\nHost: demo\r\nAccept-Encoding: gzip\r\n\r\n",
        load->path);
    for (uint32_t i = 0; i < load->n_targets; i++) {
        struct target *target = &load->target[i];

        /* Streams of chance that have nothing to do with each other. */
        arrivals_init(&target->arrivals, &load->curve,
                      load->seed * TARGETS_MAX + i);
        target->next = arrivals_next(&target->arrivals);
    }
}

static int
open_connection(struct load *load, struct connection *connection)
{
    struct target *target = connection->target;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};

    connection->fd = -1;
    connection->busy = false;
    if (fd < 0) {
        return -errno;
    }
    /* To a server on this machine; it answers at once or not at all. */
    if (connect(fd, (struct sockaddr *)&target->address,
                sizeof target->address) ||
        fcntl(fd, F_SETFL, O_NONBLOCK) ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) ||
        epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
        int error = -errno;
        close(fd);
        return error;
    }
    connection->fd = fd;
    return 0;
}

static int
connect_all(struct load *load)
{
    struct epoll_event event = {.events = EPOLLIN};

    load->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    load->timer_fd =
        timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (load->epoll_fd < 0 || load->timer_fd < 0 ||
        epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, load->timer_fd, &event)) {
        perror("load");
        return -errno;
    }
    for (uint32_t i = 0; i < load->n_targets; i++) {
        for (uint32_t c = 0; c < load->n_connections; c++) {
            struct connection *connection = &load->target[i].connection[c];

            connection->target = &load->target[i];
            int error = open_connection(load, connection);
            if (error) {
                fprintf(stderr, "load: can't connect to %s: %s\n",
                        load->target[i].name, strerror(-error));
                return error;
            }
        }
    }
    return 0;
}

/* Counting. */

/* A request is over: 'us' from its moment, or it failed. */
static void
count_request(struct load *load, struct target *target, nsec_t due, nsec_t now,
              bool failed, bool unanswered)
{
    /* What failed did not keep its promise either. */
    bool broken = failed || unanswered;
    uint64_t us = (uint64_t)((now - due) / NSEC_PER_USEC);
    uint64_t over_us = load->threshold_us + 1;
    struct counts *counts[] = {&target->second, &target->total};

    if (broken && us < over_us) {
        us = over_us;
    }
    for (size_t i = 0; i < 2; i++) {
        if (i == 1 && due - load->start < load->settled) {
            continue;
        }
        counts[i]->n_errors += failed;
        counts[i]->n_unanswered += unanswered;
        latency_add(&counts[i]->latency, us, load->threshold_us);
    }
}

static void
count_sent(struct load *load, struct target *target, nsec_t due)
{
    target->second.n_sent++;
    target->total.n_sent += due - load->start >= load->settled;
}

/* Sending and receiving. */

static void
fail_connection(struct load *load, struct connection *connection, nsec_t now)
{
    if (connection->busy) {
        count_request(load, connection->target, connection->due, now, true,
                      false);
    }
    close(connection->fd);
    open_connection(load, connection);
}

static void
send_request(struct load *load, struct connection *connection, nsec_t due,
             nsec_t now)
{
    connection->busy = true;
    connection->due = due;
    reply_init(&connection->reply);
    ssize_t n = write(connection->fd, load->request, load->request_size);
    if (n != (ssize_t)load->request_size) {
        fail_connection(load, connection, now);
    }
}

static void
send_due(struct load *load, struct target *target, nsec_t now)
{
    while (target->next != NSEC_NEVER && load->start + target->next <= now) {
        nsec_t due = load->start + target->next;

        target->next = arrivals_next(&target->arrivals);
        count_sent(load, target, due);
        if (target->n == QUEUE_MAX) {
            count_request(load, target, due, now, false, true);
            continue;
        }
        target->queue[(target->head + target->n++) % QUEUE_MAX] = due;
    }
    for (uint32_t c = 0; c < load->n_connections && target->n; c++) {
        struct connection *connection = &target->connection[c];

        if (connection->busy ||
            (connection->fd < 0 && open_connection(load, connection))) {
            continue;
        }
        nsec_t due = target->queue[target->head];
        target->head = (target->head + 1) % QUEUE_MAX;
        target->n--;
        send_request(load, connection, due, now);
    }
}

static void
receive(struct load *load, struct connection *connection)
{
    char data[READ_SIZE];
    size_t used;

    ssize_t n = read(connection->fd, data, sizeof data);
    nsec_t now = now_ns();
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0 || !connection->busy) {
        fail_connection(load, connection, now);
        return;
    }
    int over = reply_feed(&connection->reply, data, (size_t)n, &used);
    if (over < 0 || (over && used != (size_t)n)) {
        fail_connection(load, connection, now);
        return;
    }
    if (over) {
        bool failed = connection->reply.status != 200;

        connection->busy = false;
        count_request(load, connection->target, connection->due, now, failed,
                      false);
        if (connection->reply.close) {
            fail_connection(load, connection, now);
        }
    }
}

static bool
is_done(const struct load *load)
{
    for (uint32_t i = 0; i < load->n_targets; i++) {
        const struct target *target = &load->target[i];

        if (target->next != NSEC_NEVER || target->n) {
            return false;
        }
        for (uint32_t c = 0; c < load->n_connections; c++) {
            if (target->connection[c].busy) {
                return false;
            }
        }
    }
    return true;
}

static nsec_t
next_deadline(const struct load *load)
{
    nsec_t next = load->start + (load->n_lines + 1) * NSEC_PER_SEC;

    for (uint32_t i = 0; i < load->n_targets; i++) {
        if (load->target[i].next != NSEC_NEVER) {
            next = nsec_min(next, load->start + load->target[i].next);
        }
    }
    return next;
}

static void
sleep_until(struct load *load, nsec_t deadline)
{
    struct itimerspec timer = {
        .it_value = {.tv_sec = deadline / NSEC_PER_SEC,
                     .tv_nsec = deadline % NSEC_PER_SEC}};
    struct epoll_event events[64];

    timerfd_settime(load->timer_fd, TFD_TIMER_ABSTIME, &timer, NULL);
    int n = epoll_wait(load->epoll_fd, events, 64, -1);
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr) {
            receive(load, events[i].data.ptr);
        }
    }
}

/* What has no answer by now was too slow in any case. */
static void
give_up(struct load *load, nsec_t now)
{
    for (uint32_t i = 0; i < load->n_targets; i++) {
        struct target *target = &load->target[i];

        for (; target->n; target->n--) {
            count_request(load, target, target->queue[target->head], now, false,
                          true);
            target->head = (target->head + 1) % QUEUE_MAX;
        }
        for (uint32_t c = 0; c < load->n_connections; c++) {
            struct connection *connection = &target->connection[c];

            if (connection->busy) {
                count_request(load, target, connection->due, now, false, true);
            }
        }
    }
}

static void
run(struct load *load)
{
    load->start = now_ns() + BEGIN_DELAY;
    nsec_t end = load->start + load->curve.length + GRACE;

    while (!stopped && !is_done(load)) {
        nsec_t now = now_ns();

        if (now >= end) {
            break;
        }
        for (uint32_t i = 0; i < load->n_targets; i++) {
            send_due(load, &load->target[i], now);
        }
        if (now >= load->start + (load->n_lines + 1) * NSEC_PER_SEC) {
            print_line(load, false, now);
        }
        sleep_until(load, next_deadline(load));
    }
    give_up(load, now_ns());
}

/* Printing. */

static void
print_counts(const struct counts *counts)
{
    const struct latency *l = &counts->latency;

    printf("\"sent\": %" PRIu64 ", \"done\": %" PRIu64 ", \"over\": %" PRIu64
           ", \"errors\": %" PRIu64 ", \"unanswered\": %" PRIu64
           ", \"mean_us\": %" PRIu64 ", \"p50_us\": %" PRIu64
           ", \"p90_us\": %" PRIu64 ", \"p99_us\": %" PRIu64
           ", \"max_us\": %" PRIu64,
           counts->n_sent, l->n - counts->n_unanswered, l->n_over,
           counts->n_errors, counts->n_unanswered, l->n ? l->sum_us / l->n : 0,
           latency_quantile(l, 0.5), latency_quantile(l, 0.9),
           latency_quantile(l, 0.99), l->max_us);
}

static void
print_line(struct load *load, bool total, nsec_t now)
{
    static struct counts all;

    memset(&all, 0, sizeof all);
    for (uint32_t i = 0; i < load->n_targets; i++) {
        struct target *target = &load->target[i];
        struct counts *counts = total ? &target->total : &target->second;

        all.n_sent += counts->n_sent;
        all.n_errors += counts->n_errors;
        all.n_unanswered += counts->n_unanswered;
        latency_merge(&all.latency, &counts->latency);
    }
    if (total) {
        printf("{\"total\": true, ");
    } else {
        printf("{\"second\": %u, \"rate\": %.1f, ", ++load->n_lines,
               curve_rate(&load->curve, now - load->start) * load->n_targets);
    }
    print_counts(&all);
    printf(", \"targets\": [");
    for (uint32_t i = 0; i < load->n_targets; i++) {
        struct target *target = &load->target[i];
        struct counts *counts = total ? &target->total : &target->second;

        printf("%s{\"target\": \"%s\", ", i ? ", " : "", target->name);
        print_counts(counts);
        printf("}");
        memset(&target->second, 0, sizeof target->second);
    }
    printf("]}\n");
    if (fflush(stdout)) {
        stopped = 1;
    }
}
