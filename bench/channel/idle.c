/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include "bench/channel/carrier.h"
int
idle_run(struct end *end)
{
    return -ENOTSUP;
}
