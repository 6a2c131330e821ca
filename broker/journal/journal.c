/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's queue and its writer thread.  Rows go into a ring, get their id
 * there, and stay in it until the batch that holds them is committed; so a
 * reader takes what is in the ring under the lock and asks the file only for
 * smaller ids, and sees each row exactly once whatever the writer does
 * meanwhile.  The writer lets rows gather for a tenth of a second, so that it
 * does not take a CPU away in the middle of the path from a notice to a
 * p-state, and it only sleeps for that, it reads no clock.  When the file can't
 * be written the rows in the ring stay, new ones are refused and counted, and
 * journal_run() has the writer try again.  Relies on
 * broker/journal/journaldb.h; called by the engine and control.c, both in one
 * thread. */
#include "broker/journal/journal.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/journal/journaldb.h"

#define QUEUE_ROWS 2048      /* In the ring. */
#define QUEUE_ROWS_MEMORY 64 /* In the ring of a journal in memory. */
#define BATCH_ROWS 128       /* In one transaction. */
#define QUEUE_INPUTS 32      /* Blocks of inputs that wait. */
#define BATCH_INPUTS 8       /* In one transaction. */
#define GATHER_MS 100
#define RETRY_NS NSEC_PER_SEC
#define ID_SHIFT 40 /* Ids are start count << 40 | n. */

struct journal {
    struct journaldb *db;
    bool threaded, no_thread; /* Neither: in memory. */
    pthread_t thread;
    int wake_fd;       /* Ends the writer's gathering. */
    nsec_t retry_time; /* The caller's; when it last had us try again. */

    pthread_mutex_t lock; /* Of all below. */
    pthread_cond_t work, done;
    struct journal_row *ring;
    uint32_t ring_size, head, n;
    struct journal_input *inputs; /* A ring likewise; null: none are kept. */
    uint32_t inputs_head, n_inputs;
    uint64_t next_input_id;
    uint64_t next_id;
    uint64_t stored_id;  /* All to here are in the file. */
    uint64_t durable_id; /* And all to here on the disk. */
    uint64_t wanted_id;  /* What journal_sync() waits for. */
    bool stop, retry;
    int failing; /* 0 or the -Exxx new rows are refused with. */
    char reason[160];
    uint64_t n_lost, n_rows, size;
};

static void *writer_main(void *journal);
static void write_batch(struct journal *);
static void wake(struct journal *);
static int copy_pending(struct journal *, bool all, uint64_t cause,
                        uint32_t max, struct journal_row **rows_out,
                        uint64_t *before_out);

static int
start_writer(struct journal *journal)
{
    sigset_t all, old;

    journal->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (journal->wake_fd < 0) {
        return -errno;
    }
    /* Signals are the loop's business. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = -pthread_create(&journal->thread, NULL, writer_main, journal);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    journal->threaded = !error;
    return error;
}

int
journal_open(struct journal **out, const char *path,
             const struct journal_opts *opts, char *why, size_t why_size)
{
    struct journal *journal = calloc(1, sizeof *journal);

    if (!journal) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    pthread_mutex_init(&journal->lock, NULL);
    pthread_cond_init(&journal->work, NULL);
    pthread_cond_init(&journal->done, NULL);
    journal->wake_fd = -1;
    journal->no_thread = path && opts->no_thread;
    journal->ring_size = path ? QUEUE_ROWS : QUEUE_ROWS_MEMORY;
    journal->ring = calloc(journal->ring_size, sizeof *journal->ring);
    bool keeps = path && opts->inputs_max > 0;
    if (keeps) {
        journal->inputs = calloc(QUEUE_INPUTS, sizeof *journal->inputs);
    }
    int moved = -ENOMEM;
    if (journal->ring && (journal->inputs || !keeps)) {
        moved = journaldb_open(&journal->db, path, opts, why, why_size);
    } else {
        snprintf(why, why_size, "no memory");
    }
    if (moved < 0) {
        journal_close(journal);
        return moved;
    }
    journal->next_id = (journaldb_start_count(journal->db) << ID_SHIFT) + 1;
    journal->next_input_id = journal->next_id;
    journal->stored_id = journal->durable_id = journal->next_id - 1;
    journal->wanted_id = journal->durable_id;
    journal->n_rows = journaldb_n_rows(journal->db);
    journal->size = journaldb_size(journal->db);
    int error = path && !opts->no_thread ? start_writer(journal) : 0;
    if (error) {
        snprintf(why, why_size, "no writer thread: %s", strerror(-error));
        journal_close(journal);
        return error;
    }
    *out = journal;
    return moved;
}

void
journal_close(struct journal *journal)
{
    if (!journal) {
        return;
    }
    if (journal->threaded) {
        pthread_mutex_lock(&journal->lock);
        journal->stop = true;
        wake(journal);
        pthread_mutex_unlock(&journal->lock);
        pthread_join(journal->thread, NULL);
    } else if (journal->db && journal->no_thread) {
        pthread_mutex_lock(&journal->lock);
        do {
            write_batch(journal);
        } while (journal->n + journal->n_inputs && !journal->failing);
        pthread_mutex_unlock(&journal->lock);
    }
    if (journal->wake_fd >= 0) {
        close(journal->wake_fd);
    }
    journaldb_close(journal->db);
    pthread_cond_destroy(&journal->work);
    pthread_cond_destroy(&journal->done);
    pthread_mutex_destroy(&journal->lock);
    free(journal->ring);
    free(journal->inputs);
    free(journal);
}

uint64_t
journal_start_count(const struct journal *journal)
{
    return journaldb_start_count(journal->db);
}

int
journal_add(struct journal *journal, const struct journal_row *row)
{
    int error = 0;

    assert(row->kind <= JOURNAL_OUTCOME);
    pthread_mutex_lock(&journal->lock);
    if (!journal->threaded && journal->n == journal->ring_size) {
        write_batch(journal);
    }
    if (journal->failing) {
        error = journal->failing;
    } else if (journal->n == journal->ring_size) {
        error = -ENOBUFS;
    }
    if (error) {
        journal->n_lost++;
    } else {
        struct journal_row *slot =
            &journal->ring[(journal->head + journal->n) % journal->ring_size];

        *slot = *row;
        slot->id = journal->next_id++;
        journal->n++;
        if (journal->n == 1) {
            pthread_cond_signal(&journal->work);
        } else if (journal->n == BATCH_ROWS) {
            wake(journal);
        }
    }
    pthread_mutex_unlock(&journal->lock);
    return error;
}

bool
journal_keeps_inputs(const struct journal *journal)
{
    return journal->inputs;
}

int
journal_add_input(struct journal *journal, const struct journal_input *input)
{
    int error = 0;

    assert(input->size <= JOURNAL_INPUT_SIZE);
    if (!journal->inputs) {
        return -ENOTSUP;
    }
    pthread_mutex_lock(&journal->lock);
    if (!journal->threaded && journal->n_inputs == QUEUE_INPUTS) {
        write_batch(journal);
    }
    if (journal->failing) {
        error = journal->failing;
    } else if (journal->n_inputs == QUEUE_INPUTS) {
        error = -ENOBUFS;
    } else {
        struct journal_input *slot =
            &journal->inputs[(journal->inputs_head + journal->n_inputs++) %
                             QUEUE_INPUTS];

        memcpy(slot, input, offsetof(struct journal_input, data) + input->size);
        slot->id = journal->next_input_id++;
        pthread_cond_signal(&journal->work);
    }
    pthread_mutex_unlock(&journal->lock);
    return error;
}

int
journal_sync(struct journal *journal)
{
    pthread_mutex_lock(&journal->lock);
    uint64_t wanted = journal->next_id - 1;

    if (wanted > journal->wanted_id) {
        journal->wanted_id = wanted;
    }
    if (journal->threaded) {
        wake(journal);
    }
    while (!journal->failing && journal->durable_id < wanted) {
        if (journal->threaded) {
            pthread_cond_wait(&journal->done, &journal->lock);
        } else {
            write_batch(journal);
        }
    }
    int error = journal->durable_id < wanted ? journal->failing : 0;
    pthread_mutex_unlock(&journal->lock);
    return error;
}

void
journal_health(struct journal *journal, struct journal_health *out)
{
    pthread_mutex_lock(&journal->lock);
    struct journal_health health = {
        .failing = journal->failing != 0,
        .n_rows = journal->n_rows + journal->n,
        .n_lost = journal->n_lost,
        .size = journal->size,
    };
    memcpy(health.reason, journal->reason, sizeof health.reason);
    pthread_mutex_unlock(&journal->lock);
    *out = health;
}

void
journal_run(struct journal *journal, nsec_t now)
{
    pthread_mutex_lock(&journal->lock);
    if (!journal->threaded && !journal->failing &&
        journal->n + journal->n_inputs > 0) {
        write_batch(journal);
    }
    if (journal->failing && now >= journal->retry_time + RETRY_NS) {
        journal->retry_time = now;
        journal->retry = true;
        if (journal->threaded) {
            wake(journal);
        } else {
            write_batch(journal);
        }
    }
    pthread_mutex_unlock(&journal->lock);
}

/* Reading. */

int
journal_trace(struct journal *journal, uint64_t cause,
              void (*row)(void *ctx, const struct journal_row *), void *ctx)
{
    struct journal_row *pending;
    uint64_t before;

    int n = copy_pending(journal, false, cause, UINT32_MAX, &pending, &before);
    if (n < 0) {
        return n;
    }
    int stored = journaldb_trace(journal->db, cause, before, row, ctx);
    for (int i = 0; i < n && stored >= 0; i++) {
        row(ctx, &pending[i]);
    }
    free(pending);
    return stored < 0 ? stored : stored + n;
}

int
journal_tail(struct journal *journal, uint32_t n,
             void (*row)(void *ctx, const struct journal_row *), void *ctx)
{
    struct journal_row *pending;
    uint64_t before;

    int n_pending = copy_pending(journal, true, 0, n, &pending, &before);
    if (n_pending < 0) {
        return n_pending;
    }
    int stored =
        journaldb_tail(journal->db, n - (uint32_t)n_pending, before, row, ctx);
    for (int i = 0; i < n_pending && stored >= 0; i++) {
        row(ctx, &pending[i]);
    }
    free(pending);
    return stored < 0 ? stored : stored + n_pending;
}

struct about {
    const char *vm;
    bool any;
};

static void
look_about(void *ctx, const struct journal_row *row)
{
    struct about *about = ctx;

    about->any |= journal_row_is_about(row, about->vm);
}

/* A row in the ring is asked for, by itself or for another of its cause. */
static bool
takes(struct journal *journal, const struct journal_filter *filter,
      const struct journal_row *rows, int n, const struct journal_row *row)
{
    struct about about = {.vm = filter->vm};

    if (journal_filter_takes(filter, row, false)) {
        return true;
    }
    if (!row->cause || !journal_filter_takes(filter, row, true)) {
        return false;
    }
    for (int i = 0; i < n && !about.any; i++) {
        if (rows[i].cause == row->cause) {
            look_about(&about, &rows[i]);
        }
    }
    return about.any || (journaldb_trace(journal->db, row->cause, INT64_MAX,
                                         look_about, &about) > 0 &&
                         about.any);
}

/* Keeps of the copied rows those that the scan takes, in their order; returns
 * how many or -ENOMEM. */
static int
sift(struct journal *journal, const struct journal_scan *scan,
     struct journal_row *rows, int n)
{
    uint64_t before = scan->before ? scan->before : UINT64_MAX;
    bool *taken = calloc((size_t)n, sizeof *taken);
    int n_taken = 0;

    if (!taken) {
        return -ENOMEM;
    }
    for (int i = 0; i < n; i++) {
        taken[i] = rows[i].id > scan->after && rows[i].id < before &&
                   takes(journal, &scan->filter, rows, n, &rows[i]);
    }
    for (int i = 0; i < n; i++) {
        if (taken[i]) {
            rows[n_taken++] = rows[i];
        }
    }
    free(taken);
    return n_taken;
}

/* Newest first: the ring, and then the file for what is still wanted. */
static int
scan_backward(struct journal *journal, struct journal_scan *scan,
              const struct journal_row *pending, int n_pending, uint64_t before,
              void (*row)(void *ctx, const struct journal_row *), void *ctx)
{
    uint32_t n = (uint32_t)n_pending < scan->n ? (uint32_t)n_pending : scan->n;
    struct journal_scan rest = *scan;
    int stored = 0;

    rest.before = scan->before && scan->before < before ? scan->before : before;
    rest.n = scan->n - n;
    if (rest.n > 0) {
        stored = journaldb_scan(journal->db, &rest, row, ctx);
        scan->reached = rest.reached;
        scan->more = rest.more;
    } else {
        scan->reached = pending[n_pending - (int)n].id;
        scan->more = true;
    }
    for (uint32_t i = 0; i < n && stored >= 0; i++) {
        row(ctx, &pending[(uint32_t)n_pending - n + i]);
    }
    return stored < 0 ? stored : stored + (int)n;
}

static int
scan_forward(struct journal *journal, struct journal_scan *scan,
             const struct journal_row *pending, int n_pending, uint64_t before,
             void (*row)(void *ctx, const struct journal_row *), void *ctx)
{
    struct journal_scan first = *scan;

    first.before =
        scan->before && scan->before < before ? scan->before : before;
    int n = journaldb_scan(journal->db, &first, row, ctx);
    scan->reached = first.reached;
    scan->more = first.more;
    if (n < 0 || first.more) {
        return n;
    }
    for (int i = 0; i < n_pending; i++) {
        if ((uint32_t)n == scan->n) {
            scan->more = true;
            break;
        }
        row(ctx, &pending[i]);
        scan->reached = pending[i].id;
        n++;
    }
    return n;
}

int
journal_scan(struct journal *journal, struct journal_scan *scan,
             void (*row)(void *ctx, const struct journal_row *), void *ctx)
{
    struct journal_row *pending;
    uint64_t before;

    int n =
        copy_pending(journal, true, 0, journal->ring_size, &pending, &before);
    if (n > 0) {
        n = sift(journal, scan, pending, n);
    }
    if (n >= 0) {
        n = scan->forward
                ? scan_forward(journal, scan, pending, n, before, row, ctx)
                : scan_backward(journal, scan, pending, n, before, row, ctx);
    }
    free(pending);
    return n;
}

int
journal_last(struct journal *journal, const char *name, struct journal_row *out)
{
    pthread_mutex_lock(&journal->lock);
    for (uint32_t i = journal->n; i-- > 0;) {
        uint32_t slot = (journal->head + i) % journal->ring_size;

        if (!strcmp(journal->ring[slot].name, name)) {
            *out = journal->ring[slot];
            pthread_mutex_unlock(&journal->lock);
            return 1;
        }
    }
    pthread_mutex_unlock(&journal->lock);
    return journaldb_last(journal->db, name, out);
}

/* Copies the last 'max' rows in the ring that match; what is older than
 * '*before_out' is the file's to tell.  Returns how many or -ENOMEM. */
static int
copy_pending(struct journal *journal, bool all, uint64_t cause, uint32_t max,
             struct journal_row **rows_out, uint64_t *before_out)
{
    struct journal_row *rows = NULL;
    uint32_t n_match = 0, n = 0;

    pthread_mutex_lock(&journal->lock);
    *before_out = journal->stored_id + 1;
    for (uint32_t i = 0; i < journal->n; i++) {
        uint32_t slot = (journal->head + i) % journal->ring_size;

        n_match += all || journal->ring[slot].cause == cause;
    }
    uint32_t skip = n_match > max ? n_match - max : 0;
    if (n_match > skip) {
        rows = malloc((n_match - skip) * sizeof *rows);
        if (!rows) {
            pthread_mutex_unlock(&journal->lock);
            return -ENOMEM;
        }
    }
    for (uint32_t i = 0; i < journal->n && rows; i++) {
        uint32_t slot = (journal->head + i) % journal->ring_size;

        if (!all && journal->ring[slot].cause != cause) {
            continue;
        }
        if (skip) {
            skip--;
        } else {
            rows[n++] = journal->ring[slot];
        }
    }
    pthread_mutex_unlock(&journal->lock);
    *rows_out = rows;
    return (int)n;
}

/* The writer.  All below is called with the lock held. */

static void
wake(struct journal *journal)
{
    uint64_t one = 1;

    pthread_cond_signal(&journal->work);
    if (journal->wake_fd >= 0) {
        ssize_t ignored = write(journal->wake_fd, &one, sizeof one);
        (void)ignored; /* Full means that it is awake already. */
    }
}

static bool
has_work(const struct journal *journal)
{
    if (journal->stop) {
        return true;
    }
    if (journal->failing) {
        return journal->retry;
    }
    return journal->n || journal->n_inputs ||
           journal->durable_id < journal->wanted_id;
}

/* Sleeps until enough rows came, somebody waits, or for GATHER_MS. */
static void
gather(struct journal *journal)
{
    struct pollfd wait = {.fd = journal->wake_fd, .events = POLLIN};
    uint64_t count;

    while (!journal->stop && !journal->failing && journal->n < BATCH_ROWS &&
           journal->durable_id >= journal->wanted_id) {
        pthread_mutex_unlock(&journal->lock);
        int ready = poll(&wait, 1, GATHER_MS);
        ssize_t ignored = read(journal->wake_fd, &count, sizeof count);
        (void)ignored;
        pthread_mutex_lock(&journal->lock);
        if (ready == 0) {
            break;
        }
    }
}

static void *
writer_main(void *ctx)
{
    struct journal *journal = ctx;

    pthread_mutex_lock(&journal->lock);
    for (;;) {
        while (!has_work(journal)) {
            pthread_cond_wait(&journal->work, &journal->lock);
        }
        gather(journal);
        write_batch(journal);
        if (journal->stop &&
            (!(journal->n + journal->n_inputs) || journal->failing)) {
            break;
        }
    }
    pthread_mutex_unlock(&journal->lock);
    return NULL;
}

/* What one transaction takes from the heads of both rings. */
struct batch {
    uint32_t head, n;
    uint32_t inputs_head, n_inputs;
    bool durable;
};

/* The straight-line work, without the lock; what is in the batch is the
 * writer's until it says that it is stored. */
static int
store(struct journal *journal, const struct batch *batch)
{
    nsec_t now = INT64_MAX; /* When the batch began. */

    int error = journaldb_begin(journal->db, batch->durable);
    for (uint32_t i = 0; i < batch->n && !error; i++) {
        const struct journal_row *row =
            &journal->ring[(batch->head + i) % journal->ring_size];

        now = nsec_min(now, row->time);
        error = journaldb_add(journal->db, row);
    }
    for (uint32_t i = 0; i < batch->n_inputs && !error; i++) {
        const struct journal_input *input =
            &journal->inputs[(batch->inputs_head + i) % QUEUE_INPUTS];

        now = nsec_min(now, input->time);
        error = journaldb_add_input(journal->db, input);
    }
    if (!error && batch->n + batch->n_inputs) {
        error = journaldb_trim(journal->db, now);
    }
    return error ? error : journaldb_commit(journal->db);
}

static void
drop_stored(struct journal *journal, const struct batch *batch)
{
    journal->head = (batch->head + batch->n) % journal->ring_size;
    journal->n -= batch->n;
    journal->stored_id += batch->n;
    journal->inputs_head =
        (batch->inputs_head + batch->n_inputs) % QUEUE_INPUTS;
    journal->n_inputs -= batch->n_inputs;
}

static void
write_batch(struct journal *journal)
{
    struct batch batch = {
        .head = journal->head,
        .n = journal->n < BATCH_ROWS ? journal->n : BATCH_ROWS,
        .inputs_head = journal->inputs_head,
        .n_inputs =
            journal->n_inputs < BATCH_INPUTS ? journal->n_inputs : BATCH_INPUTS,
        .durable = journal->durable_id < journal->wanted_id,
    };

    journal->retry = false;
    pthread_mutex_unlock(&journal->lock);
    int stored = store(journal, &batch);
    int error = stored ? stored : journaldb_mark(journal->db, batch.durable);
    uint64_t n_rows = journaldb_n_rows(journal->db);
    uint64_t size = journaldb_size(journal->db);
    pthread_mutex_lock(&journal->lock);

    journal->failing = error;
    snprintf(journal->reason, sizeof journal->reason, "%s",
             error ? journaldb_reason(journal->db) : "");
    if (!stored) {
        drop_stored(journal, &batch);
    }
    if (!error && batch.durable) {
        journal->durable_id = journal->stored_id;
    }
    journal->n_rows = n_rows;
    journal->size = size;
    pthread_cond_broadcast(&journal->done);
}
