/* SPDX-License-Identifier: Apache-2.0 */
/* mctl doctor looks at processes that the test made up: this program once more,
 * by a broker's name, with or without walls around it.  It believes what the
 * kernel says and nothing else, and finds fault with each wall that is missing.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl/facts.h"
#include "tests/unit/ctl/fakebroker.h"

#define WALLED "--walled"

static char dir[64];

/* The made-up processes. */

static void
make_walls(void)
{
    struct sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    const struct sock_fprog program = {.len = 1, .filter = all};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        _exit(1);
    }
}

/* Holds a descriptor of each kind until it is ended. */
static _Noreturn void
be_a_role(bool walled)
{
    int pair[2];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (walled) {
        make_walls();
    }
    if (pipe(pair) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) {
        _exit(1);
    }
    (void)open("/dev/null", O_RDONLY);
    (void)open("/", O_RDONLY | O_DIRECTORY);
    if (write(3, "x", 1) != 1) { /* Whoever made us waits for this. */
        _exit(1);
    }
    for (;;) {
        pause();
    }
}

/* Starts this program with those words, and waits until it stands. */
static pid_t
start(const char *name, const char *role, const char *walled)
{
    char *const argv[] = {(char *)(uintptr_t)name, (char *)(uintptr_t)role,
                          (char *)(uintptr_t)walled, NULL};
    int pair[2];
    char said;

    assert_int_equal(pipe(pair), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (pair[1] != 3) {
            dup2(pair[1], 3);
        }
        execv("/proc/self/exe", argv);
        _exit(1);
    }
    close(pair[1]);
    assert_int_equal(read(pair[0], &said, 1), 1);
    close(pair[0]);
    return pid;
}

static void
end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void
put_lock(const char *text)
{
    char path[100];

    snprintf(path, sizeof path, "%s/lock", dir);
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
}

static const struct fake_run *
doctor(bool json)
{
    const struct ctl options = {.run_dir = dir, .json = json, .colour = !json};

    return fake_run(&verb_doctor, "", &options, NULL);
}

static int
set_up(void **state)
{
    strcpy(dir, "/tmp/mbroker-doctor-XXXXXX");
    return !mkdtemp(dir);
}

static int
tear_down(void **state)
{
    char path[100];

    fake_forget();
    snprintf(path, sizeof path, "%s/lock", dir);
    unlink(path);
    return rmdir(dir);
}

/* The cases. */

static void
who_is_no_broker_is_not_looked_at(void **state)
{
    static const char *const locks[] = {
        "", "x", "-1", "0", "99999999999999", "4194305"};
    char text[32];

    assert_int_equal(doctor(false)->how, CTL_UNREACHABLE);
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++) {
        put_lock(locks[i]);
        assert_int_equal(doctor(false)->how, CTL_UNREACHABLE);
    }
    snprintf(text, sizeof text, "%d\n", (int)getpid());
    put_lock(text); /* Of another name. */
    assert_int_equal(doctor(true)->how, CTL_UNREACHABLE);
    pid_t role = start("/usr/sbin/mbrokerd", "--role=engine", NULL);
    snprintf(text, sizeof text, "%d\n", (int)role);
    put_lock(text); /* A child of one. */
    assert_int_equal(doctor(false)->how, CTL_UNREACHABLE);
    end(role);
}

static void
a_lonely_parent_lacks_its_children(void **state)
{
    pid_t parent = start("mbrokerd", NULL, NULL);
    char text[32];

    snprintf(text, sizeof text, "%d\n", (int)parent);
    put_lock(text);
    const struct fake_run *run = doctor(false);
    assert_int_equal(run->how, CTL_FAILED);
    assert_non_null(strstr(run->out, "\033[1mparent\033[0m (process "));
    assert_non_null(strstr(run->out, "the host's"));
    assert_non_null(strstr(run->out, "LACKS           it does not run"));
    assert_non_null(strstr(run->out, "Some processes lack walls"));
    run = doctor(true);
    assert_int_equal(run->how, CTL_FAILED);
    json_t *said = json_loads(run->out, 0, NULL);
    assert_true(json_is_false(json_object_get(said, "ok")));
    assert_int_equal(json_array_size(json_object_get(said, "processes")), 5);
    json_decref(said);
    end(parent);
}

static json_int_t
count(const json_t *facts, const char *kind)
{
    return json_integer_value(
        json_object_get(json_object_get(facts, "descriptors"), kind));
}

static void
facts_are_the_kernel_s(void **state)
{
    pid_t with = start("mbrokerd", "--role=engine", WALLED);
    pid_t without = start("mbrokerd", "--role=engine", NULL);

    json_t *facts = facts_read(with, getpid());
    assert_true(json_is_true(json_object_get(facts, "no_new_privs")));
    const json_t *seccomp = json_object_get(facts, "seccomp");
    assert_string_equal(json_string_value(json_object_get(seccomp, "mode")),
                        "filter");
    assert_true(count(facts, "sockets") >= 2);
    assert_true(count(facts, "pipes") >= 2);
    assert_true(count(facts, "devices") >= 1);
    assert_true(count(facts, "directories") >= 1);
    assert_int_equal(json_array_size(json_object_get(facts, "own_namespaces")),
                     0);
    json_decref(facts);
    facts = facts_read(without, getpid());
    assert_true(json_is_false(json_object_get(facts, "no_new_privs")));
    seccomp = json_object_get(facts, "seccomp");
    assert_string_not_equal(json_string_value(json_object_get(seccomp, "mode")),
                            "");
    json_decref(facts);
    end(with);
    end(without);
    assert_null(facts_read(with, getpid()));
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(who_is_no_broker_is_not_looked_at),
        IN_DIR(a_lonely_parent_lacks_its_children),
        IN_DIR(facts_are_the_kernel_s),
    };
    const char *slash = strrchr(argv[0], '/');

    if (!strcmp(slash ? slash + 1 : argv[0], "mbrokerd")) {
        be_a_role(argc > 2 && !strcmp(argv[2], WALLED));
    }
    return cmocka_run_group_tests_name("doctor", tests, NULL, NULL);
}
