/* SPDX-License-Identifier: Apache-2.0 */
/* Our channel over a unix socket. */
#include "bench/channel/carrier.h"
#include "bench/channel/loops.h"
#include "bench/channel/ours.h"

CARRIER_LOOPS(ours_put, ours_get)

const struct carrier_class carrier_unix = {
    .name = "unix",
    .summary = "our channel over a unix socket",
    .uri = "unix",
    OURS_CLASS,
    .pour = loops_pour,
};
