/* SPDX-License-Identifier: Apache-2.0 */
/* UUIDs as text and bytes.  Relies on nothing; called wherever a VM is named.
 * uuid_from_name() needs numbers that differ, not numbers nobody can forge: the
 * names come from the configuration, so a plain mixing hash will do. */
#include "model/uuid.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct uuid zero;

bool
uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return !memcmp(a->byte, b->byte, sizeof a->byte);
}

bool
uuid_is_zero(const struct uuid *uuid)
{
    return uuid_equal(uuid, &zero);
}

/* A dash stands before these bytes of the text form. */
static bool
dash_before(unsigned i)
{
    return i == 4 || i == 6 || i == 8 || i == 10;
}

void
uuid_format(const struct uuid *uuid, char out[UUID_TEXT_SIZE])
{
    for (unsigned i = 0; i < sizeof uuid->byte; i++) {
        if (dash_before(i)) {
            *out++ = '-';
        }
        snprintf(out, 3, "%02x", uuid->byte[i]);
        out += 2;
    }
}

/* The value of a hexadecimal digit, whatever the locale; -1 if it is none. */
static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

int
uuid_parse(struct uuid *out, const char *text)
{
    struct uuid uuid;

    if (strlen(text) != UUID_TEXT_SIZE - 1) {
        return -EINVAL;
    }
    for (unsigned i = 0; i < sizeof uuid.byte; i++) {
        if (dash_before(i) && *text++ != '-') {
            return -EINVAL;
        }
        int high = hex_digit(*text++);
        int low = hex_digit(*text++);
        if (high < 0 || low < 0) {
            return -EINVAL;
        }
        uuid.byte[i] = (uint8_t)(high << 4 | low);
    }
    *out = uuid;
    return 0;
}

/* FNV-1a, with the terminating null so that "ab","c" and "a","bc" differ. */
static uint64_t
hash_text(uint64_t hash, const char *text)
{
    do {
        hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    } while (*text++);
    return hash;
}

/* The finish of splitmix64: spreads FNV's weak high bits. */
static uint64_t
mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

void
uuid_from_name(struct uuid *out, const char *host, const char *name)
{
    uint64_t first = hash_text(UINT64_C(0xcbf29ce484222325), host);
    uint64_t second = hash_text(UINT64_C(0x6a09e667f3bcc908), host);

    first = mix(hash_text(first, name));
    second = mix(hash_text(second, name));
    for (unsigned i = 0; i < 8; i++) {
        out->byte[i] = (uint8_t)(first >> (56 - 8 * i));
        out->byte[8 + i] = (uint8_t)(second >> (56 - 8 * i));
    }
    /* RFC 9562, section 5.8: version 8, and the variant of that document. */
    out->byte[6] = (uint8_t)((out->byte[6] & 0x0f) | 0x80);
    out->byte[8] = (uint8_t)((out->byte[8] & 0x3f) | 0x80);
}
