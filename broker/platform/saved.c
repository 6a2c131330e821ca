/* SPDX-License-Identifier: Apache-2.0 */
/* Found states in files, so that they outlive every process of the broker.  A
 * file is there whole or not at all (base/wholefile) and holds four lines, the
 * last of which says that none is missing:
 *
 *     driver cpufreq
 *     cpus 0 1
 *     state governor=ondemand min=1000000 max=2400000
 *     end
 *
 * Whoever can write the directory is trusted as far as the driver's restore()
 * trusts a line, which validates it.  Called by knobs.c, which writes, and by
 * restore.c, which reads after a death. */
#include "broker/platform/saved.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sysfs.h"
#include "base/text.h"
#include "base/wholefile.h"

#define TEXT_SIZE                                                              \
    (HARDWARE_SAVED_SIZE + SAVED_DRIVER_SIZE + DOMAIN_CPUS_MAX * 6 + 64)
#define FILES_MAX 4096 /* Looked at in one directory. */

static void file_name(char out[SAVED_FILE_SIZE], const uint32_t *cpus,
                      uint32_t n_cpus);
static int format_saved(const struct saved *, char out[TEXT_SIZE]);
static int parse_saved(char *text, struct saved *out);
static int parse_cpus(char *text, struct saved *out);

int
saved_write(int dirfd, const struct saved *saved)
{
    char name[SAVED_FILE_SIZE], text[TEXT_SIZE];

    assert(saved->n_cpus && saved->n_cpus <= DOMAIN_CPUS_MAX);
    file_name(name, saved->cpus, saved->n_cpus);
    int error = format_saved(saved, text);
    return error ? error : wholefile_write(dirfd, name, text);
}

int
saved_remove(int dirfd, const uint32_t *cpus, uint32_t n_cpus)
{
    char name[SAVED_FILE_SIZE];

    file_name(name, cpus, n_cpus);
    if (unlinkat(dirfd, name, 0) && errno != ENOENT) {
        return -errno;
    }
    return 0;
}

int
saved_each(int dirfd,
           void (*each)(void *ctx, const char *file, int error,
                        const struct saved *saved),
           void *ctx)
{
    struct dirent **entries = NULL;
    int n = scandirat(dirfd, ".", &entries, NULL, alphasort);
    if (n < 0) {
        return -errno;
    }

    int n_files = 0;
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        size_t length = strlen(name);

        if (length > strlen(WHOLEFILE_ASIDE) &&
            !strcmp(name + length - strlen(WHOLEFILE_ASIDE), WHOLEFILE_ASIDE)) {
            unlinkat(dirfd, name, 0);
        } else if (name[0] != '.' && n_files < FILES_MAX) {
            struct saved saved;
            char text[TEXT_SIZE];
            int error = sysfs_read(dirfd, name, text, sizeof text);

            if (error >= 0) {
                error = parse_saved(text, &saved);
            }
            each(ctx, name, error, error ? NULL : &saved);
            n_files++;
        }
        free(entries[i]);
    }
    free(entries);
    return n_files;
}

static void
file_name(char out[SAVED_FILE_SIZE], const uint32_t *cpus, uint32_t n_cpus)
{
    uint32_t least = cpus[0];

    for (uint32_t i = 1; i < n_cpus; i++) {
        least = cpus[i] < least ? cpus[i] : least;
    }
    snprintf(out, SAVED_FILE_SIZE, "pstate-cpu%u", least);
}

static int
format_saved(const struct saved *saved, char out[TEXT_SIZE])
{
    if (strchr(saved->state, '\n') || !text_is_name(saved->driver)) {
        return -EINVAL;
    }
    snprintf(out, TEXT_SIZE, "driver %s\ncpus", saved->driver);
    for (uint32_t i = 0; i < saved->n_cpus; i++) {
        text_append(out, TEXT_SIZE, " %u", saved->cpus[i]);
    }
    return text_append(out, TEXT_SIZE, "\nstate %s\nend\n", saved->state)
               ? -EINVAL
               : 0;
}

/* Cuts 'text' into its four lines in place. */
static int
parse_saved(char *text, struct saved *out)
{
    static const char *const keys[] = {"driver ", "cpus ", "state ", "end"};
    char *values[4], *rest = text;

    for (size_t i = 0; i < 4; i++) {
        char *line = strsep(&rest, "\n");

        if (!line || strncmp(line, keys[i], strlen(keys[i]))) {
            return -EPROTO;
        }
        values[i] = line + strlen(keys[i]);
    }
    if (rest || values[3][0] || !text_is_name(values[0]) ||
        text_copy(out->driver, sizeof out->driver, values[0]) ||
        text_copy(out->state, sizeof out->state, values[2])) {
        return -EPROTO;
    }
    return parse_cpus(values[1], out);
}

static int
parse_cpus(char *text, struct saved *out)
{
    out->n_cpus = 0;
    for (char *word; (word = strsep(&text, " "));) {
        uint64_t cpu;

        if (out->n_cpus == DOMAIN_CPUS_MAX || text_to_u64(word, &cpu) ||
            cpu > UINT16_MAX) {
            return -EPROTO;
        }
        out->cpus[out->n_cpus++] = (uint32_t)cpu;
    }
    return 0;
}
