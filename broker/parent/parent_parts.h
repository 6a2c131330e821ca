/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the parent share, and nobody else sees:
 *   parent.c        its life: holds what is the broker's, turns, ends
 *   parent_start.c  its children made: their sockets, words and descriptors
 *   parent_reload.c  another configuration, taken by all or by none
 *   parent_watch.c  its children heard, missed, told to leave */
#ifndef BROKER_PARENT_PARENT_PARTS_H
#define BROKER_PARENT_PARENT_PARTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/loop.h"
#include "broker/config/config.h"
#include "broker/parent/hold.h"
#include "broker/parent/parent.h"
#include "broker/role/line.h"
#include "broker/role/role.h"

#define PARENT_CHILDREN 4
#define PARENT_LINES 3 /* The steward needs none: it is told no words. */

struct child {
    pid_t pid; /* 0: not running. */
    struct line line;
    int words_fd; /* Its last words (FD_LAST_WORDS) come here; -1: none. */
    bool ready, told_to_leave;
    bool told_of_end;            /* And how another had failed. */
    nsec_t heard;                /* When it last answered a beat. */
    nsec_t patience_ns, give_up; /* After it was told to leave. */
};

enum reload_phase {
    RELOAD_IDLE,
    RELOAD_ALL_PREPARE,
    RELOAD_PLATFORM_TAKES, /* Nobody refuses after it. */
    RELOAD_BACK_TAKES,
    RELOAD_ENGINE_TAKES,
    RELOAD_BACK_SERVES,
};

struct parent_reload {
    enum reload_phase phase;
    bool wanted;              /* Somebody asked, and none has begun since. */
    uint32_t asked;           /* What the engine asked for last, */
    uint32_t number;          /* and when this one began. */
    unsigned unsent, waiting; /* For roles' answers; a bit each. */
    struct msg msg;           /* To those. */
    struct parent_config next;
    char *text; /* Owned: that in force; null: as the broker began. */
    char hash[CONFIG_HASH_SIZE];
    int fds[CONFIG_GUESTS_MAX];    /* Of the guests of 'next'. */
    bool fresh[CONFIG_GUESTS_MAX]; /* These were made for it. */
};

struct parent {
    const struct parent_opts *opts;
    struct loop *loop;
    struct hold hold;
    struct parent_reload reload;
    int config_fd, control_fd;
    char *config_text; /* What is in config_fd, mapped. */
    int hands_fd;      /* To back: sockets of guests to come. */
    int guest_fds[CONFIG_GUESTS_MAX];
    struct child children[PARENT_CHILDREN]; /* By enum role, as they leave. */
    int steward_fd;     /* Our end; the steward stays while it is open. */
    bool steward_ready; /* It may have answered a beat. */
    bool child_died, stop_asked, stop_asked_again, hang_up;
    bool ready, stopping, failed, platform_died;
    nsec_t start_by;  /* All are to be ready then; 0: not begun. */
    nsec_t next_sign; /* Of life, to the service manager. */
    nsec_t next_beat; /* To the children. */
    uint64_t n_beats;
    struct msg_bye ended; /* How the first that failed did; "": none. */
    bool end_told;        /* The engine took that, and left in good order. */
    struct msg_bye ended_before; /* How the last broker did; "": well. */
};

/* parent.c */
/* Begins to stop, unless that was begun; says why. */
void parent_stop(struct parent *, const char *why);

/* parent_start.c */
/* All, in an order in which each finds the others.  0 or -Exxx, which it said.
 */
int parent_start_children(struct parent *);
/* Has what a broker changed put back, and waits for it.  In a process of its
 * own, since drivers are opened for it.  0 or -EIO. */
int parent_put_back(struct parent *);
/* Memory with the text that nobody else can change: 0 or -Exxx. */
int parent_share_config(struct parent *, const char *text);
void parent_close_steward(struct parent *);
void parent_close_fd(int *fd); /* If there is one; then there is none. */

/* parent_reload.c */
/* Begins one that is wanted, or goes on with the one that has begun. */
void parent_reload_run(struct parent *);
/* What a child says of it. */
void parent_reload_hear(struct parent *, enum role,
                        const struct msg_reloaded *);
void parent_reload_fini(struct parent *);

/* parent_watch.c */
/* Notes how one of them failed, for those who are left and for the journal;
 * what was first stands. */
__attribute__((format(printf, 2, 3))) void
parent_note_end(struct parent *, const char *format, ...);
void parent_reap(struct parent *);
void parent_hear_children(struct parent *, nsec_t now);
void parent_beat(struct parent *, nsec_t now);
/* Tells the first that is left to leave; ends the loop once none is. */
void parent_stop_next(struct parent *, nsec_t now);

#endif
