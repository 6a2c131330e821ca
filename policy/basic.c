/* SPDX-License-Identifier: Apache-2.0 */
/* The paper's Basic: a notice of SLA violations makes a VM's vCPUs one p-state
 * faster; every util_period_ms a utilization below util_low_percent makes them
 * one slower.  Relies on the view alone; called by the engine through
 * policy_basic.  Both rules may fire in one turn; 'tie' says what then
 * (docs/decisions/0004-basic-tie.md).  A VM whose agent is lost wants nothing.
 */
#include <errno.h>
#include <string.h>

#include "base/cbor.h"
#include "model/cause.h"
#include "model/util.h"
#include "policy/policy.h"

struct basic_vm {
    bool wants;      /* Its wishes stand. */
    uint32_t pstate; /* What they say. */
    struct util_meter meter;
};

/* clang-format off */
static const struct option_desc options[] = {
    {"util_period_ms", "ms", OPTION_INT, 10, 600000, "2000", NULL,
     "How often the VM's CPU utilization is looked at."},
    {"util_low_percent", "%", OPTION_REAL, 0, 100, "80", NULL,
     "Utilization below which vCPUs become one p-state slower."},
    {"tie", NULL, OPTION_CHOICE, 0, 0, "raise", "raise lower both",
     "Which rule holds if both fire in one turn."},
    {"start_pstate", NULL, OPTION_INT, 0, PSTATES_MAX - 1, "0", NULL,
     "p-state a VM starts with; its slowest, if that is faster."},
    {0},
};
/* clang-format on */

static int
basic_save_vm(const void *vm_state, struct cbor_out *out)
{
    const struct basic_vm *state = vm_state;

    /* The meter stays behind: its counts are this host's. */
    cbor_put_array(out, 2);
    cbor_put_u64(out, state->wants);
    cbor_put_u64(out, state->pstate);
    return out->error;
}

static int
basic_load_vm(void *vm_state, struct cbor_in *in)
{
    struct basic_vm *state = vm_state;
    size_t n = cbor_get_array(in, 2);
    uint64_t wants = cbor_get_u64(in);
    uint64_t pstate = cbor_get_u64(in);

    if (in->error || n != 2 || wants > 1 || pstate >= PSTATES_MAX) {
        return -EPROTO;
    }
    *state = (struct basic_vm){.wants = wants, .pstate = (uint32_t)pstate};
    return 0;
}

static bool
fires_raise(const struct vm *vm, struct reason *out)
{
    out->rule = "basic/raise";
    out->cause = vm->notice.cause;
    reason_value(out, "violations", (double)vm->notice.n_violations, "");
    reason_value(out, "requests", (double)vm->notice.n_requests, "");
    reason_value(out, "threshold", (double)vm->notice.threshold_us, "us");
    return vm->news & VM_NEWS_NOTICE;
}

static bool
fires_lower(struct basic_vm *state, const struct option_values *values,
            const struct vm *vm, nsec_t now, struct reason *out)
{
    nsec_t period_ns = option_int(values, "util_period_ms") * NSEC_PER_MSEC;
    double limit = option_real(values, "util_low_percent");
    double percent = 0;
    bool known = util_meter_ends(&state->meter, vm, period_ns, now, &percent);

    out->rule = "basic/lower";
    reason_value(out, "utilization", percent, "%");
    reason_value(out, "limit", limit, "%");
    return known && percent < limit;
}

/* Moves the p-state as the rules say.  False if none fired. */
static bool
apply_rules(struct basic_vm *state, const struct platform_view *view,
            const struct vm *vm, nsec_t now, struct reason *out)
{
    const char *tie = option_text(view->options, "tie");
    uint32_t slowest = host_slowest_pstate(view->host, vm);
    struct reason raising = {0}, lowering = {0};
    bool raise = fires_raise(vm, &raising);
    bool lower = fires_lower(state, view->options, vm, now, &lowering);

    if (raise && lower && !strcmp(tie, "raise")) {
        lower = false;
        reason_reject(&raising, state->pstate + 1, "low utilization, at a tie");
    } else if (raise && lower && !strcmp(tie, "lower")) {
        raise = false;
        reason_reject(&lowering, state->pstate ? state->pstate - 1 : 0,
                      "a violated SLA, at a tie");
    }
    if (raise || lower) {
        *out = raise ? raising : lowering;
    }
    /* In this order, if both: at p-state 0 the lowering is what remains. */
    state->pstate -= raise && state->pstate > 0;
    state->pstate += lower && state->pstate < slowest;
    return raise || lower;
}

static int
decide_vm(struct basic_vm *state, const struct platform_view *view,
          const struct vm *vm, nsec_t now, struct wish_list *out)
{
    nsec_t valid_until = now + POLICY_VALID_EPOCHS * view->epoch_ns;
    uint32_t slowest = host_slowest_pstate(view->host, vm);
    struct reason reason = {.rule = "basic/hold"};
    bool wanted = state->wants;

    if (!vm->agent_up || !vm_state_runs(vm->state)) {
        *state = (struct basic_vm){0};
        reason.rule = "basic/lost";
        reason.cause = vm->agent_up ? CAUSE_NONE : vm->agent_cause;
        return wanted ? wish_vm_withdraw(out, vm, &reason) : 0;
    }
    if (!wanted) {
        state->wants = true;
        state->pstate = (uint32_t)option_int(view->options, "start_pstate");
        reason.rule = "basic/start";
        reason.cause = vm->agent_cause;
        reason_value(&reason, "start_pstate", state->pstate, "");
    }
    state->pstate = state->pstate < slowest ? state->pstate : slowest;
    if (!apply_rules(state, view, vm, now, &reason) && wanted && !view->epoch) {
        return 0;
    }
    return wish_vm_pstate(out, view->host, vm, state->pstate, valid_until,
                          &reason);
}

static int
basic_decide(void *host_state, const struct platform_view *view, nsec_t now,
             struct wish_list *out)
{
    int error = 0;

    for (uint32_t i = 0; i < view->host->n_vms && !error; i++) {
        const struct vm *vm = &view->host->vms[i];
        error = decide_vm(vm->policy_state, view, vm, now, out);
    }
    return error;
}

const struct policy_class policy_basic = {
    .name = "basic",
    .summary = "The paper's Basic: SLA violations raise, idle CPUs lower.",
    .vm_state_size = sizeof(struct basic_vm),
    .options = options,
    .save_vm = basic_save_vm,
    .load_vm = basic_load_vm,
    .decide = basic_decide,
};
