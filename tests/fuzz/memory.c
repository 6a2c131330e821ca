/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for a peer on the other side of shared memory that our end made
 * or was handed, from the handing over to lent memory.  The first byte chooses:
 * bit 0  the channel is the guest's end, so the memory is the peer's, and 16
 * bytes of what it says of it follow; bit 1  HELLO is said first; bit 2  the
 * memory handed over is not sealed, bit 3  or of another size; bit 4  no
 * descriptor comes with it.  The rest is a script of what the peer does:
 * records in good order of their own, words and bytes anywhere, wakes,
 * descriptors, what was lent given back; and of what our user does with the
 * channel meanwhile. Whatever comes, what the channel gives out is whole and in
 * order, and it does not keep its user busy for ever.
 *
 * rings.c has the same memory without a channel and without the kernel. */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "include/mchan.h"
#include "transport/passing.h"
#include "transport/returns.h"
#include "transport/ring.h"
#include "wire/frame.h"

#define RING_SIZE RING_SIZE_MIN
#define WORDS_SIZE 4096u /* As shm.c lays it out. */
#define MEMORY_SIZE (WORDS_SIZE + 2 * RING_SIZE + 2 * sizeof(struct returns))
#define LOAN_BYTES 16384u
#define HANDOVER_SIZE 16
#define VIEWS_MAX 4
#define OPS_MAX 64
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

enum shape {
    SHAPE_GUEST = 1,
    SHAPE_HELLO = 2,
    SHAPE_UNSEALED = 4,
    SHAPE_OTHER_SIZE = 8,
    SHAPE_NO_FD = 16,
};

enum op {
    OP_RECORD, /* As in frames.c. */
    OP_FLIP,
    OP_STORE,
    OP_WAKE,
    OP_SHARE,
    OP_LOAN, /* A record of one: unit, generation, size. */
    OP_RETURN,
    OP_USE,
    OP_RELEASE,
    OP_LEND,
    OP_N,
};

struct input {
    const uint8_t *data;
    size_t size;
};

struct play {
    struct mchan *channel;
    int raw; /* The peer's end of the socket. */
    uint8_t *memory;
    struct ring_tx tx; /* The peer's. */
    struct returns_tx returns;
    uint64_t last; /* Sequence. */
    uint32_t sent;
    struct mchan_view views[VIEWS_MAX];
    unsigned n_views;
};

static void
check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static uint64_t
take(struct input *input, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n && input->size; i++) {
        value |= (uint64_t)*input->data++ << 8 * i;
        input->size--;
    }
    return value;
}

/* Our user. */

static void
collect_events(struct mchan *channel)
{
    struct mchan_event event;
    for (int n = 0; mchan_next_event(channel, &event); n++) {
        check(n < 1000);
        check(event.type != MCHAN_PROTO_ERROR || event.reason[0]);
    }
}

static void
check_info(struct play *play, const struct mchan_info *info)
{
    bool numbered = info->delivery == MCHAN_RELIABLE;
    check(numbered ? info->sequence > play->last : info->sequence == 0);
    check(info->key < MCHAN_KEYS);
    play->last = numbered ? info->sequence : play->last;
}

/* All of it can be read. */
static void
touch(const uint8_t *data, size_t size)
{
    volatile uint8_t sum = 0;
    for (size_t at = 0; at < size; at += 64) {
        sum = (uint8_t)(sum + data[at]);
    }
    if (size) {
        sum = (uint8_t)(sum + data[size - 1]);
    }
}

static bool
look_once(struct play *play)
{
    struct mchan_view *view = &play->views[play->n_views];
    uint8_t data[4096];
    struct mchan_info info;
    if (play->n_views < VIEWS_MAX) {
        if (mchan_view(play->channel, view)) {
            return false;
        }
        touch(view->data, view->size);
        check_info(play, &view->info);
        play->n_views++;
        return true;
    }
    ssize_t got = mchan_recv(play->channel, data, sizeof data, &info);
    if (got >= 0) {
        check_info(play, &info);
    }
    return got >= 0;
}

static void
release_views(struct play *play)
{
    while (play->n_views) {
        mchan_release(play->channel, &play->views[--play->n_views]);
    }
}

static void
use(struct play *play)
{
    struct mchan_msg message = {.data = "fuzz", .size = 4};
    int turns = 0;
    do {
        (void)mchan_send(play->channel, &message);
        while (look_once(play)) {
            (void)mchan_ack(play->channel);
        }
        release_views(play);
        collect_events(play->channel);
        check(++turns < 200);
    } while (mchan_arm(play->channel, MCHAN_READABLE));
}

static void
lend(struct play *play, struct input *input)
{
    struct mchan_msg message = {.size = 4};
    struct mchan_loan loan;
    size_t size = (size_t)take(input, 1) * 64;
    if (mchan_loan(play->channel, size, &loan)) {
        return;
    }
    memset(loan.data, 1, size);
    message.size = size;
    if (mchan_send_loan(play->channel, &loan, &message)) {
        mchan_unloan(play->channel, &loan);
    }
}

/* The peer. */

static void
say(struct play *play, const struct record *record, const void *data)
{
    (void)ring_tx_put(&play->tx, record, data);
}

static void
say_hello(struct play *play)
{
    struct hello hello = {.message_max = 4096, .loan_bytes = LOAN_BYTES};
    struct record record = {.size = HELLO_SIZE, .kind = RECORD_HELLO};
    uint8_t data[HELLO_SIZE];
    frame_put_hello(data, &hello);
    say(play, &record, data);
}

static void
say_script(struct play *play, struct input *input)
{
    struct record record = {.kind = (uint8_t)take(input, 1)};
    record.flags = (uint8_t)take(input, 1);
    record.sequence = (uint32_t)take(input, 1);
    record.attachment = (uint32_t)take(input, 1);
    record.size = (uint32_t)take(input, 1);
    if (record.size > input->size) {
        record.size = (uint32_t)input->size;
    }
    say(play, &record, input->data);
    input->data += record.size;
    input->size -= record.size;
}

static void
say_loan(struct play *play, struct input *input)
{
    struct record record = {.size = 16, .kind = RECORD_LOAN, .attachment = 1};
    uint8_t data[16] = {0};
    data[0] = (uint8_t)take(input, 1);
    data[4] = (uint8_t)take(input, 1);
    data[8] = (uint8_t)take(input, 1);
    data[9] = (uint8_t)take(input, 1);
    record.sequence = ++play->sent;
    say(play, &record, data);
}

static void
give_back(struct play *play, struct input *input)
{
    uint64_t unit = take(input, 1), generation = take(input, 1);
    (void)returns_give(&play->returns, unit | generation << 32);
}

static void
store(struct play *play, struct input *input)
{
    static const size_t places[] = {
        0,
        8,
        128,
        136,
        256,
        264,
        384,
        392,
        WORDS_SIZE + 2 * RING_SIZE,
        WORDS_SIZE + 2 * RING_SIZE + 128,
        WORDS_SIZE + 2 * RING_SIZE + 256,
        MEMORY_SIZE - sizeof(struct returns),
        MEMORY_SIZE - sizeof(struct returns) + 128,
        MEMORY_SIZE - sizeof(struct returns) + 256,
    };
    size_t which = (size_t)take(input, 1) % (sizeof places / sizeof *places);
    uint64_t value = take(input, 8);
    memcpy(play->memory + places[which], &value, sizeof value);
}

static void
share(struct play *play, struct input *input)
{
    unsigned how = (unsigned)take(input, 1);
    int seals = SEALS | (how & 1 ? 0 : F_SEAL_FUTURE_WRITE);
    int fd = passing_make_memory(how & 2 ? LOAN_BYTES / 2 : LOAN_BYTES, seals);
    if (fd >= 0) {
        (void)passing_send(play->raw, "", 1, fd);
        close(fd);
    }
}

static void
act(struct play *play, struct input *input)
{
    size_t at;
    switch ((enum op)(take(input, 1) % OP_N)) {
    case OP_RECORD:
        say_script(play, input);
        return;
    case OP_FLIP:
        at = (size_t)take(input, 2) % MEMORY_SIZE;
        play->memory[at] ^= (uint8_t)take(input, 1);
        return;
    case OP_STORE:
        store(play, input);
        return;
    case OP_WAKE:
        (void)send(play->raw, "wakes it up", 1 + take(input, 1) % 8,
                   MSG_DONTWAIT | MSG_NOSIGNAL);
        return;
    case OP_SHARE:
        share(play, input);
        return;
    case OP_LOAN:
        say_loan(play, input);
        return;
    case OP_RETURN:
        give_back(play, input);
        return;
    case OP_USE:
        use(play);
        return;
    case OP_RELEASE:
        (void)look_once(play);
        return;
    case OP_LEND:
        lend(play, input);
        return;
    case OP_N:
        return;
    }
}

/* Meeting. */

static int64_t
stand_still(void *ctx)
{
    (void)ctx;
    return 1;
}

static bool
open_channel(struct play *play, bool guest)
{
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) {
        return false;
    }
    opts.fd = ends[0];
    opts.now_ns = stand_still;
    opts.seed = 1;
    opts.ring_size = RING_SIZE;
    opts.loan_bytes = LOAN_BYTES;
    check(!(guest ? mchan_open(&play->channel, "shm:", &opts)
                  : mchan_listen(&play->channel, "shm:", &opts)));
    play->raw = ends[1];
    return true;
}

/* The memory that our end made; -1 on failure. */
static int
be_handed(const struct play *play)
{
    uint8_t handover[HANDOVER_SIZE];
    unsigned n;
    int fd;
    (void)passing_recv(play->raw, handover, sizeof handover, &fd, &n);
    return fd;
}

static int
hand_over(const struct play *play, unsigned shape, struct input *input)
{
    uint8_t handover[HANDOVER_SIZE];
    for (size_t i = 0; i < sizeof handover; i++) {
        handover[i] = (uint8_t)take(input, 1);
    }
    int fd =
        passing_make_memory(MEMORY_SIZE + (shape & SHAPE_OTHER_SIZE ? 4096 : 0),
                            shape & SHAPE_UNSEALED ? F_SEAL_GROW : SEALS);
    if (fd < 0) {
        return fd;
    }
    if (shape & SHAPE_NO_FD) {
        (void)send(play->raw, handover, sizeof handover, MSG_DONTWAIT);
    } else {
        (void)passing_send(play->raw, handover, sizeof handover, fd);
    }
    return fd;
}

static bool
map(struct play *play, int fd, bool guest)
{
    uint8_t *memory =
        mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return false;
    }
    unsigned we = guest ? 0 : 1; /* Not the channel's end. */
    struct ring_words *words = (struct ring_words *)(void *)memory;
    struct returns *blocks =
        (struct returns *)(void *)(memory + WORDS_SIZE + 2 * RING_SIZE);
    play->memory = memory;
    ring_tx_init(&play->tx, memory + WORDS_SIZE + we * RING_SIZE, RING_SIZE,
                 &words[we], &words[!we]);
    returns_tx_init(&play->returns, &blocks[we], &blocks[!we]);
    return true;
}

static void
run(struct play *play, unsigned shape, struct input *input)
{
    int fd =
        shape & SHAPE_GUEST ? hand_over(play, shape, input) : be_handed(play);
    if (fd < 0) {
        return;
    }
    bool mapped = map(play, fd, shape & SHAPE_GUEST);
    close(fd);
    if (!mapped) {
        return;
    }
    if (shape & SHAPE_HELLO) {
        say_hello(play);
    }
    use(play);
    for (int n = 0; input->size && n < OPS_MAX; n++) {
        act(play, input);
    }
    use(play);
    munmap(play->memory, MEMORY_SIZE);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct play play = {.raw = -1};
    struct input input = {data, size};
    if (!size) {
        return 0;
    }
    unsigned shape = (unsigned)take(&input, 1);
    if (!open_channel(&play, shape & SHAPE_GUEST)) {
        return 0;
    }
    run(&play, shape, &input);
    close(play.raw);
    use(&play);
    release_views(&play);
    mchan_close(play.channel);
    return 0;
}
