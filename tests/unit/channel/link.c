/* SPDX-License-Identifier: Apache-2.0 */
/* One attachment's link over a carrier of ours, which takes and brings as many
 * bytes as the test says: frames that go in pieces, a buffer that a peer fills
 * to the last byte, rings without an end, and no memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "channel/link.h"
#include "tests/scarce.h"

#define RING 4096u
#define SYNC 0x1234u
#define BYTES_MAX (4u << 20)

/* A carrier in memory. */
struct carrier {
    struct transport transport;
    size_t take, bring; /* Bytes at once. */
    uint8_t *sent;      /* Owned: what went. */
    size_t n_sent;
    uint8_t *comes; /* Owned: what will come. */
    size_t n_comes, n_came;
    struct ring_tx tx;
    struct ring_rx rx;
    struct link link;
};

static ssize_t
carrier_send(struct transport *transport, const struct iovec *iov, int n)
{
    struct carrier *carrier = (struct carrier *)transport;
    size_t total = 0;

    for (int i = 0; i < n && total < carrier->take; i++) {
        size_t left = carrier->take - total;
        size_t size = iov[i].iov_len < left ? iov[i].iov_len : left;

        assert_true(carrier->n_sent + size <= BYTES_MAX);
        memcpy(carrier->sent + carrier->n_sent, iov[i].iov_base, size);
        carrier->n_sent += size;
        total += size;
    }
    return total ? (ssize_t)total : -EAGAIN;
}

static ssize_t
carrier_recv(struct transport *transport, void *data, size_t size)
{
    struct carrier *carrier = (struct carrier *)transport;
    size_t left = carrier->n_comes - carrier->n_came;

    size = size < carrier->bring ? size : carrier->bring;
    size = size < left ? size : left;
    memcpy(data, carrier->comes + carrier->n_came, size);
    carrier->n_came += size;
    return size ? (ssize_t)size : -EAGAIN;
}

static void
carrier_rings(struct transport *transport, struct ring_tx *tx,
              struct ring_rx *rx)
{
    struct carrier *carrier = (struct carrier *)transport;

    *tx = carrier->tx;
    *rx = carrier->rx;
}

static const struct transport_class streams = {
    .name = "stream", .send = carrier_send, .recv = carrier_recv};
static const struct transport_class rings = {.name = "ring",
                                             .rings = carrier_rings};

static int
set_up(void **state)
{
    struct carrier *carrier = calloc(1, sizeof *carrier);

    carrier->transport.class = &streams;
    carrier->transport.ready = TRANSPORT_LINK | TRANSPORT_ROOM;
    carrier->take = carrier->bring = SIZE_MAX;
    carrier->sent = malloc(BYTES_MAX);
    carrier->comes = malloc(BYTES_MAX);
    *state = carrier;
    return 0;
}

static int
tear_down(void **state)
{
    struct carrier *carrier = *state;

    link_fini(&carrier->link);
    free(carrier->sent);
    free(carrier->comes);
    free(carrier);
    return 0;
}

static void
begin_stream(struct carrier *carrier, uint32_t ring_size)
{
    assert_int_equal(
        link_init(&carrier->link, &carrier->transport, ring_size, SYNC), 0);
}

/* What the peer says. */

static void
comes(struct carrier *carrier, const void *data, size_t size)
{
    assert_true(carrier->n_comes + size <= BYTES_MAX);
    memcpy(carrier->comes + carrier->n_comes, data, size);
    carrier->n_comes += size;
}

static void
preamble_comes(struct carrier *carrier)
{
    uint8_t preamble[FRAME_PREAMBLE_SIZE];

    frame_put_preamble(preamble, SYNC);
    comes(carrier, preamble, sizeof preamble);
}

static void
frame_comes(struct carrier *carrier, struct record record, const void *payload)
{
    uint8_t header[FRAME_HEADER_SIZE];

    frame_put_header(header, SYNC, &record, payload);
    comes(carrier, header, sizeof header);
    comes(carrier, payload, record.size);
}

/* Streams. */

/* Every split of what is sent gives the same bytes. */
static void
what_goes_in_pieces_is_whole_at_the_other_end(void **state)
{
    static const uint8_t hello[HELLO_SIZE] = {1};
    uint8_t payload[200], whole[2048];
    size_t n_whole = 0;

    memset(payload, 0x5a, sizeof payload);
    for (size_t take = 4096; take > 0; take = take > 64 ? 64 : take - 1) {
        struct carrier *carrier;
        set_up((void **)&carrier);
        begin_stream(carrier, RING);
        carrier->take = take;
        struct link *link = &carrier->link;
        assert_int_equal(
            link_put_control(link, RECORD_HELLO, hello, sizeof hello), 0);
        for (unsigned i = 0; i < 5; i++) {
            struct record record = {.size = 40 * i, .kind = RECORD_RELIABLE};
            record.sequence = i + 1;
            assert_int_equal(link_put(link, &record, payload), 0);
        }
        assert_int_equal(link_flush(link), 0);
        if (take == 4096) {
            n_whole = carrier->n_sent;
            assert_true(n_whole < sizeof whole);
            memcpy(whole, carrier->sent, n_whole);
        }
        assert_int_equal(carrier->n_sent, n_whole);
        assert_memory_equal(carrier->sent, whole, n_whole);
        tear_down((void **)&carrier);
    }
    (void)state;
}

static void
what_does_not_go_is_tried_again(void **state)
{
    struct carrier *carrier = *state;
    struct record record = {.size = 3, .kind = RECORD_DATAGRAM};

    begin_stream(carrier, RING);
    carrier->take = 0;
    assert_int_equal(link_put(&carrier->link, &record, "abc"), 0);
    assert_int_equal(link_flush(&carrier->link), -EAGAIN);
    carrier->take = SIZE_MAX;
    assert_int_equal(link_flush(&carrier->link), 0);
    assert_int_equal(carrier->n_sent,
                     FRAME_PREAMBLE_SIZE + FRAME_HEADER_SIZE + 3);
}

/* More than an honest peer has room for: what does not fit stays where it is,
 * and none of it is read over what was not taken. */
static void
a_peer_who_fills_the_buffer_waits(void **state)
{
    struct carrier *carrier = *state;
    uint8_t payload[FRAME_HELLO_MAX] = {7};
    const char *why = NULL;
    struct record record;
    size_t n = 0;

    begin_stream(carrier, RING);
    struct link *link = &carrier->link;
    link_open(link, FRAME_HELLO_MAX);
    preamble_comes(carrier);
    for (unsigned i = 0; i < 100; i++) {
        struct record one = {.size = 500, .kind = RECORD_RELIABLE};
        one.sequence = i + 1;
        frame_comes(carrier, one, payload);
    }
    assert_int_equal(link_read(link, &why), 0);
    assert_int_equal(link_read(link, &why), 0);
    assert_int_equal(link->end, link->buffer_size);
    while (link_peek(link, &record, &why) == 1) {
        assert_int_equal(record.sequence, ++n);
        link_pass(link, &record);
    }
    assert_int_equal(n, 100);
    assert_false(link->ended);
}

/* Nobody took anything, and the buffer's first byte is a frame's. */
static void
a_full_buffer_has_no_more(void **state)
{
    struct carrier *carrier = *state;
    uint8_t payload[500] = {7};
    const char *why = NULL;
    struct record record;

    begin_stream(carrier, RING);
    struct link *link = &carrier->link;
    link_open(link, FRAME_HELLO_MAX);
    preamble_comes(carrier);
    /* By itself, so that it does not lie before the frames. */
    assert_int_equal(link_read(link, &why), 0);
    assert_int_equal(link_peek(link, &record, &why), 0);
    for (unsigned i = 0; i < 100; i++) {
        struct record one = {.size = 500, .kind = RECORD_RELIABLE};
        frame_comes(carrier, one, payload);
    }
    assert_true(link_has_more(link));
    assert_int_equal(link_read(link, &why), 0);
    assert_int_equal(link->start, 0);
    assert_int_equal(link->end, link->buffer_size);
    assert_false(link_has_more(link));
    size_t came = carrier->n_came;
    assert_int_equal(link_read(link, &why), 0);
    assert_int_equal(carrier->n_came, came);
}

static void
a_turn_reads_a_bounded_number_of_bytes(void **state)
{
    struct carrier *carrier = *state;
    uint8_t *payload = calloc(1, FRAME_PAYLOAD_MAX);
    const char *why = NULL;
    struct record record;
    unsigned n = 0;

    begin_stream(carrier, 1u << 20);
    struct link *link = &carrier->link;
    link_open(link, FRAME_PAYLOAD_MAX);
    preamble_comes(carrier);
    for (unsigned i = 0; i < 40; i++) {
        struct record one = {.size = FRAME_PAYLOAD_MAX,
                             .kind = RECORD_DATAGRAM};
        frame_comes(carrier, one, payload);
    }
    /* In one piece, more than a turn's share; what came is parsed at once. */
    assert_int_equal(link_read(link, &why), 0);
    assert_true(carrier->n_came >= LINK_READ_MAX);
    assert_true(carrier->n_came < carrier->n_comes);
    assert_true(link->parsed > LINK_READ_MAX / 2);
    while (link_peek(link, &record, &why) == 1) {
        link_pass(link, &record);
        n++;
    }
    assert_int_equal(n, 40);
    free(payload);
}

static void
garbage_behind_a_turns_share_is_found(void **state)
{
    struct carrier *carrier = *state;
    static uint8_t garbage[3u << 20];
    const char *why = NULL;

    begin_stream(carrier, 1u << 20);
    link_open(&carrier->link, FRAME_PAYLOAD_MAX);
    preamble_comes(carrier);
    memset(garbage, 0xee, sizeof garbage);
    comes(carrier, garbage, sizeof garbage);
    assert_int_equal(link_read(&carrier->link, &why), -EPROTO);
    assert_non_null(why);
}

/* Rings. */

static struct ring_words mine, peers;
static _Alignas(64) uint8_t memory[2][RING];

static void
begin_rings(struct carrier *carrier)
{
    memset(&mine, 0, sizeof mine);
    memset(&peers, 0, sizeof peers);
    memset(memory, 0, sizeof memory);
    carrier->transport.class = &rings;
    ring_tx_init(&carrier->tx, memory[0], RING, &mine, &peers);
    ring_rx_init(&carrier->rx, memory[1], RING, &mine, &peers);
}

static void
link_rings(struct carrier *carrier)
{
    assert_int_equal(link_init(&carrier->link, &carrier->transport, RING, SYNC),
                     0);
}

/* The peer writes a header where it likes. */
static void
ring_holds(uint64_t at, struct record record)
{
    uint64_t words[2] = {record_first_word(&record),
                         record_second_word(&record)};

    memcpy(memory[1] + at, words, sizeof words);
}

static void
a_ring_of_notices_without_an_end_is_looked_at_once(void **state)
{
    struct carrier *carrier = *state;
    struct record found;

    begin_rings(carrier);
    link_rings(carrier);
    for (uint64_t at = 0; at < RING; at += RECORD_HEADER_SIZE) {
        struct record record = {.kind = RECORD_SUSPEND};
        record.sequence = (uint32_t)at;
        ring_holds(at, record);
    }
    assert_true(link_find_notice(&carrier->link, &found));
    assert_int_equal(found.sequence, RING - RECORD_HEADER_SIZE);
    assert_int_equal(carrier->link.rx.position, 0);
}

/* What the plainest of records may not be, either. */
static void
a_message_behind_bye_is_refused(void **state)
{
    struct carrier *carrier = *state;
    const char *why = NULL;
    struct record record = {.size = BYE_SIZE, .kind = RECORD_BYE};

    begin_rings(carrier);
    link_rings(carrier);
    ring_holds(0, record);
    assert_int_equal(link_peek(&carrier->link, &record, &why), 1);
    link_pass(&carrier->link, &record);
    ring_holds(ring_record_size(BYE_SIZE),
               (struct record){.kind = RECORD_RELIABLE, .sequence = 1});
    assert_int_equal(link_peek(&carrier->link, &record, &why), -EPROTO);
    assert_string_equal(why, "record after BYE");
    /* Nor may what is always refused. */
    ring_holds(ring_record_size(BYE_SIZE), (struct record){.kind = 99});
    assert_int_equal(link_peek(&carrier->link, &record, &why), -EPROTO);
    assert_string_equal(why, "record of an unknown kind");
}

static int barrier_says;

static int
barrier(void)
{
    return barrier_says;
}

/* A wish that may be overlooked is told, whichever of the two it is. */
static void
a_barrier_that_fails_is_told(void **state)
{
    struct carrier *carrier = *state;

    begin_rings(carrier);
    link_rings(carrier);
    struct link *link = &carrier->link;
    link->rx.fencing.barrier = link->tx.fencing.barrier = barrier;
    assert_int_equal(link_arm(link, 0), 0);
    barrier_says = -EPERM;
    link->rx.awake = true;
    assert_int_equal(link_arm(link, 0), -EPERM);
    link->rx.awake = true;
    link->tx.awake = true;
    assert_int_equal(link_arm(link, RING), -EPERM);
    link->tx.awake = true;
    assert_int_equal(link_arm(link, RING), -EPERM);
    assert_int_equal(link_arm(link, RING), 0);
    barrier_says = 0;
}

static void
a_ring_of_our_own_wakes_nobody(void **state)
{
    struct ring_tx ring;
    struct record record = {.kind = RECORD_DATAGRAM};

    begin_rings(*state);
    ring_tx_init(&ring, memory[0], RING, NULL, NULL);
    assert_true(ring_tx_put(&ring, &record, NULL));
    assert_false(ring_tx_must_wake(&ring));
}

/* No memory. */

static void
a_stream_without_memory_is_refused_and_leaves_nothing(void **state)
{
    struct carrier *carrier = *state;
    for (unsigned n = 1; n <= 2; n++) {
        scarce_arm("memory", n, ENOMEM);
        int error = link_init(&carrier->link, &carrier->transport, RING, SYNC);
        assert_true(scarce_disarm());
        assert_int_equal(error, -ENOMEM);
        assert_int_equal(link_memory(&carrier->link), 0);
    }
}

/* Messages 3 and 5 of 2 to 7 are in the ring; the others are skips. */
static void
what_is_salvaged_without_memory_is_told(void **state)
{
    struct carrier *carrier = *state;

    begin_rings(carrier);
    link_rings(carrier);
    for (uint32_t i = 3; i <= 5; i += 2) {
        struct record record = {
            .size = 4, .kind = RECORD_RELIABLE, .sequence = i};
        assert_int_equal(link_put(&carrier->link, &record, "text"), 0);
    }
    for (unsigned n = 1; n < 100; n++) {
        struct window window = {0};
        scarce_arm("memory", n, ENOMEM);
        int error = link_salvage(&carrier->link, 2, 7, 0, &window);
        bool failed = scarce_disarm();
        assert_int_equal(error, failed ? -ENOMEM : 0);
        size_t at = 0;
        struct window_entry entry;
        uint64_t next = 2;
        while (window_next(&window, &at, &entry)) {
            assert_int_equal(entry.sequence, next);
            assert_int_equal(entry.record.kind, next == 3 || next == 5
                                                    ? RECORD_RELIABLE
                                                    : RECORD_SKIP);
            next = entry.to + 1;
        }
        assert_true(failed ? next < 8 : next == 8);
        window_fini(&window);
        if (!failed) {
            assert_true(n > 2);
            return;
        }
    }
    fail_msg("it never has memory");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_pieces_is_whole_at_the_other_end),
        cmocka_unit_test_setup_teardown(what_does_not_go_is_tried_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_peer_who_fills_the_buffer_waits,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_buffer_has_no_more, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_turn_reads_a_bounded_number_of_bytes,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(garbage_behind_a_turns_share_is_found,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_ring_of_notices_without_an_end_is_looked_at_once, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(a_message_behind_bye_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_barrier_that_fails_is_told, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_ring_of_our_own_wakes_nobody, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_stream_without_memory_is_refused_and_leaves_nothing, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(what_is_salvaged_without_memory_is_told,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
