/* SPDX-License-Identifier: Apache-2.0 */
/* The engine numbers its orders, each higher than the one before, and gives no
 * number twice; so one that is not higher than the last is a repetition,
 * whoever repeats it: a line that was replayed, or an engine that was taken
 * over and would have an operation on a VM happen twice.  The outcomes of the
 * last few are kept for it.  A number belongs to one life of the platform
 * process, which ends with its engine's.  Called by platform_act.c. */
#include "broker/platform/orders.h"

#include <assert.h>
#include <errno.h>

#include "base/text.h"

static void number_of(const struct msg *, uint64_t *command, uint64_t *cause);
static struct order *find(struct orders *, uint64_t command);

enum orders_verdict
orders_take(struct orders *orders, const struct msg *msg,
            struct msg_outcome *out)
{
    uint64_t command, cause;

    number_of(msg, &command, &cause);
    if (command > orders->highest) {
        orders->highest = command;
        orders->kept[orders->next] = (struct order){.command = command};
        orders->next = (orders->next + 1) % ORDERS_KEPT;
        return ORDERS_NEW;
    }
    const struct order *order = find(orders, command);
    if (order && !order->settled) {
        return ORDERS_UNDER_WAY;
    }
    if (order) {
        *out = order->outcome;
        return ORDERS_ANSWERED;
    }
    *out = (struct msg_outcome){
        .command = command, .cause = cause, .error = ESTALE};
    text_copy(out->reason, sizeof out->reason,
              "orders with higher numbers came before it");
    return ORDERS_ANSWERED;
}

void
orders_settle(struct orders *orders, const struct msg_outcome *outcome)
{
    struct order *order = find(orders, outcome->command);

    if (order) {
        order->settled = true;
        order->outcome = *outcome;
    }
}

static void
number_of(const struct msg *msg, uint64_t *command, uint64_t *cause)
{
    if (msg->type == MSG_SET_PSTATE) {
        *command = msg->set_pstate.command;
        *cause = msg->set_pstate.cause;
    } else if (msg->type == MSG_RELEASE) {
        *command = msg->release.command;
        *cause = msg->release.cause;
    } else if (msg->type == MSG_SET_CAP) {
        *command = msg->set_cap.command;
        *cause = msg->set_cap.cause;
    } else {
        assert(msg->type == MSG_VM_CONTROL);
        *command = msg->vm_control.command;
        *cause = msg->vm_control.cause;
    }
}

/* Null for one that made room for others. */
static struct order *
find(struct orders *orders, uint64_t command)
{
    for (uint32_t i = 0; i < ORDERS_KEPT; i++) {
        if (orders->kept[i].command == command) {
            return &orders->kept[i];
        }
    }
    return NULL;
}
