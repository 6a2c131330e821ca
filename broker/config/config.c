/* SPDX-License-Identifier: Apache-2.0 */
/* Turns the text of mbrokerd's one configuration file into struct
 * broker_config, through tables of fields.  confscan.c looks at the text first,
 * libconfig parses it, confval.c reads values, confcheck.c asks whether they go
 * together; the first thing wrong ends it, with its line.  Relies on the doors
 * of policy/, hardware/ and hypervisor/ for what plug-ins are called and which
 * options they have.  Called by mbrokerd's parent, by each of its children on
 * the same text, by mctl check and by msim. */
#include "broker/config/config.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/confcheck.h"
#include "base/confscan.h"
#include "broker/config/confval.h"
#include "hardware/hardware.h"
#include "policy/policy.h"
#include "wire/msg.h"

#define KIBIBYTE (UINT64_C(1) << 10)
#define MEBIBYTE (UINT64_C(1) << 20)
#define SECONDS_PER_DAY UINT64_C(86400)
#define MS_MAX 3600000
#define NAMES_MAX 32 /* Plug-ins of one room. */

static int parse_tree(const struct confscan_at *, const config_setting_t *root,
                      struct broker_config *);
static int read_cpus(const struct confscan_at *, const config_setting_t *,
                     void *config);
static int read_policy(const struct confscan_at *, const config_setting_t *,
                       void *config);
static int read_hypervisor(const struct confscan_at *, const config_setting_t *,
                           void *config);
static int read_pstate(const struct confscan_at *, const config_setting_t *,
                       void *config);
static int read_power(const struct confscan_at *, const config_setting_t *,
                      void *config);
static int read_cap(const struct confscan_at *, const config_setting_t *,
                    void *config);
static int read_guests(const struct confscan_at *, const config_setting_t *,
                       void *config);
static int read_uuid(const struct confscan_at *, const config_setting_t *,
                     void *guest);
static int read_vcpus(const struct confscan_at *, const config_setting_t *,
                      void *guest);
static int read_channel(const struct confscan_at *, const config_setting_t *,
                        void *guest);
static int read_mode(const struct confscan_at *, const config_setting_t *,
                     void *guest);

#define AT(member) .offset = offsetof(struct broker_config, member)
#define IN(member) .offset = offsetof(struct guest_config, member)

static const struct field limits_fields[] = {
    {"pstate_min", FIELD_U32, AT(pstate_min), .max = PSTATES_MAX - 1},
    {"pstate_max", FIELD_U32, AT(pstate_max), .max = PSTATES_MAX - 1},
    {"writes_per_second", FIELD_U32, AT(writes_per_second_max), .min = 1,
     .max = 10000},
    {NULL},
};

static const struct field budget_fields[] = {
    {"max_w", FIELD_U64, AT(budget_max_mw), .min = 1, .max = 1000000,
     .scale = 1000},
    {"safe_w", FIELD_U64, AT(budget_safe_mw), .min = 1, .max = 1000000,
     .scale = 1000},
    {"lease_ms", FIELD_MS, AT(cap_lease_ns), .min = 1000, .max = MS_MAX},
    {NULL},
};

static const struct field control_fields[] = {
    {"group", FIELD_NAME, AT(control_group)},
    {"operators", FIELD_NAME, AT(operator_group)},
    {NULL},
};

static const struct field sandbox_fields[] = {
    {"users", FIELD_BOOL, AT(sandbox_users)},
    {"root", FIELD_BOOL, AT(sandbox_root)},
    {"seccomp", FIELD_BOOL, AT(sandbox_seccomp)},
    {"required", FIELD_BOOL, AT(sandbox_required)},
    {"back", FIELD_NAME, AT(users[0])},
    {"engine", FIELD_NAME, AT(users[1])},
    {"platform", FIELD_NAME, AT(users[2])},
    {NULL},
};

static const struct field journal_fields[] = {
    {"size_mb", FIELD_U64, AT(journal_size_max), .min = 1, .max = 65536,
     .scale = MEBIBYTE},
    {"inputs_mb", FIELD_U64, AT(journal_inputs_max), .max = 32768,
     .scale = MEBIBYTE},
    {"age_days", FIELD_U64, AT(journal_age_max_s), .min = 1, .max = 3650,
     .scale = SECONDS_PER_DAY},
    {NULL},
};

#define QUOTA_FIELDS(QUOTA)                                                    \
    {"messages_per_second", FIELD_U32, QUOTA(messages_per_second), .min = 1,   \
     .max = 100000},                                                           \
        {"bytes_per_second", FIELD_U32, QUOTA(bytes_per_second),               \
         .min = MSG_SIZE_MAX, .max = 1 << 30},                                 \
        {"rows_per_second", FIELD_U32, QUOTA(rows_per_second), .min = 1,       \
         .max = 10000},                                                        \
        {"memory_kb", FIELD_U64,    QUOTA(memory),                             \
         .min = 8,    .max = 65536, .scale = KIBIBYTE},                        \
    {                                                                          \
        NULL                                                                   \
    }
#define QUOTA_AT(member) AT(quota.member)
#define QUOTA_IN(member) IN(quota.member)

static const struct field quota_fields[] = {QUOTA_FIELDS(QUOTA_AT)};
static const struct field guest_quota_fields[] = {QUOTA_FIELDS(QUOTA_IN)};

static const struct field top_fields[] = {
    {"domain", FIELD_NAME, AT(domain)},
    {"host_id", FIELD_NAME, AT(host_id)},
    {"run_dir", FIELD_PATH, AT(run_dir)},
    {"state_dir", FIELD_PATH, AT(state_dir)},
    {"data_dir", FIELD_PATH, AT(data_dir)},
    {"sys_dir", FIELD_PATH, AT(sys_dir)},
    {"proc_dir", FIELD_PATH, AT(proc_dir)},
    {"cpus", FIELD_CUSTOM, .read = read_cpus},
    {"policy", FIELD_CUSTOM, .read = read_policy},
    {"hypervisor", FIELD_CUSTOM, .read = read_hypervisor},
    {"pstate", FIELD_CUSTOM, .read = read_pstate},
    {"power", FIELD_CUSTOM, .read = read_power},
    {"cap", FIELD_CUSTOM, .read = read_cap},
    {"guests", FIELD_CUSTOM, .read = read_guests},
    {"guests_max", FIELD_U32, AT(guests_max), .min = 1,
     .max = CONFIG_GUESTS_MAX},
    {"epoch_ms", FIELD_MS, AT(epoch_ns), .min = 10, .max = 60000},
    {"sample_ms", FIELD_MS, AT(sample_ns), .min = 10, .max = 60000},
    {"beat_ms", FIELD_MS, AT(beat_ns), .min = 50, .max = 60000},
    {"dwell_ms", FIELD_MS, AT(dwell_ns), .min = 0, .max = MS_MAX},
    {"limits", FIELD_GROUP, .fields = limits_fields},
    {"quota", FIELD_GROUP, .fields = quota_fields},
    {"budget", FIELD_GROUP, .fields = budget_fields},
    {"control", FIELD_GROUP, .fields = control_fields},
    {"sandbox", FIELD_GROUP, .fields = sandbox_fields},
    {"journal", FIELD_GROUP, .fields = journal_fields},
    {"end_guests", FIELD_BOOL, AT(end_guests)},
    {"seed", FIELD_U64, AT(seed), .max = INT64_MAX, .scale = 1},
    {NULL},
};

static const struct field guest_fields[] = {
    {"name", FIELD_NAME, IN(name)},
    {"uuid", FIELD_CUSTOM, .read = read_uuid},
    {"vcpus", FIELD_CUSTOM, .read = read_vcpus},
    {"channel", FIELD_CUSTOM, .read = read_channel},
    {"command", FIELD_TEXT, IN(command)},
    {"pid_file", FIELD_PATH, IN(pid_file)},
    {"owner", FIELD_NAME, IN(owner)},
    {"group", FIELD_NAME, IN(group)},
    {"mode", FIELD_CUSTOM, .read = read_mode},
    {"quota", FIELD_GROUP, .fields = guest_quota_fields},
    {NULL},
};

int
config_default(struct broker_config *out, char *why, size_t why_size)
{
    const struct policy_class *none = policy_find("none");

    if (!none) {
        snprintf(why, why_size, "this build has no policy \"none\"");
        return -EINVAL;
    }
    struct broker_config config = {
        .domain = "local",
        .run_dir = "/run/mbroker",
        .state_dir = "/var/lib/mbroker",
        .data_dir = MBROKER_DATA_DIR,
        .sys_dir = "/sys",
        .proc_dir = "/proc",
        .policy = none,
        .epoch_ns = 500 * NSEC_PER_MSEC,
        .sample_ns = 250 * NSEC_PER_MSEC,
        .beat_ns = NSEC_PER_SEC,
        .quota = config_quota(NULL, NULL),
        .pstate_max = PSTATES_MAX - 1,
        .writes_per_second_max = 100,
        .cap_lease_ns = 60 * NSEC_PER_SEC,
        .journal_size_max = 128 * MEBIBYTE,
        .journal_inputs_max = 56 * MEBIBYTE,
        .journal_age_max_s = 30 * SECONDS_PER_DAY,
        .sandbox_users = true,
        .sandbox_root = true,
        .sandbox_seccomp = true,
        .seed = 1,
    };
    options_init(&config.policy_options, none->options);
    config_machine_id(config.host_id);
    *out = config;
    return 0;
}

int
config_parse(struct broker_config *out, const char *text, const char *path,
             char *why, size_t why_size)
{
    struct confscan_at at = {.path = path, .why = why, .why_size = why_size};
    struct broker_config config;
    config_t tree;

    if (strlen(text) > CONFSCAN_TEXT_MAX) {
        return confscan_refuse(&at, 1, "longer than %d bytes",
                               CONFSCAN_TEXT_MAX);
    }
    int error = config_default(&config, why, why_size);
    if (!error) {
        error = confscan_read(&at, text, &tree);
    }
    if (error) {
        return error;
    }
    error = parse_tree(&at, config_root_setting(&tree), &config);
    config_destroy(&tree);
    if (error) {
        if (error == -ENOMEM) {
            snprintf(why, why_size, "%s: no memory", path);
        }
        config_fini(&config);
        return error;
    }
    *out = config;
    return 0;
}

void
config_fini(struct broker_config *config)
{
    free(config->guests);
    config->guests = NULL;
    config->n_guests = 0;
}

bool
config_has_cpu(const struct broker_config *config, uint32_t cpu)
{
    for (uint32_t i = 0; i < config->n_cpus; i++) {
        if (config->cpus[i] == cpu) {
            return true;
        }
    }
    return false;
}

const struct guest_config *
config_guest(const struct broker_config *config, const struct uuid *uuid)
{
    for (uint32_t i = 0; i < config->n_guests; i++) {
        if (uuid_equal(&config->guests[i].uuid, uuid)) {
            return &config->guests[i];
        }
    }
    return NULL;
}

struct quota_config
config_quota(const struct broker_config *config,
             const struct guest_config *guest)
{
    static const struct quota_config none;
    const struct quota_config *own = guest ? &guest->quota : &none;
    const struct quota_config *all = config ? &config->quota : &none;
#define FIRST_OF(member, otherwise)                                            \
    (own->member ? own->member : all->member ? all->member : (otherwise))
    const struct quota_config quota = {
        .messages_per_second = FIRST_OF(messages_per_second, 1000),
        .bytes_per_second = FIRST_OF(bytes_per_second, 512 * KIBIBYTE),
        .rows_per_second = FIRST_OF(rows_per_second, 16),
        .memory = FIRST_OF(memory, 64 * KIBIBYTE),
    };
#undef FIRST_OF

    return quota;
}

static int
parse_tree(const struct confscan_at *at, const config_setting_t *root,
           struct broker_config *config)
{
    int error = confval_group(at, root, top_fields, config);

    return error ? error : confcheck(at, root, config);
}

/* Settings of the broker. */

static int
read_cpus(const struct confscan_at *at, const config_setting_t *setting,
          void *object)
{
    struct broker_config *config = object;

    return confval_cpus(at, setting, true, config->cpus, CONFIG_CPUS_MAX,
                        &config->n_cpus);
}

/* Says that there is no such plug-in, and which there are. */
static int
refuse_plugin(const struct confscan_at *at, const config_setting_t *setting,
              const char *room, const char *name, const char *const *names)
{
    const char *nearest = confval_nearest(name, names);
    char list[160] = "";

    if (nearest) {
        return confval_refuse(at, setting,
                              "no %s \"%.40s\"; did you mean \"%s\"?", room,
                              name, nearest);
    }
    for (size_t i = 0; names[i]; i++) {
        text_append(list, sizeof list, "%s%s", i ? ", " : "", names[i]);
    }
    return confval_refuse(at, setting, "no %s \"%.40s\"; there are: %s", room,
                          name, list);
}

static int
read_policy(const struct confscan_at *at, const config_setting_t *setting,
            void *object)
{
    struct broker_config *config = object;
    const char *name, *names[NAMES_MAX + 1] = {NULL};

    int error = confval_plugin(at, setting, "name", &name);
    if (error) {
        return error;
    }
    const struct policy_class *policy = policy_find(name);
    if (!policy) {
        for (size_t i = 0; policy_table[i]; i++) {
            assert(i < NAMES_MAX);
            names[i] = policy_table[i]->name;
        }
        return refuse_plugin(at, config_setting_get_member(setting, "name"),
                             "policy", name, names);
    }
    config->policy = policy;
    options_init(&config->policy_options, policy->options);
    return confval_options(at, setting, "name", &config->policy_options);
}

static int
read_hypervisor(const struct confscan_at *at, const config_setting_t *setting,
                void *object)
{
    struct broker_config *config = object;
    const char *name, *names[NAMES_MAX + 1] = {NULL};

    int error = confval_plugin(at, setting, "driver", &name);
    if (error) {
        return error;
    }
    config->hypervisor = hypervisor_find(name);
    if (!config->hypervisor) {
        for (size_t i = 0; hypervisor_table[i]; i++) {
            assert(i < NAMES_MAX);
            names[i] = hypervisor_table[i]->name;
        }
        return refuse_plugin(at, config_setting_get_member(setting, "driver"),
                             "hypervisor", name, names);
    }
    options_init(&config->hypervisor_options, config->hypervisor->options);
    return confval_options(at, setting, "driver", &config->hypervisor_options);
}

/* What a driver is wanted for. */
enum offer {
    OFFER_PSTATE,
    OFFER_POWER,
    OFFER_CAP,
};

static bool
offers(const struct hardware_class *driver, enum offer offer)
{
    switch (offer) {
    case OFFER_PSTATE:
        return driver->pstate;
    case OFFER_POWER:
        return driver->power;
    case OFFER_CAP:
        return driver->cap;
    }
    return false;
}

/* A driver of hardware/ that offers what is wanted. */
static int
read_hardware(const struct confscan_at *at, const config_setting_t *setting,
              enum offer offer, const struct hardware_class **class_out,
              struct option_values *options)
{
    static const char *const rooms[] = {"p-state driver", "power driver",
                                        "cap driver"};
    const char *name, *names[NAMES_MAX + 1] = {NULL};

    int error = confval_plugin(at, setting, "driver", &name);
    if (error) {
        return error;
    }
    const struct hardware_class *driver = hardware_find(name);
    if (!driver || !offers(driver, offer)) {
        size_t n = 0;

        for (size_t i = 0; hardware_table[i]; i++) {
            if (offers(hardware_table[i], offer)) {
                assert(n < NAMES_MAX);
                names[n++] = hardware_table[i]->name;
            }
        }
        return refuse_plugin(at, config_setting_get_member(setting, "driver"),
                             rooms[offer], name, names);
    }
    *class_out = driver;
    options_init(options, driver->options);
    return confval_options(at, setting, "driver", options);
}

static int
read_pstate(const struct confscan_at *at, const config_setting_t *setting,
            void *object)
{
    struct broker_config *config = object;

    return read_hardware(at, setting, OFFER_PSTATE, &config->pstate,
                         &config->pstate_options);
}

static int
read_power(const struct confscan_at *at, const config_setting_t *setting,
           void *object)
{
    struct broker_config *config = object;

    return read_hardware(at, setting, OFFER_POWER, &config->power,
                         &config->power_options);
}

static int
read_cap(const struct confscan_at *at, const config_setting_t *setting,
         void *object)
{
    struct broker_config *config = object;

    return read_hardware(at, setting, OFFER_CAP, &config->cap,
                         &config->cap_options);
}

/* Settings of guests. */

static int
read_guests(const struct confscan_at *at, const config_setting_t *setting,
            void *object)
{
    struct broker_config *config = object;
    int n = config_setting_length(setting);

    if (!config_setting_is_list(setting) &&
        !(config_setting_is_array(setting) && n == 0)) {
        return confval_refuse(at, setting,
                              "guests must be a list of groups: guests = "
                              "( { name = \"...\"; vcpus = [0]; } );");
    }
    if (n > CONFIG_GUESTS_MAX) {
        return confval_refuse(at, setting, "%d guests; at most %d", n,
                              CONFIG_GUESTS_MAX);
    }
    if (n == 0) {
        return 0;
    }
    config->guests = calloc((size_t)n, sizeof *config->guests);
    if (!config->guests) {
        return -ENOMEM;
    }
    for (int i = 0; i < n; i++) {
        int error =
            confval_group(at, config_setting_get_elem(setting, (unsigned)i),
                          guest_fields, &config->guests[i]);
        if (error) {
            return error;
        }
        config->n_guests++;
    }
    return 0;
}

static int
read_uuid(const struct confscan_at *at, const config_setting_t *setting,
          void *object)
{
    struct guest_config *guest = object;
    const char *text;

    int error = confval_text(at, setting, &text);
    if (error) {
        return error;
    }
    if (uuid_parse(&guest->uuid, text) || uuid_is_zero(&guest->uuid)) {
        return confval_refuse(at, setting,
                              "uuid = \"%.50s\" is no UUID; write it as "
                              "12345678-9abc-4def-8123-456789abcdef, or "
                              "leave it out",
                              text);
    }
    return 0;
}

static int
read_vcpus(const struct confscan_at *at, const config_setting_t *setting,
           void *object)
{
    struct guest_config *guest = object;

    return confval_cpus(at, setting, false, guest->vcpu_cpu, VM_VCPUS_MAX,
                        &guest->n_vcpus);
}

static int
read_channel(const struct confscan_at *at, const config_setting_t *setting,
             void *object)
{
    struct guest_config *guest = object;
    const char *text;

    int error = confval_text(at, setting, &text);
    if (error) {
        return error;
    }
    const char *colon = strchr(text, ':');
    bool known =
        colon && (!strncmp(text, "unix:", 5) || !strncmp(text, "shm:", 4) ||
                  !strncmp(text, "sim:", 4));
    if (!known) {
        return confval_refuse(at, setting,
                              "channel = \"%.60s\" must be unix:PATH or "
                              "shm:PATH",
                              text);
    }
    bool simulated = !strncmp(text, "sim:", 4);
    if (!simulated &&
        (colon[1] != '/' || strlen(colon + 1) > CONFIG_SOCKET_PATH_MAX)) {
        return confval_refuse(at, setting,
                              "channel = \"%.60s\" must name an absolute "
                              "path of at most %d bytes",
                              text, CONFIG_SOCKET_PATH_MAX);
    }
    if (text_copy(guest->channel, sizeof guest->channel, text)) {
        return confval_refuse(at, setting, "channel is too long");
    }
    return 0;
}

/* Octal, as chmod(1) has it; as text, because a number would be decimal. */
static int
read_mode(const struct confscan_at *at, const config_setting_t *setting,
          void *object)
{
    struct guest_config *guest = object;
    const char *text;

    int error = confval_text(at, setting, &text);
    if (error) {
        return error;
    }
    size_t length = strlen(text);
    bool octal =
        length >= 3 && length <= 4 && strspn(text, "01234567") == length;
    unsigned mode = octal ? (unsigned)strtoul(text, NULL, 8) : 0;
    if ((mode & ~0666u) || (mode & 0600) != 0600) {
        return confval_refuse(at, setting,
                              "mode = \"%.20s\" must be three octal digits of "
                              "a socket's owner, group and others: \"600\" "
                              "(default), \"660\" or \"666\"",
                              text);
    }
    guest->mode = mode;
    return 0;
}

uint32_t
config_guest_places(const struct broker_config *config)
{
    return config->n_guests > config->guests_max ? config->n_guests
                                                 : config->guests_max;
}
