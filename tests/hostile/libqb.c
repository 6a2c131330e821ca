/* SPDX-License-Identifier: Apache-2.0 */
/* What the attack of this folder does to a server of libqb's, which shares a
 * ring with each client as we do: a client writes into the two cursors of the
 * ring that it was given, sends a message after each, and the writes are
 * counted until a signal ends the server.  Half of the values are plausible, a
 * little off or some laps too far, and half random; other servers are given
 * nothing but values of 32 random bits, which are another matter: few of them
 * are far enough within bounds to be followed.  Then: what is left in /dev/shm
 * of servers that were killed while a client was connected.
 *
 * Only the cursors are written, never the paths that libqb also keeps there:
 * the server would remove whatever file they name. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <glob.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <qb/qbipcc.h>
#include <qb/qbipcs.h>
#include <qb/qblog.h>
#include <qb/qbloop.h>

#include "base/prng.h"
#include "tests/left.h"

#define BUFFER_SIZE (1 << 20)
#define WRITES_MAX 10000
#define CLIENTS_MAX 200 /* They fall over their own cursors, too. */
#define REFUSALS_MAX 20
#define PATIENCE_S 30

struct board {
    _Atomic uint64_t n_writes;
    _Atomic bool connected;
};

/* Of servers that were attacked in one way. */
struct deaths {
    unsigned n_servers, n_died;
    uint64_t least, most, sum; /* Writes until a server died. */
    uint64_t n_survived;       /* Writes into those that did not. */
    int signal;
};

struct result {
    struct deaths plausible, random;
    unsigned n_killed;
    int32_t n_left;
    uint64_t bytes_left;
};

static struct board *board;
static qb_loop_t *loop;
static char name[64];
static bool only_random; /* The values are. */

/* The server. */

static int32_t
on_accept(qb_ipcs_connection_t *connection, uid_t uid, gid_t gid)
{
    return 0;
}

static void
on_created(qb_ipcs_connection_t *connection)
{
}

static int32_t
on_closed(qb_ipcs_connection_t *connection)
{
    return 0;
}

static int32_t
on_message(qb_ipcs_connection_t *connection, void *data, size_t size)
{
    struct qb_ipc_response_header answer = {.size = sizeof answer};
    (void)qb_ipcs_response_send(connection, &answer, sizeof answer);
    return 0;
}

static int32_t
add_job(enum qb_loop_priority priority, void *data, qb_loop_job_dispatch_fn fn)
{
    return qb_loop_job_add(loop, priority, data, fn);
}

static int32_t
add_fd(enum qb_loop_priority priority, int32_t fd, int32_t events, void *data,
       qb_ipcs_dispatch_fn_t fn)
{
    return qb_loop_poll_add(loop, priority, fd, events, data, fn);
}

static int32_t
change_fd(enum qb_loop_priority priority, int32_t fd, int32_t events,
          void *data, qb_ipcs_dispatch_fn_t fn)
{
    return qb_loop_poll_mod(loop, priority, fd, events, data, fn);
}

static int32_t
remove_fd(int32_t fd)
{
    return qb_loop_poll_del(loop, fd);
}

static void
be_quiet(void)
{
    qb_log_init("hostile", LOG_USER, LOG_EMERG);
    qb_log_ctl(QB_LOG_SYSLOG, QB_LOG_CONF_ENABLED, QB_FALSE);
}

static void
be_server(void)
{
    static struct qb_ipcs_service_handlers handlers = {
        on_accept, on_created, on_message, on_closed, on_created};
    static struct qb_ipcs_poll_handlers poll_handlers = {add_job, add_fd,
                                                         change_fd, remove_fd};
    be_quiet();
    loop = qb_loop_create();
    qb_ipcs_service_t *service = qb_ipcs_create(name, 4, QB_IPC_SHM, &handlers);
    qb_ipcs_poll_handlers_set(service, &poll_handlers);
    qb_ipcs_enforce_buffer_size(service, BUFFER_SIZE);
    if (qb_ipcs_run(service) < 0) {
        _exit(3);
    }
    qb_loop_run(loop);
    _exit(0);
}

/* The client. */

static qb_ipcc_connection_t *
come(void)
{
    be_quiet();
    for (int i = 0; i < PATIENCE_S * 100; i++) {
        qb_ipcc_connection_t *connection = qb_ipcc_connect(name, BUFFER_SIZE);
        if (connection) {
            return connection;
        }
        usleep(10000);
    }
    _exit(4);
}

static bool
say(qb_ipcc_connection_t *connection)
{
    struct {
        struct qb_ipc_request_header header;
        char text[64];
    } message = {.header = {.id = 1, .size = sizeof message}};
    return qb_ipcc_send(connection, &message, sizeof message) > 0;
}

/* The cursors of the newest ring of requests: where it is written, where it is
 * read, and then its size in words. */
static _Atomic uint32_t *
find_cursors(void)
{
    char pattern[160];
    glob_t found;
    snprintf(pattern, sizeof pattern, "/dev/shm/qb-*/qb-request-%s-header",
             name);
    if (glob(pattern, 0, NULL, &found)) {
        _exit(5);
    }
    struct stat best = {0};
    const char *path = NULL;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct stat status;
        if (!stat(found.gl_pathv[i], &status) &&
            (!path || status.st_ino > best.st_ino)) {
            best = status;
            path = found.gl_pathv[i];
        }
    }
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        _exit(6);
    }
    return memory;
}

/* Wild values as often as plausible ones: a little off, or a few laps. */
static uint32_t
some_value(struct prng *prng, uint32_t cursor, uint32_t n_words)
{
    if (only_random) {
        return (uint32_t)prng_u64(prng);
    }
    switch (prng_below(prng, 4)) {
    case 0:
        return cursor + (uint32_t)prng_below(prng, 64) - 32;
    case 1:
        return cursor + n_words * (uint32_t)prng_below(prng, 1000);
    default:
        return (uint32_t)(prng_u64(prng) >> prng_below(prng, 32));
    }
}

/* The server follows one cursor and its client the other, so a wrong one of
 * those would end only ourselves: it is put right before we send again. */
static void
be_attacker(uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    qb_ipcc_connection_t *connection = come();
    _Atomic uint32_t *cursors = find_cursors();
    unsigned n_refused = 0;
    while (board->n_writes < WRITES_MAX && n_refused < REFUSALS_MAX) {
        bool sent = prng_below(&prng, 2) && say(connection);
        uint32_t write_at = cursors[0];
        uint64_t which = sent ? prng_below(&prng, 2) : 1;
        cursors[which] = some_value(&prng, cursors[which], cursors[2]);
        board->n_writes++;
        usleep(100); /* The server's turn. */
        cursors[0] = write_at;
        n_refused = sent || say(connection) ? 0 : n_refused + 1;
        usleep(500);
    }
    _exit(0); /* And comes again. */
}

static void
be_guest(void)
{
    qb_ipcc_connection_t *connection = come();
    (void)say(connection);
    board->connected = true;
    pause();
}

/* The supervisor. */

static pid_t
start(void (*life)(uint64_t), uint64_t seed)
{
    pid_t pid = fork();
    if (!pid) {
        struct rlimit no_core = {0};
        setrlimit(RLIMIT_CORE, &no_core);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        life(seed);
        _exit(0);
    }
    return pid;
}

static void
server_life(uint64_t seed)
{
    be_server();
}

static void
guest_life(uint64_t seed)
{
    be_guest();
}

static void
end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void
new_name(unsigned n)
{
    snprintf(name, sizeof name, "hostile-%d-%u", (int)getpid(), n);
}

/* How many writes the server lived through; 0: it still lives. */
static uint64_t
attack(unsigned n, struct deaths *deaths)
{
    new_name(n);
    board->n_writes = 0;
    pid_t server = start(server_life, 0);
    uint64_t writes = 0;
    for (unsigned i = 0;
         i < CLIENTS_MAX && !writes && board->n_writes < WRITES_MAX; i++) {
        pid_t client = start(be_attacker, 1000 * (uint64_t)n + i);
        bool gone = false;
        for (int j = 0; j < PATIENCE_S * 1000 && !gone && !writes; j++) {
            int status;
            gone = waitpid(client, NULL, WNOHANG) == client;
            usleep(1000);
            if (waitpid(server, &status, WNOHANG) == server) {
                writes = board->n_writes;
                deaths->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
            }
        }
        if (!gone) {
            end(client);
        }
    }
    if (!writes) {
        end(server);
        deaths->n_survived += board->n_writes;
    }
    return writes;
}

static void
kill_one(unsigned n)
{
    new_name(n);
    board->connected = false;
    pid_t server = start(server_life, 0);
    pid_t guest = start(guest_life, 0);
    for (int i = 0; i < PATIENCE_S * 1000 && !board->connected; i++) {
        usleep(1000);
    }
    end(server);
    end(guest);
}

static uint64_t
bytes_in_shm(void)
{
    uint64_t sum = 0;
    glob_t found;
    if (!glob("/dev/shm/qb-*/*", 0, NULL, &found)) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            struct stat status;
            if (!stat(found.gl_pathv[i], &status)) {
                sum += (uint64_t)status.st_size;
            }
        }
        globfree(&found);
    }
    return sum;
}

/* 'n' tells these servers from others. */
static void
attack_many(struct deaths *deaths, unsigned n, unsigned n_servers)
{
    deaths->n_servers = n_servers;
    for (unsigned i = 0; i < n_servers; i++) {
        uint64_t writes = attack(n + i, deaths);
        if (writes) {
            deaths->n_died++;
            deaths->sum += writes;
            deaths->most = writes > deaths->most ? writes : deaths->most;
            if (!deaths->least || writes < deaths->least) {
                deaths->least = writes;
            }
        }
    }
}

static void
measure(struct result *result, unsigned n_servers, unsigned n_kills)
{
    attack_many(&result->plausible, 0, n_servers);
    only_random = true;
    attack_many(&result->random, n_servers, n_servers);
    int32_t before = left_in("/dev/shm");
    uint64_t bytes_before = bytes_in_shm();
    for (unsigned i = 0; i < n_kills; i++) {
        kill_one(2 * n_servers + i);
    }
    result->n_killed = n_kills;
    result->n_left = left_in("/dev/shm") - before;
    result->bytes_left = bytes_in_shm() - bytes_before;
}

static void
print_deaths(const char *key, const struct deaths *deaths)
{
    printf("\"%s\": {\"servers\": %u, \"died\": %u, \"signal\": \"%s\", "
           "\"writes_until_death\": {\"least\": %llu, \"mean\": %.1f, "
           "\"most\": %llu}, \"writes_survived\": %llu}, ",
           key, deaths->n_servers, deaths->n_died,
           deaths->signal ? sigabbrev_np(deaths->signal) : "",
           (unsigned long long)deaths->least,
           deaths->n_died ? (double)deaths->sum / deaths->n_died : 0.0,
           (unsigned long long)deaths->most,
           (unsigned long long)deaths->n_survived);
}

int
main(int argc, char **argv)
{
    unsigned n_servers = argc > 1 ? (unsigned)atoi(argv[1]) : 10;
    unsigned n_kills = argc > 2 ? (unsigned)atoi(argv[2]) : 10;
    if (argc > 3 || !n_servers || !n_kills) {
        fputs("usage: hostile_libqb [SERVERS [KILLS]]\n\n"
              "Attacks and kills so many servers of libqb's (10 and 10); "
              "prints JSON.\n",
              stderr);
        return 2;
    }
    /* What they leave goes with this program. */
    if (!left_alone()) {
        fputs("a /dev/shm of our own is not allowed here, and what libqb "
              "leaves behind must not stay\n",
              stderr);
        return 77;
    }
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct result result = {0};
    measure(&result, n_servers, n_kills);
    printf("{");
    print_deaths("half_plausible", &result.plausible);
    print_deaths("random", &result.random);
    printf("\"killed\": %u, \"left_in_dev_shm\": %d, \"bytes_left\": %llu}\n",
           result.n_killed, result.n_left,
           (unsigned long long)result.bytes_left);
    return 0;
}
