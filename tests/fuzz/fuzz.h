/* SPDX-License-Identifier: Apache-2.0 */
/* What a fuzz target offers to libFuzzer and to replay.c. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Takes one input; 'data' is borrowed and may be null if 'size' is 0.  Returns
 * 0.  Whatever is wrong with the code, not with the input, ends in abort(). */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
