/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket over a real unix socket: a made-up engine behind it, which
 * takes the place of broker/engine/engine.c in the program that includes this,
 * the real arbiter, policies and journal beside that, and a client that never
 * blocks. */
#ifndef TESTS_UNIT_BROKER_CONTROLBENCH_H
#define TESTS_UNIT_BROKER_CONTROLBENCH_H

#include <errno.h>
#include <grp.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/config/config.h"
#include "broker/control/control.h"
#include "broker/engine/arbiter.h"
#include "broker/engine/engine.h"
#include "broker/journal/journal.h"
#include "policy/policy.h"
#include "wire/request.h"

#define NOBODY 65534
#define READERS_GID 54321

/* The engine that isn't there. */
struct engine {
    struct engine_status status;
    struct engine_counts counts;
    struct option_values options;
    nsec_t pstate_time[4 * PSTATES_MAX];
    char set_name[64];
    struct option_values set_options;
    int set_error, control_error;
    struct uuid control_uuid;
    struct cap_order cap_order;
    enum vm_op control_op;
    char migrate_to[65];
    int n_changes;
};

struct fixture {
    struct control *control;
    struct broker_config config;
    struct engine engine;
    struct host host;
    struct arbiter *arbiter;
    struct journal *journal;
    char dir[64], path[80];
    nsec_t now;
};

void
engine_status(const struct engine *engine, nsec_t now,
              struct engine_status *out)
{
    *out = engine->status;
}

int
engine_set_policy(struct engine *engine, const char *name,
                  const struct option_values *options, nsec_t now, char *why,
                  size_t why_size)
{
    engine->n_changes++;
    if (engine->set_error) {
        snprintf(why, why_size, "the engine says no");
        return engine->set_error;
    }
    snprintf(engine->set_name, sizeof engine->set_name, "%s", name);
    engine->set_options = *options;
    return 0;
}

int
engine_control_vm(struct engine *engine, const struct uuid *uuid, enum vm_op op,
                  nsec_t now, char *why, size_t why_size)
{
    engine->n_changes++;
    engine->control_uuid = *uuid;
    engine->control_op = op;
    if (engine->control_error) {
        snprintf(why, why_size, "it is ended already");
    }
    return engine->control_error;
}

int
engine_migrate_vm(struct engine *engine, const struct uuid *uuid,
                  const char *to, nsec_t now, char *why, size_t why_size)
{
    snprintf(engine->migrate_to, sizeof engine->migrate_to, "%s", to);
    return engine_control_vm(engine, uuid, VM_OP_MIGRATE, now, why, why_size);
}

int
engine_set_cap(struct engine *engine, const struct cap_order *order, nsec_t now,
               char *why, size_t why_size)
{
    engine->n_changes++;
    engine->cap_order = *order;
    if (engine->control_error) {
        snprintf(why, why_size, "term 1 is over");
    }
    return engine->control_error;
}

/* A host of two CPUs in one domain and a third alone, and two VMs. */

static inline void
make_domain(struct domain *domain, uint32_t id, uint32_t cpu, uint32_t n)
{
    domain->desc.id = id;
    domain->desc.n_cpus = n;
    for (uint32_t i = 0; i < n; i++) {
        domain->desc.cpus[i] = cpu + i;
    }
    domain->desc.table =
        (struct pstate_table){.n = 3, .freq_khz = {2400000, 2000000, 1000000}};
    domain->desc.emulated = true;
    domain->known = true;
    domain->pstate = 1;
}

static inline void
make_host(struct fixture *f)
{
    struct host *host = &f->host;
    struct uuid uuid;

    assert_int_equal(host_init(host, 3, 2, 2), 0);
    snprintf(host->id, sizeof host->id, "h1");
    host->n_domains = 2;
    host->n_cpus = 3;
    make_domain(&host->domains[0], 0, 0, 2);
    make_domain(&host->domains[1], 1, 2, 1);
    for (uint32_t i = 0; i < 3; i++) {
        host->cpus[i].id = i;
        host->cpus[i].domain = i == 2;
        host->cpus[i].util_permille = i == 1 ? UTIL_UNKNOWN : 500;
    }
    for (uint32_t i = 0; i < 2; i++) {
        char name[8];
        snprintf(name, sizeof name, "web%u", i);
        uuid_from_name(&uuid, "h1", name);
        struct vm *vm = host_add_vm(host, &uuid);
        snprintf(vm->name, sizeof vm->name, "%s", name);
        vm->n_vcpus = 1;
        vm->vcpu_cpu[0] = i;
        vm->util_permille = UTIL_UNKNOWN;
    }
    host->vms[0].agent_up = true;
    host->vms[0].n_offers = 1;
    snprintf(host->vms[0].offers[0], sizeof host->vms[0].offers[0], "httplog");
}

static inline void
wish(struct fixture *f, uint32_t vm, int64_t pstate)
{
    struct wish wish = {
        .kind = WISH_PSTATE,
        .vm = f->host.vms[vm].uuid,
        .value = pstate,
        .valid_until = NSEC_NEVER,
        .reason = {.rule = "test/rule", .cause = UINT64_C(1) << 40 | 5}};
    char why[128];

    reason_value(&wish.reason, "violations", 12, "");
    reason_value(&wish.reason, "tolerated", 1, "%");
    reason_reject(&wish.reason, pstate + 1, "too slow");
    assert_true(arbiter_wish(f->arbiter, &wish, f->now, why, sizeof why) >= 0);
}

static inline void
start_control(struct fixture *f, const struct rights *rights)
{
    struct control_env env = {.config = &f->config,
                              .engine = &f->engine,
                              .journal = f->journal,
                              .rights = *rights};
    char why[256] = "";
    int fd = control_listen(f->path, why, sizeof why);

    if (fd < 0) {
        fail_msg("%s", why);
    }
    assert_int_equal(control_create(&f->control, &env, fd), 0);
}

static inline int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct rights rights = {.owner = geteuid()};
    struct journal_opts opts = {.size_max = 1 << 20, .age_max_s = 3600};
    const struct verdict *verdicts;
    char why[256] = "";

    f->now = 100 * NSEC_PER_SEC;
    snprintf(f->dir, sizeof f->dir, "/tmp/mbroker-control-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    chmod(f->dir, 0755);
    snprintf(f->path, sizeof f->path, "%s/control.sock", f->dir);
    assert_int_equal(config_default(&f->config, why, sizeof why), 0);
    snprintf(f->config.host_id, sizeof f->config.host_id, "h1");
    make_host(f);
    assert_int_equal(arbiter_create(&f->arbiter, &f->host, 0), 0);
    wish(f, 0, 1);
    wish(f, 1, 2);
    arbiter_resolve(f->arbiter, f->now, &verdicts);
    assert_true(journal_open(&f->journal, NULL, &opts, why, sizeof why) >= 0);
    options_init(&f->engine.options, policy_find("basic")->options);
    f->engine.status =
        (struct engine_status){.host = &f->host,
                               .policy = policy_find("basic"),
                               .policy_options = &f->engine.options,
                               .counts = &f->engine.counts,
                               .arbiter = f->arbiter,
                               .platform_ready = true,
                               .pstate_time = f->engine.pstate_time};
    start_control(f, &rights);
    *state = f;
    return 0;
}

static inline int
teardown(void **state)
{
    struct fixture *f = *state;

    control_destroy(f->control);
    arbiter_destroy(f->arbiter);
    journal_close(f->journal);
    host_fini(&f->host);
    config_fini(&f->config);
    unlink(f->path);
    rmdir(f->dir);
    free(f);
    return 0;
}

/* A client that never blocks: the broker's turns run in between. */

static inline int
dial(struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address),
                     0);
    control_run(f->control, f->now);
    return fd;
}

/* The next line as JSON; null if the broker closed instead. */
static inline json_t *
hear(struct fixture *f, int fd)
{
    static char line[CONTROL_REPLY_MAX + 1];
    size_t n = 0;

    for (int turns = 0; turns < 10000; turns++) {
        ssize_t got = recv(fd, line + n, 1, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            return NULL;
        }
        if (got < 0) {
            control_run(f->control, f->now);
        } else {
            turns--;
            if (line[n] == '\n') {
                json_t *json = json_loadb(line, n, 0, NULL);
                assert_non_null(json);
                return json;
            }
            n++;
        }
    }
    fail_msg("no answer");
    return NULL;
}

static inline void
say(int fd, const char *text, size_t size)
{
    assert_int_equal(send(fd, text, size, MSG_NOSIGNAL), size);
}

static inline json_t *
ask_on(struct fixture *f, int fd, const char *request)
{
    say(fd, request, strlen(request));
    say(fd, "\n", 1);
    control_run(f->control, f->now);
    return hear(f, fd);
}

/* Asks once and returns the data. */
static inline json_t *
ask(struct fixture *f, const char *request)
{
    int fd = dial(f);
    json_t *answer = ask_on(f, fd, request);

    close(fd);
    assert_non_null(answer);
    if (!json_is_true(json_object_get(answer, "ok"))) {
        fail_msg("%s", json_dumps(answer, 0));
    }
    json_t *data = json_incref(json_object_get(answer, "data"));
    json_decref(answer);
    return data;
}

static inline const char *
text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* The answer is an error whose three parts are there and one has 'word'. */
static inline void
assert_error(json_t *answer, const char *word)
{
    const json_t *error = json_object_get(answer, "error");
    char said[800];

    assert_non_null(answer);
    assert_true(json_is_false(json_object_get(answer, "ok")));
    snprintf(said, sizeof said, "%s|%s|%s", text_of(error, "what"),
             text_of(error, "why"), text_of(error, "next"));
    assert_true(text_of(error, "what")[0] && text_of(error, "why")[0] &&
                text_of(error, "next")[0]);
    if (!strstr(said, word)) {
        fail_msg("\"%s\" is not in \"%s\"", word, said);
    }
    json_decref(answer);
}

static inline void
assert_refused(struct fixture *f, const char *request, const char *word)
{
    int fd = dial(f);

    assert_error(ask_on(f, fd, request), word);
    close(fd);
}

static inline void
assert_still_serves(struct fixture *f)
{
    json_decref(ask(f, "{\"verb\":\"status\"}"));
}

/* Runs 'f' with the caller being somebody else in the group 'gid'; the test
 * is skipped where we can't be. */
static inline int
dial_as(struct fixture *f, uid_t uid, gid_t gid)
{
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(setgroups(1, &gid), 0);
    assert_int_equal(setegid(NOBODY), 0);
    assert_int_equal(seteuid(uid), 0);
    int fd = dial(f);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(setegid(0), 0);
    assert_int_equal(setgroups(0, NULL), 0);
    return fd;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
