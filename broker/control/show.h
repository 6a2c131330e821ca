/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's state as JSON, for the control socket.  Keys end in their unit;
 * what is unknown is null, never 0; docs/control.md lists them.  Each returns
 * an object or array owned by the caller, or null when memory is short. */
#ifndef BROKER_CONTROL_SHOW_H
#define BROKER_CONTROL_SHOW_H

#include <jansson.h>

#include "base/clock.h"
#include "broker/control/control.h"
#include "broker/journal/journal.h"
#include "model/wish.h"
#include "wire/request.h"

struct host;
struct power_reading;
struct vm;

json_t *show_status(const struct control_env *, nsec_t now);
json_t *show_vms(const struct control_env *, nsec_t now);
json_t *show_cpus(const struct control_env *, nsec_t now);
json_t *show_power(const struct power_reading *, nsec_t now);
/* The host's power cap; what came of a reload. */
json_t *show_cap(const struct control_env *, nsec_t now);
json_t *show_reload(const struct control_env *);
json_t *show_policy(const struct control_env *, nsec_t now);
json_t *show_plugins(const struct control_env *, nsec_t now);
json_t *show_row(const struct journal_row *);

/* Text, or null if it is empty.  Text cut in the middle of a character, which
 * is not JSON's UTF-8 any more, is made printable. */
json_t *show_text(const char *);

/* Adds a member, which it takes, to an array or object.  If that fails, or the
 * member is null, the whole is freed and becomes null: an answer that lacks
 * something must not look like one that has all. */
void show_append(json_t **array, json_t *member);
void show_set(json_t **object, const char *key, json_t *member);

/* A wish with its reason; 'host' says what the VM is called. */
json_t *show_wish(const struct wish *, const struct host *, nsec_t now);

/* The VM of that name or UUID; null, with 'fault', if there is none. */
struct vm *show_find_vm(const struct host *, const char *name,
                        struct request_fault *fault);

/* The frequency of a p-state of a domain in MHz, or null. */
json_t *show_mhz(const struct host *, uint32_t domain, uint32_t pstate);

#endif
