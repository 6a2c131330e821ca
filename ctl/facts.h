/* SPDX-License-Identifier: Apache-2.0 */
/* What a process may do, as /proc has it.  For mctl doctor. */
#ifndef CTL_FACTS_H
#define CTL_FACTS_H

#include <jansson.h>
#include <stdint.h>

/* Reads all there is about a process beside 'parent', to whose namespaces its
 * own are compared; what only root may read is null.  An object that the caller
 * releases (see mctl(1)), null if there is no such process. */
json_t *facts_read(int32_t pid, int32_t parent);

#endif
