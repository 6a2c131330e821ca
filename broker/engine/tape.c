/* SPDX-License-Identifier: Apache-2.0 */
/* Packs messages for the tape and unpacks them.  Which members a message has is
 * read from the tables of wire/msg.def, so a new message needs nothing here.
 * What is unpacked goes through msg_encode() and msg_decode() once, so that the
 * limits stand in one place.  Called by engine_tape.c and broker/replay/. */
#include "broker/engine/tape.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/uuid.h"
#include "wire/field.h"
#include "wire/msg.h"

/* Slots. */

int
tape_slots_init(struct tape_slots *slots, uint32_t n)
{
    slots->n = n < TAPE_SLOTS_MAX ? n : TAPE_SLOTS_MAX;
    slots->slot = calloc(slots->n, sizeof *slots->slot);
    return slots->slot ? 0 : -ENOMEM;
}

void
tape_slots_fini(struct tape_slots *slots)
{
    free(slots->slot);
    slots->slot = NULL;
}

void
tape_slots_clear(struct tape_slots *slots)
{
    for (uint32_t i = 0; i < slots->n; i++) {
        slots->slot[i].type = 0;
    }
}

/* What a message of that type is compared with in that slot: zeros at first. */
static uint8_t *
reference(struct tape_slots *slots, uint32_t slot, const struct fields *fields,
          unsigned type)
{
    struct tape_slot *place = &slots->slot[slot];

    if (place->type != type) {
        memset(place->bytes, 0, sizeof place->bytes);
        place->type = type;
    }
    assert(fields->size <= sizeof place->bytes);
    return place->bytes;
}

/* Writing. */

static void
put_bytes(struct tape_out *out, const void *bytes, size_t size)
{
    assert(size <= out->size - out->used);
    memcpy(out->data + out->used, bytes, size);
    out->used += size;
}

void
tape_put_uint(struct tape_out *out, uint64_t value)
{
    uint8_t bytes[10];
    size_t n = 0;

    do {
        bytes[n] = (uint8_t)(value & 0x7f);
        value >>= 7;
        bytes[n] |= value ? 0x80 : 0;
        n++;
    } while (value);
    put_bytes(out, bytes, n);
}

/* 0, -1, 1, -2, …: small ones of either sign are short. */
void
tape_put_int(struct tape_out *out, int64_t value)
{
    tape_put_uint(out, (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0));
}

void
tape_put_text(struct tape_out *out, const char *text)
{
    size_t length = strlen(text);

    tape_put_uint(out, length);
    put_bytes(out, text, length);
}

void
tape_put_uuid(struct tape_out *out, const struct uuid *uuid)
{
    put_bytes(out, uuid->byte, sizeof uuid->byte);
}

static void
put_difference(struct tape_out *out, const uint8_t *object, const uint8_t *was,
               size_t offset)
{
    uint64_t now, before;

    memcpy(&now, object + offset, sizeof now);
    memcpy(&before, was + offset, sizeof before);
    tape_put_int(out, (int64_t)(now - before));
}

static void
put_texts(struct tape_out *out, const struct field *field,
          const uint8_t *object)
{
    uint32_t n;

    memcpy(&n, object + field->n_offset, sizeof n);
    tape_put_uint(out, n);
    for (uint32_t i = 0; i < n; i++) {
        tape_put_text(out, (const char *)object + field->offset +
                               i * (field->max_text + 1));
    }
}

static void
put_field(struct tape_out *out, const struct field *field,
          const uint8_t *object, const uint8_t *was)
{
    const char *text = (const char *)object + field->offset;
    uint32_t n = 0;

    switch (field->kind) {
    case FIELD_KIND_UNSIGNED:
    case FIELD_KIND_SIGNED:
        put_difference(out, object, was, field->offset);
        break;
    case FIELD_KIND_TEXT:
    case FIELD_KIND_TYPE:
        if (!strcmp(text, (const char *)was + field->offset)) {
            tape_put_uint(out, 0);
        } else {
            tape_put_uint(out, strlen(text) + 1);
            put_bytes(out, text, strlen(text));
        }
        break;
    case FIELD_KIND_UUID:
        if (!memcmp(text, was + field->offset, sizeof(struct uuid))) {
            tape_put_uint(out, 0);
        } else {
            tape_put_uint(out, 1);
            put_bytes(out, text, sizeof(struct uuid));
        }
        break;
    case FIELD_KIND_BYTES:
        memcpy(&n, object + field->n_offset, sizeof n);
        tape_put_uint(out, n);
        put_bytes(out, text, n);
        break;
    case FIELD_KIND_NUMBERS:
        memcpy(&n, object + field->n_offset, sizeof n);
        tape_put_uint(out, n);
        for (uint32_t i = 0; i < n; i++) {
            put_difference(out, object, was, field->offset + i * 8);
        }
        break;
    case FIELD_KIND_TEXTS:
        put_texts(out, field, object);
        break;
    }
}

size_t
tape_msg_room(unsigned type)
{
    return 2 * msg_struct_size(type) + 64;
}

void
tape_put_msg(struct tape_out *out, struct tape_slots *slots, uint32_t slot,
             const struct msg *msg)
{
    static const uint8_t zeros[sizeof(struct msg)];
    const struct fields *fields = msg_fields(msg->type);
    const uint8_t *object = (const uint8_t *)&msg->hello, *was = zeros;
    uint8_t *place = NULL;

    if (slot >= slots->n || fields->size > TAPE_SLOT_SIZE) {
        slot = 0;
    }
    if (slot) {
        was = place = reference(slots, slot, fields, msg->type);
    }
    tape_put_uint(out, msg->type);
    tape_put_uint(out, slot);
    for (size_t i = 0; i < fields->n; i++) {
        put_field(out, &fields->field[i], object, was);
    }
    if (place) {
        memcpy(place, object, fields->size);
    }
}

/* Reading. */

static const uint8_t *
get_bytes(struct tape_in *in, size_t size)
{
    const uint8_t *bytes = in->data + in->used;

    if (in->bad || size > in->size - in->used) {
        in->bad = true;
        return NULL;
    }
    in->used += size;
    return bytes;
}

uint64_t
tape_get_uint(struct tape_in *in, uint64_t max)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t *byte = get_bytes(in, 1);

        if (!byte) {
            return 0;
        }
        value |= (uint64_t)(*byte & 0x7f) << shift;
        if (!(*byte & 0x80)) {
            in->bad |= value > max;
            return in->bad ? 0 : value;
        }
    }
    in->bad = true;
    return 0;
}

int64_t
tape_get_int(struct tape_in *in)
{
    uint64_t value = tape_get_uint(in, UINT64_MAX);

    return (int64_t)(value >> 1 ^ (value & 1 ? UINT64_MAX : 0));
}

/* 'length' bytes as text of at most size-1. */
static void
get_text(struct tape_in *in, uint64_t length, char *out, size_t size)
{
    assert(length < size);
    const uint8_t *bytes = get_bytes(in, length);

    out[0] = '\0';
    if (!bytes || memchr(bytes, '\0', length)) {
        in->bad = true;
        return;
    }
    memcpy(out, bytes, length);
    out[length] = '\0';
}

void
tape_get_text(struct tape_in *in, char *out, size_t size)
{
    get_text(in, tape_get_uint(in, size - 1), out, size);
}

void
tape_get_uuid(struct tape_in *in, struct uuid *uuid)
{
    const uint8_t *bytes = get_bytes(in, sizeof uuid->byte);

    if (bytes) {
        memcpy(uuid->byte, bytes, sizeof uuid->byte);
    }
}

static void
get_difference(struct tape_in *in, uint8_t *object, const uint8_t *was,
               size_t offset)
{
    uint64_t value;

    memcpy(&value, was + offset, sizeof value);
    value += (uint64_t)tape_get_int(in);
    memcpy(object + offset, &value, sizeof value);
}

static void
get_field(struct tape_in *in, const struct field *field, uint8_t *object,
          const uint8_t *was)
{
    char *text = (char *)object + field->offset;
    const uint8_t *bytes;
    uint64_t n;
    uint32_t count;

    switch (field->kind) {
    case FIELD_KIND_UNSIGNED:
    case FIELD_KIND_SIGNED:
        get_difference(in, object, was, field->offset);
        break;
    case FIELD_KIND_TEXT:
    case FIELD_KIND_TYPE:
        n = tape_get_uint(in, field->max_text + 1);
        if (n > 0) {
            get_text(in, n - 1, text, field->max_text + 1);
        } else {
            memcpy(text, was + field->offset, field->max_text + 1);
        }
        break;
    case FIELD_KIND_UUID:
        bytes = was + field->offset;
        if (tape_get_uint(in, 1)) {
            bytes = get_bytes(in, sizeof(struct uuid));
        }
        if (bytes) {
            memcpy(text, bytes, sizeof(struct uuid));
        }
        break;
    case FIELD_KIND_BYTES:
        count = (uint32_t)tape_get_uint(in, field->max_n);
        bytes = get_bytes(in, count);
        memcpy(object + field->n_offset, &count, sizeof count);
        if (bytes && count) {
            memcpy(text, bytes, count);
        }
        break;
    case FIELD_KIND_NUMBERS:
        count = (uint32_t)tape_get_uint(in, field->max_n);
        memcpy(object + field->n_offset, &count, sizeof count);
        for (uint32_t i = 0; i < count; i++) {
            get_difference(in, object, was, field->offset + i * 8);
        }
        break;
    case FIELD_KIND_TEXTS:
        count = (uint32_t)tape_get_uint(in, field->max_n);
        memcpy(object + field->n_offset, &count, sizeof count);
        for (uint32_t i = 0; i < count; i++) {
            tape_get_text(in, text + i * (field->max_text + 1),
                          field->max_text + 1);
        }
        break;
    }
}

/* The limits of wire/msg.def, and nothing behind what a message has. */
static bool
is_in_range(const struct msg *msg, struct msg *out)
{
    uint8_t bytes[MSG_SIZE_MAX];
    ssize_t n = msg_encode(msg, MSG_VERSION_MAX, bytes, sizeof bytes, NULL, 0);

    return n >= 0 && !msg_decode(out, msg->type, MSG_VERSION_MAX, bytes,
                                 (size_t)n, NULL, 0);
}

void
tape_get_msg(struct tape_in *in, struct tape_slots *slots, struct msg *out)
{
    static const uint8_t zeros[sizeof(struct msg)];
    unsigned type = (unsigned)tape_get_uint(in, UINT16_MAX);
    uint32_t slot = (uint32_t)tape_get_uint(in, slots->n - 1);
    const struct fields *fields = msg_fields(type);
    const uint8_t *was = zeros;
    uint8_t *place = NULL;
    struct msg msg;

    if (!fields || in->bad || (slot && fields->size > TAPE_SLOT_SIZE)) {
        in->bad = true;
        return;
    }
    if (slot) {
        was = place = reference(slots, slot, fields, type);
    }
    memset(&msg, 0, msg_struct_size(type));
    msg.type = type;
    for (size_t i = 0; i < fields->n && !in->bad; i++) {
        get_field(in, &fields->field[i], (uint8_t *)&msg.hello, was);
    }
    if (in->bad || !is_in_range(&msg, out)) {
        in->bad = true;
        return;
    }
    if (place) {
        memcpy(place, &msg.hello, fields->size);
    }
}
