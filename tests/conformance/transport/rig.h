/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends of a channel over one transport, in one process, and what moves them
 * on; and the lists of rules that are run with it, one from each file of this
 * folder. */
#ifndef TESTS_CONFORMANCE_TRANSPORT_RIG_H
#define TESTS_CONFORMANCE_TRANSPORT_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "include/mchan.h"
#include "transport/sim.h"
#include "transport/transport.h"

#define EVENTS_KEPT 64
#define PATIENCE_S 30 /* For anything; the machine may be busy. */

enum { BACK, FRONT };

struct end {
    struct mchan *channel;
    struct mchan_event events[EVENTS_KEPT];
    unsigned n_events;
};

/* Two ends, and the place where they meet. */
struct rig {
    const struct transport_class *class;
    char dir[64];
    char uri[128];
    struct mchan_opts opts;
    struct sim_network *network; /* Of a simulated transport. */
    int64_t now;                 /* Its time. */
    struct end end[2];
};

int rig_set_up(void **state);
int rig_tear_down(void **state);

void rig_open(struct rig *, int which);
void rig_close(struct rig *, int which);
/* Both, until each says UP. */
void rig_connect(struct rig *);

/* Takes an end's events to those it has. */
void rig_collect(struct end *);
/* Something is due: the descriptors must say so by themselves. */
void rig_step(struct rig *);
/* Nothing need happen, but it may. */
void rig_rest(struct rig *);
/* Waits for an event of this type, passing over others. */
struct mchan_event rig_expect(struct rig *, int which, enum mchan_event_type);

/* As mchan_send(), a reliable message. */
int rig_send(struct mchan *, const void *data, size_t size, uint16_t tag);
/* Receives one message, waiting for it. */
size_t rig_recv(struct rig *, int which, void *data, size_t size,
                struct mchan_info *);

time_t rig_seconds(void);

/* Rules; a list ends with one that has no name. */

#define RULE(name) #name, name

struct rule {
    const char *name;
    void (*run)(void **state);
    bool real_only; /* Needs other processes, or their kernel's manners. */
};

extern const struct rule flow_rules[], session_rules[], class_rules[],
    process_rules[], many_rules[];

#endif
