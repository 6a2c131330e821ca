/* SPDX-License-Identifier: Apache-2.0 */
/* What the killing came to, told to people and as JSON: what was left, and how
 * long survivors took, by how they wait.  Called by kills.c. */
#include <stdlib.h>

#include "tests/death/kills.h"

/* Times. */

static int
compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Of sorted times, in ms. */
static double
quantile_ms(const int64_t *times, unsigned n, double q)
{
    return n ? (double)times[(unsigned)((n - 1) * q + 0.5)] / 1e6 : 0;
}

void
report_sort(struct trial *trial)
{
    for (int i = 0; i < 2; i++) {
        qsort(trial->lost_ns[i], trial->n_times[i], sizeof(int64_t), compare);
        qsort(trial->again_ns[i], trial->n_times[i], sizeof(int64_t), compare);
    }
}

/* Telling. */

const char *
report_role(const struct trial *trial)
{
    return trial->kills_listener ? "listener" : "client";
}

static void
print_times(const char *what, const int64_t *times, unsigned n, double target)
{
    double p50 = quantile_ms(times, n, 0.5);
    printf("  %-36s %8.3f %8.3f %8.3f   %4.0f  %s\n", what, p50,
           quantile_ms(times, n, 0.99), quantile_ms(times, n, 1), target,
           p50 <= target ? "met" : "MISSED");
}

void
report_print(const struct trial *trial)
{
    static const char *const ways[2] = {"polls", "sleeps"};
    const struct board *board = trial->board;
    printf("%s, %u killed %ss, %llu messages came through: %s\n", trial->scheme,
           trial->n_killed, report_role(trial),
           (unsigned long long)board->n_received,
           trial->failure ? trial->failure : "nothing left");
    printf("  left: %d in /dev/shm, %d in /run, %d beside the socket, %d fds, "
           "%d mappings (%d of memory files), %d KiB of RSS\n",
           trial->n_shm, trial->n_run, trial->n_dir,
           trial->last.n_fds - trial->first.n_fds,
           trial->last.n_mappings - trial->first.n_mappings,
           trial->last.n_memfds - trial->first.n_memfds,
           trial->last.rss_kib - trial->first.rss_kib);
    printf("  %-36s %8s %8s %8s   %4s\n", "ms", "p50", "p99", "max", "goal");
    for (int i = 0; i < 2; i++) {
        char what[64];
        snprintf(what, sizeof what, "killed -> PEER_LOST, who %s", ways[i]);
        print_times(what, trial->lost_ns[i], trial->n_times[i], 1);
        snprintf(what, sizeof what, "killed -> traffic again, who %s", ways[i]);
        print_times(what, trial->again_ns[i], trial->n_times[i], 5);
    }
}

static void
write_times(FILE *file, const char *name, int64_t *const times[2],
            const unsigned n[2])
{
    static const char *const ways[2] = {"poll", "sleep"};
    fprintf(file, "   \"%s_ms\": {", name);
    for (int i = 0; i < 2; i++) {
        fprintf(file,
                "%s\"%s\": {\"n\": %u, \"p50\": %.4f, \"p99\": %.4f, "
                "\"max\": %.4f}",
                i ? ", " : "", ways[i], n[i], quantile_ms(times[i], n[i], 0.5),
                quantile_ms(times[i], n[i], 0.99),
                quantile_ms(times[i], n[i], 1));
    }
    fprintf(file, "}");
}

void
report_write(FILE *file, const struct trial *trial, bool first)
{
    fprintf(file,
            "%s  {\"transport\": \"%s\", \"killed\": \"%s\", \"kills\": %u, "
            "\"messages\": %llu, \"failure\": ",
            first ? "[\n" : ",\n", trial->scheme, report_role(trial),
            trial->n_killed, (unsigned long long)trial->board->n_received);
    fprintf(file, trial->failure ? "\"%s\",\n" : "null,\n", trial->failure);
    fprintf(file,
            "   \"left\": {\"dev_shm\": %d, \"run\": %d, \"socket_dir\": %d, "
            "\"fds\": %d, \"mappings\": %d, \"memfds\": %d, \"rss_kib\": "
            "%d},\n",
            trial->n_shm, trial->n_run, trial->n_dir,
            trial->last.n_fds - trial->first.n_fds,
            trial->last.n_mappings - trial->first.n_mappings,
            trial->last.n_memfds - trial->first.n_memfds,
            trial->last.rss_kib - trial->first.rss_kib);
    write_times(file, "peer_lost", trial->lost_ns, trial->n_times);
    fprintf(file, ",\n");
    write_times(file, "traffic_again", trial->again_ns, trial->n_times);
    fprintf(file, "}");
}
