/* SPDX-License-Identifier: Apache-2.0 */
/* What programs were compiled with stays where it is; see
 * docs/decisions/0011-libmchan-abi.md.  A line here changes with the library's
 * soversion or not at all; new members of what may grow get new lines. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/mchan.h"

#if defined(__LP64__)
#define AT(tag, member, where)                                                 \
    _Static_assert(offsetof(struct tag, member) == (where),                    \
                   #tag "." #member " moved")
#define SIZE(tag, size)                                                        \
    _Static_assert(sizeof(struct tag) == (size), #tag " has another size")

AT(mchan_opts, size, 0);
AT(mchan_opts, ring_size, 8);
AT(mchan_opts, fd, 12);
AT(mchan_opts, now_ns, 16);
AT(mchan_opts, now_ctx, 24);
AT(mchan_opts, seed, 32);
AT(mchan_opts, retry_min_ms, 40);
AT(mchan_opts, retry_max_ms, 44);
AT(mchan_opts, sim, 48);
AT(mchan_opts, hold_ms, 56);
AT(mchan_opts, spin_us, 60);
AT(mchan_opts, loan_bytes, 64);
AT(mchan_opts, handoff_ms, 72);
AT(mchan_msg, data, 0);
AT(mchan_msg, size, 8);
AT(mchan_msg, tag, 16);
AT(mchan_msg, delivery, 18);
AT(mchan_msg, key, 19);
SIZE(mchan_msg, 24);
AT(mchan_info, sequence, 0);
AT(mchan_info, attachment, 8);
AT(mchan_info, tag, 12);
AT(mchan_info, delivery, 14);
AT(mchan_info, key, 15);
AT(mchan_info, maybe_repeated, 16);
SIZE(mchan_info, 24);
AT(mchan_event, type, 0);
AT(mchan_event, attachment, 4);
AT(mchan_event, session, 8);
AT(mchan_event, resumed, 16);
AT(mchan_event, from, 24);
AT(mchan_event, to, 32);
AT(mchan_event, reason, 40);
SIZE(mchan_event, 136);
AT(mchan_loan, data, 0);
AT(mchan_loan, size, 8);
AT(mchan_loan, handle, 16);
SIZE(mchan_loan, 24);
AT(mchan_view, data, 0);
AT(mchan_view, size, 8);
AT(mchan_view, handle, 16);
AT(mchan_view, info, 24);
SIZE(mchan_view, 48);
SIZE(mchan_peer, 24);
AT(mchan_stats, n_acked, 32);
AT(mchan_stats, n_wakes, 72);
AT(mchan_stats, n_lent, 104);
AT(mchan_stats, memory_bytes, 120);
#endif

_Static_assert(MCHAN_RELIABLE == 0 && MCHAN_LATEST == 1 && MCHAN_DATAGRAM == 2,
               "classes");
_Static_assert(MCHAN_UP == 0 && MCHAN_PEER_LOST == 1 && MCHAN_SUSPENDING == 2 &&
                   MCHAN_RESUMED == 3 && MCHAN_GAP == 4 && MCHAN_DROPPED == 5 &&
                   MCHAN_PROTO_ERROR == 6 && MCHAN_STRANGER == 7,
               "events");
_Static_assert(MCHAN_KEYS == 64 && MCHAN_REASON_SIZE == 96, "limits");

/* Options as programs knew them of old: up to and with 'fd'. */
#define OLDEST_SIZE (offsetof(struct mchan_opts, fd) + sizeof(int))

static void
a_program_that_knows_fewer_options_gets_the_defaults(void **state)
{
    int ends[2];
    struct mchan *channel;
    /* Behind what it knows lies what it likes. */
    struct mchan_opts opts;
    memset(&opts, 0xee, sizeof opts);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    opts.size = OLDEST_SIZE;
    opts.ring_size = 4096;
    opts.fd = ends[0];
    assert_int_equal(mchan_listen(&channel, "shm:", &opts), 0);
    mchan_close(channel);
    close(ends[1]);
}

static void
options_that_tell_no_size_are_refused(void **state)
{
    struct mchan *channel = NULL;
    struct mchan_opts opts = {.fd = -1};
    assert_int_equal(mchan_open(&channel, "shm:/nowhere", &opts), -EINVAL);
    opts.size = OLDEST_SIZE - 1;
    assert_int_equal(mchan_open(&channel, "shm:/nowhere", &opts), -EINVAL);
    assert_null(channel);
}

static void
a_newer_programs_options_are_taken_as_far_as_known(void **state)
{
    struct {
        struct mchan_opts opts;
        char more[64];
    } newer = {.opts = MCHAN_OPTS_INIT};
    struct mchan *channel;
    newer.opts.size = sizeof newer;
    assert_int_equal(mchan_open(&channel, "shm:/nowhere", &newer.opts), 0);
    mchan_close(channel);
}

static void
counters_are_filled_in_as_far_as_asked(void **state)
{
    struct {
        struct mchan_stats stats;
        uint8_t more[64];
    } asked;
    struct mchan *channel;
    assert_int_equal(mchan_open(&channel, "shm:/nowhere", NULL), 0);
    memset(&asked, 0xee, sizeof asked);
    assert_int_equal(mchan_stats(channel, &asked.stats, 16), 0);
    assert_int_equal(asked.stats.n_received, 0);
    assert_int_equal(asked.stats.bytes_sent, UINT64_C(0xeeeeeeeeeeeeeeee));
    /* A newer program asks an older library. */
    assert_int_equal(mchan_stats(channel, &asked.stats, sizeof asked), 0);
    for (size_t i = 0; i < sizeof asked.more; i++) {
        assert_int_equal(asked.more[i], 0);
    }
    mchan_close(channel);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_that_knows_fewer_options_gets_the_defaults),
        cmocka_unit_test(options_that_tell_no_size_are_refused),
        cmocka_unit_test(a_newer_programs_options_are_taken_as_far_as_known),
        cmocka_unit_test(counters_are_filled_in_as_far_as_asked),
    };
    return cmocka_run_group_tests_name("channel/abi", tests, NULL, NULL);
}
