/* SPDX-License-Identifier: Apache-2.0 */
/* Compares two configurations by a table of settings.  What a process is made
 * of at its start (directories, CPUs, drivers, sandboxes, the journal's bounds)
 * stays until the next; guests are who they are by their UUIDs, and one that is
 * in both keeps its name and channel, since its session hangs on them.  Called
 * by the parent of mbrokerd before anything is changed, by the engine for the
 * journal's words, and by msim. */
#include "broker/config/confchange.h"

#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <string.h>

#include "base/confscan.h"
#include "base/text.h"
#include "hardware/hardware.h"
#include "hypervisor/hypervisor.h"
#include "policy/policy.h"

struct member {
    const char *path; /* As the configuration has it. */
    size_t offset, size;
    bool text; /* Ends at its zero. */
};

#define MEMBER(PATH, NAME)                                                     \
    {                                                                          \
        PATH, offsetof(struct broker_config, NAME),                            \
            sizeof((struct broker_config *)0)->NAME, false                     \
    }
#define TEXT(PATH, NAME)                                                       \
    {                                                                          \
        PATH, offsetof(struct broker_config, NAME),                            \
            sizeof((struct broker_config *)0)->NAME, true                      \
    }

static const struct member fixed[] = {
    TEXT("domain", domain),
    TEXT("host_id", host_id),
    TEXT("run_dir", run_dir),
    TEXT("state_dir", state_dir),
    TEXT("data_dir", data_dir),
    TEXT("sys_dir", sys_dir),
    TEXT("proc_dir", proc_dir),
    MEMBER("beat_ms", beat_ns),
    MEMBER("sandbox.users", sandbox_users),
    MEMBER("sandbox.root", sandbox_root),
    MEMBER("sandbox.seccomp", sandbox_seccomp),
    MEMBER("sandbox.required", sandbox_required),
    TEXT("sandbox.back", users[0]),
    TEXT("sandbox.engine", users[1]),
    TEXT("sandbox.platform", users[2]),
    MEMBER("journal.size_mb", journal_size_max),
    MEMBER("journal.inputs_mb", journal_inputs_max),
    MEMBER("journal.age_days", journal_age_max_s),
    MEMBER("seed", seed),
};

static const struct member changing[] = {
    MEMBER("epoch_ms", epoch_ns),
    MEMBER("sample_ms", sample_ns),
    MEMBER("dwell_ms", dwell_ns),
    MEMBER("quota.messages_per_second", quota.messages_per_second),
    MEMBER("quota.bytes_per_second", quota.bytes_per_second),
    MEMBER("quota.rows_per_second", quota.rows_per_second),
    MEMBER("quota.memory_kb", quota.memory),
    MEMBER("limits.pstate_min", pstate_min),
    MEMBER("limits.pstate_max", pstate_max),
    MEMBER("limits.writes_per_second", writes_per_second_max),
    MEMBER("budget.max_w", budget_max_mw),
    MEMBER("budget.safe_w", budget_safe_mw),
    MEMBER("budget.lease_ms", cap_lease_ns),
    TEXT("control.group", control_group),
    TEXT("control.operators", operator_group),
    MEMBER("end_guests", end_guests),
};

#define N_OF(array) (sizeof(array) / sizeof(array)[0])

static bool
differs(const struct member *member, const struct broker_config *a,
        const struct broker_config *b)
{
    const char *in_a = (const char *)a + member->offset;
    const char *in_b = (const char *)b + member->offset;

    return member->text ? strcmp(in_a, in_b) != 0
                        : memcmp(in_a, in_b, member->size) != 0;
}

/* Of one plug-in. */
static bool
options_differ(const struct option_values *a, const struct option_values *b)
{
    for (size_t i = 0; i < OPTION_MAX; i++) {
        if (strcmp(a->value[i].text, b->value[i].text) != 0) {
            return true;
        }
    }
    return false;
}

/* The line of a setting in the text; 0 if it isn't there.  'guest' is its place
 * in the list, or -1. */
static unsigned
line_in(const char *text, const char *path, int guest)
{
    char why[CONFIG_WHY_SIZE];
    struct confscan_at at = {.path = "", .why = why, .why_size = sizeof why};
    config_t tree;

    if (confscan_read(&at, text, &tree)) {
        return 0;
    }
    const config_setting_t *setting =
        config_lookup(&tree, guest < 0 ? path : "guests");
    if (setting && guest >= 0) {
        const config_setting_t *of =
            config_setting_get_elem(setting, (unsigned)guest);
        const config_setting_t *own =
            of ? config_setting_get_member(of, path) : NULL;

        setting = own ? own : of;
    }
    unsigned line = setting ? config_setting_source_line(setting) : 0;
    config_destroy(&tree);
    return line;
}

/* The first setting that differs and may not; null if all is well. */
static const char *
first_fixed(const struct broker_config *now, const struct broker_config *next)
{
    for (size_t i = 0; i < N_OF(fixed); i++) {
        if (differs(&fixed[i], now, next)) {
            return fixed[i].path;
        }
    }
    if (now->n_cpus != next->n_cpus ||
        memcmp(now->cpus, next->cpus, now->n_cpus * sizeof now->cpus[0])) {
        return "cpus";
    }
    if (now->hypervisor != next->hypervisor ||
        options_differ(&now->hypervisor_options, &next->hypervisor_options)) {
        return "hypervisor";
    }
    if (now->pstate != next->pstate ||
        options_differ(&now->pstate_options, &next->pstate_options)) {
        return "pstate";
    }
    if (now->power != next->power ||
        options_differ(&now->power_options, &next->power_options)) {
        return "power";
    }
    if (now->cap != next->cap ||
        options_differ(&now->cap_options, &next->cap_options)) {
        return "cap";
    }
    return NULL;
}

/* What of a guest that is in both may not differ; null if nothing does. */
static const char *
first_fixed_of_guest(const struct guest_config *now,
                     const struct guest_config *next)
{
    return strcmp(now->name, next->name)         ? "name"
           : strcmp(now->channel, next->channel) ? "channel"
           : strcmp(now->owner, next->owner)     ? "owner"
           : strcmp(now->group, next->group)     ? "group"
           : now->mode != next->mode             ? "mode"
                                                 : NULL;
}

int
confchange_check(const struct broker_config *now,
                 const struct broker_config *next, const char *text,
                 const char *path, char *why, size_t why_size)
{
    struct confscan_at at = {.path = path, .why = why, .why_size = why_size};
    const char *what = first_fixed(now, next);

    if (what) {
        (void)confscan_refuse(&at, line_in(text, what, -1),
                              "%s can't change while the broker runs; restart "
                              "it, or put back what was",
                              what);
        return -EPERM;
    }
    /* The tables' room is what it was at the start, whatever is said now. */
    if (next->n_guests > now->guests_max) {
        (void)confscan_refuse(&at, line_in(text, "guests", -1),
                              "%" PRIu32 " guests, and the broker started with "
                              "room for %" PRIu32 " (guests_max); restart it",
                              next->n_guests, now->guests_max);
        return -EPERM;
    }
    for (uint32_t i = 0; i < next->n_guests; i++) {
        const struct guest_config *guest = &next->guests[i];
        const struct guest_config *was = config_guest(now, &guest->uuid);

        what = was ? first_fixed_of_guest(was, guest) : NULL;
        if (what) {
            (void)confscan_refuse(
                &at, line_in(text, what, (int)i),
                "the %s of guest %s can't change while it is configured; take "
                "it out, reload, and add it again",
                what, was->name);
            return -EPERM;
        }
    }
    return 0;
}

bool
confchange_policy(const struct broker_config *a, const struct broker_config *b)
{
    return a->policy != b->policy ||
           options_differ(&a->policy_options, &b->policy_options);
}

bool
confchange_has_socket(const struct guest_config *guest)
{
    return strncmp(guest->channel, "sim:", 4) != 0;
}

static bool
guest_differs(const struct guest_config *a, const struct guest_config *b)
{
    return a->n_vcpus != b->n_vcpus ||
           memcmp(a->vcpu_cpu, b->vcpu_cpu,
                  a->n_vcpus * sizeof a->vcpu_cpu[0]) ||
           strcmp(a->command, b->command) || strcmp(a->pid_file, b->pid_file) ||
           a->quota.messages_per_second != b->quota.messages_per_second ||
           a->quota.bytes_per_second != b->quota.bytes_per_second ||
           a->quota.rows_per_second != b->quota.rows_per_second ||
           a->quota.memory != b->quota.memory;
}

static void
describe_guests(const struct broker_config *was,
                const struct broker_config *now, char *out)
{
    const char *sep = out[0] ? ", " : "";

    for (uint32_t i = 0; i < now->n_guests; i++) {
        const struct guest_config *guest = &now->guests[i];
        const struct guest_config *old = config_guest(was, &guest->uuid);

        if (!old || guest_differs(old, guest)) {
            text_append(out, CONFCHANGE_WORDS_SIZE, "%sguest %s %s", sep,
                        guest->name, old ? "changed" : "added");
            sep = ", ";
        }
    }
    for (uint32_t i = 0; i < was->n_guests; i++) {
        if (!config_guest(now, &was->guests[i].uuid)) {
            text_append(out, CONFCHANGE_WORDS_SIZE, "%sguest %s removed", sep,
                        was->guests[i].name);
            sep = ", ";
        }
    }
}

void
confchange_describe(const struct broker_config *was,
                    const struct broker_config *now,
                    char out[CONFCHANGE_WORDS_SIZE])
{
    out[0] = '\0';
    if (confchange_policy(was, now)) {
        text_append(out, CONFCHANGE_WORDS_SIZE, "policy %s", now->policy->name);
    }
    for (size_t i = 0; i < N_OF(changing); i++) {
        if (differs(&changing[i], was, now)) {
            text_append(out, CONFCHANGE_WORDS_SIZE, "%s%s", out[0] ? ", " : "",
                        changing[i].path);
        }
    }
    describe_guests(was, now, out);
    if (!out[0]) {
        text_copy(out, CONFCHANGE_WORDS_SIZE, "nothing changed");
    }
}
