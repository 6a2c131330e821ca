/* SPDX-License-Identifier: Apache-2.0 */
/* The made-up host's power cap: a register that can be late, lie or be gone, as
 * those of management controllers are.  For hardware/sim.c and for who holds
 * the world behind it. */
#ifndef HARDWARE_SIMCAP_H
#define HARDWARE_SIMCAP_H

#include <stdint.h>

#define SIMCAP_LOW_MW UINT64_C(10000)
#define SIMCAP_HIGH_MW UINT64_C(10000000)
#define SIMCAP_LATE_GETS 4 /* Until a late cap holds. */

/* How it answers from now on. */
enum simcap_fault {
    SIMCAP_NONE,
    SIMCAP_FAILS,  /* set() returns -EIO and changes nothing. */
    SIMCAP_STICKS, /* set() returns 0 and changes nothing. */
    SIMCAP_LATE,   /* set() returns 0; it holds after some more get()s. */
    SIMCAP_LIES,   /* set() and get() say that it holds, and it does not. */
    SIMCAP_GONE,   /* All calls return -ENODEV. */
    SIMCAP_N,      /* Not a fault: how many there are. */
};

struct simcap {
    enum simcap_fault fault;
    uint64_t mw;   /* What really limits the host; 0: nothing does. */
    uint64_t said; /* What a lying one says. */
    uint64_t coming;
    uint32_t late_gets; /* Until it comes; 0: nothing is held back. */
    uint64_t n_sets;    /* That reached it. */
};

int simcap_get(struct simcap *, uint64_t *mw_out);
int simcap_set(struct simcap *, uint64_t mw);

/* Fault by its name: "none", "fails", "sticks", "late", "lies", "gone".  0 or
 * -EINVAL. */
int simcap_fault_parse(enum simcap_fault *out, const char *name);

/* The register as a file, two lines "mw N" and "sets N": a file
 * that is not there is a register that limits nothing.  The fault is only read,
 * from FILE.fault if there is one.  0 or -Exxx. */
int simcap_load(struct simcap *, int dirfd, const char *file);
int simcap_store(const struct simcap *, int dirfd, const char *file);

#endif
