/* SPDX-License-Identifier: Apache-2.0 */
/* One end of a "shm:" link without libmchan: meets the other over the unix
 * socket, makes or takes the memory, and can talk as one should, so that a
 * hostile peer gets to where talking as one should not matters.  It knows the
 * layout (transport/shm.c, ring.h, returns.h) and shares no code with it. */
#ifndef TESTS_HOSTILE_RAWPEER_H
#define TESTS_HOSTILE_RAWPEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/record.h"

#define RAW_VERSION 2 /* Of the layout, as the handover says it. */
#define RAW_WORDS_SIZE 4096u
#define RAW_HANDOVER_SIZE 16u
#define RAW_FDS_MAX 64u

struct raw {
    bool listens;
    const char *path; /* Borrowed. */
    int listen_fd, fd;
    uint32_t ring_size;
    bool lends;
    uint8_t *memory; /* Null: none. */
    size_t size;
    uint64_t head;     /* Ours: where the next record goes, */
    uint64_t n_sent;   /* and the number of the last. */
    uint64_t position; /* Theirs: the next to look at, */
    uint64_t n_taken;  /* and the number of the last. */
    uint64_t n_returned;
    uint64_t twist;   /* What is given back is another, by these bits. */
    uint64_t session; /* The last one; 0: there was none. */
    uint32_t attachment;
    bool resumes; /* Go on with that session, rather than begin another. */
};

/* What is handed over, or thrown. */
struct raw_parcel {
    const void *data;
    size_t size;
    unsigned n_fds;
    const int *fds;
};

void raw_init(struct raw *, bool listens, const char *path);
void raw_fini(struct raw *);

/* A socket to the other end, in 'patience_ms' at the longest. */
bool raw_meet(struct raw *, int patience_ms);
/* Takes, or makes and hands over, memory as it should be. */
bool raw_take_memory(struct raw *, int patience_ms);
bool raw_give_memory(struct raw *, uint32_t ring_size, bool lends);
/* Lets go of the socket, and of the memory unless the caller took it. */
void raw_leave(struct raw *);
/* True if the other end closed. */
bool raw_is_over(const struct raw *);
bool raw_send(struct raw *, const struct raw_parcel *);
void raw_wake(struct raw *);

/* Bytes from the memory's beginning. */
size_t raw_my_words(const struct raw *);
size_t raw_their_words(const struct raw *);
size_t raw_my_ring(const struct raw *);
size_t raw_their_ring(const struct raw *);
size_t raw_returns(const struct raw *); /* Of both; only if it lends: */
size_t raw_my_returns(const struct raw *);
uint64_t raw_load(const struct raw *, size_t at);
void raw_store(struct raw *, size_t at, uint64_t value);

/* A header, at a position of our ring. */
void raw_put_header(struct raw *, uint64_t position, const struct record *);
/* Writes a record; false if there is no room. */
bool raw_put(struct raw *, const struct record *, const void *data);
/* A reliable message, as it should be. */
struct record raw_message(struct raw *, uint32_t size);
/* Passes over the other's next record, if there is one.  What it lent in it is
 * given back, as it should be. */
bool raw_pass(struct raw *, struct record *out);
/* Tells how far that went. */
void raw_release(struct raw *);
/* Hands over memory to lend from, of this size and with these seals. */
bool raw_share(struct raw *, size_t size, unsigned seals);
/* A loan, whose payload 'words' becomes. */
struct record raw_loan(struct raw *, uint64_t words[2], uint64_t handle,
                       uint64_t size);

/* HELLO, both ways, in 'patience_ms' at the longest. */
bool raw_greet(struct raw *, int patience_ms);
bool raw_put_hello(struct raw *, const uint8_t hello[48]);
void raw_make_hello(const struct raw *, uint8_t hello[48]);
/* What the other's HELLO says.  A listener decides which session it is to be,
 * and so do we when we are one. */
void raw_learn_hello(struct raw *, const uint8_t hello[48]);

#endif
