/* SPDX-License-Identifier: Apache-2.0 */
/* Counts for left.h, from /proc and the directories themselves.  Called by
 * tests of channels. */
#include "tests/left.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

int32_t
left_in(const char *dir)
{
    int32_t n = 0;
    DIR *stream = opendir(dir);
    if (!stream) {
        return 0;
    }
    struct dirent *entry;
    while ((entry = readdir(stream))) {
        n += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
    }
    closedir(stream);
    return n;
}

static void
count_mappings(struct held *held)
{
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        held->n_mappings++;
        held->n_memfds += strstr(line, "/memfd:") != NULL;
    }
    if (maps) {
        fclose(maps);
    }
}

int32_t
held_fds(void)
{
    return left_in("/proc/self/fd") - 1; /* Not what counts them. */
}

int32_t
held_memfds(void)
{
    struct held held = {0};
    count_mappings(&held);
    return held.n_memfds;
}

struct held
held_now(void)
{
    struct held held = {0};
    long unused, pages = 0;
    held.n_fds = held_fds();
    count_mappings(&held);
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm) {
        if (fscanf(statm, "%ld %ld", &unused, &pages) != 2) {
            pages = 0;
        }
        fclose(statm);
    }
    held.rss_kib = (int32_t)(pages * (sysconf(_SC_PAGESIZE) / 1024));
    return held;
}

/* In a user namespace of our own, where we may mount, unless we are root. */
bool
left_alone(void)
{
    if (unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS)) {
        return false;
    }
    return !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
           !mount("tmpfs", "/dev/shm", "tmpfs", 0, NULL) &&
           !mount("tmpfs", "/run", "tmpfs", 0, NULL);
}
