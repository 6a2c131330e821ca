/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs that look into a journal's file share: they let mjournal read
 * it, which says at the end what of it is proved. */
#ifndef CTL_JOURNAL_H
#define CTL_JOURNAL_H

#include <jansson.h>
#include <stdbool.h>

#include "ctl/ctl.h"

/* Runs mjournal with 'argv'.  '*report' is what 'line' set it to.  CTL_OK if
 * all of the file is proved, CTL_FAILED if not, or if it can't be read; then
 * that was said. */
enum ctl_exit journal_ask(struct ctl *, const char *const *argv,
                          bool (*line)(void *ctx, char *line), void *ctx,
                          json_t *const *report);

/* Says what of the file is not proved; nothing if all is. */
void journal_warn(struct ctl *, const char *file, const json_t *report);

#endif
