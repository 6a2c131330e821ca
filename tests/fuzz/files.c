/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for small files that others write: the first byte chooses which,
 * the rest is the file.  0  a state that was saved before a change, which then
 * is put back through cpufreq; 1  /proc/PID/stat, in which a guest's processes
 * choose their names, and 2  the list of its children; 3  an agent's settings;
 * 4  a log that grows, is cut and replaced while it is followed; 5  the file by
 * which the steward finds a guest that the broker started, and 6  one that
 * somebody else wrote; 7  the power cap's record; 8  a lock that another broker
 * holds.  What is refused has a reason; what is taken is in bounds. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/settings.h"
#include "base/text.h"
#include "broker/config/config.h"
#include "broker/parent/lock.h"
#include "broker/platform/caprecord.h"
#include "broker/platform/platform.h"
#include "broker/platform/saved.h"
#include "hypervisor/pidfile.h"
#include "hypervisor/proctree.h"
#include "probe/follow.h"

#define PID 7

static const char stat_line[] = "7 (sh) S 1 7 7 0 -1 4194560 1 0 0 0 3 4 5 6 "
                                "20 0 1 0 99 0 0\n";

/* What stands for /proc, /sys and the rest, made once and removed at the end.
 */
static char top[64];
static int top_fd = -1;

/* libconfig 1.5 leaks the texts it has read when it then refuses the file. */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
    return "leak:libconfig";
}

static void
remove_top(void)
{
    char command[80];
    snprintf(command, sizeof command, "rm -rf %s", top);
    if (system(command)) {
        perror(top);
    }
}

static void
check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void
put(const char *path, const void *data, size_t size, int flags)
{
    int fd = openat(top_fd, path, O_WRONLY | O_CREAT | flags, 0600);
    check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

static void
make_cpu(void)
{
    static const char *const files[][2] = {
        {"related_cpus", "0\n"},
        {"affected_cpus", "0\n"},
        {"scaling_driver", "made-up\n"},
        {"scaling_governor", "powersave\n"},
        {"scaling_available_governors", "performance powersave\n"},
        {"cpuinfo_min_freq", "1000000\n"},
        {"cpuinfo_max_freq", "2400000\n"},
        {"scaling_min_freq", "1000000\n"},
        {"scaling_max_freq", "2400000\n"},
    };
    char path[128];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "sys/devices/system/cpu/cpu0/cpufreq/%s",
                 files[i][0]);
        put(path, files[i][1], strlen(files[i][1]), O_TRUNC);
    }
}

static void
make_top(void)
{
    static const char *const folders[] = {
        "saved",
        "sys",
        "sys/devices",
        "sys/devices/system",
        "sys/devices/system/cpu",
        "sys/devices/system/cpu/cpu0",
        "sys/devices/system/cpu/cpu0/cpufreq",
        "7",
        "7/task",
        "7/task/7",
        "8",
        "thread-self",
        "self",
    };
    /* In memory, where there is such a place: nothing here need last. */
    bool memory = !access("/dev/shm", W_OK);
    snprintf(top, sizeof top, "%s/mbroker-fuzz-XXXXXX",
             memory ? "/dev/shm" : "/tmp");
    check(mkdtemp(top) != NULL);
    top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(top_fd >= 0 && !atexit(remove_top));
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        check(!mkdirat(top_fd, folders[i], 0700));
    }
    put("8/stat", "8 (x) R 7 7 7 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 5 0\n", 50, 0);
    put("thread-self/children", "", 0, 0);
    put("self/stat", "9 (y) R 1", 9, 0);
    put("stat", "cpu 1\nbtime 1\n", 14, 0);
    make_cpu();
}

/* Saved states. */

static void
look_at_saved(void *ctx, const char *file, int error, const struct saved *saved)
{
    (void)ctx;
    check(file[0] && (error != 0) == !saved);
    if (saved) {
        check(saved->n_cpus >= 1 && saved->n_cpus <= DOMAIN_CPUS_MAX);
        check(text_is_name(saved->driver) && !strchr(saved->state, '\n'));
        check(strlen(saved->state) < sizeof saved->state);
    }
}

static void
restore(const uint8_t *data, size_t size)
{
    static struct broker_config config;
    char why[CONFIG_WHY_SIZE];
    int saved = openat(top_fd, "saved", O_RDONLY | O_DIRECTORY);
    int sys = openat(top_fd, "sys", O_RDONLY | O_DIRECTORY);
    struct platform_env env = {.saved_dirfd = saved,
                               .sys_dirfd = sys,
                               .proc_dirfd = top_fd,
                               .data_dirfd = top_fd};

    check(saved >= 0 && sys >= 0);
    if (!config.policy) {
        check(!config_default(&config, why, sizeof why));
    }
    put("saved/pstate-cpu0", data, size, O_TRUNC);
    check(saved_each(saved, look_at_saved, NULL) == 1);
    int n = platform_restore(&config, &env, why, sizeof why);
    check(n >= 0 || why[0]);
    if (n > 0) {
        make_cpu(); /* It was written to. */
    }
    close(saved);
    close(sys);
}

/* Processes. */

static void
read_process(const uint8_t *data, size_t size)
{
    struct process process = {.parent = -2};

    put("7/stat", data, size, O_TRUNC);
    int error = process_read(top_fd, PID, &process);
    check(error ? process.parent == -2 : process.id.pid == PID);
}

static void
read_children(const uint8_t *data, size_t size)
{
    static struct proctree *tree;
    struct process root;

    put("7/stat", stat_line, sizeof stat_line - 1, O_TRUNC);
    put("7/task/7/children", data, size, O_TRUNC);
    check(tree || !proctree_create(&tree, top_fd));
    check(!process_read(top_fd, PID, &root));
    proctree_reset(tree, &root.id);
    for (int i = 0; i < 2; i++) {
        uint64_t before = proctree_busy_ns(tree);
        uint32_t n = proctree_scan(tree);
        check(n >= 1 && n <= proctree_n(tree) && proctree_n(tree) <= 2);
        check(proctree_busy_ns(tree) >= before);
    }
}

/* Files that name a guest's first process, whom the broker will stop and kill.
 */
static void
read_pid_file(const uint8_t *data, size_t size, bool own)
{
    struct process_id id = {.pid = -2};

    put("7/stat", stat_line, sizeof stat_line - 1, O_TRUNC);
    put("guest.pid", data, size, O_TRUNC);
    int error = own ? pidfile_read_own(top_fd, top_fd, "guest.pid", "boot", &id)
                    : pidfile_read_foreign(top_fd, top_fd, "guest.pid", &id);
    check(error <= 0);
    check(error ? id.pid == -2 : id.pid == PID || id.pid == PID + 1);
}

static void
read_own_pid_file(const uint8_t *data, size_t size)
{
    read_pid_file(data, size, true);
}

static void
read_foreign_pid_file(const uint8_t *data, size_t size)
{
    read_pid_file(data, size, false);
}

/* What is taken is written again as it was. */
static void
read_cap_record(const uint8_t *data, size_t size)
{
    struct caprecord record, again;
    const struct caprecord before = {.term = 77};

    put(CAPRECORD_FILE, data, size, O_TRUNC);
    record = before;
    int error = caprecord_read(top_fd, &record);
    check(error <= 0 && caprecord_is_clamped(top_fd) ==
                            (error ? error == -EBADMSG : record.clamped));
    if (error) {
        check(!memcmp(&record, &before, sizeof record));
        return;
    }
    check(memchr(record.boot, '\0', sizeof record.boot));
    check(!caprecord_write(top_fd, &record));
    check(!caprecord_read(top_fd, &again));
    check(again.term == record.term && again.order == record.order &&
          again.mw == record.mw && again.until == record.until);
}

static void
read_lock(const uint8_t *data, size_t size)
{
    const struct lock_holder self = {.pid = 1};
    struct lock_holder holder = {.pid = -2};
    char path[96];

    put("lock", data, size, O_TRUNC);
    snprintf(path, sizeof path, "%s/lock", top);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    check(fd >= 0 && !flock(fd, LOCK_EX));
    check(lock_take(path, &self, &holder) == -EWOULDBLOCK);
    check(holder.pid >= 0 && holder.uid == geteuid());
    check(memchr(holder.run_dir, '\0', sizeof holder.run_dir));
    for (const char *at = holder.run_dir; *at; at++) {
        check((unsigned char)*at >= ' ' && *at != 0x7f);
    }
    close(fd);
}

/* Settings. */

static void
read_settings(const uint8_t *data, size_t size)
{
    static struct settings settings;
    char path[96], why[256] = "";

    snprintf(path, sizeof path, "%s/magentd.conf", top);
    put("magentd.conf", data, size, O_TRUNC);
    settings_init(&settings);
    int error = settings_read(&settings, path, why, sizeof why);
    check(!error || !strncmp(why, path, strlen(path)));
    if (!error) {
        error = settings_finish(&settings, why, sizeof why);
        check(!error || why[0]);
    }
}

/* Logs.  Bytes up to 0xf0 are written; the others are what happens. */

struct reader {
    size_t n_lines;
};

static void
on_line(void *ctx, const char *line, size_t size, uint64_t offset)
{
    struct reader *reader = ctx;

    (void)offset;
    check(size <= FOLLOW_LINE_MAX && !memchr(line, '\n', size));
    reader->n_lines++;
}

static void
grow(const uint8_t *data, size_t size)
{
    /* Long lines come of few bytes. */
    char many[3000];
    memset(many, 'x', sizeof many);
    for (size_t i = 0; i < size; i++) {
        if (data[i] == 0xef) {
            put("log", many, sizeof many, O_APPEND);
        } else {
            put("log", &data[i], 1, O_APPEND);
        }
    }
}

static void
follow_log(const uint8_t *data, size_t size)
{
    static struct follow follow; /* Large. */
    struct reader reader = {0};
    char path[96];

    snprintf(path, sizeof path, "%s/log", top);
    unlinkat(top_fd, "log", 0);
    follow_init(&follow, path);
    for (size_t at = 0, from = 0; at <= size && at < 200; at++) {
        if (at < size && data[at] < 0xf0) {
            continue;
        }
        grow(data + from, at - from);
        from = at + 1;
        if (at < size && data[at] == 0xf1) {
            (void)unlinkat(top_fd, "log", 0);
        } else if (at < size && data[at] == 0xf2) {
            put("log", "", 0, O_TRUNC);
        } else if (at < size && data[at] == 0xf3) {
            (void)renameat(top_fd, "log", top_fd, "log.1");
        }
        int error = follow_look(&follow, on_line, &reader);
        check(error == 0 || error == 1 || error == -ENOENT);
        check(follow.used <= FOLLOW_LINE_MAX);
    }
    check(reader.n_lines <= size);
    follow_fini(&follow);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const kinds[])(const uint8_t *, size_t) = {
        restore,    read_process,      read_children,         read_settings,
        follow_log, read_own_pid_file, read_foreign_pid_file, read_cap_record,
        read_lock};

    if (!size) {
        return 0;
    }
    if (top_fd < 0) {
        make_top();
    }
    kinds[data[0] % (sizeof kinds / sizeof *kinds)](data + 1, size - 1);
    return 0;
}
