/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: where mctl and the console ask the engine and, if their
 * user may, change what it does.  One JSON object per line each way; see
 * docs/control.md.  Runs in the engine process.  It reads no clock and has one
 * descriptor to wait on, so a loop needs to know no more of it than that. */
#ifndef BROKER_CONTROL_CONTROL_H
#define BROKER_CONTROL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "broker/control/rights.h"

struct broker_config;
struct control;
struct engine;
struct journal;
struct note;
struct vm;

#define CONTROL_SOCKET_NAME "control.sock" /* In the run directory. */
#define CONTROL_CLIENTS_MAX 32
#define CONTROL_CLIENTS_RESERVED 4 /* Of these, for who may change things. */
#define CONTROL_IDLE_NS (10 * NSEC_PER_SEC)  /* Then a client is closed. */
#define CONTROL_STUCK_NS (60 * NSEC_PER_SEC) /* Then a watcher is. */
#define CONTROL_REPLY_MAX (4u << 20)         /* Bytes of one reply. */
#define CONTROL_WATCH_MAX (64u << 10)        /* Bytes waiting for a watcher. */

/* What came of reading the configuration again. */
struct control_reload {
    uint32_t n_asked, n_done; /* How often; each asked for is done once. */
    bool refused;     /* The last one; the configuration before stays. */
    char reason[256]; /* PATH:LINE: why; or what changed; "". */
    const char *path; /* Of the file; borrowed. */
    char hash[17];    /* CRC-32 of the configuration in force, */
    int64_t wall_ns;  /* and since when that is. */
};

/* All borrowed until control_destroy(); 'rights' is copied. */
struct control_env {
    const struct broker_config *config;
    struct engine *engine;
    struct journal *journal;
    struct rights rights;
    /* Wall clock in ns, for the journal only; null: 0. */
    int64_t (*wall_ns)(void *ctx);
    void *ctx;
    /* Asks for the configuration to be read again; null: it can't be.  0 or
     * -Exxx with 'why'.  What came of it is in 'reload'. */
    int (*ask_reload)(void *ctx, char *why, size_t why_size);
    const struct control_reload *reload; /* Null: nobody knows. */
};

/* Makes the socket at 'path' and listens.  Anybody may connect: what a caller
 * may do is decided by its credentials.  A socket nobody answers at is
 * replaced.  Returns a descriptor, or -Exxx (-EADDRINUSE: another broker
 * answers there) with 'why'. */
int control_listen(const char *path, char *why, size_t why_size);

/* Takes 'listen_fd'.  Returns 0 or -Exxx (then the descriptor is still the
 * caller's). */
int control_create(struct control **out, const struct control_env *,
                   int listen_fd);
void control_destroy(struct control *);

/* Becomes readable when control_run() has something to do.  Borrowed. */
int control_fd(const struct control *);
/* Accepts, answers, sends, and closes who has been quiet too long.  To be
 * called before engine_run() in a turn: a request may change what the engine
 * does. */
void control_run(struct control *, nsec_t now);
nsec_t control_deadline(const struct control *);

/* What engine_port.watch is for: hands one JSON object (no newline in it) to
 * everybody who watches.  A watcher too slow loses lines and is told how
 * many. */
void control_watch(struct control *, const char *json);

/* What engine_port.note is for: hands a note to everybody who follows notes of
 * its type and VM. */
void control_note(struct control *, const struct vm *, const struct note *);

/* Other rights hold, also for those who are connected. */
void control_set_rights(struct control *, const struct rights *);

struct control_stats {
    uint64_t n_clients, n_requests, n_denied, n_refused, n_lost_lines;
};
void control_stats(const struct control *, struct control_stats *out);

#endif
