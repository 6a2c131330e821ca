/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for what a peer can say on a byte stream.  The first byte
 * chooses: 0  the rest goes as it is, through wire/frame.c alone; 1  the rest
 * goes as it is to a channel that listens; else the rest is a script of frames,
 * which get the right sync word and checksum and so reach the session: HELLO is
 * said first if bit 1 is set, the channel is the guest's end if bit 5 is, and
 * the stream arrives in two parts if bits 6 and 7 say where.  With bit 2 HELLO
 * names a session from elsewhere, which the channel waits for; between the
 * parts bits 3 and 4 say what comes: nothing, that nobody has it, its memory,
 * or that and the guest's word that it heard so.  Whatever comes, what the
 * channel gives out is whole, in order and in size.
 *
 * The stream lies in a made-up network, which stands for all inputs: nothing
 * here calls the kernel, so that a hundred million inputs take minutes. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "channel/channel.h"
#include "channel/handoff/handoff.h"
#include "channel/handoff/parcel.h"
#include "include/mchan.h"
#include "transport/sim.h"
#include "transport/transport.h"
#include "wire/frame.h"

#define SYNC 1u
#define STREAM_MAX 16384
#define RING_SIZE 4096
#define PLACE "peer"
#define SESSION 4711u /* The stranger's, */
#define MARK 5u       /* and by what name he knows */
#define ATTACHMENT 3u /* his last attachment. */

enum shape {
    SHAPE_READER = 0,
    SHAPE_RAW = 1,
    SHAPE_HELLO = 2, /* A bit, as are those that follow. */
    SHAPE_STRANGER = 4,
    SHAPE_ALONE = 8, /* Nobody has it; both: it is brought, and heard. */
    SHAPE_BROUGHT = 16,
    SHAPE_FATE = SHAPE_ALONE | SHAPE_BROUGHT,
    SHAPE_GUEST = 32,
};

struct stream {
    size_t size, hello_size;
    uint8_t bytes[STREAM_MAX];
};

static void
add(struct stream *stream, const void *data, size_t size)
{
    if (size <= sizeof stream->bytes - stream->size) {
        memcpy(stream->bytes + stream->size, data, size);
        stream->size += size;
    }
}

static void
add_frame(struct stream *stream, const struct record *record, const void *data)
{
    uint8_t header[FRAME_HEADER_SIZE];
    frame_put_header(header, SYNC, record, data);
    add(stream, header, sizeof header);
    add(stream, data, record->size);
}

static void
add_hello(struct stream *stream, bool stranger)
{
    struct hello hello = {.message_max = 8192};
    if (stranger) {
        hello.session = SESSION;
        hello.attachment = ATTACHMENT;
        hello.mark = MARK;
        hello.sent = hello.acked = 2;
        hello.delivered = 1;
        hello.agreed = RING_SIZE / 8;
    }
    struct record record = {.size = HELLO_SIZE, .kind = RECORD_HELLO};
    uint8_t data[HELLO_SIZE];
    frame_put_hello(data, &hello);
    add_frame(stream, &record, data);
}

/* A frame of the script: kind, flags, tag, sequence, attachment, size, one byte
 * each; then its payload.  Attachments count from those of before. */
static void
add_script(struct stream *stream, const uint8_t *data, size_t size,
           uint32_t attachments)
{
    while (size >= 6) {
        struct record record = {.kind = data[0], .flags = data[1]};
        record.tag = data[2];
        record.sequence = data[3];
        record.attachment = data[4] ? attachments + data[4] : 0;
        record.size = data[5] < size - 6 ? data[5] : (uint32_t)(size - 6);
        add_frame(stream, &record, data + 6);
        data += 6 + record.size;
        size -= 6 + record.size;
    }
}

static void
read_frames(const uint8_t *data, size_t size)
{
    struct frame_reader reader;
    frame_reader_init(&reader, 4096);
    for (;;) {
        struct record record;
        const char *why = NULL;
        size_t used;
        enum frame_found found =
            frame_read(&reader, data, size, &used, &record, &why);
        if (used > size || (found == FRAME_FOUND_GARBAGE && !why) ||
            (found == FRAME_FOUND_RECORD &&
             (record.size > 4096 ||
              used != FRAME_HEADER_SIZE + (size_t)record.size))) {
            abort();
        }
        data += used;
        size -= used;
        if (found == FRAME_FOUND_GARBAGE || found == FRAME_FOUND_NOTHING) {
            return;
        }
    }
}

/* Takes all there is; the channel may say what it likes, but only this way. */
static void
use(struct mchan *channel)
{
    uint8_t data[8192];
    struct mchan_info info;
    struct mchan_event event;
    struct mchan_msg message = {.data = "fuzz", .size = 4};
    uint64_t sequence = 0;
    ssize_t got;
    int turns = 0;
    do {
        (void)mchan_send(channel, &message);
        while ((got = mchan_recv(channel, data, sizeof data, &info)) >= 0) {
            bool numbered = info.delivery == MCHAN_RELIABLE;
            if ((numbered ? info.sequence <= sequence : info.sequence != 0) ||
                info.key >= MCHAN_KEYS || (size_t)got > sizeof data) {
                abort();
            }
            sequence = numbered ? info.sequence : sequence;
        }
        while (mchan_next_event(channel, &event)) {
            if (event.type == MCHAN_PROTO_ERROR && !event.reason[0]) {
                abort();
            }
        }
        if (++turns > 100) {
            abort(); /* It would never sleep. */
        }
    } while (mchan_arm(channel, MCHAN_READABLE));
}

static int64_t
stand_still(void *ctx)
{
    (void)ctx;
    return 1;
}

/* The peer, who has no channel but writes what he likes. */
struct stranger {
    struct sim_network *network;
    struct transport *end;
    bool listens;
};

static struct transport *
meet(struct stranger *stranger, bool listens)
{
    struct transport_opts opts = {.listen = listens, .fd = -1, .epoll_fd = -1};
    if (!stranger->network && sim_network_create(&stranger->network, 1)) {
        abort();
    }
    (void)sim_network_run(stranger->network, 1);
    if (stranger->end && stranger->listens == listens) {
        return stranger->end;
    }
    opts.sim = stranger->network;
    if (stranger->end) {
        stranger->end->class->close(stranger->end);
    }
    if (transport_find("sim")->open(&stranger->end, PLACE, &opts)) {
        abort();
    }
    stranger->listens = listens;
    return stranger->end;
}

static void
say(struct transport *end, const uint8_t *data, size_t size)
{
    struct iovec part = {.iov_base = (uint8_t *)(uintptr_t)data};
    part.iov_len = size;
    if (size && end->class->send(end, &part, 1) == -EAGAIN) {
        abort();
    }
}

static void
bring(struct mchan *channel)
{
    static const uint8_t byte = 'x';
    const struct parcel head = {.session = SESSION,
                                .attachment = ATTACHMENT,
                                .mark = MARK,
                                .sent = 3,
                                .acked = 1,
                                .delivered = 2,
                                .done = 2,
                                .message_max = RING_SIZE / 8};
    const struct parcel_record skip = {
        .kind = PARCEL_SKIP, .sequence = 2, .to = 2};
    const struct parcel_record message = {
        .size = 1, .kind = PARCEL_MESSAGE, .sequence = 3, .to = 3};
    uint8_t data[256];
    struct parcel_writer writer;
    parcel_begin(&writer, data, sizeof data, &head);
    parcel_add(&writer, &skip, NULL);
    parcel_add(&writer, &message, &byte);
    (void)mchan_import(channel, data, parcel_end(&writer));
}

/* The guest says that it heard. */
static void
say_heard(struct transport *end, const struct session *session)
{
    static struct stream stream;
    const struct settled settled = {.mark = session->mark};
    struct record record = {.size = SETTLED_SIZE,
                            .kind = RECORD_SETTLED,
                            .attachment = session->attachment};
    uint8_t data[SETTLED_SIZE];
    stream.size = 0;
    frame_put_settled(data, &settled);
    add_frame(&stream, &record, data);
    say(end, stream.bytes, stream.size);
}

static void
decide(struct mchan *channel, struct transport *end, uint8_t fate)
{
    if (fate == SHAPE_ALONE) {
        (void)mchan_import(channel, NULL, 0);
    } else if (fate) {
        bring(channel);
    }
    if (fate == SHAPE_FATE && channel->session.unheard) {
        use(channel); /* It is told. */
        say_heard(end, &channel->session);
    }
}

static void
give_to_channel(const struct stream *stream, uint8_t shape)
{
    bool guest = shape > SHAPE_RAW && shape & SHAPE_GUEST;
    size_t first = stream->size * (shape >> 6) / 4;
    if ((shape & SHAPE_FATE) == SHAPE_FATE && shape & SHAPE_STRANGER) {
        first = stream->hello_size; /* Whole frames, and then another. */
    }
    static struct stranger stranger;
    struct transport *end = meet(&stranger, guest);
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    struct mchan *channel;
    int error;
    opts.now_ns = stand_still;
    opts.seed = 1;
    opts.ring_size = RING_SIZE;
    opts.handoff_ms = shape & SHAPE_STRANGER ? 2000 : 0;
    opts.sim = stranger.network;
    error = guest ? mchan_open(&channel, "sim:" PLACE, &opts)
                  : mchan_listen(&channel, "sim:" PLACE, &opts);
    if (error || end->class->connect(end) != 1) {
        abort();
    }
    say(end, stream->bytes, first);
    use(channel);
    if (shape & SHAPE_STRANGER) {
        decide(channel, end, shape & SHAPE_FATE);
    }
    say(end, stream->bytes + first, stream->size - first);
    use(channel);
    end->class->drop(end);
    use(channel);
    mchan_close(channel);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct stream stream;
    if (!size) {
        return 0;
    }
    uint8_t shape = data[0];
    stream.size = stream.hello_size = 0;
    if (shape > SHAPE_RAW) {
        uint8_t preamble[FRAME_PREAMBLE_SIZE];
        frame_put_preamble(preamble, SYNC);
        add(&stream, preamble, sizeof preamble);
        if (shape & SHAPE_HELLO) {
            add_hello(&stream, shape & SHAPE_STRANGER);
            stream.hello_size = stream.size;
        }
        add_script(&stream, data + 1, size - 1,
                   shape & SHAPE_STRANGER ? ATTACHMENT + HANDOFF_LEAP : 0);
    } else {
        add(&stream, data + 1, size - 1);
    }
    if (shape <= SHAPE_RAW) {
        read_frames(stream.bytes, stream.size);
    }
    if (shape != SHAPE_READER) {
        give_to_channel(&stream, shape);
    }
    return 0;
}
