/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of a program, on libuv: descriptors and signals mark readiness, then
 * one turn runs in the prepare phase, just before libuv would sleep, and one
 * timer is set to the least deadline.  So however many descriptors became ready
 * together, there is one turn.  The one place where the programs read the
 * time.
 *
 * libuv ends the program if there is no memory for its table of descriptors, so
 * that is kept at hand where the table grows. */
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include <uv.h>

#include "base/reserve.h"

#define LOOP_SIGNALS_MAX 8
#define LOOP_RESERVE (16 << 10) /* Bytes for a table, */
#define FD_RESERVE 32           /* and for each descriptor in it. */

struct watch {
    uv_poll_t poll; /* Its data points back at this. */
    struct loop *loop;
    struct watch *next;
    int fd;
    bool *ready; /* Borrowed; may be null. */
};

struct signal_watch {
    uv_signal_t signal;
    bool *pending; /* Borrowed. */
};

struct loop {
    uv_loop_t uv;
    int fd_max; /* The highest that libuv's table has for sure. */
    uv_prepare_t prepare;
    uv_timer_t timer;
    const struct loop_ops *ops; /* Borrowed. */
    void *ctx;                  /* Borrowed. */
    struct watch *watches;      /* Owned. */
    struct signal_watch signals[LOOP_SIGNALS_MAX];
    size_t n_signals;
    bool turn_due, stopped;
};

static void on_prepare(uv_prepare_t *);
static void on_timer(uv_timer_t *);
static void on_readable(uv_poll_t *, int status, int events);
static void on_signal(uv_signal_t *, int signum);
static void on_watch_closed(uv_handle_t *);
static struct watch *find_watch(struct loop *, int fd);
static int start_watch(struct loop *, struct watch *, bool writable);

int
loop_create(struct loop **out, const struct loop_ops *ops, void *ctx)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop) {
        return -ENOMEM;
    }

    int error = reserve_begin(LOOP_RESERVE) ? uv_loop_init(&loop->uv) : -ENOMEM;
    reserve_end();
    if (error) {
        free(loop);
        return error;
    }
    loop->ops = ops;
    loop->ctx = ctx;
    loop->turn_due = true;
    uv_prepare_init(&loop->uv, &loop->prepare);
    loop->prepare.data = loop;
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_timer_init(&loop->uv, &loop->timer);
    loop->timer.data = loop;
    *out = loop;
    return 0;
}

void
loop_destroy(struct loop *loop)
{
    if (!loop) {
        return;
    }
    while (loop->watches) {
        loop_unwatch(loop, loop->watches->fd);
    }
    for (size_t i = 0; i < loop->n_signals; i++) {
        uv_close((uv_handle_t *)&loop->signals[i].signal, NULL);
    }
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->timer, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT); /* Runs the close callbacks only. */
    int error = uv_loop_close(&loop->uv);
    assert(!error);
    free(loop);
}

int
loop_watch(struct loop *loop, int fd, bool writable, bool *ready)
{
    struct watch *watch = find_watch(loop, fd);

    if (!watch) {
        watch = calloc(1, sizeof *watch);
        if (!watch) {
            return -ENOMEM;
        }
        int error = uv_poll_init(&loop->uv, &watch->poll, fd);
        if (error) {
            free(watch);
            return error;
        }
        watch->poll.data = watch;
        watch->loop = loop;
        watch->fd = fd;
        watch->next = loop->watches;
        loop->watches = watch;
    }
    watch->ready = ready;
    return start_watch(loop, watch, writable);
}

static int
start_watch(struct loop *loop, struct watch *watch, bool writable)
{
    int events = UV_READABLE | (writable ? UV_WRITABLE : 0);

    if (watch->fd <= loop->fd_max) {
        return uv_poll_start(&watch->poll, events, on_readable);
    }
    int error = reserve_begin(LOOP_RESERVE + (size_t)watch->fd * FD_RESERVE)
                    ? uv_poll_start(&watch->poll, events, on_readable)
                    : -ENOMEM;
    reserve_end();
    if (error) {
        loop_unwatch(loop, watch->fd);
    } else {
        loop->fd_max = watch->fd;
    }
    return error;
}

void
loop_unwatch(struct loop *loop, int fd)
{
    for (struct watch **link = &loop->watches; *link; link = &(*link)->next) {
        struct watch *watch = *link;

        if (watch->fd == fd) {
            *link = watch->next;
            uv_poll_stop(&watch->poll);
            uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
            return;
        }
    }
}

int
loop_on_signal(struct loop *loop, int signum, bool *pending)
{
    assert(loop->n_signals < LOOP_SIGNALS_MAX);
    struct signal_watch *watch = &loop->signals[loop->n_signals];

    int error = reserve_begin(LOOP_RESERVE)
                    ? uv_signal_init(&loop->uv, &watch->signal)
                    : -ENOMEM;
    reserve_end();
    if (error) {
        return error;
    }
    loop->n_signals++;
    watch->pending = pending;
    watch->signal.data = loop;
    return uv_signal_start(&watch->signal, on_signal, signum);
}

void
loop_run(struct loop *loop)
{
    while (!loop->stopped) {
        uv_run(&loop->uv, UV_RUN_ONCE);
    }
}

void
loop_stop(struct loop *loop)
{
    loop->stopped = true;
    uv_stop(&loop->uv);
}

nsec_t
loop_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* Callbacks. */

/* Runs the turn that is due and sets the timer; libuv's has milliseconds, so it
 * is rounded up, or the loop would spin through the last one. */
static void
on_prepare(uv_prepare_t *prepare)
{
    struct loop *loop = prepare->data;
    nsec_t now = loop_now();

    if (!loop->turn_due && loop->ops->deadline(loop->ctx, now) > now) {
        return;
    }
    loop->turn_due = false;
    loop->ops->turn(loop->ctx, now);
    if (loop->stopped) {
        return;
    }
    now = loop_now();
    nsec_t deadline = loop->ops->deadline(loop->ctx, now);
    if (deadline == NSEC_NEVER) {
        uv_timer_stop(&loop->timer);
        return;
    }
    nsec_t wait = deadline > now ? deadline - now : 0;
    uv_update_time(&loop->uv);
    uv_timer_start(&loop->timer, on_timer,
                   (uint64_t)((wait + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC), 0);
}

static void
on_timer(uv_timer_t *timer)
{
    struct loop *loop = timer->data;

    loop->turn_due = true;
}

static void
on_readable(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;

    (void)status; /* An error is readiness too: the reader will meet it. */
    (void)events;
    if (watch->ready) {
        *watch->ready = true;
    }
    watch->loop->turn_due = true;
}

static void
on_signal(uv_signal_t *signal, int signum)
{
    struct loop *loop = signal->data;

    for (size_t i = 0; i < loop->n_signals; i++) {
        if (loop->signals[i].signal.signum == signum) {
            *loop->signals[i].pending = true;
        }
    }
    loop->turn_due = true;
}

static void
on_watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static struct watch *
find_watch(struct loop *loop, int fd)
{
    for (struct watch *watch = loop->watches; watch; watch = watch->next) {
        if (watch->fd == fd) {
            return watch;
        }
    }
    return NULL;
}
