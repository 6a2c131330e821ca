/* SPDX-License-Identifier: Apache-2.0 */
/* Checks UTF-8 by table 3-7 of the Unicode standard: the first byte says how
 * long a sequence is and narrows the second.  Called by base/cbor.c for every
 * text that is read, and by wire/ for every text that is sent. */
#include "base/utf8.h"

#include <stdint.h>

static bool turns(const uint8_t *text);
static size_t sequence(const uint8_t *text, size_t size);

bool
utf8_is_text(const void *data, size_t size)
{
    const uint8_t *text = data;

    for (size_t i = 0, length; i < size; i += length) {
        length = sequence(text + i, size - i);
        if (length == 0) {
            return false;
        }
    }
    return true;
}

bool
utf8_is_printable(const void *data, size_t size)
{
    const uint8_t *text = data;

    if (!utf8_is_text(data, size)) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        bool c1 = text[i] == 0xc2 && text[i + 1] < 0xa0;

        if (text[i] < 0x20 || text[i] == 0x7f || c1 || turns(text + i)) {
            return false;
        }
    }
    return true;
}

/* Characters without a shape that break a line (U+2028, U+2029) or have what
 * follows shown in another order (U+202A to U+202E, U+2066 to U+2069), so that
 * a line of a log seems to say something else. */
static bool
turns(const uint8_t *text)
{
    return text[0] == 0xe2 &&
           ((text[1] == 0x80 && text[2] >= 0xa8 && text[2] <= 0xae) ||
            (text[1] == 0x81 && text[2] >= 0xa6 && text[2] <= 0xa9));
}

/* Bytes of the sequence at 'text', of which 'size' > 0 are there; 0 if it is
 * none or a null. */
static size_t
sequence(const uint8_t *text, size_t size)
{
    uint8_t first = text[0], low = 0x80, high = 0xbf;
    size_t length;

    if (first < 0x80) {
        return first != 0;
    } else if (first >= 0xc2 && first <= 0xdf) {
        length = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        length = 3;
        low = first == 0xe0 ? 0xa0 : low;
        high = first == 0xed ? 0x9f : high;
    } else if (first >= 0xf0 && first <= 0xf4) {
        length = 4;
        low = first == 0xf0 ? 0x90 : low;
        high = first == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (length > size || text[1] < low || text[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return length;
}
