/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a sandbox, each given up by itself.  For broker/sandbox/ only,
 * where sandbox.c has the order. */
#ifndef BROKER_SANDBOX_PARTS_H
#define BROKER_SANDBOX_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sandbox_plan;

/* Sanitizers read /proc, start programs and trace threads, all of which a
 * sandbox is there to prevent. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANDBOX_SANITIZED 1
#endif
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED 0
#endif

/* Namespaces of its own for mounts, network and IPC, and a root with nothing in
 * it but the plan's directories.  '*own_users' says whether that took a user
 * namespace, too.  0; -EPERM or another -Exxx if nothing was changed, with
 * 'why'; -ECANCELED if it went wrong half-way. */
int root_enter(const struct sandbox_plan *, bool *own_users, char *why,
               size_t why_size);
/* The next best: the kernel's Landlock refuses all files but those below the
 * plan's directories.  Needs no_new_privs.  0 or -Exxx with 'why'. */
int landlock_enter(const struct sandbox_plan *, char *why, size_t why_size);

/* Groups, user, capabilities.  Keeps of the plan's capabilities those it has,
 * none in a namespace of 'own_users'.  0 or -Exxx with 'why', after which the
 * process must end. */
int ids_drop(const struct sandbox_plan *, bool own_users, uint64_t *caps_out,
             char *why, size_t why_size);
/* The capabilities this process has, as bits. */
uint64_t ids_permitted(void);
int ids_set_limits(const struct sandbox_plan *);

/* Before a filter: who is caught by it says so and dies.  0 or -Exxx. */
int caught_begin(const struct sandbox_plan *);
/* Installs the plan's filter.  The number of calls that stay, or -Exxx with
 * 'why'. */
int calls_filter(const struct sandbox_plan *, char *why, size_t why_size);

#endif
