/* SPDX-License-Identifier: Apache-2.0 */
/* Errands: what the platform process, in its sandbox, has the steward do, which
 * has the rights of who started the broker.  Few, fixed, and about guests that
 * the configuration names, by their index. */
#ifndef BROKER_ROLE_ERRAND_H
#define BROKER_ROLE_ERRAND_H

#include <stddef.h>
#include <stdint.h>

#include "broker/config/config.h"
#include "hypervisor/hypervisor.h"

enum errand_op {
    ERRAND_FIND,
    ERRAND_START,
    ERRAND_FORGET,
    ERRAND_RENEW, /* To read the configuration, and number guests by it. */
    ERRAND_OPS,   /* Not one: how many there are. */
};

struct errand {
    uint32_t number; /* An answer that comes late answers nothing else. */
    uint32_t op, guest;
};

struct errand_answer {
    uint32_t number;
    int32_t error; /* 0 or -Exxx. */
    uint32_t n_found;
    char why[CONFIG_WHY_SIZE];
    struct hypervisor_found found[CONFIG_GUESTS_MAX];
};

/* The platform's end. */
struct errands {
    int fd; /* Borrowed. */
    uint32_t n_sent;
    struct errand_answer answer;
};

/* Waits for answers, but not for ever: each ERRAND_PATIENCE_S at most.  Its ctx
 * is a struct errands. */
extern const struct hypervisor_helper errands_helper;
#define ERRAND_PATIENCE_S 10

/* A socket pair for errands: the platform's end and the steward's.  0 or
 * -Exxx. */
int errand_pair(int ends[2]);

/* The steward's end.  1 and an errand that makes sense for 'n_guests', 0 if
 * there is none now, -EPIPE if the platform is gone, -EPROTO if it sent what is
 * none. */
int errand_take(int fd, uint32_t n_guests, struct errand *out);
/* Answers it; the caller filled in error, why and found.  0 or -Exxx. */
int errand_answer(int fd, const struct errand *, struct errand_answer *);

#endif
