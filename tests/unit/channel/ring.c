/* SPDX-License-Identifier: Apache-2.0 */
/* The ring: records come out as they went in, across the ring's end too; a full
 * one waits; and whatever the other side writes, we stay inside. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "transport/ring.h"

#define SIZE RING_SIZE_MIN
#define GUARD 4096

struct pair {
    struct ring_words words[2];
    uint8_t *memory; /* The ring, between guards. */
    struct ring_tx tx;
    struct ring_rx rx;
    sem_t wake;
};

static int
set_up(void **state)
{
    struct pair *pair = aligned_alloc(128, sizeof *pair);
    assert_non_null(pair);
    memset(pair, 0, sizeof *pair);
    pair->memory = aligned_alloc(64, SIZE + 2 * GUARD);
    assert_non_null(pair->memory);
    memset(pair->memory, 0xa5, SIZE + 2 * GUARD);
    memset(pair->memory + GUARD, 0, SIZE);
    ring_tx_init(&pair->tx, pair->memory + GUARD, SIZE, &pair->words[0],
                 &pair->words[1]);
    ring_rx_init(&pair->rx, pair->memory + GUARD, SIZE, &pair->words[1],
                 &pair->words[0]);
    *state = pair;
    return 0;
}

static int
tear_down(void **state)
{
    struct pair *pair = *state;
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(pair->memory[i], 0xa5);
        assert_int_equal(pair->memory[GUARD + SIZE + i], 0xa5);
    }
    free(pair->memory);
    free(pair);
    return 0;
}

static bool
put(struct pair *pair, uint32_t size, uint32_t sequence)
{
    uint8_t *to = ring_tx_reserve(&pair->tx, size);
    if (!to) {
        return false;
    }
    memset(to, (int)(sequence & 0xff), size);
    struct record record = {.size = size, .kind = RECORD_RELIABLE};
    record.sequence = sequence;
    record.attachment = 5;
    ring_tx_commit(&pair->tx, &record);
    return true;
}

/* Takes the next record, which must be this one. */
static void
take(struct pair *pair, uint32_t size, uint32_t sequence)
{
    struct record record;
    const char *why = NULL;
    assert_int_equal(ring_rx_peek(&pair->rx, &record, &why), 1);
    assert_int_equal(record.size, size);
    assert_int_equal(record.sequence, sequence);
    assert_int_equal(record.attachment, 5);
    const uint8_t *payload = ring_rx_payload(&pair->rx);
    for (uint32_t i = 0; i < size; i++) {
        assert_int_equal(payload[i], sequence & 0xff);
    }
    ring_rx_consume(&pair->rx, &record);
}

static void
assert_empty(struct pair *pair)
{
    struct record record;
    const char *why = NULL;
    assert_int_equal(ring_rx_peek(&pair->rx, &record, &why), 0);
}

static void
refresh(struct pair *pair)
{
    uint64_t acked;
    assert_int_equal(ring_tx_refresh(&pair->tx, &acked), 0);
}

static void
an_empty_ring_has_nothing(void **state)
{
    assert_empty(*state);
}

static void
nothing_is_seen_before_it_is_committed(void **state)
{
    struct pair *pair = *state;
    uint8_t *to = ring_tx_reserve(&pair->tx, 100);
    memset(to, 0xff, 100);
    assert_empty(pair);
}

static bool
add(struct pair *pair, struct ring_run *run, uint32_t size, uint32_t sequence)
{
    uint8_t payload[SIZE];
    memset(payload, (int)(sequence & 0xff), size);
    struct record record = {.size = size, .kind = RECORD_RELIABLE};
    record.sequence = sequence;
    record.attachment = 5;
    return ring_tx_add(&pair->tx, run, &record, payload);
}

static void
a_run_is_seen_at_its_end_and_whole(void **state)
{
    struct pair *pair = *state;
    memset(pair->memory + GUARD + 16, 0x01, SIZE - 16); /* All of it headers. */
    struct ring_run run;
    ring_tx_begin(&pair->tx, &run);
    ring_tx_end(&pair->tx, &run); /* Nothing: nothing changes. */
    assert_empty(pair);
    ring_tx_begin(&pair->tx, &run);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_true(add(pair, &run, 70 * i, i));
        assert_empty(pair);
    }
    ring_tx_end(&pair->tx, &run);
    for (uint32_t i = 1; i <= 3; i++) {
        take(pair, 70 * i, i);
    }
    assert_empty(pair);
}

static void
a_run_ends_before_the_ring_does_and_when_it_is_full(void **state)
{
    struct pair *pair = *state;
    uint32_t first = 1, n = 1, n_turns = 0;
    while (n_turns < 50) {
        struct ring_run run;
        ring_tx_begin(&pair->tx, &run);
        while (add(pair, &run, 100 + n % 200, n)) {
            n++;
        }
        ring_tx_end(&pair->tx, &run);
        /* What the run had no place for goes by itself, round the end. */
        n += put(pair, 100 + n % 200, n);
        for (; first < n; first++) {
            take(pair, 100 + first % 200, first);
        }
        assert_empty(pair);
        assert_true(pair->tx.head - pair->tx.tail <= SIZE);
        n_turns++;
        ring_rx_release(&pair->rx, pair->rx.position, n);
        refresh(pair);
    }
    assert_true(pair->tx.head > 20 * (uint64_t)SIZE);
}

static void
what_a_former_round_left_is_not_a_record(void **state)
{
    /* Fill and empty with payloads that look like headers, then go round. */
    struct pair *pair = *state;
    for (uint32_t i = 1; i < 500; i++) {
        uint8_t *to = ring_tx_reserve(&pair->tx, 200);
        assert_non_null(to);
        memset(to, 0x01, 200);
        struct record record = {.size = 200, .kind = RECORD_RELIABLE};
        ring_tx_commit(&pair->tx, &record);
        const char *why;
        assert_int_equal(ring_rx_peek(&pair->rx, &record, &why), 1);
        ring_rx_consume(&pair->rx, &record);
        assert_empty(pair);
        ring_rx_release(&pair->rx, pair->rx.position, i);
        refresh(pair);
    }
}

static void
records_of_all_sizes_go_round(void **state)
{
    struct pair *pair = *state;
    struct prng prng;
    uint32_t sizes[64];
    uint32_t n_put = 0, n_taken = 0;
    prng_init(&prng, 7);
    while (n_taken < 20000) {
        if (prng_below(&prng, 2)) {
            uint32_t size = (uint32_t)prng_below(&prng, SIZE / 8 + 1);
            if (put(pair, size, n_put)) {
                sizes[n_put++ % 64] = size;
            }
        } else if (n_taken < n_put) {
            take(pair, sizes[n_taken % 64], n_taken);
            n_taken++;
            ring_rx_release(&pair->rx, pair->rx.position, n_taken);
        } else {
            assert_empty(pair);
        }
        refresh(pair);
        assert_true(pair->tx.head - pair->tx.tail <= SIZE - RING_ALIGN);
    }
}

static void
a_full_ring_waits_for_its_reader(void **state)
{
    struct pair *pair = *state;
    uint32_t n = 0;
    while (put(pair, 48, n)) {
        n++;
    }
    /* One slot is kept free for the zeroed header. */
    assert_int_equal(n, SIZE / 64 - 1);
    refresh(pair);
    assert_false(put(pair, 48, n));
    take(pair, 48, 0);
    refresh(pair);
    assert_false(put(pair, 48, n)); /* Taken is not yet given back. */
    ring_rx_release(&pair->rx, pair->rx.position, 1);
    refresh(pair);
    assert_true(put(pair, 48, n));
    assert_false(put(pair, 48, n));
    for (uint32_t i = 1; i <= n; i++) {
        take(pair, 48, i);
    }
    assert_empty(pair);
}

static void
the_largest_message_fits_wherever_the_ring_stands(void **state)
{
    struct pair *pair = *state;
    uint32_t max = ring_message_max(SIZE);
    for (uint32_t i = 0; i < 300; i++) {
        assert_true(put(pair, max, i));
        take(pair, max, i);
        assert_true(put(pair, (i * 37) % 100, i));
        take(pair, (i * 37) % 100, i);
        ring_rx_release(&pair->rx, pair->rx.position, i);
        refresh(pair);
    }
}

static void
acknowledgement_travels_with_the_room(void **state)
{
    struct pair *pair = *state;
    uint64_t acked = 99;
    assert_true(put(pair, 10, 1));
    take(pair, 10, 1);
    assert_int_equal(ring_tx_refresh(&pair->tx, &acked), 0);
    assert_int_equal(acked, 0);
    ring_rx_release(&pair->rx, pair->rx.position, 1);
    assert_int_equal(ring_tx_refresh(&pair->tx, &acked), 0);
    assert_int_equal(acked, 1);
    assert_int_equal(pair->tx.tail, pair->tx.head);
}

/* Waking. */

static void
only_a_sleeper_is_woken_and_only_once(void **state)
{
    struct pair *pair = *state;
    assert_true(put(pair, 10, 1));
    assert_false(ring_tx_must_wake(&pair->tx)); /* Nobody sleeps. */
    take(pair, 10, 1);
    ring_rx_arm(&pair->rx);
    assert_false(ring_tx_must_wake(&pair->tx)); /* Nothing new. */
    assert_true(put(pair, 10, 2));
    assert_true(ring_tx_must_wake(&pair->tx));
    assert_true(put(pair, 10, 3));
    assert_false(ring_tx_must_wake(&pair->tx)); /* It is awake. */
    take(pair, 10, 2);
    take(pair, 10, 3);
    assert_true(put(pair, 10, 4));
    assert_false(ring_tx_must_wake(&pair->tx)); /* It never slept again. */
}

static void
a_batch_wakes_whoever_waits_for_its_first(void **state)
{
    struct pair *pair = *state;
    ring_rx_arm(&pair->rx);
    for (uint32_t i = 0; i < 10; i++) {
        assert_true(put(pair, 100, i));
    }
    assert_true(ring_tx_must_wake(&pair->tx));
    assert_false(ring_tx_must_wake(&pair->tx));
}

static void
a_waiting_producer_is_woken_when_its_record_fits(void **state)
{
    struct pair *pair = *state;
    uint32_t n = 0;
    while (put(pair, 48, n)) {
        n++;
    }
    ring_tx_arm(&pair->tx, ring_tx_position_for(&pair->tx, 500));
    bool woken = false;
    for (uint32_t i = 0; i < n; i++) {
        bool had_room = ring_tx_has_room(&pair->tx, 500);
        assert_int_equal(had_room, woken);
        take(pair, 48, i);
        bool wake = ring_rx_release(&pair->rx, pair->rx.position, i);
        assert_false(wake && woken);
        woken |= wake;
        refresh(pair);
    }
    assert_true(woken);
}

/* Staying awake. */

static unsigned n_barriers;
static int barrier_error;

static int
count_barrier(void)
{
    n_barriers++;
    return barrier_error;
}

static void
let_issue_barriers(struct pair *pair)
{
    pair->tx.fencing.barrier = pair->rx.fencing.barrier = count_barrier;
    pair->tx.fencing.registered = pair->rx.fencing.registered = true;
    n_barriers = 0;
    barrier_error = 0;
}

/* Until the reader has been awake for long. */
static void
be_busy(struct pair *pair)
{
    for (uint64_t done = 0; done <= RING_AWAKE_AFTER; done += 128) {
        assert_true(put(pair, 100, 1));
        take(pair, 100, 1);
        (void)ring_rx_release(&pair->rx, pair->rx.position, 1);
        refresh(pair);
    }
}

static void
who_stays_awake_issues_a_barrier_before_its_first_sleep(void **state)
{
    struct pair *pair = *state;
    let_issue_barriers(pair);
    assert_int_equal(ring_rx_arm(&pair->rx), 0);
    assert_int_equal(n_barriers, 0); /* The other side fences still. */
    be_busy(pair);
    assert_int_equal(pair->words[1].data_event, RING_AWAKE);
    assert_int_equal(pair->words[0].space_event, RING_AWAKE);
    assert_true(put(pair, 10, 2));
    assert_false(ring_tx_must_wake(&pair->tx));
    take(pair, 10, 2);
    assert_int_equal(ring_rx_arm(&pair->rx), 0);
    assert_int_equal(n_barriers, 1);
    assert_int_equal(ring_rx_arm(&pair->rx), 0);
    assert_int_equal(n_barriers, 1);
    assert_int_equal(ring_tx_arm(&pair->tx, 10), 0);
    assert_int_equal(n_barriers, 2);
    assert_true(put(pair, 10, 3));
    assert_true(ring_tx_must_wake(&pair->tx));
}

static void
a_barrier_that_fails_is_told_and_not_needed_again(void **state)
{
    struct pair *pair = *state;
    let_issue_barriers(pair);
    be_busy(pair);
    barrier_error = -EPERM;
    assert_int_equal(ring_rx_arm(&pair->rx), -EPERM);
    assert_int_equal(ring_rx_arm(&pair->rx), 0);
    assert_int_equal(n_barriers, 1);
}

static void
without_barriers_nobody_says_that_it_is_awake(void **state)
{
    struct pair *pair = *state;
    be_busy(pair);
    assert_int_equal(pair->words[1].data_event, 0);
    assert_int_equal(pair->words[0].space_event, 0);
    /* And one whom the peer's barriers would not reach looks with a fence. */
    assert_int_equal(ring_rx_arm(&pair->rx), 0);
    pair->words[1].data_event |= RING_AWAKE;
    assert_true(put(pair, 10, 1));
    assert_true(ring_tx_must_wake(&pair->tx));
}

/* Two threads. */

#define N_RACED 100000u

static void *
produce(void *arg)
{
    struct pair *pair = arg;
    for (uint32_t i = 0; i < N_RACED; i++) {
        while (!put(pair, i % 200, i)) {
            refresh(pair);
            sched_yield();
        }
        (void)ring_tx_must_wake(&pair->tx);
    }
    return NULL;
}

static void
records_are_whole_when_another_thread_sees_them(void **state)
{
    struct pair *pair = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, produce, pair), 0);
    for (uint32_t i = 0; i < N_RACED; i++) {
        struct record record;
        const char *why;
        while (!ring_rx_peek(&pair->rx, &record, &why)) {
            sched_yield();
        }
        take(pair, i % 200, i);
        if (pair->rx.position - pair->rx.released >= SIZE / 8) {
            ring_rx_release(&pair->rx, pair->rx.position, i);
        }
    }
    pthread_join(thread, NULL);
}

static void *
produce_for_a_sleeper(void *arg)
{
    struct pair *pair = arg;
    for (uint32_t i = 0; i < N_RACED; i++) {
        while (!put(pair, 8, i)) {
            refresh(pair);
            sched_yield();
        }
        if (ring_tx_must_wake(&pair->tx)) {
            sem_post(&pair->wake);
        }
    }
    return NULL;
}

static void
no_wake_is_lost_between_two_threads(void **state)
{
    /* One lost wake would leave the reader asleep until the test's end. */
    struct pair *pair = *state;
    pthread_t thread;
    assert_int_equal(sem_init(&pair->wake, 0, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, produce_for_a_sleeper, pair),
                     0);
    for (uint32_t i = 0; i < N_RACED; i++) {
        struct record record;
        const char *why;
        while (!ring_rx_peek(&pair->rx, &record, &why)) {
            ring_rx_release(&pair->rx, pair->rx.position, i);
            ring_rx_arm(&pair->rx);
            if (!ring_rx_peek(&pair->rx, &record, &why)) {
                sem_wait(&pair->wake);
            }
        }
        take(pair, 8, i);
    }
    pthread_join(thread, NULL);
    sem_destroy(&pair->wake);
}

/* The other side lies. */

static _Atomic uint64_t *
header(struct pair *pair, unsigned word)
{
    return (_Atomic uint64_t *)(void *)(pair->memory + GUARD +
                                        (pair->rx.position & (SIZE - 1)) +
                                        8 * word);
}

static void
expect_refused(struct pair *pair, uint64_t first)
{
    struct record record;
    const char *why = NULL;
    *header(pair, 0) = first;
    assert_int_equal(ring_rx_peek(&pair->rx, &record, &why), -EPROTO);
    assert_non_null(why);
}

static void
impossible_headers_are_refused(void **state)
{
    struct pair *pair = *state;
    uint64_t reliable = (uint64_t)RECORD_RELIABLE << 32;
    uint64_t pad = (uint64_t)RECORD_PAD << 32;
    expect_refused(pair, reliable | UINT32_MAX);
    expect_refused(pair, reliable | SIZE);
    expect_refused(pair, reliable | (ring_message_max(SIZE) + 1));
    /* A pad at the start would fill the ring; one must reach the end. */
    expect_refused(pair, pad | (SIZE - 16));
    expect_refused(pair, pad | 48);
    *header(pair, 0) = 0;
    /* Near the end, a size that would do elsewhere runs over. */
    pair->rx.position = SIZE - 64;
    expect_refused(pair, reliable | 49);
    expect_refused(pair, pad | 47);
}

static void
a_pad_leads_to_the_start_and_no_further(void **state)
{
    struct pair *pair = *state;
    struct record record;
    const char *why = NULL;
    uint64_t pad = (uint64_t)RECORD_PAD << 32;
    *header(pair, 0) = pad | (SIZE - 16); /* Where a second would be. */
    pair->rx.position = SIZE - 64;
    *header(pair, 0) = pad | 48;
    assert_int_equal(ring_rx_peek(&pair->rx, &record, &why), -EPROTO);
}

static void
room_that_was_never_taken_is_not_given_back(void **state)
{
    struct pair *pair = *state;
    uint64_t acked;
    assert_true(put(pair, 100, 1)); /* 128 bytes. */
    static const uint64_t lies[] = {
        192, 1, 63, 127, UINT64_MAX, SIZE, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        pair->words[1].released = lies[i];
        assert_int_equal(ring_tx_refresh(&pair->tx, &acked), -EPROTO);
    }
    pair->words[1].released = 128;
    assert_int_equal(ring_tx_refresh(&pair->tx, &acked), 0);
    pair->words[1].released = 64; /* And not taken back. */
    assert_int_equal(ring_tx_refresh(&pair->tx, &acked), -EPROTO);
}

static void
random_memory_is_refused_or_stays_inside(void **state)
{
    struct pair *pair = *state;
    struct prng prng;
    prng_init(&prng, 3);
    for (int round = 0; round < 20000; round++) {
        struct record record;
        const char *why;
        for (size_t at = 0; at < SIZE; at += RING_ALIGN) {
            uint64_t *words = (uint64_t *)(void *)(pair->memory + GUARD + at);
            words[0] = prng_u64(&prng) & UINT64_C(0x00000007000003ff);
        }
        for (int i = 0; i < 100; i++) {
            if (ring_rx_peek(&pair->rx, &record, &why) != 1) {
                break;
            }
            const uint8_t *payload = ring_rx_payload(&pair->rx);
            assert_true(payload >= pair->memory + GUARD);
            assert_true(payload + record.size <= pair->memory + GUARD + SIZE);
            ring_rx_consume(&pair->rx, &record);
        }
    }
}

static void
sizes_that_are_no_ring_are_known(void **state)
{
    assert_false(ring_size_valid(0));
    assert_false(ring_size_valid(2048));
    assert_true(ring_size_valid(4096));
    assert_false(ring_size_valid(4097));
    assert_false(ring_size_valid(3 * 4096));
    assert_true(ring_size_valid(64 << 20));
    assert_false(ring_size_valid(128 << 20));
    assert_int_equal(ring_message_max(4096), 512);
    assert_int_equal(ring_message_max(65536), 8192);
    assert_int_equal(ring_message_max(1 << 20), 65536);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_ring_has_nothing),
        TEST(nothing_is_seen_before_it_is_committed),
        TEST(a_run_is_seen_at_its_end_and_whole),
        TEST(a_run_ends_before_the_ring_does_and_when_it_is_full),
        TEST(what_a_former_round_left_is_not_a_record),
        TEST(records_of_all_sizes_go_round),
        TEST(a_full_ring_waits_for_its_reader),
        TEST(the_largest_message_fits_wherever_the_ring_stands),
        TEST(acknowledgement_travels_with_the_room),
        TEST(only_a_sleeper_is_woken_and_only_once),
        TEST(a_batch_wakes_whoever_waits_for_its_first),
        TEST(a_waiting_producer_is_woken_when_its_record_fits),
        TEST(who_stays_awake_issues_a_barrier_before_its_first_sleep),
        TEST(a_barrier_that_fails_is_told_and_not_needed_again),
        TEST(without_barriers_nobody_says_that_it_is_awake),
        TEST(records_are_whole_when_another_thread_sees_them),
        TEST(no_wake_is_lost_between_two_threads),
        TEST(impossible_headers_are_refused),
        TEST(a_pad_leads_to_the_start_and_no_further),
        TEST(room_that_was_never_taken_is_not_given_back),
        TEST(random_memory_is_refused_or_stays_inside),
        cmocka_unit_test(sizes_that_are_no_ring_are_known),
    };
    return cmocka_run_group_tests_name("channel/ring", tests, NULL, NULL);
}
