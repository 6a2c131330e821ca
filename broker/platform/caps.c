/* SPDX-License-Identifier: Apache-2.0 */
/* Holds the host to a power cap.  An order is on disk before the hardware is
 * touched, and what was written counts only when it reads back: within
 * CAPS_READ_BACK_NS, CAPS_TRIES times; then p-states are clamped to the slowest
 * instead, which is said, and the cap is tried again for ever.  A cap that
 * reads back well while the host draws more is taken for a lie, once and until
 * another order comes.  When a lease ends the safe cap is next, whoever is
 * there to say so or not.
 *
 * Time is CLOCK_BOOTTIME's, which no operator sets and which counts while the
 * host sleeps; a lease of another boot is over.  Relies on caprecord.c for the
 * disk, on knobs.c for the clamp; called by platform.c. */
#include "broker/platform/caps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sysfs.h"
#include "base/text.h"
#include "broker/config/config.h"
#include "broker/platform/caprecord.h"
#include "broker/platform/knobs.h"
#include "hardware/hardware.h"
#include "wire/msg.h"

struct caps {
    struct caps_env env;
    uint64_t low_mw, high_mw; /* What the hardware takes. */
    uint64_t max_mw, safe_mw; /* The budget. */
    char boot[CAPRECORD_BOOT_SIZE];
    struct caprecord record;
    struct power_cap now; /* As it is told. */
    bool news;
    bool settled;     /* It was confirmed or clamped once. */
    uint32_t n_tries; /* Of writing what is aimed at. */
    bool written;     /* And it is being read back. */
    nsec_t written_at;
    nsec_t next; /* When to write or look again. */
    bool above;  /* More is drawn than allowed, since then. */
    nsec_t above_since;
    bool pending; /* An order's outcome is not known yet. */
    struct caps_outcome order;
    bool has_outcome;
    struct caps_outcome outcome;
};

static void recall(struct caps *, nsec_t now, char *why, size_t why_size);
static void aim(struct caps *, uint64_t mw, nsec_t now);
static int keep(struct caps *);
static void write_cap(struct caps *, nsec_t now);
static bool look(struct caps *, nsec_t now);
static void confirm(struct caps *, nsec_t now);
static void fail_try(struct caps *, nsec_t now);
static void give_up(struct caps *, const char *reason, nsec_t now);
static void end_lease(struct caps *, nsec_t now);
static void finish(struct caps *, int error, const char *reason, nsec_t now);
static uint64_t within(const struct caps *, uint64_t mw);

int
caps_create(struct caps **out, const struct broker_config *config,
            const struct caps_env *env, nsec_t now, char *why, size_t why_size)
{
    struct caps *caps = calloc(1, sizeof *caps);
    if (!caps) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    caps->env = *env;
    int error = env->class->cap->range(env->hw, &caps->low_mw, &caps->high_mw);
    if (error) {
        snprintf(why, why_size, "%s does not say what caps it takes: %s",
                 env->class->name, strerror(-error));
        free(caps);
        return error;
    }
    caps->max_mw = config->budget_max_mw;
    caps->safe_mw = config->budget_safe_mw;
    if (env->proc_dirfd >= 0 &&
        sysfs_read(env->proc_dirfd, "sys/kernel/random/boot_id", caps->boot,
                   sizeof caps->boot) < 0) {
        caps->boot[0] = '\0';
    }
    why[0] = '\0';
    recall(caps, now, why, why_size);
    *out = caps;
    return 0;
}

void
caps_destroy(struct caps *caps)
{
    free(caps);
}

static int
check_order(const struct caps *caps, const struct msg_set_cap *order,
            nsec_t now, char *why, size_t why_size)
{
    const struct caprecord *record = &caps->record;
    int error =
        cap_fence(record->term, record->order, order->term, order->order);

    if (error == -ESTALE) {
        snprintf(why, why_size,
                 "term %" PRIu64 " is over: term %" PRIu64 " decides",
                 order->term, record->term);
    } else if (error) {
        snprintf(why, why_size,
                 "order %" PRIu64 " of term %" PRIu64
                 " was carried out already; the last was %" PRIu64,
                 order->order, order->term, record->order);
    } else if (now > order->expires_ns) {
        error = -ETIME;
        snprintf(why, why_size, "the order expired %" PRId64 " ms ago",
                 (now - order->expires_ns) / NSEC_PER_MSEC);
    } else if (order->mw > caps->max_mw) {
        error = -EPERM;
        snprintf(why, why_size, "the budget allows at most %" PRIu64 " W",
                 caps->max_mw / 1000);
    } else if (order->mw < caps->low_mw || order->mw > caps->high_mw) {
        error = -ERANGE;
        snprintf(why, why_size, "%s takes caps of %" PRIu64 " to %" PRIu64 " W",
                 caps->env.class->name, caps->low_mw / 1000,
                 caps->high_mw / 1000);
    } else if (!caps->settled) {
        error = -EAGAIN;
        snprintf(why, why_size, "what holds is still being read back");
    }
    return error;
}

int
caps_order(struct caps *caps, const struct msg_set_cap *order, nsec_t now,
           char *why, size_t why_size)
{
    struct caprecord was = caps->record;

    int error = check_order(caps, order, now, why, why_size);
    if (error) {
        return error;
    }
    caps->record.term = order->term;
    caps->record.order = order->order;
    caps->record.command = order->command;
    caps->record.mw = order->mw;
    caps->record.until =
        order->lease_ns < NSEC_NEVER - now ? now + order->lease_ns : NSEC_NEVER;
    caps->record.disobeyed = false;
    text_copy(caps->record.boot, sizeof caps->record.boot, caps->boot);
    error = keep(caps);
    if (error) {
        caps->record = was;
        snprintf(why, why_size,
                 "it can't be written down, so nothing is "
                 "changed: %s",
                 strerror(-error));
        return error;
    }
    finish(caps, -ECANCELED, "a later order came", now);
    caps->pending = true;
    caps->order = (struct caps_outcome){.command = order->command,
                                        .cause = order->cause,
                                        .received = now,
                                        .checked = now};
    caps->now.safe = false;
    aim(caps, order->mw, now);
    caps_run(caps, now);
    return 0;
}

void
caps_note_power(struct caps *caps, const struct power_reading *power,
                nsec_t now)
{
    uint64_t most = caps->now.mw + caps->now.mw * CAPS_ABOVE_PERMILLE / 1000;
    char reason[CAP_REASON_SIZE];

    if (power->quality != QUALITY_MEASURED ||
        caps->now.phase != CAP_CONFIRMED || power->power_mw <= most) {
        caps->above = false;
        return;
    }
    if (!caps->above) {
        caps->above = true;
        caps->above_since = now;
    }
    if (now - caps->above_since >= CAPS_ABOVE_NS) {
        snprintf(reason, sizeof reason,
                 "a cap of %" PRIu64 " W reads back, and %" PRIu64
                 " W are drawn",
                 caps->now.mw / 1000, power->power_mw / 1000);
        caps->record.disobeyed = true;
        give_up(caps, reason, now);
    }
}

void
caps_set_budget(struct caps *caps, const struct broker_config *config,
                nsec_t now)
{
    bool lower = caps->now.mw > config->budget_max_mw;

    caps->max_mw = config->budget_max_mw;
    caps->safe_mw = config->budget_safe_mw;
    caps->news = true;
    if (caps->now.safe || lower) {
        uint64_t mw = caps->now.safe ? caps->safe_mw : caps->max_mw;

        aim(caps, within(caps, mw), now);
    }
}

void
caps_run(struct caps *caps, nsec_t now)
{
    if (!caps->now.safe && now >= caps->record.until) {
        end_lease(caps, now);
    }
    while (now >= caps->next) {
        if (!caps->written) {
            write_cap(caps, now);
        } else if (look(caps, now)) {
            confirm(caps, now);
        } else if (now - caps->written_at >= CAPS_READ_BACK_NS) {
            fail_try(caps, now);
        } else {
            caps->next = now + CAPS_LOOK_NS;
        }
    }
}

nsec_t
caps_deadline(const struct caps *caps)
{
    return caps->now.safe ? caps->next
                          : nsec_min(caps->next, caps->record.until);
}

bool
caps_take_outcome(struct caps *caps, struct caps_outcome *out)
{
    bool has = caps->has_outcome;

    if (has) {
        *out = caps->outcome;
        caps->has_outcome = false;
    }
    return has;
}

bool
caps_take_news(struct caps *caps, struct power_cap *out)
{
    bool news = caps->news;

    caps->news = false;
    *out = caps->now;
    out->term = caps->record.term;
    out->order = caps->record.order;
    out->command = caps->record.command;
    out->until = caps->now.safe ? NSEC_NEVER : caps->record.until;
    out->low_mw = caps->low_mw;
    out->high_mw = caps->max_mw < caps->high_mw ? caps->max_mw : caps->high_mw;
    return news;
}

void
caps_untake_news(struct caps *caps)
{
    caps->news = true;
}

/* Start. */

/* A record that is damaged fences nobody any more; the engine's journal still
 * does.  What it may have said is not guessed: the safe cap holds, and p-states
 * stay clamped until it is confirmed. */
static void
recall(struct caps *caps, nsec_t now, char *why, size_t why_size)
{
    struct caprecord *record = &caps->record;
    int error = -ENOENT;

    if (caps->env.kept) {
        *record = *caps->env.kept;
        error = 0;
    } else if (caps->env.dirfd >= 0) {
        error = caprecord_read(caps->env.dirfd, record);
    }
    if (error && error != -ENOENT) {
        snprintf(why, why_size,
                 "what was ordered last can't be read (%s); the "
                 "safe cap holds",
                 strerror(-error));
        record->clamped = true;
    }
    if (record->clamped && caps->env.knobs) {
        char ignored[CAP_REASON_SIZE];

        knobs_clamp(caps->env.knobs, true, now, ignored, sizeof ignored);
    }
    bool holds = record->mw && now < record->until &&
                 !strcmp(record->boot, caps->boot) &&
                 (caps->boot[0] || caps->env.kept);
    caps->now.safe = !holds;
    aim(caps, within(caps, holds ? record->mw : caps->safe_mw), now);
    /* Looked at before anything is written. */
    caps->written = true;
    caps->written_at = now - CAPS_READ_BACK_NS;
    if (look(caps, now)) {
        confirm(caps, now);
    } else {
        caps->written = false;
    }
}

/* The steps. */

static void
aim(struct caps *caps, uint64_t mw, nsec_t now)
{
    /* Clamped p-states stay so until it is confirmed. */
    caps->now.phase = caps->record.clamped ? CAP_CLAMPED : CAP_SETTLING;
    caps->now.mw = mw;
    caps->now.reason[0] = '\0';
    caps->written = false;
    caps->n_tries = 0;
    caps->next = now;
    caps->above = false;
    caps->news = true;
}

/* A safe cap that the hardware can't take is brought within its range, as is a
 * record of a larger budget. */
static uint64_t
within(const struct caps *caps, uint64_t mw)
{
    mw = mw > caps->max_mw ? caps->max_mw : mw;
    mw = mw > caps->high_mw ? caps->high_mw : mw;
    return mw < caps->low_mw ? caps->low_mw : mw;
}

static int
keep(struct caps *caps)
{
    if (caps->env.kept) {
        *caps->env.kept = caps->record;
        return 0;
    }
    return caps->env.dirfd < 0
               ? 0
               : caprecord_write(caps->env.dirfd, &caps->record);
}

static void
write_cap(struct caps *caps, nsec_t now)
{
    int error = caps->env.class->cap->set(caps->env.hw, caps->now.mw);

    caps->written_at = now;
    if (error) {
        snprintf(caps->now.reason, sizeof caps->now.reason, "%s: %s",
                 caps->env.class->name, strerror(-error));
        fail_try(caps, now);
        return;
    }
    caps->written = true;
    caps->order.written = now;
}

/* Whether it reads back as it should. */
static bool
look(struct caps *caps, nsec_t now)
{
    uint64_t was_mw = caps->now.read_mw, mw = 0;
    int error = caps->env.class->cap->get(caps->env.hw, &mw);

    if (error) {
        snprintf(caps->now.reason, sizeof caps->now.reason,
                 "%s can't be read back: %s", caps->env.class->name,
                 strerror(-error));
        return false;
    }
    caps->order.read = now;
    caps->now.known = true;
    caps->now.read_mw = mw;
    caps->news |= mw != was_mw;
    if (mw != caps->now.mw) {
        snprintf(caps->now.reason, sizeof caps->now.reason,
                 "%s was told %" PRIu64 " W and reads back %" PRIu64 " W",
                 caps->env.class->name, caps->now.mw / 1000, mw / 1000);
    }
    return mw == caps->now.mw;
}

/* It holds; from now on it is watched.  One that lied stays suspect. */
static void
confirm(struct caps *caps, nsec_t now)
{
    caps->next = now + CAPS_WATCH_NS;
    caps->written_at = now; /* Should it change: CAPS_READ_BACK_NS again. */
    if (caps->record.disobeyed) {
        caps->next = now + CAPS_GIVEN_UP_NS;
        caps->now.phase = CAP_CLAMPED;
        caps->settled = true;
        finish(caps, 0, "", now);
        return;
    }
    if (caps->now.phase == CAP_CONFIRMED) {
        return;
    }
    caps->now.phase = CAP_CONFIRMED;
    caps->now.reason[0] = '\0';
    caps->n_tries = 0;
    caps->settled = true;
    caps->news = true;
    if (caps->record.clamped) {
        char ignored[CAP_REASON_SIZE];

        caps->record.clamped = false;
        /* XXX: if this can't be written p-states are clamped once more at the
         * next start, until the cap is confirmed there; no harm but time. */
        (void)keep(caps);
        if (caps->env.knobs) {
            knobs_clamp(caps->env.knobs, false, now, ignored, sizeof ignored);
        }
    }
    finish(caps, 0, "", now);
}

/* A try came to nothing, or what held does no longer. */
static void
fail_try(struct caps *caps, nsec_t now)
{
    char reason[CAP_REASON_SIZE];

    caps->written = false;
    caps->next = now + CAPS_LOOK_NS;
    if (caps->now.phase == CAP_CONFIRMED) {
        caps->now.phase = CAP_SETTLING;
        caps->next = now;
        caps->news = true;
        return;
    }
    caps->n_tries++;
    if (caps->n_tries >= CAPS_TRIES) {
        text_copy(reason, sizeof reason, caps->now.reason);
        give_up(caps, reason, now);
    }
}

/* The other way: nobody runs fast. */
static void
give_up(struct caps *caps, const char *reason, nsec_t now)
{
    bool anew = caps->now.phase != CAP_CLAMPED;
    char why[CAP_REASON_SIZE] = "there are no p-states to clamp";
    int n_failed = 1;

    if (caps->env.knobs) {
        n_failed = knobs_clamp(caps->env.knobs, true, now, why, sizeof why);
    }
    caps->now.phase = CAP_CLAMPED;
    snprintf(caps->now.reason, sizeof caps->now.reason, "%.100s%s%.50s", reason,
             n_failed ? "; " : "", n_failed ? why : "");
    caps->settled = true;
    caps->written = false;
    caps->next = now + CAPS_GIVEN_UP_NS;
    caps->news |= anew;
    if (!caps->record.clamped || anew) {
        caps->record.clamped = true;
        (void)keep(caps); /* Clamped they are, written down or not. */
    }
    finish(caps, -EIO, caps->now.reason, now);
}

/* Nobody renewed it, so nobody can be trusted to be there. */
static void
end_lease(struct caps *caps, nsec_t now)
{
    finish(caps, -ETIME, "its lease ended before it was confirmed", now);
    caps->record.mw = 0;
    caps->record.until = 0;
    (void)keep(caps); /* A lease that is over is over by the clock, too. */
    caps->now.safe = true;
    aim(caps, within(caps, caps->safe_mw), now);
}

static void
finish(struct caps *caps, int error, const char *reason, nsec_t now)
{
    (void)now;
    if (!caps->pending) {
        return;
    }
    caps->pending = false;
    caps->outcome = caps->order;
    caps->outcome.error = error;
    text_copy(caps->outcome.reason, sizeof caps->outcome.reason, reason);
    caps->has_outcome = true;
}
