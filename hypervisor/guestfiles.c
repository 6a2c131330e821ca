/* SPDX-License-Identifier: Apache-2.0 */
/* The side of process.c that needs rights over the host, kept apart so that it
 * can be done by another process than the one that watches and signals: a guest
 * must not inherit the platform process's sandbox, nor can its files be seen
 * from there.  Called by process.c, where there is nobody else to do it, and by
 * the broker's steward. */
#include "hypervisor/guestfiles.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sysfs.h"
#include "base/text.h"
#include "hypervisor/guestinit.h"
#include "hypervisor/pidfile.h"
#include "hypervisor/proctree.h"

#define LOG_MAX (1 << 20) /* Bytes that a guest's log may grow to. */

static void own_path(const struct hypervisor_guest *,
                     char out[GUESTINIT_PATH_SIZE]);

void
guestfiles_init(struct guestfiles *files, int proc_dirfd, int state_dirfd,
                bool log)
{
    *files = (struct guestfiles){.proc_dirfd = proc_dirfd,
                                 .state_dirfd = state_dirfd,
                                 .log = log};
    if (sysfs_read(proc_dirfd, "sys/kernel/random/boot_id", files->boot_id,
                   sizeof files->boot_id) < 0 ||
        !text_is_name(files->boot_id)) {
        text_copy(files->boot_id, sizeof files->boot_id, "unknown");
    }
}

void
guestfiles_find(const struct guestfiles *files,
                const struct hypervisor_guest *guest,
                struct hypervisor_found *out)
{
    char path[GUESTINIT_PATH_SIZE];
    struct process_id root;

    *out = (struct hypervisor_found){.pid = 0};
    own_path(guest, path);
    bool ours = !pidfile_read_own(files->proc_dirfd, files->state_dirfd, path,
                                  files->boot_id, &root);
    if (ours || (guest->pid_file &&
                 !pidfile_read_foreign(files->proc_dirfd, files->state_dirfd,
                                       guest->pid_file, &root))) {
        out->pid = root.pid;
        out->start = root.start;
        out->ours = ours;
    }
}

int
guestfiles_start(const struct guestfiles *files,
                 const struct hypervisor_guest *guest,
                 struct hypervisor_found *out, char *why, size_t why_size)
{
    const struct guestinit init = {
        .proc_dirfd = files->proc_dirfd,
        .state_dirfd = files->state_dirfd,
        .name = guest->name,
        .command = guest->command,
        .boot_id = files->boot_id,
        .cpus = guest->vcpu_cpu,
        .n_cpus = guest->n_vcpus,
        .log = files->log,
    };
    struct process first;

    if (!guest->command) {
        snprintf(why, why_size,
                 "guest %s has no \"command\": it is started elsewhere",
                 guest->name);
        return -ENOTSUP;
    }
    guestfiles_forget(files, guest);
    pid_t pid = guestinit_start(&init);
    /* Our child keeps its number until we wait for it. */
    int error = pid < 0 ? pid : process_read(files->proc_dirfd, pid, &first);
    if (error) {
        snprintf(why, why_size, "guest %s: no process for it: %s", guest->name,
                 strerror(-error));
        return error;
    }
    *out = (struct hypervisor_found){
        .pid = first.id.pid, .start = first.id.start, .ours = true};
    return 0;
}

void
guestfiles_forget(const struct guestfiles *files,
                  const struct hypervisor_guest *guest)
{
    char path[GUESTINIT_PATH_SIZE];

    own_path(guest, path);
    unlinkat(files->state_dirfd, path, 0);
}

/* The state directory is where the journal is, which must not find its disk
 * filled by a guest that prints for ever. */
void
guestfiles_cut_log(const struct guestfiles *files,
                   const struct hypervisor_guest *guest)
{
    char path[GUESTINIT_PATH_SIZE];
    struct stat log;

    snprintf(path, sizeof path, "%.64s.log", guest->name);
    if (!files->log ||
        fstatat(files->state_dirfd, path, &log, AT_SYMLINK_NOFOLLOW) ||
        !S_ISREG(log.st_mode) || log.st_size <= LOG_MAX) {
        return;
    }
    /* Whoever has it open appends, so goes on at its new end. */
    int fd =
        openat(files->state_dirfd, path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        int error = ftruncate(fd, 0);

        (void)error; /* At the next look, then. */
        close(fd);
    }
}

static void
own_path(const struct hypervisor_guest *guest, char out[GUESTINIT_PATH_SIZE])
{
    snprintf(out, GUESTINIT_PATH_SIZE, "%.64s.pid", guest->name);
}
