/* SPDX-License-Identifier: Apache-2.0 */
/* The messages of wire/msg.def as tables, and the two calls that everybody
 * uses.  The work is in wire/field.c; here is only which fields a type has.
 * Called by agent, broker and msim.
 *
 * The trick: within the function that MSG() opens, 'self' is the message's
 * struct, so that the FIELD macros can say where a member lies. */
#include "wire/msg.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cbor.h"
#include "wire/field.h"

#define MSG(type, NAME, name_, since_, way, doc)                               \
    enum { since_of_##NAME = since_ };                                         \
    static const struct fields *describe_##name_(void)                         \
    {                                                                          \
        typedef struct msg_##name_ self;                                       \
        static const struct field field[] = {
#define FIELD_U(key_, name_, low_, high_, since_, doc)                         \
    {.name = #name_,                                                           \
     .kind = FIELD_KIND_UNSIGNED,                                              \
     .key = key_,                                                              \
     .since = since_,                                                          \
     .low = low_,                                                              \
     .high = high_,                                                            \
     .offset = offsetof(self, name_)},
#define FIELD_I(key_, name_, low_, high_, since_, doc)                         \
    {.name = #name_,                                                           \
     .kind = FIELD_KIND_SIGNED,                                                \
     .key = key_,                                                              \
     .since = since_,                                                          \
     .low = (uint64_t)(low_),                                                  \
     .high = (uint64_t)(high_),                                                \
     .offset = offsetof(self, name_)},
#define FIELD_T(key_, name_, max_, since_, doc)                                \
    {.name = #name_,                                                           \
     .kind = FIELD_KIND_TEXT,                                                  \
     .key = key_,                                                              \
     .since = since_,                                                          \
     .max_text = max_,                                                         \
     .offset = offsetof(self, name_)},
#define FIELD_W(key_, name_, max_, since_, doc)                                \
    {.name = #name_,                                                           \
     .kind = FIELD_KIND_TYPE,                                                  \
     .key = key_,                                                              \
     .since = since_,                                                          \
     .max_text = max_,                                                         \
     .offset = offsetof(self, name_)},
#define FIELD_B(key_, name_, max_, since_, doc)                                \
    {.name = #name_,                                                           \
     .kind = FIELD_KIND_BYTES,                                                 \
     .key = key_,                                                              \
     .since = since_,                                                          \
     .max_n = max_,                                                            \
     .offset = offsetof(self, name_),                                          \
     .n_offset = offsetof(self, n_##name_)},
#define FIELD_UUID(key_, name_, since_, doc)                                   \
    {.name = #name_,                                                           \
     .kind = FIELD_KIND_UUID,                                                  \
     .key = key_,                                                              \
     .since = since_,                                                          \
     .offset = offsetof(self, name_)},
#define FIELD_LU(key_, name_, max_n_, high_, since_, doc)                      \
    {.name = #name_,                                                           \
     .kind = FIELD_KIND_NUMBERS,                                               \
     .key = key_,                                                              \
     .since = since_,                                                          \
     .high = high_,                                                            \
     .max_n = max_n_,                                                          \
     .offset = offsetof(self, name_),                                          \
     .n_offset = offsetof(self, n_##name_)},
#define FIELD_LT(key_, name_, max_n_, max_, since_, doc)                       \
    {.name = #name_,                                                           \
     .kind = FIELD_KIND_TEXTS,                                                 \
     .key = key_,                                                              \
     .since = since_,                                                          \
     .max_n = max_n_,                                                          \
     .max_text = max_,                                                         \
     .offset = offsetof(self, name_),                                          \
     .n_offset = offsetof(self, n_##name_)},
#define MSG_END(NAME)                                                          \
    }                                                                          \
    ;                                                                          \
    static const struct fields fields = {.name = #NAME,                        \
                                         .since = since_of_##NAME,             \
                                         .field = field,                       \
                                         .n = sizeof field / sizeof *field,    \
                                         .size = sizeof(self)};                \
    return &fields;                                                            \
    }
#include "wire/msg.def"

const struct fields *
msg_fields(unsigned type)
{
    switch (type) {
#define MSG(type, NAME, name, since, way, doc)                                 \
    case type:                                                                 \
        return describe_##name();
#include "wire/msg.def"
    default:
        return NULL;
    }
}

unsigned
msg_since(unsigned type)
{
    const struct fields *fields = msg_fields(type);

    return fields ? fields->since : 0;
}

size_t
msg_struct_size(unsigned type)
{
    const struct fields *fields = msg_fields(type);

    /* Every message is a member of the same union. */
    return fields ? offsetof(struct msg, hello) + fields->size : 0;
}

__attribute__((format(printf, 3, 4))) static void
say(char *why, size_t why_size, const char *format, ...)
{
    va_list args;

    if (why && why_size > 0) {
        va_start(args, format);
        vsnprintf(why, why_size, format, args);
        va_end(args);
    }
}

static void
say_too_new(const struct fields *fields, unsigned version, char *why,
            size_t why_size)
{
    say(why, why_size, "%s came with version %u, and %u is spoken",
        fields->name, fields->since, version);
}

ssize_t
msg_encode(const struct msg *msg, unsigned version, void *out, size_t size,
           char *why, size_t why_size)
{
    const struct fields *fields = msg_fields(msg->type);
    struct cbor_out cbor;
    int error;

    assert(fields != NULL);
    if (fields->since > version) {
        say_too_new(fields, version, why, why_size);
        return -ERANGE;
    }
    cbor_out_init(&cbor, out, size);
    /* Every message is a member of the same union. */
    error = fields_encode(fields, version, &msg->hello, &cbor, why, why_size);
    return error ? error : (ssize_t)cbor.used;
}

int
msg_decode(struct msg *out, unsigned type, unsigned version, const void *data,
           size_t size, char *why, size_t why_size)
{
    const struct fields *fields = msg_fields(type);
    struct cbor_in cbor;
    struct msg msg;
    int error;

    if (!fields) {
        say(why, why_size, "message type %u is none", type);
        return -EPROTO;
    }
    if (fields->since > version) {
        say_too_new(fields, version, why, why_size);
        return -EPROTO;
    }
    if (size > MSG_SIZE_MAX) {
        say(why, why_size, "%s has %zu bytes, at most %d", fields->name, size,
            MSG_SIZE_MAX);
        return -EPROTO;
    }
    memset(&msg, 0, msg_struct_size(type));
    msg.type = type;
    cbor_in_init(&cbor, data, size);
    error = fields_decode(fields, version, &cbor, &msg.hello, why, why_size);
    if (!error) {
        memcpy(out, &msg, msg_struct_size(type));
    }
    return error;
}

const char *
msg_name(unsigned type)
{
    const struct fields *fields = msg_fields(type);

    return fields ? fields->name : "?";
}

size_t
msg_format(const struct msg *msg, char *out, size_t size)
{
    const struct fields *fields = msg_fields(msg->type);
    size_t used = (size_t)snprintf(out, size, "%s ", fields->name);

    return used + fields_format(fields, &msg->hello, out + used,
                                used < size ? size - used : 0);
}

unsigned
msg_version_common(unsigned peer_min, unsigned peer_max)
{
    unsigned newest = peer_max < MSG_VERSION_MAX ? peer_max : MSG_VERSION_MAX;

    if (peer_min > newest || newest < MSG_VERSION_MIN) {
        return 0;
    }
    return newest;
}
