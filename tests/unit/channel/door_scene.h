/* SPDX-License-Identifier: Apache-2.0 */
/* A place for a channel's socket, and two ends in one thread that are given
 * their turns. */
#ifndef TESTS_UNIT_CHANNEL_DOOR_SCENE_H
#define TESTS_UNIT_CHANNEL_DOOR_SCENE_H

#include "include/mchan.h"

#define PATIENCE_MS 30000

struct place {
    char dir[64];
    char path[96];
    char uri[104];
};

extern const char *const schemes[2];

int set_up(void **state);
int tear_down(void **state);
int send_text(struct mchan *channel, const char *text);
/* Both ends live in this thread, so each is given its turns. */
void come_up(struct mchan *one, struct mchan *other);
void make_pair(const char *scheme, uint32_t ring_size, struct mchan **back,
               struct mchan **front);

#endif
