/* SPDX-License-Identifier: Apache-2.0 */
/* A journal that was cut at a byte, or has a bit turned over, gives back what
 * was written, or says that it does not, and where: it never silently differs.
 * The file, its log and what stands beside it, of a journal that was closed and
 * of one whose broker was killed, read both by the broker that starts next and
 * by those who look at a file from outside.
 *
 * With --all (make test-journal) every byte is a place to cut, every bit is
 * turned over, of SQLite's index of the log (-shm) too, and all is done after
 * each; a name behind it chooses one of the tests.  Without, each file's first
 * bytes, where its header is, are damaged one by one, of the others each
 * SHORT_STEP-th, a bit of it, and no two tests take the same ones. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/journal/journal.h"
#include "broker/journal/journalread.h"

#define ROWS_MAX 64
#define FILES 4
#define ALARM_S 560
#define ALARM_ALL_S (4 * 3600)
/* Short of --all: */
#define SHORT_STEP 6  /* Of the bytes that are damaged, */
#define SHM_STEP 331  /* of those of the -shm, */
#define SHORT_HEAD 64 /* and so many at first, each. */
#define OUTSIDE_STEP                                                           \
    4 /* Of those after which it is read from outside, too.                    \
       */

static const struct journal_opts opts = {.size_max = 1 << 20,
                                         .inputs_max = 1 << 18,
                                         .age_max_s = 30 * 86400,
                                         .page_size = 512,
                                         .no_thread = true};
static const char *const suffixes[FILES] = {"", "-wal", "-shm", ".head"};
static bool all;
static size_t shift; /* Of the bytes that a test damages. */

/* What a journal was, and the files it lay in. */
struct original {
    char dir[64], path[96];
    struct {
        uint8_t *bytes;
        size_t size;
        bool there;
    } file[FILES];
    int n;
    struct journal_row rows[ROWS_MAX];
    unsigned n_tries, n_same, n_said, n_refused;
};

struct seen {
    int n;
    struct journal_row rows[ROWS_MAX];
};

static void
see(void *ctx, const struct journal_row *row)
{
    struct seen *seen = ctx;

    if (seen->n < ROWS_MAX) {
        seen->rows[seen->n] = *row;
    }
    seen->n++;
}

/* Files. */

static void
name_of(const struct original *original, int i, char out[128])
{
    snprintf(out, 128, "%s%s", original->path, suffixes[i]);
}

static void
remember_files(struct original *original)
{
    char name[128];
    struct stat st;

    for (int i = 0; i < FILES; i++) {
        name_of(original, i, name);
        int fd = open(name, O_RDONLY);
        original->file[i].there = fd >= 0;
        if (fd < 0) {
            continue;
        }
        assert_int_equal(fstat(fd, &st), 0);
        original->file[i].size = (size_t)st.st_size;
        original->file[i].bytes = malloc((size_t)st.st_size + 1);
        assert_int_equal(read(fd, original->file[i].bytes, (size_t)st.st_size),
                         st.st_size);
        close(fd);
    }
}

static void
clear_dir(const struct original *original)
{
    DIR *dir = opendir(original->dir);
    struct dirent *entry;

    while ((entry = readdir(dir))) {
        if (entry->d_name[0] != '.') {
            unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    closedir(dir);
}

static void
put_files(const struct original *original)
{
    char name[128];

    clear_dir(original);
    for (int i = 0; i < FILES; i++) {
        if (original->file[i].there) {
            name_of(original, i, name);
            int fd = open(name, O_WRONLY | O_CREAT, 0640);
            assert_int_equal(
                write(fd, original->file[i].bytes, original->file[i].size),
                original->file[i].size);
            close(fd);
        }
    }
}

/* The original. */

static struct journal *
opened(const char *path)
{
    struct journal *journal = NULL;
    char why[600] = "";

    int error = journal_open(&journal, path, &opts, why, sizeof why);
    if (error) {
        fail_msg("open gave %d: %s", error, why);
    }
    return journal;
}

static void
add(struct journal *journal, unsigned number)
{
    struct journal_row row = {
        .cause = UINT64_C(1) << 40 | (number / 4),
        .kind = (enum journal_kind)(number % 4),
        .time = 1000000 + (int64_t)number * 999,
        .wall_ns = 5000000 + (int64_t)number * 1001,
        .command = number % 4 > 1 ? number : 0,
        .subject = "mgmt://local/vm/x/agent",
        .name = "GUEST_NOTICE",
    };

    snprintf(row.detail, sizeof row.detail, "{\"n\": %u}", number);
    if (number == 3) {
        memset(row.detail, 'd', 500); /* Longer than a page. */
    }
    assert_int_equal(journal_add(journal, &row), 0);
    if (number % 5 == 0) {
        struct journal_input input = {.whole = number == 0,
                                      .time = row.time,
                                      .wall_ns = row.wall_ns,
                                      .size = 40 + number};
        memset(input.data, (int)number, input.size);
        assert_int_equal(journal_add_input(journal, &input), 0);
    }
}

static void
make_dir(struct original *original)
{
    bool memory = !access("/dev/shm", W_OK);

    snprintf(original->dir, sizeof original->dir, "%s/mbroker-damage-XXXXXX",
             memory ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(original->dir));
    snprintf(original->path, sizeof original->path, "%s/j", original->dir);
}

/* Two starts; of the second some rows were promised and some only written. */
static struct original *
make_original(bool closed)
{
    struct original *original = calloc(1, sizeof *original);
    struct seen seen = {.n = 0};

    make_dir(original);
    struct journal *journal = opened(original->path);
    for (unsigned i = 0; i < 5; i++) {
        add(journal, i);
    }
    journal_close(journal);
    journal = opened(original->path);
    for (unsigned i = 5; i < 8; i++) {
        add(journal, i);
    }
    assert_int_equal(journal_sync(journal), 0);
    for (unsigned i = 8; i < 10; i++) {
        add(journal, i);
        journal_run(journal, i);
    }
    assert_int_equal(journal_tail(journal, ROWS_MAX, see, &seen), 10);
    original->n = seen.n;
    memcpy(original->rows, seen.rows, sizeof seen.rows);
    if (closed) {
        journal_close(journal);
        remember_files(original);
    } else {
        remember_files(original); /* As a killed broker leaves them. */
        journal_close(journal);
    }
    return original;
}

static void
free_original(struct original *original)
{
    clear_dir(original);
    rmdir(original->dir);
    for (int i = 0; i < FILES; i++) {
        free(original->file[i].bytes);
    }
    print_message(
        "%u tries: %u gave all, %u said what is missing, %u refused\n",
        original->n_tries, original->n_same, original->n_said,
        original->n_refused);
    free(original);
}

/* Tries. */

static bool
is_same(const struct journal_row *a, const struct journal_row *b)
{
    return a->id == b->id && a->cause == b->cause && a->command == b->command &&
           a->kind == b->kind && a->time == b->time &&
           a->wall_ns == b->wall_ns && !strcmp(a->subject, b->subject) &&
           !strcmp(a->name, b->name) && !strcmp(a->detail, b->detail);
}

/* What was read is how the original began, and nothing else. */
static bool
is_beginning(const struct original *original, const struct seen *seen)
{
    for (int i = 0; i < seen->n; i++) {
        if (i >= original->n || !is_same(&seen->rows[i], &original->rows[i])) {
            return false;
        }
    }
    return true;
}

static void
check_from_outside(const struct original *original, const char *damage)
{
    struct seen seen = {.n = 0};
    struct journal_reading reading = {.row = see, .ctx = &seen};
    struct journal_report report;
    char why[600] = "";

    if (journalread_file(original->path, &reading, &report, why, sizeof why)) {
        if (!why[0]) {
            fail_msg("%s: refused from outside without a reason", damage);
        }
        return;
    }
    if (!is_beginning(original, &seen)) {
        fail_msg("%s: other rows are read from outside", damage);
    }
    if (seen.n < original->n && !report.broken &&
        report.end != JOURNAL_END_CUT && report.end != JOURNAL_END_SHORT &&
        report.end != JOURNAL_END_UNKNOWN) {
        fail_msg("%s: %d of %d rows are read from outside, and nothing said",
                 damage, seen.n, original->n);
    }
    if ((report.broken && !report.why[0]) ||
        (report.end >= JOURNAL_END_SHORT && !report.end_why[0])) {
        fail_msg("%s: something is wrong, and not said what", damage);
    }
}

/* The journal that is there now takes rows, and keeps them. */
static void
check_goes_on(const struct original *original, struct journal *journal, int had,
              const char *damage)
{
    struct seen seen = {.n = 0};

    add(journal, 40);
    assert_int_equal(journal_sync(journal), 0);
    journal_close(journal);
    journal = opened(original->path);
    assert_int_equal(journal_tail(journal, ROWS_MAX, see, &seen), had + 1);
    if (seen.rows[had].time != 1000000 + 40 * 999) {
        fail_msg("%s: the row after it is not found again", damage);
    }
    journal_close(journal);
}

/* The broker starts on what lies there. */
static void
check_start(struct original *original, const char *damage, bool goes_on)
{
    struct journal *journal = NULL;
    struct seen seen = {.n = 0};
    char why[600] = "";

    int result = journal_open(&journal, original->path, &opts, why, sizeof why);
    original->n_tries++;
    if (result != 0 && !strstr(why, original->dir)) {
        fail_msg("%s: result %d without a reason: %s", damage, result, why);
    }
    if (result < 0) {
        original->n_refused++;
        return;
    }
    if (journal_tail(journal, ROWS_MAX, see, &seen) < 0 ||
        !is_beginning(original, &seen)) {
        fail_msg("%s: result %d, %s: other rows are read", damage, result, why);
    }
    if (seen.n < original->n && result != 1) {
        fail_msg("%s: %d of %d rows, and nothing said", damage, seen.n,
                 original->n);
    }
    original->n_same += seen.n == original->n;
    original->n_said += result == 1;
    if (goes_on) {
        check_goes_on(original, journal, seen.n, damage);
    } else {
        journal_close(journal);
    }
}

static void
try_now(struct original *original, int file, size_t at, const char *how)
{
    char damage[96];

    snprintf(damage, sizeof damage, "j%s %s at %zu of %zu", suffixes[file], how,
             at, original->file[file].size);
    put_files(original);
    if (all || original->n_tries % OUTSIDE_STEP == 1) {
        check_from_outside(original, damage);
    }
    check_start(original, damage, all || original->n_tries % 16 == 3);
}

static bool
is_chosen(size_t at, size_t step)
{
    return all || at < SHORT_HEAD || at % step == shift;
}

static void
flip_each(struct original *original, int file, size_t step)
{
    uint8_t *bytes = original->file[file].bytes;

    for (size_t at = 0; at < original->file[file].size; at++) {
        for (unsigned bit = 0; bit < 8 && is_chosen(at, step); bit++) {
            if (all || bit == (at * 5 + at / 8) % 8) {
                bytes[at] ^= (uint8_t)(1u << bit);
                try_now(original, file, at, "flipped");
                bytes[at] ^= (uint8_t)(1u << bit);
            }
        }
    }
}

static void
cut_each(struct original *original, int file, size_t step)
{
    size_t size = original->file[file].size;

    for (size_t at = 0; at < size; at++) {
        if (is_chosen(at, step)) {
            original->file[file].size = at;
            try_now(original, file, at, "cut");
        }
    }
    original->file[file].there = false;
    try_now(original, file, 0, "taken away");
    original->file[file].there = true;
    original->file[file].size = size;
}

static void
damage_each(bool closed, void (*damage)(struct original *, int, size_t))
{
    struct original *original = make_original(closed);

    shift = (closed ? 0 : 1) + (damage == cut_each ? 2 : 0);
    put_files(original);
    check_from_outside(original, "undamaged");
    check_start(original, "undamaged", true);
    assert_int_equal(original->n_same, 1);
    for (int i = 0; i < FILES; i++) {
        if (original->file[i].there) {
            damage(original, i, i == 2 ? SHM_STEP : SHORT_STEP);
        }
    }
    /* The test would be idle if nothing were ever noticed. */
    assert_true(original->n_said > original->n_tries / 20);
    free_original(original);
}

static void
closed_journal_flipped_anywhere_never_silently_differs(void **state)
{
    damage_each(true, flip_each);
}

static void
closed_journal_cut_anywhere_never_silently_differs(void **state)
{
    damage_each(true, cut_each);
}

static void
killed_brokers_journal_flipped_anywhere_never_silently_differs(void **state)
{
    damage_each(false, flip_each);
}

static void
killed_brokers_journal_cut_anywhere_never_silently_differs(void **state)
{
    damage_each(false, cut_each);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            closed_journal_flipped_anywhere_never_silently_differs),
        cmocka_unit_test(closed_journal_cut_anywhere_never_silently_differs),
        cmocka_unit_test(
            killed_brokers_journal_flipped_anywhere_never_silently_differs),
        cmocka_unit_test(
            killed_brokers_journal_cut_anywhere_never_silently_differs),
    };

    all = argc > 1 && !strcmp(argv[1], "--all");
    if (all && argc > 2) {
        cmocka_set_test_filter(argv[2]);
    }
    alarm(all ? ALARM_ALL_S : ALARM_S);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
