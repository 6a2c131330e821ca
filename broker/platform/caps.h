/* SPDX-License-Identifier: Apache-2.0 */
/* The limit of the host's power: carries orders out, makes sure that they hold,
 * and falls back to p-states when the hardware can't be trusted.  Decides when;
 * the driver and knobs.c act.  For platform.c only. */
#ifndef BROKER_PLATFORM_CAPS_H
#define BROKER_PLATFORM_CAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "model/cap.h"
#include "model/power.h"

struct broker_config;
struct caprecord;
struct caps;
struct hardware;
struct hardware_class;
struct knobs;
struct msg_set_cap;

#define CAPS_READ_BACK_NS (2 * NSEC_PER_SEC) /* Then a try has failed. */
#define CAPS_TRIES 3                         /* Then p-states are clamped. */
#define CAPS_LOOK_NS (250 * NSEC_PER_MSEC)   /* Between two looks meanwhile. */
#define CAPS_WATCH_NS NSEC_PER_SEC           /* And while all is well. */
#define CAPS_GIVEN_UP_NS                                                       \
    (10 * NSEC_PER_SEC) /* Between tries while clamped.                        \
                         */
/* Power this much above a cap that reads back well, for so long: it lies. */
#define CAPS_ABOVE_PERMILLE 50
#define CAPS_ABOVE_NS (2 * NSEC_PER_SEC)

/* All borrowed until caps_destroy(). */
struct caps_env {
    const struct hardware_class *class;
    struct hardware *hw;
    struct knobs *knobs;    /* Null: there is no other way. */
    int dirfd;              /* Where the record is kept, unless 'kept'. */
    struct caprecord *kept; /* Msim: instead of a file; null: none. */
    int proc_dirfd;         /* -1: this boot has no name. */
};

/* What came of an order. */
struct caps_outcome {
    uint64_t command, cause;
    int error; /* 0 or -Exxx. */
    nsec_t received, checked, written, read;
    char reason[CAP_REASON_SIZE];
};

/* Takes up what the record says was ordered, or the safe cap if there is none,
 * its lease is over, or the host was started since; what the hardware says is
 * looked at first, and only what differs is written.  Returns 0, or -Exxx with
 * 'why'; with 0, 'why' says if the record was no use, or is empty. */
int caps_create(struct caps **out, const struct broker_config *,
                const struct caps_env *, nsec_t now, char *why,
                size_t why_size);
void caps_destroy(struct caps *); /* The cap stays. */

/* Begins to carry an order out: it is on disk when this returns 0, and its
 * outcome comes later.  Else refused, -Exxx with 'why', and nothing changed. */
int caps_order(struct caps *, const struct msg_set_cap *, nsec_t now, char *why,
               size_t why_size);
/* What the host draws. */
void caps_note_power(struct caps *, const struct power_reading *, nsec_t now);
/* Another budget holds from now on. */
void caps_set_budget(struct caps *, const struct broker_config *, nsec_t now);

void caps_run(struct caps *, nsec_t now);
nsec_t caps_deadline(const struct caps *);

/* True if there is an outcome to tell; then it is taken. */
bool caps_take_outcome(struct caps *, struct caps_outcome *out);
/* True if anything changed since it was last told. */
bool caps_take_news(struct caps *, struct power_cap *out);
/* There was no room to tell it. */
void caps_untake_news(struct caps *);

#endif
