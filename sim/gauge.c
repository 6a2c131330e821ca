/* SPDX-License-Identifier: Apache-2.0 */
/* The table of what can be expected.  What the hardware or the clients saw
 * comes from the world; what the broker believes comes from engine_status(), as
 * mctl would show it.  While the broker is stopped its numbers are not known
 * and its words are "stopped".  Called by run.c. */
#include "sim/gauge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "broker/back/back.h"
#include "broker/engine/arbiter.h"
#include "hardware/sim.h"
#include "hardware/simcap.h"
#include "policy/policy.h"
#include "sim/machine.h"
#include "sim/world.h"

/* What the broker says of itself; false while it is stopped. */
static bool
ask(const struct world *world, struct engine_status *out)
{
    if (!world->engine) {
        return false;
    }
    engine_status(world->engine, world->now, out);
    return true;
}

static void
say(char out[GAUGE_TEXT_SIZE], const char *text)
{
    text_copy(out, GAUGE_TEXT_SIZE, text);
}

static double
percent(uint64_t part, uint64_t of)
{
    return of > 0 ? 100.0 * (double)part / (double)of : 0;
}

/* The host. */

#define COUNT(name, member)                                                    \
    static double name(const struct world *world, uint32_t index)              \
    {                                                                          \
        struct engine_status status;                                           \
                                                                               \
        return ask(world, &status) ? (double)status.counts->member : NAN;      \
    }

COUNT(raises, n_raises)
COUNT(lowerings, n_lowerings)
COUNT(failed_actions, n_failed_actions)
COUNT(notices, n_notices)
COUNT(reports, n_reports)
COUNT(alarms, n_alarms)
COUNT(notes, n_notes)

static double
refused(const struct world *world, uint32_t index)
{
    struct back_stats stats;

    if (!world->back) {
        return NAN;
    }
    back_stats(world->back, &stats);
    return (double)stats.n_refused;
}

static double
writes(const struct world *world, uint32_t index)
{
    return (double)hardware_sim_n_sets(world->hardware);
}

static double
cap_w(const struct world *world, uint32_t index)
{
    return (double)hardware_sim_cap(world->hardware)->mw / 1000;
}

static double
cap_writes(const struct world *world, uint32_t index)
{
    return (double)hardware_sim_cap(world->hardware)->n_sets;
}

static double
wanted_cap_w(const struct world *world, uint32_t index)
{
    struct engine_status status;

    if (!ask(world, &status) || status.host->cap.phase == CAP_NONE) {
        return NAN;
    }
    return (double)status.host->cap.mw / 1000;
}

static void
cap(const struct world *world, uint32_t index, char out[GAUGE_TEXT_SIZE])
{
    struct engine_status status;

    say(out, ask(world, &status) ? cap_phase_name(status.host->cap.phase)
                                 : "stopped");
}

static void
last_order(const struct world *world, uint32_t index, char out[GAUGE_TEXT_SIZE])
{
    say(out, world->last_order);
}

static double
power_w(const struct world *world, uint32_t index)
{
    struct engine_status status;

    if (!ask(world, &status) || status.host->power.quality == QUALITY_UNKNOWN) {
        return NAN;
    }
    return (double)status.host->power.power_mw / 1000;
}

static double
mean_power_w(const struct world *world, uint32_t index)
{
    double passed_s = (double)world_elapsed(world) / (double)NSEC_PER_SEC;

    return passed_s > 0 ? world->energy_mj / 1000 / passed_s : NAN;
}

static void
power_quality(const struct world *world, uint32_t index,
              char out[GAUGE_TEXT_SIZE])
{
    struct engine_status status;

    say(out, ask(world, &status) ? quality_name(status.host->power.quality)
                                 : "stopped");
}

static void
policy(const struct world *world, uint32_t index, char out[GAUGE_TEXT_SIZE])
{
    struct engine_status status;

    say(out, ask(world, &status) ? status.policy->name : "stopped");
}

static void
trouble(const struct world *world, uint32_t index, char out[GAUGE_TEXT_SIZE])
{
    struct engine_status status;

    say(out, ask(world, &status) ? status.trouble : "stopped");
}

/* CPUs. */

static double
pstate(const struct world *world, uint32_t cpu)
{
    return hardware_sim_pstate(world->hardware, cpu);
}

static double
frequency_mhz(const struct world *world, uint32_t cpu)
{
    return hardware_sim_freq_khz(world->hardware, cpu) / 1000.0;
}

static double
believed_pstate(const struct world *world, uint32_t cpu)
{
    struct engine_status status;
    const struct domain *domain = NULL;

    if (ask(world, &status)) {
        domain = host_domain_of_cpu(status.host, cpu);
    }
    return domain && domain->known ? domain->pstate : NAN;
}

/* The arbiter's last word on a CPU's domain; null if there is none. */
static const struct verdict *
verdict(const struct world *world, uint32_t cpu)
{
    struct engine_status status;
    const struct domain *domain = NULL;

    if (ask(world, &status)) {
        domain = host_domain_of_cpu(status.host, cpu);
    }
    return domain ? arbiter_verdict(status.arbiter,
                                    (uint32_t)(domain - status.host->domains))
                  : NULL;
}

static double
wanted_pstate(const struct world *world, uint32_t cpu)
{
    const struct verdict *found = verdict(world, cpu);

    return found && found->wanted ? found->pstate : NAN;
}

static void
why(const struct world *world, uint32_t cpu, char out[GAUGE_TEXT_SIZE])
{
    const struct verdict *found = verdict(world, cpu);

    if (!world->engine) {
        say(out, "stopped");
    } else if (!found || !found->wanted) {
        say(out, "released");
    } else {
        say(out, found->winner.reason.rule);
    }
}

static void
winner(const struct world *world, uint32_t cpu, char out[GAUGE_TEXT_SIZE])
{
    const struct verdict *found = verdict(world, cpu);
    const struct vm *vm = NULL;
    struct engine_status status;

    if (found && found->wanted && ask(world, &status)) {
        vm = host_vm(status.host, &found->winner.vm);
    }
    say(out, vm ? vm->name : "nobody");
}

static double
losers(const struct world *world, uint32_t cpu)
{
    const struct verdict *found = verdict(world, cpu);

    return found ? found->n_losers + found->n_more_losers : 0;
}

/* Guests. */

static const struct vm *
vm_of(const struct world *world, uint32_t guest)
{
    struct engine_status status;

    return ask(world, &status)
               ? host_vm(status.host,
                         &world->scenario->config.guests[guest].uuid)
               : NULL;
}

static void
agent(const struct world *world, uint32_t guest, char out[GAUGE_TEXT_SIZE])
{
    const struct vm *vm = vm_of(world, guest);

    say(out, !world->engine ? "stopped" : vm && vm->agent_up ? "up" : "lost");
}

static void
vm_state(const struct world *world, uint32_t guest, char out[GAUGE_TEXT_SIZE])
{
    const struct vm *vm = vm_of(world, guest);

    say(out, !world->engine ? "stopped"
             : vm           ? vm_state_name(vm->state)
                            : "gone");
}

static double
violation_percent(const struct world *world, uint32_t guest)
{
    const struct vm *vm = vm_of(world, guest);

    return vm ? percent(vm->n_violations, vm->n_requests) : NAN;
}

static double
counted(const struct world *world, uint32_t guest)
{
    const struct vm *vm = vm_of(world, guest);

    return vm ? (double)vm->n_requests : NAN;
}

static double
utilization_percent(const struct world *world, uint32_t guest)
{
    const struct vm *vm = vm_of(world, guest);

    return vm && vm->util_permille != UTIL_UNKNOWN ? vm->util_permille / 10.0
                                                   : NAN;
}

static double
slow_percent(const struct world *world, uint32_t guest)
{
    return percent(world->guests[guest].n_slow,
                   world->guests[guest].n_requests);
}

static double
requests(const struct world *world, uint32_t guest)
{
    return (double)world->guests[guest].n_requests;
}

static double
waiting(const struct world *world, uint32_t guest)
{
    struct machine_counts counts;

    machine_counts(world->machine, guest, &counts);
    return counts.n_waiting;
}

static double
clock_error_us(const struct world *world, uint32_t guest)
{
    const struct world_guest *of = &world->guests[guest];
    struct agent_stats stats;

    if (!of->agent) {
        return NAN;
    }
    agent_stats(of->agent, &stats);
    return stats.offset_error_ns == UINT64_MAX
               ? NAN
               : fabs((double)(stats.offset_ns - of->clock_ahead_ns)) / 1000;
}

static double
reports_lost(const struct world *world, uint32_t guest)
{
    struct agent_stats stats;

    if (!world->guests[guest].agent) {
        return NAN;
    }
    agent_stats(world->guests[guest].agent, &stats);
    return (double)stats.n_reports_lost;
}

static double
notes_kept(const struct world *world, uint32_t guest)
{
    const struct vm *vm = vm_of(world, guest);

    return vm ? vm->notes->n : NAN;
}

static double
notes_sent(const struct world *world, uint32_t guest)
{
    struct agent_stats stats;

    if (!world->guests[guest].agent) {
        return NAN;
    }
    agent_stats(world->guests[guest].agent, &stats);
    return (double)stats.n_notes;
}

static double
notes_not_taken(const struct world *world, uint32_t guest)
{
    struct agent_stats stats;

    if (!world->guests[guest].agent) {
        return NAN;
    }
    agent_stats(world->guests[guest].agent, &stats);
    return (double)stats.n_notes_refused;
}

/* clang-format off */
const struct gauge gauge_table[] = {
    {"policy", GAUGE_OF_HOST, NULL, "the policy in force", NULL, policy},
    {"trouble", GAUGE_OF_HOST, NULL, "the last trouble; \"\" if none", NULL,
     trouble},
    {"raises", GAUGE_OF_HOST, "", "times a domain became faster", raises, NULL},
    {"lowerings", GAUGE_OF_HOST, "", "times a domain became slower", lowerings,
     NULL},
    {"failed_actions", GAUGE_OF_HOST, "", "actions that failed",
     failed_actions, NULL},
    {"notices", GAUGE_OF_HOST, "", "SLA notices that came", notices, NULL},
    {"reports", GAUGE_OF_HOST, "", "epoch reports that came", reports, NULL},
    {"alarms", GAUGE_OF_HOST, "", "alarms raised", alarms, NULL},
    {"notes", GAUGE_OF_HOST, "", "applications' notes that came", notes, NULL},
    {"refused", GAUGE_OF_HOST, "", "messages of guests that were refused",
     refused, NULL},
    {"writes", GAUGE_OF_HOST, "", "times a p-state was written", writes, NULL},
    {"cap", GAUGE_OF_HOST, NULL, "none, settling, confirmed or clamped", NULL,
     cap},
    {"cap_w", GAUGE_OF_HOST, "W", "what really limits the host; 0: nothing",
     cap_w, NULL},
    {"wanted_cap_w", GAUGE_OF_HOST, "W", "the cap that is aimed at",
     wanted_cap_w, NULL},
    {"cap_writes", GAUGE_OF_HOST, "", "times a cap was written", cap_writes,
     NULL},
    {"last_order", GAUGE_OF_HOST, NULL, "what the last order of a cap was "
     "answered", NULL, last_order},
    {"power_w", GAUGE_OF_HOST, "W", "power as the broker knows it", power_w,
     NULL},
    {"mean_power_w", GAUGE_OF_HOST, "W", "mean power since the start, whether "
     "the sensor works or not", mean_power_w, NULL},
    {"power_quality", GAUGE_OF_HOST, NULL, "measured, unknown, ...", NULL,
     power_quality},

    {"pstate", GAUGE_OF_CPU, "", "what the hardware runs at; 0 is the fastest",
     pstate, NULL},
    {"frequency_mhz", GAUGE_OF_CPU, "MHz", "the same as a frequency",
     frequency_mhz, NULL},
    {"believed_pstate", GAUGE_OF_CPU, "", "the p-state as the broker knows it",
     believed_pstate, NULL},
    {"wanted_pstate", GAUGE_OF_CPU, "", "the arbiter's verdict; unknown if "
     "nobody wants one", wanted_pstate, NULL},
    {"why", GAUGE_OF_CPU, NULL, "rule of the wish that won, or released", NULL,
     why},
    {"winner", GAUGE_OF_CPU, NULL, "VM of the wish that won, or nobody", NULL,
     winner},
    {"losers", GAUGE_OF_CPU, "", "wishes that lost", losers, NULL},

    {"agent", GAUGE_OF_GUEST, NULL, "up or lost, as the broker knows it", NULL,
     agent},
    {"vm", GAUGE_OF_GUEST, NULL, "running, frozen, ended or gone, as the broker "
     "knows it", NULL, vm_state},
    {"violation_percent", GAUGE_OF_GUEST, "%", "violations among the requests "
     "its agent reported", violation_percent, NULL},
    {"counted", GAUGE_OF_GUEST, "", "requests its agent reported", counted,
     NULL},
    {"utilization_percent", GAUGE_OF_GUEST, "%", "CPU use in the last sample",
     utilization_percent, NULL},
    {"slow_percent", GAUGE_OF_GUEST, "%", "requests slower than the threshold, "
     "as its clients counted", slow_percent, NULL},
    {"requests", GAUGE_OF_GUEST, "", "requests served, as its clients counted",
     requests, NULL},
    {"waiting", GAUGE_OF_GUEST, "", "requests in its queue", waiting, NULL},
    {"clock_error_us", GAUGE_OF_GUEST, "us", "how wrong its agent is about the "
     "offset of its clock", clock_error_us, NULL},
    {"reports_lost", GAUGE_OF_GUEST, "", "reports its agent gave up",
     reports_lost, NULL},
    {"notes_kept", GAUGE_OF_GUEST, "", "types of notes the broker keeps of it",
     notes_kept, NULL},
    {"notes_sent", GAUGE_OF_GUEST, "", "notes its agent sent", notes_sent,
     NULL},
    {"notes_not_taken", GAUGE_OF_GUEST, "", "notes its agent did not take",
     notes_not_taken, NULL},
    {0},
};
/* clang-format on */
