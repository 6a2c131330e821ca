/* SPDX-License-Identifier: Apache-2.0 */
/* Reads magentd's settings.  magentd.c calls it for its file first and then for
 * each word of its command line, which therefore wins.  Scalars are brought to
 * text and given to base/option, which knows types, ranges and sentences; so
 * the file, the command line and --help can't differ.
 *
 *     channel = "unix:/run/mbroker/channel";
 *     threshold_us = 3000;
 *     probes = ( { name = "httplog"; path = "/var/log/nginx/mbroker.log"; } );
 */
#include "agent/settings.h"

#include <errno.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/confscan.h"
#include "base/text.h"
#include "probe/probe.h"

#define SPEC_SIZE 1024 /* Bytes of a probe on the command line. */

const struct option_desc settings_options[] = {
    {.name = "channel",
     .type = OPTION_TEXT,
     .default_text = "unix:/run/mbroker/channel",
     .help = "Where the broker is: unix:PATH or shm:PATH."},
    {.name = "claim",
     .type = OPTION_TEXT,
     .default_text = "",
     .help = "The VM this is believed to be; the broker refuses a wrong one."},
    {.name = "notes",
     .type = OPTION_TEXT,
     .default_text = "",
     .help = "Where programs hand in messages of their own: unix:PATH; not "
             "given: nowhere."},
    {.name = "threshold_us",
     .unit = "us",
     .type = OPTION_INT,
     .min = 1,
     .max = 3600000000.0,
     .default_text = "3000",
     .help = "A response slower than this violates the SLA."},
    {.name = "epoch_ms",
     .unit = "ms",
     .type = OPTION_INT,
     .min = 10,
     .max = 3600000,
     .default_text = "500",
     .help = "How long requests are counted together."},
    {.name = "tolerated_percent",
     .unit = "%",
     .type = OPTION_REAL,
     .min = 0,
     .max = 100,
     .default_text = "1",
     .help = "Share of an epoch's requests that may violate, to 0.1."},
    {.name = "log_level",
     .type = OPTION_CHOICE,
     .choices = "error warn info debug",
     .default_text = "info",
     .help = "What is written to standard error."},
    {0},
};

static int read_root(struct settings *, const config_t *, const char *path,
                     char *why, size_t why_size);

void
settings_init(struct settings *settings)
{
    settings->n_probes = 0;
    options_init(&settings->values, settings_options);
}

/* A claim becomes part of names; what could not be one is refused here. */
static int
check_claim(const char *text, char *why, size_t why_size)
{
    if (*text && !text_is_name(text)) {
        snprintf(why, why_size,
                 "claim: \"%.64s\" is no name; letters, digits, '.', '_' and "
                 "'-', at most 64",
                 text);
        return -EINVAL;
    }
    return 0;
}

int
settings_set(struct settings *settings, const char *name, const char *text,
             char *why, size_t why_size)
{
    char plain[64];

    if (text_copy(plain, sizeof plain, name)) {
        snprintf(why, why_size, "%.64s…: no such setting", name);
        return -EINVAL;
    }
    for (char *c = plain; *c; c++) {
        *c = *c == '-' ? '_' : *c;
    }
    if (!strcmp(plain, "claim") && check_claim(text, why, why_size)) {
        return -EINVAL;
    }
    if (options_set(&settings->values, plain, text, why, why_size)) {
        return -EINVAL;
    }
    return 0;
}

/* A new last probe, or null with 'why'. */
static struct settings_probe *
add_probe(struct settings *settings, const char *name, char *why,
          size_t why_size)
{
    const struct probe_class *class = probe_find(name);
    struct settings_probe *probe = &settings->probes[settings->n_probes];

    if (settings->n_probes == AGENT_PROBES_MAX) {
        snprintf(why, why_size, "more than %d probes", AGENT_PROBES_MAX);
        return NULL;
    }
    if (!class) {
        snprintf(why, why_size, "no probe \"%.32s\"; there are:", name);
        for (size_t i = 0; probe_table[i]; i++) {
            text_append(why, why_size, " %s", probe_table[i]->name);
        }
        return NULL;
    }
    probe->class = class;
    options_init(&probe->options, class->options);
    settings->n_probes++;
    return probe;
}

int
settings_add_probe(struct settings *settings, const char *spec, char *why,
                   size_t why_size)
{
    char copy[SPEC_SIZE], *rest, *pair, *save = NULL;
    struct settings_probe *probe;

    if (text_copy(copy, sizeof copy, spec)) {
        snprintf(why, why_size, "a probe of more than %d bytes", SPEC_SIZE - 1);
        return -EINVAL;
    }
    rest = strchr(copy, ':');
    if (rest) {
        *rest++ = '\0';
    }
    probe = add_probe(settings, copy, why, why_size);
    if (!probe) {
        return -EINVAL;
    }
    for (pair = rest ? strtok_r(rest, ",", &save) : NULL; pair;
         pair = strtok_r(NULL, ",", &save)) {
        char *value = strchr(pair, '=');
        if (!value) {
            snprintf(why, why_size, "probe %s: \"%.64s\" is not option=value",
                     copy, pair);
            return -EINVAL;
        }
        *value++ = '\0';
        if (options_set(&probe->options, pair, value, why, why_size)) {
            return -EINVAL;
        }
    }
    return 0;
}

int
settings_finish(struct settings *settings, char *why, size_t why_size)
{
    const char *channel = option_text(&settings->values, "channel");

    if (strncmp(channel, "unix:", 5) && strncmp(channel, "shm:", 4)) {
        snprintf(why, why_size,
                 "channel %.80s: a channel is unix:PATH or shm:PATH", channel);
        return -EINVAL;
    }
    if (settings->n_probes) {
        return 0;
    }
    return settings_add_probe(settings, "cpu", why, why_size);
}

struct sla_terms
settings_sla(const struct settings *settings)
{
    const struct option_values *v = &settings->values;
    double percent = option_real(v, "tolerated_percent");
    struct sla_terms terms = {
        .threshold_us = (uint64_t)option_int(v, "threshold_us"),
        .epoch_ns = option_int(v, "epoch_ms") * NSEC_PER_MSEC,
        .tolerated_permille = (uint32_t)(percent * 10 + 0.5),
    };

    return terms;
}

enum log_level
settings_log_level(const struct settings *settings)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    const char *name = option_text(&settings->values, "log_level");

    for (int i = LOG_LEVEL_ERROR; i < LOG_LEVEL_DEBUG; i++) {
        if (!strcmp(name, names[i])) {
            return (enum log_level)i;
        }
    }
    return LOG_LEVEL_DEBUG;
}

/* The file */

int
settings_read(struct settings *settings, const char *path, char *why,
              size_t why_size)
{
    struct confscan_at at = {.path = path, .why = why, .why_size = why_size};
    config_t config;
    char *text;

    int error = confscan_load(&text, path, why, why_size);
    if (error) {
        return error;
    }
    error = confscan_read(&at, text, &config);
    if (!error) {
        error = read_root(settings, &config, path, why, why_size);
        config_destroy(&config);
    }
    free(text);
    return error;
}

__attribute__((format(printf, 5, 6))) static int
refuse(char *why, size_t why_size, const char *path,
       const config_setting_t *setting, const char *format, ...)
{
    char text[SETTINGS_WHY_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(why, why_size, "%s:%u: %s", path,
             config_setting_source_line(setting), text);
    return -EINVAL;
}

/* Writes a scalar as a user would on the command line; false if it is none. */
static bool
scalar_text(const config_setting_t *setting, char *out, size_t size)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
        snprintf(out, size, "%d", config_setting_get_int(setting));
        return true;
    case CONFIG_TYPE_INT64:
        snprintf(out, size, "%lld", config_setting_get_int64(setting));
        return true;
    case CONFIG_TYPE_FLOAT:
        snprintf(out, size, "%.15g", config_setting_get_float(setting));
        return true;
    case CONFIG_TYPE_BOOL:
        snprintf(out, size, "%s",
                 config_setting_get_bool(setting) ? "true" : "false");
        return true;
    case CONFIG_TYPE_STRING:
        return !text_copy(out, size, config_setting_get_string(setting));
    default:
        return false;
    }
}

static int
read_probe(struct settings *settings, const config_setting_t *group,
           const char *path, char *why, size_t why_size)
{
    struct settings_probe *probe;
    char text[OPTION_TEXT_MAX + 1], detail[SETTINGS_WHY_SIZE / 2] = "";
    const char *name;

    if (!config_setting_is_group(group) ||
        !config_setting_lookup_string(group, "name", &name)) {
        return refuse(why, why_size, path, group,
                      "a probe is written { name = \"NAME\"; … }");
    }
    probe = add_probe(settings, name, detail, sizeof detail);
    if (!probe) {
        return refuse(why, why_size, path, group, "%s", detail);
    }
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *member =
            config_setting_get_elem(group, (unsigned)i);
        const char *key = config_setting_name(member);

        if (!strcmp(key, "name")) {
            continue;
        }
        if (!scalar_text(member, text, sizeof text)) {
            return refuse(why, why_size, path, member,
                          "%s must be one value of at most %d bytes", key,
                          OPTION_TEXT_MAX);
        }
        if (options_set(&probe->options, key, text, detail, sizeof detail)) {
            return refuse(why, why_size, path, member, "%s", detail);
        }
    }
    return 0;
}

static int
read_probes(struct settings *settings, const config_setting_t *list,
            const char *path, char *why, size_t why_size)
{
    if (!config_setting_is_list(list)) {
        return refuse(why, why_size, path, list,
                      "probes is a list: ( { name = \"NAME\"; … }, … )");
    }
    for (int i = 0; i < config_setting_length(list); i++) {
        int error =
            read_probe(settings, config_setting_get_elem(list, (unsigned)i),
                       path, why, why_size);
        if (error) {
            return error;
        }
    }
    return 0;
}

static int
read_root(struct settings *settings, const config_t *config, const char *path,
          char *why, size_t why_size)
{
    const config_setting_t *root = config_root_setting(config);
    char text[OPTION_TEXT_MAX + 1], detail[SETTINGS_WHY_SIZE / 2] = "";

    for (int i = 0; i < config_setting_length(root); i++) {
        const config_setting_t *member =
            config_setting_get_elem(root, (unsigned)i);
        const char *name = config_setting_name(member);
        int error = 0;

        if (!strcmp(name, "probes")) {
            error = read_probes(settings, member, path, why, why_size);
        } else if (!scalar_text(member, text, sizeof text)) {
            error = refuse(why, why_size, path, member,
                           "%s must be one value of at most %d bytes", name,
                           OPTION_TEXT_MAX);
        } else if (settings_set(settings, name, text, detail, sizeof detail)) {
            error = refuse(why, why_size, path, member, "%s", detail);
        }
        if (error) {
            return error;
        }
    }
    return 0;
}
