/* SPDX-License-Identifier: Apache-2.0 */
/* What a driver found before the broker's first change, kept in files until it
 * is put back: one file per frequency domain, named after its lowest CPU.  A
 * broker that was killed leaves them; whoever comes next reads them. */
#ifndef BROKER_PLATFORM_SAVED_H
#define BROKER_PLATFORM_SAVED_H

#include <stdint.h>

#include "hardware/hardware.h"
#include "model/pstate.h"

#define SAVED_DRIVER_SIZE 33
#define SAVED_FILE_SIZE 32 /* Of a file's name. */

struct saved {
    char driver[SAVED_DRIVER_SIZE];
    uint32_t n_cpus;
    uint32_t cpus[DOMAIN_CPUS_MAX];  /* The domain's, whatever its number. */
    char state[HARDWARE_SAVED_SIZE]; /* The driver's line. */
};

/* Returns after it is on disk, whole or not at all.  0 or -Exxx. */
int saved_write(int dirfd, const struct saved *);
/* Takes the file of the domain with these CPUs away.  0 also if there is none.
 */
int saved_remove(int dirfd, const uint32_t *cpus, uint32_t n_cpus);

/* Calls 'each' for every file; what it returns is not looked at.  A file that
 * makes no sense is handed over with 'saved' null and an error.  Leftovers of
 * an interrupted saved_write() are removed.  Returns how many files, or -Exxx
 * if the directory can't be read. */
int saved_each(int dirfd,
               void (*each)(void *ctx, const char *file, int error,
                            const struct saved *saved),
               void *ctx);

#endif
