/* SPDX-License-Identifier: Apache-2.0 */
/* The bench's loops notice what a carrier does wrong: what is lost, doubled,
 * cut, or arrives in part is never measured. */
#include "bench/channel/loops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define SIZE 128u

struct fake {
    uint64_t n_sent, n_received;
    uint64_t wrong_at; /* The message that goes wrong; 0: none. */
    uint64_t last;     /* The one after which it ends. */
    uint64_t shift;    /* Added to the sequence from wrong_at on. */
    size_t wrong_size;
    bool torn;     /* Only its beginning arrives. */
    bool numbered; /* What is sent is looked at. */
    int error;
};

static struct fake *
fake_of(struct end *end)
{
    return end->carrier;
}

static int
put(struct end *end, const void *data, size_t size)
{
    struct fake *fake = fake_of(end);
    uint64_t wanted =
        ++fake->n_sent == fake->last ? SEQUENCE_STOP : fake->n_sent;
    assert_int_equal(size, SIZE);
    if (fake->numbered) {
        assert_true(stamped(data, size, wanted));
    }
    return fake->n_sent == fake->wrong_at ? fake->error : 0;
}

/* Answers as a right carrier would, and as told from wrong_at on. */
static ssize_t
get(struct end *end, void *data, size_t size)
{
    struct fake *fake = fake_of(end);
    uint64_t n = ++fake->n_received;
    bool wrong = fake->wrong_at && n >= fake->wrong_at;
    stamp(data, SIZE, n == fake->last ? SEQUENCE_STOP : n);
    if (!wrong) {
        return SIZE;
    }
    if (fake->error) {
        return fake->error;
    }
    stamp(data, SIZE, n + fake->shift);
    if (fake->torn) {
        memset((uint8_t *)data + SIZE - 8, 0, 8);
    }
    return fake->wrong_size ? (ssize_t)fake->wrong_size : SIZE;
}

struct scene {
    struct run run;
    struct fake fake;
    struct end end;
};

static struct scene *
make(enum task task, nsec_t length)
{
    struct scene *s = calloc(1, sizeof *s);

    assert_non_null(s);
    s->run.task = task;
    s->run.size = SIZE;
    s->run.length = length;
    s->run.ticks_per_ns = 1;
    s->run.grain = 1;
    s->end.run = &s->run;
    s->end.carrier = &s->fake;
    s->end.out = calloc(1, BUFFER_SIZE);
    s->end.in = calloc(1, BUFFER_SIZE);
    s->end.meter.buckets = calloc(N_BUCKETS, sizeof(uint32_t));
    s->end.meter.windows = calloc(N_WINDOWS, sizeof(double));
    return s;
}

static void
destroy(struct scene *s)
{
    free(s->end.out);
    free(s->end.in);
    free(s->end.meter.buckets);
    free(s->end.meter.windows);
    free(s);
}

/* A ping and a drain over a carrier with the fault that is set. */
static void
assert_both(const struct fake *fake, int error)
{
    struct scene *s = make(TASK_RTT, 3600 * NSEC_PER_SEC);
    s->fake = *fake;
    assert_int_equal(loop_ping(&s->end, put, get), error);
    destroy(s);
    s = make(TASK_RATE, 3600 * NSEC_PER_SEC);
    s->fake = *fake;
    assert_int_equal(loop_drain(&s->end, get), error);
    destroy(s);
}

static void
a_lost_message_is_noticed(void **state)
{
    struct fake fake = {.wrong_at = 70, .shift = 1};
    assert_both(&fake, -EBADMSG);
}

static void
a_doubled_message_is_noticed(void **state)
{
    struct fake fake = {.wrong_at = 70, .shift = UINT64_MAX};
    assert_both(&fake, -EBADMSG);
}

static void
a_cut_message_is_noticed(void **state)
{
    struct fake fake = {.wrong_at = 70, .wrong_size = SIZE - 1};
    assert_both(&fake, -EBADMSG);
}

static void
a_torn_message_is_noticed(void **state)
{
    struct fake fake = {.wrong_at = 70, .torn = true};
    assert_both(&fake, -EBADMSG);
}

static void
an_error_is_passed_on(void **state)
{
    struct fake fake = {.wrong_at = 70, .error = -EPIPE};
    assert_both(&fake, -EPIPE);
}

static void
every_message_is_sent_with_its_number_and_then_the_last(void **state)
{
    /* The time is over at once, so that the first look at the clock, which is
     * at the 64th message, is the end. */
    struct scene *s = make(TASK_RATE, 0);
    s->fake.last = 65;
    s->fake.numbered = true;
    assert_int_equal(loop_pour(&s->end, put), 0);
    assert_int_equal(s->fake.n_sent, 65);
    destroy(s);
}

static void
who_drains_or_echoes_ends_with_the_last(void **state)
{
    struct scene *s = make(TASK_RATE, NSEC_PER_SEC);
    s->fake.last = 1000;
    assert_int_equal(loop_drain(&s->end, get), 0);
    assert_int_equal(s->fake.n_received, 1000);
    destroy(s);
    s = make(TASK_RTT, NSEC_PER_SEC);
    s->fake.last = 1000;
    assert_int_equal(loop_echo(&s->end, put, get), 0);
    assert_int_equal(s->fake.n_sent, 999);
    destroy(s);
}

static void
a_ping_that_meets_the_end_is_wrong(void **state)
{
    struct scene *s = make(TASK_RTT, 3600 * NSEC_PER_SEC);
    s->fake.last = 10;
    assert_int_equal(loop_ping(&s->end, put, get), -EBADMSG);
    destroy(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_message_is_noticed),
        cmocka_unit_test(a_doubled_message_is_noticed),
        cmocka_unit_test(a_cut_message_is_noticed),
        cmocka_unit_test(a_torn_message_is_noticed),
        cmocka_unit_test(an_error_is_passed_on),
        cmocka_unit_test(
            every_message_is_sent_with_its_number_and_then_the_last),
        cmocka_unit_test(who_drains_or_echoes_ends_with_the_last),
        cmocka_unit_test(a_ping_that_meets_the_end_is_wrong),
    };
    return cmocka_run_group_tests_name("bench/loops", tests, NULL, NULL);
}
