/* SPDX-License-Identifier: Apache-2.0 */
/* Shows on made trees like acpi-cpufreq's and intel_pstate's that real p-states
 * are found, set by the way that is there, read back, and put back as found,
 * and that a tree which makes no sense is refused with the file's name. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardware/hardware.h"
#include "tests/unit/hardware/tree.h"

struct fixture {
    struct tree tree;
    struct option_values options;
    uint32_t cpus[4];
    struct hardware_env env;
    struct hardware *hw;
    char why[256];
};

static const struct hardware_class *
driver(void)
{
    return hardware_find("cpufreq");
}

static const struct pstate_ops *
ops(void)
{
    return driver()->pstate;
}

/* The path of a CPU's file; valid until the next call. */
static const char *
path_of(uint32_t cpu, const char *file)
{
    static char path[128];

    snprintf(path, sizeof path, "devices/system/cpu/cpu%u/cpufreq/%s", cpu,
             file);
    return path;
}

static void
put(struct fixture *f, uint32_t cpu, const char *file, const char *text)
{
    tree_put(&f->tree, path_of(cpu, file), "%s\n", text);
}

static const char *
get(struct fixture *f, uint32_t cpu, const char *file)
{
    return tree_get(&f->tree, path_of(cpu, file));
}

static void
put_acpi(struct fixture *f, uint32_t cpu, const char *related)
{
    put(f, cpu, "related_cpus", related);
    put(f, cpu, "affected_cpus", related);
    put(f, cpu, "cpuinfo_min_freq", "1000000");
    put(f, cpu, "cpuinfo_max_freq", "2400000");
    put(f, cpu, "cpuinfo_cur_freq", "2400000");
    put(f, cpu, "scaling_available_frequencies",
        "2400000 2200000 2000000 1800000 1000000 ");
    put(f, cpu, "scaling_available_governors",
        "conservative ondemand userspace powersave performance schedutil ");
    put(f, cpu, "scaling_governor", "ondemand");
    put(f, cpu, "scaling_min_freq", "1000000");
    put(f, cpu, "scaling_max_freq", "2400000");
    put(f, cpu, "scaling_cur_freq", "2400000");
    put(f, cpu, "scaling_setspeed", "<unsupported>");
    put(f, cpu, "scaling_driver", "acpi-cpufreq");
}

static void
put_intel(struct fixture *f, uint32_t cpu, const char *related)
{
    put(f, cpu, "related_cpus", related);
    put(f, cpu, "cpuinfo_min_freq", "800000");
    put(f, cpu, "cpuinfo_max_freq", "3700000");
    put(f, cpu, "scaling_available_governors", "performance powersave");
    put(f, cpu, "scaling_governor", "powersave");
    put(f, cpu, "scaling_min_freq", "800000");
    put(f, cpu, "scaling_max_freq", "3700000");
    put(f, cpu, "scaling_cur_freq", "1234567");
    put(f, cpu, "scaling_setspeed", "<unsupported>");
    put(f, cpu, "energy_performance_preference", "balance_performance");
}

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    tree_make(&f->tree);
    options_init(&f->options, driver()->options);
    for (uint32_t i = 0; i < 4; i++) {
        f->cpus[i] = i;
    }
    f->env = (struct hardware_env){
        .sys_dirfd = f->tree.dirfd,
        .data_dirfd = -1,
        .cpus = f->cpus,
        .n_cpus = 1,
        .options = &f->options,
    };
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    driver()->close(f->hw);
    tree_remove(&f->tree);
    free(f);
    return 0;
}

static int
try_open(struct fixture *f)
{
    return driver()->open(&f->hw, &f->env, f->why, sizeof f->why);
}

static const struct pstate_domain *
open_it(struct fixture *f, int n_wanted)
{
    const struct pstate_domain *domains;

    assert_int_equal(try_open(f), 0);
    assert_int_equal(ops()->domains(f->hw, &domains), n_wanted);
    return domains;
}

static uint32_t
pstate(struct fixture *f, uint32_t domain)
{
    uint32_t now = UINT32_MAX;

    assert_int_equal(ops()->get(f->hw, domain, &now), 0);
    return now;
}

static void
refused(struct fixture *f, int error, const char *word)
{
    assert_int_equal(try_open(f), error);
    assert_null(f->hw);
    if (!strstr(f->why, word)) {
        fail_msg("\"%s\" does not name %s", f->why, word);
    }
}

/* As root, permissions don't bind us: somebody else must try. */
static int
set_as_nobody(struct fixture *f, uint32_t domain, uint32_t to)
{
    bool root = geteuid() == 0;

    if (root) {
        assert_int_equal(seteuid(65534), 0);
    }
    int error = ops()->set(f->hw, domain, to);
    if (root) {
        assert_int_equal(seteuid(0), 0);
    }
    return error;
}

/* Domains and frequencies. */

static void
listed_frequencies_are_the_pstates(void **state)
{
    static const uint32_t khz[] = {2400000, 2200000, 2000000, 1800000, 1000000};
    struct fixture *f = *state;

    put_acpi(f, 0, "0");
    const struct pstate_domain *d = open_it(f, 1);
    assert_int_equal(d->table.n, 5);
    assert_memory_equal(d->table.freq_khz, khz, sizeof khz);
    assert_int_equal(d->table.voltage_mv[0], 0);
    assert_false(d->emulated);
}

static void
order_of_the_list_does_not_matter(void **state)
{
    struct fixture *f = *state;

    put_acpi(f, 0, "0");
    put(f, 0, "scaling_available_frequencies", "1000000 2400000 1000000");
    const struct pstate_domain *d = open_it(f, 1);
    assert_int_equal(d->table.n, 2);
    assert_int_equal(d->table.freq_khz[0], 2400000);
    assert_int_equal(d->table.freq_khz[1], 1000000);
}

static void
long_list_is_thinned_and_keeps_its_ends(void **state)
{
    struct fixture *f = *state;
    char list[1024] = "";

    put_acpi(f, 0, "0");
    for (int i = 0; i < 40; i++) {
        sprintf(list + strlen(list), "%d ", 1000000 + i * 10000);
    }
    put(f, 0, "scaling_available_frequencies", list);
    const struct pstate_domain *d = open_it(f, 1);
    assert_int_equal(d->table.n, PSTATES_MAX);
    assert_int_equal(d->table.freq_khz[0], 1390000);
    assert_int_equal(d->table.freq_khz[PSTATES_MAX - 1], 1000000);
    for (int i = 1; i < PSTATES_MAX; i++) {
        assert_true(d->table.freq_khz[i] < d->table.freq_khz[i - 1]);
    }
}

static void
without_a_list_there_is_a_ladder(void **state)
{
    static const uint32_t khz[] = {3700000, 3000000, 2300000, 1500000, 800000};
    struct fixture *f = *state;

    put_intel(f, 0, "0");
    const struct pstate_domain *d = open_it(f, 1);
    assert_int_equal(d->table.n, 5);
    assert_memory_equal(d->table.freq_khz, khz, sizeof khz);
}

static void
ladder_has_the_steps_asked_for(void **state)
{
    struct fixture *f = *state;

    put_intel(f, 0, "0");
    assert_int_equal(
        options_set(&f->options, "steps", "2", f->why, sizeof f->why), 0);
    const struct pstate_domain *d = open_it(f, 1);
    assert_int_equal(d->table.n, 2);
    assert_int_equal(d->table.freq_khz[0], 3700000);
    assert_int_equal(d->table.freq_khz[1], 800000);
}

static void
narrow_range_has_a_short_ladder(void **state)
{
    struct fixture *f = *state;

    put_intel(f, 0, "0");
    put(f, 0, "cpuinfo_min_freq", "3600001");
    const struct pstate_domain *d = open_it(f, 1);
    assert_int_equal(d->table.n, 2);
}

static void
single_frequency_is_a_single_pstate(void **state)
{
    struct fixture *f = *state;

    put_intel(f, 0, "0");
    put(f, 0, "cpuinfo_min_freq", "3700000");
    const struct pstate_domain *d = open_it(f, 1);
    assert_int_equal(d->table.n, 1);
    assert_int_equal(ops()->set(f->hw, 0, 1), -ERANGE);
}

static void
related_cpus_are_one_domain(void **state)
{
    struct fixture *f = *state;

    f->env.n_cpus = 4;
    put_acpi(f, 0, "0 2");
    put_acpi(f, 2, "0 2");
    put_acpi(f, 1, "1 3");
    put_acpi(f, 3, "1 3");
    const struct pstate_domain *d = open_it(f, 2);
    assert_int_equal(d[0].n_cpus, 2);
    assert_int_equal(d[0].cpus[1], 2);
    assert_int_equal(d[1].cpus[0], 1);
    assert_int_equal(d[1].id, 1);
}

static void
unmanaged_relatives_are_named_too(void **state)
{
    struct fixture *f = *state;

    put_acpi(f, 0, "0 1 2 3");
    assert_int_equal(open_it(f, 1)->n_cpus, 4);
}

static void
offline_cpu_is_left_out(void **state)
{
    struct fixture *f = *state;

    f->env.n_cpus = 2;
    put_acpi(f, 1, "1");
    assert_int_equal(open_it(f, 1)->cpus[0], 1);
}

static void
domain_lives_on_by_its_other_cpu(void **state)
{
    struct fixture *f = *state;

    put_acpi(f, 0, "0 1");
    put_acpi(f, 1, "0 1");
    open_it(f, 1);
    tree_drop(&f->tree, "devices/system/cpu/cpu0/cpufreq");
    assert_int_equal(ops()->set(f->hw, 0, 4), 0);
    assert_string_equal(get(f, 1, "scaling_setspeed"), "1000000");
}

static void
domain_gone_altogether_is_an_error(void **state)
{
    struct fixture *f = *state;
    uint32_t now = 77;

    put_acpi(f, 0, "0");
    open_it(f, 1);
    tree_drop(&f->tree, "devices/system/cpu/cpu0/cpufreq");
    assert_true(ops()->get(f->hw, 0, &now) < 0);
    assert_int_equal(now, 77);
    assert_int_equal(ops()->set(f->hw, 0, 1), -EIO);
}

static void
host_without_cpufreq_is_told_what_would_help(void **state)
{
    struct fixture *f = *state;

    tree_put(&f->tree, "devices/system/cpu/online", "0-1\n");
    refused(f, -ENODEV, "softpstate");
}

/* Setting and reading back. */

static void
userspace_governor_sets_the_speed(void **state)
{
    struct fixture *f = *state;

    put_acpi(f, 0, "0");
    open_it(f, 1);
    assert_int_equal(ops()->set(f->hw, 0, 3), 0);
    assert_string_equal(get(f, 0, "scaling_governor"), "userspace");
    assert_string_equal(get(f, 0, "scaling_setspeed"), "1800000");
    assert_string_equal(get(f, 0, "scaling_max_freq"), "2400000");
}

static void
without_userspace_the_maximum_is_set(void **state)
{
    struct fixture *f = *state;

    put_intel(f, 0, "0");
    open_it(f, 1);
    assert_int_equal(ops()->set(f->hw, 0, 2), 0);
    assert_string_equal(get(f, 0, "scaling_max_freq"), "2300000");
    assert_string_equal(get(f, 0, "scaling_governor"), "powersave");
    assert_string_equal(get(f, 0, "scaling_setspeed"), "<unsupported>");
    assert_int_equal(pstate(f, 0), 2);
}

static void
hardware_that_did_not_follow_reads_back_different(void **state)
{
    struct fixture *f = *state;

    put_acpi(f, 0, "0");
    open_it(f, 1);
    assert_int_equal(ops()->set(f->hw, 0, 4), 0);
    put(f, 0, "cpuinfo_cur_freq", "2200000");
    put(f, 0, "scaling_cur_freq", "1000000");
    assert_int_equal(pstate(f, 0), 1);
}

static void
without_the_hardwares_word_the_kernels_counts(void **state)
{
    struct fixture *f = *state;

    put_acpi(f, 0, "0");
    open_it(f, 1);
    tree_drop(&f->tree, path_of(0, "cpuinfo_cur_freq"));
    put(f, 0, "scaling_cur_freq", "1795123");
    assert_int_equal(pstate(f, 0), 3);
}

static void
maximum_clamped_by_the_kernel_reads_back_different(void **state)
{
    struct fixture *f = *state;

    put_intel(f, 0, "0");
    open_it(f, 1);
    assert_int_equal(ops()->set(f->hw, 0, 0), 0);
    put(f, 0, "scaling_max_freq", "3000000");
    assert_int_equal(pstate(f, 0), 1);
}

static void
domain_or_pstate_out_of_range_writes_nothing(void **state)
{
    struct fixture *f = *state;
    uint32_t now;

    put_acpi(f, 0, "0");
    open_it(f, 1);
    assert_int_equal(ops()->set(f->hw, 0, 5), -ERANGE);
    assert_int_equal(ops()->set(f->hw, 1, 0), -ERANGE);
    assert_int_equal(ops()->get(f->hw, 1, &now), -ERANGE);
    assert_string_equal(get(f, 0, "scaling_governor"), "ondemand");
}

static void
opening_writes_nothing(void **state)
{
    struct fixture *f = *state;

    put_acpi(f, 0, "0");
    open_it(f, 1);
    assert_string_equal(get(f, 0, "scaling_governor"), "ondemand");
    assert_string_equal(get(f, 0, "scaling_setspeed"), "<unsupported>");
}

static void
read_only_file_is_access_denied(void **state)
{
    struct fixture *f = *state;
    char full[256];

    put_intel(f, 0, "0");
    open_it(f, 1);
    snprintf(full, sizeof full, "%s/%s", f->tree.path,
             path_of(0, "scaling_max_freq"));
    assert_int_equal(chmod(full, 0444), 0);
    assert_int_equal(set_as_nobody(f, 0, 1), -EACCES);
    assert_string_equal(get(f, 0, "scaling_max_freq"), "3700000");
}

static void
garbage_read_back_is_an_error(void **state)
{
    static const char *const garbage[] = {"", "fast", "-1", "24e5", "1 2"};
    struct fixture *f = *state;
    uint32_t now = 77;

    put_intel(f, 0, "0");
    open_it(f, 1);
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        put(f, 0, "scaling_max_freq", garbage[i]);
        assert_int_equal(ops()->get(f->hw, 0, &now), -EIO);
        assert_int_equal(now, 77);
    }
}

/* Trees that make no sense. */

static void
garbage_in_a_file_is_refused_by_its_name(void **state)
{
    static const struct {
        const char *file, *text;
    } cases[] = {
        {"related_cpus", ""},
        {"related_cpus", "x"},
        {"related_cpus", "1 2"},
        {"cpuinfo_min_freq", "slow"},
        {"cpuinfo_min_freq", "0"},
        {"cpuinfo_min_freq", "2400001"},
        {"cpuinfo_max_freq", "-1"},
        {"scaling_available_frequencies", "2400000 fast"},
        {"scaling_available_frequencies", "2400000 0"},
        {"scaling_available_frequencies", "99999999999"},
        {"scaling_available_frequencies", ""},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_acpi(f, 0, "0");
        put(f, 0, cases[i].file, cases[i].text);
        assert_true(try_open(f) < 0);
        assert_null(f->hw);
        if (!strstr(f->why, cases[i].file)) {
            fail_msg("%s: \"%s\"", cases[i].file, f->why);
        }
    }
}

static void
missing_file_is_refused_by_its_name(void **state)
{
    static const char *const files[] = {"cpuinfo_min_freq", "cpuinfo_max_freq",
                                        "scaling_available_governors"};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        put_acpi(f, 0, "0");
        tree_drop(&f->tree, path_of(0, files[i]));
        refused(f, -EIO, files[i]);
    }
}

static void
too_many_relatives_are_refused(void **state)
{
    struct fixture *f = *state;

    put_acpi(f, 0, "0-200");
    assert_int_equal(try_open(f), -E2BIG);
    assert_non_null(strstr(f->why, "related_cpus"));
}

static void
too_many_frequencies_are_refused(void **state)
{
    struct fixture *f = *state;
    char list[4096] = "";

    put_acpi(f, 0, "0");
    for (int i = 0; i < 400; i++) {
        sprintf(list + strlen(list), "%d ", 1000000 + i);
    }
    put(f, 0, "scaling_available_frequencies", list);
    assert_true(try_open(f) < 0);
}

/* Saving and restoring. */

static void
found_state_is_put_back_whole(void **state)
{
    struct fixture *f = *state;
    char saved[HARDWARE_SAVED_SIZE];

    put_acpi(f, 0, "0");
    put(f, 0, "scaling_min_freq", "1800000");
    put(f, 0, "scaling_max_freq", "2200000");
    open_it(f, 1);
    assert_int_equal(ops()->save(f->hw, 0, saved), 0);
    assert_string_equal(saved,
                        "governor=ondemand min=1800000 max=2200000 setspeed=-");
    assert_int_equal(ops()->set(f->hw, 0, 4), 0);
    put(f, 0, "scaling_min_freq", "1000000");
    put(f, 0, "scaling_max_freq", "2400000");
    assert_int_equal(ops()->restore(f->hw, 0, saved), 0);
    assert_string_equal(get(f, 0, "scaling_governor"), "ondemand");
    assert_string_equal(get(f, 0, "scaling_min_freq"), "1800000");
    assert_string_equal(get(f, 0, "scaling_max_freq"), "2200000");
}

static void
found_userspace_speed_is_put_back(void **state)
{
    struct fixture *f = *state;
    char saved[HARDWARE_SAVED_SIZE];

    put_acpi(f, 0, "0");
    put(f, 0, "scaling_governor", "userspace");
    put(f, 0, "scaling_setspeed", "2000000");
    open_it(f, 1);
    assert_int_equal(ops()->save(f->hw, 0, saved), 0);
    assert_int_equal(ops()->set(f->hw, 0, 4), 0);
    assert_int_equal(ops()->restore(f->hw, 0, saved), 0);
    assert_string_equal(get(f, 0, "scaling_governor"), "userspace");
    assert_string_equal(get(f, 0, "scaling_setspeed"), "2000000");
}

static void
line_saved_by_another_process_is_checked_first(void **state)
{
    static const char *const bad[] = {
        "",
        "governor=ondemand",
        "governor=ondemand min=1000000 max=2400000",
        "governor=ondemand min=1000000 max=2400000 setspeed=",
        "governor=ondemand min=1000000 max=2400000 setspeed=- x",
        "governor=ondemand min=1000000 max=2400000 setspeed=fast",
        "governor=ondemand min=999999 max=2400000 setspeed=-",
        "governor=ondemand min=1000000 max=2400001 setspeed=-",
        "governor=ondemand min=2400000 max=1000000 setspeed=-",
        "governor=ondemand min=-1 max=2400000 setspeed=-",
        "governor=turbo min=1000000 max=2400000 setspeed=-",
        "governor=../../x min=1000000 max=2400000 setspeed=-",
        "governor= min=1000000 max=2400000 setspeed=-",
        "min=1000000 max=2400000 governor=ondemand setspeed=-",
        "governor="
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaa min=1000000 max=2400000 setspeed=-",
        "pstate=3",
    };
    struct fixture *f = *state;

    put_acpi(f, 0, "0");
    open_it(f, 1);
    assert_int_equal(ops()->set(f->hw, 0, 4), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (ops()->restore(f->hw, 0, bad[i]) != -EINVAL) {
            fail_msg("\"%s\" was accepted", bad[i]);
        }
    }
    assert_string_equal(get(f, 0, "scaling_governor"), "userspace");
    assert_string_equal(get(f, 0, "scaling_setspeed"), "1000000");
}

static void
restoring_goes_on_after_a_failure(void **state)
{
    struct fixture *f = *state;

    put_acpi(f, 0, "0");
    open_it(f, 1);
    tree_drop(&f->tree, path_of(0, "scaling_max_freq"));
    put(f, 0, "scaling_governor", "userspace");
    assert_int_equal(
        ops()->restore(f->hw, 0,
                       "governor=ondemand min=1800000 max=2400000 setspeed=-"),
        -EIO);
    assert_string_equal(get(f, 0, "scaling_governor"), "ondemand");
    assert_string_equal(get(f, 0, "scaling_min_freq"), "1800000");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(listed_frequencies_are_the_pstates),
        T(order_of_the_list_does_not_matter),
        T(long_list_is_thinned_and_keeps_its_ends),
        T(without_a_list_there_is_a_ladder),
        T(ladder_has_the_steps_asked_for),
        T(narrow_range_has_a_short_ladder),
        T(single_frequency_is_a_single_pstate),
        T(related_cpus_are_one_domain),
        T(unmanaged_relatives_are_named_too),
        T(offline_cpu_is_left_out),
        T(domain_lives_on_by_its_other_cpu),
        T(domain_gone_altogether_is_an_error),
        T(host_without_cpufreq_is_told_what_would_help),
        T(userspace_governor_sets_the_speed),
        T(without_userspace_the_maximum_is_set),
        T(hardware_that_did_not_follow_reads_back_different),
        T(without_the_hardwares_word_the_kernels_counts),
        T(maximum_clamped_by_the_kernel_reads_back_different),
        T(domain_or_pstate_out_of_range_writes_nothing),
        T(opening_writes_nothing),
        T(read_only_file_is_access_denied),
        T(garbage_read_back_is_an_error),
        T(garbage_in_a_file_is_refused_by_its_name),
        T(missing_file_is_refused_by_its_name),
        T(too_many_relatives_are_refused),
        T(too_many_frequencies_are_refused),
        T(found_state_is_put_back_whole),
        T(found_userspace_speed_is_put_back),
        T(line_saved_by_another_process_is_checked_first),
        T(restoring_goes_on_after_a_failure),
    };

    return cmocka_run_group_tests_name("cpufreq", tests, NULL, NULL);
}
