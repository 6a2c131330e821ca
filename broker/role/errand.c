/* SPDX-License-Identifier: Apache-2.0 */
/* Questions and answers on a socket pair that keeps records apart.  No
 * M-channel and no encoding: both ends are one program, an errand is three
 * numbers, and the less code the steward runs on what the platform says the
 * better.  The platform waits for its answer, as it did when it did these
 * things itself. Called by role_platform.c and role_steward.c. */
#include "broker/role/errand.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/text.h"

#define ANSWER_HEAD offsetof(struct errand_answer, found)
#define ERRNO_MAX 4095

static int run(struct errands *, enum errand_op, uint32_t guest);
static bool makes_sense(const struct errand_answer *);

int
errand_pair(int ends[2])
{
    const struct timeval patience = {.tv_sec = ERRAND_PATIENCE_S};

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        return -errno;
    }
    if (setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &patience,
                   sizeof patience) ||
        setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &patience,
                   sizeof patience)) {
        int error = -errno;

        close(ends[0]);
        close(ends[1]);
        return error;
    }
    return 0;
}

/* The platform's end. */

static int
find(void *ctx, struct hypervisor_found *out, uint32_t n)
{
    struct errands *errands = ctx;

    int error = run(errands, ERRAND_FIND, 0);
    if (error) {
        return error;
    }
    if (errands->answer.n_found != n) {
        return -EPROTO;
    }
    memcpy(out, errands->answer.found, n * sizeof *out);
    return 0;
}

static int
start(void *ctx, uint32_t guest, struct hypervisor_found *out, char *why,
      size_t why_size)
{
    struct errands *errands = ctx;

    int error = run(errands, ERRAND_START, guest);
    if (!error && errands->answer.n_found != 1) {
        error = -EPROTO;
    }
    if (error) {
        text_copy(why, why_size,
                  errands->answer.why[0] ? errands->answer.why
                                         : "the steward does not answer");
        return error;
    }
    *out = errands->answer.found[0];
    return 0;
}

static void
forget(void *ctx, uint32_t guest)
{
    run(ctx, ERRAND_FORGET, guest);
}

static int
renew(void *ctx, char *why, size_t why_size)
{
    struct errands *errands = ctx;

    int error = run(errands, ERRAND_RENEW, 0);
    if (error) {
        text_copy(why, why_size,
                  errands->answer.why[0] ? errands->answer.why
                                         : "the steward does not answer");
    }
    return error;
}

const struct hypervisor_helper errands_helper = {
    .find = find, .start = start, .forget = forget, .renew = renew};

static int
run(struct errands *errands, enum errand_op op, uint32_t guest)
{
    struct errand errand = {
        .number = ++errands->n_sent, .op = op, .guest = guest};
    struct errand_answer *answer = &errands->answer;
    ssize_t size;

    answer->why[0] = '\0';
    if (send(errands->fd, &errand, sizeof errand, MSG_NOSIGNAL) < 0) {
        return -errno;
    }
    do {
        do { /* Who looks at us, as mctl doctor does, interrupts. */
            size = recv(errands->fd, answer, sizeof *answer, 0);
        } while (size < 0 && errno == EINTR);
        if (size < (ssize_t)ANSWER_HEAD ||
            (size_t)size !=
                ANSWER_HEAD + answer->n_found * sizeof answer->found[0]) {
            answer->why[0] = '\0';
            return size < 0 ? -errno : size ? -EPROTO : -EPIPE;
        }
    } while (answer->number != errand.number);
    answer->why[sizeof answer->why - 1] = '\0';
    if (!makes_sense(answer)) {
        answer->why[0] = '\0';
        return -EPROTO;
    }
    return answer->error;
}

/* Who is found will be stopped and killed. */
static bool
makes_sense(const struct errand_answer *answer)
{
    if (answer->error > 0 || answer->error < -ERRNO_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < answer->n_found; i++) {
        unsigned char ours;

        memcpy(&ours, &answer->found[i].ours, sizeof ours);
        if (answer->found[i].pid < 0 || ours > 1) {
            return false;
        }
    }
    return true;
}

/* The steward's. */

int
errand_take(int fd, uint32_t n_guests, struct errand *out)
{
    struct errand errand;

    ssize_t size = recv(fd, &errand, sizeof errand, MSG_DONTWAIT | MSG_TRUNC);
    if (size < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
    }
    if (!size) {
        return -EPIPE;
    }
    if (size != sizeof errand || errand.op >= ERRAND_OPS ||
        (errand.op != ERRAND_FIND && errand.op != ERRAND_RENEW &&
         errand.guest >= n_guests)) {
        return -EPROTO;
    }
    *out = errand;
    return 1;
}

int
errand_answer(int fd, const struct errand *errand, struct errand_answer *answer)
{
    answer->number = errand->number;
    size_t size = ANSWER_HEAD + answer->n_found * sizeof answer->found[0];

    /* Nobody waits who has more answers lying there than fit. */
    return send(fd, answer, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}
