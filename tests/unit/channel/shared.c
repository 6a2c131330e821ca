/* SPDX-License-Identifier: Apache-2.0 */
/* libmchan.so as another program has it: mchan.h alone is enough to use it, and
 * nothing but mchan_* can be seen. */
#include <mchan.h>

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

static void
a_message_goes_through_the_shared_library(void **state)
{
    int ends[2];
    char text[16];
    struct mchan *one, *other;
    struct mchan_event event;
    struct mchan_info info;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    struct mchan_msg message = {.data = "hello", .size = 6, .tag = 4711};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    opts.fd = ends[0];
    assert_int_equal(mchan_listen(&one, "shm:", &opts), 0);
    opts.fd = ends[1];
    assert_int_equal(mchan_open(&other, "shm:", &opts), 0);
    assert_int_equal(mchan_next_event(one, &event), 1);
    assert_int_equal(mchan_next_event(other, &event), 1);
    assert_int_equal(event.type, MCHAN_UP);
    assert_int_equal(mchan_send(other, &message), 0);
    assert_int_equal(mchan_wait(one, -1), 1);
    assert_int_equal(mchan_recv(one, text, sizeof text, &info), 6);
    assert_string_equal(text, "hello");
    assert_int_equal(info.tag, 4711);
    mchan_close(one);
    mchan_close(other);
}

static void
only_its_door_can_be_seen(void **state)
{
    assert_non_null(dlsym(RTLD_DEFAULT, "mchan_open"));
    static const char *const hidden[] = {
        "session_init",   "channel_turn",   "link_put",        "ring_tx_init",
        "frame_read",     "transport_find", "prng_init",       "mgmtback_init",
        "transport_unix", "meeting_init",   "transport_table",
    };
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
        assert_null(dlsym(RTLD_DEFAULT, hidden[i]));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_goes_through_the_shared_library),
        cmocka_unit_test(only_its_door_can_be_seen),
    };
    return cmocka_run_group_tests_name("channel/shared", tests, NULL, NULL);
}
