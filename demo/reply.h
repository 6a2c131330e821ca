/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the end of an HTTP/1.1 reply in the bytes of a kept-alive connection.
 */
#ifndef DEMO_REPLY_H
#define DEMO_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLY_LINE_SIZE 512 /* Of a header; longer ones are cut. */

enum reply_part {
    REPLY_STATUS,
    REPLY_HEADERS,
    REPLY_BODY,
    REPLY_CHUNK_SIZE,
    REPLY_CHUNK,
    REPLY_CHUNK_END,
    REPLY_TRAILERS,
};

struct reply {
    enum reply_part part;
    unsigned status; /* 200, ... */
    bool chunked, close;
    uint64_t left; /* Of the body or chunk. */
    uint64_t body_size;
    size_t n_line;
    char line[REPLY_LINE_SIZE];
};

void reply_init(struct reply *);
/* Reads on.  Returns 1 when the reply is over, with what of 'data' was its in
 * '*used' (begin the next with reply_init()); 0 when all was used and more must
 * come; -EPROTO when this is no HTTP/1.1. */
int reply_feed(struct reply *, const char *data, size_t size, size_t *used);

#endif
