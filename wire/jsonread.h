/* SPDX-License-Identifier: Apache-2.0 */
/* JSON from a text, by jansson, with the memory that it can't do without. */
#ifndef WIRE_JSONREAD_H
#define WIRE_JSONREAD_H

#include <jansson.h>
#include <stddef.h>

/* As json_loadb(): null if it makes no sense, or if there is no memory. */
json_t *jsonread(const char *text, size_t size, size_t flags,
                 json_error_t *error);

#endif
