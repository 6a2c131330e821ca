/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: typed structs on our side, CBOR maps {key: value} on the wire, both
 * from msg.def.  Beside frame.h and request.h this is the only place in the
 * broker where a stranger's bytes become numbers and text; whatever
 * msg_decode() accepts is in range. */
#ifndef WIRE_MSG_H
#define WIRE_MSG_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "model/uuid.h"

struct fields;

#define MSG_VERSION_MIN 1 /* Oldest protocol version we speak. */
#define MSG_VERSION_MAX 5
#define MSG_SIZE_MAX 4096      /* Bytes of the largest encoded message. */
#define MSG_NOTE_SIZE_MAX 3840 /* Of an application's message. */
#define MSG_NOTE_TYPE_SIZE 65  /* Of its type's name, with a null. */
#define MSG_COUNT_MAX UINT64_C(1000000000)   /* Requests in an epoch. */
#define MSG_TIME_US_MAX UINT64_C(3600000000) /* An hour. */
#define MSG_WHY_SIZE 128

enum msg_type {
#define MSG(type, NAME, name, since, way, doc) MSG_##NAME = type,
#include "wire/msg.def"
};

#define MSG(type, NAME, name, since, way, doc) struct msg_##name {
#define FIELD_U(key, name, low, high, since, doc) uint64_t name;
#define FIELD_I(key, name, low, high, since, doc) int64_t name;
#define FIELD_T(key, name, max, since, doc) char name[(max) + 1];
#define FIELD_W(key, name, max, since, doc) char name[(max) + 1];
#define FIELD_B(key, name, max, since, doc)                                    \
    uint32_t n_##name;                                                         \
    uint8_t name[max];
#define FIELD_UUID(key, name, since, doc) struct uuid name;
#define FIELD_LU(key, name, max_n, high, since, doc)                           \
    uint32_t n_##name;                                                         \
    uint64_t name[max_n];
#define FIELD_LT(key, name, max_n, max, since, doc)                            \
    uint32_t n_##name;                                                         \
    char name[max_n][(max) + 1];
#define MSG_END(NAME)                                                          \
    }                                                                          \
    ;
#include "wire/msg.def"

struct msg {
    enum msg_type type;
    union {
#define MSG(type, NAME, name, since, way, doc) struct msg_##name name;
#include "wire/msg.def"
    };
};

/* Encodes for a peer that speaks 'version'.  Returns the bytes used, -ENOSPC,
 * or -ERANGE if a field is out of its limits or the message newer than that
 * version (then we are wrong, and 'why' says where; why may be null). */
ssize_t msg_encode(const struct msg *, unsigned version, void *out, size_t size,
                   char *why, size_t why_size);

/* Decodes a message that came with the channel tag 'type' from a peer that
 * speaks 'version' (HELLO, WELCOME and REFUSED, which come before that is
 * known: MSG_VERSION_MIN).  Unknown keys are skipped.  Returns 0, or -EPROTO
 * with 'why' naming message, field and limit; '*out' is untouched on failure,
 * and what lies behind msg_struct_size() of it always is. */
int msg_decode(struct msg *out, unsigned type, unsigned version,
               const void *data, size_t size, char *why, size_t why_size);

/* The name in msg.def ("GUEST_UP"), or "?" for a type that is none. */
const char *msg_name(unsigned type);

/* The protocol version that brought the type; 0 for a type that is none. */
unsigned msg_since(unsigned type);

/* Bytes of struct msg that a message of that type uses: most are far smaller
 * than the largest.  0 for a type that is none. */
size_t msg_struct_size(unsigned type);

/* Writes it as one line for people: NAME field=value ..., cut to 'size'.
 * Returns the length it would have had. */
size_t msg_format(const struct msg *, char *out, size_t size);

/* Its fields as data; null for a type that is none. */
const struct fields *msg_fields(unsigned type);

/* The version two peers will speak; 0 if there is none. */
unsigned msg_version_common(unsigned peer_min, unsigned peer_max);

#endif
