/* SPDX-License-Identifier: Apache-2.0 */
/* A made-up network for "sim:NAME" channels: what msim and the tests hold
 * behind the back of the transport "sim".  Each name is a place where one
 * listener and one who connects meet; what is sent arrives later by the place's
 * delay, and the place misbehaves on request.  Time stands where
 * sim_network_run() put it. */
#ifndef TRANSPORT_SIM_H
#define TRANSPORT_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define SIM_NETWORK_PLACES_MAX 256
#define SIM_NETWORK_NAME_SIZE 96

struct sim_network; /* What mchan_opts.sim points to. */

/* Returns 0 or -ENOMEM. */
int sim_network_create(struct sim_network **out, uint64_t seed);
/* To be called after all channels over it are closed.  Accepts null. */
void sim_network_destroy(struct sim_network *);

/* It is 'now' (never earlier than before).  Returns whether anything arrived
 * since the last call: then both ends of every channel deserve a turn. */
bool sim_network_run(struct sim_network *, nsec_t now);
/* When something arrives next. */
nsec_t sim_network_deadline(const struct sim_network *);

/* Faults of a place; a name not heard of before makes one.  They hold until
 * changed. */

/* How long what is sent takes, each way; 0 at first. */
void sim_network_set_delay(struct sim_network *, const char *name,
                           nsec_t delay_ns);
/* The link that stands breaks, and what was under way is gone. */
void sim_network_cut(struct sim_network *, const char *name);
/* The same, and nobody can connect. */
void sim_network_set_down(struct sim_network *, const char *name, bool down);
/* Nothing arrives and nobody is told; what was sent comes afterwards. */
void sim_network_set_stalled(struct sim_network *, const char *name,
                             bool stalled);
/* A link that ends leaves its tail: what was under way comes to whoever links
 * up next, before anything of his own. */
void sim_network_set_tails(struct sim_network *, const char *name, bool tails);
/* The chance, 0 to 1, that what is sent at once comes twice. */
void sim_network_set_repeats(struct sim_network *, const char *name,
                             double chance);
/* The chance, 0 to 1, that what is sent at once has a wrong bit, or is lost. */
void sim_network_set_corruption(struct sim_network *, const char *name,
                                double chance);
void sim_network_set_loss(struct sim_network *, const char *name,
                          double chance);

/* A VM that moves.  Whoever goes to 'name' from now on comes to the place
 * 'to', as a guest's port keeps its name while the host behind it changes.  A
 * link that stands is taken from under the guest: what the other end wrote and
 * was not read is lost, and of what the guest wrote the last 'n_tail' bytes
 * that were not read come to whoever it meets next, before it says anything;
 * both as virtio-serial does when its guest migrates.  The end that is left
 * behind is not told: it can still read what came before, and may write, which
 * goes nowhere. */
void sim_network_move(struct sim_network *, const char *name, const char *to,
                      uint32_t n_tail);
/* Now it is told that nobody is there. */
void sim_network_hang_up(struct sim_network *, const char *name);

#endif
