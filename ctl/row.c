/* SPDX-License-Identifier: Apache-2.0 */
/* Picks from a row what somebody who reads along wants to know; --json has the
 * rest.  The keys are those of docs/journal.md, and a row that has not got them
 * is told by what it has.  Called by events.c and watch.c. */
#include "ctl/row.h"

#include <stdarg.h>
#include <string.h>

#include "base/text.h"
#include "ctl/client.h"
#include "ctl/member.h"
#include "model/name.h"

#define NAME_SCHEME "mgmt://"

static void call(const char *subject, const json_t *vms,
                 char out[ROW_SUBJECT_SIZE]);
static void say_notice(const json_t *detail, char *out);
static void say_note(const json_t *detail, char *out);
static void say_decision(const json_t *detail, const json_t *vms, char *out);
static void say_action(const json_t *detail, char *out);
static void say_outcome(const json_t *detail, char *out);
static const char *vm_name(const json_t *vms, const char *uuid);

enum ctl_exit
row_vms(struct ctl *ctl, json_t **out)
{
    json_t *data;
    enum ctl_exit result =
        client_ask(ctl, json_pack("{s:s}", "verb", "vms"), &data);

    if (result == CTL_OK) {
        *out = json_incref(json_object_get(data, "vms"));
        json_decref(data);
    }
    return result;
}

void
row_subject(const json_t *row, const json_t *vms, char out[ROW_SUBJECT_SIZE])
{
    call(member_text(row, "subject"), vms, out);
}

void
row_names(const char *text, const json_t *vms, char out[ROW_SAID_SIZE])
{
    char name[ROW_SUBJECT_SIZE], called[ROW_SUBJECT_SIZE];
    const char *found;

    out[0] = '\0';
    while ((found = strstr(text, NAME_SCHEME))) {
        size_t length = strcspn(found, " ,;'");

        length -= found[length - 1] == ':';
        snprintf(name, sizeof name, "%.*s", (int)length, found);
        call(name, vms, called);
        text_append(out, ROW_SAID_SIZE, "%.*s%s", (int)(found - text), text,
                    called);
        text = found + length;
    }
    text_append(out, ROW_SAID_SIZE, "%s", text);
}

static void
call(const char *subject, const json_t *vms, char out[ROW_SUBJECT_SIZE])
{
    char uuid[UUID_TEXT_SIZE];
    struct name name;

    text_copy(out, ROW_SUBJECT_SIZE, subject);
    if (name_parse(&name, subject)) {
        return;
    }
    switch (name.kind) {
    case NAME_VM:
    case NAME_AGENT:
        uuid_format(&name.vm, uuid);
        text_copy(out, ROW_SUBJECT_SIZE, vm_name(vms, uuid));
        break;
    case NAME_PSTATE:
        snprintf(out, ROW_SUBJECT_SIZE, "cpu%u", (unsigned)name.cpu);
        break;
    case NAME_HOST:
        text_copy(out, ROW_SUBJECT_SIZE, "host");
        break;
    case NAME_POWER:
        text_copy(out, ROW_SUBJECT_SIZE, "power");
        break;
    case NAME_BROKER:
    case NAME_BROKER_POWER:
        text_copy(out, ROW_SUBJECT_SIZE, "broker");
        break;
    }
}

void
row_said(const json_t *row, const json_t *vms, char out[ROW_SAID_SIZE])
{
    const json_t *detail = json_object_get(row, "detail");
    const char *kind = member_text(row, "kind");

    out[0] = '\0';
    if (!kind[0]) {
        kind = member_text(row, "type"); /* As the stream calls it. */
    }
    if (!strcmp(kind, "decision")) {
        say_decision(detail, vms, out);
    } else if (!strcmp(kind, "action")) {
        say_action(detail, out);
    } else if (!strcmp(kind, "outcome")) {
        say_outcome(detail, out);
    } else if (member_known(detail, "n_violations")) {
        say_notice(detail, out);
    } else if (member_known(detail, "crc32")) {
        say_note(detail, out);
    } else if (member_known(detail, "values")) {
        values_text(json_object_get(detail, "values"), out, ROW_SAID_SIZE);
    }
    if (!out[0]) {
        detail_text(detail, out, ROW_SAID_SIZE);
    }
}

/* Kinds of rows. */

static void
say_notice(const json_t *detail, char *out)
{
    snprintf(out, ROW_SAID_SIZE,
             "%.0f of %.0f requests above %.3f ms, the worst %.3f ms",
             member_number(detail, "n_violations"),
             member_number(detail, "n_requests"),
             member_number(detail, "threshold_us") / 1000,
             member_number(detail, "worst_us") / 1000);
}

static void
say_note(const json_t *detail, char *out)
{
    snprintf(out, ROW_SAID_SIZE, "%s, %.0f B, CRC-32 %s",
             member_text(detail, "type"), member_number(detail, "size"),
             member_text(detail, "crc32"));
}

static void
say_decision(const json_t *detail, const json_t *vms, char *out)
{
    char values[ROW_SAID_SIZE];

    if (json_is_false(json_object_get(detail, "effect"))) {
        text_append(out, ROW_SAID_SIZE, "no change");
        if (member_known(detail, "stands")) {
            text_append(out, ROW_SAID_SIZE, ", p-state %.0f stands",
                        member_number(detail, "stands"));
        }
    } else if (member_known(detail, "pstate")) {
        text_append(out, ROW_SAID_SIZE, "p-state %.0f",
                    member_number(detail, "pstate"));
        if (member_known(detail, "from")) {
            text_append(out, ROW_SAID_SIZE, ", before %.0f",
                        member_number(detail, "from"));
        }
    } else if (member_known(detail, "domain")) {
        text_append(out, ROW_SAID_SIZE, "released");
    } else {
        return;
    }
    if (member_known(detail, "vm")) {
        text_append(out, ROW_SAID_SIZE, ", for %s",
                    vm_name(vms, member_text(detail, "vm")));
    }
    values_text(json_object_get(detail, "values"), values, sizeof values);
    text_append(out, ROW_SAID_SIZE, "%s%s", values[0] ? ": " : "", values);
}

static void
say_action(const json_t *detail, char *out)
{
    if (member_known(detail, "pstate")) {
        text_append(out, ROW_SAID_SIZE, "p-state %.0f",
                    member_number(detail, "pstate"));
        if (member_number(detail, "attempt") > 1) {
            text_append(out, ROW_SAID_SIZE, ", attempt %.0f",
                        member_number(detail, "attempt"));
        }
    } else if (member_known(detail, "domain")) {
        text_append(out, ROW_SAID_SIZE, "back to what was found");
    }
}

static void
say_outcome(const json_t *detail, char *out)
{
    json_int_t received =
        json_integer_value(json_object_get(detail, "received_ns"));
    json_int_t read = json_integer_value(json_object_get(detail, "read_ns"));
    int error = member_int(detail, "error");

    if (error) {
        text_append(out, ROW_SAID_SIZE, "failed: %s", strerror(error));
        if (member_text(detail, "reason")[0]) {
            text_append(out, ROW_SAID_SIZE, ": %s",
                        member_text(detail, "reason"));
        }
        return;
    }
    text_append(out, ROW_SAID_SIZE, "done");
    if (read > 0) {
        text_append(out, ROW_SAID_SIZE, ", reads back as p-state %.0f",
                    member_number(detail, "pstate"));
    }
    if (read > received && received > 0) {
        text_append(out, ROW_SAID_SIZE, ", within %.3f ms",
                    (double)(read - received) / 1e6);
    }
}

static const char *
vm_name(const json_t *vms, const char *uuid)
{
    json_t *vm;
    size_t i;

    json_array_foreach(vms, i, vm)
    {
        if (!strcmp(member_text(vm, "uuid"), uuid)) {
            return member_text(vm, "name");
        }
    }
    return uuid;
}
