/* SPDX-License-Identifier: Apache-2.0 */
/* What magentd prints about itself, for people or as JSON. */
#ifndef AGENT_SHOW_H
#define AGENT_SHOW_H

#include <stdbool.h>

void show_help(void);
void show_version(bool json);
void show_probes(bool json);
/* What came of reading the settings: 0, or an error and why. */
void show_check(bool json, int error, const char *why);

#endif
