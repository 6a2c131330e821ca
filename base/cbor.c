/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded writing and reading of CBOR without allocation.  Relies on libcbor's
 * stateless calls: cbor_encode_*() for a header or a number, and
 * cbor_stream_decode() for one item's head, which the callbacks below turn into
 * a struct item.  Only next() calls it, so there is one place where bytes
 * become numbers.  Called by wire/ for messages and by policies for their
 * notes. */
#include "base/cbor.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <cbor/encoding.h>
#include <cbor/streaming.h>

#include "base/utf8.h"

/* How a head continues; the public kinds and what only skipping tells apart. */
enum head {
    HEAD_NONE,
    HEAD_UINT,
    HEAD_NEGINT,
    HEAD_TEXT,
    HEAD_BYTES,
    HEAD_ARRAY,
    HEAD_MAP,
    HEAD_SIMPLE, /* Complete in itself: float, bool, null, undefined. */
    HEAD_TAG,    /* One item follows that belongs to it. */
    HEAD_INDEF_TEXT,
    HEAD_INDEF_BYTES,
    HEAD_INDEF_ARRAY,
    HEAD_INDEF_MAP,
    HEAD_BREAK,
};

struct item {
    enum head head;
    uint64_t value;      /* The number, length, or count of members or pairs. */
    const uint8_t *data; /* Text and bytes: borrowed from the reader's. */
};

/* One level of what is being skipped. */
struct level {
    enum head head; /* Who opened it. */
    uint64_t left;  /* Items to come; indefinite: items so far. */
};

static size_t next(const struct cbor_in *in, struct item *out);
static bool take(struct cbor_in *in, enum head head, struct item *out);
static void put(struct cbor_out *out, size_t used);
static bool skip_one(struct cbor_in *in, struct level *levels, size_t *depth);
static bool fits_level(const struct level *level, const struct item *item);

/* Writing. */

void
cbor_out_init(struct cbor_out *out, void *data, size_t size)
{
    out->data = data;
    out->size = size;
    out->used = 0;
    out->error = 0;
}

void
cbor_put_u64(struct cbor_out *out, uint64_t value)
{
    put(out,
        cbor_encode_uint(value, out->data + out->used, out->size - out->used));
}

void
cbor_put_i64(struct cbor_out *out, int64_t value)
{
    if (value >= 0) {
        cbor_put_u64(out, (uint64_t)value);
        return;
    }
    put(out, cbor_encode_negint((uint64_t)(-1 - value), out->data + out->used,
                                out->size - out->used));
}

void
cbor_put_text(struct cbor_out *out, const char *text)
{
    size_t size = strlen(text);

    put(out, cbor_encode_string_start(size, out->data + out->used,
                                      out->size - out->used));
    if (!out->error && out->size - out->used < size) {
        out->error = -ENOSPC;
    }
    if (!out->error) {
        memcpy(out->data + out->used, text, size);
        out->used += size;
    }
}

void
cbor_put_bytes(struct cbor_out *out, const void *data, size_t size)
{
    put(out, cbor_encode_bytestring_start(size, out->data + out->used,
                                          out->size - out->used));
    if (!out->error && out->size - out->used < size) {
        out->error = -ENOSPC;
    }
    if (!out->error && size > 0) {
        memcpy(out->data + out->used, data, size);
        out->used += size;
    }
}

void
cbor_put_array(struct cbor_out *out, size_t n)
{
    put(out, cbor_encode_array_start(n, out->data + out->used,
                                     out->size - out->used));
}

void
cbor_put_map(struct cbor_out *out, size_t n_pairs)
{
    put(out, cbor_encode_map_start(n_pairs, out->data + out->used,
                                   out->size - out->used));
}

/* Reading. */

void
cbor_in_init(struct cbor_in *in, const void *data, size_t size)
{
    in->data = data;
    in->size = size;
    in->used = 0;
    in->error = 0;
}

enum cbor_kind
cbor_peek(const struct cbor_in *in, uint64_t *value_out)
{
    struct item item;

    if (in->error || next(in, &item) == 0) {
        return CBOR_KIND_NONE;
    }
    if (value_out) {
        *value_out = item.value;
    }
    switch (item.head) {
    case HEAD_UINT:
        return CBOR_KIND_UINT;
    case HEAD_NEGINT:
        return CBOR_KIND_NEGINT;
    case HEAD_TEXT:
        return CBOR_KIND_TEXT;
    case HEAD_BYTES:
        return CBOR_KIND_BYTES;
    case HEAD_ARRAY:
        return CBOR_KIND_ARRAY;
    case HEAD_MAP:
        return CBOR_KIND_MAP;
    case HEAD_NONE:
    case HEAD_BREAK:
        return CBOR_KIND_NONE;
    case HEAD_SIMPLE:
    case HEAD_TAG:
    case HEAD_INDEF_TEXT:
    case HEAD_INDEF_BYTES:
    case HEAD_INDEF_ARRAY:
    case HEAD_INDEF_MAP:
        break;
    }
    return CBOR_KIND_OTHER;
}

uint64_t
cbor_get_u64(struct cbor_in *in)
{
    struct item item;

    return take(in, HEAD_UINT, &item) ? item.value : 0;
}

int64_t
cbor_get_i64(struct cbor_in *in)
{
    bool negative = cbor_peek(in, NULL) == CBOR_KIND_NEGINT;
    struct item item;

    if (!take(in, negative ? HEAD_NEGINT : HEAD_UINT, &item)) {
        return 0;
    }
    if (item.value > INT64_MAX) {
        in->error = -EPROTO;
        return 0;
    }
    return negative ? -1 - (int64_t)item.value : (int64_t)item.value;
}

size_t
cbor_get_text(struct cbor_in *in, char *out, size_t size)
{
    struct item item;

    assert(size > 0);
    if (!take(in, HEAD_TEXT, &item)) {
        return 0;
    }
    if (item.value >= size || !utf8_is_text(item.data, item.value)) {
        in->error = -EPROTO;
        return 0;
    }
    if (item.value > 0) {
        memcpy(out, item.data, item.value);
    }
    out[item.value] = '\0';
    return item.value;
}

void
cbor_get_bytes(struct cbor_in *in, void *out, size_t size)
{
    struct item item;

    if (!take(in, HEAD_BYTES, &item)) {
        return;
    }
    if (item.value != size) {
        in->error = -EPROTO;
        return;
    }
    if (size > 0) {
        memcpy(out, item.data, size);
    }
}

size_t
cbor_get_array(struct cbor_in *in, size_t max)
{
    struct item item;

    if (!take(in, HEAD_ARRAY, &item)) {
        return 0;
    }
    if (item.value > max) {
        in->error = -EPROTO;
        return 0;
    }
    return item.value;
}

size_t
cbor_get_map(struct cbor_in *in, size_t max_pairs)
{
    struct item item;

    if (!take(in, HEAD_MAP, &item)) {
        return 0;
    }
    if (item.value > max_pairs) {
        in->error = -EPROTO;
        return 0;
    }
    return item.value;
}

void
cbor_skip(struct cbor_in *in)
{
    struct level levels[CBOR_DEPTH_MAX];
    size_t depth = 0;

    if (in->error) {
        return;
    }
    do {
        if (!skip_one(in, levels, &depth)) {
            in->error = -EPROTO;
            return;
        }
        /* Close what is complete. */
        while (depth > 0 && levels[depth - 1].head < HEAD_INDEF_TEXT &&
               levels[depth - 1].left == 0) {
            depth--;
        }
    } while (depth > 0);
}

bool
cbor_in_done(const struct cbor_in *in)
{
    return !in->error && in->used == in->size;
}

/* Skipping. */

/* Steps over one head and notes what it opens or closes. */
static bool
skip_one(struct cbor_in *in, struct level *levels, size_t *depth)
{
    struct level *top = *depth > 0 ? &levels[*depth - 1] : NULL;
    struct item item;
    size_t used = next(in, &item);

    if (used == 0 || (top && !fits_level(top, &item)) ||
        (!top && item.head == HEAD_BREAK)) {
        return false;
    }
    in->used += used;
    if (item.head == HEAD_BREAK) {
        (*depth)--;
        return true;
    }
    if (top) {
        top->left += top->head >= HEAD_INDEF_TEXT ? 1 : (uint64_t)-1;
    }
    if (item.head < HEAD_ARRAY || item.head == HEAD_SIMPLE) {
        return true;
    }
    if (*depth == CBOR_DEPTH_MAX) {
        return false;
    }
    levels[*depth].head = item.head;
    levels[*depth].left = item.head == HEAD_TAG   ? 1
                          : item.head == HEAD_MAP ? 2 * item.value
                                                  : item.value;
    (*depth)++;
    /* Each item takes a byte at least: refuse counts that can't be true (they
     * also could wrap when doubled). */
    return item.value <= in->size || item.head == HEAD_TAG;
}

/* Whether 'item' may come next in a level. */
static bool
fits_level(const struct level *level, const struct item *item)
{
    if (level->head == HEAD_INDEF_TEXT || level->head == HEAD_INDEF_BYTES) {
        enum head chunk =
            level->head == HEAD_INDEF_TEXT ? HEAD_TEXT : HEAD_BYTES;

        return item->head == HEAD_BREAK || item->head == chunk;
    }
    if (item->head != HEAD_BREAK) {
        return true;
    }
    /* A map ends only after a value, never after a key. */
    return level->head == HEAD_INDEF_ARRAY ||
           (level->head == HEAD_INDEF_MAP && level->left % 2 == 0);
}

/* One item. */

/* A callback with a number, with data, or with nothing that matters. */
#define ON_VALUE(name, type, kind)                                             \
    static void on_##name(void *ctx, type value)                               \
    {                                                                          \
        struct item *item = ctx;                                               \
                                                                               \
        item->head = kind;                                                     \
        item->value = (uint64_t)value;                                         \
    }
#define ON_DATA(name, kind)                                                    \
    static void on_##name(void *ctx, cbor_data data, size_t size)              \
    {                                                                          \
        struct item *item = ctx;                                               \
                                                                               \
        item->head = kind;                                                     \
        item->value = size;                                                    \
        item->data = data;                                                     \
    }
#define ON_HEAD(name, kind)                                                    \
    static void on_##name(void *ctx)                                           \
    {                                                                          \
        struct item *item = ctx;                                               \
                                                                               \
        item->head = kind;                                                     \
    }

ON_VALUE(uint8, uint8_t, HEAD_UINT)
ON_VALUE(uint16, uint16_t, HEAD_UINT)
ON_VALUE(uint32, uint32_t, HEAD_UINT)
ON_VALUE(uint64, uint64_t, HEAD_UINT)
ON_VALUE(negint8, uint8_t, HEAD_NEGINT)
ON_VALUE(negint16, uint16_t, HEAD_NEGINT)
ON_VALUE(negint32, uint32_t, HEAD_NEGINT)
ON_VALUE(negint64, uint64_t, HEAD_NEGINT)
ON_DATA(text, HEAD_TEXT)
ON_DATA(bytes, HEAD_BYTES)
ON_VALUE(array, size_t, HEAD_ARRAY)
ON_VALUE(map, size_t, HEAD_MAP)
ON_VALUE(tag, uint64_t, HEAD_TAG)
ON_HEAD(indef_text, HEAD_INDEF_TEXT)
ON_HEAD(indef_bytes, HEAD_INDEF_BYTES)
ON_HEAD(indef_array, HEAD_INDEF_ARRAY)
ON_HEAD(indef_map, HEAD_INDEF_MAP)
ON_HEAD(simple, HEAD_SIMPLE)
ON_HEAD(break, HEAD_BREAK)

static void
on_float(void *ctx, float value)
{
    on_simple(ctx);
}

static void
on_double(void *ctx, double value)
{
    on_simple(ctx);
}

static void
on_bool(void *ctx, bool value)
{
    on_simple(ctx);
}

static const struct cbor_callbacks callbacks = {
    .uint8 = on_uint8,
    .uint16 = on_uint16,
    .uint32 = on_uint32,
    .uint64 = on_uint64,
    .negint8 = on_negint8,
    .negint16 = on_negint16,
    .negint32 = on_negint32,
    .negint64 = on_negint64,
    .byte_string = on_bytes,
    .byte_string_start = on_indef_bytes,
    .string = on_text,
    .string_start = on_indef_text,
    .array_start = on_array,
    .indef_array_start = on_indef_array,
    .map_start = on_map,
    .indef_map_start = on_indef_map,
    .tag = on_tag,
    .float2 = on_float,
    .float4 = on_float,
    .float8 = on_double,
    .undefined = on_simple,
    .null = on_simple,
    .boolean = on_bool,
    .indef_break = on_break,
};

/* Reads one head, with the content of text and bytes; returns the bytes it
 * takes, 0 if there is none, or it is cut off, or it is not CBOR. */
static size_t
next(const struct cbor_in *in, struct item *out)
{
    struct cbor_decoder_result result;

    if (in->used >= in->size) {
        return 0;
    }
    memset(out, 0, sizeof *out);
    result = cbor_stream_decode(in->data + in->used, in->size - in->used,
                                &callbacks, out);
    if (result.status != CBOR_DECODER_FINISHED || out->head == HEAD_NONE) {
        return 0;
    }
    return result.read;
}

/* Steps over one item that must begin so, or fails. */
static bool
take(struct cbor_in *in, enum head head, struct item *out)
{
    size_t used = in->error ? 0 : next(in, out);

    if (used == 0 || out->head != head) {
        in->error = -EPROTO;
        return false;
    }
    in->used += used;
    return true;
}

/* Notes what a libcbor call wrote; 0 means that it did not fit. */
static void
put(struct cbor_out *out, size_t used)
{
    if (out->error) {
        return;
    }
    if (used == 0) {
        out->error = -ENOSPC;
        return;
    }
    out->used += used;
}
