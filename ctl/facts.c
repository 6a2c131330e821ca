/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a process's /proc, each fact by itself, so that what is not to be read
 * is unknown and the rest is not.  Nothing here knows what mbrokerd meant to
 * do. Called by doctor.c. */
#include "ctl/facts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sysfs.h"
#include "ctl/filter.h"

#define FILE_SIZE 65536
#define MOUNTS_SIZE (1 << 20)
#define MOUNTS_MAX 2048 /* Told; a process that sees more sees the host. */

static const char *const namespaces[] = {"cgroup", "ipc",  "mnt",  "net",
                                         "pid",    "time", "user", "uts"};

/* By number, as in linux/capability.h. */
static const char *const capabilities[] = {"CHOWN",
                                           "DAC_OVERRIDE",
                                           "DAC_READ_SEARCH",
                                           "FOWNER",
                                           "FSETID",
                                           "KILL",
                                           "SETGID",
                                           "SETUID",
                                           "SETPCAP",
                                           "LINUX_IMMUTABLE",
                                           "NET_BIND_SERVICE",
                                           "NET_BROADCAST",
                                           "NET_ADMIN",
                                           "NET_RAW",
                                           "IPC_LOCK",
                                           "IPC_OWNER",
                                           "SYS_MODULE",
                                           "SYS_RAWIO",
                                           "SYS_CHROOT",
                                           "SYS_PTRACE",
                                           "SYS_PACCT",
                                           "SYS_ADMIN",
                                           "SYS_BOOT",
                                           "SYS_NICE",
                                           "SYS_RESOURCE",
                                           "SYS_TIME",
                                           "SYS_TTY_CONFIG",
                                           "MKNOD",
                                           "LEASE",
                                           "AUDIT_WRITE",
                                           "AUDIT_CONTROL",
                                           "SETFCAP",
                                           "MAC_OVERRIDE",
                                           "MAC_ADMIN",
                                           "SYSLOG",
                                           "WAKE_ALARM",
                                           "BLOCK_SUSPEND",
                                           "AUDIT_READ",
                                           "PERFMON",
                                           "BPF",
                                           "CHECKPOINT_RESTORE"};
#define N_CAPABILITIES (sizeof capabilities / sizeof capabilities[0])

static void read_status(int dirfd, int32_t pid, json_t *facts);
static json_t *read_seccomp(const char *status, int32_t pid);
static json_t *read_namespaces(int dirfd, int32_t parent);
static json_t *read_root(int dirfd, const json_t *own_namespaces);
static json_t *read_fds(int dirfd);
static json_t *read_limits(int dirfd);
static const char *line_of(const char *text, const char *key);

json_t *
facts_read(int32_t pid, int32_t parent)
{
    char path[32];

    snprintf(path, sizeof path, "/proc/%" PRId32, pid);
    int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0) {
        return NULL;
    }
    json_t *facts = json_pack("{s:i}", "pid", (int)pid);
    json_t *own = read_namespaces(dirfd, parent);
    read_status(dirfd, pid, facts);
    json_object_set_new(facts, "own_namespaces", own);
    json_object_set_new(facts, "root", read_root(dirfd, own));
    json_object_set_new(facts, "descriptors", read_fds(dirfd));
    json_object_set_new(facts, "limits", read_limits(dirfd));
    close(dirfd);
    return facts;
}

/* Users, capabilities and promises: /proc/PID/status, which all may read. */

static json_t *
numbers_of(const char *text, const char *key)
{
    const char *at = line_of(text, key);
    json_t *list = json_array();

    while (at && *at && *at != '\n') {
        char *end;
        long number = strtol(at, &end, 10);

        if (end == at) {
            break;
        }
        json_array_append_new(list, json_integer(number));
        at = end;
        at += strspn(at, " \t");
    }
    return list;
}

static json_t *
capabilities_of(const char *text, const char *key)
{
    const char *at = line_of(text, key);
    json_t *list = json_array();
    uint64_t set = at ? strtoull(at, NULL, 16) : 0;

    for (size_t i = 0; i < 64; i++) {
        char name[32];

        if (set >> i & 1) {
            snprintf(name, sizeof name, "CAP_%s",
                     i < N_CAPABILITIES ? capabilities[i] : "?");
            json_array_append_new(list, json_string(name));
        }
    }
    return list;
}

static void
read_status(int dirfd, int32_t pid, json_t *facts)
{
    char text[FILE_SIZE];

    if (sysfs_read(dirfd, "status", text, sizeof text) < 0) {
        return;
    }
    const char *promise = line_of(text, "NoNewPrivs");
    json_object_set_new(facts, "uids", numbers_of(text, "Uid"));
    json_object_set_new(facts, "gids", numbers_of(text, "Gid"));
    json_object_set_new(facts, "groups", numbers_of(text, "Groups"));
    json_object_set_new(facts, "capabilities", capabilities_of(text, "CapPrm"));
    json_object_set_new(facts, "effective_capabilities",
                        capabilities_of(text, "CapEff"));
    json_object_set_new(facts, "bounding_capabilities",
                        capabilities_of(text, "CapBnd"));
    json_object_set_new(facts, "no_new_privs",
                        promise ? json_boolean(*promise == '1') : json_null());
    json_object_set_new(facts, "seccomp", read_seccomp(text, pid));
}

static json_t *
read_seccomp(const char *status, int32_t pid)
{
    static const char *const modes[] = {"none", "strict", "filter"};
    const char *mode = line_of(status, "Seccomp");
    const char *filters = line_of(status, "Seccomp_filters");
    uint32_t n_allowed, n_sometimes;

    if (!mode || *mode < '0' || *mode > '2') {
        return json_null();
    }
    json_t *seccomp = json_pack(
        "{s:s, s:o}", "mode", modes[*mode - '0'], "filters",
        filters ? json_integer(strtol(filters, NULL, 10)) : json_null());
    bool counted = *mode == '2' && !filter_count(pid, &n_allowed, &n_sometimes);
    json_object_set_new(seccomp, "allowed",
                        counted ? json_integer(n_allowed) : json_null());
    json_object_set_new(seccomp, "allowed_by_arguments",
                        counted ? json_integer(n_sometimes) : json_null());
    return seccomp;
}

/* Namespaces, and what is to be seen in them. */

/* Those that are not the parent's. */
static json_t *
read_namespaces(int dirfd, int32_t parent)
{
    json_t *own = json_array();

    for (size_t i = 0; i < sizeof namespaces / sizeof namespaces[0]; i++) {
        char path[64], theirs[64];
        struct stat here, there;

        snprintf(path, sizeof path, "ns/%s", namespaces[i]);
        snprintf(theirs, sizeof theirs, "/proc/%" PRId32 "/ns/%s", parent,
                 namespaces[i]);
        if (fstatat(dirfd, path, &here, 0) || stat(theirs, &there)) {
            if (errno == ENOENT) {
                continue; /* This kernel has none of that kind. */
            }
            json_decref(own);
            return json_null();
        }
        if (here.st_ino != there.st_ino) {
            json_array_append_new(own, json_string(namespaces[i]));
        }
    }
    return own;
}

static bool
has(const json_t *list, const char *name)
{
    json_t *value;
    size_t i;

    json_array_foreach(list, i, value)
    {
        if (!strcmp(json_string_value(value), name)) {
            return true;
        }
    }
    return false;
}

/* Its mounts: where, and whether it may write there by them. */
static json_t *
read_mounts(int dirfd)
{
    char *text = malloc(MOUNTS_SIZE), *rest = text;
    json_t *mounts = json_array();

    if (!text || sysfs_read(dirfd, "mountinfo", text, MOUNTS_SIZE) < 0) {
        free(text);
        json_decref(mounts);
        return json_null();
    }
    for (char *line; (line = strsep(&rest, "\n"));) {
        char where[PATH_MAX], options[256];

        if (json_array_size(mounts) < MOUNTS_MAX &&
            sscanf(line, "%*s %*s %*s %*s %4095s %255s", where, options) == 2) {
            bool writable = !strncmp(options, "rw", 2);
            json_array_append_new(mounts, json_pack("{s:s, s:b}", "path", where,
                                                    "writable", writable));
        }
    }
    free(text);
    return mounts;
}

/* A root of its own is a mount namespace whose root holds nothing but ways to
 * mounts; its mounts are what there is to see. */
static json_t *
read_root(int dirfd, const json_t *own_namespaces)
{
    char target[PATH_MAX];

    ssize_t length = readlinkat(dirfd, "root", target, sizeof target - 1);
    if (!json_is_array(own_namespaces) || length < 0) {
        return json_null();
    }
    target[length] = '\0';
    bool own = has(own_namespaces, "mnt");
    if (!own) {
        return json_pack("{s:b, s:s, s:n}", "own", 0, "path", target, "mounts");
    }
    return json_pack("{s:b, s:s, s:o}", "own", 1, "path", target, "mounts",
                     read_mounts(dirfd));
}

/* Descriptors, by kind, and limits. */

static const char *
kind_of(int dirfd, const char *name)
{
    char target[PATH_MAX];
    struct stat status;

    ssize_t length = readlinkat(dirfd, name, target, sizeof target - 1);
    target[length > 0 ? length : 0] = '\0';
    if (!strncmp(target, "/memfd:", 7)) {
        return "memory";
    }
    if (!strncmp(target, "anon_inode:", 11)) {
        return "events";
    }
    if (fstatat(dirfd, name, &status, 0)) {
        return "others";
    }
    switch (status.st_mode & S_IFMT) {
    case S_IFSOCK:
        return "sockets";
    case S_IFDIR:
        return "directories";
    case S_IFREG:
        return "files";
    case S_IFIFO:
        return "pipes";
    case S_IFCHR:
        return "devices";
    default:
        return "others";
    }
}

static json_t *
read_fds(int dirfd)
{
    int fd = openat(dirfd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0) {
            close(fd);
        }
        return json_null();
    }
    json_t *kinds = json_object();
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        const char *kind = kind_of(fd, entry->d_name);
        json_int_t so_far = json_integer_value(json_object_get(kinds, kind));

        json_object_set_new(kinds, kind, json_integer(so_far + 1));
        n++;
    }
    closedir(dir);
    json_object_set_new(kinds, "all", json_integer(n));
    return kinds;
}

static json_t *
read_limits(int dirfd)
{
    static const struct {
        const char *name, *key;
    } wanted[] = {{"Max open files", "open_files"},
                  {"Max processes", "tasks"},
                  {"Max data size", "data_bytes"},
                  {"Max core file size", "core_bytes"}};
    char text[4096];

    if (sysfs_read(dirfd, "limits", text, sizeof text) < 0) {
        return json_null();
    }
    json_t *limits = json_object();
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        const char *at = strstr(text, wanted[i].name);
        uint64_t hard;

        /* The soft limit, then the hard one: "unlimited" is null. */
        bool bounded = at && sscanf(at + strlen(wanted[i].name),
                                    " %*s %" SCNu64, &hard) == 1;
        json_object_set_new(limits, wanted[i].key,
                            bounded ? json_integer((json_int_t)hard)
                                    : json_null());
    }
    return limits;
}

/* What follows "KEY:" and white space in 'text'; null if it has none. */
static const char *
line_of(const char *text, const char *key)
{
    size_t length = strlen(key);

    for (const char *at = text; at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (!strncmp(at, key, length) && at[length] == ':') {
            return at + length + 1 + strspn(at + length + 1, " \t");
        }
    }
    return NULL;
}
