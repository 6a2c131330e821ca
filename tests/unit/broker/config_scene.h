/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations that are accepted or refused: with plug-ins that are made up,
 * so that the rules are tested and not the options of the day. */
#ifndef TESTS_UNIT_BROKER_CONFIG_SCENE_H
#define TESTS_UNIT_BROKER_CONFIG_SCENE_H

#include "broker/config/config.h"

/* As in a build that left policy "none" out. */
extern bool config_scene_lacks_none;

/* Asserts that 'text' is refused, at that line, with 'part' in the words. */
void refused(const char *text, unsigned line, const char *part);
void accepted(struct broker_config *config, const char *text);
void just_accepted(const char *text);

#endif
