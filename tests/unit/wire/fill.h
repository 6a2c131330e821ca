/* SPDX-License-Identifier: Apache-2.0 */
/* Makes up messages for tests: every member random and within its limits, or
 * as large as its limits allow. */
#ifndef TESTS_UNIT_WIRE_FILL_H
#define TESTS_UNIT_WIRE_FILL_H

#include "base/prng.h"
#include "wire/field.h"
#include "wire/msg.h"

/* All types that are messages, ended by 0. */
extern const unsigned fill_types[];
size_t fill_n_types(void);

void fill_random(struct msg *out, unsigned type, struct prng *);
void fill_largest(struct msg *out, unsigned type);
/* The same for a described struct that is no message; 'object' is zeroed. */
void fill_object(const struct fields *, void *object, struct prng *);

#endif
