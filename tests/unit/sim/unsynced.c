/* SPDX-License-Identifier: Apache-2.0 */
/* When the power goes what was synced stays, and of what was not each sector is
 * as it was or as it became, whole, in any combination. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/prng.h"
#include "sim/unsynced.h"

#define SECTORS 8
#define SIZE (SECTORS * UNSYNCED_SECTOR)
#define TRIES 400

struct place {
    struct unsynced unsynced;
    int fd;
    struct prng prng;
};

static int
set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    char path[] = "/tmp/unsynced.XXXXXX";

    assert_non_null(place);
    place->fd = mkstemp(path);
    assert_true(place->fd >= 0);
    unlink(path);
    prng_init(&place->prng, 7);
    *state = place;
    return 0;
}

static int
tear_down(void **state)
{
    struct place *place = *state;

    unsynced_fini(&place->unsynced);
    close(place->fd);
    free(place);
    return 0;
}

static void
fill(struct place *place, char with, size_t at, size_t size)
{
    char bytes[SIZE];

    memset(bytes, with, sizeof bytes);
    unsynced_touch(&place->unsynced, place->fd, at, size);
    assert_int_equal(pwrite(place->fd, bytes, size, (off_t)at), size);
}

static void
cut(struct place *place, size_t at, size_t was)
{
    if (at < was) {
        unsynced_touch(&place->unsynced, place->fd, at, was - at);
    }
    assert_int_equal(ftruncate(place->fd, (off_t)at), 0);
}

/* All of it is 'with', on the disk. */
static void
begin(struct place *place, char with, size_t size)
{
    cut(place, 0, 0);
    fill(place, with, 0, size);
    unsynced_settle(&place->unsynced, place->fd);
}

/* What a sector is filled with; 0: with more than one thing. */
static char
sector(struct place *place, size_t i)
{
    char bytes[UNSYNCED_SECTOR];
    off_t at = (off_t)(i * UNSYNCED_SECTOR);
    ssize_t n = pread(place->fd, bytes, sizeof bytes, at);

    assert_int_equal(n, sizeof bytes);
    return memcmp(bytes, bytes + 1, sizeof bytes - 1) ? 0 : bytes[0];
}

static size_t
size_of(struct place *place)
{
    struct stat st;

    assert_int_equal(fstat(place->fd, &st), 0);
    return (size_t)st.st_size;
}

static void
what_was_synced_stays(void **state)
{
    struct place *place = *state;

    for (int i = 0; i < TRIES; i++) {
        begin(place, 'a', SIZE);
        fill(place, 'b', 0, SIZE);
        unsynced_settle(&place->unsynced, place->fd);
        fill(place, 'c', 0, UNSYNCED_SECTOR);
        unsynced_lose(&place->unsynced, place->fd, &place->prng);
        assert_int_equal(size_of(place), SIZE);
        for (size_t k = 1; k < SECTORS; k++) {
            assert_int_equal(sector(place, k), 'b');
        }
    }
}

static void
sectors_are_lost_whole_and_in_any_order(void **state)
{
    struct place *place = *state;
    unsigned n_first = 0, n_second = 0, n_all = 0, n_none = 0;

    for (int i = 0; i < TRIES; i++) {
        uint32_t n_old = 0;

        begin(place, 'a', SIZE);
        fill(place, 'b', 0, SIZE / 2);
        fill(place, 'c', SIZE / 2, SIZE / 2);
        uint32_t n = unsynced_lose(&place->unsynced, place->fd, &place->prng);
        for (size_t k = 0; k < SECTORS; k++) {
            char new = k < SECTORS / 2 ? 'b' : 'c';

            assert_true(sector(place, k) == 'a' || sector(place, k) == new);
            n_old += sector(place, k) == 'a';
        }
        assert_int_equal(n, n_old);
        bool first = sector(place, 0) == 'b', last = sector(place, 7) == 'c';
        n_first += first && !last;
        n_second += last && !first; /* Written later, and there. */
        n_all += n_old == SECTORS;
        n_none += n_old == 0;
    }
    assert_true(n_first && n_second && n_all && n_none);
}

static void
a_length_is_the_old_one_or_a_newer(void **state)
{
    struct place *place = *state;
    unsigned n_short = 0, n_long = 0;

    for (int i = 0; i < TRIES; i++) {
        begin(place, 'a', SIZE / 2);
        fill(place, 'b', SIZE / 2, SIZE / 2);
        unsynced_lose(&place->unsynced, place->fd, &place->prng);
        assert_in_range(size_of(place), SIZE / 2, SIZE);
        for (size_t k = 0; k < size_of(place) / UNSYNCED_SECTOR; k++) {
            /* What was never written is zeros. */
            assert_true(k < SECTORS / 2
                            ? sector(place, k) == 'a'
                            : sector(place, k) == 'b' || !sector(place, k));
        }
        n_short += size_of(place) == SIZE / 2;
        n_long += size_of(place) == SIZE;
    }
    assert_true(n_short && n_long);
}

static void
what_was_cut_off_comes_back_with_the_length(void **state)
{
    struct place *place = *state;
    unsigned n_short = 0, n_long = 0;

    for (int i = 0; i < TRIES; i++) {
        begin(place, 'a', SIZE);
        cut(place, UNSYNCED_SECTOR, SIZE);
        unsynced_lose(&place->unsynced, place->fd, &place->prng);
        n_short += size_of(place) == UNSYNCED_SECTOR;
        n_long += size_of(place) == SIZE;
        for (size_t k = 0; k < size_of(place) / UNSYNCED_SECTOR; k++) {
            assert_int_equal(sector(place, k), 'a');
        }
    }
    assert_int_equal(n_short + n_long, TRIES);
    assert_true(n_short && n_long);
}

static void
the_same_seed_loses_the_same(void **state)
{
    struct place *place = *state;
    char lost[2][SECTORS];

    for (int i = 0; i < 2; i++) {
        prng_init(&place->prng, 3);
        begin(place, 'a', SIZE);
        fill(place, 'b', 0, SIZE);
        unsynced_lose(&place->unsynced, place->fd, &place->prng);
        for (size_t k = 0; k < SECTORS; k++) {
            lost[i][k] = sector(place, k);
        }
    }
    assert_memory_equal(lost[0], lost[1], SECTORS);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(what_was_synced_stays),
        IN_PLACE(sectors_are_lost_whole_and_in_any_order),
        IN_PLACE(a_length_is_the_old_one_or_a_newer),
        IN_PLACE(what_was_cut_off_comes_back_with_the_length),
        IN_PLACE(the_same_seed_loses_the_same),
    };

    alarm(60);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
