/* SPDX-License-Identifier: Apache-2.0 */
/* mctl doctor: what each process of a running broker may do, read from /proc by
 * ourselves and not asked of the broker, which might say what it meant, or be
 * somebody else's by now.  Finds the parent by the run directory's lock. Judges
 * the three processes that are to be in a sandbox, and fails if one lacks a
 * wall of it.  What only root may read is unknown to others. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "ctl/ctl.h"
#include "ctl/facts.h"
#include "ctl/member.h"

#define ROLES 5
#define ROLE_PREFIX "--role="
#define MOUNTS_SHOWN 16 /* A file by which a CPU is set is one, too. */
#define UNKNOWN "unknown (root may look)"

static const char *const roles[ROLES] = {"parent", "back", "engine", "platform",
                                         "steward"};

static int32_t find_parent(const char *run_dir);
static json_t *examine(int32_t parent);
static json_t *find_lacks(const char *role, const json_t *facts,
                          const json_t *parent);
static void print_process(struct ctl *, const json_t *);

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    (void)argv;
    if (argc > 0) {
        return ctl_usage(ctl, &verb_doctor, "doctor takes no argument");
    }
    int32_t parent = find_parent(ctl->run_dir);
    if (!parent) {
        ctl_say(ctl, "no broker runs here", ctl->run_dir,
                "start mbrokerd, or give its --run-dir");
        return CTL_UNREACHABLE;
    }
    json_t *processes = examine(parent), *process;
    size_t i, n_lacks = 0;
    json_array_foreach(processes, i, process)
    {
        n_lacks += json_array_size(json_object_get(process, "lacks"));
    }
    if (ctl->json) {
        json_t *data =
            json_pack("{s:b, s:O}", "ok", !n_lacks, "processes", processes);
        ctl_put_json(ctl, data);
        json_decref(data);
    } else {
        json_array_foreach(processes, i, process)
        {
            print_process(ctl, process);
        }
        fputs(n_lacks ? "Some processes lack walls of their sandbox.\n"
                      : "All processes are in their sandboxes.\n",
              ctl->out);
    }
    json_decref(processes);
    return n_lacks ? CTL_FAILED : CTL_OK;
}

/* Finding them. */

static ssize_t
read_file(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

    if (fd >= 0) {
        close(fd);
    }
    out[n > 0 ? n : 0] = '\0';
    return n;
}

/* The role in a process's command line: "parent" for one without. */
static bool
read_role(int32_t pid, char *out, size_t size)
{
    char path[64], text[4096];

    snprintf(path, sizeof path, "/proc/%" PRId32 "/cmdline", pid);
    ssize_t n = read_file(path, text, sizeof text);
    if (n <= 0) {
        return false;
    }
    const char *slash = strrchr(text, '/');
    if (strcmp(slash ? slash + 1 : text, "mbrokerd")) {
        return false;
    }
    text_copy(out, size, "parent");
    for (const char *at = text; at < text + n; at += strlen(at) + 1) {
        if (!strncmp(at, ROLE_PREFIX, strlen(ROLE_PREFIX))) {
            text_copy(out, size, at + strlen(ROLE_PREFIX));
        }
    }
    return true;
}

/* Whose the lock is, if that is a broker. */
static int32_t
find_parent(const char *run_dir)
{
    char path[PATH_MAX], text[512], role[32];

    snprintf(path, sizeof path, "%s/lock", run_dir);
    if (read_file(path, text, sizeof text) <= 0) {
        return 0;
    }
    long pid = strtol(text, NULL, 10);
    return pid > 0 && pid <= INT32_MAX &&
                   read_role((int32_t)pid, role, sizeof role) &&
                   !strcmp(role, "parent")
               ? (int32_t)pid
               : 0;
}

static int32_t
parent_of(int32_t pid)
{
    char path[64], text[1024];

    snprintf(path, sizeof path, "/proc/%" PRId32 "/stat", pid);
    if (read_file(path, text, sizeof text) <= 0) {
        return 0;
    }
    const char *after = strrchr(text, ')'); /* The name may hold anything. */
    int parent = 0;
    return after && sscanf(after + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

/* The broker's process of a role; 0 if there is none. */
static int32_t
find_role(int32_t parent, const char *role)
{
    DIR *dir = opendir("/proc");
    char name[32];
    int32_t found = 0;

    for (struct dirent *entry; dir && !found && (entry = readdir(dir));) {
        int64_t pid;

        if (!text_to_i64(entry->d_name, &pid) && pid > 0 && pid <= INT32_MAX &&
            parent_of((int32_t)pid) == parent &&
            read_role((int32_t)pid, name, sizeof name) && !strcmp(name, role)) {
            found = (int32_t)pid;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

static json_t *
examine(int32_t parent)
{
    json_t *processes = json_array();

    for (size_t i = 0; i < ROLES; i++) {
        int32_t pid = i ? find_role(parent, roles[i]) : parent;
        json_t *facts = pid ? facts_read(pid, parent) : NULL;

        if (!facts) {
            facts = json_object();
            json_object_set_new(facts, "lacks",
                                json_pack("[s]", "it does not run"));
        } else {
            const json_t *first = i ? json_array_get(processes, 0) : facts;
            json_object_set_new(facts, "lacks",
                                find_lacks(roles[i], facts, first));
        }
        json_object_set_new(facts, "process", json_string(roles[i]));
        json_array_append_new(processes, facts);
    }
    return processes;
}

/* Judging. */

static bool
is_confined(const char *role)
{
    return strcmp(role, "parent") != 0 && strcmp(role, "steward") != 0;
}

/* What is unknown is not held against it. */
static json_t *
find_lacks(const char *role, const json_t *facts, const json_t *parent)
{
    json_t *lacks = json_array();
    const json_t *root = json_object_get(facts, "root");
    const json_t *seccomp = json_object_get(facts, "seccomp");
    const json_t *caps = json_object_get(facts, "capabilities");
    const json_t *promise = json_object_get(facts, "no_new_privs");
    json_int_t uid =
        json_integer_value(json_array_get(json_object_get(facts, "uids"), 0));
    json_int_t parents_uid =
        json_integer_value(json_array_get(json_object_get(parent, "uids"), 0));

    if (!is_confined(role)) {
        return lacks;
    }
    if (uid == parents_uid) {
        json_array_append_new(
            lacks, json_string("a user of its own: it runs as who started the "
                               "broker; only root can give it one"));
    }
    if (json_is_object(root) && !member_true(root, "own")) {
        json_array_append_new(
            lacks, json_string("an empty root: it can name the host's files "
                               "(Landlock, which may refuse them, can't be "
                               "seen from outside)"));
    }
    if (json_is_false(promise)) {
        json_array_append_new(lacks, json_string("no_new_privs"));
    }
    if (json_is_object(seccomp) &&
        strcmp(member_text(seccomp, "mode"), "filter") != 0) {
        json_array_append_new(
            lacks, json_string("a filter of system calls: its log says why"));
    }
    if (strcmp(role, "platform") != 0 && json_array_size(caps)) {
        json_array_append_new(lacks,
                              json_string("the loss of its capabilities"));
    }
    return lacks;
}

/* For people. */

static void
put_list(FILE *out, const json_t *list, const char *none)
{
    json_t *value;
    size_t i;

    json_array_foreach(list, i, value)
    {
        fputs(i ? " " : "", out);
        if (json_is_integer(value)) {
            fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        } else {
            put_text(out, json_string_value(value));
        }
    }
    fputs(json_array_size(list) ? "" : none, out);
}

static void
put_root(FILE *out, const json_t *root)
{
    const json_t *mounts = json_object_get(root, "mounts");
    json_t *mount;
    size_t i, n = 0;

    if (!json_is_object(root)) {
        fputs(UNKNOWN, out);
        return;
    }
    if (!member_true(root, "own")) {
        fputs("the host's", out);
        return;
    }
    fputs("its own", out);
    json_array_foreach(mounts, i, mount)
    {
        const char *path = member_text(mount, "path");

        if (!strcmp(path, "/")) {
            fputs(member_true(mount, "writable") ? ", which it may write" : "",
                  out);
            continue;
        }
        if (n++ >= MOUNTS_SHOWN) {
            continue;
        }
        fputs(n > 1 ? ", " : "; in it ", out);
        put_text(out, path);
        fputs(member_true(mount, "writable") ? " (to write)" : "", out);
    }
    if (n > MOUNTS_SHOWN) {
        fprintf(out, " and %zu more (--json has all)", n - MOUNTS_SHOWN);
    }
    fputs(n ? "" : ", empty", out);
}

static void
put_seccomp(FILE *out, const json_t *seccomp)
{
    if (!json_is_object(seccomp)) {
        fputs("unknown", out);
    } else if (strcmp(member_text(seccomp, "mode"), "filter") != 0) {
        fputs("all", out);
    } else if (member_known(seccomp, "allowed")) {
        fprintf(out, "%d, of these %d not with all arguments",
                member_int(seccomp, "allowed"),
                member_int(seccomp, "allowed_by_arguments"));
    } else {
        fputs("filtered; how many is unknown (root may look, and the kernel "
              "must be built to tell)",
              out);
    }
}

static void
put_counts(FILE *out, const json_t *counts)
{
    const char *name;
    json_t *value;
    bool any = false;

    if (!json_is_object(counts)) {
        fputs(UNKNOWN, out);
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)counts, name, value)
    {
        if (json_is_integer(value)) {
            fprintf(out, "%s%" JSON_INTEGER_FORMAT " %s", any ? ", " : "",
                    json_integer_value(value), name);
            any = true;
        }
    }
    fputs(any ? "" : "none", out);
}

static void
print_process(struct ctl *ctl, const json_t *process)
{
    const json_t *lacks = json_object_get(process, "lacks");
    const json_t *promise = json_object_get(process, "no_new_privs");
    FILE *out = ctl->out;
    json_t *lack;
    size_t i;

    fputs(ctl->colour ? "\033[1m" : "", out);
    put_text(out, member_text(process, "process"));
    fputs(ctl->colour ? "\033[0m" : "", out);
    if (member_known(process, "pid")) {
        fprintf(out, " (process %d)\n  users           ",
                member_int(process, "pid"));
        put_list(out, json_object_get(process, "uids"), "unknown");
        fputs("\n  groups          ", out);
        put_list(out, json_object_get(process, "gids"), "unknown");
        fputs(" + ", out);
        put_list(out, json_object_get(process, "groups"), "none");
        fputs("\n  root            ", out);
        put_root(out, json_object_get(process, "root"));
        fputs("\n  own namespaces  ", out);
        if (json_is_array(json_object_get(process, "own_namespaces"))) {
            put_list(out, json_object_get(process, "own_namespaces"), "none");
        } else {
            fputs(UNKNOWN, out);
        }
        fputs("\n  capabilities    ", out);
        size_t n_caps =
            json_array_size(json_object_get(process, "capabilities"));
        if (n_caps > 10) {
            fprintf(out, "%zu of them", n_caps);
        } else {
            put_list(out, json_object_get(process, "capabilities"), "none");
        }
        fprintf(out, "\n  new privileges  %s\n  system calls    ",
                json_is_true(promise)    ? "never"
                : json_is_false(promise) ? "possible"
                                         : "unknown");
        put_seccomp(out, json_object_get(process, "seccomp"));
        fputs("\n  descriptors     ", out);
        put_counts(out, json_object_get(process, "descriptors"));
        fputs("\n  limits          ", out);
        put_counts(out, json_object_get(process, "limits"));
    }
    json_array_foreach(lacks, i, lack)
    {
        fputs("\n  LACKS           ", out);
        put_text(out, json_string_value(lack));
    }
    fputs("\n\n", out);
}

const struct verb verb_doctor = {
    .name = "doctor",
    .usage = "",
    .summary = "what each process of the broker may do, as the kernel says it",
    .help =
        "Looks into /proc by itself and asks the broker nothing. As root it "
        "sees all,\nalso how many system calls are allowed; others see "
        "less. Exit code 1 if a\nprocess that is to be in a sandbox lacks a "
        "wall of it.\n",
    .run = run,
};
