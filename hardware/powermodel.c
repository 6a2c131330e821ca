/* SPDX-License-Identifier: Apache-2.0 */
/* Computes a host's power where nothing measures it.  Always says "model".
 *
 *     P = (idle - X) + sum over the n managed cores of  s * (X + D(u)) / n
 *
 * idle  the machine's watts when idle, measured for SPECpower_ssj2008 and kept
 *       with its other points in data/specpower.csv;
 * X     the part of idle that frequency and voltage change (idle_scaled_w): an
 *       assumption, 30 W by default.  With X = 0 the paper's saving of 22 % is
 *       out of reach;
 * D(u)  the watts above idle at utilization u, by straight lines between the
 *       measured points (0, 10 % .. 100 %);
 * u     the core's busy share of the time available at its present p-state: D,
 *       the machine's mean power at that utilization, holds the busy part
 *       already and isn't multiplied by u again;
 * s     V^2 f / (V0^2 f0), what dynamic power is proportional to; V0 and f0 are
 *       those of p-state 0.  A core whose voltage is unknown has V = V0, one
 *       whose frequency is unknown has s = 1.
 *
 * At p-state 0 this is the measured curve.  The managed cores stand for all of
 * the machine's, however many it had.  D is concave: readings further apart
 * than 500 ms average u over what the curve was measured with, closer ones come
 * out a little low.  Relies on base/sysfs for the file; called by the platform
 * process and by msim. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sysfs.h"
#include "base/text.h"
#include "hardware/hardware.h"

#define POINTS 11     /* 0, 10 % .. 100 %. */
#define FIRST_POINT 2 /* Column of the first: machine,year,idle,w10.. */
#define COLUMNS (FIRST_POINT + POINTS)
#define FILE_SIZE 65536
#define WATTS_MAX 100000.0
#define DATA_FILE "specpower.csv"
#define HEADER "machine,year,idle,w10,w20,w30,w40,w50,w60,w70,w80,w90,w100"

struct hardware {
    double watts[POINTS];
    double idle_scaled_w;
};

static int find_machine(double watts[POINTS], char *text, const char *machine,
                        char *why, size_t why_size);
static double core_scale(const struct cpu_load *);
static double above_idle(const struct hardware *, double busy);

static int
powermodel_open(struct hardware **out, const struct hardware_env *env,
                char *why, size_t why_size)
{
    const char *machine = option_text(env->options, "machine");
    struct hardware *hw = calloc(1, sizeof *hw);
    char *text = malloc(FILE_SIZE);
    int error = -ENOMEM;

    if (!hw || !text) {
        snprintf(why, why_size, "no memory");
        goto failed;
    }
    error = sysfs_read(env->data_dirfd, DATA_FILE, text, FILE_SIZE);
    if (error < 0) {
        bool absent = error == -ENOENT || error == -ENOTDIR || error == -EBADF;

        snprintf(why, why_size, "%s in data_dir: %s", DATA_FILE,
                 absent ? "not there; set data_dir to where it is"
                        : strerror(-error));
        error = absent ? -ENODEV : error;
        goto failed;
    }
    error = find_machine(hw->watts, text, machine, why, why_size);
    if (error) {
        goto failed;
    }
    hw->idle_scaled_w = option_real(env->options, "idle_scaled_w");
    if (hw->idle_scaled_w > hw->watts[0]) {
        snprintf(why, why_size, "idle_scaled_w: %g W is more than %s's %g W",
                 hw->idle_scaled_w, machine, hw->watts[0]);
        error = -EINVAL;
        goto failed;
    }
    free(text);
    *out = hw;
    return 0;

failed:
    free(text);
    free(hw);
    return error;
}

static void
powermodel_close(struct hardware *hw)
{
    free(hw);
}

static int
powermodel_read(struct hardware *hw, const struct cpu_load *load,
                uint32_t n_load, nsec_t now, struct power_reading *out)
{
    if (!n_load) {
        return -EAGAIN;
    }
    double scaled_w = 0;
    for (uint32_t i = 0; i < n_load; i++) {
        scaled_w += core_scale(&load[i]) *
                    (hw->idle_scaled_w + above_idle(hw, load[i].busy));
    }
    double watts = hw->watts[0] - hw->idle_scaled_w + scaled_w / n_load;

    *out = (struct power_reading){
        .quality = QUALITY_MODELLED,
        .power_mw = (uint64_t)llround(watts * 1000),
        .time = now,
        .source = "model",
    };
    return 0;
}

static double
core_scale(const struct cpu_load *load)
{
    if (!load->freq_khz || !load->freq0_khz) {
        return 1;
    }
    double f = (double)load->freq_khz / load->freq0_khz;
    if (!load->voltage_mv || !load->voltage0_mv) {
        return f;
    }
    double v = (double)load->voltage_mv / load->voltage0_mv;
    return v * v * f;
}

/* D(u).  A share outside 0..1, or none, comes from a clock that was read
 * unevenly. */
static double
above_idle(const struct hardware *hw, double busy)
{
    if (!(busy > 0)) {
        return 0;
    }
    double at = fmin(busy, 1) * (POINTS - 1);
    size_t below = at < POINTS - 1 ? (size_t)at : POINTS - 2;
    double rise = hw->watts[below + 1] - hw->watts[below];

    return hw->watts[below] + rise * (at - (double)below) - hw->watts[0];
}

/* The data file: a header, then a line per machine. */

static int
read_points(double watts[POINTS], char *line, char *why, size_t why_size)
{
    char *field[COLUMNS], *rest = line, *word;
    size_t n = 0;

    while ((word = strsep(&rest, ","))) {
        if (n == COLUMNS) {
            n++;
            break;
        }
        field[n++] = word;
    }
    if (n != COLUMNS) {
        snprintf(why, why_size, "%s: %s has not %d columns", DATA_FILE,
                 field[0], COLUMNS);
        return -EINVAL;
    }
    for (size_t i = 0; i < POINTS; i++) {
        double w;

        if (text_to_real(field[FIRST_POINT + i], &w) || !(w > 0) ||
            w > WATTS_MAX || (i && w < watts[i - 1])) {
            snprintf(why, why_size,
                     "%s: %s: \"%.20s\" is no number of watts that rises with "
                     "the load",
                     DATA_FILE, field[0], field[FIRST_POINT + i]);
            return -EINVAL;
        }
        watts[i] = w;
    }
    return 0;
}

static int
find_machine(double watts[POINTS], char *text, const char *machine, char *why,
             size_t why_size)
{
    size_t length = strlen(machine);
    char *rest = text;
    char *line = strsep(&rest, "\n");
    char names[128] = "";

    if (strcmp(line, HEADER)) {
        snprintf(why, why_size, "%s: the first line is not %s", DATA_FILE,
                 HEADER);
        return -EINVAL;
    }
    while ((line = strsep(&rest, "\n"))) {
        if (!strncmp(line, machine, length) && line[length] == ',') {
            return read_points(watts, line, why, why_size);
        }
        text_append(names, sizeof names, " %.*s", (int)strcspn(line, ","),
                    line);
    }
    snprintf(why, why_size, "machine: no \"%.40s\" in %s; there are:%s",
             machine, DATA_FILE, names);
    return -EINVAL;
}

static const struct option_desc powermodel_options[] = {
    {.name = "machine",
     .type = OPTION_TEXT,
     .default_text = "Opteron-2216HE-2x2c",
     .help = "Machine of data/specpower.csv whose power curve is used."},
    {.name = "idle_scaled_w",
     .unit = "W",
     .type = OPTION_REAL,
     .min = 0,
     .max = 1000,
     .default_text = "30",
     .help = "Part of the idle power that falls with frequency and voltage "
             "(an assumption)."},
    {.name = NULL},
};

static const struct power_ops powermodel_power = {
    .read = powermodel_read,
};

const struct hardware_class hardware_powermodel = {
    .name = "powermodel",
    .summary = "power computed from CPU use and p-states",
    .options = powermodel_options,
    .power = &powermodel_power,
    .open = powermodel_open,
    .close = powermodel_close,
};
