/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32 by half bytes: a table of 16, fast enough for what a journal row
 * names.  The channel's CRC32C, which guards every frame, is wire/frame.c's.
 * Called by broker/engine/. */
#include "base/crc.h"

uint32_t
crc32_of(const void *data, size_t size)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    const uint8_t *at = data;
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < size; i++) {
        crc = table[(crc ^ at[i]) & 15] ^ crc >> 4;
        crc = table[(crc ^ at[i] >> 4) & 15] ^ crc >> 4;
    }
    return ~crc;
}
