/* SPDX-License-Identifier: Apache-2.0 */
/* Reads scenarios of moving VMs (movescn.h).  Called by msim.c. */
#include "sim/movescn.h"

#include <errno.h>
#include <libconfig.h>
#include <string.h>

#include "base/confscan.h"
#include "base/text.h"
#include "broker/config/confval.h"

#define DURATION_MAX_S 60

static const struct {
    const char *name;
    bool of_vm; /* Else of a broker. */
    const char *other, *lasts;
} kinds[MOVES_N_WHATS] = {
    [MOVES_MOVE] = {"move", true, "to", "takes_ms"},
    [MOVES_KILL] = {"kill_broker", false, NULL, "for_ms"},
    [MOVES_CUT_OFF] = {"cut_off", false, "from", "for_ms"},
    [MOVES_LATE] = {"late_news", false, NULL, "for_ms"},
    [MOVES_SNAPSHOT] = {"snapshot", true, NULL, NULL},
    [MOVES_REVERT] = {"revert", true, NULL, NULL},
    [MOVES_CLONE] = {"clone", true, "of", NULL},
    [MOVES_RESTART] = {"restart_agent", true, NULL, NULL},
};

#define OF(member) offsetof(struct moves_result, member)

const struct movescn_gauge movescn_gauges[] = {
    {"gaps", OF(n_gaps), "times a user was told GAP"},
    {"dropped", OF(n_dropped), "times a user was told DROPPED"},
    {"repeated", OF(n_repeated), "messages marked maybe_repeated"},
    {"handed_over", OF(n_taken), "sessions that came from another broker"},
    {"given_up", OF(n_given_up), "sessions that nobody brought"},
    {"dropped_sides", OF(n_dropped_sides), "sides that went on elsewhere"},
    {"disputed", OF(n_disputed), "claims to what runs here"},
    {"sessions", OF(n_sessions), "sessions that guests began"},
    {"longest_blackout_ns", OF(longest_blackout),
     "from running again to the first message"},
    {NULL, 0, NULL},
};

/* A number of a group: 0, or -EINVAL; 'fallback' < 0: it must be there. */
static int
read_number(const struct confscan_at *at, const config_setting_t *group,
            const char *name, int64_t max, int64_t fallback, int64_t *out)
{
    const config_setting_t *setting = config_setting_get_member(group, name);
    if (setting) {
        return confval_int(at, setting, 0, max, out);
    }
    *out = fallback;
    return fallback < 0 ? confval_refuse(at, group, "%s is missing", name) : 0;
}

static int
read_text(const struct confscan_at *at, const config_setting_t *group,
          const char *name, const char **out)
{
    const config_setting_t *setting = config_setting_get_member(group, name);
    return setting ? confval_text(at, setting, out)
                   : confval_refuse(at, group, "%s is missing", name);
}

/* The members of a group are those, and no others. */
static int
check_names(const struct confscan_at *at, const config_setting_t *group,
            const char *const *names)
{
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *member =
            config_setting_get_elem(group, (unsigned)i);
        const char *name = config_setting_name(member);
        const char *const *known = names;
        while (*known && (!name || strcmp(*known, name))) {
            known++;
        }
        if (!*known) {
            return confval_refuse(at, member, "%s means nothing here",
                                  name ? name : "a value");
        }
    }
    return 0;
}

static int
read_vm(const struct confscan_at *at, const config_setting_t *group,
        struct movescn *scn)
{
    static const char *const names[] = {"name", "broker", NULL};
    uint32_t vm = scn->config.n_vms;
    const char *name;
    int64_t place;
    int error = check_names(at, group, names);
    error = error ? error : read_text(at, group, "name", &name);
    error = error ? error
                  : read_number(at, group, "broker", scn->config.n_brokers - 1,
                                0, &place);
    if (!error && (vm == MOVES_VMS_MAX ||
                   text_copy(scn->names[vm], MOVESCN_NAME_SIZE, name))) {
        error = confval_refuse(at, group, "too many VMs or too long a name");
    }
    if (!error) {
        scn->config.places[vm] = (uint32_t)place;
        scn->config.n_vms++;
    }
    return error;
}

static int
find_vm(const struct confscan_at *at, const config_setting_t *group,
        const char *member, const struct movescn *scn, uint32_t *out)
{
    const char *name;
    int error = read_text(at, group, member, &name);
    for (uint32_t i = 0; !error && i < scn->config.n_vms; i++) {
        if (!strcmp(scn->names[i], name)) {
            *out = i;
            return 0;
        }
    }
    return error ? error : confval_refuse(at, group, "no VM is named %s", name);
}

static int
find_broker(const struct confscan_at *at, const config_setting_t *group,
            const char *member, const struct movescn *scn, uint32_t *out)
{
    int64_t value;
    int error =
        read_number(at, group, member, scn->config.n_brokers - 1, -1, &value);
    *out = error ? 0 : (uint32_t)value;
    return error;
}

static int
find_what(const struct confscan_at *at, const config_setting_t *group,
          enum moves_what *out)
{
    const char *name;
    int error = read_text(at, group, "event", &name);
    if (error) {
        return error;
    }
    for (int i = 0; i < MOVES_N_WHATS; i++) {
        if (!strcmp(kinds[i].name, name)) {
            *out = (enum moves_what)i;
            return 0;
        }
    }
    return confval_refuse(at, group, "no event is named %s", name);
}

static int
read_event(const struct confscan_at *at, const config_setting_t *group,
           struct movescn *scn)
{
    static const char *const names[] = {"at_ms",  "event", "vm",   "broker",
                                        "to",     "of",    "from", "takes_ms",
                                        "for_ms", NULL};
    struct moves_event event = {0};
    int64_t at_ms, lasts_ms = 0;
    int error = check_names(at, group, names);
    error = error ? error : find_what(at, group, &event.what);
    error = error ? error
                  : read_number(at, group, "at_ms", DURATION_MAX_S * 1000, -1,
                                &at_ms);
    if (error) {
        return error;
    }
    error = kinds[event.what].of_vm
                ? find_vm(at, group, "vm", scn, &event.a)
                : find_broker(at, group, "broker", scn, &event.a);
    const char *other = kinds[event.what].other;
    if (!error && other) {
        error = event.what == MOVES_CLONE
                    ? find_vm(at, group, other, scn, &event.b)
                    : find_broker(at, group, other, scn, &event.b);
    }
    if (!error && kinds[event.what].lasts) {
        error = read_number(at, group, kinds[event.what].lasts,
                            DURATION_MAX_S * 1000, 20, &lasts_ms);
    }
    event.at = at_ms * NSEC_PER_MSEC;
    event.lasts = lasts_ms * NSEC_PER_MSEC;
    uint32_t n = scn->config.n_events;
    if (!error &&
        (n == MOVESCN_EVENTS_MAX || (n && event.at < scn->events[n - 1].at))) {
        error = confval_refuse(at, group, "too many events, or not in order");
    }
    if (!error) {
        scn->events[scn->config.n_events++] = event;
    }
    return error;
}

static int
read_expect(const struct confscan_at *at, const config_setting_t *setting,
            struct movescn *scn)
{
    struct movescn_expect expect = {.line =
                                        config_setting_source_line(setting)};
    const char *name = config_setting_name(setting);
    const struct movescn_gauge *gauge = movescn_gauges;
    bool range = config_setting_length(setting) == 2;
    while (gauge->name && strcmp(gauge->name, name)) {
        gauge++;
    }
    if (!gauge->name || scn->n_expects == MOVESCN_EXPECTS_MAX) {
        return confval_refuse(at, setting, "nothing is known of %s", name);
    }
    expect.gauge = gauge;
    int error =
        confval_real(at, range ? config_setting_get_elem(setting, 0) : setting,
                     0, 1e12, &expect.low);
    error = error
                ? error
                : confval_real(
                      at, range ? config_setting_get_elem(setting, 1) : setting,
                      0, 1e12, &expect.high);
    if (!error) {
        scn->expects[scn->n_expects++] = expect;
    }
    return error;
}

static int
read_each(const struct confscan_at *at, const config_setting_t *root,
          const char *name, struct movescn *scn,
          int (*read)(const struct confscan_at *, const config_setting_t *,
                      struct movescn *))
{
    const config_setting_t *list = config_setting_get_member(root, name);
    int error = list ? 0 : confval_refuse(at, root, "%s is missing", name);
    for (int i = 0; !error && i < config_setting_length(list); i++) {
        error = read(at, config_setting_get_elem(list, (unsigned)i), scn);
    }
    return error;
}

static int
read_root(const struct confscan_at *at, const config_setting_t *root,
          struct movescn *scn)
{
    static const char *const names[] = {"about",   "seed", "duration_s",
                                        "brokers", "vms",  "events",
                                        "expect",  NULL};
    const char *about;
    int64_t seed, duration_s, n_brokers;
    int error = check_names(at, root, names);
    error = error ? error : read_text(at, root, "about", &about);
    error = error ? error : read_number(at, root, "seed", INT64_MAX, 1, &seed);
    error = error ? error
                  : read_number(at, root, "duration_s", DURATION_MAX_S, -1,
                                &duration_s);
    error = error ? error
                  : read_number(at, root, "brokers", MOVES_BROKERS_MAX, -1,
                                &n_brokers);
    if (!error &&
        (n_brokers < 1 || text_copy(scn->about, sizeof scn->about, about))) {
        error = confval_refuse(at, root, "no brokers, or too long an about");
    }
    if (error) {
        return error;
    }
    scn->config.seed = (uint64_t)seed;
    scn->config.duration = duration_s * NSEC_PER_SEC;
    scn->config.n_brokers = (uint32_t)n_brokers;
    scn->config.rough = true;
    error = read_each(at, root, "vms", scn, read_vm);
    error = error ? error : read_each(at, root, "events", scn, read_event);
    return error ? error : read_each(at, root, "expect", scn, read_expect);
}

int
movescn_parse(struct movescn *out, const char *text, const char *path,
              char *why, size_t why_size)
{
    struct confscan_at at = {.path = path, .why = why, .why_size = why_size};
    config_t tree;
    if (confscan_read(&at, text, &tree)) {
        return 0; /* Whoever reads the other kind says what is wrong. */
    }
    const config_setting_t *root = config_root_setting(&tree);
    int result = 0;
    if (config_setting_get_member(root, "brokers")) {
        memset(out, 0, sizeof *out);
        result = read_root(&at, root, out);
        result = result ? result : 1;
    }
    config_destroy(&tree);
    return result;
}

double
movescn_value(const struct movescn_expect *expect,
              const struct moves_result *result)
{
    uint64_t value;
    memcpy(&value, (const char *)result + expect->gauge->offset, sizeof value);
    return (double)value;
}

bool
movescn_run(struct movescn *scn, FILE *trace, struct moves_result *out,
            bool met[MOVESCN_EXPECTS_MAX])
{
    scn->config.events = scn->events;
    moves_run(&scn->config, trace, out);
    bool all = out->passed;
    for (uint32_t i = 0; i < scn->n_expects; i++) {
        double value = movescn_value(&scn->expects[i], out);
        met[i] = value >= scn->expects[i].low && value <= scn->expects[i].high;
        all &= met[i];
    }
    return all;
}
