/* SPDX-License-Identifier: Apache-2.0 */
/* Rules that every hardware driver obeys, real or not.  Each is opened on trees
 * where there is nothing for it to find, and on one that has everything; a
 * driver that this machine or user can't run is skipped aloud. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/text.h"
#include "hardware/hardware.h"
#include "tests/unit/hardware/tree.h"

/* One driver on one tree. */
struct fixture {
    const struct hardware_class *class;
    struct tree tree;
    struct option_values options;
    uint32_t cpus[1];
    struct hardware_env env;
    struct hardware *hw;
    char why[256];
};

static uint32_t
some_cpu(void)
{
    cpu_set_t set;
    uint32_t cpu = 0;

    sched_getaffinity(0, sizeof set, &set);
    while (!CPU_ISSET(cpu, &set)) {
        cpu++;
    }
    return cpu;
}

static void
put_cpufreq(struct fixture *f)
{
    static const char *const files[][2] = {
        {"cpuinfo_min_freq", "1000000"},
        {"cpuinfo_max_freq", "2400000"},
        {"scaling_available_governors", "powersave performance"},
        {"scaling_governor", "powersave"},
        {"scaling_min_freq", "1000000"},
        {"scaling_max_freq", "2400000"},
        {"scaling_cur_freq", "2400000"},
    };
    char path[128];

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "devices/system/cpu/cpu%u/cpufreq/%s",
                 f->cpus[0], files[i][0]);
        tree_put(&f->tree, path, "%s\n", files[i][1]);
    }
    snprintf(path, sizeof path, "devices/system/cpu/cpu%u/cpufreq/related_cpus",
             f->cpus[0]);
    tree_put(&f->tree, path, "%u\n", f->cpus[0]);
}

static void
put_everything(struct fixture *f)
{
    put_cpufreq(f);
    tree_put(&f->tree, "class/powercap/intel-rapl:0/name", "package-0\n");
    tree_put(&f->tree, "class/powercap/intel-rapl:0/energy_uj", "1000\n");
    tree_put(&f->tree, "class/powercap/intel-rapl:0/max_energy_range_uj",
             "262143328850\n");
    tree_put(&f->tree, "specpower.csv",
             "machine,year,idle,w10,w20,w30,w40,w50,w60,w70,w80,w90,w100\n"
             "Opteron-2216HE-2x2c,2007,164,204,225,234,242,248,254,260,267,"
             "272,276\n");
}

static void
prepare(struct fixture *f, const struct hardware_class *class, bool everything)
{
    *f = (struct fixture){.class = class};
    tree_make(&f->tree);
    options_init(&f->options, class->options);
    f->cpus[0] = some_cpu();
    f->env = (struct hardware_env){
        .sys_dirfd = f->tree.dirfd,
        .data_dirfd = f->tree.dirfd,
        .cpus = f->cpus,
        .n_cpus = 1,
        .options = &f->options,
        .seed = 1,
    };
    if (everything) {
        put_everything(f);
    }
}

/* False, aloud, if this driver can't run here. */
static bool
opens(struct fixture *f)
{
    int error = f->class->open(&f->hw, &f->env, f->why, sizeof f->why);
    if (error == -EPERM) {
        print_message("# skipped %s: %s\n", f->class->name, f->why);
        return false;
    }
    if (error) {
        fail_msg("%s: %s", f->class->name, f->why);
    }
    return true;
}

static void
finish(struct fixture *f)
{
    f->class->close(f->hw);
    tree_remove(&f->tree);
}

#define FOR_EACH_CLASS(class)                                                  \
    for (const struct hardware_class *const *at = hardware_table, *class;      \
         (class = *at); at++)

static void
class_is_complete(void **state)
{
    FOR_EACH_CLASS(class)
    {
        assert_true(text_is_name(class->name));
        assert_true(class->summary && class->summary[0]);
        assert_non_null(class->open);
        assert_non_null(class->close);
        assert_true(class->pstate || class->power);
        if (class->pstate) {
            assert_non_null(class->pstate->domains);
            assert_non_null(class->pstate->get);
            assert_non_null(class->pstate->set);
            assert_non_null(class->pstate->save);
            assert_non_null(class->pstate->restore);
        }
        if (class->power) {
            assert_non_null(class->power->read);
        }
        assert_ptr_equal(hardware_find(class->name), class);
    }
    assert_null(hardware_find("no such driver"));
}

static void
options_explain_themselves(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct option_values values;

        options_init(&values, class->options); /* Asserts the defaults. */
        for (size_t i = 0; i < values.n; i++) {
            assert_true(text_is_name(values.descs[i].name));
            assert_true(values.descs[i].help && values.descs[i].help[0]);
            assert_false(values.value[i].given);
        }
    }
}

static void
closing_nothing_is_nothing(void **state)
{
    FOR_EACH_CLASS(class)
    {
        class->close(NULL);
    }
}

static void
absent_hardware_is_told_with_a_why(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct fixture f;

        prepare(&f, class, false);
        f.env.n_cpus = 0;
        int error = class->open(&f.hw, &f.env, f.why, sizeof f.why);
        if (error != -ENODEV) {
            fail_msg("%s: %d where -ENODEV was wanted", class->name, error);
        }
        assert_null(f.hw);
        assert_true(strlen(f.why) > 10);
        finish(&f);
    }
}

static void
opens_and_closes_again_and_again(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct fixture f;

        prepare(&f, class, true);
        for (int i = 0; i < 3 && opens(&f); i++) {
            class->close(f.hw);
            f.hw = NULL;
        }
        finish(&f);
    }
}

static void
two_stand_side_by_side(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct fixture f;
        struct hardware *second = NULL;
        uint32_t now;

        prepare(&f, class, true);
        if (opens(&f)) {
            assert_int_equal(class->open(&second, &f.env, f.why, sizeof f.why),
                             0);
            class->close(f.hw);
            f.hw = NULL;
            if (class->pstate) {
                assert_int_equal(class->pstate->get(second, 0, &now), 0);
            }
            class->close(second);
        }
        finish(&f);
    }
}

static void
opening_changes_nothing(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct fixture f;
        char path[128];
        uint32_t now;

        prepare(&f, class, true);
        if (opens(&f) && class->pstate) {
            assert_int_equal(class->pstate->get(f.hw, 0, &now), 0);
            assert_int_equal(now, 0);
        }
        snprintf(path, sizeof path,
                 "devices/system/cpu/cpu%u/cpufreq/scaling_governor",
                 f.cpus[0]);
        assert_string_equal(tree_get(&f.tree, path), "powersave");
        finish(&f);
    }
}

static void
domains_are_well_formed(void **state)
{
    FOR_EACH_CLASS(class)
    {
        const struct pstate_domain *domains;
        struct fixture f;

        prepare(&f, class, true);
        if (class->pstate && opens(&f)) {
            int n = class->pstate->domains(f.hw, &domains);
            assert_int_equal(n, 1);
            assert_int_equal(domains[0].id, 0);
            assert_int_equal(domains[0].cpus[0], f.cpus[0]);
            const struct pstate_table *t = &domains[0].table;
            assert_true(t->n >= 2 && t->n <= PSTATES_MAX);
            for (uint32_t i = 1; i < t->n; i++) {
                assert_true(t->freq_khz[i] < t->freq_khz[i - 1]);
            }
            assert_int_equal(domains[0].emulated, !class->real);
        }
        finish(&f);
    }
}

static void
what_is_set_is_read_back(void **state)
{
    FOR_EACH_CLASS(class)
    {
        const struct pstate_domain *domains;
        struct fixture f;

        prepare(&f, class, true);
        if (class->pstate && opens(&f)) {
            class->pstate->domains(f.hw, &domains);
            for (uint32_t i = domains[0].table.n; i-- > 0;) {
                uint32_t now = UINT32_MAX;
                assert_int_equal(class->pstate->set(f.hw, 0, i), 0);
                assert_int_equal(class->pstate->get(f.hw, 0, &now), 0);
                assert_int_equal(now, i);
            }
        }
        finish(&f);
    }
}

static void
what_was_found_is_put_back_by_another(void **state)
{
    FOR_EACH_CLASS(class)
    {
        char saved[HARDWARE_SAVED_SIZE];
        struct fixture f;
        uint32_t now;

        prepare(&f, class, true);
        if (class->pstate && opens(&f)) {
            assert_int_equal(class->pstate->save(f.hw, 0, saved), 0);
            assert_null(strchr(saved, '\n'));
            assert_int_equal(class->pstate->set(f.hw, 0, 1), 0);
            class->close(f.hw);
            f.hw = NULL;
            assert_true(opens(&f));
            assert_int_equal(class->pstate->restore(f.hw, 0, saved), 0);
            assert_int_equal(class->pstate->get(f.hw, 0, &now), 0);
            assert_int_equal(now, 0);
        }
        finish(&f);
    }
}

static void
garbage_is_not_restored(void **state)
{
    static const char *const garbage[] = {
        "",
        " ",
        "x",
        "pstate=",
        "pstate=-1",
        "pstate=99",
        "pstate=1 ",
        "pstate=18446744073709551617",
        "governor=powersave",
        "%s%n",
    };

    FOR_EACH_CLASS(class)
    {
        struct fixture f;
        uint32_t now;

        prepare(&f, class, true);
        if (class->pstate && opens(&f)) {
            assert_int_equal(class->pstate->set(f.hw, 0, 1), 0);
            for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
                if (class->pstate->restore(f.hw, 0, garbage[i]) != -EINVAL) {
                    fail_msg("%s: \"%s\"", class->name, garbage[i]);
                }
            }
            assert_int_equal(class->pstate->get(f.hw, 0, &now), 0);
            assert_int_equal(now, 1);
        }
        finish(&f);
    }
}

static void
out_of_range_is_refused(void **state)
{
    FOR_EACH_CLASS(class)
    {
        const struct pstate_domain *domains;
        char saved[HARDWARE_SAVED_SIZE];
        struct fixture f;
        uint32_t now = 77;

        prepare(&f, class, true);
        if (class->pstate && opens(&f)) {
            const struct pstate_ops *ops = class->pstate;

            ops->domains(f.hw, &domains);
            assert_int_equal(ops->set(f.hw, 0, domains[0].table.n), -ERANGE);
            assert_int_equal(ops->set(f.hw, 0, UINT32_MAX), -ERANGE);
            assert_int_equal(ops->set(f.hw, 1, 0), -ERANGE);
            assert_int_equal(ops->get(f.hw, 1, &now), -ERANGE);
            assert_int_equal(ops->save(f.hw, UINT32_MAX, saved), -ERANGE);
            assert_int_equal(ops->restore(f.hw, 1, "pstate=0"), -ERANGE);
            assert_int_equal(now, 77);
            assert_int_equal(ops->get(f.hw, 0, &now), 0);
            assert_int_equal(now, 0);
        }
        finish(&f);
    }
}

static void
power_has_quality_source_and_time(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct cpu_load load = {.busy = 0.5};
        struct power_reading r = {.power_mw = 77};
        struct fixture f;

        prepare(&f, class, true);
        load.cpu = f.cpus[0];
        if (class->power && opens(&f)) {
            int error = class->power->read(f.hw, &load, 1, NSEC_PER_SEC, &r);
            if (error) {
                assert_int_equal(r.power_mw, 77);
                error =
                    class->power->read(f.hw, &load, 1, 2 * NSEC_PER_SEC, &r);
            }
            if (!error) {
                assert_true(r.quality != QUALITY_UNKNOWN);
                assert_true(r.source[0]);
                assert_true(r.time > 0);
                assert_int_equal(r.quality == QUALITY_MEASURED, class->real);
            }
        }
        finish(&f);
    }
}

static void
qualities_have_names_and_a_model_is_called_one(void **state)
{
    assert_string_equal(quality_name(QUALITY_UNKNOWN), "unknown");
    assert_string_equal(quality_name(QUALITY_MEASURED), "measured");
    assert_string_equal(quality_name(QUALITY_MODELLED), "model");
    assert_string_equal(quality_name(QUALITY_STALE), "stale");
}

static void
stolen_time_is_known_of_own_cpus_only(void **state)
{
    FOR_EACH_CLASS(class)
    {
        struct fixture f;
        uint64_t ns = 77;

        prepare(&f, class, true);
        if (class->pstate && class->pstate->stolen && opens(&f)) {
            assert_int_equal(class->pstate->stolen(f.hw, 9999, &ns), -ENOENT);
            assert_int_equal(ns, 77);
            assert_int_equal(class->pstate->stolen(f.hw, f.cpus[0], &ns), 0);
        }
        finish(&f);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(class_is_complete),
        cmocka_unit_test(options_explain_themselves),
        cmocka_unit_test(closing_nothing_is_nothing),
        cmocka_unit_test(absent_hardware_is_told_with_a_why),
        cmocka_unit_test(opens_and_closes_again_and_again),
        cmocka_unit_test(two_stand_side_by_side),
        cmocka_unit_test(opening_changes_nothing),
        cmocka_unit_test(domains_are_well_formed),
        cmocka_unit_test(what_is_set_is_read_back),
        cmocka_unit_test(what_was_found_is_put_back_by_another),
        cmocka_unit_test(garbage_is_not_restored),
        cmocka_unit_test(out_of_range_is_refused),
        cmocka_unit_test(power_has_quality_source_and_time),
        cmocka_unit_test(qualities_have_names_and_a_model_is_called_one),
        cmocka_unit_test(stolen_time_is_known_of_own_cpus_only),
    };

    return cmocka_run_group_tests_name("hardware", tests, NULL, NULL);
}
