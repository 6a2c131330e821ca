/* SPDX-License-Identifier: Apache-2.0 */
/* The hostile end of a "unix:" channel: meets the victim as it should, and then
 * says what it likes.  Most frames are nearly right, with the sync word and the
 * checksum that they should have, so that they get as far as the session: the
 * next message, or one whose kind, size, number or attachment is another;
 * acknowledgements of a little more or less than came; notices, goodbyes, HELLO
 * again.  Some have a wrong bit, end too early, or are noise.  All of it comes
 * in pieces, cut anywhere, and part of the time nothing is read, so that the
 * victim's own words stand in the way.
 *
 * What counts as a write is a frame, or a piece of noise, that was handed to
 * the socket while the victim had not yet said that this peer is gone. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/prng.h"
#include "board.h"
#include "rawpeer.h"
#include "wire/frame.h"

#define PATIENCE_MS 2000
#define FRAMES_PER_LINK_MAX 2000
#define PAYLOAD_MAX 8192
#define INPUT_SIZE (1u << 17)

struct streamer {
    const struct stage *stage;
    struct board *board;
    struct prng prng;
    struct raw raw; /* The socket, and the session's numbers. */
    uint32_t sync;
    struct frame_reader reader; /* Of what the victim says. */
    uint8_t input[INPUT_SIZE];
    size_t n_input;
    uint64_t n_records; /* Theirs, as acknowledgements count them, */
    uint64_t n_acked;   /* and of those, what was acknowledged. */
    bool up, over;
    bool reads;    /* Now and then it does not. */
    uint64_t gone; /* board->n_gone when this link began. */
    uint64_t n_here;
};

static uint64_t
chance(struct streamer *streamer, uint64_t n)
{
    return prng_below(&streamer->prng, n);
}

static bool
is_done(const struct streamer *streamer)
{
    const struct board *board = streamer->board;
    return streamer->over || board->n_gone != streamer->gone ||
           board->attack_over || board->failed ||
           board->n_writes >= board->n_writes_wanted ||
           streamer->n_here >= FRAMES_PER_LINK_MAX;
}

/* What the victim says. */

static void
learn(struct streamer *streamer, const struct record *record,
      const uint8_t *payload)
{
    if (record->kind == RECORD_HELLO && !streamer->up) {
        raw_learn_hello(&streamer->raw, payload);
        streamer->up = true;
    } else if (record->kind != RECORD_HELLO && record->kind != RECORD_BYE &&
               record->kind != RECORD_ACK) {
        streamer->n_records++;
        streamer->raw.n_taken += record->kind == RECORD_RELIABLE;
    }
}

static void
parse(struct streamer *streamer)
{
    size_t at = 0, used = 1;
    while (used && at < streamer->n_input) {
        struct record record;
        const char *why;
        enum frame_found found =
            frame_read(&streamer->reader, streamer->input + at,
                       streamer->n_input - at, &used, &record, &why);
        at += used;
        if (found == FRAME_FOUND_RECORD) {
            learn(streamer, &record, streamer->input + at - record.size);
        } else if (found == FRAME_FOUND_GARBAGE) {
            board_fail(streamer->board, "the victim says garbage: %s", why);
            break;
        }
    }
    memmove(streamer->input, streamer->input + at, streamer->n_input - at);
    streamer->n_input -= at;
}

static void
hear(struct streamer *streamer)
{
    size_t room = sizeof streamer->input - streamer->n_input;
    ssize_t got = recv(streamer->raw.fd, streamer->input + streamer->n_input,
                       room, MSG_DONTWAIT);
    if (got > 0) {
        streamer->n_input += (size_t)got;
        parse(streamer);
    } else if (got == 0 || errno != EAGAIN) {
        streamer->over = true;
    }
}

/* Until the victim said HELLO. */
static bool
hear_hello(struct streamer *streamer)
{
    for (int i = 0; i < PATIENCE_MS && !streamer->up && !is_done(streamer);
         i++) {
        struct pollfd readable = {.fd = streamer->raw.fd, .events = POLLIN};
        (void)poll(&readable, 1, 1);
        hear(streamer);
        streamer->board->silent = i > 10; /* Its time passes quickly then. */
    }
    streamer->board->silent = false;
    return streamer->up;
}

/* Saying. */

static void
put_bytes(struct streamer *streamer, const uint8_t *bytes, size_t size)
{
    while (size && !is_done(streamer)) {
        ssize_t sent =
            send(streamer->raw.fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            bytes += sent;
            size -= (size_t)sent;
        } else if (errno != EAGAIN) {
            streamer->over = true;
        } else {
            struct pollfd writable = {.fd = streamer->raw.fd,
                                      .events = POLLOUT};
            (void)poll(&writable, 1, 1);
        }
        if (streamer->reads || sent < 0) {
            hear(streamer);
        }
    }
}

/* In one piece or in two, cut anywhere. */
static void
put(struct streamer *streamer, const uint8_t *bytes, size_t size)
{
    size_t cut = chance(streamer, 4) ? size : chance(streamer, size + 1);
    put_bytes(streamer, bytes, cut);
    if (cut < size && chance(streamer, 4) == 0) {
        struct timespec nap = {.tv_nsec = 50000};
        nanosleep(&nap, NULL);
    }
    put_bytes(streamer, bytes + cut, size - cut);
    streamer->n_here++;
    atomic_fetch_add_explicit(&streamer->board->n_writes, 1,
                              memory_order_relaxed);
}

static void
put_frame(struct streamer *streamer, const struct record *record,
          const uint8_t *payload)
{
    uint8_t frame[FRAME_HEADER_SIZE + PAYLOAD_MAX];
    size_t size = FRAME_HEADER_SIZE + (size_t)record->size;
    frame_put_header(frame, streamer->sync, record, payload);
    memcpy(frame + FRAME_HEADER_SIZE, payload, record->size);
    switch (chance(streamer, 256)) {
    case 0: /* One bit, anywhere. */
        frame[chance(streamer, size)] ^= (uint8_t)(1u << chance(streamer, 8));
        break;
    case 1: /* And what follows is out of step. */
        size = chance(streamer, size);
        break;
    default:
        break;
    }
    put(streamer, frame, size);
}

static void
put_noise(struct streamer *streamer)
{
    uint8_t noise[512];
    size_t size = 1 + chance(streamer, sizeof noise);
    for (size_t i = 0; i < size; i++) {
        noise[i] = (uint8_t)prng_u64(&streamer->prng);
    }
    put(streamer, noise, size);
}

/* What to say. */

/* The last number that is right, mostly, or one near it, or any. */
static uint64_t
near(struct streamer *streamer, uint64_t number)
{
    switch (chance(streamer, 256)) {
    case 0:
        return prng_u64(&streamer->prng);
    case 1:
    case 2:
        return number + chance(streamer, 5) - 2;
    default:
        return number;
    }
}

static void
say_message(struct streamer *streamer)
{
    static const uint8_t data[PAYLOAD_MAX];
    struct raw *raw = &streamer->raw;
    struct record record = {
        .size = (uint32_t)chance(
            streamer, chance(streamer, 8) ? 200 : raw->ring_size / 8 + 1),
        .kind = RECORD_RELIABLE,
        .tag = (uint16_t)prng_u64(&streamer->prng),
        .sequence = (uint32_t)near(streamer, raw->n_sent + 1),
        .attachment = (uint32_t)near(streamer, raw->attachment),
    };
    raw->n_sent++;
    if (chance(streamer, 64) == 0) {
        record.size = (uint32_t)chance(streamer, PAYLOAD_MAX + 1);
    }
    put_frame(streamer, &record, data);
}

static void
say_ack(struct streamer *streamer)
{
    uint8_t data[ACK_SIZE];
    if (streamer->n_acked == streamer->n_records && chance(streamer, 256)) {
        return; /* One that says nothing new ends it. */
    }
    streamer->n_acked = streamer->n_records;
    struct record record = {.size = ACK_SIZE, .kind = RECORD_ACK};
    frame_put_u64(data, near(streamer, streamer->raw.n_taken));
    frame_put_u64(data + 8, near(streamer, streamer->n_records));
    put_frame(streamer, &record, data);
}

/* Datagrams, latest values, notices, SKIP, BYE, HELLO, SETTLED: as they should
 * be in size and attachment, and anything in what they say. */
static void
say_other(struct streamer *streamer)
{
    static const uint32_t sizes[] = {0, 0, 8, 8, 16, 32, 48, 64};
    uint8_t data[64];
    struct record record = {
        .size = sizes[chance(streamer, sizeof sizes / sizeof *sizes)],
        .kind = (uint8_t)chance(streamer, RECORD_N_KINDS + 1),
        .flags = chance(streamer, 64) == 0,
        .tag = (uint16_t)chance(streamer, 80),
        .attachment = (uint32_t)near(streamer, streamer->raw.attachment),
    };
    for (size_t i = 0; i < sizeof data; i += 8) {
        uint64_t number = near(streamer, streamer->raw.n_sent);
        frame_put_u64(data + i, number);
    }
    if (chance(streamer, 8) == 0) {
        record.sequence = (uint32_t)near(streamer, streamer->raw.n_sent + 1);
    }
    put_frame(streamer, &record, data);
}

static void
talk_wrongly(struct streamer *streamer)
{
    while (!is_done(streamer)) {
        streamer->reads = chance(streamer, 8) != 0;
        uint64_t what = chance(streamer, 64);
        if (what < 48) {
            say_message(streamer);
        } else if (what < 60) {
            say_ack(streamer);
        } else if (what < 63) {
            say_other(streamer);
        } else if (chance(streamer, 8) == 0) {
            put_noise(streamer);
        }
    }
}

/* A link. */

static void
say_hello(struct streamer *streamer, bool well)
{
    uint8_t hello[48];
    struct record record = {.size = sizeof hello, .kind = RECORD_HELLO};
    raw_make_hello(&streamer->raw, hello);
    for (uint64_t i = well ? 0 : 1 + chance(streamer, 3); i; i--) {
        frame_put_u64(hello + 8 * chance(streamer, 6),
                      prng_u64(&streamer->prng) >> chance(streamer, 64));
    }
    put_frame(streamer, &record, hello);
    streamer->board->n_bad_hellos += !well;
}

/* True once both said HELLO as they should. */
static bool
come_up(struct streamer *streamer)
{
    struct raw *raw = &streamer->raw;
    uint8_t preamble[FRAME_PREAMBLE_SIZE];
    uint64_t way = chance(streamer, 32);
    bool well = way >= 4;
    raw->resumes = raw->session && chance(streamer, 2);
    if (way == 0) {
        put_noise(streamer);
    }
    frame_put_preamble(preamble, streamer->sync);
    if (way != 1) {
        put(streamer, preamble, sizeof preamble);
    }
    if (raw->listens && !hear_hello(streamer)) {
        return false;
    }
    bool wanted = raw->resumes;
    say_hello(streamer, well);
    bool up = hear_hello(streamer);
    streamer->board->n_resumed += up && wanted && raw->resumes;
    return up;
}

static void
come_once(struct streamer *streamer)
{
    struct board *board = streamer->board;
    streamer->gone = board->n_gone;
    streamer->n_here = streamer->n_records = streamer->n_acked = 0;
    streamer->n_input = 0;
    streamer->up = streamer->over = false;
    streamer->reads = true;
    streamer->sync = (uint32_t)prng_u64(&streamer->prng);
    frame_reader_init(&streamer->reader, FRAME_PAYLOAD_MAX);
    if (!raw_meet(&streamer->raw, PATIENCE_MS)) {
        struct timespec nap = {.tv_nsec = 100000};
        nanosleep(&nap, NULL);
        return;
    }
    board->n_meetings++;
    if (come_up(streamer)) {
        talk_wrongly(streamer);
    }
    raw_leave(&streamer->raw);
}

int
streamer_live(const struct stage *stage)
{
    static struct streamer streamer;
    const struct board *board = stage->board;
    streamer.stage = stage;
    streamer.board = stage->board;
    prng_init(&streamer.prng, stage->seed + 2);
    raw_init(&streamer.raw, !stage->victim_listens, stage->path);
    streamer.raw.ring_size = stage->ring_size;
    while (!board->attack_over && !board->failed &&
           board->n_writes < board->n_writes_wanted) {
        come_once(&streamer);
    }
    raw_fini(&streamer.raw);
    return 0;
}
