/* SPDX-License-Identifier: Apache-2.0 */
/* The checksum that people can compute themselves: crc32(1), zlib, gzip. */
#ifndef BASE_CRC_H
#define BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32 (IEEE 802.3; of "123456789" it is cbf43926).  Says whether bytes are
 * the same, not who wrote them. */
uint32_t crc32_of(const void *data, size_t size);

#endif
