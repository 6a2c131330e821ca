/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for a journal's files, as a crash, a bad disk or somebody with an
 * editor may leave them.  The first byte chooses: bit 0  the journal of a
 * broker that was killed, rather than of one that ended; bit 1  it is only read
 * from outside.  The rest is what is done to its files: bytes written, cut off
 * or added, pieces moved from file to file, rows changed by SQL.  What is read
 * afterwards is how the journal began, row for row, and if rows are missing
 * that is said; a broker that starts on it can write to it.
 *
 * tests/unit/broker/journal_damage.c turns over each bit in turn; this is for
 * what happens in several places at once. */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/journal/journal.h"
#include "broker/journal/journalread.h"

#define ROWS 8
#define FILES 4
#define BYTES_MAX 65536
#define OPS_MAX 24

enum op {
    OP_BYTE,
    OP_CUT,
    OP_GROW,
    OP_MOVE, /* A piece of a file to another place, or file. */
    OP_ZERO,
    OP_REMOVE,
    OP_SQL,
    OP_N,
};

struct file {
    uint8_t bytes[BYTES_MAX];
    size_t size;
    bool there;
};

struct seen {
    int n;
    struct journal_row rows[ROWS + 2];
};

struct input {
    const uint8_t *data;
    size_t size;
};

static const char *const suffixes[FILES] = {"", "-wal", "-shm", ".head"};
static const struct journal_opts opts = {.size_max = 1 << 20,
                                         .inputs_max = 1 << 18,
                                         .age_max_s = 30 * 86400,
                                         .page_size = 512,
                                         .no_thread = true};

/* Made once: the files of the two journals, and what is in them. */
static struct file originals[2][FILES];
static struct seen whole;
static char folder[64], path[96];

static void
check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static uint64_t
take(struct input *input, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n && input->size; i++) {
        value |= (uint64_t)*input->data++ << 8 * i;
        input->size--;
    }
    return value;
}

static void
see(void *ctx, const struct journal_row *row)
{
    struct seen *seen = ctx;

    if (seen->n < ROWS + 2) {
        seen->rows[seen->n] = *row;
    }
    seen->n++;
}

/* The originals. */

static void
empty_folder(void)
{
    char command[160];

    /* Those that were moved aside have names of their own. */
    snprintf(command, sizeof command, "%s.damaged-1", path);
    for (int i = 0; i < FILES; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        (void)unlink(name);
        snprintf(name, sizeof name, "%.100s%s", command, suffixes[i]);
        (void)unlink(name);
        snprintf(name, sizeof name, "%s%s~", path, suffixes[i]);
        (void)unlink(name);
    }
}

static void
remove_folder(void)
{
    char command[80];

    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command)) {
        perror(folder);
    }
}

static struct journal *
open_new(void)
{
    struct journal *journal = NULL;
    char why[600];

    check(!journal_open(&journal, path, &opts, why, sizeof why));
    return journal;
}

static int
add(struct journal *journal, unsigned number)
{
    struct journal_row row = {
        .cause = UINT64_C(1) << 40 | (number / 3),
        .kind = (enum journal_kind)(number % 4),
        .time = 1000 + number,
        .wall_ns = 5000 + number,
        .command = number % 4 > 1 ? number : 0,
        .subject = "mgmt://local/vm/x/agent",
        .name = "GUEST_NOTICE",
    };

    snprintf(row.detail, sizeof row.detail, "{\"n\": %u}", number);
    if (number == 3) {
        memset(row.detail, 'd', 500); /* Longer than a page. */
    }
    int error = journal_add(journal, &row);
    if (!error && number % 3 == 0) {
        struct journal_input input = {
            .whole = number == 0, .time = row.time, .wall_ns = row.wall_ns};
        input.size = 40;
        error = journal_add_input(journal, &input);
    }
    return error;
}

static void
remember(struct file files[FILES])
{
    for (int i = 0; i < FILES; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        int fd = open(name, O_RDONLY | O_CLOEXEC);
        files[i].there = fd >= 0;
        if (fd >= 0) {
            ssize_t n = read(fd, files[i].bytes, BYTES_MAX);
            check(n >= 0 && n < BYTES_MAX);
            files[i].size = (size_t)n;
            close(fd);
        }
    }
}

static void
make_originals(void)
{
    bool memory = !access("/dev/shm", W_OK);

    snprintf(folder, sizeof folder, "%s/mbroker-fuzz-XXXXXX",
             memory ? "/dev/shm" : "/tmp");
    check(mkdtemp(folder) && !atexit(remove_folder));
    snprintf(path, sizeof path, "%s/j", folder);
    struct journal *journal = open_new();
    for (unsigned i = 0; i < ROWS / 2; i++) {
        check(!add(journal, i));
    }
    journal_close(journal);
    journal = open_new();
    for (unsigned i = ROWS / 2; i < ROWS; i++) {
        check(!add(journal, i));
        journal_run(journal, i);
    }
    check(!journal_sync(journal));
    check(journal_tail(journal, ROWS + 2, see, &whole) == ROWS);
    remember(originals[1]); /* As a killed broker leaves them. */
    journal_close(journal);
    remember(originals[0]);
}

/* Damage. */

static void
move(struct file *to, const struct file *from, struct input *input)
{
    size_t at = (size_t)take(input, 2), size = (size_t)take(input, 1) * 8;
    size_t target = (size_t)take(input, 2);

    if (at < from->size && target < to->size) {
        size = size < from->size - at ? size : from->size - at;
        size = size < to->size - target ? size : to->size - target;
        memmove(to->bytes + target, from->bytes + at, size);
    }
}

static void
damage(struct file files[FILES], enum op op, struct input *input)
{
    unsigned which = (unsigned)take(input, 1);
    struct file *file = &files[which % FILES];
    size_t at = 0, n = 0;

    switch (op) {
    case OP_BYTE:
        at = (size_t)take(input, 2);
        if (at < file->size) {
            file->bytes[at] ^= (uint8_t)take(input, 1);
        }
        return;
    case OP_CUT:
        at = (size_t)take(input, 2);
        file->size = at < file->size ? at : file->size;
        return;
    case OP_GROW:
        n = (size_t)take(input, 1) * 16;
        if (n <= BYTES_MAX - file->size) {
            memset(file->bytes + file->size, (int)take(input, 1), n);
            file->size += n;
        }
        return;
    case OP_MOVE:
        move(file, &files[which / FILES % FILES], input);
        return;
    case OP_ZERO:
        at = (size_t)take(input, 2);
        n = (size_t)take(input, 1) * 8;
        if (at < file->size) {
            memset(file->bytes + at, 0,
                   n < file->size - at ? n : file->size - at);
        }
        return;
    case OP_REMOVE:
        file->there = false;
        return;
    case OP_SQL:
    case OP_N:
        return;
    }
}

static void
put(const struct file files[FILES])
{
    empty_folder();
    for (int i = 0; i < FILES; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        int fd = files[i].there
                     ? open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0640)
                     : -1;
        if (fd >= 0) {
            check(write(fd, files[i].bytes, files[i].size) ==
                  (ssize_t)files[i].size);
            close(fd);
        }
    }
}

/* Somebody with sqlite3, who does not know of the chain. */
static void
change_by_sql(const uint8_t numbers[2])
{
    static const char *const changes[] = {
        "DELETE FROM row WHERE id = %u",
        "UPDATE row SET detail = '{}' WHERE id = %u",
        "UPDATE row SET id = id + 100 WHERE id = %u",
        "UPDATE row SET kind = 9 WHERE id = %u",
        "UPDATE row SET subject = NULL WHERE id = %u",
        "UPDATE row SET cause = cause - 1 WHERE id >= %u",
        "DELETE FROM row WHERE id > %u",
        "INSERT INTO row SELECT * FROM row WHERE id < %u",
        "UPDATE meta SET value = value + %u",
        "DELETE FROM meta WHERE value > %u",
        "DROP TABLE meta",
        "PRAGMA user_version = %u",
        "CREATE TRIGGER t AFTER INSERT ON row BEGIN DELETE FROM row; END",
        "DELETE FROM input WHERE id = %u",
        "UPDATE input SET data = x'00' WHERE id = %u",
    };
    char sql[128];
    sqlite3 *db = NULL;
    const char *format =
        changes[numbers[0] % (sizeof changes / sizeof *changes)];
    const char *place = strstr(format, "%u");

    snprintf(sql, sizeof sql, "%.*s%u%s",
             (int)(place ? (size_t)(place - format) : strlen(format)), format,
             numbers[1] % 20u, place ? place + 2 : "");
    if (!place) {
        snprintf(sql, sizeof sql, "%s", format);
    }
    if (!sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL)) {
        (void)sqlite3_exec(db, sql, NULL, NULL, NULL);
    }
    sqlite3_close(db);
}

/* Looking. */

static bool
is_same(const struct journal_row *a, const struct journal_row *b)
{
    return a->id == b->id && a->cause == b->cause && a->command == b->command &&
           a->kind == b->kind && a->time == b->time &&
           a->wall_ns == b->wall_ns && !strcmp(a->subject, b->subject) &&
           !strcmp(a->name, b->name) && !strcmp(a->detail, b->detail);
}

static void
check_beginning(const struct seen *seen)
{
    check(seen->n <= ROWS);
    for (int i = 0; i < seen->n; i++) {
        check(is_same(&seen->rows[i], &whole.rows[i]));
    }
}

static void
read_from_outside(void)
{
    static struct seen seen;
    struct journal_reading reading = {.row = see, .ctx = &seen};
    static struct journal_report report;
    char why[600] = "";

    seen.n = 0;
    if (journalread_file(path, &reading, &report, why, sizeof why)) {
        check(why[0]);
        return;
    }
    check_beginning(&seen);
    check(seen.n == ROWS || report.broken || report.end != JOURNAL_END_KNOWN);
    check(!report.broken || report.why[0]);
    check(report.end < JOURNAL_END_SHORT || report.end_why[0]);
}

/* Nothing is left that could tell of more: no journal ever stood there. */
static bool
is_forgotten(const struct file *head, const struct seen *seen)
{
    if (seen->n) {
        return false;
    }
    for (size_t i = 0; head->there && i < head->size; i++) {
        if (head->bytes[i]) {
            return false;
        }
    }
    return true;
}

static void
start(const struct file *head, bool goes_on)
{
    static struct seen seen;
    struct journal *journal = NULL;
    char why[600] = "";

    seen.n = 0;
    int result = journal_open(&journal, path, &opts, why, sizeof why);
    check(result == 0 || why[0]);
    if (result < 0) {
        return;
    }
    check(journal_tail(journal, ROWS + 2, see, &seen) >= 0);
    check_beginning(&seen);
    check(result == 1 || seen.n == ROWS || is_forgotten(head, &seen));
    check(!goes_on || (!add(journal, 40) && !journal_sync(journal)));
    journal_close(journal);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct file files[FILES];
    struct input input = {data, size};
    uint8_t sql[OPS_MAX][2];
    int n_sql = 0;

    if (!size) {
        return 0;
    }
    if (!folder[0]) {
        make_originals();
    }
    unsigned shape = (unsigned)take(&input, 1);
    memcpy(files, originals[shape & 1], sizeof files);
    for (int i = 0; i < OPS_MAX && input.size; i++) {
        enum op op = (enum op)(take(&input, 1) % OP_N);
        if (op == OP_SQL) {
            sql[n_sql][0] = (uint8_t)take(&input, 1);
            sql[n_sql++][1] = (uint8_t)take(&input, 1);
        } else {
            damage(files, op, &input);
        }
    }
    put(files);
    for (int i = 0; i < n_sql; i++) {
        change_by_sql(sql[i]);
    }
    if (shape & 2) {
        read_from_outside();
    } else {
        start(&files[3], shape & 4);
    }
    return 0;
}
