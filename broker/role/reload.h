/* SPDX-License-Identifier: Apache-2.0 */
/* A process's part in a reload: the configuration that is read and waits to be
 * taken, and what it has to say to the parent.  For the roles. */
#ifndef BROKER_ROLE_RELOAD_H
#define BROKER_ROLE_RELOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "broker/config/config.h"
#include "wire/msg.h"

struct line;
struct role_env;

/* The steps, as they come in MSG_RELOAD; docs/decisions/0017 has why. */
enum reload_step {
    RELOAD_PREPARE,
    RELOAD_TAKE,
    RELOAD_SERVE,
    RELOAD_DONE,
    RELOAD_REFUSED,
    RELOAD_ASK, /* Only in MSG_RELOADED: the engine asks for one. */
};

struct reload {
    const struct role_env *env;
    bool has;                   /* 'other' is one: */
    struct broker_config other; /* to be taken, or what was, once it is. */
    struct msg_reloaded answer;
    bool due; /* 'answer' is still to be sent. */
};

void reload_init(struct reload *, const struct role_env *);
void reload_fini(struct reload *);

/* Reads it.  0 or -Exxx with 'why'. */
int reload_read(struct reload *, char *why, size_t why_size);
/* Puts it in the place of the one in force, which is 'other' from then on. */
void reload_swap(struct reload *);
/* Forgets 'other'. */
void reload_drop(struct reload *);

/* Says what came of a step; to be called again in each turn with what is due.
 */
void reload_answer(struct reload *, struct line *parent, unsigned step,
                   int error, const char *why);
void reload_flush(struct reload *, struct line *parent);

#endif
