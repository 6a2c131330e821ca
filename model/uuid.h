/* SPDX-License-Identifier: Apache-2.0 */
/* What a VM is called for ever: its hypervisor's UUID (RFC 9562 text form). */
#ifndef MODEL_UUID_H
#define MODEL_UUID_H

#include <stdbool.h>
#include <stdint.h>

#define UUID_TEXT_SIZE 37 /* With the terminating null. */

struct uuid {
    uint8_t byte[16];
};

bool uuid_equal(const struct uuid *, const struct uuid *);
bool uuid_is_zero(const struct uuid *);
void uuid_format(const struct uuid *, char out[UUID_TEXT_SIZE]);
/* Returns 0, or -EINVAL if 'text' is not a UUID and nothing else. */
int uuid_parse(struct uuid *out, const char *text);
/* The same UUID for the same host and name on every run: a version 8 UUID made
 * from both, for guests whose hypervisor gives none (processes). */
void uuid_from_name(struct uuid *out, const char *host, const char *name);

#endif
