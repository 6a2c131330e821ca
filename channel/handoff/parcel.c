/* SPDX-License-Identifier: Apache-2.0 */
/* The format of parcel.h.  A reader checks everything before it gives out
 * anything, so whoever holds an opened parcel can take its records for whole
 * and in order; whether they fit what the peer says is mchan_import()'s
 * business.  There is one way to write a parcel, and no other is accepted. */
#include "channel/handoff/parcel.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "wire/frame.h"

#define MAGIC UINT32_C(0x6372706d) /* "mprc". */
#define VERSION 1
#define CRC_FROM 16
#define NUMBER_MAX (UINT64_MAX / 2)

static void
put16(uint8_t *to, uint16_t value)
{
    value = htole16(value);
    memcpy(to, &value, sizeof value);
}

static void
put32(uint8_t *to, uint32_t value)
{
    value = htole32(value);
    memcpy(to, &value, sizeof value);
}

static void
put64(uint8_t *to, uint64_t value)
{
    value = htole64(value);
    memcpy(to, &value, sizeof value);
}

static uint16_t
get16(const uint8_t *from)
{
    uint16_t value;
    memcpy(&value, from, sizeof value);
    return le16toh(value);
}

static uint32_t
get32(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return le32toh(value);
}

static uint64_t
get64(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return le64toh(value);
}

static size_t
padding(size_t size)
{
    return -size & 7;
}

/* Writing. */

/* Where the next 'size' bytes go, or null if they do not fit. */
static uint8_t *
claim(struct parcel_writer *writer, size_t size)
{
    uint8_t *to = NULL;
    if (writer->size <= writer->room && size <= writer->room - writer->size) {
        to = writer->data + writer->size;
        memset(to, 0, size);
    }
    writer->size += size;
    return to;
}

void
parcel_begin(struct parcel_writer *writer, void *data, size_t room,
             const struct parcel *parcel)
{
    memset(writer, 0, sizeof *writer);
    writer->data = data;
    writer->room = room;
    uint8_t *to = claim(writer, PARCEL_HEAD_SIZE);
    if (!to) {
        return;
    }
    put32(to, MAGIC);
    put16(to + 4, VERSION);
    put64(to + 16, parcel->session);
    put32(to + 24, parcel->attachment);
    put32(to + 28, parcel->mark);
    put64(to + 32, parcel->sent);
    put64(to + 40, parcel->acked);
    put64(to + 48, parcel->delivered);
    put64(to + 56, parcel->done);
    put32(to + 64, parcel->message_max);
    put32(to + 72, parcel->former);
    put32(to + 76, parcel->earlier);
    put64(to + 80, parcel->repeated_to);
}

void
parcel_add(struct parcel_writer *writer, const struct parcel_record *record,
           const void *data)
{
    size_t size = record->size;
    uint8_t *to = claim(writer, PARCEL_RECORD_SIZE + size + padding(size));
    writer->n_records++;
    if (!to) {
        return;
    }
    put32(to, record->size);
    to[4] = record->kind;
    put16(to + 6, record->tag);
    put64(to + 8, record->sequence);
    put64(to + 16, record->to);
    if (size) {
        memcpy(to + PARCEL_RECORD_SIZE, data, size);
    }
}

size_t
parcel_end(struct parcel_writer *writer)
{
    if (writer->size <= writer->room) {
        uint8_t *data = writer->data;
        put32(data + 8, (uint32_t)writer->size);
        put32(data + 68, writer->n_records);
        put32(data + 12,
              frame_crc32c(0, data + CRC_FROM, writer->size - CRC_FROM));
    }
    return writer->size;
}

/* Reading. */

static int
refuse(const char **why, const char *reason)
{
    *why = reason;
    return -EPROTO;
}

static int
check_envelope(const uint8_t *data, size_t size, const char **why)
{
    if (size < PARCEL_HEAD_SIZE || size > PARCEL_SIZE_MAX) {
        return refuse(why, "parcel of an impossible size");
    }
    if (get32(data) != MAGIC) {
        return refuse(why, "no parcel");
    }
    if (get16(data + 4) != VERSION) {
        return refuse(why, "parcel of an unknown version");
    }
    if (get16(data + 6) || get32(data + 8) != size) {
        return refuse(why, "parcel cut or longer than it says");
    }
    if (get32(data + 12) != frame_crc32c(0, data + CRC_FROM, size - CRC_FROM)) {
        return refuse(why, "parcel with a wrong checksum");
    }
    return 0;
}

static int
check_head(const struct parcel *head, const char **why)
{
    if (!head->session || !head->attachment || !head->mark ||
        head->attachment > PARCEL_ATTACHMENT_MAX) {
        return refuse(why, "parcel of no session");
    }
    if (head->acked > head->sent || head->sent > NUMBER_MAX ||
        head->done > head->delivered || head->delivered > NUMBER_MAX ||
        head->repeated_to > NUMBER_MAX) {
        return refuse(why, "parcel with impossible numbers");
    }
    if (head->message_max < HELLO_MESSAGE_MIN ||
        head->message_max > FRAME_PAYLOAD_MAX) {
        return refuse(why, "parcel with an impossible message size");
    }
    return 0;
}

static int
check_record(const struct parcel_record *record, const struct parcel *head,
             uint64_t expected, const char **why)
{
    if (record->sequence != expected || record->to < expected ||
        record->to > head->sent) {
        return refuse(why, "parcel with a message out of sequence");
    }
    if (record->kind == PARCEL_MESSAGE) {
        if (record->to != record->sequence ||
            record->size > head->message_max) {
            return refuse(why, "parcel with an impossible message");
        }
    } else if (record->kind != PARCEL_SKIP || record->size || record->tag) {
        return refuse(why, "parcel with a message of an unknown kind");
    }
    return 0;
}

/* Reads the header at 'at'; false if the record does not fit into what is
 * left, or its spare bytes are not zero. */
static bool
read_record(const struct parcel_reader *reader, struct parcel_record *out,
            size_t *size_out)
{
    size_t left = reader->size - reader->at;
    const uint8_t *from = reader->data + reader->at;
    if (left < PARCEL_RECORD_SIZE || from[5]) {
        return false;
    }
    out->size = get32(from);
    out->kind = from[4];
    out->tag = get16(from + 6);
    out->sequence = get64(from + 8);
    out->to = get64(from + 16);
    left -= PARCEL_RECORD_SIZE;
    if (out->size > left || padding(out->size) > left - out->size) {
        return false;
    }
    from += PARCEL_RECORD_SIZE + out->size;
    for (size_t i = 0; i < padding(out->size); i++) {
        if (from[i]) {
            return false;
        }
    }
    *size_out = PARCEL_RECORD_SIZE + out->size + padding(out->size);
    return true;
}

static int
check_records(struct parcel_reader *reader, uint32_t n, const char **why)
{
    const struct parcel *head = &reader->head;
    uint64_t last = head->acked;
    for (uint32_t i = 0; i < n; i++) {
        struct parcel_record record;
        size_t size;
        if (!read_record(reader, &record, &size)) {
            return refuse(why, "parcel with a broken message");
        }
        int error = check_record(&record, head, last + 1, why);
        if (error) {
            return error;
        }
        last = record.to;
        reader->at += size;
    }
    if (last != head->sent || reader->at != reader->size) {
        return refuse(why, "parcel without all its messages");
    }
    return 0;
}

int
parcel_open(struct parcel_reader *reader, const void *bytes, size_t size,
            const char **why)
{
    const uint8_t *data = bytes;
    int error = check_envelope(data, size, why);
    if (error) {
        return error;
    }
    reader->head = (struct parcel){
        .session = get64(data + 16),
        .attachment = get32(data + 24),
        .mark = get32(data + 28),
        .former = get32(data + 72),
        .earlier = get32(data + 76),
        .repeated_to = get64(data + 80),
        .sent = get64(data + 32),
        .acked = get64(data + 40),
        .delivered = get64(data + 48),
        .done = get64(data + 56),
        .message_max = get32(data + 64),
    };
    reader->data = data;
    reader->size = size;
    reader->at = PARCEL_HEAD_SIZE;
    error = check_head(&reader->head, why);
    if (!error) {
        error = check_records(reader, get32(data + 68), why);
    }
    reader->at = PARCEL_HEAD_SIZE;
    return error;
}

const uint8_t *
parcel_next(struct parcel_reader *reader, struct parcel_record *out)
{
    size_t size;
    if (reader->at == reader->size || !read_record(reader, out, &size)) {
        return NULL;
    }
    const uint8_t *data = reader->data + reader->at + PARCEL_RECORD_SIZE;
    reader->at += size;
    return data;
}
