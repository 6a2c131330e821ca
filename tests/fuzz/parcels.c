/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for what another broker hands over (channel/handoff/parcel.c).
 * Bytes go as they are, and again with the size and checksum that they should
 * have, so that the messages behind them are reached.  What is accepted must be
 * whole and in order, and packed again it must be the same bytes. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "channel/handoff/parcel.h"
#include "wire/frame.h"

#define SIZE_MAX_HERE 65536

static void
unpack(const uint8_t *data, size_t size)
{
    static uint8_t again[SIZE_MAX_HERE];
    struct parcel_reader reader;
    struct parcel_writer writer;
    struct parcel_record record;
    const char *why = NULL;
    if (parcel_open(&reader, data, size, &why)) {
        if (!why) {
            abort();
        }
        return;
    }
    uint64_t last = reader.head.acked;
    const uint8_t *bytes;
    parcel_begin(&writer, again, sizeof again, &reader.head);
    while ((bytes = parcel_next(&reader, &record))) {
        if (record.sequence != last + 1 || record.to < record.sequence ||
            bytes < data || bytes + record.size > data + size) {
            abort();
        }
        last = record.to;
        parcel_add(&writer, &record, bytes);
    }
    if (last != reader.head.sent || parcel_end(&writer) != size ||
        memcmp(again, data, size)) {
        abort();
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t sealed[SIZE_MAX_HERE];
    if (size > sizeof sealed) {
        return 0;
    }
    unpack(data, size);
    if (size >= PARCEL_HEAD_SIZE) {
        uint32_t crc, size32 = (uint32_t)size;
        memcpy(sealed, data, size);
        memcpy(sealed, "mprc\1\0\0", 8);
        memcpy(sealed + 8, &size32, sizeof size32);
        crc = frame_crc32c(0, sealed + 16, size - 16);
        memcpy(sealed + 12, &crc, sizeof crc);
        unpack(sealed, size);
    }
    return 0;
}
