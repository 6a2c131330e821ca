/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of a configuration that span more than one setting: names and
 * channels that must differ, CPUs that must be managed, settings that
 * contradict each other.  Each rule is one function that names the line to
 * change.  Relies on the values being in range already; called by
 * broker/config/config.c at the end of a parse. */
#include "broker/config/confcheck.h"

#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdio.h>
#include <string.h>

#include "base/confscan.h"
#include "broker/config/config.h"
#include "broker/config/confval.h"
#include "hardware/hardware.h"
#include "policy/policy.h"

struct check {
    const struct confscan_at *at;
    const config_setting_t *root;
    struct broker_config *config;
};

static int check_guest(const struct check *, uint32_t index);
static int check_policy(const struct check *);
static int check_times(const struct check *);
static int check_journal(const struct check *);
static int check_limits(const struct check *);
static int check_paths(const struct check *);
static int check_room(const struct check *);
static int check_quotas(const struct check *);
static int check_drivers(const struct check *);
static int check_budget(const struct check *);
static unsigned line_of(const struct check *, const char *path);

int
confcheck(const struct confscan_at *at, const config_setting_t *root,
          struct broker_config *config)
{
    struct check check = {.at = at, .root = root, .config = config};
    int error = check_paths(&check);

    if (!error) {
        error = check_room(&check);
    }
    for (uint32_t i = 0; i < config->n_guests && !error; i++) {
        error = check_guest(&check, i);
    }
    if (!error) {
        error = check_limits(&check);
    }
    if (!error) {
        error = check_times(&check);
    }
    if (!error) {
        error = check_journal(&check);
    }
    if (!error) {
        error = check_quotas(&check);
    }
    if (!error) {
        error = check_drivers(&check);
    }
    if (!error) {
        error = check_budget(&check);
    }
    if (!error) {
        error = check_policy(&check);
    }
    return error;
}

/* Guests. */

static unsigned
guest_line(const struct check *check, uint32_t index, const char *member)
{
    const config_setting_t *guests =
        config_setting_get_member(check->root, "guests");
    const config_setting_t *guest = config_setting_get_elem(guests, index);
    const config_setting_t *found =
        member ? config_setting_get_member(guest, member) : NULL;

    return config_setting_source_line(found ? found : guest);
}

static int
complete_guest(const struct check *check, uint32_t index)
{
    struct broker_config *config = check->config;
    struct guest_config *guest = &config->guests[index];

    if (!guest->name[0]) {
        return confscan_refuse(check->at, guest_line(check, index, NULL),
                               "a guest without a name; add name = "
                               "\"...\";");
    }
    if (!guest->n_vcpus) {
        return confscan_refuse(check->at, guest_line(check, index, "vcpus"),
                               "guest %s has no vCPUs; add vcpus = "
                               "[CPU, ...];",
                               guest->name);
    }
    if (uuid_is_zero(&guest->uuid)) {
        uuid_from_name(&guest->uuid, config->host_id, guest->name);
    }
    if (!guest->channel[0]) {
        int length = snprintf(guest->channel, sizeof guest->channel,
                              "shm:%s/%s.chan", config->run_dir, guest->name);

        if ((size_t)length > strlen("shm:") + CONFIG_SOCKET_PATH_MAX) {
            return confscan_refuse(
                check->at, guest_line(check, index, "name"),
                "the channel of guest %.20s... would be a socket named by "
                "more than %d bytes; shorten its name or run_dir, or give "
                "its channel",
                guest->name, CONFIG_SOCKET_PATH_MAX);
        }
    }
    return 0;
}

static int
check_vcpus(const struct check *check, uint32_t index)
{
    const struct broker_config *config = check->config;
    const struct guest_config *guest = &config->guests[index];

    for (uint32_t v = 0; v < guest->n_vcpus; v++) {
        if (!config_has_cpu(config, guest->vcpu_cpu[v])) {
            return confscan_refuse(
                check->at, guest_line(check, index, "vcpus"),
                "vCPU %" PRIu32 " of guest %s is on CPU %" PRIu32
                ", which is not managed; %s",
                v, guest->name, guest->vcpu_cpu[v],
                config->n_cpus ? "add it to cpus or move the guest"
                               : "say cpus = [...];");
        }
    }
    return 0;
}

static int
check_twins(const struct check *check, uint32_t index)
{
    const struct guest_config *guest = &check->config->guests[index];

    for (uint32_t i = 0; i < index; i++) {
        const struct guest_config *other = &check->config->guests[i];
        const char *member = NULL;

        if (!strcmp(other->name, guest->name)) {
            member = "name";
        } else if (uuid_equal(&other->uuid, &guest->uuid)) {
            member = "uuid";
        } else if (!strcmp(other->channel, guest->channel)) {
            member = "channel";
        } else if (guest->pid_file[0] &&
                   !strcmp(other->pid_file, guest->pid_file)) {
            member = "pid_file";
        }
        if (member) {
            return confscan_refuse(
                check->at, guest_line(check, index, member),
                "guest %s has the %s of the guest in line %u; each needs its "
                "own",
                guest->name, member, guest_line(check, i, member));
        }
    }
    return 0;
}

static int
check_guest(const struct check *check, uint32_t index)
{
    int error = complete_guest(check, index);

    if (!error) {
        error = check_twins(check, index);
    }
    if (!error) {
        error = check_vcpus(check, index);
    }
    if (error) {
        return error;
    }
    const struct guest_config *guest = &check->config->guests[index];
    if (!check->config->hypervisor &&
        (guest->command[0] || guest->pid_file[0])) {
        const char *member = guest->command[0] ? "command" : "pid_file";

        return confscan_refuse(check->at, guest_line(check, index, member),
                               "guest %s has a %s and nobody to use it; "
                               "add hypervisor = { driver = \"process\"; "
                               "};",
                               guest->name, member);
    }
    return 0;
}

/* The broker. */

static int
check_paths(const struct check *check)
{
    const struct broker_config *config = check->config;

    if (strlen(config->run_dir) > CONFIG_RUN_DIR_MAX) {
        return confscan_refuse(check->at, line_of(check, "run_dir"),
                               "run_dir is %zu bytes long; sockets in it "
                               "can be named if it has at most %d",
                               strlen(config->run_dir), CONFIG_RUN_DIR_MAX);
    }
    if (!strcmp(config->run_dir, config->state_dir)) {
        const char *path =
            line_of(check, "state_dir") ? "state_dir" : "run_dir";

        return confscan_refuse(check->at, line_of(check, path),
                               "run_dir and state_dir are the same; what "
                               "outlives a start must not lie with what "
                               "does not");
    }
    return 0;
}

/* The tables do not grow while the broker runs. */
static int
check_room(const struct check *check)
{
    struct broker_config *config = check->config;
    uint32_t room = config->n_guests + CONFIG_GUESTS_SPARE;

    if (!config->guests_max) {
        config->guests_max =
            room < CONFIG_GUESTS_MAX ? room : CONFIG_GUESTS_MAX;
    }
    if (config->guests_max < config->n_guests) {
        return confscan_refuse(check->at, line_of(check, "guests_max"),
                               "guests_max = %" PRIu32
                               " has no room for the %" PRIu32
                               " guests that are named",
                               config->guests_max, config->n_guests);
    }
    return 0;
}

static int
check_limits(const struct check *check)
{
    const struct broker_config *config = check->config;

    if (config->pstate_min > config->pstate_max) {
        /* It was given, since without it is 0. */
        return confscan_refuse(check->at, line_of(check, "limits.pstate_min"),
                               "pstate_min = %" PRIu32
                               " is above pstate_max = %" PRIu32
                               "; p-state 0 is the fastest",
                               config->pstate_min, config->pstate_max);
    }
    return 0;
}

/* Rows have half of it at least; who gives no bound for inputs gets what fits.
 */
static int
check_journal(const struct check *check)
{
    const struct broker_config *config = check->config;
    unsigned line = line_of(check, "journal.inputs_mb");

    if (line && config->journal_inputs_max > config->journal_size_max / 2) {
        return confscan_refuse(check->at, line,
                               "journal.inputs_mb = %" PRIu64
                               " is more than half of journal.size_mb = "
                               "%" PRIu64 "; the rows need the rest",
                               config->journal_inputs_max >> 20,
                               config->journal_size_max >> 20);
    }
    return 0;
}

static int
check_times(const struct check *check)
{
    const struct broker_config *config = check->config;

    if (config->sample_ns > config->epoch_ns) {
        const char *path =
            line_of(check, "sample_ms") ? "sample_ms" : "epoch_ms";

        return confscan_refuse(check->at, line_of(check, path),
                               "sample_ms = %" PRId64
                               " is longer than epoch_ms = %" PRId64
                               "; an epoch would end without a sample",
                               config->sample_ns / NSEC_PER_MSEC,
                               config->epoch_ns / NSEC_PER_MSEC);
    }
    if (config->dwell_ns && !config->pstate) {
        return confscan_refuse(check->at, line_of(check, "dwell_ms"),
                               "dwell_ms holds p-states, and no driver "
                               "sets any; add pstate = { driver = "
                               "\"...\"; }; or leave it out");
    }
    return 0;
}

/* An agent that has no messages left for its beats would be lost. */
static int
check_beats(const struct check *check, const struct quota_config *quota,
            unsigned line)
{
    nsec_t beat_ns = check->config->beat_ns;
    uint32_t least = (uint32_t)((2 * NSEC_PER_SEC + beat_ns - 1) / beat_ns);

    if (quota->messages_per_second >= least) {
        return 0;
    }
    return confscan_refuse(check->at, line,
                           "a quota of messages_per_second = %" PRIu32
                           " leaves nothing beside the beats of beat_ms = "
                           "%" PRId64 "; give %" PRIu32 " at least",
                           quota->messages_per_second, beat_ns / NSEC_PER_MSEC,
                           least);
}

static int
check_quotas(const struct check *check)
{
    const struct broker_config *config = check->config;
    const char *path = line_of(check, "quota.messages_per_second")
                           ? "quota.messages_per_second"
                           : "beat_ms";
    int error = check_beats(check, &config->quota, line_of(check, path));

    for (uint32_t i = 0; i < config->n_guests && !error; i++) {
        const struct quota_config quota =
            config_quota(config, &config->guests[i]);

        error = check_beats(check, &quota, guest_line(check, i, "quota"));
    }
    return error;
}

static int
check_options(const struct check *check, const char *path,
              const struct hardware_class *driver,
              const struct option_values *options)
{
    char why[CONFIG_WHY_SIZE] = "";

    if (driver && driver->check && driver->check(options, why, sizeof why)) {
        return confscan_refuse(check->at, line_of(check, path), "%s", why);
    }
    return 0;
}

static int
check_drivers(const struct check *check)
{
    const struct broker_config *config = check->config;

    int error =
        check_options(check, "pstate", config->pstate, &config->pstate_options);
    if (!error) {
        error = check_options(check, "power", config->power,
                              &config->power_options);
    }
    if (!error) {
        error = check_options(check, "cap", config->cap, &config->cap_options);
    }
    if (error) {
        return error;
    }

    if (config->pstate && !config->n_cpus) {
        return confscan_refuse(check->at, line_of(check, "pstate"),
                               "pstate has no CPUs to set; say cpus = "
                               "[...];");
    }
    if (config->end_guests && !config->hypervisor) {
        return confscan_refuse(check->at, line_of(check, "end_guests"),
                               "end_guests = true, and no hypervisor "
                               "starts any; add hypervisor = { driver = "
                               "\"process\"; };");
    }
    return 0;
}

/* Whoever can limit the host must know to what, in the worst of cases too. */
static int
check_budget(const struct check *check)
{
    const struct broker_config *config = check->config;

    if (!config->cap) {
        return 0;
    }
    if (!config->budget_max_mw || !config->budget_safe_mw) {
        return confscan_refuse(check->at, line_of(check, "cap"),
                               "a cap without a budget; add budget = { max_w "
                               "= WATTS; safe_w = WATTS; };");
    }
    if (config->budget_safe_mw > config->budget_max_mw) {
        return confscan_refuse(
            check->at, line_of(check, "budget.safe_w"),
            "safe_w = %" PRIu64 " is above max_w = %" PRIu64
            "; the safe cap is what the host is held to when nobody decides",
            config->budget_safe_mw / 1000, config->budget_max_mw / 1000);
    }
    return 0;
}

/* Only "none" wants nothing of the hardware. */
static int
check_policy(const struct check *check)
{
    const struct broker_config *config = check->config;
    const struct policy_class *policy = config->policy;
    char why[CONFIG_WHY_SIZE] = "";

    if (strcmp(policy->name, "none") != 0 && !config->pstate) {
        return confscan_refuse(check->at, line_of(check, "policy"),
                               "policy %s sets p-states, and no driver "
                               "does; add pstate = { driver = \"...\"; "
                               "}; or take policy \"none\"",
                               policy->name);
    }
    if (policy->check &&
        policy->check(&config->policy_options, why, sizeof why)) {
        return confscan_refuse(check->at, line_of(check, "policy"),
                               "policy %s: %s", policy->name, why);
    }
    return 0;
}

/* The line of a setting; 0 if the file doesn't have it. */
static unsigned
line_of(const struct check *check, const char *path)
{
    const config_setting_t *found = config_lookup(check->root->config, path);

    return found ? config_setting_source_line(found) : 0;
}
