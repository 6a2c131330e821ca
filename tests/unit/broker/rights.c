/* SPDX-License-Identifier: Apache-2.0 */
/* The table of rights on the control socket, walked with made-up callers. */
#include "broker/control/rights.h"

#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/config/config.h"

#define OWNER 990
#define CONTROL_GID 500
#define OPERATOR_GID 600

static const struct rights both = {.owner = OWNER,
                                   .has_control = true,
                                   .has_operator = true,
                                   .control_gid = CONTROL_GID,
                                   .operator_gid = OPERATOR_GID};
static const struct rights none = {.owner = OWNER};

static const struct row {
    const char *who;
    struct peer peer;
    enum right with_groups, without;
} rows[] = {
    {"root", {.uid = 0}, RIGHT_CHANGE, RIGHT_CHANGE},
    {"the owner", {.uid = OWNER, .gid = 1}, RIGHT_CHANGE, RIGHT_CHANGE},
    {"a stranger", {.uid = 1000, .gid = 1000}, RIGHT_NONE, RIGHT_NONE},
    {"a stranger in root's group",
     {.uid = 1000, .gid = 0},
     RIGHT_NONE,
     RIGHT_NONE},
    {"a reader by first group",
     {.uid = 1000, .gid = CONTROL_GID},
     RIGHT_READ,
     RIGHT_NONE},
    {"a reader by second group",
     {.uid = 1000, .gid = 1000, .n_groups = 2, .groups = {7, CONTROL_GID}},
     RIGHT_READ,
     RIGHT_NONE},
    {"an operator by first group",
     {.uid = 1000, .gid = OPERATOR_GID},
     RIGHT_CHANGE,
     RIGHT_NONE},
    {"an operator by third group",
     {.uid = 1000,
      .gid = 1000,
      .n_groups = 3,
      .groups = {CONTROL_GID, 9, OPERATOR_GID}},
     RIGHT_CHANGE,
     RIGHT_NONE},
    {"one past the end of the list",
     {.uid = 1000, .gid = 1000, .n_groups = 1, .groups = {9, OPERATOR_GID}},
     RIGHT_NONE,
     RIGHT_NONE},
    {"whose uid is the group's number",
     {.uid = OPERATOR_GID, .gid = 1000},
     RIGHT_NONE,
     RIGHT_NONE},
    {"nobody", {.uid = 65534, .gid = 65534}, RIGHT_NONE, RIGHT_NONE},
};

static void
everybody_has_the_right_the_table_says(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum right right = rights_of(&both, &rows[i].peer);
        if (right != rows[i].with_groups) {
            fail_msg("%s: %s", rows[i].who, right_name(right));
        }
    }
}

static void
without_groups_only_root_and_the_owner_have_any(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum right right = rights_of(&none, &rows[i].peer);
        if (right != rows[i].without) {
            fail_msg("%s: %s", rows[i].who, right_name(right));
        }
    }
}

static void
group_names_become_numbers(void **state)
{
    const struct group *first = getgrgid(0);
    struct broker_config config = {.n_cpus = 0};
    struct rights rights;
    char why[200] = "";

    if (!first) {
        skip();
    }
    snprintf(config.operator_group, sizeof config.operator_group, "%s",
             first->gr_name);
    assert_int_equal(rights_resolve(&rights, &config, 42, why, sizeof why), 0);
    assert_int_equal(rights.owner, 42);
    assert_true(rights.has_operator);
    assert_int_equal(rights.operator_gid, 0);
    assert_false(rights.has_control);
}

static void
unknown_groups_are_named(void **state)
{
    struct broker_config config = {.control_group = "no-such-group-here"};
    struct rights rights = {.owner = 7};
    char why[200] = "";

    assert_int_equal(rights_resolve(&rights, &config, 42, why, sizeof why),
                     -ENOENT);
    assert_non_null(strstr(why, "no-such-group-here"));
    assert_non_null(strstr(why, "control.group"));
    assert_int_equal(rights.owner, 7);
}

static void
the_kernel_says_who_is_there(void **state)
{
    gid_t groups[RIGHTS_GROUPS_MAX];
    struct peer peer;
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(rights_peer(ends[0], &peer), 0);
    assert_int_equal(peer.uid, geteuid());
    assert_int_equal(peer.gid, getegid());
    assert_int_equal(peer.pid, getpid());
    int n = getgroups(RIGHTS_GROUPS_MAX, groups);
    assert_int_equal(peer.n_groups, n);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(rights_peer(-1, &peer), -EBADF);
}

static void
both_groups_are_looked_up_and_either_may_be_unknown(void **state)
{
    struct broker_config config = {.control_group = "no-such-group"};
    struct rights rights = {.owner = 77};
    char why[CONFIG_WHY_SIZE];

    assert_int_equal(rights_resolve(&rights, &config, 5, why, sizeof why),
                     -ENOENT);
    assert_non_null(strstr(why, "control.group"));
    assert_int_equal(rights.owner, 77); /* Untouched. */
    config = (struct broker_config){.operator_group = "no-such-group"};
    assert_int_equal(rights_resolve(&rights, &config, 5, why, sizeof why),
                     -ENOENT);
    assert_non_null(strstr(why, "control.operators"));
}

static void
rights_have_names(void **state)
{
    assert_string_equal(right_name(RIGHT_NONE), "none");
    assert_string_equal(right_name(RIGHT_READ), "read");
    assert_string_equal(right_name(RIGHT_CHANGE), "change");
    assert_string_equal(right_name((enum right)9), "?");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_has_the_right_the_table_says),
        cmocka_unit_test(without_groups_only_root_and_the_owner_have_any),
        cmocka_unit_test(group_names_become_numbers),
        cmocka_unit_test(unknown_groups_are_named),
        cmocka_unit_test(the_kernel_says_who_is_there),
        cmocka_unit_test(both_groups_are_looked_up_and_either_may_be_unknown),
        cmocka_unit_test(rights_have_names),
    };

    return cmocka_run_group_tests_name("rights", tests, NULL, NULL);
}
