/* SPDX-License-Identifier: Apache-2.0 */
/* mctl's end of the control socket: one request, one answer, or a stream of
 * lines.  Blocks, for 10 s at most where an answer is due. */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include <jansson.h>

#include "ctl/ctl.h"

/* Sends 'request' (takes it) to the broker of ctl->run_dir and reads the
 * answer. CTL_OK with '*data' owned by the caller; otherwise the reason was
 * said. */
enum ctl_exit client_ask(struct ctl *, json_t *request, json_t **data);

/* The same, then hands every further line to 'line' until the broker closes,
 * 'line' returns false or ctl->stop is set. */
enum ctl_exit client_stream(struct ctl *, json_t *request,
                            bool (*line)(void *ctx, const json_t *line),
                            void *ctx);

#endif
