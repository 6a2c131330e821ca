/* SPDX-License-Identifier: Apache-2.0 */
/* Does what a VM's applications ask for in notes: a p-state, in decimal digits.
 * For scenarios and tests, which see in it whether a note reached the policy,
 * when, and whose; no policy for a host, where a guest must not choose.  Relies
 * on the view alone; called by the engine through policy_sim.
 *
 * A note that is no p-state of the VM's is as if it had not come.  One of an
 * agent that is gone counts no longer. */
#include <errno.h>

#include "base/cbor.h"
#include "policy/policy.h"

#define AT_ONCE "org.mbroker.sim.pstate/1"       /* Urgent. */
#define AT_EPOCH "org.mbroker.sim.pstate-hint/1" /* Not. */

struct sim_vm {
    bool wants;
    uint32_t pstate;
};

static const struct policy_note asked[] = {
    {AT_ONCE, .urgent = true},
    {AT_EPOCH},
    {0},
};

static int
sim_save_vm(const void *vm_state, struct cbor_out *out)
{
    const struct sim_vm *state = vm_state;

    cbor_put_u64(out, state->wants ? state->pstate + 1 : 0);
    return out->error;
}

static int
sim_load_vm(void *vm_state, struct cbor_in *in)
{
    struct sim_vm *state = vm_state;
    uint64_t value = cbor_get_u64(in);

    if (in->error || value > PSTATES_MAX) {
        return -EPROTO;
    }
    *state = (struct sim_vm){0};
    if (value > 0) {
        *state = (struct sim_vm){.wants = true, .pstate = (uint32_t)value - 1};
    }
    return 0;
}

/* The p-state a note asks for; false if it asks for none. */
static bool
reads(const struct note *note, uint32_t slowest, uint32_t *out)
{
    uint32_t value = 0;

    for (uint32_t i = 0; i < note->size; i++) {
        if (note->bytes[i] < '0' || note->bytes[i] > '9' || i == 2) {
            return false;
        }
        value = value * 10 + (note->bytes[i] - '0');
    }
    if (note->size == 0 || value > slowest) {
        return false;
    }
    *out = value;
    return true;
}

/* Takes what is new in the VM's note of that type. */
static bool
hears(struct sim_vm *state, const struct platform_view *view,
      const struct vm *vm, const char *type, struct reason *out)
{
    const struct note *note = vm_note(vm, type);
    uint32_t slowest = host_slowest_pstate(view->host, vm);

    if (!note || !note->news || note->stale ||
        !reads(note, slowest, &state->pstate)) {
        return false;
    }
    state->wants = true;
    *out = (struct reason){.rule = "sim/asked", .cause = note->cause};
    reason_value(out, "size", note->size, "B");
    reason_value(out, "came", (double)note->n_came, "");
    return true;
}

static int
sim_decide(void *host_state, const struct platform_view *view, nsec_t now,
           struct wish_list *out)
{
    nsec_t valid_until = now + POLICY_VALID_EPOCHS * view->epoch_ns;
    int error = 0;

    for (uint32_t i = 0; i < view->host->n_vms && !error; i++) {
        const struct vm *vm = &view->host->vms[i];
        struct sim_vm *state = vm->policy_state;
        struct reason reason = {.rule = "sim/hold"};

        if (!vm->agent_up || !vm_state_runs(vm->state)) {
            *state = (struct sim_vm){0};
            continue; /* What it wished ends by itself. */
        }
        /* Both, so that neither's news is missed; the urgent one wins. */
        hears(state, view, vm, AT_EPOCH, &reason);
        hears(state, view, vm, AT_ONCE, &reason);
        if (state->wants) {
            error = wish_vm_pstate(out, view->host, vm, state->pstate,
                                   valid_until, &reason);
        }
    }
    return error;
}

const struct policy_class policy_sim = {
    .name = "sim",
    .summary = "Gives VMs the p-states they ask for; for tests.",
    .vm_state_size = sizeof(struct sim_vm),
    .notes = asked,
    .save_vm = sim_save_vm,
    .load_vm = sim_load_vm,
    .decide = sim_decide,
};
