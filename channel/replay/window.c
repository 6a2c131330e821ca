/* SPDX-License-Identifier: Apache-2.0 */
/* The window of window.h: a queue of bytes that grows when something is put
 * into it and is freed when the last is taken out.  Who adds says how much it
 * may become; see channel.c. */
#include "channel/replay/window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transport/ring.h"

void
window_fini(struct window *window)
{
    free(window->data);
    memset(window, 0, sizeof *window);
}

/* Makes 'size' bytes free behind 'end'. */
static int
make_room(struct window *window, size_t size)
{
    if (window->capacity - window->end >= size) {
        return 0;
    }
    size_t used = window->end - window->start;
    size_t capacity = 2 * used + size;
    uint8_t *data = malloc(capacity);
    if (!data) {
        return -ENOMEM;
    }
    if (used) {
        memcpy(data, window->data + window->start, used);
    }
    free(window->data);
    window->data = data;
    window->capacity = capacity;
    window->start = 0;
    window->end = used;
    return 0;
}

int
window_add(struct window *window, const struct window_entry *entry,
           const void *data)
{
    size_t size = entry->record.size;
    int error = make_room(window, sizeof *entry + size);
    if (error) {
        return error;
    }
    uint8_t *to = window->data + window->end;
    memcpy(to, entry, sizeof *entry);
    if (size) {
        memcpy(to + sizeof *entry, data, size);
    }
    window->end += sizeof *entry + size;
    window->ring_bytes += ring_record_size(entry->record.size);
    return 0;
}

int
window_append(struct window *window, struct window *other)
{
    size_t size = other->end - other->start;
    if (!size) {
        return 0;
    }
    int error = make_room(window, size);
    if (error) {
        return error;
    }
    memcpy(window->data + window->end, other->data + other->start, size);
    window->end += size;
    window->ring_bytes += other->ring_bytes;
    window_fini(other);
    return 0;
}

const uint8_t *
window_first(const struct window *window, struct window_entry *out)
{
    if (window->start == window->end) {
        return NULL;
    }
    memcpy(out, window->data + window->start, sizeof *out);
    return window->data + window->start + sizeof *out;
}

const uint8_t *
window_next(const struct window *window, size_t *at, struct window_entry *out)
{
    size_t position = window->start + *at;
    if (position >= window->end) {
        return NULL;
    }
    memcpy(out, window->data + position, sizeof *out);
    *at += sizeof *out + out->record.size;
    return window->data + position + sizeof *out;
}

void
window_remove_first(struct window *window)
{
    struct window_entry entry;
    if (!window_first(window, &entry)) {
        return;
    }
    window->start += sizeof entry + entry.record.size;
    window->ring_bytes -= ring_record_size(entry.record.size);
    if (window->start == window->end) {
        window_fini(window);
    }
}

void
window_release(struct window *window, uint64_t sequence)
{
    struct window_entry entry;
    while (window_first(window, &entry) && entry.to <= sequence) {
        window_remove_first(window);
    }
}
