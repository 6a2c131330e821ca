/* SPDX-License-Identifier: Apache-2.0 */
/* What every probe obeys.  A new file in probe/ is tested for being in the
 * table. */
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

#include "base/text.h"
#include "probe/sim.h"

#define MS NSEC_PER_MSEC

struct seen {
    uint64_t n_requests, n_notes;
    int note_error; /* What the agent answers to notes. */
    bool sane;
};

static void
on_request(void *ctx, nsec_t ended, uint64_t response_us)
{
    struct seen *seen = ctx;

    seen->n_requests++;
    if (ended < 0 || response_us > UINT64_C(3600000000)) {
        seen->sane = false;
    }
}

/* What every agent would refuse is no note. */
static int
on_note(void *ctx, const struct probe_note *note)
{
    struct seen *seen = ctx;

    seen->n_notes++;
    if (!text_is_type(note->type) || note->size > PROBE_NOTE_SIZE_MAX ||
        (!note->bytes && note->size)) {
        seen->sane = false;
    }
    return seen->note_error;
}

static void
on_cpu(void *ctx, uint32_t util_permille)
{
    struct seen *seen = ctx;

    if (util_permille > 1000) {
        seen->sane = false;
    }
}

/* Opens a probe; a path it asks for names a file that is not there yet, which
 * must not keep it from opening. */
static struct probe *
open_probe(const struct probe_class *class, struct option_values *options,
           struct probe_world *world, int proc_dirfd)
{
    struct probe_env env = {.options = options,
                            .proc_dirfd = proc_dirfd,
                            .seed = 1,
                            .world = world};
    struct probe *probe = NULL;
    char why[160] = "";

    options_init(options, class->options);
    if (class->options) {
        for (const struct option_desc *d = class->options; d->name; d++) {
            if (!strcmp(d->name, "path")) {
                assert_int_equal(options_set(options, "path",
                                             "/nonexistent/log", why,
                                             sizeof why),
                                 0);
            }
        }
    }
    assert_int_equal(class->open(&probe, &env, why, sizeof why), 0);
    assert_non_null(probe);
    return probe;
}

static void
every_probe_fills_its_class(void **state)
{
    for (const struct probe_class *const *c = probe_table; *c; c++) {
        assert_true(text_is_name((*c)->name));
        assert_non_null((*c)->summary);
        assert_true(strlen((*c)->summary) > 10);
        assert_non_null((*c)->open);
        assert_non_null((*c)->sample);
        assert_non_null((*c)->deadline);
        assert_non_null((*c)->stats);
        assert_non_null((*c)->close);
        assert_ptr_equal(probe_find((*c)->name), *c);
    }
    assert_null(probe_find("no-such-probe"));
}

static void
every_probe_explains_its_options(void **state)
{
    for (const struct probe_class *const *c = probe_table; *c; c++) {
        struct option_values values;

        options_init(&values, (*c)->options); /* Asserts bad defaults. */
        for (size_t i = 0; i < values.n; i++) {
            const struct option_desc *d = &values.descs[i];
            size_t size = strlen(d->help);
            assert_true(size > 10);
            assert_int_equal(d->help[size - 1], '.');
        }
    }
}

static void
every_probe_has_a_sim_sibling_in_the_table(void **state)
{
    assert_non_null(probe_find("sim"));
}

static void
every_probe_closes_null(void **state)
{
    for (const struct probe_class *const *c = probe_table; *c; c++) {
        (*c)->close(NULL);
    }
}

static void
every_probe_wants_to_be_asked_later_after_a_look(void **state)
{
    int proc = open("/proc", O_RDONLY | O_DIRECTORY);

    for (const struct probe_class *const *c = probe_table; *c; c++) {
        struct option_values options;
        struct probe_request storage[16];
        struct probe_world world;
        struct seen seen = {.sane = true};
        struct probe_sink sink = {.ctx = &seen,
                                  .request = on_request,
                                  .cpu = on_cpu,
                                  .note = on_note};
        struct probe_stats stats;
        struct probe *probe;
        nsec_t now = 1000 * MS;

        probe_world_init(&world, storage, 16);
        probe = open_probe(*c, &options, &world, proc);
        for (unsigned i = 0; i < 50; i++) {
            int result = (*c)->sample(probe, now, &sink);
            nsec_t next = (*c)->deadline(probe, now);
            assert_true(result <= 1);
            assert_true(next > now); /* Never a busy loop. */
            now = next == NSEC_NEVER ? now + 1000 * MS : next;
        }
        (*c)->stats(probe, &stats);
        assert_int_equal(stats.n_seen, seen.n_requests);
        assert_true(seen.sane);
        (*c)->close(probe);
    }
    close(proc);
}

static void
every_probe_survives_a_root_without_anything(void **state)
{
    char dir[] = "/tmp/mbroker-conform-XXXXXX";
    int empty;

    assert_non_null(mkdtemp(dir));
    empty = open(dir, O_RDONLY | O_DIRECTORY);
    for (const struct probe_class *const *c = probe_table; *c; c++) {
        struct option_values options;
        struct probe_request storage[16];
        struct probe_world world;
        struct seen seen = {.sane = true};
        struct probe_sink sink = {.ctx = &seen,
                                  .request = on_request,
                                  .cpu = on_cpu,
                                  .note = on_note};
        struct probe *probe;

        probe_world_init(&world, storage, 16);
        probe = open_probe(*c, &options, &world, empty);
        assert_true((*c)->sample(probe, 1000 * MS, &sink) <= 0);
        assert_true((*c)->deadline(probe, 1000 * MS) > 1000 * MS);
        assert_int_equal(seen.n_requests, 0);
        (*c)->close(probe);
    }
    close(empty);
    rmdir(dir);
}

/* Whether or not the agent takes them: they are no request, and no reason to
 * look at once again. */
static void
every_probe_s_notes_make_sense_and_may_be_refused(void **state)
{
    int proc = open("/proc", O_RDONLY | O_DIRECTORY);

    for (const struct probe_class *const *c = probe_table; *c; c++) {
        struct option_values options;
        struct probe_request storage[16];
        struct probe_world world;
        struct seen seen = {.sane = true};
        struct probe_sink sink = {.ctx = &seen,
                                  .request = on_request,
                                  .cpu = on_cpu,
                                  .note = on_note};
        struct probe *probe;
        nsec_t now = 1000 * MS;

        probe_world_init(&world, storage, 16);
        world.n_notes_a_look = 3;
        probe = open_probe(*c, &options, &world, proc);
        for (unsigned i = 0; i < 20; i++) {
            seen.note_error = i % 2 ? -EAGAIN : 0;
            assert_true((*c)->sample(probe, now, &sink) <= 0);
            assert_true((*c)->deadline(probe, now) > now);
            now += 1000 * MS;
        }
        assert_true(seen.sane);
        if (!strcmp((*c)->name, "sim")) {
            assert_int_equal(seen.n_notes, 60);
        }
        (*c)->close(probe);
    }
    close(proc);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_probe_fills_its_class),
        cmocka_unit_test(every_probe_explains_its_options),
        cmocka_unit_test(every_probe_has_a_sim_sibling_in_the_table),
        cmocka_unit_test(every_probe_closes_null),
        cmocka_unit_test(every_probe_wants_to_be_asked_later_after_a_look),
        cmocka_unit_test(every_probe_survives_a_root_without_anything),
        cmocka_unit_test(every_probe_s_notes_make_sense_and_may_be_refused),
    };

    return cmocka_run_group_tests_name("conformance/probe", tests, NULL, NULL);
}
