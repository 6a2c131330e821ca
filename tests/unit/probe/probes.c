/* SPDX-License-Identifier: Apache-2.0 */
/* The probes as the agent sees them: httplog on a real file, cpu on a made
 * /proc, sim on a made world. */
#include "probe/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "probe/sim.h"

#define MS NSEC_PER_MSEC
#define NOW (5000 * MS)
/* The wall clock says this when the agent's says 0. */
#define WALL (INT64_C(1700000000) * NSEC_PER_SEC)

struct bench {
    char dir[64], path[128];
    int dirfd;
    struct option_values options;
    struct probe_env env;
    const struct probe_class *class;
    struct probe *probe;
    struct probe_sink sink;
    uint64_t n_requests, sum_us, last_us, n_cpu;
    nsec_t last_ended;
    uint32_t util_permille;
};

static void
on_request(void *ctx, nsec_t ended, uint64_t response_us)
{
    struct bench *b = ctx;

    b->n_requests++;
    b->sum_us += response_us;
    b->last_us = response_us;
    b->last_ended = ended;
}

static void
on_cpu(void *ctx, uint32_t util_permille)
{
    struct bench *b = ctx;

    b->n_cpu++;
    b->util_permille = util_permille;
}

static int
setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);

    strcpy(b->dir, "/tmp/mbroker-probes-XXXXXX");
    if (!mkdtemp(b->dir)) {
        return -1;
    }
    b->dirfd = open(b->dir, O_RDONLY | O_DIRECTORY);
    snprintf(b->path, sizeof b->path, "%s/stat", b->dir);
    b->sink = (struct probe_sink){
        .ctx = b, .wall_minus_now = WALL, .request = on_request, .cpu = on_cpu};
    *state = b;
    return 0;
}

static int
teardown(void **state)
{
    struct bench *b = *state;

    if (b->probe) {
        b->class->close(b->probe);
    }
    unlink(b->path);
    close(b->dirfd);
    rmdir(b->dir);
    free(b);
    return 0;
}

/* Sets options given as name, text, …, null. */
static void
use(struct bench *b, const char *name, const char *const *options)
{
    char why[160] = "";

    b->class = probe_find(name);
    assert_non_null(b->class);
    options_init(&b->options, b->class->options);
    for (; *options; options += 2) {
        assert_int_equal(
            options_set(&b->options, options[0], options[1], why, sizeof why),
            0);
    }
    b->env.options = &b->options;
    b->env.proc_dirfd = b->dirfd;
    b->env.seed = 1;
    assert_int_equal(b->class->open(&b->probe, &b->env, why, sizeof why), 0);
}

static void
use_httplog(struct bench *b, const char *format)
{
    const char *options[] = {"path", b->path, "format", format, NULL};

    use(b, "httplog", options);
}

static void
write_file(struct bench *b, const char *text, int flags)
{
    int fd = open(b->path, O_WRONLY | O_CREAT | flags, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static int
look(struct bench *b, nsec_t now)
{
    return b->class->sample(b->probe, now, &b->sink);
}

static void
httplog_says_when_requests_ended_on_the_agents_clock(void **state)
{
    struct bench *b = *state;

    use_httplog(b, "nginx");
    assert_int_equal(look(b, NOW), -ENOENT);
    write_file(b, "1700000004.900 0.017 200\n", O_APPEND);
    assert_int_equal(look(b, NOW), 0);
    assert_int_equal(b->n_requests, 1);
    assert_int_equal(b->last_us, 17000);
    assert_int_equal(b->last_ended, 4900 * MS);
}

static void
httplog_follows_the_wall_clock_when_it_is_set(void **state)
{
    struct bench *b = *state;

    use_httplog(b, "nginx");
    look(b, NOW);
    b->sink.wall_minus_now = WALL + 86400 * NSEC_PER_SEC;
    write_file(b, "1700086404.900 0.017 200\n", O_APPEND);
    look(b, NOW);
    assert_int_equal(b->last_ended, 4900 * MS);
}

static void
httplog_leaves_the_end_open_where_the_line_does(void **state)
{
    struct bench *b = *state;

    use_httplog(b, "apache");
    look(b, NOW);
    write_file(b, "::1 - - [14/Nov/2023:22:13:20 +0000] \"GET /\" 200 5 1234\n",
               O_APPEND);
    look(b, NOW);
    assert_int_equal(b->n_requests, 1);
    assert_int_equal(b->last_us, 1234);
    assert_int_equal(b->last_ended, 0);
}

static void
httplog_asks_again_within_its_period(void **state)
{
    struct bench *b = *state;
    nsec_t deadline;

    use_httplog(b, "nginx");
    write_file(b, "", O_APPEND);
    look(b, NOW);
    deadline = b->class->deadline(b->probe, NOW);
    assert_true(deadline > NOW);
    assert_true(deadline <= NOW + 100 * MS);
}

static void
httplog_counts_what_it_refuses_and_says_where(void **state)
{
    struct bench *b = *state;
    struct probe_stats stats;

    use_httplog(b, "nginx");
    look(b, NOW);
    write_file(b,
               "1700000004.900 0.001 200\n"
               "nonsense\n"
               "1700000004.900 -0.001 200\n"
               "1700000004.900 0.002 200\n",
               O_APPEND);
    look(b, NOW);
    b->class->stats(b->probe, &stats);
    assert_int_equal(b->n_requests, 2);
    assert_int_equal(b->sum_us, 3000);
    assert_int_equal(stats.n_seen, 2);
    assert_int_equal(stats.n_refused, 2);
    assert_non_null(strstr(stats.refused, "byte 34"));
    assert_non_null(strstr(stats.refused, "response time is negative"));
}

static void
httplog_counts_lines_that_are_too_long(void **state)
{
    struct bench *b = *state;
    struct probe_stats stats;
    static char text[20000];

    use_httplog(b, "nginx");
    look(b, NOW);
    memset(text, 'z', sizeof text - 2);
    text[sizeof text - 2] = '\n';
    write_file(b, text, O_APPEND);
    write_file(b, "1700000004.900 0.001 200\n", O_APPEND);
    look(b, NOW);
    b->class->stats(b->probe, &stats);
    assert_int_equal(stats.n_seen, 1);
    assert_int_equal(stats.n_refused, 1);
    assert_non_null(strstr(stats.refused, "line too long"));
}

static void
httplog_without_a_path_is_refused(void **state)
{
    struct bench *b = *state;
    char why[160] = "";

    b->class = probe_find("httplog");
    options_init(&b->options, b->class->options);
    b->env.options = &b->options;
    assert_int_equal(b->class->open(&b->probe, &b->env, why, sizeof why),
                     -EINVAL);
    assert_null(b->probe);
    assert_non_null(strstr(why, "path"));
}

static void
use_cpu(struct bench *b)
{
    static const char *const none[] = {NULL};

    use(b, "cpu", none);
}

static void
cpu_tells_the_share_of_busy_time(void **state)
{
    struct bench *b = *state;

    use_cpu(b);
    write_file(b, "cpu  100 10 100 1000 10 0 0 50 0 0\ncpu0 1 1\n", O_TRUNC);
    assert_int_equal(look(b, NOW), 0);
    assert_int_equal(b->n_cpu, 0);
    /* 30 ticks busy of 40; 500 more of steal are neither. */
    write_file(b, "cpu  110 15 110 1008 12 2 3 550 0 0\n", O_TRUNC);
    assert_int_equal(look(b, NOW + 500 * MS), 0);
    assert_int_equal(b->n_cpu, 1);
    assert_int_equal(b->util_permille, 750);
}

static void
cpu_waits_for_enough_ticks(void **state)
{
    struct bench *b = *state;

    use_cpu(b);
    write_file(b, "cpu  100 0 0 1000 0 0 0 0\n", O_TRUNC);
    look(b, NOW);
    write_file(b, "cpu  101 0 0 1001 0 0 0 0\n", O_TRUNC);
    look(b, NOW + MS);
    assert_int_equal(b->n_cpu, 0);
    write_file(b, "cpu  102 0 0 1006 0 0 0 0\n", O_TRUNC);
    look(b, NOW + 2 * MS);
    assert_int_equal(b->n_cpu, 1);
    assert_int_equal(b->util_permille, 250);
}

static void
cpu_refuses_counts_that_go_back_and_goes_on(void **state)
{
    struct bench *b = *state;
    struct probe_stats stats;

    use_cpu(b);
    write_file(b, "cpu  100 0 0 1000 0 0 0 0\n", O_TRUNC);
    look(b, NOW);
    write_file(b, "cpu  90 0 0 1000 0 0 0 0\n", O_TRUNC);
    look(b, NOW);
    assert_int_equal(b->n_cpu, 0);
    b->class->stats(b->probe, &stats);
    assert_int_equal(stats.n_refused, 1);
    write_file(b, "cpu  190 0 0 1000 0 0 0 0\n", O_TRUNC);
    look(b, NOW);
    assert_int_equal(b->util_permille, 1000);
}

static void
cpu_refuses_a_stat_that_makes_no_sense(void **state)
{
    static const char *const bad[] = {
        "",
        "cpu",
        "intr 1 2 3 4 5 6 7 8\n",
        "cpu  1 2 3 4 5 6 7\n",
        "cpu  1 2 3 -4 5 6 7 8\n",
        "cpu  1 2 3 99999999999999999999999 5 6 7 8\n",
        "cpu  18446744073709551615 18446744073709551615 3 4 5 6 7 8\n",
    };
    struct bench *b = *state;
    struct probe_stats stats;

    use_cpu(b);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file(b, bad[i], O_TRUNC);
        assert_int_equal(look(b, NOW), 0);
    }
    b->class->stats(b->probe, &stats);
    assert_int_equal(stats.n_refused, sizeof bad / sizeof bad[0]);
    assert_int_equal(b->n_cpu, 0);
    assert_non_null(strstr(stats.refused, "too large"));
}

static void
cpu_without_stat_says_so_and_may_recover(void **state)
{
    struct bench *b = *state;

    use_cpu(b);
    assert_int_equal(look(b, NOW), -ENOENT);
    write_file(b, "cpu  100 0 0 1000 0 0 0 0\n", O_TRUNC);
    assert_int_equal(look(b, NOW), 0);
}

static void
sim_hands_on_what_has_ended(void **state)
{
    struct bench *b = *state;
    struct probe_request storage[4];
    struct probe_world world;
    static const char *const none[] = {NULL};

    probe_world_init(&world, storage, 4);
    b->env.world = &world;
    use(b, "sim", none);
    assert_true(probe_world_add(&world, NOW - 1, 100));
    assert_true(probe_world_add(&world, NOW + 1, 200));
    look(b, NOW);
    assert_int_equal(b->n_requests, 1);
    assert_int_equal(b->last_us, 100);
    assert_int_equal(b->n_cpu, 0);
    world.util_permille = 420;
    look(b, NOW + 1);
    assert_int_equal(b->n_requests, 2);
    assert_int_equal(b->util_permille, 420);
}

static void
sim_world_is_bounded_and_counts_what_it_drops(void **state)
{
    struct probe_request storage[2];
    struct probe_world world;

    probe_world_init(&world, storage, 2);
    assert_true(probe_world_add(&world, 1, 1));
    assert_true(probe_world_add(&world, 2, 2));
    assert_false(probe_world_add(&world, 3, 3));
    assert_int_equal(world.n_dropped, 1);
}

static void
sim_lies_comes_late_and_talks_garbage_on_request(void **state)
{
    struct bench *b = *state;
    struct probe_request storage[1000];
    struct probe_world world;
    struct probe_stats stats;
    static const char *const options[] = {
        "scale_percent",    "50",  "late_ms", "100",
        "garbage_permille", "500", NULL};

    probe_world_init(&world, storage, 1000);
    b->env.world = &world;
    use(b, "sim", options);
    for (unsigned i = 0; i < 1000; i++) {
        probe_world_add(&world, NOW, 8000);
    }
    look(b, NOW + 99 * MS);
    assert_int_equal(b->n_requests, 0);
    look(b, NOW + 100 * MS);
    b->class->stats(b->probe, &stats);
    assert_int_equal(b->last_us, 4000);
    assert_int_equal(b->n_requests + stats.n_refused, 1000);
    assert_true(stats.n_refused > 400 && stats.n_refused < 600);
}

static void
sim_outside_a_simulator_is_refused(void **state)
{
    struct bench *b = *state;
    char why[160] = "";

    b->class = probe_find("sim");
    options_init(&b->options, b->class->options);
    b->env.options = &b->options;
    assert_int_equal(b->class->open(&b->probe, &b->env, why, sizeof why),
                     -EINVAL);
    assert_non_null(strstr(why, "msim"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(httplog_says_when_requests_ended_on_the_agents_clock),
        CASE(httplog_follows_the_wall_clock_when_it_is_set),
        CASE(httplog_leaves_the_end_open_where_the_line_does),
        CASE(httplog_asks_again_within_its_period),
        CASE(httplog_counts_what_it_refuses_and_says_where),
        CASE(httplog_counts_lines_that_are_too_long),
        CASE(httplog_without_a_path_is_refused),
        CASE(cpu_tells_the_share_of_busy_time),
        CASE(cpu_waits_for_enough_ticks),
        CASE(cpu_refuses_counts_that_go_back_and_goes_on),
        CASE(cpu_refuses_a_stat_that_makes_no_sense),
        CASE(cpu_without_stat_says_so_and_may_recover),
        CASE(sim_hands_on_what_has_ended),
        CASE(sim_world_is_bounded_and_counts_what_it_drops),
        CASE(sim_lies_comes_late_and_talks_garbage_on_request),
        CASE(sim_outside_a_simulator_is_refused),
    };

    return cmocka_run_group_tests_name("probe/probes", tests, NULL, NULL);
}
