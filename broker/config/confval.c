/* SPDX-License-Identifier: Apache-2.0 */
/* Reads typed values out of libconfig's tree against tables of fields, so that
 * a setting is one line in a table and every refusal says the line, what is
 * wrong, and what would be right.  Relies on base/option for plug-ins' options;
 * called by the other files of broker/config/ and by msim's scenarios. */
#include "broker/config/confval.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/option.h"
#include "base/confscan.h"
#include "base/text.h"
#include "broker/config/config.h"

#define NAMES_MAX 64   /* Names a suggestion is chosen from. */
#define DISTANCE_MAX 3 /* Edits; more is another word. */
#define WORD_MAX 40    /* Longer words get no suggestion. */
#define CPU_MAX UINT16_MAX

static int read_field(const struct confscan_at *, const config_setting_t *,
                      const struct field *, void *object);
static int refuse_name(const struct confscan_at *, const config_setting_t *,
                       const char *const *names);
static int refuse_type(const struct confscan_at *, const config_setting_t *,
                       const char *wanted);

int
confval_refuse(const struct confscan_at *at, const config_setting_t *setting,
               const char *format, ...)
{
    char text[CONFIG_WHY_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return confscan_refuse(at, config_setting_source_line(setting), "%s", text);
}

int
confval_group(const struct confscan_at *at, const config_setting_t *group,
              const struct field *fields, void *object)
{
    const char *names[NAMES_MAX + 1] = {NULL};

    if (!config_setting_is_group(group)) {
        return refuse_type(at, group, "a group, { ... }");
    }
    for (size_t i = 0; fields[i].name; i++) {
        assert(i < NAMES_MAX);
        names[i] = fields[i].name;
    }
    int n = config_setting_length(group);
    for (int i = 0; i < n; i++) {
        const config_setting_t *member =
            config_setting_get_elem(group, (unsigned)i);
        const struct field *field = fields;

        while (field->name && strcmp(field->name, member->name) != 0) {
            field++;
        }
        int error = field->name ? read_field(at, member, field, object)
                                : refuse_name(at, member, names);
        if (error) {
            return error;
        }
    }
    return 0;
}

int
confval_text(const struct confscan_at *at, const config_setting_t *setting,
             const char **out)
{
    if (config_setting_type(setting) != CONFIG_TYPE_STRING) {
        return refuse_type(at, setting, "text, \"...\"");
    }
    *out = config_setting_get_string(setting);
    return 0;
}

int
confval_int(const struct confscan_at *at, const config_setting_t *setting,
            int64_t min, int64_t max, int64_t *out)
{
    int type = config_setting_type(setting);

    if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64) {
        return refuse_type(at, setting, "a whole number");
    }
    int64_t value = type == CONFIG_TYPE_INT ? config_setting_get_int(setting)
                                            : config_setting_get_int64(setting);
    if (value < min || value > max) {
        return confval_refuse(
            at, setting, "%s = %" PRId64 " is outside %" PRId64 " to %" PRId64,
            setting->name ? setting->name : "a member", value, min, max);
    }
    *out = value;
    return 0;
}

int
confval_real(const struct confscan_at *at, const config_setting_t *setting,
             double min, double max, double *out)
{
    if (!config_setting_is_number(setting)) {
        return refuse_type(at, setting, "a number");
    }
    /* config_setting_get_float() converts whole numbers only if told to. */
    double value = config_setting_type(setting) == CONFIG_TYPE_FLOAT
                       ? config_setting_get_float(setting)
                       : (double)config_setting_get_int64(setting);
    if (!(value >= min && value <= max)) {
        return confval_refuse(at, setting, "%s = %g is outside %g to %g",
                              setting->name ? setting->name : "a member", value,
                              min, max);
    }
    *out = value;
    return 0;
}

/* The fields. */

static int
read_name(const struct confscan_at *at, const config_setting_t *setting,
          char *out)
{
    const char *text;

    int error = confval_text(at, setting, &text);
    if (error) {
        return error;
    }
    if (!text_is_name(text)) {
        return confval_refuse(at, setting,
                              "%s = \"%.70s\" is no name: 1 to 64 of A-Z a-z "
                              "0-9 . _ - not starting with . or -",
                              setting->name, text);
    }
    text_copy(out, VM_NAME_SIZE, text);
    return 0;
}

static bool
has_control(const char *text)
{
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 127) {
            return true;
        }
    }
    return false;
}

static int
read_path(const struct confscan_at *at, const config_setting_t *setting,
          char *out)
{
    const char *text;

    int error = confval_text(at, setting, &text);
    if (error) {
        return error;
    }
    if (text[0] != '/' || has_control(text)) {
        return confval_refuse(at, setting,
                              "%s = \"%.60s\" must be an absolute path, "
                              "starting with / and of printable characters",
                              setting->name, text);
    }
    if (strlen(text) >= CONFIG_PATH_SIZE) {
        return confval_refuse(at, setting,
                              "%s is %zu bytes long; a path may have at most "
                              "%d",
                              setting->name, strlen(text),
                              CONFIG_PATH_SIZE - 1);
    }
    text_copy(out, CONFIG_PATH_SIZE, text);
    return 0;
}

static int
read_text(const struct confscan_at *at, const config_setting_t *setting,
          char *out)
{
    const char *text;

    int error = confval_text(at, setting, &text);
    if (error) {
        return error;
    }
    if (!*text || strlen(text) >= CONFIG_COMMAND_SIZE) {
        return confval_refuse(
            at, setting, "%s is %zu bytes long; it may have 1 to %d",
            setting->name, strlen(text), CONFIG_COMMAND_SIZE - 1);
    }
    text_copy(out, CONFIG_COMMAND_SIZE, text);
    return 0;
}

static int
read_number(const struct confscan_at *at, const config_setting_t *setting,
            const struct field *field, void *out)
{
    int64_t value;

    int error = confval_int(at, setting, field->min, field->max, &value);
    if (error) {
        return error;
    }
    switch (field->kind) {
    case FIELD_U32:
        *(uint32_t *)out = (uint32_t)value;
        break;
    case FIELD_U64:
        *(uint64_t *)out = (uint64_t)value * field->scale;
        break;
    default:
        *(nsec_t *)out = value * NSEC_PER_MSEC;
        break;
    }
    return 0;
}

static int
read_real(const struct confscan_at *at, const config_setting_t *setting,
          const struct field *field, void *out)
{
    double value;

    int error = confval_real(at, setting, (double)field->min,
                             (double)field->max, &value);
    if (error) {
        return error;
    }
    if (field->kind == FIELD_S) {
        *(nsec_t *)out = (nsec_t)(value * (double)NSEC_PER_SEC + 0.5);
    } else {
        *(double *)out = value;
    }
    return 0;
}

static int
read_field(const struct confscan_at *at, const config_setting_t *setting,
           const struct field *field, void *object)
{
    void *out = (char *)object + field->offset;

    switch (field->kind) {
    case FIELD_NAME:
        return read_name(at, setting, out);
    case FIELD_PATH:
        return read_path(at, setting, out);
    case FIELD_TEXT:
        return read_text(at, setting, out);
    case FIELD_BOOL:
        if (config_setting_type(setting) != CONFIG_TYPE_BOOL) {
            return refuse_type(at, setting, "true or false");
        }
        *(bool *)out = config_setting_get_bool(setting);
        return 0;
    case FIELD_U32:
    case FIELD_U64:
    case FIELD_MS:
        return read_number(at, setting, field, out);
    case FIELD_S:
    case FIELD_REAL:
        return read_real(at, setting, field, out);
    case FIELD_GROUP:
        return confval_group(at, setting, field->fields, object);
    case FIELD_CUSTOM:
        return field->read(at, setting, object);
    }
    return -EINVAL;
}

/* Lists of CPUs. */

static int
add_cpu(const struct confscan_at *at, const config_setting_t *setting,
        uint32_t cpu, bool distinct, uint32_t *out, size_t max, uint32_t *n)
{
    for (uint32_t i = 0; distinct && i < *n; i++) {
        if (out[i] == cpu) {
            return confval_refuse(at, setting,
                                  "CPU %" PRIu32 " is listed twice", cpu);
        }
    }
    if (*n == max) {
        return confval_refuse(at, setting, "more than %zu CPUs", max);
    }
    out[(*n)++] = cpu;
    return 0;
}

static int
cpus_of_text(const struct confscan_at *at, const config_setting_t *setting,
             bool distinct, uint32_t *out, size_t max, uint32_t *n)
{
    uint32_t listed[CONFIG_CPUS_MAX];
    const char *text = config_setting_get_string(setting);

    int found = text_to_cpus(text, listed, CONFIG_CPUS_MAX);
    if (found < 0) {
        return confval_refuse(
            at, setting,
            "%s = \"%.60s\" is no CPU list; write [0, 1] or \"0-3,8\"%s",
            setting->name, text, found == -E2BIG ? " of at most 256" : "");
    }
    for (int i = 0; i < found; i++) {
        int error = add_cpu(at, setting, listed[i], distinct, out, max, n);
        if (error) {
            return error;
        }
    }
    return 0;
}

int
confval_cpus(const struct confscan_at *at, const config_setting_t *setting,
             bool distinct, uint32_t *out, size_t max, uint32_t *n_out)
{
    uint32_t n = 0;
    int error = 0;

    if (config_setting_type(setting) == CONFIG_TYPE_STRING) {
        error = cpus_of_text(at, setting, distinct, out, max, &n);
    } else if (config_setting_is_array(setting) ||
               config_setting_is_list(setting)) {
        int length = config_setting_length(setting);
        for (int i = 0; i < length && !error; i++) {
            const config_setting_t *member =
                config_setting_get_elem(setting, (unsigned)i);
            int64_t cpu = 0;

            error = confval_int(at, member, 0, CPU_MAX, &cpu);
            if (!error) {
                error =
                    add_cpu(at, member, (uint32_t)cpu, distinct, out, max, &n);
            }
        }
    } else {
        error = refuse_type(at, setting, "CPUs, as [0, 1] or \"0-3,8\"");
    }
    if (!error) {
        *n_out = n;
    }
    return error;
}

/* Options of plug-ins. */

static const char *
type_of_option(enum option_type type)
{
    switch (type) {
    case OPTION_INT:
        return "a whole number";
    case OPTION_REAL:
        return "a number";
    case OPTION_BOOL:
        return "true or false";
    case OPTION_TEXT:
    case OPTION_CHOICE:
        return "text, \"...\"";
    case OPTION_INTS:
        return "a list of whole numbers, [1, 2]";
    }
    return "something else";
}

static bool
is_of_type(const config_setting_t *setting, enum option_type type)
{
    bool whole = config_setting_type(setting) == CONFIG_TYPE_INT ||
                 config_setting_type(setting) == CONFIG_TYPE_INT64;

    switch (type) {
    case OPTION_INT:
        return whole;
    case OPTION_REAL:
        return config_setting_is_number(setting);
    case OPTION_BOOL:
        return config_setting_type(setting) == CONFIG_TYPE_BOOL;
    case OPTION_TEXT:
    case OPTION_CHOICE:
        return config_setting_type(setting) == CONFIG_TYPE_STRING;
    case OPTION_INTS:
        break;
    }
    if (!config_setting_is_array(setting) && !config_setting_is_list(setting)) {
        return false;
    }
    for (int i = 0; i < config_setting_length(setting); i++) {
        const config_setting_t *member =
            config_setting_get_elem(setting, (unsigned)i);

        if (!is_of_type(member, OPTION_INT)) {
            return false;
        }
    }
    return true;
}

/* Writes a value as a user would on a command line. */
static int
text_of_value(const config_setting_t *setting, char *out, size_t size)
{
    int used = 0;

    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return snprintf(out, size, "%lld", config_setting_get_int64(setting));
    case CONFIG_TYPE_FLOAT:
        return snprintf(out, size, "%.17g", config_setting_get_float(setting));
    case CONFIG_TYPE_BOOL:
        return snprintf(out, size, "%s",
                        config_setting_get_bool(setting) ? "true" : "false");
    case CONFIG_TYPE_STRING:
        return snprintf(out, size, "%s", config_setting_get_string(setting));
    default:
        break;
    }
    out[0] = '\0';
    for (int i = 0; i < config_setting_length(setting); i++) {
        used +=
            snprintf(out + used, size - (size_t)used, "%s%lld", i ? " " : "",
                     config_setting_get_int64_elem(setting, i));
        if ((size_t)used >= size) {
            break;
        }
    }
    return used;
}

static int
read_option(const struct confscan_at *at, const config_setting_t *setting,
            struct option_values *values, const char *const *names)
{
    char text[OPTION_TEXT_MAX + 1], why[CONFIG_WHY_SIZE];
    const struct option_desc *desc = NULL;

    for (size_t i = 0; i < values->n; i++) {
        if (!strcmp(values->descs[i].name, setting->name)) {
            desc = &values->descs[i];
        }
    }
    if (!desc) {
        return refuse_name(at, setting, names);
    }
    if (!is_of_type(setting, desc->type)) {
        return refuse_type(at, setting, type_of_option(desc->type));
    }
    int used = text_of_value(setting, text, sizeof text);
    if ((size_t)used >= sizeof text) {
        return confval_refuse(at, setting, "%s is longer than %d bytes",
                              setting->name, OPTION_TEXT_MAX);
    }
    int error = options_set(values, setting->name, text, why, sizeof why);
    return error ? confval_refuse(at, setting, "%s", why) : 0;
}

int
confval_options(const struct confscan_at *at, const config_setting_t *group,
                const char *except, struct option_values *values)
{
    const char *names[OPTION_MAX + 2] = {except};

    for (size_t i = 0; i < values->n; i++) {
        names[i + 1] = values->descs[i].name;
    }
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *member =
            config_setting_get_elem(group, (unsigned)i);

        if (!strcmp(member->name, except)) {
            continue;
        }
        int error = read_option(at, member, values, names);
        if (error) {
            return error;
        }
    }
    return 0;
}

int
confval_plugin(const struct confscan_at *at, const config_setting_t *group,
               const char *member, const char **out)
{
    if (!config_setting_is_group(group)) {
        return confval_refuse(at, group,
                              "%s is %s; write %s = { %s = \"...\"; };",
                              group->name, "not a group", group->name, member);
    }
    const config_setting_t *name = config_setting_get_member(group, member);
    if (!name) {
        return confval_refuse(at, group,
                              "%s has no %s; write %s = { %s = \"...\"; };",
                              group->name, member, group->name, member);
    }
    return confval_text(at, name, out);
}

/* Refusals. */

static const char *
type_name(const config_setting_t *setting)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_GROUP:
        return "a group";
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return "a whole number";
    case CONFIG_TYPE_FLOAT:
        return "a number with a fraction";
    case CONFIG_TYPE_STRING:
        return "text";
    case CONFIG_TYPE_BOOL:
        return "true or false";
    case CONFIG_TYPE_ARRAY:
    case CONFIG_TYPE_LIST:
        return "a list";
    default:
        return "empty";
    }
}

static int
refuse_type(const struct confscan_at *at, const config_setting_t *setting,
            const char *wanted)
{
    return confval_refuse(at, setting, "%.64s is %s, and must be %s",
                          setting->name ? setting->name : "a member",
                          type_name(setting), wanted);
}

static int
refuse_name(const struct confscan_at *at, const config_setting_t *setting,
            const char *const *names)
{
    const char *nearest = confval_nearest(setting->name, names);
    char list[160] = "";

    if (nearest) {
        return confval_refuse(at, setting,
                              "unknown name \"%.64s\"; did you mean \"%s\"?",
                              setting->name, nearest);
    }
    for (size_t i = 0; names[i]; i++) {
        text_append(list, sizeof list, "%s%s", i ? ", " : "", names[i]);
    }
    return confval_refuse(at, setting, "unknown name \"%.40s\"; there are: %s",
                          setting->name, list);
}

/* Levenshtein's distance, in one row. */
static size_t
distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1], n = strlen(b);

    for (size_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i]; i++) {
        size_t corner = row[0];

        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t best = corner + (a[i] != b[j]);

            corner = row[j + 1];
            best = best < row[j] + 1 ? best : row[j] + 1;
            row[j + 1] = best < corner + 1 ? best : corner + 1;
        }
    }
    return row[n];
}

const char *
confval_nearest(const char *name, const char *const *names)
{
    const char *nearest = NULL;
    size_t least = DISTANCE_MAX + 1, length = strlen(name);

    for (size_t i = 0; names[i] && length <= WORD_MAX; i++) {
        assert(strlen(names[i]) <= WORD_MAX);
        size_t d = distance(name, names[i]);
        if (d < least && d * 2 <= strlen(names[i])) {
            least = d;
            nearest = names[i];
        }
    }
    return nearest;
}
