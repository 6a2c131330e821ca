/* SPDX-License-Identifier: Apache-2.0 */
/* What a scenario can do to a world from outside: faults, and what operators
 * and guests do.  Adding one is a row in fault.c. */
#ifndef SIM_FAULT_H
#define SIM_FAULT_H

#include <stdbool.h>
#include <stdint.h>

struct scenario_fault;
struct world;

/* What it touches; what must hold is asked for when that was left alone for a
 * while. */
enum fault_class {
    FAULT_CHANNEL,  /* Between an agent and back. */
    FAULT_AGENT,    /* Agents come, go and lie. */
    FAULT_VM,       /* VMs move and end, the hypervisor fails. */
    FAULT_HARDWARE, /* p-states and sensors. */
    FAULT_LINE,     /* Between the processes of the broker. */
    FAULT_CRASH,    /* Processes of the broker die and return. */
    FAULT_DISK,
    FAULT_CLOCK,
    FAULT_OPERATOR, /* No fault: what people ask for. */
    FAULT_N_CLASSES,
};

/* What its line in the scenario must say. */
#define FAULT_GUEST 1u /* guest */
#define FAULT_CPU 2u   /* cpu */
#define FAULT_VALUE 4u /* value, a number */
#define FAULT_TEXT 8u  /* text */
#define FAULT_FOR 16u  /* for_s may say when it ends; it else never does. */

struct fault {
    const char *name; /* Null ends the table. */
    enum fault_class class;
    unsigned needs;
    const char *help;
    double low, high; /* Of the value. */
    /* Begins it, or with 'on' false ends it. */
    void (*apply)(struct world *, const struct scenario_fault *, bool on);
    int how; /* What 'apply' does when it is behind several rows. */
};

extern const struct fault fault_table[];

/* Null if there is none of that name. */
const struct fault *fault_find(const char *name);

#endif
