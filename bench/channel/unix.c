/* SPDX-License-Identifier: Apache-2.0 */
/* Our channel over a unix socket, as its users see it (ours.h): what remains of
 * it where the two ends share no memory.  Beside unix_stream it shows what
 * frames, numbers, acknowledgements and kept messages cost over the same
 * socket.  It lends no large data; loans are measured over shm alone. */
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
