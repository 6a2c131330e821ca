/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that read scenarios share.  For sim/sc*.c only. */
#ifndef SIM_SCNPARTS_H
#define SIM_SCNPARTS_H

#include <stdint.h>

#include "base/clock.h"

struct confscan_at;
struct config_setting_t;
struct scenario;

/* Calls 'read' for each group of a list of at most 'max'. */
int scenario_read_list(const struct confscan_at *,
                       const struct config_setting_t *, int max,
                       struct scenario *,
                       int (*read)(const struct confscan_at *,
                                   const struct config_setting_t *,
                                   struct scenario *));

/* Each reads a setting of that kind, or refuses it by its line. */
int scenario_find_guest(const struct confscan_at *,
                        const struct config_setting_t *,
                        const struct scenario *, uint32_t *out);
int scenario_find_cpu(const struct confscan_at *,
                      const struct config_setting_t *, const struct scenario *,
                      uint32_t *out);
/* A moment no later than the scenario's end. */
int scenario_read_moment(const struct confscan_at *,
                         const struct config_setting_t *,
                         const struct scenario *, nsec_t *out);
/* For members that are read later. */
int scenario_read_nothing(const struct confscan_at *,
                          const struct config_setting_t *, void *object);
/* Refuses a name, with the nearest of 'names'. */
int scenario_refuse_unknown(const struct confscan_at *,
                            const struct config_setting_t *, const char *what,
                            const char *name, const char *const *names);

/* Parses the group "host" of 'root', and the guests already read, as mbrokerd's
 * configuration. */
int scenario_make_config(const struct confscan_at *,
                         const struct config_setting_t *root,
                         struct scenario *);

/* "faults", "chaos" and "expect"; guests and configuration are there. */
int scenario_read_faults(const struct confscan_at *,
                         const struct config_setting_t *, struct scenario *);
int scenario_read_chaos(const struct confscan_at *,
                        const struct config_setting_t *, struct scenario *);
int scenario_read_expects(const struct confscan_at *,
                          const struct config_setting_t *, struct scenario *);

#endif
