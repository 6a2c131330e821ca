/* SPDX-License-Identifier: Apache-2.0 */
/* The book of what an end lends, and that of what it was lent: chunks never
 * overlap, nobody gives back what he does not have, what was split is joined
 * again, and the memory is nobody's to write but its owner's. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/prng.h"
#include "channel/lending/lent.h"
#include "channel/lending/slab.h"
#include "transport/passing.h"
#include "transport/returns.h"

#define UNITS 37 /* No power of two. */
#define SIZE ((uint64_t)UNITS * SLAB_UNIT)

struct book {
    struct slab *slab;
    int fd;
};

static int
set_up(void **state)
{
    static struct book book;
    assert_int_equal(slab_create(&book.slab, SIZE, &book.fd), 0);
    *state = &book;
    return 0;
}

static int
tear_down(void **state)
{
    struct book *book = *state;
    slab_destroy(book->slab);
    close(book->fd);
    return 0;
}

/* Chunks. */

static void
a_chunk_is_the_next_power_of_two_and_aligned(void **state)
{
    struct slab *slab = ((struct book *)*state)->slab;
    static const struct {
        size_t size, chunk;
    } cases[] = {{0, 4096},    {1, 4096},     {4096, 4096},   {4097, 8192},
                 {8192, 8192}, {8193, 16384}, {12289, 16384}, {16385, 32768}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t unit = slab_take(slab, cases[i].size);
        assert_true(unit >= 0);
        assert_int_equal(slab_chunk_size(slab, (uint32_t)unit), cases[i].chunk);
        assert_int_equal((uint64_t)unit * SLAB_UNIT % cases[i].chunk, 0);
        slab_untake(slab, (uint32_t)unit);
    }
}

static void
what_never_fits_differs_from_what_does_not_fit_now(void **state)
{
    struct slab *slab = ((struct book *)*state)->slab;
    /* The largest power of two in 37 units is 32. */
    assert_int_equal(slab_take(slab, 32 * SLAB_UNIT + 1), -EMSGSIZE);
    assert_int_equal(slab_take(slab, SIZE_MAX), -EMSGSIZE);
    int64_t unit = slab_take(slab, 32 * SLAB_UNIT);
    assert_true(unit >= 0);
    assert_int_equal(slab_take(slab, 32 * SLAB_UNIT), -EAGAIN);
    assert_false(slab_may_take(slab, 32 * SLAB_UNIT));
    slab_untake(slab, (uint32_t)unit);
    assert_true(slab_may_take(slab, 32 * SLAB_UNIT));
    assert_true(slab_take(slab, 32 * SLAB_UNIT) >= 0);
}

static void
every_byte_can_be_lent(void **state)
{
    struct slab *slab = ((struct book *)*state)->slab;
    bool seen[UNITS] = {0};
    for (int i = 0; i < UNITS; i++) {
        int64_t unit = slab_take(slab, SLAB_UNIT);
        assert_true(unit >= 0 && unit < UNITS);
        assert_false(seen[unit]);
        seen[unit] = true;
    }
    assert_int_equal(slab_take(slab, 1), -EAGAIN);
    assert_int_equal(slab->n_taken, UNITS);
}

static void
small_chunks_are_joined_to_large_ones(void **state)
{
    struct slab *slab = ((struct book *)*state)->slab;
    int64_t units[UNITS];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < UNITS; i++) {
            units[i] = slab_take(slab, SLAB_UNIT);
        }
        for (int i = 0; i < UNITS; i++) {
            /* In an order that is neither theirs nor its reverse. */
            slab_untake(slab, (uint32_t)units[i * 7 % UNITS]);
        }
        int64_t large = slab_take(slab, 32 * SLAB_UNIT);
        assert_int_equal(large, 0);
        slab_untake(slab, 0);
    }
    /* One small one in the middle: halves of it remain. */
    for (int i = 0; i < UNITS; i++) {
        assert_true(slab_take(slab, 1) >= 0);
    }
    for (uint32_t i = 0; i < UNITS; i++) {
        if (i != 9) {
            slab_untake(slab, i);
        }
    }
    assert_int_equal(slab_take(slab, 32 * SLAB_UNIT), -EAGAIN);
    assert_int_equal(slab_take(slab, 16 * SLAB_UNIT), 16);
    assert_int_equal(slab_take(slab, 8 * SLAB_UNIT), 0);
    assert_int_equal(slab_take(slab, 8 * SLAB_UNIT), -EAGAIN);
}

static void
the_last_chunk_back_is_the_first_to_go(void **state)
{
    struct slab *slab = ((struct book *)*state)->slab;
    int64_t a = slab_take(slab, 8192), b = slab_take(slab, 8192);
    slab_untake(slab, (uint32_t)a);
    slab_untake(slab, (uint32_t)b);
    assert_int_equal(slab_take(slab, 8192), b);
    assert_int_equal(slab_take(slab, 8192), a);
}

/* Who has what. */

static void
only_what_is_lent_comes_back_and_once(void **state)
{
    struct slab *slab = ((struct book *)*state)->slab;
    uint32_t unit = (uint32_t)slab_take(slab, 8192);
    uint64_t handle = slab_handle(slab, unit);
    assert_int_equal(slab_give_back(slab, handle), -EPROTO); /* Not lent. */
    slab_lend(slab, unit, 1);
    assert_int_equal(slab->n_lent, 1);
    assert_int_equal(slab_give_back(slab, handle + 1), -EPROTO);
    assert_int_equal(slab_give_back(slab, handle + (UINT64_C(1) << 32)),
                     -EPROTO);
    assert_int_equal(slab_give_back(slab, UINT32_MAX), -EPROTO);
    assert_int_equal(slab_give_back(slab, UNITS), -EPROTO);
    assert_int_equal(slab_give_back(slab, 0), -EPROTO);
    assert_int_equal(slab_give_back(slab, handle), 0);
    assert_int_equal(slab->n_lent, 0);
    assert_int_equal(slab_give_back(slab, handle), -EPROTO); /* Again. */
}

static void
a_chunk_lent_anew_has_another_handle(void **state)
{
    struct slab *slab = ((struct book *)*state)->slab;
    uint32_t unit = (uint32_t)slab_take(slab, 4096);
    uint64_t former = slab_handle(slab, unit);
    slab_lend(slab, unit, 1);
    assert_int_equal(slab_give_back(slab, former), 0);
    assert_int_equal(slab_take(slab, 4096), unit);
    assert_int_equal(slab_find(slab, slab_data(slab, unit), former), -ENOENT);
    slab_lend(slab, unit, 2);
    assert_int_equal(slab_give_back(slab, former), -EPROTO);
    assert_int_equal(slab_give_back(slab, slab_handle(slab, unit)), 0);
}

static void
a_generation_is_never_zero(void **state)
{
    struct slab *slab = ((struct book *)*state)->slab;
    uint32_t unit = (uint32_t)slab_take(slab, 4096);
    slab->units[unit].generation = UINT32_MAX;
    slab_untake(slab, unit);
    assert_int_equal(slab_take(slab, 4096), unit);
    assert_int_equal(slab_handle(slab, unit) >> 32, 1);
}

static void
a_loan_is_found_by_place_handle_and_number(void **state)
{
    struct slab *slab = ((struct book *)*state)->slab;
    uint32_t unit = (uint32_t)slab_take(slab, 8192);
    uint64_t handle = slab_handle(slab, unit);
    uint8_t *data = slab_data(slab, unit);
    assert_int_equal(slab_find(slab, data, handle), unit);
    assert_int_equal(slab_find(slab, data + 1, handle), -ENOENT);
    assert_int_equal(slab_find(slab, NULL, handle), -ENOENT);
    assert_int_equal(slab_find(slab, data, UINT64_MAX), -ENOENT);
    assert_int_equal(slab_find_lent(slab, handle, 7), -ENOENT);
    slab_lend(slab, unit, 7);
    assert_int_equal(slab_find(slab, data, handle), -ENOENT); /* It is sent. */
    assert_int_equal(slab_find_lent(slab, handle, 7), unit);
    assert_int_equal(slab_find_lent(slab, handle, 8), -ENOENT);
}

/* Anything may happen. */

#define HOLD_MAX 64

struct held {
    uint32_t unit;
    size_t size;
    bool lent;
    uint8_t mark;
};

static void
put_held(struct slab *slab, struct prng *prng, struct held *held,
         unsigned *n_held)
{
    size_t size = 1 + prng_below(prng, 10 * SLAB_UNIT);
    int64_t unit = *n_held < HOLD_MAX ? slab_take(slab, size) : -EAGAIN;
    if (unit >= 0) {
        struct held *new = &held[(*n_held)++];
        new->unit = (uint32_t)unit;
        new->size = slab_chunk_size(slab, new->unit);
        assert_true(new->size >= size &&new->size < 2 * size + SLAB_UNIT);
        new->mark = (uint8_t)prng_u64(prng);
        memset(slab_data(slab, new->unit), new->mark, new->size);
        new->lent = prng_below(prng, 2);
        if (new->lent) {
            slab_lend(slab, new->unit, 0);
        }
    }
}

static void
remove_held(struct slab *slab, struct prng *prng, struct held *held,
            unsigned *n_held)
{
    struct held *old = &held[prng_below(prng, *n_held)];
    uint8_t *data = slab_data(slab, old->unit);
    for (size_t i = 0; i < old->size; i += 512) {
        assert_int_equal(data[i], old->mark); /* Nobody else had it. */
    }
    if (old->lent) {
        uint64_t handle = slab_handle(slab, old->unit);
        assert_int_equal(slab_give_back(slab, handle), 0);
    } else {
        slab_untake(slab, old->unit);
    }
    *old = held[--*n_held];
}

static void
chunks_never_overlap_whatever_is_lent(void **state)
{
    struct slab *slab = ((struct book *)*state)->slab;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct held held[HOLD_MAX];
        unsigned n_held = 0;
        struct prng prng;
        prng_init(&prng, seed);
        for (int i = 0; i < 2000; i++) {
            if (n_held && prng_below(&prng, 100) < 48) {
                remove_held(slab, &prng, held, &n_held);
            } else {
                put_held(slab, &prng, held, &n_held);
            }
        }
        while (n_held) {
            remove_held(slab, &prng, held, &n_held);
        }
        assert_int_equal(slab->n_taken + slab->n_lent, 0);
        assert_int_equal(slab_take(slab, 32 * SLAB_UNIT), 0);
        slab_untake(slab, 0);
    }
}

/* Memory. */

static void
who_is_lent_can_read_and_never_write(void **state)
{
    struct book *book = *state;
    book->slab->memory[4096] = 42;
    uint8_t *memory = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, book->fd, 0);
    assert_true(memory != MAP_FAILED);
    assert_int_equal(memory[4096], 42);
    book->slab->memory[4096] = 43; /* The owner still can. */
    assert_int_equal(memory[4096], 43);
    assert_int_equal(mprotect(memory, SIZE, PROT_READ | PROT_WRITE), -1);
    assert_ptr_equal(
        mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, book->fd, 0),
        MAP_FAILED);
    assert_int_equal(pwrite(book->fd, "x", 1, 0), -1);
    assert_int_equal(fallocate(book->fd,
                               FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                               4096),
                     -1);
    assert_int_equal(ftruncate(book->fd, 0), -1);
    assert_int_equal(ftruncate(book->fd, 2 * SIZE), -1);
    assert_int_equal(fcntl(book->fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    munmap(memory, SIZE);
}

static void
memory_is_not_used_before_it_is_lent(void **state)
{
    struct slab *slab;
    struct stat status;
    int fd;
    assert_int_equal(slab_create(&slab, UINT64_C(1) << 30, &fd), 0);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_blocks, 0);
    uint32_t unit = (uint32_t)slab_take(slab, 65536);
    slab_data(slab, unit)[0] = 1;
    assert_int_equal(fstat(fd, &status), 0);
    assert_true(status.st_blocks * 512 <= 65536);
    slab_destroy(slab);
    close(fd);
}

/* The other side. */

static void
expect_loan_refused(struct lent *lent, uint64_t handle, uint64_t size,
                    const char *reason)
{
    uint8_t loan[LOAN_SIZE];
    struct lent_chunk chunk;
    const char *why = NULL;
    loan_put(loan, handle, size);
    assert_int_equal(lent_open(lent, loan, &chunk, &why), -EPROTO);
    assert_string_equal(why, reason);
}

static void
a_loan_must_lie_within_what_was_shared(void **state)
{
    struct book *book = *state;
    struct lent *lent;
    const uint64_t first = UINT64_C(1) << 32; /* Generation 1. */
    const char *outside = "loan of what was not shared";
    assert_int_equal(lent_create(&lent, book->fd, SIZE), 0);
    expect_loan_refused(lent, first | UNITS, 1, outside);
    expect_loan_refused(lent, first | UINT32_MAX, 1, outside);
    expect_loan_refused(lent, first | 36, 4097, outside);
    expect_loan_refused(lent, first | 36, UINT64_MAX, outside);
    expect_loan_refused(lent, first, SIZE + 1, outside);
    expect_loan_refused(lent, first | 1, UINT64_MAX - 4095, outside);
    expect_loan_refused(lent, 5, 1, "loan of what is lent already");
    uint8_t loan[LOAN_SIZE];
    struct lent_chunk chunk;
    const char *why;
    loan_put(loan, first, SIZE);
    assert_int_equal(lent_open(lent, loan, &chunk, &why), 0);
    assert_int_equal(chunk.size, SIZE);
    loan_put(loan, first | 36, 4096);
    assert_int_equal(lent_open(lent, loan, &chunk, &why), 0);
    assert_ptr_equal(chunk.data, lent->memory + 36 * SLAB_UNIT);
    lent_destroy(lent);
}

static void
what_is_held_is_not_lent_again(void **state)
{
    struct book *book = *state;
    struct lent *lent;
    struct lent_chunk chunk;
    uint8_t loan[LOAN_SIZE];
    const char *why;
    const uint64_t handle = UINT64_C(9) << 32 | 4;
    assert_int_equal(lent_create(&lent, book->fd, SIZE), 0);
    loan_put(loan, handle, 100);
    assert_int_equal(lent_open(lent, loan, &chunk, &why), 0);
    lent_hold(lent, &chunk);
    expect_loan_refused(lent, handle, 100, "loan of what is lent already");
    expect_loan_refused(lent, handle + (UINT64_C(1) << 32), 100,
                        "loan of what is lent already");
    assert_false(lent_let_go(lent, chunk.data + 1, handle));
    assert_false(lent_let_go(lent, chunk.data, handle + 1));
    assert_false(lent_let_go(lent, chunk.data, 4));
    assert_false(lent_let_go(lent, chunk.data, UINT64_MAX));
    assert_true(lent_let_go(lent, chunk.data, handle));
    assert_false(lent_let_go(lent, chunk.data, handle));
    assert_int_equal(lent->n_held, 0);
    assert_int_equal(lent_open(lent, loan, &chunk, &why), 0);
    lent_destroy(lent);
}

static void
no_more_is_held_than_can_be_given_back(void **state)
{
    const uint64_t size = (RETURNS_MAX + 1) * (uint64_t)SLAB_UNIT;
    struct slab *slab;
    struct lent *lent;
    int fd;
    assert_int_equal(slab_create(&slab, size, &fd), 0);
    assert_int_equal(lent_create(&lent, fd, size), 0);
    for (uint64_t i = 0; i < RETURNS_MAX; i++) {
        uint8_t loan[LOAN_SIZE];
        struct lent_chunk chunk;
        const char *why;
        loan_put(loan, UINT64_C(1) << 32 | i, 1);
        assert_int_equal(lent_open(lent, loan, &chunk, &why), 0);
        lent_hold(lent, &chunk);
    }
    expect_loan_refused(lent, UINT64_C(1) << 32 | RETURNS_MAX, 1,
                        "more loans than can be given back");
    lent_destroy(lent);
    slab_destroy(slab);
    close(fd);
}

static void
memory_that_is_not_as_agreed_is_not_mapped(void **state)
{
    struct book *book = *state;
    const int needed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE;
    struct lent *lent;
    int pipes[2];
    assert_int_equal(lent_create(&lent, book->fd, SIZE - SLAB_UNIT), -EPROTO);
    assert_int_equal(lent_create(&lent, book->fd, SIZE + SLAB_UNIT), -EPROTO);
    static const int missing[] = {F_SEAL_SHRINK, F_SEAL_GROW,
                                  F_SEAL_FUTURE_WRITE};
    for (size_t i = 0; i < 3; i++) {
        int fd = passing_make_memory(SIZE, needed & ~missing[i]);
        assert_true(fd >= 0);
        assert_int_equal(lent_create(&lent, fd, SIZE), -EPROTO);
        close(fd);
    }
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(lent_create(&lent, pipes[0], SIZE), -EPROTO);
    close(pipes[0]);
    close(pipes[1]);
    int fd =
        memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
    if (fd >= 0) { /* Where the kernel has huge pages. */
        const uint64_t huge = UINT64_C(2) << 20;
        assert_int_equal(ftruncate(fd, (off_t)huge), 0);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, needed), 0);
        assert_int_equal(lent_create(&lent, fd, huge), -EPROTO);
        close(fd);
    }
    assert_int_equal(lent_create(&lent, -1, SIZE), -EPROTO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_chunk_is_the_next_power_of_two_and_aligned),
        TEST(what_never_fits_differs_from_what_does_not_fit_now),
        TEST(every_byte_can_be_lent),
        TEST(small_chunks_are_joined_to_large_ones),
        TEST(the_last_chunk_back_is_the_first_to_go),
        TEST(only_what_is_lent_comes_back_and_once),
        TEST(a_chunk_lent_anew_has_another_handle),
        TEST(a_generation_is_never_zero),
        TEST(a_loan_is_found_by_place_handle_and_number),
        TEST(chunks_never_overlap_whatever_is_lent),
        TEST(who_is_lent_can_read_and_never_write),
        TEST(memory_is_not_used_before_it_is_lent),
        TEST(a_loan_must_lie_within_what_was_shared),
        TEST(what_is_held_is_not_lent_again),
        TEST(no_more_is_held_than_can_be_given_back),
        TEST(memory_that_is_not_as_agreed_is_not_mapped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
