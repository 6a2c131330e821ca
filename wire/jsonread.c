/* SPDX-License-Identifier: Apache-2.0 */
/* jansson does not look whether a long number could be copied, and then asserts
 * that it was: it ends the program when memory is short.  So there is some
 * before it begins (base/reserve.h).  Called by whoever reads JSON that others
 * wrote: the engine requests, mctl answers, the agent lines of notes. */
#include "wire/jsonread.h"

#include <stdio.h>

#include "base/reserve.h"

/* The worst are empty lists, three bytes each, and a list that grows. */
#define RESERVE_PER_BYTE 128
#define RESERVE_MORE 4096

json_t *
jsonread(const char *text, size_t size, size_t flags, json_error_t *error)
{
    json_t *root = NULL;

    if (reserve_begin(size * RESERVE_PER_BYTE + RESERVE_MORE)) {
        root = json_loadb(text, size, flags, error);
    } else if (error) {
        *error = (json_error_t){.line = 1, .column = 1};
        snprintf(error->text, sizeof error->text, "no memory");
    }
    reserve_end();
    return root;
}
