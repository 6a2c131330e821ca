/* SPDX-License-Identifier: Apache-2.0 */
/* A made-up host with its broker and guests, and the clock they live by.  The
 * broker's cores, the agents, the channels, the policies are the real ones; the
 * hardware, the VMs, the network and time are not.  Members are open to the
 * files of sim/ that read (gauge.c) and disturb (fault.c) a world. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/agent.h"
#include "base/clock.h"
#include "broker/engine/engine.h"
#include "broker/platform/caprecord.h"
#include "probe/probe.h"
#include "probe/sim.h"
#include "sim/crash.h"
#include "sim/fault.h"
#include "sim/pipe.h"
#include "sim/scenario.h"

struct agent;
struct back;
struct disk;
struct hardware_sim;
struct hostile;
struct hypervisor_sim;
struct journal;
struct machine;
struct mchan;
struct oracle;
struct platform;
struct trace;
struct sim_network;

#define WORLD_REQUESTS_MAX 8192 /* Ended and not yet seen by the probe. */
#define WORLD_ROUNDS_MAX 10000  /* Of turns in which time stands still. */
#define WORLD_WHY_SIZE 320
#define WORLD_ORDER_SIZE 128

struct world_guest {
    const struct scenario_guest *scenario;
    struct world *world;
    struct agent *agent;     /* Null: none runs. */
    struct mchan *channel;   /* The agent's. */
    bool silent;             /* It is not given the CPU: a fault. */
    struct hostile *hostile; /* In the agent's place; null: none. */
    bool lied;               /* There was one: its numbers mean nothing. */
    nsec_t clock_ahead_ns;   /* Of its clock before the MVM's, now. */
    struct agent_env agent_env;
    struct probe_env probe_env;
    struct option_values probe_options;
    struct probe_world probe_world;
    struct probe_request *requests; /* Its storage. */
    uint64_t n_requests, n_slow;    /* As its clients counted. */
    uint64_t slowest_us;
    uint32_t cpu;     /* Where it runs, by number. */
    uint64_t busy_ns; /* As the machine had it when power was last summed. */
};

struct world {
    const struct scenario *scenario;
    struct trace *trace;
    nsec_t now;
    nsec_t wall_ahead_ns; /* Of the wall clock. */
    struct disk *disk;
    struct crash crash;
    struct oracle *oracle;
    const struct msg *order; /* That the platform carries out; null: none. */
    /* Faults that hold now by class, and when that last changed. */
    uint32_t n_faults[FAULT_N_CLASSES];
    nsec_t disturbed[FAULT_N_CLASSES];
    struct machine *machine;
    struct hardware_sim *hardware;
    struct hypervisor_sim *hypervisor;
    struct sim_network *network;
    uint64_t n_channels; /* Opened so far. */
    struct journal *journal;
    /* Null while the broker is stopped. */
    struct engine *engine;
    struct platform *platform;
    struct back *back;
    struct engine_port port;
    struct pipe back_to_engine, platform_to_engine;
    struct pipe engine_to_platform, engine_to_back;
    uint32_t reference_khz, reference_mv; /* Of p-state 0. */
    uint32_t found[CONFIG_CPUS_MAX];      /* p-states when the broker came. */
    bool started;                         /* It came once. */
    bool wanted;                 /* It shall run: who starts it tries again, */
    nsec_t next_start;           /* then. */
    struct caprecord cap_record; /* Outlives the broker. */
    char last_order[WORLD_ORDER_SIZE]; /* Of a cap: what was answered. */
    bool tampered;                     /* They were changed behind its back. */
    uint32_t n_hardware_faults;        /* That hold now. */
    bool power_fails; /* Of the disk, when the broker next dies. */
    bool sensor_lost;
    uint32_t meter_permille; /* What the meter shows of what it should. */
    uint64_t power_mw;       /* What the meter would show. */
    double energy_mj;        /* Summed from the start. */
    uint32_t pstates[CONFIG_CPUS_MAX];       /* As last traced, by place. */
    uint64_t pstate_hashes[CONFIG_CPUS_MAX]; /* Of all they were, and when. */
    struct broker_config config; /* In force; its guests are the world's. */
    uint32_t n_guests;
    struct world_guest guests[SCENARIO_GUESTS_MAX];
    char why[WORLD_WHY_SIZE];
    char broken[WORLD_WHY_SIZE]; /* What must hold and does not; "" so far. */
};

/* How long there was no fault of that class, at world->now. */
nsec_t world_calm(const struct world *, enum fault_class);
/* Notes that what must hold does not; the first stands. */
__attribute__((format(printf, 2, 3))) void world_break(struct world *,
                                                       const char *format, ...);

/* Makes the world as it is before anybody starts.  'scenario' and 'trace' are
 * borrowed until world_destroy().  Returns 0 or -Exxx with 'why'. */
int world_create(struct world **out, const struct scenario *scenario,
                 struct trace *trace, char *why, size_t why_size);
void world_destroy(struct world *);

/* Lets everybody whose turn it is at world->now act, until nobody has anything
 * to do.  Returns 0, or -ELOOP with world->why if they never come to rest. */
int world_settle(struct world *);
/* When somebody wants to act next. */
nsec_t world_deadline(const struct world *);
/* Lets time pass until 'to', in which nobody but requests moves. */
void world_pass(struct world *, nsec_t to);

/* After somebody touched hardware or VMs: the machine goes on as they are. */
void world_follow_hardware(struct world *);

/* Since the scenario's start. */
nsec_t world_elapsed(const struct world *);

/* Opens back's ends of channels it has not got. */
int world_open_back(struct world *);
/* Each returns 0 or -Exxx with world->why; who is there stays. */
int world_start_broker(struct world *);
int world_start_agent(struct world *, uint32_t guest);

/* The broker stops in good order and puts back what it changed; or it dies, and
 * nobody puts anything back. */
void world_stop_broker(struct world *);
/* Some of it died: the others leave as they would. */
void world_bury_broker(struct world *);
/* Whether the guest's VM runs. */
bool world_guest_runs(const struct world *, uint32_t guest);
/* The guest's end of its channel, by the guest's clock. */
int world_open_channel(struct world *, uint32_t guest, struct mchan **out);
/* A guest's agent leaves with a word, or dies without one. */
void world_stop_agent(struct world *, uint32_t guest);
void world_kill_agent(struct world *, uint32_t guest);

/* The place of a CPU number in the configuration's list. */
uint32_t world_cpu_place(const struct world *, uint32_t cpu);

#endif
