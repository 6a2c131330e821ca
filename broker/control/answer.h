/* SPDX-License-Identifier: Apache-2.0 */
/* What the broker answers to a request on the control socket: the engine's
 * state, the journal and the plug-in tables as JSON, and the few requests that
 * change something carried to the engine.  docs/control.md has the keys. */
#ifndef BROKER_CONTROL_ANSWER_H
#define BROKER_CONTROL_ANSWER_H

#include <jansson.h>

#include "base/clock.h"
#include "broker/control/control.h"
#include "wire/request.h"

/* Answers a request whose sender may make it.  Returns the data, owned by the
 * caller, or null with 'fault' filled in.  REQUEST_WATCH is answered with what
 * the stream begins with. */
json_t *answer_request(const struct control_env *, const struct request *,
                       nsec_t now, struct request_fault *fault);

#endif
