/* SPDX-License-Identifier: Apache-2.0 */
/* What running guests as process trees takes of rights over the host: starting
 * them, and finding running ones by the files that name them. */
#ifndef HYPERVISOR_GUESTFILES_H
#define HYPERVISOR_GUESTFILES_H

#include <stdbool.h>
#include <stddef.h>

#include "hypervisor/hypervisor.h"

#define GUESTFILES_BOOT_ID_SIZE 64

struct guestfiles {
    int proc_dirfd, state_dirfd;
    bool log; /* What started guests print goes to NAME.log. */
    char boot_id[GUESTFILES_BOOT_ID_SIZE];
};

void guestfiles_init(struct guestfiles *, int proc_dirfd, int state_dirfd,
                     bool log);
/* Finds one that runs: started by us, or named by its pid file.  'out->pid' is
 * 0 if there is none. */
void guestfiles_find(const struct guestfiles *, const struct hypervisor_guest *,
                     struct hypervisor_found *out);
/* Starts one as our child.  0, -ENOTSUP or -Exxx with 'why'. */
int guestfiles_start(const struct guestfiles *, const struct hypervisor_guest *,
                     struct hypervisor_found *out, char *why, size_t why_size);
/* It ended: removes the file that named it. */
void guestfiles_forget(const struct guestfiles *,
                       const struct hypervisor_guest *);
/* Cuts its log if it grew too long. */
void guestfiles_cut_log(const struct guestfiles *,
                        const struct hypervisor_guest *);

#endif
