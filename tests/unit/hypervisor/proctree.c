/* SPDX-License-Identifier: Apache-2.0 */
/* Shows on a made /proc how a tree of processes is followed and its CPU time
 * counted: whatever ends, moves or lies, it never falls and counts nothing
 * twice. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "hypervisor/proctree.h"
#include "tests/unit/hardware/tree.h"

#define MS (uint64_t) NSEC_PER_MSEC
#define TICK (10 * MS) /* What most kernels print. */

struct fixture {
    struct tree proc;
    struct proctree *tree;
    bool has_children_files;
};

static int
set_up_scan(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_int_equal(sysconf(_SC_CLK_TCK), 100);
    tree_make(&f->proc);
    *state = f;
    return 0;
}

static int
set_up(void **state)
{
    set_up_scan(state);
    struct fixture *f = *state;

    f->has_children_files = true;
    tree_put(&f->proc, "thread-self/children", "%s", "");
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    proctree_destroy(f->tree);
    tree_remove(&f->proc);
    free(f);
    return 0;
}

struct made {
    int pid, parent;
    char state;
    int ticks, child_ticks; /* utime and cutime. */
    uint64_t run_ns;        /* Of schedstat. */
    const char *children;
};

/* Writes a process that started at tick 1000 + pid. */
static void
put(struct fixture *f, struct made m)
{
    char path[64];

    snprintf(path, sizeof path, "%d/stat", m.pid);
    tree_put(&f->proc, path,
             "%d (a) R 1 (b) %c %d 1 1 0 -1 0 0 0 0 0 %d 0 %d 0 20 0 1 0 %d 1 "
             "1\n",
             m.pid, m.state ? m.state : 'S', m.parent, m.ticks, m.child_ticks,
             1000 + m.pid);
    snprintf(path, sizeof path, "%d/task/%d/schedstat", m.pid, m.pid);
    tree_put(&f->proc, path, "%llu 5 5\n", (unsigned long long)m.run_ns);
    if (f->has_children_files) {
        snprintf(path, sizeof path, "%d/task/%d/children", m.pid, m.pid);
        tree_put(&f->proc, path, "%s", m.children ? m.children : "");
    }
}

static void
drop(struct fixture *f, int pid)
{
    char path[16];

    snprintf(path, sizeof path, "%d", pid);
    tree_drop(&f->proc, path);
}

static void
begin(struct fixture *f, pid_t root)
{
    struct process_id id = {.pid = root, .start = 1000 + (uint64_t)root};

    assert_int_equal(proctree_create(&f->tree, f->proc.dirfd), 0);
    proctree_reset(f->tree, &id);
}

static bool
has(struct fixture *f, pid_t pid)
{
    for (uint32_t i = 0; i < proctree_n(f->tree); i++) {
        if (proctree_process(f->tree, i)->id.pid == pid) {
            return true;
        }
    }
    return false;
}

static void
descendants_are_in_and_others_out(void **state)
{
    struct fixture *f = *state;

    put(f, (struct made){.pid = 10, .parent = 1, .children = "11 12 "});
    put(f, (struct made){.pid = 11, .parent = 10});
    put(f, (struct made){.pid = 12, .parent = 10, .children = "13"});
    put(f, (struct made){.pid = 13, .parent = 12});
    put(f, (struct made){.pid = 20, .parent = 1, .children = "21"});
    put(f, (struct made){.pid = 21, .parent = 20});
    begin(f, 10);
    assert_int_equal(proctree_scan(f->tree), 4);
    assert_true(has(f, 10) && has(f, 11) && has(f, 12) && has(f, 13));
    assert_false(has(f, 20) || has(f, 21));
}

static void
number_that_changed_hands_is_out(void **state)
{
    struct fixture *f = *state;

    put(f, (struct made){.pid = 10, .parent = 1, .children = "11"});
    put(f, (struct made){.pid = 11, .parent = 10, .run_ns = 5 * MS});
    begin(f, 10);
    assert_int_equal(proctree_scan(f->tree), 2);
    put(f, (struct made){.pid = 10, .parent = 1});
    tree_put(&f->proc, "11/stat",
             "11 (x) S 1 1 1 0 -1 0 0 0 0 0 900 0 0 0 20 0 1 0 7777 1 1\n");
    assert_int_equal(proctree_scan(f->tree), 1);
    assert_false(has(f, 11));
    assert_int_equal(proctree_busy_ns(f->tree), 5 * MS);
}

static void
root_that_changed_hands_is_nobody(void **state)
{
    struct fixture *f = *state;
    struct process_id id = {.pid = 10, .start = 999};

    put(f, (struct made){.pid = 10, .parent = 1});
    assert_int_equal(proctree_create(&f->tree, f->proc.dirfd), 0);
    proctree_reset(f->tree, &id);
    assert_int_equal(proctree_scan(f->tree), 0);
    assert_int_equal(proctree_n(f->tree), 0);
}

static void
orphan_is_kept_with_its_children(void **state)
{
    struct fixture *f = *state;

    put(f, (struct made){.pid = 10, .parent = 1, .children = "11"});
    put(f, (struct made){.pid = 11, .parent = 10});
    begin(f, 10);
    proctree_scan(f->tree);
    drop(f, 10);
    put(f, (struct made){.pid = 11, .parent = 1, .children = "12"});
    put(f, (struct made){.pid = 12, .parent = 11});
    assert_int_equal(proctree_scan(f->tree), 2);
    assert_true(has(f, 11) && has(f, 12));
}

static void
zombies_are_members_but_do_not_live(void **state)
{
    struct fixture *f = *state;

    put(f, (struct made){.pid = 10, .parent = 1, .state = 'Z'});
    begin(f, 10);
    assert_int_equal(proctree_scan(f->tree), 0);
    assert_int_equal(proctree_n(f->tree), 1);
}

static void
child_listed_twice_counts_once(void **state)
{
    struct fixture *f = *state;

    put(f, (struct made){.pid = 10, .parent = 1, .children = "11 11 10 11"});
    put(f, (struct made){.pid = 11, .parent = 10, .run_ns = 3 * MS});
    begin(f, 10);
    assert_int_equal(proctree_scan(f->tree), 2);
    assert_int_equal(proctree_busy_ns(f->tree), 3 * MS);
}

static void
time_so_far_counts_from_the_start(void **state)
{
    struct fixture *f = *state;

    put(f, (struct made){.pid = 10,
                         .parent = 1,
                         .child_ticks = 7,
                         .run_ns = 12 * MS,
                         .children = "11"});
    put(f, (struct made){.pid = 11, .parent = 10, .run_ns = 30 * MS});
    begin(f, 10);
    proctree_scan(f->tree);
    assert_int_equal(proctree_busy_ns(f->tree), 42 * MS + 7 * TICK);
}

/* A program ran and was waited for between two looks. */
static void
inherited_time_counts(void **state)
{
    struct fixture *f = *state;

    put(f, (struct made){.pid = 10, .parent = 1});
    begin(f, 10);
    proctree_scan(f->tree);
    put(f, (struct made){.pid = 10, .parent = 1, .child_ticks = 4});
    proctree_scan(f->tree);
    assert_int_equal(proctree_busy_ns(f->tree), 4 * TICK);
}

/* 100 ms were counted while it lived, it ended with 130. */
static void
ended_childs_time_counts_once(void **state)
{
    struct fixture *f = *state;

    put(f, (struct made){.pid = 10, .parent = 1, .children = "11"});
    put(f, (struct made){.pid = 11, .parent = 10, .run_ns = 100 * MS});
    begin(f, 10);
    proctree_scan(f->tree);
    drop(f, 11);
    put(f, (struct made){.pid = 10, .parent = 1, .child_ticks = 13});
    proctree_scan(f->tree);
    assert_int_equal(proctree_busy_ns(f->tree), 130 * MS);
}

/* The parent was looked at before it had waited, the child after it was gone.
 */
static void
time_inherited_a_look_later_counts_once(void **state)
{
    struct fixture *f = *state;

    put(f, (struct made){.pid = 10, .parent = 1, .children = "11"});
    put(f, (struct made){.pid = 11, .parent = 10, .run_ns = 100 * MS});
    begin(f, 10);
    proctree_scan(f->tree);
    drop(f, 11);
    proctree_scan(f->tree);
    assert_int_equal(proctree_busy_ns(f->tree), 100 * MS);
    put(f, (struct made){.pid = 10, .parent = 1, .child_ticks = 13});
    proctree_scan(f->tree);
    assert_int_equal(proctree_busy_ns(f->tree), 130 * MS);
}

/* Its parent ignores SIGCHLD: nobody inherits, nothing is lost but the rest. */
static void
time_nobody_inherits_is_kept(void **state)
{
    struct fixture *f = *state;

    put(f, (struct made){.pid = 10, .parent = 1, .children = "11"});
    put(f, (struct made){.pid = 11, .parent = 10, .run_ns = 100 * MS});
    begin(f, 10);
    proctree_scan(f->tree);
    drop(f, 11);
    put(f, (struct made){.pid = 10, .parent = 1});
    proctree_scan(f->tree);
    proctree_scan(f->tree);
    proctree_scan(f->tree);
    assert_int_equal(proctree_busy_ns(f->tree), 100 * MS);
    /* Long after, other children's time is not held back for it. */
    put(f, (struct made){.pid = 10, .parent = 1, .child_ticks = 2});
    proctree_scan(f->tree);
    assert_int_equal(proctree_busy_ns(f->tree), 120 * MS);
}

static void
time_never_falls(void **state)
{
    struct fixture *f = *state;

    put(f, (struct made){
               .pid = 10, .parent = 1, .child_ticks = 50, .run_ns = 100 * MS});
    begin(f, 10);
    proctree_scan(f->tree);
    uint64_t before = proctree_busy_ns(f->tree);
    put(f, (struct made){.pid = 10, .parent = 1});
    proctree_scan(f->tree);
    assert_int_equal(proctree_busy_ns(f->tree), before);
    drop(f, 10);
    proctree_scan(f->tree);
    assert_int_equal(proctree_busy_ns(f->tree), before);
}

/* A thread that ended is in the process's ticks, not in its schedstat. */
static void
ended_threads_are_in_the_ticks(void **state)
{
    struct fixture *f = *state;

    put(f,
        (struct made){.pid = 10, .parent = 1, .ticks = 30, .run_ns = 100 * MS});
    begin(f, 10);
    proctree_scan(f->tree);
    assert_int_equal(proctree_busy_ns(f->tree), 30 * TICK);
}

static void
without_schedstat_ticks_count(void **state)
{
    struct fixture *f = *state;

    put(f, (struct made){.pid = 10, .parent = 1, .ticks = 3});
    tree_drop(&f->proc, "10/task/10/schedstat");
    begin(f, 10);
    proctree_scan(f->tree);
    assert_int_equal(proctree_busy_ns(f->tree), 3 * TICK);
}

static void
all_threads_count(void **state)
{
    struct fixture *f = *state;

    put(f, (struct made){.pid = 10, .parent = 1, .run_ns = 1 * MS});
    tree_put(&f->proc, "10/stat",
             "10 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 1010 1 1\n");
    tree_put(&f->proc, "10/task/16/schedstat", "2000000 0 0\n");
    tree_put(&f->proc, "10/task/16/children", "17");
    tree_put(&f->proc, "10/task/18/schedstat", "4000000 0 0\n");
    put(f, (struct made){.pid = 17, .parent = 10, .run_ns = 8 * MS});
    begin(f, 10);
    assert_int_equal(proctree_scan(f->tree), 2);
    assert_int_equal(proctree_busy_ns(f->tree), 15 * MS);
}

static void
without_children_files_parents_lead_there(void **state)
{
    struct fixture *f = *state;

    put(f, (struct made){.pid = 10, .parent = 1, .run_ns = 1 * MS});
    put(f, (struct made){.pid = 11, .parent = 10, .run_ns = 2 * MS});
    put(f, (struct made){.pid = 9, .parent = 11, .run_ns = 4 * MS});
    put(f, (struct made){.pid = 20, .parent = 1, .run_ns = 8 * MS});
    begin(f, 10);
    assert_int_equal(proctree_scan(f->tree), 3);
    assert_true(has(f, 9));
    assert_false(has(f, 20));
    assert_int_equal(proctree_busy_ns(f->tree), 7 * MS);
}

static void
broken_stat_is_no_process(void **state)
{
    static const char *const broken[] = {
        "",
        "10",
        "10 (x",
        "10 (x)",
        "10 (x) ",
        "10 (x) S",
        "10 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0",
        "10 (x) 5 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 1010 1 1",
        "10 (x) S 1 1 1 0 a 0 0 0 0 0 0 0 0 0 20 0 3 0 1010 1 1",
    };
    struct fixture *f = *state;
    struct process p = {.parent = 77};

    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        tree_put(&f->proc, "10/stat", "%s", broken[i]);
        assert_int_equal(process_read(f->proc.dirfd, 10, &p), -EIO);
        assert_int_equal(p.parent, 77);
    }
    drop(f, 10);
    assert_int_equal(process_read(f->proc.dirfd, 10, &p), -ENOENT);
}

static void
more_than_the_bound_is_cut(void **state)
{
    struct fixture *f = *state;
    static char children[65536];
    char *at = children;

    for (int pid = 100; pid < 100 + PROCTREE_TASKS_MAX + 100; pid++) {
        at += sprintf(at, "%d ", pid);
        char path[32];
        snprintf(path, sizeof path, "%d/stat", pid);
        tree_put(&f->proc, path,
                 "%d (x) S 10 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 1 1\n",
                 pid, 1000 + pid);
    }
    put(f, (struct made){.pid = 10, .parent = 1, .children = children});
    begin(f, 10);
    assert_int_equal(proctree_scan(f->tree), PROCTREE_TASKS_MAX);
    assert_int_equal(proctree_scan(f->tree), PROCTREE_TASKS_MAX);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define T_SCAN(name)                                                           \
    cmocka_unit_test_setup_teardown(name, set_up_scan, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(descendants_are_in_and_others_out),
        T(number_that_changed_hands_is_out),
        T(root_that_changed_hands_is_nobody),
        T(orphan_is_kept_with_its_children),
        T(zombies_are_members_but_do_not_live),
        T(child_listed_twice_counts_once),
        T(time_so_far_counts_from_the_start),
        T(inherited_time_counts),
        T(ended_childs_time_counts_once),
        T(time_inherited_a_look_later_counts_once),
        T(time_nobody_inherits_is_kept),
        T(time_never_falls),
        T(ended_threads_are_in_the_ticks),
        T(without_schedstat_ticks_count),
        T(all_threads_count),
        T_SCAN(without_children_files_parents_lead_there),
        T(broken_stat_is_no_process),
        T(more_than_the_bound_is_cut),
    };

    return cmocka_run_group_tests_name("proctree", tests, NULL, NULL);
}
