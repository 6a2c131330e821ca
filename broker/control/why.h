/* SPDX-License-Identifier: Apache-2.0 */
/* Why a knob stands where it stands: the arbiter's last verdict as JSON. */
#ifndef BROKER_CONTROL_WHY_H
#define BROKER_CONTROL_WHY_H

#include <jansson.h>

#include "base/clock.h"
#include "broker/control/control.h"
#include "wire/request.h"

/* 'knob' is "cpu3", "domain0" or the mgmt:// name of a CPU's p-state.  Returns
 * an object owned by the caller, or null with 'fault'. */
json_t *why_knob(const struct control_env *, const char *knob, nsec_t now,
                 struct request_fault *fault);

#endif
