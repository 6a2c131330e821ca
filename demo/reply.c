/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the end of an HTTP/1.1 reply, which is all that a load generator must
 * know of it: by Content-Length, or chunk by chunk where the server compresses
 * as it sends.  It keeps a line at most, so any reply takes the same memory.
 * Called by demo/load.c. */
#include "demo/reply.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

static int take_line(struct reply *);

void
reply_init(struct reply *reply)
{
    *reply = (struct reply){.part = REPLY_STATUS};
}

/* Adds to the line; true when it ended. */
static bool
feed_line(struct reply *reply, const char *data, size_t size, size_t *used)
{
    const char *end = memchr(data, '\n', size);
    size_t n = end ? (size_t)(end - data) : size;
    size_t room = sizeof reply->line - 1 - reply->n_line;
    size_t kept = n < room ? n : room;

    memcpy(reply->line + reply->n_line, data, kept);
    reply->n_line += kept;
    *used += n + (end != NULL);
    if (!end) {
        return false;
    }
    if (reply->n_line && reply->line[reply->n_line - 1] == '\r') {
        reply->n_line--;
    }
    reply->line[reply->n_line] = '\0';
    reply->n_line = 0;
    return true;
}

int
reply_feed(struct reply *reply, const char *data, size_t size, size_t *used)
{
    *used = 0;
    for (;;) {
        int over = 0;

        if (reply->part == REPLY_BODY || reply->part == REPLY_CHUNK) {
            size_t left = size - *used;
            size_t n = reply->left < left ? (size_t)reply->left : left;

            *used += n;
            reply->left -= n;
            reply->body_size += n;
            if (reply->left) {
                return 0;
            }
            over = reply->part == REPLY_BODY;
            reply->part = REPLY_CHUNK_END;
        } else if (feed_line(reply, data + *used, size - *used, used)) {
            over = take_line(reply);
        } else {
            return 0;
        }
        if (over) {
            return over;
        }
    }
}

static int
take_status(struct reply *reply)
{
    const char *line = reply->line;

    if (strncmp(line, "HTTP/1.1 ", 9) != 0 ||
        !isdigit((unsigned char)line[9]) || !isdigit((unsigned char)line[10]) ||
        !isdigit((unsigned char)line[11])) {
        return -EPROTO;
    }
    reply->status = (unsigned)strtoul(line + 9, NULL, 10);
    reply->part = REPLY_HEADERS;
    return 0;
}

static int
take_header(struct reply *reply)
{
    char *colon = strchr(reply->line, ':');

    if (!colon) {
        return -EPROTO;
    }
    *colon++ = '\0';
    colon += strspn(colon, " \t");
    if (!strcasecmp(reply->line, "Content-Length")) {
        return text_to_u64(colon, &reply->left) ? -EPROTO : 0;
    }
    if (!strcasecmp(reply->line, "Transfer-Encoding")) {
        reply->chunked = !strcasecmp(colon, "chunked");
        return reply->chunked ? 0 : -EPROTO;
    }
    if (!strcasecmp(reply->line, "Connection")) {
        reply->close = !strcasecmp(colon, "close");
    }
    return 0;
}

static int
take_chunk_size(struct reply *reply)
{
    char *end;

    errno = 0;
    unsigned long long size = strtoull(reply->line, &end, 16);
    if (!isxdigit((unsigned char)reply->line[0]) || errno ||
        (*end && *end != ';' && *end != ' ')) {
        return -EPROTO;
    }
    reply->left = size;
    reply->part = size ? REPLY_CHUNK : REPLY_TRAILERS;
    return 0;
}

/* The part that follows the empty line after the headers; 1 if none does. */
static int
begin_body(struct reply *reply)
{
    if (reply->chunked) {
        reply->part = REPLY_CHUNK_SIZE;
        return 0;
    }
    reply->part = REPLY_BODY;
    return reply->left == 0;
}

static int
take_line(struct reply *reply)
{
    bool empty = !reply->line[0];

    switch (reply->part) {
    case REPLY_STATUS:
        return take_status(reply);
    case REPLY_HEADERS:
        return empty ? begin_body(reply) : take_header(reply);
    case REPLY_CHUNK_SIZE:
        return take_chunk_size(reply);
    case REPLY_CHUNK_END:
        reply->part = REPLY_CHUNK_SIZE;
        return empty ? 0 : -EPROTO;
    case REPLY_TRAILERS:
        return empty;
    case REPLY_BODY:
    case REPLY_CHUNK:
        break;
    }
    return -EPROTO;
}
