/* SPDX-License-Identifier: Apache-2.0 */
/* Fills wishes and their reasons.  Relies on nothing; called by policies, which
 * write them, and by whoever shows them. */
#include "model/wish.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "model/host.h"

struct wish *
wish_add(struct wish_list *list, enum wish_kind kind)
{
    if (list->n == list->max) {
        return NULL;
    }
    struct wish *wish = &list->wish[list->n++];

    memset(wish, 0, sizeof *wish);
    wish->kind = kind;
    wish->valid_until = NSEC_NEVER;
    return wish;
}

void
reason_value(struct reason *reason, const char *name, double value,
             const char *unit)
{
    assert(reason->n_values < REASON_VALUES_MAX);
    reason->values[reason->n_values].name = name;
    reason->values[reason->n_values].value = value;
    reason->values[reason->n_values].unit = unit;
    reason->n_values++;
}

void
reason_reject(struct reason *reason, int64_t choice, const char *why)
{
    assert(reason->n_rejected < REASON_REJECTED_MAX);
    reason->rejected[reason->n_rejected].choice = choice;
    reason->rejected[reason->n_rejected].why = why;
    reason->n_rejected++;
}

int
wish_vm_pstate(struct wish_list *list, const struct host *host,
               const struct vm *vm, uint32_t pstate, nsec_t valid_until,
               const struct reason *reason)
{
    for (uint32_t i = 0; i < vm->n_vcpus; i++) {
        const struct domain *domain = host_domain_of_cpu(host, vm->vcpu_cpu[i]);
        if (!domain) {
            continue;
        }
        struct wish *wish = wish_add(list, WISH_PSTATE);
        if (!wish) {
            return -ENOSPC;
        }
        uint32_t slowest = domain->desc.table.n - 1;
        wish->vm = vm->uuid;
        wish->vcpu = i;
        wish->value = pstate < slowest ? pstate : slowest;
        wish->valid_until = valid_until;
        wish->reason = *reason;
    }
    return 0;
}

int
wish_vm_withdraw(struct wish_list *list, const struct vm *vm,
                 const struct reason *reason)
{
    for (uint32_t i = 0; i < vm->n_vcpus; i++) {
        struct wish *wish = wish_add(list, WISH_PSTATE);
        if (!wish) {
            return -ENOSPC;
        }
        wish->vm = vm->uuid;
        wish->vcpu = i;
        wish->withdraw = true;
        wish->reason = *reason;
    }
    return 0;
}

const char *
wish_kind_name(enum wish_kind kind)
{
    switch (kind) {
    case WISH_PSTATE:
        return "pstate";
    case WISH_CAP:
        return "cap";
    case WISH_MIGRATE:
        return "migrate";
    case WISH_NOTIFY:
        return "notify";
    }
    return "?";
}
