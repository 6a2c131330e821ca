/* SPDX-License-Identifier: Apache-2.0 */
/* The door to sensors and controls: one file per kind.  A driver may offer
 * p-states, power readings, a power cap, or more than one of them; it is asked
 * by the platform process only, from one thread.  Drivers never decide, never
 * log, and put back nothing on their own: what they found is told to the
 * platform, which saves it before the first change and asks for it back. */
#ifndef HARDWARE_HARDWARE_H
#define HARDWARE_HARDWARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/option.h"
#include "model/power.h"
#include "model/pstate.h"

#define HARDWARE_SAVED_SIZE 256 /* Text that holds a domain's found state. */

struct hardware_sim;
struct hardware; /* Each driver's own; see its file. */

/* What a driver is given when it is opened; borrowed for its whole life. */
struct hardware_env {
    int sys_dirfd;        /* The root that stands for /sys. */
    int data_dirfd;       /* The project's data files (specpower.csv). */
    const uint32_t *cpus; /* The CPUs the broker manages. */
    uint32_t n_cpus;
    const struct option_values *options; /* The driver's own. */
    uint64_t seed;                       /* For sim.c. */
    /* For sim.c, see hardware/sim.h: the made-up hardware to drive, which
     * outlives the driver as real hardware does; null: it makes its own. */
    struct hardware_sim *sim;
};

/* How a managed CPU spent the time since the last power reading; what a power
 * model computes from. */
struct cpu_load {
    uint32_t cpu;
    uint32_t freq_khz, voltage_mv;   /* As it is now. */
    uint32_t freq0_khz, voltage0_mv; /* At p-state 0. */
    double busy;                     /* Of the time available, 0..1. */
};

struct pstate_ops {
    /* The domains, asked once after opening.  '*out' is borrowed from the
     * driver until close.  Returns how many, or -Exxx. */
    int (*domains)(struct hardware *, const struct pstate_domain **out);
    /* What the hardware says now, not what was last written. */
    int (*get)(struct hardware *, uint32_t domain, uint32_t *pstate_out);
    /* Returns after the hardware took it; the platform reads back.  0, -ERANGE
     * (no such p-state), -EACCES, -EIO. */
    int (*set)(struct hardware *, uint32_t domain, uint32_t pstate);
    /* Writes what is needed to put the domain back as it is now (governor,
     * limits) as one line of text; restore() reads such a line, perhaps one
     * that another process saved, and validates it. */
    int (*save)(struct hardware *, uint32_t domain,
                char out[HARDWARE_SAVED_SIZE]);
    int (*restore)(struct hardware *, uint32_t domain, const char *saved);
    /* Time a CPU spent on emulating its p-state, since opening: neither busy
     * nor available.  Null: none. */
    int (*stolen)(struct hardware *, uint32_t cpu, uint64_t *ns_out);
};

struct power_ops {
    /* The host's power now.  'load' has the managed CPUs, for models.  Returns
     * 0 with a quality other than unknown, or -Exxx: unknown is never 0 W. */
    int (*read)(struct hardware *, const struct cpu_load *load, uint32_t n_load,
                nsec_t now, struct power_reading *out);
};

struct cap_ops {
    /* The limits of the host's power that can be set, in milliwatts; asked once
     * after opening.  0 or -Exxx. */
    int (*range)(struct hardware *, uint64_t *low_mw_out,
                 uint64_t *high_mw_out);
    /* What the hardware says holds now, not what was last written; 0: it limits
     * nothing.  0 or -Exxx. */
    int (*get)(struct hardware *, uint64_t *mw_out);
    /* Asks for a limit.  The hardware may take its time to follow and may not
     * follow at all: a result of 0 proves nothing, the platform reads back.
     * Nobody puts a cap back: it outlives the broker.  0, -ERANGE or -Exxx. */
    int (*set)(struct hardware *, uint64_t mw);
};

struct hardware_class {
    const char *name, *summary;
    bool real;                         /* Changes or reads real hardware. */
    const struct option_desc *options; /* May be null. */
    /* Says whether options that are each in range go together.  Returns 0, or
     * -EINVAL with 'why' naming them.  May be null: any do. */
    int (*check)(const struct option_values *, char *why, size_t why_size);
    /* The n-th file that it writes below the directory that stands for /sys,
     * for this CPU; false behind the last.  A sandbox leaves no other to be
     * written.  'options' are null if it only puts back what it saved once.
     * May be null: it writes none. */
    bool (*writes)(const struct option_values *options, uint32_t cpu,
                   uint32_t n, char *out, size_t out_size);
    const struct pstate_ops *pstate; /* Null: offers no p-states. */
    const struct power_ops *power;   /* Null: offers no power. */
    const struct cap_ops *cap;       /* Null: offers no cap. */
    /* Looks whether the hardware is here and opens it; may block briefly.
     * Returns 0, -ENODEV ("not here") or -Exxx, with 'why' saying what was
     * looked for and what would help.  Opening changes nothing. */
    int (*open)(struct hardware **out, const struct hardware_env *, char *why,
                size_t why_size);
    /* Frees; changes no control.  Accepts null. */
    void (*close)(struct hardware *);
};

extern const struct hardware_class *const hardware_table[];
extern const char *const hardware_left_out[];

const struct hardware_class *hardware_find(const char *name);

#endif
