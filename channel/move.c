/* SPDX-License-Identifier: Apache-2.0 */
/* A session that moves to another transport or another end, for
 * include/mchan.h. */
#include <errno.h>

#include "channel/channel.h"
#include "include/mchan.h"

int
mchan_suspend(struct mchan *channel)
{
    return -ENOTSUP;
}

int
mchan_resume(struct mchan *channel, const char *uri)
{
    return -ENOTSUP;
}

ssize_t
mchan_export(struct mchan *channel, void *data, size_t size)
{
    return -ENOTSUP;
}

int
mchan_import(struct mchan *channel, const void *data, size_t size)
{
    return -ENOTSUP;
}
