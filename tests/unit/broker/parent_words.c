/* SPDX-License-Identifier: Apache-2.0 */
/* What the parent says to others: to the service manager, to the next broker
 * about how this one ended, and by which users' numbers. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/parent/ended.h"
#include "broker/parent/launch.h"
#include "broker/parent/notify.h"
#include "broker/parent/users.h"
#include "broker/role/role.h"
#include "tests/scarce.h"

static char dir[64], why[CONFIG_WHY_SIZE];
static int dirfd_;

static int
make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/words-XXXXXX");
    assert_non_null(mkdtemp(dir));
    dirfd_ = open(dir, O_RDONLY | O_DIRECTORY);
    return dirfd_ < 0;
}

static int
remove_dir(void **state)
{
    (void)state;
    scarce_disarm();
    ended_forget(dirfd_);
    unlinkat(dirfd_, "socket", 0);
    close(dirfd_);
    return rmdir(dir);
}

/* One who hears what is sent to 'path', as the service manager does. */
static int
hear(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);

    memcpy(address.sun_path, path, length);
    if (path[0] == '@') {
        address.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(
        bind(fd, (struct sockaddr *)&address,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)),
        0);
    return fd;
}

static void
assert_heard(int fd, const char *text)
{
    char heard[64] = "";

    ssize_t got = recv(fd, heard, sizeof heard - 1, 0);
    assert_true(got >= 0);
    assert_string_equal(heard, text);
}

static void
manager_hears_by_path_and_by_abstract_name(void **state)
{
    char path[96], name[96];

    (void)state;
    snprintf(path, sizeof path, "%s/socket", dir);
    int fd = hear(path);
    assert_int_equal(notify_send(path, "READY=1"), 0);
    assert_heard(fd, "READY=1");
    close(fd);
    assert_int_equal(notify_send(path, "READY=1"), -ECONNREFUSED);

    snprintf(name, sizeof name, "@%s", dir);
    fd = hear(name);
    assert_int_equal(notify_send(name, "STOPPING=1"), 0);
    assert_heard(fd, "STOPPING=1");
    close(fd);
}

static void
address_that_is_none_is_refused(void **state)
{
    char path[200];

    (void)state;
    assert_int_equal(notify_send(NULL, "READY=1"), 0);
    assert_int_equal(notify_send("", "READY=1"), -EINVAL);
    assert_int_equal(notify_send("@", "READY=1"), -EINVAL);
    assert_int_equal(notify_send("run/notify", "READY=1"), -EINVAL);
    memset(path, 'a', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    assert_int_equal(notify_send(path, "READY=1"), -EINVAL);
    scarce_arm("socket", 1, EMFILE);
    assert_int_equal(notify_send("/run/notify", "READY=1"), -EMFILE);
    assert_true(scarce_disarm());
}

static void
end_is_told_once(void **state)
{
    char said[64];

    (void)state;
    ended_read(dirfd_, said, sizeof said);
    assert_string_equal(said, "");
    assert_int_equal(ended_write(dirfd_, "engine \033died"), 0);
    ended_read(dirfd_, said, sizeof said);
    assert_int_equal(strncmp(said, "engine ", 7), 0);
    assert_null(strchr(said, '\033'));
    ended_forget(dirfd_);
    ended_read(dirfd_, said, sizeof said);
    assert_string_equal(said, "");
}

static void
end_that_can_not_be_written_is_told(void **state)
{
    char said[64];

    (void)state;
    scarce_arm("write", 1, ENOSPC);
    assert_int_equal(ended_write(dirfd_, "engine died"), -ENOSPC);
    assert_true(scarce_disarm());
    ended_forget(dirfd_);
    assert_int_equal(symlinkat("/etc/passwd", dirfd_, "ended"), 0);
    assert_int_equal(ended_write(dirfd_, "engine died"), -ELOOP);
    ended_read(dirfd_, said, sizeof said);
    assert_string_equal(said, "");
}

static void
end_that_can_not_be_read_is_none(void **state)
{
    char said[64] = "as before";

    (void)state;
    assert_int_equal(ended_write(dirfd_, "engine died"), 0);
    scarce_arm("read", 1, EIO);
    ended_read(dirfd_, said, sizeof said);
    assert_true(scarce_disarm());
    assert_string_equal(said, "");
}

/* No child of ours begins with less than it is to have. */
static void
child_without_its_descriptors_is_not_begun(void **state)
{
    static char none[] = "--none";
    char *argv[] = {none, NULL};
    int fds[ROLE_FDS_MAX + 1];

    (void)state;
    memset(fds, 0xff, sizeof fds);
    assert_int_equal(launch(argv, fds, ROLE_FDS_MAX + 1), -E2BIG);
    fds[0] = dirfd_;
    fds[1] = 1000000; /* Not open. */
    assert_int_equal(launch(argv, fds, 2), -EBADF);
}

static void
guests_users_are_names_or_numbers(void **state)
{
    struct guest_config guest = {.owner = "12345678", .group = "87654321"};
    uid_t uid = 1;
    gid_t gid = 1;

    (void)state;
    assert_int_equal(users_of_guest(&guest, &uid, &gid, why, sizeof why), 0);
    assert_int_equal(uid, 12345678);
    assert_int_equal(gid, 87654321);
    guest = (struct guest_config){.owner = "root", .group = "root"};
    assert_int_equal(users_of_guest(&guest, &uid, &gid, why, sizeof why), 0);
    assert_int_equal(uid, 0);
    assert_int_equal(gid, 0);
    guest = (struct guest_config){.channel = ""};
    assert_int_equal(users_of_guest(&guest, &uid, &gid, why, sizeof why), 0);
    assert_int_equal(uid, (uid_t)-1);
    assert_int_equal(gid, (gid_t)-1);
}

/* The last number would mean "no change": who owns it stays. */
static void
number_that_means_no_change_is_nobody(void **state)
{
    struct guest_config guest = {.owner = "4294967295"};
    uid_t uid = 5;
    gid_t gid = 6;

    (void)state;
    assert_int_equal(users_of_guest(&guest, &uid, &gid, why, sizeof why),
                     -ENOENT);
    assert_non_null(strstr(why, "owner: there is no user \"4294967295\""));
    guest = (struct guest_config){.group = "4294967295"};
    assert_int_equal(users_of_guest(&guest, &uid, &gid, why, sizeof why),
                     -ENOENT);
    assert_non_null(strstr(why, "group: there is no group \"4294967295\""));
    guest = (struct guest_config){.group = "no such group"};
    assert_int_equal(users_of_guest(&guest, &uid, &gid, why, sizeof why),
                     -ENOENT);
    assert_int_equal(uid, 5);
    assert_int_equal(gid, 6);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(manager_hears_by_path_and_by_abstract_name),
        TEST(address_that_is_none_is_refused),
        TEST(end_is_told_once),
        TEST(end_that_can_not_be_written_is_told),
        TEST(end_that_can_not_be_read_is_none),
        TEST(child_without_its_descriptors_is_not_begun),
        TEST(guests_users_are_names_or_numbers),
        TEST(number_that_means_no_change_is_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
