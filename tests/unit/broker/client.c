/* SPDX-License-Identifier: Apache-2.0 */
/* The buffers of one who asks at the control socket: nothing he sends or does
 * not read makes them larger than they may be, and what is lost is told. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/control/client.h"
#include "broker/control/control.h"

static struct client client; /* Large. */
static int peer;

static int
setup(void **state)
{
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends),
                     0);
    memset(&client, 0, sizeof client);
    client.fd = ends[0];
    client.readable = true;
    peer = ends[1];
    return 0;
}

static int
teardown(void **state)
{
    client_close(&client);
    close(peer);
    return 0;
}

static void
say(const char *text, size_t size)
{
    assert_int_equal(send(peer, text, size, MSG_NOSIGNAL), size);
}

static void
lines_come_in_pieces_and_several_at_once(void **state)
{
    char line[REQUEST_SIZE_MAX + 2];

    assert_int_equal(client_take_line(&client, line), -EAGAIN);
    say("on", 2);
    assert_int_equal(client_read(&client), 0);
    assert_false(client_has_line(&client));
    say("e\ntwo\nth", 8);
    assert_int_equal(client_read(&client), 0);
    assert_int_equal(client_take_line(&client, line), 3);
    assert_memory_equal(line, "one", 3);
    assert_int_equal(client_take_line(&client, line), 3);
    assert_memory_equal(line, "two", 3);
    assert_int_equal(client_take_line(&client, line), -EAGAIN);
    assert_int_equal(client_read(&client), 0); /* Nothing new. */
    assert_false(client.readable);
}

static void
a_line_that_is_too_long_is_answered_once_and_skipped(void **state)
{
    static char much[3 * REQUEST_SIZE_MAX];
    char line[REQUEST_SIZE_MAX + 2];

    memset(much, 'x', sizeof much);
    much[sizeof much - 1] = '\n';
    say(much, sizeof much);
    say("next\n", 5);
    assert_int_equal(client_read(&client), 0);
    assert_int_equal(client_read(&client), 0); /* No room is no mistake. */
    assert_true(client_take_line(&client, line) > REQUEST_SIZE_MAX);
    ssize_t size = -EAGAIN;
    for (int i = 0; i < 9 && size < 0; i++) {
        assert_int_equal(client_read(&client), 0);
        size = client_take_line(&client, line);
    }
    assert_int_equal(size, 4);
    assert_memory_equal(line, "next", 4);
}

static void
what_a_watcher_sends_is_thrown_away(void **state)
{
    client.watching = true;
    say("anything\n", 9);
    assert_int_equal(client_read(&client), 0);
    assert_false(client_has_line(&client));
    close(peer);
    assert_int_equal(client_read(&client), -ECONNRESET);
    peer = dup(client.fd);
}

static json_t *
text_of(size_t size)
{
    char *text = malloc(size + 1);

    assert_non_null(text);
    memset(text, 'y', size);
    text[size] = '\0';
    json_t *json = json_pack("{s:s}", "text", text);
    free(text);
    return json;
}

static void
an_answer_beyond_the_limit_is_said_and_kept_within_it(void **state)
{
    client_reply(&client, text_of(CONTROL_REPLY_MAX));
    assert_false(client.leaving);
    assert_non_null(strstr(client.out, "the answer is too long"));
    /* Now there is not even room for that. */
    client_close(&client);
    client_reply(&client, text_of(CONTROL_REPLY_MAX - 50));
    assert_false(client.leaving);
    client_reply(&client, text_of(CONTROL_REPLY_MAX));
    assert_true(client.leaving);
    assert_true(client.n_out <= CONTROL_REPLY_MAX);
    client.leaving = false;
    client_reply(&client, NULL); /* There was no memory for one. */
    assert_true(client.leaving);
}

static void
a_watcher_is_told_how_much_it_lost_before_it_gets_more(void **state)
{
    static char line[CONTROL_WATCH_MAX - 30];
    char got[256];

    memset(line, 'z', sizeof line - 1);
    assert_true(client_watch(&client, line));
    assert_false(client_watch(&client, line)); /* No room. */
    assert_false(client_watch(&client, "{}")); /* Nor for what was lost. */
    assert_int_equal(client.n_lost, 2);
    client.n_sent = client.n_out; /* As if it had read. */
    assert_true(client_watch(&client, "{\"n\":1}"));
    assert_int_equal(client.n_lost, 0);
    assert_int_equal(client_send(&client, 5), 0);
    ssize_t n = recv(peer, got, sizeof got - 1, 0);
    assert_true(n > 0);
    got[n] = '\0';
    assert_string_equal(got, "{\"lost\":2}\n{\"n\":1}\n");
    assert_int_equal(client.active, 5);
}

static void
one_who_does_not_read_keeps_us_from_nothing(void **state)
{
    client_reply(&client, text_of(CONTROL_REPLY_MAX - 100));
    assert_int_equal(client_send(&client, 1), -EAGAIN);
    assert_true(client.n_sent > 0 && client.n_sent < client.n_out);
    close(peer);
    assert_int_equal(client_send(&client, 2), -EPIPE);
    peer = dup(client.fd);
}

int
main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        EACH(lines_come_in_pieces_and_several_at_once),
        EACH(a_line_that_is_too_long_is_answered_once_and_skipped),
        EACH(what_a_watcher_sends_is_thrown_away),
        EACH(an_answer_beyond_the_limit_is_said_and_kept_within_it),
        EACH(a_watcher_is_told_how_much_it_lost_before_it_gets_more),
        EACH(one_who_does_not_read_keeps_us_from_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
