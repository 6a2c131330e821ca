/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of msim's moves share.  For sim/moves*.c only. */
#ifndef SIM_MOVESPARTS_H
#define SIM_MOVESPARTS_H

#include "base/prng.h"
#include "channel/handoff/handoff.h"
#include "include/mchan.h"
#include "sim/ledger.h"
#include "sim/moves.h"
#include "sim/trace.h"

#define LETTERS_MAX 512
#define NEWS_MAX 64
#define RING_SIZE 16384
#define SNAPSHOT_MAX 65536

struct moves;

/* One user of one end of one channel. */
struct talker {
    struct moves *world;
    struct mchan *channel; /* Null: it is dead. */
    bool guest;
    uint32_t vm, host; /* The host of a guest is where it was started. */
    uint16_t name;     /* Speaker and ear. */
    uint32_t serial;
    uint64_t n_values; /* Latest ones that it sent, */
    uint64_t value;    /* and the newest that it was given. */
    nsec_t next_send, busy_until;
    uint64_t session; /* Of its last UP. */
    bool was_up;
    uint64_t chance; /* The channel's seed. */
};

struct broker {
    struct handoff *handoff; /* Null: it is dead. */
    uint32_t lives;
    nsec_t dies, returns;
    nsec_t cut_off_until[MOVES_BROKERS_MAX]; /* From these. */
    struct talker talkers[MOVES_VMS_MAX];
};

/* What a host's hypervisor has to say; in rough times in any order. */
enum news_kind {
    NEWS_PAUSED,
    NEWS_LEFT,
    NEWS_RUNS,
    NEWS_HUNG_UP,
};

struct news {
    enum news_kind kind;
    uint32_t vm;
    nsec_t when; /* It happened. */
    nsec_t due;
};

struct host {
    nsec_t late; /* A scenario wants that. */
    uint32_t n_news;
    struct news news[NEWS_MAX];
};

enum vm_state {
    VM_RUNS,
    VM_PAUSED, /* It moves to 'to', or stays if that is where it is. */
};

struct machine_vm {
    enum vm_state state;
    uint32_t host, to;
    nsec_t next;       /* Its hypervisor does something with it. */
    nsec_t runs_since; /* 0: something was given out since. */
    struct talker guest;
    uint8_t snapshot[SNAPSHOT_MAX];
    size_t snapshot_size;
    uint16_t snapshot_name; /* Who took it. */
    uint32_t snapshot_host;
};

struct letter {
    nsec_t due;
    uint32_t to;
    struct handoff_msg msg; /* Its bytes are owned. */
};

struct moves {
    const struct moves_config *config;
    struct moves_result *result;
    struct trace trace;
    struct prng prng;
    nsec_t start, now, healed;
    struct sim_network *network;
    struct ledger *ledger;
    uint16_t n_names;
    struct broker brokers[MOVES_BROKERS_MAX];
    struct host hosts[MOVES_BROKERS_MAX];
    struct machine_vm vms[MOVES_VMS_MAX];
    uint32_t n_done; /* Of the scenario's events. */
    uint32_t n_letters;
    struct letter letters[LETTERS_MAX];
};

__attribute__((format(printf, 2, 3))) void moves_fail(struct moves *,
                                                      const char *format, ...);
bool moves_chance(struct moves *, double);
/* Chance has a say in what happens. */
bool moves_by_chance(const struct moves *);
nsec_t moves_between(struct moves *, nsec_t from, nsec_t to);
bool moves_heals(const struct moves *);
int64_t moves_clock(void *ctx);

/* movestalk.c: users of channels. */
void talker_name(struct moves *, struct talker *);
/* Events, messages, something to say.  True if anything happened. */
bool talker_turn(struct talker *);
nsec_t talker_deadline(const struct talker *);
/* The channel of a broker's talker told where its session is. */
struct handoff_vm vm_id(uint32_t vm);

/* movesbroker.c: brokers and what they say to each other. */
void broker_start(struct moves *, uint32_t);
void broker_crash(struct moves *, uint32_t);
bool broker_turn(struct moves *, uint32_t);
void broker_run(struct moves *, uint32_t);
void post_deliver(struct moves *);
nsec_t post_deadline(const struct moves *);
void post_clear(struct moves *);

/* moveshost.c: hosts and VMs. */
void guest_start(struct moves *, uint32_t vm);
void host_begin_anew(struct moves *, uint32_t host);
void vm_begin(struct moves *, const struct moves_event *);
void hosts_run(struct moves *);
nsec_t hosts_deadline(const struct moves *);
void place_name(char *out, size_t size, uint32_t vm, uint32_t host);

#endif
