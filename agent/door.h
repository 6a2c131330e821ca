/* SPDX-License-Identifier: Apache-2.0 */
/* The door for programs in the guest: a unix socket at which any of them hands
 * the agent a note, a line of JSON, and is answered in one.  docs/notes.md has
 * the lines. */
#ifndef AGENT_DOOR_H
#define AGENT_DOOR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"

struct agent;
struct door;

#define DOOR_CLIENTS_MAX 16   /* Then who was quiet longest has to leave. */
#define DOOR_LINES_PER_TURN 8 /* Of one client. */

/* Listens at 'uri', "unix:PATH".  A socket nobody answers at is replaced.
 * Returns 0, -EINVAL if 'uri' is none, -EADDRINUSE if somebody answers there,
 * or another -Exxx, with 'why'. */
int door_open(struct door **out, const char *uri, char *why, size_t why_size);
/* Takes the socket away; accepts null. */
void door_close(struct door *);

/* Readable when door_run() has something to do.  Borrowed. */
int door_fd(const struct door *);
/* Lets programs in, and gives what they say to the agent. */
void door_run(struct door *, struct agent *, nsec_t now);
/* Whether it wants to run again although nothing happens. */
bool door_is_due(const struct door *);

/* Is a program at such a door: hands in what it reads from 'fd' to its end.
 * Returns 0, or -Exxx with 'why'. */
int door_knock(const char *uri, const char *type, bool latest, int fd,
               char *why, size_t why_size);

#endif
