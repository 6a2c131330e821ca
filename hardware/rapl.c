/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the processors' energy counters (Documentation/power/powercap/
 * powercap.rst): class/powercap/intel-rapl:N/energy_uj of each package, AMD's
 * too.  The sum over the packages' growth is the power of the processors alone:
 * not of the machine, nor, on servers, of its memory.  Sub-zones (cores, dram)
 * and "psys" are left out, so that nothing counts twice.
 *
 * A counter wraps at max_energy_range_uj; one that was reset (resume, a module
 * loaded anew) looks like a wrap with an absurd power and is refused.  Each
 * reading is the mean since the one before; the first, and the first after a
 * trouble, has none before it and says -EAGAIN.  Reading only: limits are never
 * written.  Called by the platform process. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sysfs.h"
#include "base/text.h"
#include "hardware/hardware.h"

#define POWERCAP "class/powercap"
#define ZONE_PREFIX "intel-rapl:"
#define PACKAGE_PREFIX "package"
#define ZONES_MAX 16
#define ZONE_NAME_SIZE 32
#define ZONE_POWER_MAX_MW 5000000.0 /* No package takes 5 kW. */

struct zone {
    char name[ZONE_NAME_SIZE]; /* Of its directory. */
    uint64_t range_uj, energy_uj;
};

struct hardware {
    int sys_dirfd;
    uint32_t n;
    struct zone zones[ZONES_MAX];
    bool has_last; /* The zones' energies are those of 'last_time'. */
    nsec_t last_time;
};

static int find_zones(struct hardware *, char *why, size_t why_size);
static int read_zone(struct hardware *, const struct zone *, const char *file,
                     uint64_t *out);
static int growth(const struct zone *, uint64_t energy_uj, nsec_t time,
                  uint64_t *growth_uj);

static int
rapl_open(struct hardware **out, const struct hardware_env *env, char *why,
          size_t why_size)
{
    struct hardware *hw = calloc(1, sizeof *hw);
    if (!hw) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    hw->sys_dirfd = env->sys_dirfd;
    int error = find_zones(hw, why, why_size);
    if (error) {
        free(hw);
        return error;
    }
    *out = hw;
    return 0;
}

static void
rapl_close(struct hardware *hw)
{
    free(hw);
}

static int
rapl_read(struct hardware *hw, const struct cpu_load *load, uint32_t n_load,
          nsec_t now, struct power_reading *out)
{
    uint64_t energy_uj[ZONES_MAX], sum_uj = 0;
    nsec_t time = now - hw->last_time;
    bool has_last = hw->has_last;

    if (has_last && time <= 0) {
        return -EAGAIN;
    }
    hw->has_last = false;
    for (uint32_t i = 0; i < hw->n; i++) {
        int error = read_zone(hw, &hw->zones[i], "energy_uj", &energy_uj[i]);
        if (error) {
            return error;
        }
    }

    int error = has_last ? 0 : -EAGAIN;
    for (uint32_t i = 0; i < hw->n; i++) {
        if (!error) {
            error = growth(&hw->zones[i], energy_uj[i], time, &sum_uj);
        }
        hw->zones[i].energy_uj = energy_uj[i];
    }
    hw->has_last = true;
    hw->last_time = now;
    if (error) {
        return error;
    }
    *out = (struct power_reading){
        .quality = QUALITY_MEASURED,
        .power_mw = (uint64_t)((double)sum_uj * 1e6 / (double)time),
        .time = now,
        .source = "rapl",
    };
    return 0;
}

/* Adds what a zone used in 'time'. */
static int
growth(const struct zone *zone, uint64_t energy_uj, nsec_t time,
       uint64_t *growth_uj)
{
    if (energy_uj > zone->range_uj) {
        return -EIO;
    }
    uint64_t used_uj = energy_uj >= zone->energy_uj
                           ? energy_uj - zone->energy_uj
                           : zone->range_uj - zone->energy_uj + energy_uj;
    if ((double)used_uj * 1e6 / (double)time > ZONE_POWER_MAX_MW) {
        return -EIO;
    }
    *growth_uj += used_uj;
    return 0;
}

/* Finding the packages. */

static int
read_zone(struct hardware *hw, const struct zone *zone, const char *file,
          uint64_t *out)
{
    char path[128];

    snprintf(path, sizeof path, POWERCAP "/%s/%s", zone->name, file);
    int error = sysfs_read_u64(hw->sys_dirfd, path, out);
    return error == -EINVAL || error == -ERANGE ? -EIO : error;
}

/* Whether a directory's name is that of a whole zone, "intel-rapl:N". */
static bool
is_zone(const char *name)
{
    uint64_t number;
    size_t length = strlen(ZONE_PREFIX);

    return strlen(name) < ZONE_NAME_SIZE &&
           !strncmp(name, ZONE_PREFIX, length) &&
           !text_to_u64(name + length, &number);
}

static int
add_zone(struct hardware *hw, const char *name, char *why, size_t why_size)
{
    struct zone *zone = &hw->zones[hw->n];
    char path[128], kind[64];

    snprintf(path, sizeof path, POWERCAP "/%.31s/name", name);
    if (sysfs_read(hw->sys_dirfd, path, kind, sizeof kind) < 0 ||
        strncmp(kind, PACKAGE_PREFIX, strlen(PACKAGE_PREFIX))) {
        return 0;
    }
    *zone = (struct zone){.range_uj = 0};
    text_copy(zone->name, sizeof zone->name, name);
    int error = read_zone(hw, zone, "max_energy_range_uj", &zone->range_uj);
    if (!error) {
        error = read_zone(hw, zone, "energy_uj", &zone->energy_uj);
    }
    if (!error && !zone->range_uj) {
        error = -EIO;
    }
    if (error) {
        bool denied = error == -EACCES || error == -EPERM;
        snprintf(why, why_size, POWERCAP "/%s/energy_uj: %s%s", name,
                 strerror(-error),
                 denied ? "; it is root's alone since CVE-2020-8694: let the "
                          "broker's user read it"
                        : "");
        return error;
    }
    hw->n++;
    return 0;
}

static int
find_zones(struct hardware *hw, char *why, size_t why_size)
{
    int error = 0;

    int fd =
        openat(hw->sys_dirfd, POWERCAP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir && fd >= 0) {
        close(fd);
    }
    for (struct dirent *entry;
         dir && !error && hw->n < ZONES_MAX && (entry = readdir(dir));) {
        if (is_zone(entry->d_name)) {
            error = add_zone(hw, entry->d_name, why, why_size);
        }
    }
    if (dir) {
        closedir(dir);
    }
    if (!error && !hw->n) {
        snprintf(why, why_size,
                 "no package in " POWERCAP "/" ZONE_PREFIX
                 "*: a virtual machine, or the module intel_rapl_msr is not "
                 "loaded; \"powermodel\" computes power");
        return -ENODEV;
    }
    return error;
}

static const struct power_ops rapl_power = {
    .read = rapl_read,
};

const struct hardware_class hardware_rapl = {
    .name = "rapl",
    .summary = "power of the processor packages, by their energy counters",
    .real = true,
    .power = &rapl_power,
    .open = rapl_open,
    .close = rapl_close,
};
