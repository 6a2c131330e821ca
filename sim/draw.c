/* SPDX-License-Identifier: Apache-2.0 */
/* Draws a scenario.  Not every seed has all kinds of faults: each has some
 * classes of them, so that one kind of trouble does not always hide in another.
 * All faults end; 45 s later the run does, since after 30 s all must be well.
 * Called by explore.c and msim.c. */
#include "sim/draw.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "sim/fault.h"

#define GUESTS_MAX 5
#define CPUS_MAX 6
#define FAULTS_MAX 40
#define HEALING_S 45

struct kind {
    const char *name;
    enum fault_class class;
    uint32_t weight;
    double low, high;  /* Of its value. */
    double longest_s;  /* 0: it has no end. */
    const char *texts; /* Of these, divided by "|". */
    bool rare;         /* Only in one seed of eight. */
    bool cap;          /* Only where the host has a power cap. */
};

/* clang-format off */
static const struct kind kinds[] = {
    {"kill_agent", FAULT_AGENT, 4, .longest_s = 6},
    {"stop_agent", FAULT_AGENT, 2, .longest_s = 6},
    {"silence_agent", FAULT_AGENT, 3, .longest_s = 8},
    {"hostile_guest", FAULT_AGENT, 5, 0, 5, 8},
    {"flood_notes", FAULT_AGENT, 1, 1, 40, 3},
    {"send_note", FAULT_AGENT, 1, .texts = "a.test/x hello|b.test/y 1"},

    {"cut_channel", FAULT_CHANNEL, 3, .longest_s = 8},
    {"stall_channel", FAULT_CHANNEL, 3, .longest_s = 8},
    {"delay_channel", FAULT_CHANNEL, 3, 0, 1500, 8},
    {"lossy_channel", FAULT_CHANNEL, 3, 0, 300, 8},
    {"repeat_channel", FAULT_CHANNEL, 3, 0, 500, 8},
    {"corrupt_channel", FAULT_CHANNEL, 2, 0, 100, 4},
    {"tail_channel", FAULT_CHANNEL, 2, .longest_s = 10},
    {"suspend_channel", FAULT_CHANNEL, 1, .longest_s = 5},
    {"renew_guest", FAULT_CHANNEL, 1},

    {"move_vm", FAULT_VM, 4},
    {"fail_hypervisor", FAULT_VM, 2, .longest_s = 6},
    {"end_vm", FAULT_VM, 1},
    {"vanish_vm", FAULT_VM, 1},

    {"fail_pstate", FAULT_HARDWARE, 3, .longest_s = 6},
    {"stick_pstate", FAULT_HARDWARE, 3, .longest_s = 6},
    {"late_pstate", FAULT_HARDWARE, 3, .longest_s = 6},
    {"lose_pstate", FAULT_HARDWARE, 2, .longest_s = 6},
    {"lose_sensor", FAULT_HARDWARE, 1, .longest_s = 6},
    {"lie_meter", FAULT_HARDWARE, 1, 0, 100000, 6},
    {"change_pstate", FAULT_HARDWARE, 2, 0, 4.99, .rare = true},

    {"cap_fails", FAULT_HARDWARE, 2, .longest_s = 6, .cap = true},
    {"cap_sticks", FAULT_HARDWARE, 2, .longest_s = 6, .cap = true},
    {"cap_late", FAULT_HARDWARE, 2, .longest_s = 6, .cap = true},
    {"cap_gone", FAULT_HARDWARE, 2, .longest_s = 6, .cap = true},
    {"order_cap", FAULT_OPERATOR, 4, .texts = "150|200|250|130 lease_s=3|290",
     .cap = true},

    {"lose_outcomes", FAULT_LINE, 2, .longest_s = 5},
    {"lose_actions", FAULT_LINE, 2, .longest_s = 5},
    {"block_platform", FAULT_LINE, 2, .longest_s = 5},
    {"block_back", FAULT_LINE, 2, .longest_s = 5},
    {"stall_back", FAULT_LINE, 2, .longest_s = 5},
    {"stall_platform", FAULT_LINE, 2, .longest_s = 5},
    {"stall_engine", FAULT_LINE, 2, .longest_s = 5},
    {"delay_lines", FAULT_LINE, 3, 0, 1500, 5},
    {"repeat_orders", FAULT_LINE, 3, 0, 3.99, 8},

    {"stop_broker", FAULT_CRASH, 1, .longest_s = 5},
    {"crash_back", FAULT_CRASH, 2, 1, 40, 5},
    {"crash_engine", FAULT_CRASH, 5, 1, 150, 5},
    {"crash_platform", FAULT_CRASH, 4, 1, 60, 5},
    {"crash_broker", FAULT_CRASH, 5, 1, 150, 5},
    {"cut_power", FAULT_CRASH, 5, 1, 150, 5},

    {"fill_disk", FAULT_DISK, 3, .longest_s = 20},
    {"fail_disk", FAULT_DISK, 2, .longest_s = 20},
    {"fail_sync", FAULT_DISK, 2, .longest_s = 20},

    {"jump_wall", FAULT_CLOCK, 2, -4e8, 4e8},
    {"jump_guest", FAULT_CLOCK, 2, 0, 1000},
    {"stop_time", FAULT_CLOCK, 1, 0, 20},

    {"set_policy", FAULT_OPERATOR, 1, .texts = "basic|none"},
    {"control_vm", FAULT_OPERATOR, 4, 
     .texts = "freeze|thaw|freeze|thaw|end|migrate near|migrate full|"
              "migrate silent|migrate dead|migrate lost"},
    {NULL},
};
/* clang-format on */

struct drawing {
    FILE *file;
    struct prng prng;
    uint32_t n_cpus, n_guests;
    bool classes[FAULT_N_CLASSES];
    bool rare;
    bool cap; /* The host has one. */
    double ends_s;
    double stopped_s; /* In which nothing happens, and faults end late. */
};

static uint64_t
below(struct drawing *drawing, uint64_t n)
{
    return prng_below(&drawing->prng, n);
}

static double
between(struct drawing *drawing, double low, double high)
{
    return low + prng_real(&drawing->prng) * (high - low);
}

static bool
chance(struct drawing *drawing, double p)
{
    return prng_real(&drawing->prng) < p;
}

static void
draw_host(struct drawing *drawing)
{
    static const char *const ties[] = {"raise", "lower", "both"};
    FILE *file = drawing->file;

    drawing->n_cpus = 1 + (uint32_t)below(drawing, CPUS_MAX);
    fprintf(file, "host = {\n  cpus = [");
    for (uint32_t i = 0; i < drawing->n_cpus; i++) {
        fprintf(file, "%s%" PRIu32, i > 0 ? ", " : "", i);
    }
    fprintf(file, "];\n  policy = { name = \"basic\"; util_period_ms = %d; ",
            500 << below(drawing, 3));
    fprintf(file, "tie = \"%s\"; start_pstate = %d; };\n",
            ties[below(drawing, 3)], (int)below(drawing, 5));
    fprintf(file, "  pstate = { driver = \"sim\"; cpus_per_domain = %d; };\n",
            1 + (int)below(drawing, 2));
    fprintf(file, "  epoch_ms = %d; sample_ms = %d; beat_ms = %d;\n",
            250 << below(drawing, 2), 100 + (int)below(drawing, 140),
            500 << below(drawing, 2));
    if (chance(drawing, 0.3)) {
        fprintf(file, "  dwell_ms = %d;\n", (int)below(drawing, 4000));
    }
    if (chance(drawing, 0.2)) {
        fprintf(file,
                "  limits = { pstate_min = %d; pstate_max = %d; "
                "writes_per_second = %d; };\n",
                (int)below(drawing, 2), 2 + (int)below(drawing, 3),
                2 + (int)below(drawing, 10));
    }
    if (chance(drawing, 0.2)) {
        fprintf(file,
                "  quota = { messages_per_second = %d; rows_per_second = %d; "
                "};\n",
                50 + (int)below(drawing, 500), 2 + (int)below(drawing, 15));
    }
    if (drawing->cap) {
        fprintf(file, "  cap = { driver = \"sim\"; };\n"
                      "  budget = { max_w = 300; safe_w = 120; };\n");
    }
    fprintf(file, "  journal = { size_mb = 1; };\n};\n");
}

static void
draw_guest(struct drawing *drawing, uint32_t i)
{
    FILE *file = drawing->file;
    double rate = between(drawing, 5, 80);

    fprintf(file, "  { name = \"vm%" PRIu32 "\"; cpu = %d; ", i,
            (int)below(drawing, drawing->n_cpus));
    fprintf(file, "service_us = %d; ", 300 + (int)below(drawing, 4000));
    if (chance(drawing, 0.15)) {
        fprintf(file, "agent = false; ");
    }
    if (chance(drawing, 0.2)) {
        fprintf(file, "slow_every = %d; slow_us = 20000; ",
                5 + (int)below(drawing, 60));
    }
    fprintf(file, "clock_ahead_ms = %d; delay_us = %d;\n",
            (int)below(drawing, 2000) - 1000, (int)below(drawing, 3000));
    fprintf(file, "    load = ( { at_s = 0; rate = %.1f; }, ", rate);
    fprintf(file, "{ at_s = %.1f; rate = %.1f; } ); }%s\n",
            between(drawing, 5, 40), between(drawing, 5, 120),
            i + 1 < drawing->n_guests ? "," : "");
}

static bool
may_draw(const struct drawing *drawing, const struct kind *kind)
{
    return drawing->classes[kind->class] && (!kind->rare || drawing->rare) &&
           (!kind->cap || drawing->cap);
}

static const struct kind *
draw_kind(struct drawing *drawing)
{
    uint64_t sum = 0;
    const struct kind *kind;

    for (kind = kinds; kind->name; kind++) {
        sum += may_draw(drawing, kind) ? kind->weight : 0;
    }
    uint64_t at = below(drawing, sum);
    for (kind = kinds; kind->name; kind++) {
        if (!may_draw(drawing, kind)) {
            continue;
        }
        if (at < kind->weight) {
            return kind;
        }
        at -= kind->weight;
    }
    return kinds;
}

/* One of several words divided by "|". */
static void
draw_text(struct drawing *drawing, const char *texts)
{
    uint64_t n = 1;

    for (const char *c = texts; *c; c++) {
        n += *c == '|';
    }
    n = below(drawing, n);
    while (n > 0) {
        n -= *texts++ == '|';
    }
    fprintf(drawing->file, " text = \"");
    for (; *texts && *texts != '|'; texts++) {
        putc(*texts, drawing->file);
    }
    fprintf(drawing->file, "\";");
}

static void
draw_fault(struct drawing *drawing, double at_s, bool last)
{
    const struct kind *kind = draw_kind(drawing);
    const struct fault *fault = fault_find(kind->name);
    double ends_s = at_s;

    fprintf(drawing->file, "  { at_s = %.3f; fault = \"%s\";", at_s,
            kind->name);
    if (fault->needs & FAULT_GUEST) {
        fprintf(drawing->file, " guest = \"vm%d\";",
                (int)below(drawing, drawing->n_guests));
    }
    if (fault->needs & FAULT_CPU) {
        fprintf(drawing->file, " cpu = %d;",
                (int)below(drawing, drawing->n_cpus));
    }
    if (fault->needs & FAULT_VALUE) {
        double value = between(drawing, kind->low, kind->high);

        fprintf(drawing->file, " value = %d.0;", (int)value);
        drawing->stopped_s += strcmp(kind->name, "stop_time") ? 0 : value;
    }
    if (kind->texts) {
        draw_text(drawing, kind->texts);
    }
    if (kind->longest_s > 0) {
        double for_s = between(drawing, 0.05, kind->longest_s);

        fprintf(drawing->file, " for_s = %.3f;", for_s);
        ends_s += for_s;
    }
    fprintf(drawing->file, " }%s\n", last ? "" : ",");
    drawing->ends_s = ends_s > drawing->ends_s ? ends_s : drawing->ends_s;
}

/* In the order of time. */
static void
draw_faults(struct drawing *drawing)
{
    uint32_t n = 2 + (uint32_t)below(drawing, FAULTS_MAX - 1);
    double at_s = between(drawing, 0.5, 4);
    double step_s = between(drawing, 5, 30) / n;

    for (int i = 0; i < FAULT_N_CLASSES; i++) {
        drawing->classes[i] = chance(drawing, 0.45);
    }
    drawing->classes[below(drawing, FAULT_N_CLASSES)] = true;
    drawing->rare = chance(drawing, 0.125);
    fprintf(drawing->file, "faults = (\n");
    for (uint32_t i = 0; i < n; i++) {
        draw_fault(drawing, at_s, i + 1 == n);
        at_s += between(drawing, 0, 2 * step_s);
    }
    fprintf(drawing->file, ");\n");
}

char *
draw_scenario(uint64_t seed)
{
    char *text = NULL;
    size_t size;
    struct drawing drawing = {.file = open_memstream(&text, &size)};

    if (!drawing.file) {
        return NULL;
    }
    prng_init(&drawing.prng, seed ^ UINT64_C(0x64726177));
    drawing.cap = seed % 5 == 3;
    fprintf(drawing.file,
            "about = \"Drawn by seed %" PRIu64 "\";\nseed = %" PRIu64 "L;\n",
            seed, seed);
    draw_host(&drawing);
    drawing.n_guests = 1 + (uint32_t)below(&drawing, GUESTS_MAX);
    fprintf(drawing.file, "guests = (\n");
    for (uint32_t i = 0; i < drawing.n_guests; i++) {
        draw_guest(&drawing, i);
    }
    fprintf(drawing.file, ");\n");
    draw_faults(&drawing);
    fprintf(drawing.file, "duration_s = %.0f;\n",
            drawing.ends_s + drawing.stopped_s + HEALING_S);
    fprintf(drawing.file, "expect = ( { writes = [0, 1000000]; } );\n");
    fclose(drawing.file);
    return text;
}
