/* SPDX-License-Identifier: Apache-2.0 */
/* The platform core: samples hypervisor and hardware, checks each action
 * against the limits, carries it out, reads back, and puts everything back when
 * it is released.  The one place that opens the doors hardware/ and
 * hypervisor/.  Runs in the platform process of mbrokerd, and in msim. */
#ifndef BROKER_PLATFORM_PLATFORM_H
#define BROKER_PLATFORM_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

struct broker_config;
struct caprecord;
struct hardware_sim;
struct hypervisor_guest;
struct hypervisor_helper;
struct hypervisor_sim;
struct msg;
struct platform;

struct platform_env {
    int sys_dirfd, data_dirfd;
    int proc_dirfd;  /* -1 (msim): a CPU's use is the sum of its VMs'. */
    int state_dirfd; /* For the hypervisor; -1 if its helper has it. */
    int cap_dirfd;   /* Where the power cap's record is kept; -1: nowhere. */
    const struct hypervisor_helper *helper; /* Borrowed; null: none. */
    void *helper_ctx;
    int saved_dirfd; /* Where found states are kept; -1: nowhere (msim). */
    /* Borrowed worlds for the drivers called "sim" (hardware/sim.h,
     * hypervisor/sim.h); null: each makes its own. */
    struct hardware_sim *hardware_sim;
    struct hypervisor_sim *hypervisor_sim;
    /* Msim: where the power cap's record is, instead of in a file of
     * cap_dirfd; null: none. */
    struct caprecord *cap_record;
    /* Sends to the engine; 0 or -EAGAIN (dropped samples are counted, outcomes
     * are kept and sent again). */
    int (*to_engine)(void *ctx, const struct msg *);
    void *ctx;
    /* The time, for stamping the steps of one action; null: 'now' is used. */
    nsec_t (*clock)(void);
};

/* Opens the configured drivers and tells the engine what there is, ending with
 * READY.  A driver that isn't here is told as TROUBLE and left out.  Returns 0
 * or -Exxx with 'why'. */
int platform_create(struct platform **out, const struct broker_config *,
                    const struct platform_env *, nsec_t now, char *why,
                    size_t why_size);
/* Another configuration in the place of the one it was created with.
 * platform_prepare() makes of 'next' what it needs; 0 or -ENOMEM.
 * platform_reconfigure(), when '*config' is 'next' and '*was' what it was,
 * takes it: 0, or -Exxx with 'why' and then the platform is as it was, to be
 * given '*was' back.  Guests that it adds and can start are started; those it
 * takes out are let go of, and run on. */
int platform_prepare(struct platform *, const struct broker_config *next,
                     char *why, size_t why_size);
void platform_unprepare(struct platform *);
int platform_reconfigure(struct platform *, const struct broker_config *was,
                         nsec_t now, char *why, size_t why_size);

/* Puts back all it changed, then frees.  Returns how many domains could not be
 * put back. */
int platform_destroy(struct platform *);

/* Whether one more action may come: its outcome has a place to wait. */
bool platform_has_room(const struct platform *);
/* Carries an action out; one whose number is not higher than the last one's is
 * not carried out again, but answered again, or refused if it is too old.  To
 * be called if there is room, and with what the engine may send (wire/grant.h)
 * alone. */
void platform_on_msg(struct platform *, const struct msg *, nsec_t now);
void platform_run(struct platform *, nsec_t now);
nsec_t platform_deadline(const struct platform *);

/* Puts back all it changed so far.  Returns as platform_destroy(). */
int platform_release(struct platform *, nsec_t now);

/* Asks the guests that the configuration starts to end.  platform_run() is to
 * be called on, until platform_guests_left() is 0 or patience ends. */
void platform_end_guests(struct platform *, nsec_t now);
uint32_t platform_guests_left(const struct platform *);

/* The configuration's guests as hypervisors know them, in its order; the caller
 * frees it.  Their texts are the configuration's.  Null: no memory. */
struct hypervisor_guest *platform_guests(const struct broker_config *);

struct platform_stats {
    uint64_t n_dropped_samples; /* The engine took none. */
    uint32_t n_changed_domains; /* To be put back. */
    uint64_t n_repeated;        /* Actions that came again; none was done. */
};
void platform_stats(const struct platform *, struct platform_stats *out);

/* Puts back what files in saved_dirfd say was found (mbrokerd --restore and
 * every start).  Returns how many were put back, or -Exxx with 'why'. */
int platform_restore(const struct broker_config *, const struct platform_env *,
                     char *why, size_t why_size);

#endif
