/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the settings of a configuration go together.  For
 * broker/config/config.c only. */
#ifndef BROKER_CONFIG_CONFCHECK_H
#define BROKER_CONFIG_CONFCHECK_H

struct broker_config;
struct confscan_at;
struct config_setting_t;

/* Fills in what follows from other settings (a guest's UUID and channel), then
 * checks what spans more than one.  'root' is asked for lines.  Returns 0 or
 * -EINVAL, said in 'at'. */
int confcheck(const struct confscan_at *at, const struct config_setting_t *root,
              struct broker_config *config);

#endif
