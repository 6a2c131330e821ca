/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration needs of the machine: its file, the machine's name, and
 * the CPUs that are really there.  Kept apart from config.c, which touches
 * nothing, because only mbrokerd's parent may do this; its children parse the
 * text it read.  Called by the parent, --check and mctl check. */
#include "broker/config/config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/sysfs.h"
#include "base/text.h"
#include "base/confscan.h"
#include "broker/config/confval.h"
#include "hardware/hardware.h"

#define HOST_ID_LINE_SIZE (VM_NAME_SIZE + 64)
#define NOT_IN_FILE "; # added: the file gives none\n"
#define ONLINE_MAX 4096 /* CPUs of a machine. */

static bool lacks_host_id(const char *text);

int
config_load_text(char **text_out, const char *path, char *why, size_t why_size)
{
    char *text = NULL, id[VM_NAME_SIZE];

    int error = path ? confscan_load(&text, path, why, why_size) : 0;
    if (error) {
        return error;
    }
    size_t length = text ? strlen(text) : 0;
    char *whole = realloc(text, length + HOST_ID_LINE_SIZE);
    if (!whole) {
        free(text);
        snprintf(why, why_size, "%s: no memory", path ? path : "defaults");
        return -ENOMEM;
    }
    whole[length] = '\0';
    if (lacks_host_id(whole)) {
        config_machine_id(id);
        snprintf(whole + length, HOST_ID_LINE_SIZE,
                 "\nhost_id = \"%s\"" NOT_IN_FILE, id);
    }
    *text_out = whole;
    return 0;
}

void
config_hash(const char *text, char out[CONFIG_HASH_SIZE])
{
    const char *added = strstr(text, NOT_IN_FILE);
    size_t size = strlen(text);

    if (added && !added[strlen(NOT_IN_FILE)]) {
        while (added > text && *added != '\n') {
            added--;
        }
        size = (size_t)(added - text);
    }
    snprintf(out, CONFIG_HASH_SIZE, "%08" PRIx32, crc32_of(text, size));
}

/* The machine's id is not to be told to strangers (machine-id(5)), so what is
 * made from it is used. */
void
config_machine_id(char out[VM_NAME_SIZE])
{
    int etc = open("/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char text[VM_NAME_SIZE];
    struct utsname name;
    struct uuid uuid;

    int length = sysfs_read(etc, "machine-id", text, sizeof text);
    if (etc >= 0) {
        close(etc);
    }
    if (length == 32) {
        uuid_from_name(&uuid, text, "mbroker");
        uuid_format(&uuid, out);
        return;
    }
    bool named = !uname(&name) && text_is_name(name.nodename);
    text_copy(out, VM_NAME_SIZE, named ? name.nodename : "host");
}

static bool
is_simulated(const struct broker_config *config)
{
    bool vms = !config->hypervisor || !strcmp(config->hypervisor->name, "sim");
    bool cpus = !config->pstate || !strcmp(config->pstate->name, "sim");

    return vms && cpus;
}

/* The line that says which CPUs are managed. */
static unsigned
cpus_line(const struct confscan_at *at, const char *text)
{
    config_t tree;

    if (confscan_read(at, text, &tree)) {
        return 0;
    }
    const config_setting_t *cpus = config_lookup(&tree, "cpus");
    assert(cpus); /* They were parsed. */
    unsigned line = config_setting_source_line(cpus);
    config_destroy(&tree);
    return line;
}

int
config_check_machine(const char *text, const char *path, int sys_dirfd,
                     char *why, size_t why_size)
{
    struct confscan_at at = {.path = path, .why = why, .why_size = why_size};
    struct broker_config config;
    uint32_t online[ONLINE_MAX];
    char list[256];

    int error = config_parse(&config, text, path, why, why_size);
    if (error) {
        return error;
    }
    bool simulated = is_simulated(&config);
    config_fini(&config);
    if (simulated || sysfs_read(sys_dirfd, "devices/system/cpu/online", list,
                                sizeof list) < 0) {
        return 0;
    }
    int n = text_to_cpus(list, online, ONLINE_MAX);
    for (uint32_t i = 0; i < config.n_cpus && n >= 0; i++) {
        int c = 0;

        while (c < n && online[c] != config.cpus[i]) {
            c++;
        }
        if (c == n) {
            return confscan_refuse(&at, cpus_line(&at, text),
                                   "this machine has no CPU %" PRIu32
                                   " online; it has %s",
                                   config.cpus[i], list);
        }
    }
    return 0;
}

/* False for a text that isn't right: its refusal is config_parse()'s. */
static bool
lacks_host_id(const char *text)
{
    char why[CONFIG_WHY_SIZE];
    struct confscan_at at = {.path = "", .why = why, .why_size = sizeof why};
    config_t tree;

    if (confscan_read(&at, text, &tree)) {
        return false;
    }
    bool lacks = !config_lookup(&tree, "host_id");
    config_destroy(&tree);
    return lacks;
}
