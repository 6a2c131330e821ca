/* SPDX-License-Identifier: Apache-2.0 */
/* Large data by reference, for include/mchan.h. */
#include <errno.h>

#include "channel/channel.h"
#include "include/mchan.h"

int
mchan_loan(struct mchan *channel, size_t size, struct mchan_loan *out)
{
    return -ENOTSUP;
}

int
mchan_send_loan(struct mchan *channel, const struct mchan_loan *loan,
                const struct mchan_msg *message)
{
    return -ENOTSUP;
}

void
mchan_unloan(struct mchan *channel, const struct mchan_loan *loan)
{
}

int
mchan_view(struct mchan *channel, struct mchan_view *out)
{
    return -ENOTSUP;
}

void
mchan_release(struct mchan *channel, const struct mchan_view *view)
{
}
