/* SPDX-License-Identifier: Apache-2.0 */
/* "sim:NAME": a byte stream through a made-up network (sim.h), for msim and
 * tests.  A link is two lanes of bytes; a lane keeps what was sent in pieces,
 * each with the moment at which it arrives.  Without descriptors there is
 * nobody to wake: whoever runs the simulation gives the channels their turns.
 */
#include "transport/sim.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "base/text.h"
#include "transport/transport.h"

#define LANE_BYTES 65536 /* Sent and not yet read. */
#define LANE_PIECES 1024
#define LANE_TAIL 8192 /* Of those, what the next link still gets. */
#define TAIL_MAX 4096

struct piece {
    nsec_t due;
    uint32_t size; /* Of what is left of it. */
};

/* One direction of a link. */
struct lane {
    uint32_t first, n;            /* Pieces. */
    uint32_t first_byte, n_bytes; /* In 'bytes', a ring. */
    nsec_t closed;                /* NSEC_NEVER: the sender lives. */
    uint32_t n_tail;              /* Bytes that the last link left. */
    uint8_t tail[LANE_TAIL];
    struct piece pieces[LANE_PIECES];
    uint8_t bytes[LANE_BYTES];
};

struct sim_transport {
    struct transport transport;
    struct sim_network *network;
    struct place *port;  /* Its address; */
    struct place *place; /* where that is now, or where it is linked. */
    bool listens, linked;
    bool cut; /* Linked no more: it moved away. */
};

struct place {
    char name[SIM_NETWORK_NAME_SIZE];
    struct sim_transport *ends[2]; /* Who listens, and who is linked to it. */
    bool waiting;                  /* The second is not yet accepted. */
    bool orphan;                   /* It moved away, and the first is linked to
                                      nobody. */
    struct place *home;            /* Where who comes here is; null: here. */
    bool down, stalled, tails;
    nsec_t delay_ns;
    double corruption, loss, repeats;
    struct lane lanes[2]; /* What each of the ends sent. */
    uint32_t n_tail;      /* Bytes that come before what the second sends. */
    uint8_t tail[TAIL_MAX];
};

struct sim_network {
    nsec_t now;
    bool news; /* Something happened that takes no time. */
    struct prng prng;
    uint32_t n_places;
    struct place *places[SIM_NETWORK_PLACES_MAX];
};

static struct place *find_place(struct sim_network *network, const char *name);
static void lane_reset(struct lane *lane);
static void lane_keep_tail(struct lane *lane, nsec_t now);
static void lane_give_tail(struct lane *lane, nsec_t now);
static nsec_t lane_next(const struct lane *lane, nsec_t after);

int
sim_network_create(struct sim_network **out, uint64_t seed)
{
    struct sim_network *network = calloc(1, sizeof *network);

    if (!network) {
        return -ENOMEM;
    }
    network->now = INT64_MIN;
    prng_init(&network->prng, seed);
    *out = network;
    return 0;
}

void
sim_network_destroy(struct sim_network *network)
{
    if (!network) {
        return;
    }
    for (uint32_t i = 0; i < network->n_places; i++) {
        free(network->places[i]);
    }
    free(network);
}

bool
sim_network_run(struct sim_network *network, nsec_t now)
{
    bool any = network->news || sim_network_deadline(network) <= now;

    assert(now >= network->now);
    network->now = now;
    network->news = false;
    return any;
}

nsec_t
sim_network_deadline(const struct sim_network *network)
{
    nsec_t deadline = network->news ? network->now : NSEC_NEVER;

    for (uint32_t i = 0; i < network->n_places; i++) {
        const struct place *place = network->places[i];

        for (int end = 0; end < 2 && !place->stalled; end++) {
            deadline =
                nsec_min(deadline, lane_next(&place->lanes[end], network->now));
        }
    }
    return deadline;
}

void
sim_network_set_delay(struct sim_network *network, const char *name,
                      nsec_t delay_ns)
{
    struct place *place = find_place(network, name);

    if (place) {
        place->delay_ns = delay_ns;
    }
}

void
sim_network_cut(struct sim_network *network, const char *name)
{
    struct place *place = find_place(network, name);

    for (int end = 0; place && end < 2; end++) {
        if (place->tails) {
            lane_keep_tail(&place->lanes[end], network->now);
        }
        lane_reset(&place->lanes[end]);
        place->lanes[end].closed = network->now;
        network->news = true;
    }
}

void
sim_network_set_down(struct sim_network *network, const char *name, bool down)
{
    struct place *place = find_place(network, name);

    if (place) {
        place->down = down;
    }
    if (down) {
        sim_network_cut(network, name);
    }
}

void
sim_network_set_stalled(struct sim_network *network, const char *name,
                        bool stalled)
{
    struct place *place = find_place(network, name);

    if (place) {
        place->stalled = stalled;
        network->news = true;
    }
}

void
sim_network_set_corruption(struct sim_network *network, const char *name,
                           double chance)
{
    struct place *place = find_place(network, name);

    if (place) {
        place->corruption = chance;
    }
}

void
sim_network_set_loss(struct sim_network *network, const char *name,
                     double chance)
{
    struct place *place = find_place(network, name);

    if (place) {
        place->loss = chance;
    }
}

void
sim_network_set_tails(struct sim_network *network, const char *name, bool tails)
{
    struct place *place = find_place(network, name);

    if (place) {
        place->tails = tails;
    }
}

/* Takes away the last bytes. */
static void
lane_trim(struct lane *lane, uint32_t n, uint8_t *out)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = lane->first_byte + lane->n_bytes - n + i;
        out[i] = lane->bytes[at % LANE_BYTES];
    }
    lane->n_bytes -= n;
    while (n > 0) {
        struct piece *piece =
            &lane->pieces[(lane->first + lane->n - 1) % LANE_PIECES];
        uint32_t part = n < piece->size ? n : piece->size;

        piece->size -= part;
        n -= part;
        lane->n -= piece->size == 0;
    }
}

/* Takes the link from under the second end of a place. */
static void
leave(struct place *from, struct place *to, uint32_t n_tail)
{
    struct lane *said = &from->lanes[1];

    n_tail = n_tail < said->n_bytes ? n_tail : said->n_bytes;
    to->n_tail = n_tail < TAIL_MAX ? n_tail : TAIL_MAX;
    lane_trim(said, to->n_tail, to->tail);
    lane_reset(&from->lanes[0]);
    from->ends[1]->cut = true;
    from->ends[1] = NULL;
    from->orphan = from->ends[0] && from->ends[0]->linked;
    if (from->waiting) {
        from->waiting = false;
        lane_reset(said);
    }
}

void
sim_network_set_repeats(struct sim_network *network, const char *name,
                        double chance)
{
    struct place *place = find_place(network, name);

    if (place) {
        place->repeats = chance;
    }
}

void
sim_network_move(struct sim_network *network, const char *name, const char *to,
                 uint32_t n_tail)
{
    struct place *port = find_place(network, name);
    struct place *target = find_place(network, to);
    struct place *from;

    if (!port || !target) {
        return;
    }
    from = port->home ? port->home : port;
    if (from->ends[1] && from->ends[1]->port == port) {
        leave(from, target, n_tail);
    }
    port->home = target;
    sim_network_hang_up(network, to);
    network->news = true;
}

void
sim_network_hang_up(struct sim_network *network, const char *name)
{
    struct place *place = find_place(network, name);

    if (place && place->orphan) {
        place->lanes[1].closed = nsec_min(place->lanes[1].closed, network->now);
        network->news = true;
    }
}

/* Finds or makes a place; null if there are too many or no memory. */
static struct place *
find_place(struct sim_network *network, const char *name)
{
    struct place *place;

    for (uint32_t i = 0; i < network->n_places; i++) {
        if (!strcmp(network->places[i]->name, name)) {
            return network->places[i];
        }
    }
    if (network->n_places == SIM_NETWORK_PLACES_MAX ||
        strlen(name) >= SIM_NETWORK_NAME_SIZE) {
        return NULL;
    }
    place = calloc(1, sizeof *place);
    if (place) {
        text_copy(place->name, sizeof place->name, name);
        lane_reset(&place->lanes[0]);
        lane_reset(&place->lanes[1]);
        network->places[network->n_places++] = place;
    }
    return place;
}

/* Lanes. */

static void
lane_reset(struct lane *lane)
{
    lane->first = lane->n = 0;
    lane->first_byte = lane->n_bytes = 0;
    lane->closed = NSEC_NEVER;
}

/* The first moment later than 'after' at which a piece or the end arrives. */
static nsec_t
lane_next(const struct lane *lane, nsec_t after)
{
    for (uint32_t i = 0; i < lane->n; i++) {
        const struct piece *piece =
            &lane->pieces[(lane->first + i) % LANE_PIECES];

        if (piece->due > after) {
            return piece->due;
        }
    }
    return lane->closed > after ? lane->closed : NSEC_NEVER;
}

static uint32_t
lane_write(struct lane *lane, const void *data, size_t size, nsec_t due)
{
    uint32_t room = LANE_BYTES - lane->n_bytes;
    uint32_t n = size < room ? (uint32_t)size : room;
    uint32_t at = (lane->first_byte + lane->n_bytes) % LANE_BYTES;
    uint32_t part = n < LANE_BYTES - at ? n : LANE_BYTES - at;

    if (lane->n == LANE_PIECES || n == 0) {
        return 0;
    }
    memcpy(lane->bytes + at, data, part);
    memcpy(lane->bytes, (const uint8_t *)data + part, n - part);
    lane->n_bytes += n;
    lane->pieces[(lane->first + lane->n++) % LANE_PIECES] =
        (struct piece){.due = due, .size = n};
    return n;
}

static uint32_t
lane_read(struct lane *lane, void *out, size_t size, nsec_t now)
{
    uint32_t used = 0;

    while (lane->n > 0 && used < size) {
        struct piece *piece = &lane->pieces[lane->first];
        uint32_t n = piece->size;

        if (piece->due > now) {
            break;
        }
        n = n < size - used ? n : (uint32_t)(size - used);
        for (uint32_t i = 0; i < n; i++) {
            ((uint8_t *)out)[used++] = lane->bytes[lane->first_byte];
            lane->first_byte = (lane->first_byte + 1) % LANE_BYTES;
        }
        lane->n_bytes -= n;
        piece->size -= n;
        if (piece->size == 0) {
            lane->first = (lane->first + 1) % LANE_PIECES;
            lane->n--;
        }
    }
    return used;
}

/* What is under way and has not arrived, as much as fits. */
static void
lane_keep_tail(struct lane *lane, nsec_t now)
{
    uint32_t size = 0;

    for (uint32_t i = 0; i < lane->n; i++) {
        const struct piece *piece =
            &lane->pieces[(lane->first + i) % LANE_PIECES];

        size += piece->due > now ? piece->size : 0;
    }
    size = size < LANE_TAIL ? size : LANE_TAIL;
    for (uint32_t i = 0; i < size; i++) {
        uint32_t at = lane->first_byte + lane->n_bytes - size + i;

        lane->tail[i] = lane->bytes[at % LANE_BYTES];
    }
    lane->n_tail = size > 0 ? size : lane->n_tail;
}

static void
lane_give_tail(struct lane *lane, nsec_t now)
{
    if (lane->n_tail > 0) {
        lane_write(lane, lane->tail, lane->n_tail, now);
        lane->n_tail = 0;
    }
}

/* The transport. */

static struct sim_transport *
sim_cast(struct transport *transport)
{
    return (struct sim_transport *)(void *)transport;
}

extern const struct transport_class transport_sim;

static int
sim_open(struct transport **out, const char *address,
         const struct transport_opts *opts)
{
    struct sim_network *network = opts->sim;
    struct place *place = network ? find_place(network, address) : NULL;
    struct sim_transport *self;

    if (!place || opts->fd >= 0) {
        return -EINVAL;
    }
    if (opts->listen && place->ends[0]) {
        return -EADDRINUSE;
    }
    self = calloc(1, sizeof *self);
    if (!self) {
        return -ENOMEM;
    }
    self->transport.class = &transport_sim;
    self->network = network;
    self->port = self->place = place;
    self->listens = opts->listen;
    if (opts->listen) {
        place->ends[0] = self;
    }
    *out = &self->transport;
    return 0;
}

/* What was sent still comes; then the peer sees the end. */
static void
sim_drop(struct transport *transport)
{
    struct sim_transport *self = sim_cast(transport);
    struct place *place = self->place;

    transport->ready &= ~(TRANSPORT_LINK | TRANSPORT_ROOM | TRANSPORT_HANGUP);
    if (!self->linked) {
        return;
    }
    self->linked = false;
    if (self->cut) {
        self->cut = false;
        return;
    }
    place->orphan = false;
    place->lanes[!self->listens].closed =
        nsec_min(place->lanes[!self->listens].closed,
                 self->network->now + place->delay_ns);
    lane_reset(&place->lanes[self->listens]);
    place->lanes[self->listens].closed = self->network->now;
    if (!self->listens) {
        place->ends[1] = NULL;
        place->waiting = false;
    }
    self->network->news = true;
}

static void
sim_close(struct transport *transport)
{
    struct sim_transport *self = sim_cast(transport);

    if (!transport) {
        return;
    }
    sim_drop(transport);
    if (self->listens) {
        self->place->ends[0] = NULL;
    }
    free(self);
}

static int
sim_connect(struct transport *transport)
{
    struct sim_transport *self = sim_cast(transport);
    struct place *place;

    if (!self->listens && !self->linked) {
        self->place = self->port->home ? self->port->home : self->port;
    }
    place = self->place;
    if (self->listens) {
        if (place->waiting && !place->down) {
            place->waiting = false;
            self->linked = true;
        }
        return self->linked;
    }
    if (place->down || !place->ends[0] || place->ends[0]->linked ||
        place->ends[1]) {
        return -ECONNREFUSED;
    }
    for (int end = 0; end < 2; end++) {
        lane_reset(&place->lanes[end]);
        lane_give_tail(&place->lanes[end], self->network->now);
    }
    (void)lane_write(&place->lanes[1], place->tail, place->n_tail,
                     self->network->now);
    place->n_tail = 0;
    place->ends[1] = self;
    place->waiting = true;
    self->linked = true;
    self->network->news = true;
    return 1;
}

static int
sim_identify(const struct transport *transport, struct transport_identity *out)
{
    return -ENOTSUP;
}

/* Sends one part, or loses it on the way, or a bit of it. */
static uint32_t
send_part(struct sim_transport *self, const struct iovec *part)
{
    struct place *place = self->place;
    struct lane *lane = &place->lanes[!self->listens];
    struct prng *prng = &self->network->prng;
    nsec_t due = self->network->now + place->delay_ns;
    uint32_t n, at;

    if (place->loss > 0 && prng_real(prng) < place->loss) {
        return (uint32_t)part->iov_len;
    }
    at = lane->first_byte + lane->n_bytes;
    n = lane_write(lane, part->iov_base, part->iov_len, due);
    self->network->news |= n > 0 && due == self->network->now;
    if (n > 0 && place->corruption > 0 && prng_real(prng) < place->corruption) {
        at = (at + (uint32_t)prng_below(prng, n)) % LANE_BYTES;
        lane->bytes[at] ^= (uint8_t)(1u << prng_below(prng, 8));
    }
    return n;
}

/* All of what was sent, as far as there is room. */
static void
send_again(struct sim_transport *self, const struct iovec *iov, int n)
{
    struct lane *lane = &self->place->lanes[!self->listens];
    nsec_t due = self->network->now + self->place->delay_ns;

    for (int i = 0; i < n; i++) {
        lane_write(lane, iov[i].iov_base, iov[i].iov_len, due);
    }
}

/* A paused guest's port takes what nobody will read. */
static ssize_t
swallow(const struct iovec *iov, int n)
{
    size_t size = 0;

    for (int i = 0; i < n; i++) {
        size += iov[i].iov_len;
    }
    return (ssize_t)size;
}

static ssize_t
sim_send(struct transport *transport, const struct iovec *iov, int n)
{
    struct sim_transport *self = sim_cast(transport);
    size_t sent = 0;

    if (!self->linked || self->cut ||
        self->place->lanes[!self->listens].closed != NSEC_NEVER) {
        return -EPIPE;
    }
    if (self->listens && self->place->orphan) {
        return swallow(iov, n);
    }
    for (int i = 0; i < n; i++) {
        uint32_t part = iov[i].iov_len > 0 ? send_part(self, &iov[i]) : 0;

        sent += part;
        if (part < iov[i].iov_len) {
            break;
        }
    }
    if (self->place->repeats > 0 &&
        prng_real(&self->network->prng) < self->place->repeats) {
        send_again(self, iov, n);
    }
    if (sent == 0) {
        transport->ready &= ~TRANSPORT_ROOM;
        return -EAGAIN;
    }
    return (ssize_t)sent;
}

static ssize_t
sim_recv(struct transport *transport, void *data, size_t size)
{
    struct sim_transport *self = sim_cast(transport);
    struct lane *lane = &self->place->lanes[self->listens];
    uint32_t n;

    if (!self->linked) {
        return -ENOTCONN;
    }
    if (self->cut) {
        return 0;
    }
    n = self->place->stalled ? 0
                             : lane_read(lane, data, size, self->network->now);
    if (n == 0 && (self->place->stalled || lane->n > 0 ||
                   lane->closed > self->network->now)) {
        transport->ready &= ~TRANSPORT_LINK;
        return -EAGAIN;
    }
    return n;
}

const struct transport_class transport_sim = {
    .name = "sim",
    .summary = "a made-up network, for simulation and tests",
    .simulated = true,
    .open = sim_open,
    .close = sim_close,
    .connect = sim_connect,
    .drop = sim_drop,
    .identify = sim_identify,
    .send = sim_send,
    .recv = sim_recv,
};
