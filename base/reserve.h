/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for what can't do without: a library that ends in a crash where it
 * finds none. */
#ifndef BASE_RESERVE_H
#define BASE_RESERVE_H

#include <stdbool.h>
#include <stddef.h>

/* Asks for so many bytes at once.  If there are, the calling thread's
 * allocations until reserve_end() find memory, so long as together they take no
 * more.  False if there are not; reserve_end() is to be called in any case. */
bool reserve_begin(size_t size);
void reserve_end(void);

#endif
