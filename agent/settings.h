/* SPDX-License-Identifier: Apache-2.0 */
/* What magentd was told: by its file (libconfig) and by its command line, under
 * the same names.  Everything is typed, in range or refused with a sentence. */
#ifndef AGENT_SETTINGS_H
#define AGENT_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/agent.h"
#include "base/log.h"
#include "base/option.h"

struct probe_class;

#define SETTINGS_FILE_DEFAULT "/etc/mbroker/magentd.conf"
#define SETTINGS_WHY_SIZE 320

struct settings_probe {
    const struct probe_class *class;
    struct option_values options;
};

struct settings {
    struct option_values values; /* Of settings_options. */
    uint32_t n_probes;
    struct settings_probe probes[AGENT_PROBES_MAX];
};

/* What can be set besides probes. */
extern const struct option_desc settings_options[];

void settings_init(struct settings *);

/* Sets one by name; a dash is taken for an underscore, as on command lines.
 * Returns 0 or -EINVAL with 'why'. */
int settings_set(struct settings *, const char *name, const char *text,
                 char *why, size_t why_size);

/* Adds a probe written "NAME" or "NAME:option=value,option=value".  Returns 0
 * or -EINVAL with 'why'. */
int settings_add_probe(struct settings *, const char *spec, char *why,
                       size_t why_size);

/* Reads a file over what is set.  Returns 0, -ENOENT, another error of
 * opening, or -EINVAL; 'why' begins with "PATH:LINE: " or "PATH: ". */
int settings_read(struct settings *, const char *path, char *why,
                  size_t why_size);

/* What is left to be made up when all was read: the cpu probe if there is
 * none.  Returns 0 or -EINVAL with 'why'. */
int settings_finish(struct settings *, char *why, size_t why_size);

struct sla_terms settings_sla(const struct settings *);
enum log_level settings_log_level(const struct settings *);

#endif
