/* SPDX-License-Identifier: Apache-2.0 */
/* No PM: wishes nothing, so every CPU stays as it was found, whatever governs
 * it.  With pin_fastest it holds the CPUs of running VMs at p-state 0 instead,
 * which is the paper's No PM and what savings are measured against.  Relies on
 * the view alone; called by the engine through policy_none. */
#include "policy/policy.h"

static const struct option_desc options[] = {
    {
        .name = "pin_fastest",
        .type = OPTION_BOOL,
        .default_text = "false",
        .help = "Hold the CPUs of running VMs at their fastest p-state; else "
                "they stay as found.",
    },
    {0},
};

static int
none_decide(void *host_state, const struct platform_view *view, nsec_t now,
            struct wish_list *out)
{
    const struct host *host = view->host;
    struct reason reason = {.rule = "none/fastest"};
    nsec_t valid_until = now + POLICY_VALID_EPOCHS * view->epoch_ns;

    if (!view->epoch || !option_bool(view->options, "pin_fastest")) {
        return 0;
    }
    for (uint32_t i = 0; i < host->n_vms; i++) {
        const struct vm *vm = &host->vms[i];
        if (!vm_state_runs(vm->state)) {
            continue;
        }
        int error = wish_vm_pstate(out, host, vm, 0, valid_until, &reason);
        if (error) {
            return error;
        }
    }
    return 0;
}

const struct policy_class policy_none = {
    .name = "none",
    .summary = "No power management: leaves CPUs as they are, or at their "
               "fastest.",
    .options = options,
    .decide = none_decide,
};
