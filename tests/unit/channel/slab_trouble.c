/* SPDX-License-Identifier: Apache-2.0 */
/* Lent memory when the system refuses: whichever call fails, the slab and what
 * a peer maps of it are there whole or not at all, and the reason is told. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "channel/lending/lent.h"
#include "channel/lending/slab.h"
#include "tests/scarce.h"

#define SIZE (8 * SLAB_UNIT)

static int
n_descriptors(void)
{
    int fd = dup(0);

    close(fd);
    return fd; /* The lowest that is free. */
}

static void
a_slab_is_made_whole_or_not_at_all(void **state)
{
    static const struct {
        const char *call;
        unsigned n;
        int error, told;
    } rows[] = {{"memory", 1, ENOMEM, -ENOMEM},
                {"memory", 2, ENOMEM, -ENOMEM},
                {"memfd_create", 1, EMFILE, -EMFILE},
                {"ftruncate", 1, EPERM, -EPERM},
                {"fcntl", 1, EPERM, -EPERM},
                {"mmap", 1, ENOMEM, -ENOMEM},
                {"fcntl", 2, EPERM, -EPERM},
                {"fcntl", 2, EINVAL, -ENOTSUP}}; /* A kernel before 5.1. */
    int before = n_descriptors();

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slab *slab = NULL;
        int fd = -7;

        scarce_arm(rows[i].call, rows[i].n, rows[i].error);
        int error = slab_create(&slab, SIZE, &fd);
        assert_true(scarce_disarm());
        assert_int_equal(error, rows[i].told);
        assert_null(slab);
        assert_int_equal(fd, -7);
        assert_int_equal(n_descriptors(), before);
    }
}

static void
lent_memory_is_mapped_whole_or_not_at_all(void **state)
{
    static const struct {
        const char *call;
        unsigned n;
        int error, told;
    } rows[] = {{"memory", 1, ENOMEM, -ENOMEM},
                {"memory", 2, ENOMEM, -ENOMEM},
                {"mmap", 1, ENOMEM, -ENOMEM},
                {"fcntl", 1, EINVAL, -EPROTO},
                {"fstat", 1, EBADF, -EPROTO}};
    struct slab *slab;
    int fd;

    assert_int_equal(slab_create(&slab, SIZE, &fd), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct lent *lent = NULL;

        scarce_arm(rows[i].call, rows[i].n, rows[i].error);
        int error = lent_create(&lent, fd, SIZE);
        assert_true(scarce_disarm());
        assert_int_equal(error, rows[i].told);
        assert_null(lent);
    }
    struct lent *lent = NULL;
    assert_int_equal(lent_create(&lent, fd, SIZE), 0);
    lent_destroy(lent);
    lent_destroy(NULL);
    slab_destroy(slab);
    slab_destroy(NULL);
    close(fd);
}

/* Waiting for what never fits would be waiting for ever. */
static void
nobody_waits_for_more_than_there_is(void **state)
{
    struct slab *slab;
    int fd;

    assert_int_equal(slab_create(&slab, SIZE, &fd), 0);
    assert_true(slab_may_take(slab, SIZE + 1));
    assert_int_equal(slab_take(slab, SIZE + 1), -EMSGSIZE);
    assert_true(slab_may_take(slab, SIZE));
    int64_t unit = slab_take(slab, SIZE);
    assert_int_equal(unit, 0);
    assert_false(slab_may_take(slab, 1));
    assert_int_equal(slab_take(slab, 1), -EAGAIN);
    slab_untake(slab, (uint32_t)unit);
    assert_true(slab_may_take(slab, 1));
    slab_destroy(slab);
    close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slab_is_made_whole_or_not_at_all),
        cmocka_unit_test(lent_memory_is_mapped_whole_or_not_at_all),
        cmocka_unit_test(nobody_waits_for_more_than_there_is),
    };

    return cmocka_run_group_tests_name("slab_trouble", tests, NULL, NULL);
}
