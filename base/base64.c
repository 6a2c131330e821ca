/* SPDX-License-Identifier: Apache-2.0 */
/* Base64, strict: what is decoded is the one text that encoding would have
 * given, so that two texts never mean the same bytes.  Relies on nothing. */
#include "base/base64.h"

#include <errno.h>

static const char letters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
base64_encode(char *out, const void *data, size_t size)
{
    const uint8_t *at = data;

    for (; size >= 3; size -= 3, at += 3) {
        *out++ = letters[at[0] >> 2];
        *out++ = letters[(at[0] & 3) << 4 | at[1] >> 4];
        *out++ = letters[(at[1] & 15) << 2 | at[2] >> 6];
        *out++ = letters[at[2] & 63];
    }
    if (size > 0) {
        uint8_t second = size > 1 ? at[1] : 0;

        *out++ = letters[at[0] >> 2];
        *out++ = letters[(at[0] & 3) << 4 | second >> 4];
        *out++ = size > 1 ? letters[(second & 15) << 2] : '=';
        *out++ = '=';
    }
    *out = '\0';
}

/* -1 if it is no letter. */
static int
value_of(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

ssize_t
base64_decode(void *out, size_t size, const char *text, size_t length)
{
    uint8_t *to = out;
    size_t n_pads = 0, n_bytes;
    uint32_t bits = 0;

    while (n_pads < 2 && n_pads < length && text[length - 1 - n_pads] == '=') {
        n_pads++;
    }
    if (length % 4) {
        return -EINVAL;
    }
    n_bytes = length / 4 * 3 - n_pads;
    if (n_bytes > size) {
        return -EMSGSIZE;
    }
    for (size_t i = 0, used = 0; i < length; i++) {
        int value = i < length - n_pads ? value_of(text[i]) : 0;

        if (value < 0) {
            return -EINVAL;
        }
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 == 3) {
            for (int shift = 16; shift >= 0; shift -= 8, used++) {
                uint8_t byte = (uint8_t)(bits >> shift);

                if (used < n_bytes) {
                    to[used] = byte;
                } else if (byte) {
                    return -EINVAL; /* Bits that mean nothing are not 0. */
                }
            }
            bits = 0;
        }
    }
    return (ssize_t)n_bytes;
}
