/* SPDX-License-Identifier: Apache-2.0 */
/* Each process of mbrokerd, run by itself with a test at the other ends of its
 * lines: what it may be told, and that it leaves, restored, when it is told
 * something else or left alone. */
#include "broker/role/role.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "broker/control/control.h"
#include "broker/parent/launch.h"
#include "broker/role/line.h"
#include "include/mchan.h"

#define PATIENCE_S 30

static char dir[64], why[CONFIG_WHY_SIZE];
static struct broker_config config;
static struct loop *loop;
static struct line parent, first, second; /* Our ends. */
static pid_t pid;                         /* Of the role; 0: none. */

static void
no_turn(void *ctx, nsec_t now)
{
    (void)ctx;
    (void)now;
}

static nsec_t
no_deadline(void *ctx, nsec_t now)
{
    (void)ctx;
    (void)now;
    return NSEC_NEVER;
}

static int
setup(void **state)
{
    static const struct loop_ops ops = {no_turn, no_deadline};
    char text[512], path[128];

    (void)state;
    strcpy(dir, "/tmp/mbroker-roles-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(text, sizeof text,
             "host_id = \"h\"; cpus = [0]; pstate = { driver = \"sim\"; };\n"
             "run_dir = \"%s/run\"; state_dir = \"%s\";\n"
             "guests = ( { name = \"web1\"; vcpus = [0];\n"
             "             channel = \"unix:%s/web1\"; } );\n",
             dir, dir, dir);
    assert_int_equal(config_parse(&config, text, "t", why, sizeof why), 0);
    snprintf(path, sizeof path, "%s/conf", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    snprintf(path, sizeof path, "%s/journal", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(loop_create(&loop, &ops, NULL), 0);
    memset(&parent, 0, sizeof parent);
    memset(&first, 0, sizeof first);
    memset(&second, 0, sizeof second);
    pid = 0;
    return 0;
}

static int
teardown(void **state)
{
    char command[128];

    (void)state;
    line_close(&parent);
    line_close(&first);
    line_close(&second);
    if (pid) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    loop_destroy(loop);
    config_fini(&config);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static int64_t
no_wall(void *ctx)
{
    (void)ctx;
    return 0;
}

/* Runs a role in a process of its own, with 'fds' from FD_PARENT on. */
static void
run(enum role role, const int *fds, int n_fds)
{
    int all[16] = {-1, -1}; /* Of FD_CONFIG it gets a path, and has no words. */
    char name[16], path[128];
    char *argv[] = {name, path, NULL};

    snprintf(name, sizeof name, "%s", role_name(role));
    snprintf(path, sizeof path, "%s/conf", dir);
    memcpy(all + 2, fds, (size_t)n_fds * sizeof all[0]);
    pid = launch(argv, all, (uint32_t)n_fds + 2);
    assert_true(pid > 0);
    for (int i = 0; i < n_fds; i++) {
        close(fds[i]);
    }
}

/* This program again, as what its name says. */
static int
be_role(const char *name, const char *path)
{
    static int (*const roles[])(const struct role_env *) = {
        role_back, role_engine, role_platform};
    struct role_env env = {
        .config = &config, .clock = loop_now, .wall_ns = no_wall};
    char text[1024];

    FILE *file = fopen(path, "r");
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[length] = '\0';
    if (!file || fclose(file) || !freopen("/dev/null", "w", stderr) ||
        config_parse(&config, text, path, why, sizeof why)) {
        return 99;
    }
    for (enum role role = ROLE_BACK; role <= ROLE_PLATFORM; role++) {
        if (!strcmp(name, role_name(role))) {
            int result = roles[role](&env);

            config_fini(&config);
            return result;
        }
    }
    return 99;
}

/* A line whose other end is 'fds[at]'. */
static void
make_line(struct line *line, bool listens, enum grant_role self,
          enum grant_role peer, int *fds, int at)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX,
                                SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                                pair),
                     0);
    assert_int_equal(line_open(line, loop, pair[0], listens, self, peer), 0);
    fds[at - FD_PARENT] = pair[1];
}

static int
open_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static void
run_platform(void)
{
    int fds[FD_PLATFORM_CAP + 1 - FD_PARENT];

    make_line(&parent, true, GRANT_PARENT, GRANT_PLATFORM, fds, FD_PARENT);
    make_line(&first, true, GRANT_ENGINE, GRANT_PLATFORM, fds,
              FD_PLATFORM_ENGINE);
    fds[FD_PLATFORM_STEWARD - FD_PARENT] = -1;
    fds[FD_PLATFORM_SAVED - FD_PARENT] = open_dir(dir);
    fds[FD_PLATFORM_SYS - FD_PARENT] = open_dir("/");
    fds[FD_PLATFORM_PROC - FD_PARENT] = open_dir("/proc");
    fds[FD_PLATFORM_DATA - FD_PARENT] = open_dir("/");
    fds[FD_PLATFORM_CAP - FD_PARENT] = open_dir(dir);
    run(ROLE_PLATFORM, fds, FD_PLATFORM_CAP + 1 - FD_PARENT);
}

static void
run_engine(void)
{
    int fds[FD_ENGINE_CONTROL + 1 - FD_PARENT];
    char path[128];

    make_line(&parent, true, GRANT_PARENT, GRANT_ENGINE, fds, FD_PARENT);
    make_line(&first, false, GRANT_BACK, GRANT_ENGINE, fds, FD_ENGINE_BACK);
    make_line(&second, false, GRANT_PLATFORM, GRANT_ENGINE, fds,
              FD_ENGINE_PLATFORM);
    snprintf(path, sizeof path, "%s/control", dir);
    fds[FD_ENGINE_CONTROL - FD_PARENT] = control_listen(path, why, sizeof why);
    run(ROLE_ENGINE, fds, FD_ENGINE_CONTROL + 1 - FD_PARENT);
}

static void
run_back(void)
{
    int fds[FD_BACK_GUESTS + 1 - FD_PARENT];
    char path[128];

    make_line(&parent, true, GRANT_PARENT, GRANT_BACK, fds, FD_PARENT);
    make_line(&first, true, GRANT_ENGINE, GRANT_BACK, fds, FD_BACK_ENGINE);
    snprintf(path, sizeof path, "%s/web1", dir);
    fds[FD_BACK_HANDS - FD_PARENT] = -1;
    fds[FD_BACK_GUESTS - FD_PARENT] = control_listen(path, why, sizeof why);
    run(ROLE_BACK, fds, FD_BACK_GUESTS + 1 - FD_PARENT);
}

/* Patience: a busy machine is no failure. */
static bool
is_early(time_t *end)
{
    struct timespec now, nap = {.tv_nsec = 2 * NSEC_PER_MSEC};

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!*end) {
        *end = now.tv_sec + PATIENCE_S;
    }
    nanosleep(&nap, NULL);
    return now.tv_sec < *end;
}

static void
tell(struct line *line, const struct msg *msg)
{
    time_t end = 0;
    struct msg other;

    while (line_send(line, msg)) {
        assert_true(is_early(&end));
        line_recv(line, &other, why, sizeof why); /* Moves it on. */
    }
}

static struct msg
hear(struct line *line, enum msg_type type)
{
    time_t end = 0;
    struct msg msg = {0};

    for (;;) {
        int got = line_recv(line, &msg, why, sizeof why);

        assert_true(got >= 0);
        if (got && msg.type == type) {
            return msg;
        }
        assert_true(got || is_early(&end));
    }
}

/* Sends bytes that are no message of that type. */
static void
tell_nonsense(struct line *line, enum msg_type type)
{
    struct mchan_msg out = {
        .data = "\xff\x00", .size = 2, .tag = (uint16_t)type};

    assert_int_equal(mchan_send(line->channel, &out), 0);
}

static int
status(void)
{
    time_t end = 0;
    struct msg msg;
    int result;

    while (waitpid(pid, &result, WNOHANG) == 0) {
        assert_true(is_early(&end));
        line_recv(&first, &msg, why, sizeof why); /* Moves the lines on. */
        line_recv(&parent, &msg, why, sizeof why);
        line_recv(&second, &msg, why, sizeof why);
    }
    pid = 0;
    assert_true(WIFEXITED(result));
    return WEXITSTATUS(result);
}

static const struct msg bye = {.type = MSG_BYE, .bye = {"enough"}};
static const struct msg ready = {.type = MSG_READY};
static const struct msg started = {.type = MSG_STARTED, .started = {5}};

/* platform */

static bool
is_saved(void)
{
    char path[128];

    snprintf(path, sizeof path, "%s/pstate-cpu0", dir);
    return !access(path, F_OK);
}

/* Has platform change something. */
static void
change(void)
{
    struct msg msg = {
        .type = MSG_SET_PSTATE,
        .set_pstate = {.command = 1, .cause = 1, .domain = 0, .pstate = 3}};

    hear(&first, MSG_READY);
    tell(&first, &msg);
    assert_int_equal(hear(&first, MSG_OUTCOME).outcome.error, 0);
    assert_true(is_saved());
}

static void
platform_told_to_leave_restores_and_leaves(void **state)
{
    run_platform();
    change();
    tell(&parent, &bye);
    assert_int_equal(status(), 0);
    assert_false(is_saved());
}

static void
platform_left_alone_restores_and_leaves(void **state)
{
    run_platform();
    change();
    line_close(&parent);
    assert_int_equal(status(), 0);
    assert_false(is_saved());
}

static void
platform_without_an_engine_restores_and_waits_to_be_told(void **state)
{
    time_t end = 0;
    int result;

    run_platform();
    change();
    line_close(&first);
    while (is_saved()) {
        assert_true(is_early(&end));
    }
    assert_int_equal(waitpid(pid, &result, WNOHANG), 0);
    tell(&parent, &bye);
    assert_int_equal(status(), 0);
}

static void
an_unexpected_request_ends_platform_restored(void **state)
{
    static const struct msg unexpected[] = {
        {.type = MSG_READY},
        {.type = MSG_OUTCOME, .outcome = {.command = 1, .cause = 1}},
        {.type = MSG_GUEST_NOTICE,
         .guest_notice = {.threshold_us = 1, .cause = 1}},
        {.type = MSG_STARTED, .started = {1}},
    };

    for (size_t i = 0; i < sizeof unexpected / sizeof unexpected[0]; i++) {
        run_platform();
        change();
        tell(&first, &unexpected[i]);
        assert_int_equal(status(), EXIT_FAILURE);
        assert_false(is_saved());
        line_close(&parent);
        line_close(&first);
    }
}

static void
nonsense_from_the_engine_ends_platform_restored(void **state)
{
    run_platform();
    change();
    tell_nonsense(&first, MSG_SET_PSTATE);
    assert_int_equal(status(), EXIT_FAILURE);
    assert_false(is_saved());
}

static void
an_action_out_of_range_does_not_end_platform(void **state)
{
    struct msg msg = {
        .type = MSG_SET_PSTATE,
        .set_pstate = {.command = 9, .cause = 1, .domain = 65535}};

    run_platform();
    hear(&first, MSG_READY);
    tell(&first, &msg);
    assert_int_equal(hear(&first, MSG_OUTCOME).outcome.error, ERANGE);
    tell(&parent, &bye);
    assert_int_equal(status(), 0);
}

static void
a_role_answers_beats(void **state)
{
    struct msg beat = {.type = MSG_BEAT, .beat = {.number = 77}};

    run_platform();
    for (int i = 0; i < 3; i++) {
        tell(&parent, &beat);
        assert_int_equal(hear(&parent, MSG_BEAT_REPLY).beat_reply.number, 77);
    }
    tell(&parent, &bye);
    assert_int_equal(status(), 0);
}

/* engine */

static void
start_engine(void)
{
    run_engine();
    tell(&second, &ready);
    hear(&parent, MSG_READY);
}

static void
engine_tells_back_the_start_count_once_platform_is_ready(void **state)
{
    for (uint64_t start = 1; start <= 3; start++) {
        start_engine();
        assert_int_equal(hear(&first, MSG_STARTED).started.start_count, start);
        tell(&parent, &bye);
        assert_int_equal(status(), 0);
        line_close(&parent);
        line_close(&first);
        line_close(&second);
    }
}

static void
engine_left_alone_leaves(void **state)
{
    start_engine();
    line_close(&parent);
    assert_int_equal(status(), 0);
}

static void
engine_without_back_and_platform_waits_to_be_told(void **state)
{
    int result;

    start_engine();
    line_close(&first);
    line_close(&second);
    nanosleep(&(struct timespec){.tv_nsec = 100 * NSEC_PER_MSEC}, NULL);
    assert_int_equal(waitpid(pid, &result, WNOHANG), 0);
    tell(&parent, &bye);
    assert_int_equal(status(), 0);
}

static void
back_may_not_speak_for_platform(void **state)
{
    static const struct msg lies[] = {
        {.type = MSG_OUTCOME, .outcome = {.command = 1, .cause = 1}},
        {.type = MSG_READY},
        {.type = MSG_SAMPLE_POWER, .sample_power = {.power_mw = 1}},
        {.type = MSG_VM_GONE},
    };

    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        start_engine();
        tell(&first, &lies[i]);
        assert_int_equal(status(), EXIT_FAILURE);
        line_close(&parent);
        line_close(&first);
        line_close(&second);
    }
}

static void
platform_may_not_speak_for_guests(void **state)
{
    struct msg msg = {.type = MSG_GUEST_NOTICE,
                      .guest_notice = {.threshold_us = 1, .cause = 1}};

    start_engine();
    tell(&second, &msg);
    assert_int_equal(status(), EXIT_FAILURE);
}

static void
nonsense_on_a_line_ends_engine(void **state)
{
    start_engine();
    hear(&first, MSG_STARTED);
    tell_nonsense(&first, MSG_GUEST_REPORT);
    assert_int_equal(status(), EXIT_FAILURE);
}

/* back */

static struct mchan *
dial(void)
{
    struct mchan *channel;
    char uri[128];

    snprintf(uri, sizeof uri, "unix:%s/web1", dir);
    assert_int_equal(mchan_open(&channel, uri, NULL), 0);
    return channel;
}

static void
greet(struct mchan *channel)
{
    struct msg hello = {.type = MSG_HELLO,
                        .hello = {.version_min = 1, .version_max = 1}};
    uint8_t data[MSG_SIZE_MAX];
    ssize_t size = msg_encode(&hello, 1, data, sizeof data, NULL, 0);
    struct mchan_msg out = {
        .data = data, .size = (size_t)size, .tag = MSG_HELLO};
    struct mchan_event event;
    time_t end = 0;

    while (mchan_send(channel, &out)) {
        assert_true(is_early(&end));
        mchan_next_event(channel, &event);
    }
}

static void
back_serves_guests_once_it_is_told_the_start_count(void **state)
{
    struct msg msg;

    run_back();
    tell(&first, &started);
    hear(&parent, MSG_READY);
    struct mchan *channel = dial();
    greet(channel);
    msg = hear(&first, MSG_GUEST_UP);
    assert_int_equal(msg.guest_up.cause >> 40, 5);
    mchan_close(channel);
    hear(&first, MSG_GUEST_LOST);
    tell(&parent, &bye);
    assert_int_equal(status(), 0);
}

static void
back_left_alone_leaves(void **state)
{
    run_back();
    tell(&first, &started);
    hear(&parent, MSG_READY);
    line_close(&parent);
    assert_int_equal(status(), 0);
}

static void
back_takes_nothing_from_the_engine_but_one_start(void **state)
{
    static const struct msg unexpected[] = {
        {.type = MSG_READY},
        {.type = MSG_SET_PSTATE, .set_pstate = {.command = 1, .cause = 1}},
    };

    for (size_t i = 0; i < 2; i++) {
        run_back();
        tell(&first, &unexpected[i]);
        assert_int_equal(status(), EXIT_FAILURE);
        line_close(&parent);
        line_close(&first);
        char path[128];
        snprintf(path, sizeof path, "%s/web1", dir);
        unlink(path);
    }
    run_back();
    tell(&first, &started);
    tell(&first, &started);
    assert_int_equal(status(), EXIT_FAILURE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc == 2) {
        return be_role(argv[0], argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(platform_told_to_leave_restores_and_leaves),
        TEST(platform_left_alone_restores_and_leaves),
        TEST(platform_without_an_engine_restores_and_waits_to_be_told),
        TEST(an_unexpected_request_ends_platform_restored),
        TEST(nonsense_from_the_engine_ends_platform_restored),
        TEST(an_action_out_of_range_does_not_end_platform),
        TEST(a_role_answers_beats),
        TEST(engine_tells_back_the_start_count_once_platform_is_ready),
        TEST(engine_left_alone_leaves),
        TEST(engine_without_back_and_platform_waits_to_be_told),
        TEST(back_may_not_speak_for_platform),
        TEST(platform_may_not_speak_for_guests),
        TEST(nonsense_on_a_line_ends_engine),
        TEST(back_serves_guests_once_it_is_told_the_start_count),
        TEST(back_left_alone_leaves),
        TEST(back_takes_nothing_from_the_engine_but_one_start),
    };

    return cmocka_run_group_tests_name("roles", tests, NULL, NULL);
}
