/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes to frames and back.  Reads what strangers wrote, so nothing in here
 * allocates, loops over more than it was given, or looks at a byte twice after
 * judging it; the caller hands in private memory.  Called by channel/link.c. */
#include "wire/frame.h"

#include <errno.h>
#include <string.h>

#ifdef __x86_64__
#include <nmmintrin.h>
#endif

static const uint8_t magic[8] = {'m', 'c', 'h', 'a', 'n', 0, 0, 1};

/* CRC32C (Castagnoli, reflected 0x82f63b78) of the values of half a byte. */
static const uint32_t crc_of_nibble[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
    0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
    0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

static uint32_t
crc_by_table(uint32_t crc, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ crc_of_nibble[crc & 15];
        crc = crc >> 4 ^ crc_of_nibble[crc & 15];
    }
    return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t
crc_by_instruction(uint32_t crc, const uint8_t *data, size_t size)
{
    uint64_t wide = crc;
    for (; size >= 8; data += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; size; data++, size--) {
        crc = _mm_crc32_u8(crc, *data);
    }
    return crc;
}
#endif

/* Continues a sum: 0 starts one, the result of a call goes on with it. */
uint32_t
frame_crc32c(uint32_t crc, const void *data, size_t size)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2")) {
        return ~crc_by_instruction(~crc, data, size);
    }
#endif
    return ~crc_by_table(~crc, data, size);
}

static void
put_u32(uint8_t *out, uint32_t value)
{
    value = htole32(value);
    memcpy(out, &value, 4);
}

static uint32_t
get_u32(const uint8_t *data)
{
    uint32_t value;
    memcpy(&value, data, 4);
    return le32toh(value);
}

static uint64_t
get_u64(const uint8_t *data)
{
    uint64_t value;
    memcpy(&value, data, 8);
    return le64toh(value);
}

/* Frames. */

void
frame_put_preamble(uint8_t out[FRAME_PREAMBLE_SIZE], uint32_t sync)
{
    memcpy(out, magic, sizeof magic);
    put_u32(out + 8, sync);
    put_u32(out + 12, frame_crc32c(0, out, 12));
}

void
frame_put_header(uint8_t out[FRAME_HEADER_SIZE], uint32_t sync,
                 const struct record *record, const void *data)
{
    uint64_t words[2] = {record_first_word(record), record_second_word(record)};
    memcpy(out + 8, words, sizeof words);
    uint32_t crc = frame_crc32c(0, out + 8, RECORD_HEADER_SIZE);
    crc = frame_crc32c(crc, data, record->size);
    put_u32(out, sync);
    put_u32(out + 4, crc);
}

void
frame_reader_init(struct frame_reader *reader, uint32_t payload_max)
{
    memset(reader, 0, sizeof *reader);
    reader->payload_max = payload_max;
}

/* Passes over what is not a preamble, which a stream may have kept from an
 * earlier user of it, but no more than FRAME_SEARCH_MAX bytes of it. */
static enum frame_found
find_preamble(struct frame_reader *reader, const uint8_t *data, size_t size,
              size_t *used, const char **why)
{
    size_t i = 0;
    for (; i + FRAME_PREAMBLE_SIZE <= size; i++) {
        if (data[i] == magic[0] && !memcmp(data + i, magic, sizeof magic) &&
            get_u32(data + i + 12) == frame_crc32c(0, data + i, 12)) {
            reader->sync = get_u32(data + i + 8);
            reader->synced = true;
            *used = i + FRAME_PREAMBLE_SIZE;
            return FRAME_FOUND_PREAMBLE;
        }
        if (++reader->n_searched > FRAME_SEARCH_MAX) {
            *why = "no preamble where one must be";
            return FRAME_FOUND_GARBAGE;
        }
    }
    *used = i;
    return FRAME_FOUND_NOTHING;
}

enum frame_found
frame_read(struct frame_reader *reader, const uint8_t *data, size_t size,
           size_t *used, struct record *record, const char **why)
{
    *used = 0;
    if (!reader->synced) {
        return find_preamble(reader, data, size, used, why);
    }
    /* What can be refused already is not waited for. */
    if (size >= 4 && get_u32(data) != reader->sync) {
        *why = "frame without the sync word";
        return FRAME_FOUND_GARBAGE;
    }
    if (size < FRAME_HEADER_SIZE) {
        return FRAME_FOUND_NOTHING;
    }
    uint64_t words[2];
    memcpy(words, data + 8, sizeof words);
    struct record found = record_from_words(words[0], words[1]);
    if (found.size > reader->payload_max) {
        *why = "frame larger than agreed";
        return FRAME_FOUND_GARBAGE;
    }
    if (size < FRAME_HEADER_SIZE + (size_t)found.size) {
        return FRAME_FOUND_NOTHING;
    }
    if (get_u32(data + 4) !=
        frame_crc32c(0, data + 8, RECORD_HEADER_SIZE + (size_t)found.size)) {
        *why = "frame with a wrong checksum";
        return FRAME_FOUND_GARBAGE;
    }
    *record = found;
    *used = FRAME_HEADER_SIZE + (size_t)found.size;
    return FRAME_FOUND_RECORD;
}

/* What HELLO, BYE, ACK and SKIP carry. */

void
frame_put_u64(uint8_t out[8], uint64_t value)
{
    value = htole64(value);
    memcpy(out, &value, 8);
}

uint64_t
frame_u64(const uint8_t data[8])
{
    return get_u64(data);
}

int
frame_get_u64(uint64_t *out, const void *data, size_t size)
{
    if (size != 8) {
        return -EPROTO;
    }
    *out = get_u64(data);
    return 0;
}

void
frame_put_hello(uint8_t out[HELLO_SIZE], const struct hello *hello)
{
    memset(out, 0, HELLO_SIZE);
    put_u32(out, HELLO_VERSION | (hello->unsettled ? HELLO_UNSETTLED : 0u)
                                     << 16);
    put_u32(out + 4, hello->message_max);
    frame_put_u64(out + 8, hello->session);
    put_u32(out + 16, hello->attachment);
    put_u32(out + 20, hello->mark);
    frame_put_u64(out + 24, hello->sent);
    frame_put_u64(out + 32, hello->delivered);
    frame_put_u64(out + 40, hello->loan_bytes);
    frame_put_u64(out + 48, hello->acked);
    put_u32(out + 56, hello->agreed);
}

int
frame_get_hello(struct hello *out, const void *data, size_t size,
                const char **why)
{
    const uint8_t *bytes = data;
    if (size < HELLO_SIZE_MIN) {
        *why = "HELLO too short";
        return -EPROTO;
    }
    if ((get_u32(bytes) & 0xffff) < HELLO_VERSION) {
        *why = "HELLO of an unknown version";
        return -EPROTO;
    }
    uint32_t message_max = get_u32(bytes + 4);
    if (message_max < HELLO_MESSAGE_MIN || message_max > FRAME_PAYLOAD_MAX) {
        *why = "HELLO with an impossible message size";
        return -EPROTO;
    }
    /* Numbers are 64 bits so that they never wrap; one near the end is made
     * up, and would make ours wrap. */
    uint64_t sent = get_u64(bytes + 24);
    uint64_t delivered = get_u64(bytes + 32);
    bool longer = size >= HELLO_SIZE;
    uint64_t acked = longer ? get_u64(bytes + 48) : 0;
    if (sent > UINT64_MAX / 2 || delivered > UINT64_MAX / 2 || acked > sent) {
        *why = "HELLO with an impossible sequence number";
        return -EPROTO;
    }
    out->message_max = message_max;
    out->session = get_u64(bytes + 8);
    out->attachment = get_u32(bytes + 16);
    out->sent = sent;
    out->delivered = delivered;
    out->loan_bytes = get_u64(bytes + 40);
    out->unsettled = get_u32(bytes) >> 16 & HELLO_UNSETTLED;
    out->mark = get_u32(bytes + 20);
    out->acked = acked;
    out->agreed = longer ? get_u32(bytes + 56) : 0;
    return 0;
}

void
frame_put_settled(uint8_t out[SETTLED_SIZE], const struct settled *settled)
{
    memset(out, 0, SETTLED_SIZE);
    put_u32(out, settled->forgot);
    put_u32(out + 4, settled->message_max);
    frame_put_u64(out + 8, settled->sent);
    frame_put_u64(out + 16, settled->delivered);
    put_u32(out + 24, settled->mark);
}

int
frame_get_settled(struct settled *out, const void *data, size_t size,
                  const char **why)
{
    const uint8_t *bytes = data;
    if (size != SETTLED_SIZE || get_u32(bytes) > 1) {
        *why = "SETTLED that makes no sense";
        return -EPROTO;
    }
    out->forgot = get_u32(bytes);
    out->message_max = get_u32(bytes + 4);
    out->sent = get_u64(bytes + 8);
    out->delivered = get_u64(bytes + 16);
    out->mark = get_u32(bytes + 24);
    return 0;
}
