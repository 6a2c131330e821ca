/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine orders: each action is done once, however often it comes, and
 * gets an outcome, which waits in the outbox if the engine is slow.  Writing
 * with a way back is knobs.c's, the cap's state caps.c's.  Called by
 * role_platform.c and msim, and by platform.c in its turns. */
#include "broker/platform/platform_parts.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/config.h"
#include "broker/platform/caps.h"
#include "broker/platform/knobs.h"
#include "broker/platform/sampler.h"
#include "wire/grant.h"
#include "wire/msg.h"

static void tell_outcome(struct platform *, struct msg_outcome *, int error,
                         const char *why);

static struct msg_outcome
begin_outcome(const struct platform *platform, uint64_t command, uint64_t cause,
              nsec_t now)
{
    struct msg_outcome outcome = {
        .command = command,
        .cause = cause,
        .received_ns = platform->env.clock ? platform->env.clock() : now,
    };

    return outcome;
}

static void
put_steps(struct msg_outcome *outcome, const struct knob_steps *steps)
{
    outcome->pstate = steps->pstate;
    outcome->checked_ns = steps->checked;
    outcome->written_ns = steps->written;
    outcome->read_ns = steps->read;
}

/* What comes again is answered again, and not done again. */
static bool
is_repeated(struct platform *platform, const struct msg *action)
{
    struct msg msg = {.type = MSG_OUTCOME};
    enum orders_verdict verdict =
        orders_take(&platform->orders, action, &msg.outcome);

    if (verdict == ORDERS_NEW) {
        return false;
    }
    platform->stats.n_repeated++;
    int error = verdict == ORDERS_ANSWERED ? platform_tell(platform, &msg) : 0;
    assert(!error);
    return true;
}

static void
set_pstate(struct platform *platform, const struct msg_set_pstate *action,
           nsec_t now)
{
    char why[CONFIG_WHY_SIZE] = "no driver for p-states is open";
    struct knob_steps steps = {0};
    int error = -ENODEV;
    struct msg_outcome outcome =
        begin_outcome(platform, action->command, action->cause, now);

    if (platform->knobs) {
        error =
            knobs_set(platform->knobs, (uint32_t)action->domain,
                      (uint32_t)action->pstate, now, &steps, why, sizeof why);
    }
    put_steps(&outcome, &steps);
    tell_outcome(platform, &outcome, error, why);
}

static void
release(struct platform *platform, const struct msg_release *action, nsec_t now)
{
    char why[CONFIG_WHY_SIZE] = "no driver for p-states is open";
    struct knob_steps steps = {0};
    int error = -ENODEV;
    struct msg_outcome outcome =
        begin_outcome(platform, action->command, action->cause, now);

    if (platform->knobs) {
        error = knobs_release(platform->knobs, (uint32_t)action->domain, now,
                              &steps, why, sizeof why);
    }
    put_steps(&outcome, &steps);
    tell_outcome(platform, &outcome, error, why);
}

/* Its outcome comes when it is known, unless it is refused. */
static void
set_cap(struct platform *platform, const struct msg_set_cap *order, nsec_t now)
{
    char why[CONFIG_WHY_SIZE] = "no driver for a power cap is open";
    struct msg_outcome outcome =
        begin_outcome(platform, order->command, order->cause, now);
    int error = -ENODEV;

    if (platform->caps) {
        error = caps_order(platform->caps, order, now, why, sizeof why);
    }
    if (error) {
        tell_outcome(platform, &outcome, error, why);
    }
}

/* What is known of the cap, then what came of an order. */
void
platform_run_caps(struct platform *platform, nsec_t now)
{
    struct msg msg = {.type = MSG_CAP};
    struct caps_outcome came;
    struct power_cap cap;

    caps_run(platform->caps, now);
    if (caps_take_news(platform->caps, &cap)) {
        msg.cap.phase = cap.phase;
        msg.cap.mw = cap.mw;
        msg.cap.read_mw = cap.read_mw;
        msg.cap.known = cap.known;
        msg.cap.safe = cap.safe;
        msg.cap.term = cap.term;
        msg.cap.order = cap.order;
        msg.cap.command = cap.command;
        msg.cap.until_ns = cap.until;
        msg.cap.low_mw = cap.low_mw;
        msg.cap.high_mw = cap.high_mw;
        text_copy_printable(msg.cap.driver, sizeof msg.cap.driver,
                            platform->cap.class->name);
        text_copy_printable(msg.cap.reason, sizeof msg.cap.reason, cap.reason);
        if (platform_tell(platform, &msg)) {
            caps_untake_news(platform->caps);
            return;
        }
    }
    if (platform_has_room(platform) &&
        caps_take_outcome(platform->caps, &came)) {
        struct msg_outcome outcome = {.command = came.command,
                                      .cause = came.cause,
                                      .received_ns = came.received,
                                      .checked_ns = came.checked,
                                      .written_ns = came.written,
                                      .read_ns = came.read};

        tell_outcome(platform, &outcome, came.error, came.reason);
    }
    for (uint32_t i = 0; i < knobs_n(platform->knobs); i++) {
        if (knobs_let_go(platform->knobs, i) &&
            !platform_tell_domain(platform, i)) {
            knobs_told_let_go(platform->knobs, i);
        }
    }
}

int
platform_operate(struct platform *platform, const struct uuid *vm,
                 enum vm_op op, const char *to, nsec_t now, char *why,
                 size_t why_size)
{
    const struct hypervisor_class *class = platform->hypervisor_class;
    enum vm_state state = sampler_vm_state(platform->sampler, vm);

    if (state == VM_MOVING) {
        snprintf(why, why_size,
                 "it is on its way to another host; wait until it is there");
        return -EBUSY;
    }
    if (state == VM_UNSURE) {
        snprintf(why, why_size,
                 "whether it runs on another host is not known; it stays "
                 "stopped here until it is proved that it does not");
        return -EBUSY;
    }
    if (op != VM_OP_MIGRATE) {
        return class->control(platform->hypervisor, vm, op, now, why, why_size);
    }
    if (!class->migrate) {
        snprintf(why, why_size, "hypervisor %s can't migrate VMs", class->name);
        return -ENOTSUP;
    }
    return class->migrate(platform->hypervisor, vm, to, now, why, why_size);
}

static void
control_vm(struct platform *platform, const struct msg_vm_control *action,
           nsec_t now)
{
    char why[CONFIG_WHY_SIZE] = "no hypervisor is open";
    int error = -ENODEV;
    struct msg_outcome outcome =
        begin_outcome(platform, action->command, action->cause, now);

    if (platform->hypervisor_class &&
        !config_guest(platform->config, &action->vm)) {
        error = -EPERM;
        text_copy(why, sizeof why, "the configuration names no such VM");
    } else if (platform->hypervisor_class && now > action->expires_ns) {
        error = -ETIME;
        snprintf(why, sizeof why, "the order expired %" PRId64 " ms ago",
                 (now - action->expires_ns) / NSEC_PER_MSEC);
    } else if (platform->hypervisor_class) {
        outcome.checked_ns = outcome.received_ns;
        why[0] = '\0';
        error = platform_operate(platform, &action->vm, (enum vm_op)action->op,
                                 action->to, now, why, sizeof why);
    }
    tell_outcome(platform, &outcome, error, why);
}

/* The caller made sure that there is room. */
static void
tell_outcome(struct platform *platform, struct msg_outcome *outcome, int error,
             const char *why)
{
    struct msg msg = {.type = MSG_OUTCOME};

    if (error) {
        outcome->error = (uint64_t)-error;
        text_copy_printable(outcome->reason, sizeof outcome->reason,
                            why[0] ? why : strerror(-error));
    }
    msg.outcome = *outcome;
    orders_settle(&platform->orders, outcome);
    error = platform_tell(platform, &msg);
    assert(!error);
}

void
platform_on_msg(struct platform *platform, const struct msg *msg, nsec_t now)
{
    assert(grant_find(msg->type, GRANT_ENGINE, GRANT_PLATFORM));
    if (is_repeated(platform, msg)) {
        return;
    }
    if (msg->type == MSG_SET_PSTATE) {
        set_pstate(platform, &msg->set_pstate, now);
    } else if (msg->type == MSG_RELEASE) {
        release(platform, &msg->release, now);
    } else if (msg->type == MSG_SET_CAP) {
        set_cap(platform, &msg->set_cap, now);
    } else {
        assert(msg->type == MSG_VM_CONTROL);
        control_vm(platform, &msg->vm_control, now);
    }
}
