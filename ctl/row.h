/* SPDX-License-Identifier: Apache-2.0 */
/* A row of the journal in a few words, for events and watch;
 * and names as people call them, for trace. */
#ifndef CTL_ROW_H
#define CTL_ROW_H

#include <jansson.h>
#include <stddef.h>

#include "ctl/ctl.h"

#define ROW_SUBJECT_SIZE 128
#define ROW_SAID_SIZE 320

/* Asks for the broker's VMs, so that people read names where the journal has
 * UUIDs.  CTL_OK with '*out' owned by the caller; otherwise the reason was
 * said. */
enum ctl_exit row_vms(struct ctl *, json_t **out);

/* "web1", "cpu0", "broker"; else the whole name.  'vms' may be null. */
void row_subject(const json_t *row, const json_t *vms,
                 char out[ROW_SUBJECT_SIZE]);
/* The same for each mgmt:// name in a text. */
void row_names(const char *text, const json_t *vms, char out[ROW_SAID_SIZE]);
/* "p-state 2 -> 1 for web1: violations 20". */
void row_said(const json_t *row, const json_t *vms, char out[ROW_SAID_SIZE]);

#endif
