/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that read scenarios share.  For sim/sc*.c only. */
#ifndef SIM_SCNPARTS_H
#define SIM_SCNPARTS_H

struct confval;
struct config_setting_t;
struct scenario;

/* Calls 'read' for each group of a list of at most 'max'. */
int scenario_read_list(const struct confval *, const struct config_setting_t *,
                       int max, struct scenario *,
                       int (*read)(const struct confval *,
                                   const struct config_setting_t *,
                                   struct scenario *));

/* Parses the group "host" of 'root', and the guests already read, as mbrokerd's
 * configuration. */
int scenario_make_config(const struct confval *,
                         const struct config_setting_t *root,
                         struct scenario *);

/* The lists "faults" and "expect"; guests and configuration are there. */
int scenario_read_faults(const struct confval *,
                         const struct config_setting_t *, struct scenario *);
int scenario_read_expects(const struct confval *,
                          const struct config_setting_t *, struct scenario *);

#endif
