/* SPDX-License-Identifier: Apache-2.0 */
/* Where hostile_shm.c and hostile_stream.c play: a channel with a clock of ours
 * that waits in a directory of its own, and a socket without any channel behind
 * it, for the peer that misbehaves. */
#ifndef TESTS_CHANNEL_SCENE_H
#define TESTS_CHANNEL_SCENE_H

#include <stdint.h>
#include <time.h>

#include "include/mchan.h"
#include "transport/ring.h"

struct scene {
    char dir[64];
    char path[96];
    char uri[104];
    int64_t now; /* The channel's clock, so that nobody need wait. */
    struct mchan_opts opts;
    struct mchan *channel; /* Null until somebody listens. */
    int raw;               /* The hostile peer's socket; -1: none. */
    uint32_t attachment;   /* The last one. */
    uint8_t *memory;       /* The hostile peer's mapping; null: none. */
    struct ring_tx tx;
    struct ring_rx rx;
};

/* For "shm" or "unix"; '*state' becomes the scene.  0. */
int scene_set_up(void **state, const char *scheme);
/* Closes all; fails if anything is left in the directory. */
int scene_tear_down(void **state);
void scene_listen(struct scene *);
/* The hostile peer knocks. */
void scene_connect(struct scene *);

/* What must happen may take this long. */
#define SCENE_PATIENCE_S 60
time_t scene_seconds(void);
/* Waits for the event, passing over others. */
struct mchan_event scene_expect(struct mchan *, enum mchan_event_type);
/* The peer is refused for this reason, and so is sending to it. */
void scene_expect_refused(struct scene *, const char *reason);
/* The next message comes, and has this size. */
void scene_expect_message(struct scene *, size_t size);

#endif
