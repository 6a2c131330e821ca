/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's door opens or says why not; who knocks with nonsense is answered
 * in words, who finds nobody, or somebody else, is told. */
#include "agent/door.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/scarce.h"

#define URI_SIZE 100

static char dir[64], uri[URI_SIZE], why[300];

static int
set_up(void **state)
{
    strcpy(dir, "/tmp/mbroker-door-XXXXXX");
    if (!mkdtemp(dir)) {
        return 1;
    }
    snprintf(uri, sizeof uri, "unix:%s/notes", dir);
    return 0;
}

static int
tear_down(void **state)
{
    unlink(uri + 5);
    return rmdir(dir);
}

static struct sockaddr_un
address(void)
{
    struct sockaddr_un out = {.sun_family = AF_UNIX};

    strcpy(out.sun_path, uri + 5);
    return out;
}

static int
dialled(void)
{
    struct sockaddr_un to = address();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void
refused(const char *at, int error, const char *words)
{
    struct door *door = NULL;

    why[0] = '\0';
    assert_int_equal(door_open(&door, at, why, sizeof why), error);
    assert_null(door);
    if (!strstr(why, words)) {
        fail_msg("\"%s\" lacks \"%s\"", why, words);
    }
}

static void
an_address_that_is_none_is_refused(void **state)
{
    char longest[300];

    refused("tcp:1", -EINVAL, "write unix:PATH");
    refused("unix:", -EINVAL, "write unix:PATH");
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "unix:", 5);
    longest[sizeof longest - 1] = '\0';
    refused(longest, -EINVAL, "longer than");
    refused("unix:/no/such/place", -ENOENT, "/no/such/place");
}

static void
what_the_machine_refuses_is_said(void **state)
{
    static const struct {
        const char *call;
        int error;
    } calls[] = {
        {"socket", EMFILE}, {"listen", EADDRINUSE}, {"memory", ENOMEM}};

    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        struct door *door = NULL;

        scarce_arm(calls[i].call, 1, calls[i].error);
        int error = door_open(&door, uri, why, sizeof why);
        assert_true(scarce_disarm());
        assert_int_equal(error, -calls[i].error);
        unlink(uri + 5);
    }
}

static void
a_door_that_is_open_is_not_taken_and_one_that_is_left_is(void **state)
{
    struct sockaddr_un at = address();
    struct door *door;
    int left = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_int_equal(bind(left, (struct sockaddr *)&at, sizeof at), 0);
    close(left);
    assert_int_equal(door_open(&door, uri, why, sizeof why), 0);
    refused(uri, -EADDRINUSE, "another program answers there");
    door_close(door);
    assert_int_equal(access(uri + 5, F_OK), -1);
    door_close(NULL);
}

static void
nonsense_is_answered_and_the_oldest_of_too_many_leaves(void **state)
{
    int fds[DOOR_CLIENTS_MAX + 1];
    struct door *door;
    char said[1024];
    nsec_t now = NSEC_PER_SEC;

    assert_int_equal(door_open(&door, uri, why, sizeof why), 0);
    for (int i = 0; i <= DOOR_CLIENTS_MAX; i++) {
        fds[i] = dialled();
        door_run(door, NULL, now += NSEC_PER_MSEC);
    }
    assert_int_equal(recv(fds[0], said, sizeof said, 0), 0); /* It had to. */
    for (int i = 1; i <= DOOR_CLIENTS_MAX; i++) {
        assert_int_equal(send(fds[i], "no \\\"JSON\"\n", 11, 0), 11);
    }
    door_run(door, NULL, now += NSEC_PER_MSEC);
    for (int i = 1; i <= DOOR_CLIENTS_MAX; i++) {
        ssize_t n = recv(fds[i], said, sizeof said - 1, 0);

        assert_true(n > 0);
        said[n] = '\0';
        assert_non_null(strstr(said, "\"error\""));
        assert_true(said[n - 1] == '\n');
    }
    /* One who says more than a turn's lines is served on in the next. */
    for (int i = 0; i < 2 * DOOR_LINES_PER_TURN; i++) {
        assert_int_equal(send(fds[1], "{}\n", 3, 0), 3);
    }
    door_run(door, NULL, now += NSEC_PER_MSEC);
    assert_true(door_is_due(door));
    for (int i = 0; i < 4; i++) {
        door_run(door, NULL, now += NSEC_PER_MSEC);
    }
    assert_false(door_is_due(door));
    close(fds[2]); /* One who leaves is gone. */
    door_run(door, NULL, now += NSEC_PER_MSEC);
    door_close(door);
    for (int i = 0; i <= DOOR_CLIENTS_MAX; i++) {
        if (i != 2) {
            close(fds[i]);
        }
    }
}

static int
knocked(const char *type, const char *bytes, size_t size)
{
    FILE *file = tmpfile();

    assert_int_equal(fwrite(bytes, 1, size, file), size);
    rewind(file);
    why[0] = '\0';
    int error = door_knock(uri, type, false, fileno(file), why, sizeof why);
    fclose(file);
    return error;
}

static void
who_finds_nobody_is_told(void **state)
{
    static char big[1 << 20];

    assert_int_equal(knocked("no type!", "x", 1), -EINVAL);
    assert_non_null(strstr(why, "is no type"));
    assert_int_equal(knocked("a.b/1", "x", 1), -ENOENT);
    assert_non_null(strstr(why, "does magentd run with --notes?"));
    assert_int_equal(knocked("a.b/1", big, sizeof big), -EMSGSIZE);
    assert_non_null(strstr(why, "a note has at most "));
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(door_knock(uri, "a.b/1", false, dirfd, why, sizeof why),
                     -EISDIR);
    assert_non_null(strstr(why, "standard input: "));
    close(dirfd);
}

/* Somebody else listens there, and answers with 'words'. */
static int
answered(const char *words, size_t size)
{
    struct sockaddr_un at = address();
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    unlink(uri + 5);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char heard[4096];
        int client = accept(fd, NULL, NULL);

        if (recv(client, heard, sizeof heard, 0) <= 0 ||
            send(client, words, size, MSG_NOSIGNAL) != (ssize_t)size) {
            _exit(1);
        }
        shutdown(client, SHUT_WR);
        (void)recv(client, heard, sizeof heard, 0); /* Until it leaves. */
        _exit(0);
    }
    int error = knocked("a.b/1", "x", 1);
    close(fd);
    waitpid(pid, NULL, 0);
    unlink(uri + 5);
    return error;
}

static void
what_somebody_else_answers_is_not_believed(void **state)
{
    static char endless[4096];

    assert_int_equal(answered("{\"ok\":true}\n", 12), 0);
    assert_int_equal(answered("{\"ok\":false}\n", 13), -EPERM);
    assert_string_equal(why, "refused: {\"ok\":false}");
    assert_int_equal(answered("", 0), -ECONNRESET);
    memset(endless, 'x', sizeof endless);
    assert_int_equal(answered(endless, sizeof endless), -EMSGSIZE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_that_is_none_is_refused),
        cmocka_unit_test(what_the_machine_refuses_is_said),
        cmocka_unit_test(
            a_door_that_is_open_is_not_taken_and_one_that_is_left_is),
        cmocka_unit_test(
            nonsense_is_answered_and_the_oldest_of_too_many_leaves),
        cmocka_unit_test(who_finds_nobody_is_told),
        cmocka_unit_test(what_somebody_else_answers_is_not_believed),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
