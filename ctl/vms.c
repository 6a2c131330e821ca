/* SPDX-License-Identifier: Apache-2.0 */
/* mctl vms: the VMs, their agents and their SLAs; and starting, freezing,
 * thawing, ending and migrating one. */
#include <string.h>

#include "base/text.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/member.h"
#include "ctl/table.h"

static enum ctl_exit list(struct ctl *);
static enum ctl_exit control(struct ctl *, const char *op, const char *vm,
                             const char *to);
static void print_vms(struct ctl *, const json_t *);

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    static const char *const ops[] = {"start", "freeze", "thaw", "end", NULL};

    if (argc == 0) {
        return list(ctl);
    }
    if (!strcmp(argv[0], "migrate")) {
        return argc == 3 ? control(ctl, argv[0], argv[1], argv[2])
                         : ctl_usage(ctl, &verb_vms,
                                     "a VM and a host have to be named");
    }
    for (size_t i = 0; ops[i]; i++) {
        if (!strcmp(ops[i], argv[0])) {
            return argc == 2
                       ? control(ctl, ops[i], argv[1], NULL)
                       : ctl_usage(ctl, &verb_vms, "one VM has to be named");
        }
    }
    return ctl_usage(ctl, &verb_vms, "that is nothing to do with a VM");
}

static enum ctl_exit
list(struct ctl *ctl)
{
    json_t *data;
    enum ctl_exit result =
        client_ask(ctl, json_pack("{s:s}", "verb", "vms"), &data);

    if (result != CTL_OK) {
        return result;
    }
    if (ctl->json) {
        ctl_put_json(ctl, data);
    } else {
        print_vms(ctl, data);
    }
    json_decref(data);
    return CTL_OK;
}

static enum ctl_exit
control(struct ctl *ctl, const char *op, const char *vm, const char *to)
{
    char verb[16];
    json_t *data;

    snprintf(verb, sizeof verb, "vm_%s", op);
    enum ctl_exit result = client_ask(
        ctl, json_pack("{s:s,s:s,s:s*}", "verb", verb, "vm", vm, "to", to),
        &data);
    if (result != CTL_OK) {
        return result;
    }
    if (ctl->json) {
        ctl_put_json(ctl, data);
    } else {
        fprintf(ctl->out, "Asked the platform to %s ", op);
        put_text(ctl->out, member_text(data, "vm"));
        fputs("; \"mctl vms\" shows when it is done.\n", ctl->out);
    }
    json_decref(data);
    return CTL_OK;
}

static void
join_cpus(const json_t *cpus, char *out, size_t size)
{
    json_t *cpu;
    size_t i;

    out[0] = '\0';
    json_array_foreach(cpus, i, cpu)
    {
        text_append(out, size, "%s%" JSON_INTEGER_FORMAT, i ? "," : "",
                    json_integer_value(cpu));
    }
}

/* What was not heard of its agent: beyond its quota, or nonsense. */
static void
add_unheard(struct table *table, const json_t *usage)
{
    table_cell(table, "%.0f",
               member_number(usage, "dropped") +
                   member_number(usage, "denied") +
                   member_number(usage, "refused"));
}

static void
add_vm(struct table *table, const json_t *vm)
{
    const json_t *epoch = json_object_get(vm, "last_epoch");
    char cpus[64];

    table_cell(table, "%s", member_text(vm, "name"));
    table_cell(table, "%s", member_text(vm, "state"));
    table_cell(table, "%s",
               member_true(vm, "agent")       ? "up"
               : member_known(vm, "software") ? "lost"
                                              : "none yet");
    join_cpus(json_object_get(vm, "vcpu_cpus"), cpus, sizeof cpus);
    table_cell(table, "%s", cpus);
    table_number(table, vm, "util_percent", 1, "%");
    table_number(table, vm, "requests", 0, "");
    table_number(table, vm, "violations", 0, "");
    table_number(table, vm, "violation_percent", 2, "%");
    add_unheard(table, json_object_get(vm, "usage"));
    table_number(table, epoch, "threshold_ms", 3, "ms");
    if (member_known(epoch, "requests") && !member_number(epoch, "requests")) {
        table_cell(table, "no requests");
    } else {
        table_number(table, epoch, "worst_ms", 3, "ms");
    }
}

static void
print_vms(struct ctl *ctl, const json_t *data)
{
    static const char *const heads[] = {
        "VM",       "STATE",      "AGENT",         "CPUS",
        ">BUSY",    ">REQUESTS",  ">TOO SLOW",     ">SHARE",
        ">UNHEARD", ">THRESHOLD", ">WORST LATELY", NULL};
    const json_t *vms = json_object_get(data, "vms");
    struct table *table = table_create(heads);
    json_t *vm;
    size_t i;

    json_array_foreach(vms, i, vm)
    {
        add_vm(table, vm);
    }
    if (i == 0) {
        fputs("No VMs; the configuration names no guests.\n", ctl->out);
    } else {
        table_print(table, ctl->out, ctl->colour, ctl->columns);
    }
    table_destroy(table);
}

const struct verb verb_vms = {
    .name = "vms",
    .usage = "[start|freeze|thaw|end NAME | migrate NAME HOST]",
    .summary = "the VMs, their agents and their SLAs; or control one",
    .help = "NAME is a VM's name or UUID. TOO SLOW counts requests above the "
            "SLA's\nthreshold since the broker started, as the agents saw "
            "them; UNHEARD messages\nof its agent beyond its quota, or that "
            "made no sense. An operation\nis asked for and journalled; it "
            "needs root, the broker's own user, or the\noperator group. HOST "
            "is one that the\nhypervisor knows; a VM of which it "
            "is not known whether it arrived is\n\"unsure\" and left alone.\n",
    .run = run,
};
