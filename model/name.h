/* SPDX-License-Identifier: Apache-2.0 */
/* mgmt:// names: what a thing is called, never where it is now.
 *
 *   mgmt://DOMAIN/vm/UUID                 a VM
 *   mgmt://DOMAIN/vm/UUID/agent           the M-agent in it
 *   mgmt://DOMAIN/host/ID                 a host
 *   mgmt://DOMAIN/host/ID/cpu/N/pstate    a CPU's p-state; a frequency domain
 *                                         goes by its first CPU
 *   mgmt://DOMAIN/host/ID/power           the host's power
 *   mgmt://DOMAIN/host/ID/broker          its M-broker
 *   mgmt://DOMAIN/host/ID/broker/power    the power its M-broker uses */
#ifndef MODEL_NAME_H
#define MODEL_NAME_H

#include <stdint.h>

#include "model/uuid.h"

#define NAME_PART_SIZE 65  /* Of DOMAIN and ID, with the terminating null. */
#define NAME_TEXT_SIZE 168 /* Of the longest name, likewise. */

enum name_kind {
    NAME_VM,
    NAME_AGENT,
    NAME_HOST,
    NAME_PSTATE,
    NAME_POWER,
    NAME_BROKER,
    NAME_BROKER_POWER,
};

struct name {
    enum name_kind kind;
    char domain[NAME_PART_SIZE]; /* Both as text_is_name() allows. */
    char host[NAME_PART_SIZE];   /* "" for a VM and its agent. */
    struct uuid vm;              /* Zero for the others. */
    uint32_t cpu;                /* For NAME_PSTATE, else 0. */
};

void name_format(const struct name *, char out[NAME_TEXT_SIZE]);
/* Returns 0, or -EINVAL if 'text' is not one of the names above; '*out' is
 * untouched on failure. */
int name_parse(struct name *out, const char *text);

/* The names in one call; 'domain' and 'host' are cut at NAME_PART_SIZE. */
void name_of_vm(const char *domain, const struct uuid *vm, enum name_kind kind,
                char out[NAME_TEXT_SIZE]);
void name_of_host(const char *domain, const char *host, enum name_kind kind,
                  uint32_t cpu, char out[NAME_TEXT_SIZE]);

#endif
