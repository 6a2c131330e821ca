/* SPDX-License-Identifier: Apache-2.0 */
/* Follows a tree of processes through /proc.  Who is in it is found from the
 * root downward by /proc/PID/task/TID/children, or, where the kernel lacks that
 * file, by looking at every process's parent.  Both may miss one that moves
 * while we look, so what was once seen stays a member until it is gone, even if
 * its parent was killed and nothing leads to it any more.  XXX: A process born
 * of such an orphan, and orphaned itself, between two scans escapes; a cgroup
 * per guest would hold it.
 *
 * CPU time: each process has its own (schedstat, in ns; the ticks of stat
 * where there is none, and where ended threads make schedstat the lesser) and
 * that of children which ended and were waited for (stat's cutime and cstime,
 * in ticks of 10 ms).  From scan to scan the sum grows by
 *
 *     what living processes used themselves
 *   + what new ones used so far
 *   + what living ones inherited from ended children, less what these children
 *     had been counted for before they ended.
 *
 * So programs that live shorter than a scan are counted.  Lost is only the last
 * part (since the scan before) of a process that nobody waits for.  Called by
 * process.c. */
#include "hypervisor/proctree.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sysfs.h"
#include "base/text.h"

#define SLOTS 8192 /* Of a set's hash: a power of 2, twice its members. */
#define TEXT_SIZE 65536
#define HOST_PROCESSES_MAX 32768 /* Looked at where children files lack. */

/* Processes by number. */
struct set {
    uint32_t n;
    struct process process[PROCTREE_TASKS_MAX];
    uint16_t slot[SLOTS]; /* Index + 1 of a process; 0 is free. */
};

struct parentage {
    pid_t pid, parent;
};

struct proctree {
    int proc_dirfd;
    bool has_children_files;
    struct process_id root;
    struct set *now, *before;
    uint64_t busy_ns;
    uint64_t owed_ns;       /* Counted for processes that ended lately, whose
                             * parents' times don't show it yet. */
    struct parentage *host; /* Where children files lack. */
    uint32_t n_host;
    char text[TEXT_SIZE];
};

static void add_process(struct proctree *, pid_t, const struct process_id *);
static void follow(struct proctree *, uint32_t *next);
static void count_busy(struct proctree *);
static void list_host(struct proctree *);
static struct process *set_find(struct set *, pid_t);
static struct process *set_add(struct set *, const struct process *);
static void set_clear(struct set *);

int
proctree_create(struct proctree **out, int proc_dirfd)
{
    struct proctree *tree = calloc(1, sizeof *tree);
    if (!tree) {
        return -ENOMEM;
    }
    tree->proc_dirfd = proc_dirfd;
    tree->now = calloc(1, sizeof *tree->now);
    tree->before = calloc(1, sizeof *tree->before);
    tree->has_children_files =
        !faccessat(proc_dirfd, "thread-self/children", R_OK, 0);
    if (!tree->has_children_files) {
        tree->host = calloc(HOST_PROCESSES_MAX, sizeof *tree->host);
    }
    if (!tree->now || !tree->before ||
        (!tree->has_children_files && !tree->host)) {
        proctree_destroy(tree);
        return -ENOMEM;
    }
    *out = tree;
    return 0;
}

void
proctree_destroy(struct proctree *tree)
{
    if (!tree) {
        return;
    }
    free(tree->host);
    free(tree->before);
    free(tree->now);
    free(tree);
}

void
proctree_reset(struct proctree *tree, const struct process_id *root)
{
    tree->root = *root;
    tree->busy_ns = tree->owed_ns = 0;
    set_clear(tree->now);
    set_clear(tree->before);
}

uint32_t
proctree_scan(struct proctree *tree)
{
    struct set *before = tree->now;
    uint32_t next = 0, n_live = 0;

    tree->now = tree->before;
    tree->before = before;
    set_clear(tree->now);
    if (!tree->has_children_files) {
        list_host(tree);
    }

    add_process(tree, tree->root.pid, &tree->root);
    follow(tree, &next);
    for (uint32_t i = 0; i < before->n; i++) {
        const struct process_id *id = &before->process[i].id;

        if (!set_find(tree->now, id->pid)) {
            add_process(tree, id->pid, id);
            follow(tree, &next);
        }
    }
    count_busy(tree);
    for (uint32_t i = 0; i < tree->now->n; i++) {
        n_live += tree->now->process[i].state != 'Z';
    }
    return n_live;
}

uint32_t
proctree_n(const struct proctree *tree)
{
    return tree->now->n;
}

const struct process *
proctree_process(const struct proctree *tree, uint32_t i)
{
    assert(i < tree->now->n);
    return &tree->now->process[i];
}

uint64_t
proctree_busy_ns(const struct proctree *tree)
{
    return tree->busy_ns;
}

/* Who is in the tree. */

/* The sum of its threads' run times, or 0 if the kernel doesn't say. */
static uint64_t
read_schedstat(struct proctree *tree, const struct process *p)
{
    pid_t threads[256];
    char path[64], text[96];
    uint64_t sum = 0;

    int n = 1;
    threads[0] = p->id.pid;
    if (p->n_threads > 1) {
        n = process_threads(tree->proc_dirfd, p->id.pid, threads,
                            sizeof threads / sizeof *threads);
    }
    for (int i = 0; i < n; i++) {
        uint64_t ns;

        snprintf(path, sizeof path, "%d/task/%d/schedstat", p->id.pid,
                 threads[i]);
        if (sysfs_read(tree->proc_dirfd, path, text, sizeof text) > 0) {
            text[strcspn(text, " ")] = '\0';
            sum += text_to_u64(text, &ns) ? 0 : ns;
        }
    }
    return sum;
}

/* Adds a process, if it is there, isn't a member yet, and is the expected one
 * (null: any). */
static void
add_process(struct proctree *tree, pid_t pid, const struct process_id *expected)
{
    struct process p;

    if (tree->now->n == PROCTREE_TASKS_MAX || set_find(tree->now, pid) ||
        process_read(tree->proc_dirfd, pid, &p) ||
        (expected && p.id.start != expected->start)) {
        return;
    }
    const struct process *before = set_find(tree->before, pid);
    if (before && before->id.start != p.id.start) {
        before = NULL;
    }
    uint64_t sum_ns = read_schedstat(tree, &p);
    p.own_ns = sum_ns > p.own_ns ? sum_ns : p.own_ns;
    if (before && before->own_ns > p.own_ns) {
        p.own_ns = before->own_ns;
    }
    p.fresh = !before;
    set_add(tree->now, &p);
}

static void
add_children_of_thread(struct proctree *tree, pid_t pid, pid_t thread)
{
    char path[64], *rest = tree->text, *word;

    snprintf(path, sizeof path, "%d/task/%d/children", pid, thread);
    if (sysfs_read(tree->proc_dirfd, path, tree->text, sizeof tree->text) <=
        0) {
        return;
    }
    while ((word = strsep(&rest, " "))) {
        uint64_t child;

        if (!text_to_u64(word, &child) && child <= INT_MAX) {
            add_process(tree, (pid_t)child, NULL);
        }
    }
}

static void
add_children(struct proctree *tree, const struct process *parent)
{
    pid_t threads[256], pid = parent->id.pid;

    if (!tree->has_children_files) {
        for (uint32_t i = 0; i < tree->n_host; i++) {
            if (tree->host[i].parent == pid) {
                add_process(tree, tree->host[i].pid, NULL);
            }
        }
        return;
    }
    if (parent->n_threads <= 1) {
        add_children_of_thread(tree, pid, pid);
        return;
    }
    int n = process_threads(tree->proc_dirfd, pid, threads,
                            sizeof threads / sizeof *threads);
    for (int i = 0; i < n; i++) {
        add_children_of_thread(tree, pid, threads[i]);
    }
}

/* Adds the descendants of all members from '*next' on. */
static void
follow(struct proctree *tree, uint32_t *next)
{
    for (; *next < tree->now->n; (*next)++) {
        add_children(tree, &tree->now->process[*next]);
    }
}

static void
list_host(struct proctree *tree)
{
    tree->n_host = 0;
    int fd = openat(tree->proc_dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    struct dirent *entry;
    while (tree->n_host < HOST_PROCESSES_MAX && (entry = readdir(dir))) {
        struct process p;
        uint64_t pid;

        if (!text_to_u64(entry->d_name, &pid) && pid <= INT_MAX &&
            !process_read(tree->proc_dirfd, (pid_t)pid, &p)) {
            tree->host[tree->n_host++] =
                (struct parentage){.pid = p.id.pid, .parent = p.parent};
        }
    }
    closedir(dir);
}

/* CPU time. */

static void
count_busy(struct proctree *tree)
{
    uint64_t used_ns = 0, inherited_ns = 0, ended_ns = 0;

    for (uint32_t i = 0; i < tree->now->n; i++) {
        const struct process *p = &tree->now->process[i];

        if (p->fresh) {
            used_ns += p->own_ns + p->children_ns;
            continue;
        }
        const struct process *b = set_find(tree->before, p->id.pid);
        used_ns += p->own_ns - b->own_ns;
        if (p->children_ns > b->children_ns) {
            inherited_ns += p->children_ns - b->children_ns;
        }
    }
    for (uint32_t i = 0; i < tree->before->n; i++) {
        const struct process *b = &tree->before->process[i];
        const struct process *p = set_find(tree->now, b->id.pid);

        if (!p || p->id.start != b->id.start) {
            ended_ns += b->own_ns + b->children_ns;
        }
    }

    /* A parent may have been looked at before its child ended and the child
     * after that: what is owed then is paid at the next scan, or never. */
    uint64_t owed_ns = tree->owed_ns + ended_ns;
    uint64_t paid_ns = owed_ns < inherited_ns ? owed_ns : inherited_ns;
    uint64_t left_ns = owed_ns - paid_ns;

    tree->owed_ns = left_ns < ended_ns ? left_ns : ended_ns;
    tree->busy_ns += used_ns + inherited_ns - paid_ns;
}

/* One process. */

/* Fields of /proc/PID/stat after the name, which may hold anything: the state
 * is the first, field 3 of proc(5). */
enum stat_field {
    STAT_STATE = 3,
    STAT_PARENT = 4,
    STAT_UTIME = 14,
    STAT_STIME = 15,
    STAT_CUTIME = 16,
    STAT_CSTIME = 17,
    STAT_THREADS = 20,
    STAT_START = 22,
    STAT_FIELDS = 23, /* As many as we read, and one. */
};

int
process_read(int proc_dirfd, pid_t pid, struct process *out)
{
    char path[32], text[1024];
    uint64_t field[STAT_FIELDS] = {0};

    snprintf(path, sizeof path, "%d/stat", pid);
    int length = sysfs_read(proc_dirfd, path, text, sizeof text);
    if (length < 0) {
        return length == -ENOENT || length == -ESRCH ? -ENOENT : -EIO;
    }
    char *rest = strrchr(text, ')');
    if (!rest || rest[1] != ' ' || !isalpha((unsigned char)rest[2])) {
        return -EIO;
    }
    char state = rest[2];
    rest += 3;
    for (int i = STAT_PARENT; i <= STAT_START; i++) {
        char *end;

        field[i] = (uint64_t)strtoll(rest, &end, 10);
        if (end == rest) {
            return -EIO;
        }
        rest = end;
    }

    uint64_t tick_ns = (uint64_t)(NSEC_PER_SEC / sysconf(_SC_CLK_TCK));
    *out = (struct process){
        .id = {.pid = pid, .start = field[STAT_START]},
        .parent = (pid_t)field[STAT_PARENT],
        .state = state,
        .n_threads = (uint32_t)field[STAT_THREADS],
        .own_ns = (field[STAT_UTIME] + field[STAT_STIME]) * tick_ns,
        .children_ns = (field[STAT_CUTIME] + field[STAT_CSTIME]) * tick_ns,
    };
    return 0;
}

bool
process_lives(int proc_dirfd, const struct process_id *id)
{
    struct process p;

    return !process_read(proc_dirfd, id->pid, &p) && p.id.start == id->start &&
           p.state != 'Z' && p.state != 'X';
}

/* Once we hold a descriptor of the number's present owner, looking whether that
 * is the right one can't be outrun by its end and a new owner. */
int
process_signal(int proc_dirfd, const struct process_id *id, int signum)
{
    int fd = (int)syscall(SYS_pidfd_open, id->pid, 0);
    if (fd < 0) {
        return -errno;
    }
    int error = -ESRCH;
    if (process_lives(proc_dirfd, id)) {
        error =
            syscall(SYS_pidfd_send_signal, fd, signum, NULL, 0) ? -errno : 0;
    }
    close(fd);
    return error;
}

int
process_threads(int proc_dirfd, pid_t pid, pid_t *out, uint32_t max)
{
    struct dirent *entry;
    char path[32];
    uint32_t n = 0;

    snprintf(path, sizeof path, "%d/task", pid);
    int fd = openat(proc_dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0) {
            close(fd);
        }
        return -ENOENT;
    }
    while (n < max && (entry = readdir(dir))) {
        uint64_t thread;

        if (!text_to_u64(entry->d_name, &thread) && thread <= INT_MAX) {
            out[n++] = (pid_t)thread;
        }
    }
    closedir(dir);
    return (int)n;
}

/* Sets. */

/* The slot of 'pid', or the free one where it would be. */
static uint16_t *
set_slot(struct set *set, pid_t pid)
{
    uint32_t at = (uint32_t)pid * UINT32_C(2654435769) >> 16;

    for (;; at++) {
        uint16_t *slot = &set->slot[at % SLOTS];

        if (!*slot || set->process[*slot - 1].id.pid == pid) {
            return slot;
        }
    }
}

static struct process *
set_find(struct set *set, pid_t pid)
{
    uint16_t slot = *set_slot(set, pid);

    return slot ? &set->process[slot - 1] : NULL;
}

static struct process *
set_add(struct set *set, const struct process *process)
{
    uint16_t *slot = set_slot(set, process->id.pid);

    assert(!*slot);
    assert(set->n < PROCTREE_TASKS_MAX);
    set->process[set->n] = *process;
    *slot = (uint16_t)++set->n;
    return &set->process[set->n - 1];
}

static void
set_clear(struct set *set)
{
    set->n = 0;
    memset(set->slot, 0, sizeof set->slot);
}
