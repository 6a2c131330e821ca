/* SPDX-License-Identifier: Apache-2.0 */
/* Builds and reads mgmt:// names.  Relies on base/text.h for what a part may
 * be; called by back (an agent's name), the engine (subjects in the journal),
 * the control socket (what people type) and mctl (what it shows).  Parsing
 * splits at the slashes and then looks at how many parts there are, so no name
 * can be read in two ways. */
#include "model/name.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define SCHEME "mgmt://"
#define PARTS_MAX 6

/* What follows mgmt://DOMAIN/host/ID, null for what is no part of a host. */
static const char *
host_tail(enum name_kind kind)
{
    switch (kind) {
    case NAME_VM:
    case NAME_AGENT:
    case NAME_PSTATE:
        return NULL;
    case NAME_HOST:
        return "";
    case NAME_POWER:
        return "/power";
    case NAME_BROKER:
        return "/broker";
    case NAME_BROKER_POWER:
        return "/broker/power";
    }
    return NULL;
}

void
name_format(const struct name *name, char out[NAME_TEXT_SIZE])
{
    const char *tail = host_tail(name->kind);
    char uuid[UUID_TEXT_SIZE];

    if (tail) {
        snprintf(out, NAME_TEXT_SIZE, SCHEME "%s/host/%s%s", name->domain,
                 name->host, tail);
    } else if (name->kind == NAME_PSTATE) {
        snprintf(out, NAME_TEXT_SIZE,
                 SCHEME "%s/host/%s/cpu/%" PRIu32 "/pstate", name->domain,
                 name->host, name->cpu);
    } else {
        uuid_format(&name->vm, uuid);
        snprintf(out, NAME_TEXT_SIZE, SCHEME "%s/vm/%s%s", name->domain, uuid,
                 name->kind == NAME_AGENT ? "/agent" : "");
    }
}

/* Cuts 'text' at its slashes.  Returns how many parts, or -EINVAL if there are
 * more than any name has. */
static int
split(char *text, char *part[PARTS_MAX])
{
    int n = 0;

    for (char *slash = text; slash; text = slash) {
        if (n == PARTS_MAX) {
            return -EINVAL;
        }
        slash = strchr(text, '/');
        if (slash) {
            *slash++ = '\0';
        }
        part[n++] = text;
    }
    return n;
}

/* part: DOMAIN "vm" UUID ["agent"] */
static int
parse_vm(struct name *name, char **part, int n)
{
    if (n > 4 || (n == 4 && strcmp(part[3], "agent"))) {
        return -EINVAL;
    }
    name->kind = n == 4 ? NAME_AGENT : NAME_VM;
    return uuid_parse(&name->vm, part[2]);
}

/* part: DOMAIN "host" ID "cpu" N "pstate" */
static int
parse_pstate(struct name *name, char **part, int n)
{
    char again[16];
    uint64_t cpu;

    if (n != 6 || strcmp(part[3], "cpu") || strcmp(part[5], "pstate") ||
        text_to_u64(part[4], &cpu) || cpu > UINT32_MAX) {
        return -EINVAL;
    }
    /* One thing, one name: "03" and "+3" are none. */
    snprintf(again, sizeof again, "%" PRIu64, cpu);
    if (strcmp(again, part[4])) {
        return -EINVAL;
    }
    name->kind = NAME_PSTATE;
    name->cpu = (uint32_t)cpu;
    return 0;
}

/* part: DOMAIN "host" ID […] */
static int
parse_host(struct name *name, char **part, int n)
{
    if (!text_is_name(part[2])) {
        return -EINVAL;
    }
    text_copy(name->host, sizeof name->host, part[2]);
    if (n == 3) {
        name->kind = NAME_HOST;
    } else if (n == 4 && !strcmp(part[3], "power")) {
        name->kind = NAME_POWER;
    } else if (n == 4 && !strcmp(part[3], "broker")) {
        name->kind = NAME_BROKER;
    } else if (n == 5 && !strcmp(part[3], "broker") &&
               !strcmp(part[4], "power")) {
        name->kind = NAME_BROKER_POWER;
    } else {
        return parse_pstate(name, part, n);
    }
    return 0;
}

int
name_parse(struct name *out, const char *text)
{
    struct name name = {0};
    char copy[NAME_TEXT_SIZE];
    char *part[PARTS_MAX];
    size_t scheme = strlen(SCHEME);

    if (strncmp(text, SCHEME, scheme) ||
        text_copy(copy, sizeof copy, text + scheme)) {
        return -EINVAL;
    }
    int n = split(copy, part);
    if (n < 3 || !text_is_name(part[0])) {
        return -EINVAL;
    }
    text_copy(name.domain, sizeof name.domain, part[0]);
    int error = !strcmp(part[1], "vm")     ? parse_vm(&name, part, n)
                : !strcmp(part[1], "host") ? parse_host(&name, part, n)
                                           : -EINVAL;
    if (error) {
        return error;
    }
    *out = name;
    return 0;
}

void
name_of_vm(const char *domain, const struct uuid *vm, enum name_kind kind,
           char out[NAME_TEXT_SIZE])
{
    struct name name = {.kind = kind, .vm = *vm};

    text_copy(name.domain, sizeof name.domain, domain);
    name_format(&name, out);
}

void
name_of_host(const char *domain, const char *host, enum name_kind kind,
             uint32_t cpu, char out[NAME_TEXT_SIZE])
{
    struct name name = {.kind = kind, .cpu = cpu};

    text_copy(name.domain, sizeof name.domain, domain);
    text_copy(name.host, sizeof name.host, host);
    name_format(&name, out);
}
