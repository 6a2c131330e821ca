/* SPDX-License-Identifier: Apache-2.0 */
/* Real p-states by the kernel's cpufreq files (Documentation/admin-guide/pm/
 * cpufreq.rst), below the directory that stands for /sys.  What it can do is
 * found by looking which files are there, not by the driver's or CPU's name:
 *
 *   domains      related_cpus; CPUs offline have no files and are left out.
 *   frequencies  scaling_available_frequencies (acpi-cpufreq, most of ARM's),
 *                at most PSTATES_MAX of them, evenly picked; else
 *                (intel_pstate, amd-pstate) a ladder of 'steps' even steps from
 *                cpuinfo_max_freq to cpuinfo_min_freq, in between in whole
 *                100 MHz.
 *   set          governor "userspace" and scaling_setspeed where
 *                scaling_available_governors has it; else scaling_max_freq, and
 *                the governor goes on choosing below that.
 *   read back    with userspace cpuinfo_cur_freq (what the hardware says; for
 *                root), else scaling_cur_freq; without it scaling_max_freq.
 *                The nearest p-state counts.
 *
 * An administrator's scaling_min_freq, and with userspace scaling_max_freq, are
 * not lifted: a p-state outside reads back as what it became.  XXX: Where only
 * scaling_cur_freq can be read, x86 kernels may show a mean of the last
 * milliseconds, so that a read right after a write sees the old p-state;
 * reading later would remove it.
 *
 * Called by the platform process.  Relies on base/sysfs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sysfs.h"
#include "base/text.h"
#include "hardware/freqtable.h"
#include "hardware/hardware.h"

#define FILE_SIZE 4096 /* Of the longest file we read. */
#define WORD_SIZE 64   /* Of a governor or a number. */
#define UNSET "-"      /* scaling_setspeed while another governor rules. */

struct domain {
    bool userspace;            /* Set by scaling_setspeed. */
    uint64_t min_khz, max_khz; /* The hardware's. */
};

struct hardware {
    int sys_dirfd;
    uint32_t n;
    struct pstate_domain *desc;
    struct domain *domain;
};

/* A domain's found state. */
struct found {
    char governor[WORD_SIZE];
    uint64_t min_khz, max_khz;
    char setspeed[WORD_SIZE]; /* UNSET if it can't be read. */
};

static int add_domain(struct hardware *, uint32_t cpu, uint32_t steps,
                      char *why, size_t why_size);
static int domain_read(struct hardware *, uint32_t domain, const char *file,
                       char *out, size_t size);
static int domain_read_u64(struct hardware *, uint32_t domain, const char *file,
                           uint64_t *out);
static int domain_write(struct hardware *, uint32_t domain, const char *file,
                        const char *text);
static int domain_write_u64(struct hardware *, uint32_t domain,
                            const char *file, uint64_t value);
static bool has_word(const char *list, const char *word);
static int find_state(struct hardware *, uint32_t domain, struct found *);
static int parse_found(struct found *, const char *saved);
static int check_found(struct hardware *, uint32_t domain,
                       const struct found *);
static int write_range(struct hardware *, uint32_t domain,
                       const struct found *);
static bool covered(const struct hardware *, uint32_t cpu);
static bool has_cpu(const struct pstate_domain *, uint32_t cpu);
static void cpufreq_close(struct hardware *);

static int
cpufreq_open(struct hardware **out, const struct hardware_env *env, char *why,
             size_t why_size)
{
    uint32_t steps = (uint32_t)option_int(env->options, "steps");
    struct hardware *hw = calloc(1, sizeof *hw);

    if (hw) {
        hw->sys_dirfd = env->sys_dirfd;
        hw->desc = calloc(env->n_cpus + 1, sizeof *hw->desc);
        hw->domain = calloc(env->n_cpus + 1, sizeof *hw->domain);
    }
    if (!hw || !hw->desc || !hw->domain) {
        snprintf(why, why_size, "no memory for %u CPUs", env->n_cpus);
        cpufreq_close(hw);
        return -ENOMEM;
    }

    for (uint32_t i = 0; i < env->n_cpus; i++) {
        if (covered(hw, env->cpus[i])) {
            continue;
        }
        int error = add_domain(hw, env->cpus[i], steps, why, why_size);
        if (error && error != -ENODEV) {
            cpufreq_close(hw);
            return error;
        }
    }
    if (!hw->n) {
        snprintf(
            why, why_size,
            "no managed CPU has devices/system/cpu/cpuN/cpufreq: a virtual "
            "machine, or a firmware that keeps p-states to itself; "
            "\"softpstate\" emulates them");
        cpufreq_close(hw);
        return -ENODEV;
    }
    *out = hw;
    return 0;
}

static void
cpufreq_close(struct hardware *hw)
{
    if (!hw) {
        return;
    }
    free(hw->domain);
    free(hw->desc);
    free(hw);
}

static int
cpufreq_domains(struct hardware *hw, const struct pstate_domain **out)
{
    *out = hw->desc;
    return (int)hw->n;
}

static int
cpufreq_get(struct hardware *hw, uint32_t domain, uint32_t *pstate_out)
{
    uint64_t khz;
    int error;

    if (domain >= hw->n) {
        return -ERANGE;
    }
    if (hw->domain[domain].userspace) {
        error = domain_read_u64(hw, domain, "cpuinfo_cur_freq", &khz);
        if (error) {
            error = domain_read_u64(hw, domain, "scaling_cur_freq", &khz);
        }
    } else {
        error = domain_read_u64(hw, domain, "scaling_max_freq", &khz);
    }
    if (error) {
        return error;
    }
    *pstate_out = freqtable_nearest(&hw->desc[domain].table, khz);
    return 0;
}

static int
cpufreq_set(struct hardware *hw, uint32_t domain, uint32_t pstate)
{
    char governor[WORD_SIZE];

    if (domain >= hw->n || pstate >= hw->desc[domain].table.n) {
        return -ERANGE;
    }
    uint32_t khz = hw->desc[domain].table.freq_khz[pstate];
    if (!hw->domain[domain].userspace) {
        return domain_write_u64(hw, domain, "scaling_max_freq", khz);
    }

    if (domain_read(hw, domain, "scaling_governor", governor,
                    sizeof governor)) {
        return -EIO;
    }
    int error = 0;
    if (strcmp(governor, "userspace")) {
        error = domain_write(hw, domain, "scaling_governor", "userspace");
    }
    return error ? error
                 : domain_write_u64(hw, domain, "scaling_setspeed", khz);
}

static int
cpufreq_save(struct hardware *hw, uint32_t domain,
             char out[HARDWARE_SAVED_SIZE])
{
    struct found found;

    if (domain >= hw->n) {
        return -ERANGE;
    }
    int error = find_state(hw, domain, &found);
    if (error) {
        return error;
    }
    snprintf(out, HARDWARE_SAVED_SIZE,
             "governor=%s min=%llu max=%llu setspeed=%s", found.governor,
             (unsigned long long)found.min_khz,
             (unsigned long long)found.max_khz, found.setspeed);
    return 0;
}

/* Puts back as much as it can and returns the first error.  The line may come
 * from a file that another process wrote: it is checked before any write. */
static int
cpufreq_restore(struct hardware *hw, uint32_t domain, const char *saved)
{
    struct found found;

    if (domain >= hw->n) {
        return -ERANGE;
    }
    int error = parse_found(&found, saved);
    if (!error) {
        error = check_found(hw, domain, &found);
    }
    if (error) {
        return error;
    }

    error = write_range(hw, domain, &found);
    int failed = domain_write(hw, domain, "scaling_governor", found.governor);
    error = error ? error : failed;
    if (strcmp(found.setspeed, UNSET)) {
        failed = domain_write(hw, domain, "scaling_setspeed", found.setspeed);
        error = error ? error : failed;
    }
    return error;
}

/* Opening: what a domain can do. */

static bool
covered(const struct hardware *hw, uint32_t cpu)
{
    for (uint32_t i = 0; i < hw->n; i++) {
        if (has_cpu(&hw->desc[i], cpu)) {
            return true;
        }
    }
    return false;
}

static bool
has_cpu(const struct pstate_domain *desc, uint32_t cpu)
{
    for (uint32_t i = 0; i < desc->n_cpus; i++) {
        if (desc->cpus[i] == cpu) {
            return true;
        }
    }
    return false;
}

/* Reads what domain hw->n is and can do; its first CPU is known. */
static int
probe_domain(struct hardware *hw, uint32_t steps, const char **file_out)
{
    struct pstate_domain *desc = &hw->desc[hw->n];
    struct domain *d = &hw->domain[hw->n];
    char text[FILE_SIZE];

    *file_out = "related_cpus";
    int error = domain_read(hw, hw->n, *file_out, text, sizeof text);
    if (error) {
        return error;
    }
    uint32_t cpu = desc->cpus[0];
    for (char *at = text; *at; at++) {
        *at = *at == ' ' ? ',' : *at;
    }
    int n = text_to_cpus(text, desc->cpus, DOMAIN_CPUS_MAX);
    if (n <= 0) {
        return n ? n : -EINVAL;
    }
    desc->n_cpus = (uint32_t)n;
    if (!has_cpu(desc, cpu)) {
        return -EINVAL;
    }

    *file_out = "cpuinfo_max_freq";
    error = domain_read_u64(hw, hw->n, *file_out, &d->max_khz);
    if (error) {
        return error;
    }
    *file_out = "cpuinfo_min_freq";
    error = domain_read_u64(hw, hw->n, *file_out, &d->min_khz);
    if (error || !d->min_khz || d->min_khz > d->max_khz) {
        return error ? error : -ERANGE;
    }

    *file_out = "scaling_available_frequencies";
    error = domain_read(hw, hw->n, *file_out, text, sizeof text);
    if (error && error != -ENOENT) {
        return error;
    }
    error = error
                ? freqtable_ladder(&desc->table, d->min_khz, d->max_khz, steps)
                : freqtable_parse(&desc->table, text);
    if (error) {
        return error;
    }

    *file_out = "scaling_available_governors";
    error = domain_read(hw, hw->n, *file_out, text, sizeof text);
    if (error) {
        return error;
    }
    d->userspace = has_word(text, "userspace") &&
                   domain_read(hw, hw->n, "scaling_setspeed", text,
                               sizeof text) != -ENOENT;
    return 0;
}

/* Adds the domain of 'cpu'.  -ENODEV if it has none now. */
static int
add_domain(struct hardware *hw, uint32_t cpu, uint32_t steps, char *why,
           size_t why_size)
{
    struct pstate_domain *desc = &hw->desc[hw->n];
    const char *file = "";

    *desc = (struct pstate_domain){.id = hw->n, .n_cpus = 1, .cpus = {cpu}};
    int error = probe_domain(hw, steps, &file);
    if (error == -ENOENT && !strcmp(file, "related_cpus")) {
        return -ENODEV;
    }
    if (error) {
        snprintf(why, why_size, "cpu%u/cpufreq/%s: %s", cpu, file,
                 error == -EINVAL   ? "makes no sense"
                 : error == -ERANGE ? "is out of range"
                                    : strerror(-error));
        return error == -ENOENT ? -EIO : error;
    }
    hw->n++;
    return 0;
}

/* A domain's files.  Those of any CPU in it are the same; a CPU that is offline
 * has none. */

static int
with_file(struct hardware *hw, uint32_t domain, const char *file,
          int (*use)(int dirfd, const char *path, void *ctx), void *ctx)
{
    const struct pstate_domain *desc = &hw->desc[domain];
    int error = -ENOENT;
    char path[128];

    for (uint32_t i = 0; i < desc->n_cpus && error == -ENOENT; i++) {
        snprintf(path, sizeof path, "devices/system/cpu/cpu%u/cpufreq/%s",
                 desc->cpus[i], file);
        error = use(hw->sys_dirfd, path, ctx);
    }
    return error;
}

struct text_out {
    char *out;
    size_t size;
};

static int
use_read(int dirfd, const char *path, void *ctx)
{
    struct text_out *to = ctx;

    int length = sysfs_read(dirfd, path, to->out, to->size);
    return length < 0 ? length : 0;
}

static int
use_write(int dirfd, const char *path, void *ctx)
{
    return sysfs_write(dirfd, path, ctx);
}

static int
domain_read(struct hardware *hw, uint32_t domain, const char *file, char *out,
            size_t size)
{
    struct text_out to = {.out = out, .size = size};

    return with_file(hw, domain, file, use_read, &to);
}

static int
domain_read_u64(struct hardware *hw, uint32_t domain, const char *file,
                uint64_t *out)
{
    char text[WORD_SIZE];

    int error = domain_read(hw, domain, file, text, sizeof text);
    if (error) {
        return error;
    }
    return text_to_u64(text, out) ? -EIO : 0;
}

/* The kernel says EINVAL or EBUSY when the hardware won't. */
static int
domain_write(struct hardware *hw, uint32_t domain, const char *file,
             const char *text)
{
    char copy[WORD_SIZE];

    text_copy(copy, sizeof copy, text);
    int error = with_file(hw, domain, file, use_write, copy);
    switch (error) {
    case 0:
        return 0;
    case -EACCES:
    case -EPERM:
    case -EROFS:
        return -EACCES;
    default:
        return -EIO;
    }
}

static int
domain_write_u64(struct hardware *hw, uint32_t domain, const char *file,
                 uint64_t value)
{
    char text[WORD_SIZE];

    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return domain_write(hw, domain, file, text);
}

static bool
has_word(const char *list, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = list; *at;) {
        size_t n = strcspn(at, " \n");

        if (n == length && !memcmp(at, word, n)) {
            return true;
        }
        at += n;
        at += strspn(at, " \n");
    }
    return false;
}

/* Found states: "governor=ondemand min=800000 max=2400000 setspeed=-". */

static int
find_state(struct hardware *hw, uint32_t domain, struct found *out)
{
    uint64_t khz;

    int error = domain_read(hw, domain, "scaling_governor", out->governor,
                            sizeof out->governor);
    if (!error) {
        error = domain_read_u64(hw, domain, "scaling_min_freq", &out->min_khz);
    }
    if (!error) {
        error = domain_read_u64(hw, domain, "scaling_max_freq", &out->max_khz);
    }
    if (error) {
        return error;
    }
    if (!text_is_name(out->governor)) {
        return -EIO;
    }
    /* "<unsupported>" unless the governor is userspace. */
    if (domain_read_u64(hw, domain, "scaling_setspeed", &khz)) {
        text_copy(out->setspeed, sizeof out->setspeed, UNSET);
    } else {
        snprintf(out->setspeed, sizeof out->setspeed, "%llu",
                 (unsigned long long)khz);
    }
    return 0;
}

/* Takes "KEY=VALUE" and the space after it off '*at'. */
static int
take(const char **at, const char *key, char *out, size_t size)
{
    size_t length = strlen(key);

    if (strncmp(*at, key, length) || (*at)[length] != '=') {
        return -EINVAL;
    }
    const char *value = *at + length + 1;
    size_t n = strcspn(value, " ");
    if (!n || n >= size) {
        return -EINVAL;
    }
    memcpy(out, value, n);
    out[n] = '\0';
    *at = value + n + (value[n] == ' ');
    return 0;
}

static int
parse_found(struct found *out, const char *saved)
{
    char min[WORD_SIZE], max[WORD_SIZE];
    uint64_t setspeed;

    if (take(&saved, "governor", out->governor, sizeof out->governor) ||
        take(&saved, "min", min, sizeof min) ||
        take(&saved, "max", max, sizeof max) ||
        take(&saved, "setspeed", out->setspeed, sizeof out->setspeed) ||
        *saved || text_to_u64(min, &out->min_khz) ||
        text_to_u64(max, &out->max_khz)) {
        return -EINVAL;
    }
    if (strcmp(out->setspeed, UNSET) && text_to_u64(out->setspeed, &setspeed)) {
        return -EINVAL;
    }
    return 0;
}

static int
check_found(struct hardware *hw, uint32_t domain, const struct found *found)
{
    const struct domain *d = &hw->domain[domain];
    char governors[FILE_SIZE];

    if (found->min_khz < d->min_khz || found->max_khz > d->max_khz ||
        found->min_khz > found->max_khz) {
        return -EINVAL;
    }
    int error = domain_read(hw, domain, "scaling_available_governors",
                            governors, sizeof governors);
    if (error) {
        return error;
    }
    return has_word(governors, found->governor) ? 0 : -EINVAL;
}

/* Old kernels refuse a minimum above the maximum, also for a moment: the order
 * depends on where the minimum is now. */
static int
write_range(struct hardware *hw, uint32_t domain, const struct found *found)
{
    uint64_t min_now = 0;

    domain_read_u64(hw, domain, "scaling_min_freq", &min_now);
    bool min_first = found->max_khz < min_now;
    int first = domain_write_u64(
        hw, domain, min_first ? "scaling_min_freq" : "scaling_max_freq",
        min_first ? found->min_khz : found->max_khz);
    int second = domain_write_u64(
        hw, domain, min_first ? "scaling_max_freq" : "scaling_min_freq",
        min_first ? found->max_khz : found->min_khz);
    return first ? first : second;
}

static bool
cpufreq_writes(const struct option_values *options, uint32_t cpu, uint32_t n,
               char *out, size_t out_size)
{
    static const char *const files[] = {"scaling_max_freq", "scaling_min_freq",
                                        "scaling_governor", "scaling_setspeed"};

    (void)options;
    if (n >= sizeof files / sizeof files[0]) {
        return false;
    }
    snprintf(out, out_size, "devices/system/cpu/cpu%u/cpufreq/%s", cpu,
             files[n]);
    return true;
}

static const struct option_desc cpufreq_options[] = {
    {.name = "steps",
     .type = OPTION_INT,
     .min = 2,
     .max = PSTATES_MAX,
     .default_text = "5",
     .help = "p-states to make where the hardware names no frequencies."},
    {.name = NULL},
};

static const struct pstate_ops cpufreq_pstate = {
    .domains = cpufreq_domains,
    .get = cpufreq_get,
    .set = cpufreq_set,
    .save = cpufreq_save,
    .restore = cpufreq_restore,
};

const struct hardware_class hardware_cpufreq = {
    .name = "cpufreq",
    .summary = "the CPUs' own p-states, by the kernel's cpufreq",
    .real = true,
    .options = cpufreq_options,
    .writes = cpufreq_writes,
    .pstate = &cpufreq_pstate,
    .open = cpufreq_open,
    .close = cpufreq_close,
};
