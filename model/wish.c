/* SPDX-License-Identifier: Apache-2.0 */
/* Fills wishes and their reasons.  Relies on nothing; called by policies, which
 * write them, and by whoever shows them. */
#include "model/wish.h"

#include <assert.h>
#include <string.h>

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
