/* SPDX-License-Identifier: Apache-2.0 */
/* mbrokerd, the M-broker of a host.  Here are its command line and what it is
 * to be: the parent, one of the parent's children (the same program with
 * --role, which people don't use), or a short-lived answer (--check, --plugins,
 * --restore).  Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, as
 * sd_notify(3) has them, and nothing else of its environment. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/confscan.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"
#include "broker/config/config.h"
#include "broker/parent/parent.h"
#include "broker/role/confine.h"
#include "broker/role/role.h"
#include "hardware/hardware.h"
#include "hypervisor/hypervisor.h"
#include "policy/policy.h"

#define CONFIG_PATH "/etc/mbroker/mbroker.conf"
#define EXIT_USAGE 2 /* The command line is wrong. */

#define HANG_NS (30 * NSEC_PER_SEC)
#define HANG_MIN_NS (5 * NSEC_PER_SEC)

enum mode { MODE_RUN, MODE_CHECK, MODE_RESTORE, MODE_PLUGINS };

struct args {
    enum mode mode;
    const char *config; /* Null: CONFIG_PATH if there is one. */
    const char *run_dir, *state_dir, *lock_dir;
    const char *role; /* Null: the parent. */
    const char *rights;
    const char *user;  /* Null: nobody else. */
    const char *ended; /* How the last broker did; null: well. */
    enum log_level level;
};

static int read_args(struct args *, int argc, char **argv);
static int read_level(const char *text, enum log_level *out);
static void print_help(FILE *);
static int run_parent(const struct args *);
static int run_role(const struct args *);
static int run_check(const char *path);
static int run_plugins(void);
static int load(const struct args *, char **text_out, const char **path_out,
                struct broker_config *out);
static int read_again(void *ctx, struct parent_config *out, char *why,
                      size_t why_size);
static int read_config(void *ctx, struct broker_config *out, char *why,
                       size_t why_size);
static int read_file(const char *path, char **text_out, const char **path_out,
                     struct broker_config *out, char *why, size_t why_size);
static int use_dirs(struct broker_config *, const struct args *, char *why,
                    size_t why_size);
static bool names_unseen_guests(const struct broker_config *, char *out,
                                size_t size);
static char *read_text(int fd);
static int resolve(struct rights *, struct users *,
                   const struct broker_config *, char *why, size_t why_size);
static int parse_rights(const char *text, struct rights *out);
static int parse_user(const char *text, struct role_user *out);
static nsec_t watchdog_ns(void);
static int64_t wall_ns(void *ctx);

int
main(int argc, char **argv)
{
    struct args args = {.level = LOG_LEVEL_INFO};

    int status = read_args(&args, argc, argv);
    if (status >= 0) {
        return status;
    }
    if (args.role) {
        return run_role(&args);
    }
    log_open("mbrokerd", args.level);
    switch (args.mode) {
    case MODE_CHECK:
        return run_check(args.config);
    case MODE_PLUGINS:
        return run_plugins();
    case MODE_RUN:
    case MODE_RESTORE:
        break;
    }
    return run_parent(&args);
}

/* Returns -1, or the status to leave with. */
static int
read_args(struct args *args, int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"run-dir", required_argument, NULL, 'r'},
        {"state-dir", required_argument, NULL, 's'},
        {"lock-dir", required_argument, NULL, 'L'},
        {"log-level", required_argument, NULL, 'l'},
        {"check", required_argument, NULL, 'C'},
        {"restore", no_argument, NULL, 'R'},
        {"plugins", no_argument, NULL, 'p'},
        {"role", required_argument, NULL, 'o'},
        {"rights", required_argument, NULL, 'g'},
        {"user", required_argument, NULL, 'u'},
        {"ended", required_argument, NULL, 'e'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            args->config = optarg;
            break;
        case 'r':
            args->run_dir = optarg;
            break;
        case 's':
            args->state_dir = optarg;
            break;
        case 'L':
            args->lock_dir = optarg;
            break;
        case 'l':
            if (read_level(optarg, &args->level)) {
                fprintf(stderr, "mbrokerd: --log-level is error, warn, info "
                                "or debug\n");
                return EXIT_USAGE;
            }
            break;
        case 'f': /* It never does otherwise. */
            break;
        case 'C':
            args->mode = MODE_CHECK;
            args->config = optarg;
            break;
        case 'R':
            args->mode = MODE_RESTORE;
            break;
        case 'p':
            args->mode = MODE_PLUGINS;
            break;
        case 'o':
            args->role = optarg;
            break;
        case 'g':
            args->rights = optarg;
            break;
        case 'u':
            args->user = optarg;
            break;
        case 'e':
            args->ended = optarg[0] ? optarg : NULL;
            break;
        case 'h':
            print_help(stdout);
            return EXIT_SUCCESS;
        case 'V':
            printf("mbrokerd %s\n", MBROKER_VERSION);
            return EXIT_SUCCESS;
        default:
            fprintf(stderr, "Try \"mbrokerd --help\".\n");
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr,
                "mbrokerd: \"%s\" is not an option; try \"mbrokerd "
                "--help\"\n",
                argv[optind]);
        return EXIT_USAGE;
    }
    return -1;
}

static int
read_level(const char *text, enum log_level *out)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};

    for (int i = 0; i < 4; i++) {
        if (!strcmp(text, names[i]) || (text[0] == '0' + i && !text[1])) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

static void
print_help(FILE *to)
{
    fputs("mbrokerd: the M-broker of a host: hears its guests' agents, decides "
          "by a policy\nand sets the CPUs' p-states.\n\n"
          "  --config FILE    instead of " CONFIG_PATH "; with neither it\n"
          "                   observes and changes nothing\n"
          "  --run-dir DIR    sockets, locks, saved states; default "
          "/run/mbroker\n"
          "  --state-dir DIR  the journal; default /var/lib/mbroker\n"
          "  --lock-dir DIR   where brokers of a host lock CPUs; default\n"
          "                   /run/lock, or /tmp\n"
          "  --log-level L    error, warn, info (default) or debug\n"
          "  --check FILE     say whether a configuration is right, and leave\n"
          "  --restore        put back what a dead broker left changed, and "
          "leave\n"
          "  --plugins        list policies, hypervisors and drivers, and "
          "leave\n"
          "  --help, --version\n",
          to);
}

/* The ways to be. */

static int
run_parent(const struct args *args)
{
    struct broker_config config;
    char *text = NULL, why[CONFIG_WHY_SIZE];
    const char *path;
    int status = EXIT_FAILURE;

    umask(0022);
    if (load(args, &text, &path, &config)) {
        return EXIT_FAILURE;
    }
    struct parent_opts opts = {.config = &config,
                               .read = read_again,
                               .ctx = (void *)args,
                               .text = text,
                               .path = path,
                               .lock_dir = args->lock_dir,
                               .level = args->level,
                               .notify_path = getenv("NOTIFY_SOCKET"),
                               .hang_ns = HANG_NS,
                               .watchdog_ns = watchdog_ns()};
    if (opts.watchdog_ns) { /* As patient as systemd, within reason. */
        opts.hang_ns = 2 * opts.watchdog_ns;
        opts.hang_ns = opts.hang_ns > HANG_MIN_NS ? opts.hang_ns : HANG_MIN_NS;
    }
    if (resolve(&opts.rights, &opts.users, &config, why, sizeof why)) {
        log_error("%s: %s", path, why);
    } else if (args->mode == MODE_RESTORE) {
        status = parent_restore(&opts);
    } else {
        if (names_unseen_guests(&config, why, sizeof why)) {
            log_warn("%s: %s", path, why);
        }
        if (opts.users.made_up) {
            log_info("there are no users mbroker-back, mbroker-engine and "
                     "mbroker-platform; numbers from %d on stand in",
                     USERS_FIRST_UID);
        }
        status = parent_run(&opts);
    }
    config_fini(&config);
    free(text);
    return status;
}

static int
run_role(const struct args *args)
{
    static int (*const runs[])(const struct role_env *) = {
        [ROLE_BACK] = role_back,         [ROLE_ENGINE] = role_engine,
        [ROLE_PLATFORM] = role_platform, [ROLE_STEWARD] = role_steward,
        [ROLE_RESTORE] = role_restore,
    };
    static char name[32]; /* log_open() borrows it. */
    struct role_env env = {
        .clock = loop_now, .wall_ns = wall_ns, .ended = args->ended};
    struct broker_config config;
    struct role_user user;
    char why[CONFIG_WHY_SIZE], hash[CONFIG_HASH_SIZE];
    enum role role = ROLE_BACK;

    while (role < ROLE_N && strcmp(role_name(role), args->role)) {
        role++;
    }
    snprintf(name, sizeof name, "mbrokerd-%s", args->role);
    log_open(name, args->level);
    prctl(PR_SET_NAME, name);
    char *text = role < ROLE_N ? read_text(FD_CONFIG) : NULL;
    if (!text || !args->config || !args->rights ||
        parse_rights(args->rights, &env.rights) ||
        parse_user(args->user, &user)) {
        log_error("--role is for mbrokerd itself");
        free(text);
        return EXIT_FAILURE;
    }
    config_hash(text, hash);
    free(text);
    int error = read_config((void *)args, &config, why, sizeof why);
    if (error) {
        log_error("%s", why);
        return EXIT_FAILURE;
    }
    env.config = &config;
    env.read_config = read_config;
    env.ctx = (void *)args;
    env.path = args->config;
    env.hash = hash;
    int status =
        confine(role, &config, &user) ? EXIT_FAILURE : runs[role](&env);
    config_fini(&config);
    return status;
}

static int
run_check(const char *path)
{
    struct args args = {.config = path};
    struct broker_config config;
    struct rights rights;
    struct users users;
    char *text = NULL, why[CONFIG_WHY_SIZE];

    if (load(&args, &text, &path, &config)) {
        return EXIT_FAILURE;
    }
    if (resolve(&rights, &users, &config, why, sizeof why)) {
        fprintf(stderr, "%s: %s\n", path, why);
        config_fini(&config);
        free(text);
        return EXIT_FAILURE;
    }
    printf("%s: ok (%u CPUs, %u guests, policy %s, hypervisor %s, p-states %s, "
           "power %s, cap %s)\n",
           path, config.n_cpus, config.n_guests, config.policy->name,
           config.hypervisor ? config.hypervisor->name : "none",
           config.pstate ? config.pstate->name : "none",
           config.power ? config.power->name : "none",
           config.cap ? config.cap->name : "none");
    if (names_unseen_guests(&config, why, sizeof why)) {
        printf("%s: note: %s\n", path, why);
    }
    config_fini(&config);
    free(text);
    return EXIT_SUCCESS;
}

static int
run_plugins(void)
{
    const struct {
        const char *room;
        const char *const *left_out;
    } rooms[] = {{"policy", policy_left_out},
                 {"hypervisor", hypervisor_left_out},
                 {"hardware", hardware_left_out}};

    for (size_t i = 0; policy_table[i]; i++) {
        printf("policy %s: %s\n", policy_table[i]->name,
               policy_table[i]->summary);
    }
    for (size_t i = 0; hypervisor_table[i]; i++) {
        printf("hypervisor %s: %s\n", hypervisor_table[i]->name,
               hypervisor_table[i]->summary);
    }
    for (size_t i = 0; hardware_table[i]; i++) {
        printf("hardware %s: %s\n", hardware_table[i]->name,
               hardware_table[i]->summary);
    }
    const char *left_out = sandbox_seccomp_left_out();
    printf("sandbox seccomp: %s%s\n", left_out ? "left out: " : "",
           left_out ? left_out : "filters of system calls");
    for (size_t i = 0; i < sizeof rooms / sizeof rooms[0]; i++) {
        for (size_t j = 0; rooms[i].left_out[j]; j += 2) {
            printf("%s %s: left out: %s\n", rooms[i].room, rooms[i].left_out[j],
                   rooms[i].left_out[j + 1]);
        }
    }
    return EXIT_SUCCESS;
}

/* Configuration. */

/* Reads, parses and checks; what is wrong is said on standard error, by itself,
 * so that editors find the line. */
static int
load(const struct args *args, char **text_out, const char **path_out,
     struct broker_config *out)
{
    char why[CONFIG_WHY_SIZE];

    int error =
        read_file(args->config, text_out, path_out, out, why, sizeof why);
    if (error) {
        fprintf(stderr, "%s\n", why);
        return error;
    }
    error = use_dirs(out, args, why, sizeof why);
    if (error) {
        log_error("%s", why);
        config_fini(out);
        free(*text_out);
    }
    return error;
}

/* '*path_out' is for messages. */
static int
read_file(const char *path, char **text_out, const char **path_out,
          struct broker_config *out, char *why, size_t why_size)
{
    char *text = NULL;

    if (!path && !access(CONFIG_PATH, F_OK)) {
        path = CONFIG_PATH;
    }
    int error = config_load_text(&text, path, why, why_size);
    path = path ? path : "built-in defaults";
    if (!error) {
        error = config_parse(out, text, path, why, why_size);
    }
    if (error) {
        free(text);
        return error;
    }
    int sys_dirfd = open(out->sys_dir, O_RDONLY | O_DIRECTORY);
    error = config_check_machine(text, path, sys_dirfd, why, why_size);
    if (sys_dirfd >= 0) {
        close(sys_dirfd);
    }
    if (error) {
        config_fini(out);
        free(text);
        return error;
    }
    *text_out = text;
    *path_out = path;
    return 0;
}

/* The parent's, while it runs: the file as at the start. */
static int
read_again(void *ctx, struct parent_config *out, char *why, size_t why_size)
{
    const struct args *args = ctx;
    struct users users;
    const char *path;
    char reason[CONFIG_WHY_SIZE];

    int error =
        read_file(args->config, &out->text, &path, &out->config, why, why_size);
    if (error) {
        return error;
    }
    if (strlen(out->text) >= CONFSCAN_TEXT_MAX) {
        error = -E2BIG;
        snprintf(reason, sizeof reason, "the file is too long");
    }
    if (!error) {
        error = use_dirs(&out->config, args, reason, sizeof reason);
    }
    if (!error) {
        error =
            resolve(&out->rights, &users, &out->config, reason, sizeof reason);
    }
    if (error) {
        snprintf(why, why_size, "%.100s: %.150s", path, reason);
        config_fini(&out->config);
        free(out->text);
    }
    return error;
}

/* A child's: what the parent put there. */
static int
read_config(void *ctx, struct broker_config *out, char *why, size_t why_size)
{
    const struct args *args = ctx;
    char *text = read_text(FD_CONFIG);

    if (!text) {
        snprintf(why, why_size, "the configuration can't be read");
        return -EIO;
    }
    int error = config_parse(out, text, args->config, why, why_size);
    free(text);
    if (!error) {
        error = use_dirs(out, args, why, why_size);
        if (error) {
            config_fini(out);
        }
    }
    return error;
}

/* Guests that the configuration leaves nothing to be seen of are right for
 * somebody who only listens to their agents; others wonder why no policy acts
 * for them. */
static bool
names_unseen_guests(const struct broker_config *config, char *out, size_t size)
{
    uint32_t n = 0;

    if (config->hypervisor != hypervisor_find("process")) {
        return false;
    }
    for (uint32_t i = 0; i < config->n_guests; i++) {
        const struct guest_config *guest = &config->guests[i];

        if (!guest->command[0] && !guest->pid_file[0] && !n++) {
            snprintf(out, size,
                     "guest %s has neither command nor pid_file, so nobody "
                     "can tell that it runs, and no policy acts for it",
                     guest->name);
        }
    }
    return n > 0;
}

/* Puts the directories of the command line in the place of the configuration's;
 * channels that lie in the run directory by default move with it. */
static int
use_dirs(struct broker_config *config, const struct args *args, char *why,
         size_t why_size)
{
    char before[CONFIG_PATH_SIZE + VM_NAME_SIZE + 16];

    if (args->run_dir && (args->run_dir[0] != '/' ||
                          strlen(args->run_dir) > CONFIG_RUN_DIR_MAX)) {
        snprintf(why, why_size,
                 "--run-dir %.64s: give an absolute path of at most %d bytes",
                 args->run_dir, CONFIG_RUN_DIR_MAX);
        return -EINVAL;
    }
    if (args->state_dir && (args->state_dir[0] != '/' ||
                            strlen(args->state_dir) >= CONFIG_PATH_SIZE)) {
        snprintf(why, why_size, "--state-dir %.64s: give an absolute path",
                 args->state_dir);
        return -EINVAL;
    }
    for (uint32_t i = 0; args->run_dir && i < config->n_guests; i++) {
        struct guest_config *guest = &config->guests[i];

        snprintf(before, sizeof before, "shm:%s/%s.chan", config->run_dir,
                 guest->name);
        if (strcmp(guest->channel, before)) {
            continue;
        }
        int length = snprintf(guest->channel, sizeof guest->channel,
                              "shm:%.90s/%s.chan", args->run_dir, guest->name);
        if (length > CONFIG_SOCKET_PATH_MAX + 4) {
            snprintf(why, why_size,
                     "--run-dir is too long for the socket of guest %s",
                     guest->name);
            return -EINVAL;
        }
    }
    if (args->run_dir) {
        text_copy(config->run_dir, sizeof config->run_dir, args->run_dir);
    }
    if (args->state_dir) {
        text_copy(config->state_dir, sizeof config->state_dir, args->state_dir);
    }
    return 0;
}

/* The whole of a file, from its start; null on failure. */
static char *
read_text(int fd)
{
    struct stat status;

    if (fstat(fd, &status) || status.st_size > CONFSCAN_TEXT_MAX) {
        return NULL;
    }
    size_t size = (size_t)status.st_size;
    char *text = malloc(size + 1);
    if (text && pread(fd, text, size, 0) == (ssize_t)size) {
        text[size] = '\0';
        return text;
    }
    free(text);
    return NULL;
}

/* "OWNER,CONTROL,OPERATOR", where -1 is no group. */
static int
parse_rights(const char *text, struct rights *out)
{
    long long owner, control, operator;
    char end;

    if (sscanf(text, "%lld,%lld,%lld%c", &owner, &control, &operator, & end) !=
        3) {
        return -EINVAL;
    }
    *out = (struct rights){.owner = (uid_t)owner,
                           .has_control = control >= 0,
                           .has_operator = operator>= 0,
                           .control_gid = (gid_t)control,
                           .operator_gid = (gid_t) operator};
    return 0;
}

/* "UID,GID" */
static int
parse_user(const char *text, struct role_user *out)
{
    unsigned uid = 0, gid = 0;
    char end;

    if (text && sscanf(text, "%u,%u%c", &uid, &gid, &end) != 2) {
        return -EINVAL;
    }
    *out = (struct role_user){.any = text != NULL, .uid = uid, .gid = gid};
    return 0;
}

/* The outside. */

/* The names of users and groups in a configuration, as numbers. */
static int
resolve(struct rights *rights, struct users *users,
        const struct broker_config *config, char *why, size_t why_size)
{
    uid_t uid;
    gid_t gid;

    int error = rights_resolve(rights, config, geteuid(), why, why_size);
    if (!error) {
        error = users_resolve(users, config, !geteuid(), why, why_size);
    }
    for (uint32_t i = 0; !error && i < config->n_guests; i++) {
        error = users_of_guest(&config->guests[i], &uid, &gid, why, why_size);
    }
    return error;
}

/* Half of what systemd allows, if it is us it watches. */
static nsec_t
watchdog_ns(void)
{
    const char *usec_text = getenv("WATCHDOG_USEC");
    const char *pid_text = getenv("WATCHDOG_PID");
    uint64_t usec, pid;

    if (!usec_text || text_to_u64(usec_text, &usec) || !usec ||
        usec > INT64_MAX / 1000) {
        return 0;
    }
    if (pid_text &&
        (text_to_u64(pid_text, &pid) || pid != (uint64_t)getpid())) {
        return 0;
    }
    return (nsec_t)usec * NSEC_PER_USEC / 2;
}

static int64_t
wall_ns(void *ctx)
{
    struct timespec ts;

    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}
