/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket over a real unix socket: a made-up engine behind it, the
 * real arbiter, policies and journal beside that.  Bad, slow and forbidden
 * callers are tried as carefully as good ones; after each the next good request
 * is served. */
#include "broker/control/control.h"

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

#include "base/prng.h"
#include "broker/engine/arbiter.h"
#include "broker/config/config.h"
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
    enum vm_op control_op;
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

/* A host of two CPUs in one domain and a third alone, and two VMs. */

static void
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

static void
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

static void
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

static void
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

static int
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

static int
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

static int
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
static json_t *
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

static void
say(int fd, const char *text, size_t size)
{
    assert_int_equal(send(fd, text, size, MSG_NOSIGNAL), size);
}

static json_t *
ask_on(struct fixture *f, int fd, const char *request)
{
    say(fd, request, strlen(request));
    say(fd, "\n", 1);
    control_run(f->control, f->now);
    return hear(f, fd);
}

/* Asks once and returns the data. */
static json_t *
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

static const char *
text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* The answer is an error whose three parts are there and one has 'word'. */
static void
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

static void
assert_refused(struct fixture *f, const char *request, const char *word)
{
    int fd = dial(f);

    assert_error(ask_on(f, fd, request), word);
    close(fd);
}

static void
assert_still_serves(struct fixture *f)
{
    json_decref(ask(f, "{\"verb\":\"status\"}"));
}

/* Runs 'f' with the caller being somebody else in the group 'gid'; the test
 * is skipped where we can't be. */
static int
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

/* Answers. */

static void
status_says_what_there_is(void **state)
{
    struct fixture *f = *state;
    json_t *data = ask(f, "{\"verb\":\"status\"}");

    assert_string_equal(text_of(data, "policy"), "basic");
    assert_string_equal(text_of(data, "host"), "h1");
    assert_int_equal(json_integer_value(json_object_get(data, "cpus")), 3);
    assert_int_equal(json_integer_value(json_object_get(data, "agents")), 1);
    assert_true(json_is_null(json_object_get(data, "trouble")));
    json_decref(data);
}

static void
unknown_power_is_null_and_never_zero(void **state)
{
    struct fixture *f = *state;
    json_t *data = ask(f, "{\"verb\":\"power\"}");

    assert_true(json_is_null(json_object_get(data, "power_w")));
    assert_string_equal(text_of(data, "quality"), "unknown");
    json_decref(data);
    f->host.power = (struct power_reading){.quality = QUALITY_MODELLED,
                                           .power_mw = 35500,
                                           .time = f->now - NSEC_PER_SEC,
                                           .source = "powermodel"};
    data = ask(f, "{\"verb\":\"power\"}");
    assert_true(json_real_value(json_object_get(data, "power_w")) == 35.5);
    assert_string_equal(text_of(data, "source"), "powermodel");
    assert_string_equal(text_of(data, "quality"), "model");
    json_decref(data);
}

static void
trouble_cut_in_mid_character_is_still_told(void **state)
{
    struct fixture *f = *state;

    snprintf(f->engine.status.trouble, sizeof f->engine.status.trouble,
             "bmc0: \xe2\x82");
    json_t *data = ask(f, "{\"verb\":\"status\"}");
    assert_string_equal(text_of(data, "trouble"), "bmc0: ??");
    json_decref(data);
}

static void
unknown_utilization_is_null(void **state)
{
    struct fixture *f = *state;
    json_t *data = ask(f, "{\"verb\":\"cpus\"}");
    json_t *cpus = json_object_get(data, "cpus");

    assert_int_equal(json_array_size(cpus), 3);
    assert_true(
        json_is_null(json_object_get(json_array_get(cpus, 1), "util_percent")));
    assert_true(json_real_value(json_object_get(json_array_get(cpus, 0),
                                                "util_percent")) == 50);
    assert_true(json_real_value(json_object_get(json_array_get(cpus, 0),
                                                "freq_mhz")) == 2000);
    json_decref(data);
    data = ask(f, "{\"verb\":\"vms\"}");
    json_t *vm = json_array_get(json_object_get(data, "vms"), 0);
    assert_string_equal(text_of(vm, "name"), "web0");
    assert_true(json_is_null(json_object_get(vm, "util_percent")));
    assert_true(json_is_null(json_object_get(vm, "violation_percent")));
    assert_true(json_is_null(json_object_get(vm, "last_epoch")));
    json_decref(data);
}

static void
a_cpu_without_control_has_no_pstate(void **state)
{
    struct fixture *f = *state;

    f->host.cpus[2].domain = UINT32_MAX;
    json_t *data = ask(f, "{\"verb\":\"cpus\"}");
    json_t *cpu = json_array_get(json_object_get(data, "cpus"), 2);
    assert_true(json_is_null(json_object_get(cpu, "domain")));
    assert_true(json_is_null(json_object_get(cpu, "pstate")));
    json_decref(data);
}

static void
why_names_winner_losers_and_reasons(void **state)
{
    static const char *const knobs[] = {"cpu1", "domain0",
                                        "mgmt://local/host/h1/cpu/0/pstate"};
    struct fixture *f = *state;

    for (size_t i = 0; i < 3; i++) {
        char request[200];
        snprintf(request, sizeof request, "{\"verb\":\"why\",\"knob\":\"%s\"}",
                 knobs[i]);
        json_t *data = ask(f, request);
        json_t *winner = json_object_get(data, "winner");
        json_t *losers = json_object_get(data, "losers");

        assert_int_equal(json_integer_value(json_object_get(data, "wanted")),
                         1);
        assert_string_equal(text_of(winner, "vm_name"), "web0");
        assert_string_equal(text_of(winner, "rule"), "test/rule");
        assert_string_equal(text_of(winner, "cause"), "1.5");
        assert_int_equal(json_array_size(json_object_get(winner, "values")), 2);
        assert_int_equal(json_array_size(json_object_get(winner, "rejected")),
                         1);
        assert_int_equal(json_array_size(losers), 1);
        assert_string_equal(text_of(json_array_get(losers, 0), "vm_name"),
                            "web1");
        assert_true(text_of(json_array_get(losers, 0), "why")[0]);
        json_decref(data);
    }
}

static void
why_of_an_unwanted_knob_says_so(void **state)
{
    json_t *data = ask(*state, "{\"verb\":\"why\",\"knob\":\"domain1\"}");

    assert_true(json_is_null(json_object_get(data, "wanted")));
    assert_null(json_object_get(data, "winner"));
    json_decref(data);
}

static void
why_of_no_knob_is_refused(void **state)
{
    static const char *const knobs[] = {"cpu9",
                                        "domain2",
                                        "cpu",
                                        "cpu-1",
                                        "cpu99999999999999999999",
                                        "mgmt://local/host/h2/cpu/0/pstate",
                                        "mgmt://other/host/h1/cpu/0/pstate",
                                        "mgmt://local/host/h1/power",
                                        "fan0"};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof knobs / sizeof knobs[0]; i++) {
        char request[200];
        snprintf(request, sizeof request, "{\"verb\":\"why\",\"knob\":\"%s\"}",
                 knobs[i]);
        assert_refused(f, request, "no knob");
    }
    assert_still_serves(f);
}

static void
policies_are_shown_with_their_options(void **state)
{
    json_t *data = ask(*state, "{\"verb\":\"policy\"}");
    json_t *options = json_object_get(data, "options");

    assert_string_equal(text_of(data, "name"), "basic");
    assert_true(json_array_size(options) > 0);
    assert_non_null(json_object_get(json_array_get(options, 0), "value"));
    assert_true(json_array_size(json_object_get(data, "available")) >= 2);
    json_decref(data);
}

static void
a_policy_is_put_in_force_with_its_options(void **state)
{
    struct fixture *f = *state;
    const struct option_desc *desc = policy_find("basic")->options;
    char request[300];

    json_decref(ask(f, "{\"verb\":\"policy_set\",\"name\":\"none\"}"));
    assert_string_equal(f->engine.set_name, "none");
    snprintf(request, sizeof request,
             "{\"verb\":\"policy_set\",\"name\":\"basic\",\"options\":{\"%s\":"
             "\"%s\"}}",
             desc->name, desc->default_text);
    json_decref(ask(f, request));
    assert_string_equal(f->engine.set_name, "basic");
    assert_true(option_get(&f->engine.set_options, desc->name)->given);
}

static void
a_bad_policy_changes_nothing(void **state)
{
    struct fixture *f = *state;

    assert_refused(f, "{\"verb\":\"policy_set\",\"name\":\"magic\"}", "basic");
    assert_refused(f,
                   "{\"verb\":\"policy_set\",\"name\":\"basic\",\"options\":"
                   "{\"no_such_option\":1}}",
                   "no_such_option");
    assert_int_equal(f->engine.n_changes, 0);
    f->engine.set_error = -EINVAL;
    assert_refused(f, "{\"verb\":\"policy_set\",\"name\":\"basic\"}",
                   "the engine says no");
    assert_string_equal(f->engine.set_name, "");
}

static void
vms_are_controlled_by_name_and_by_uuid(void **state)
{
    struct fixture *f = *state;
    char request[200], uuid[UUID_TEXT_SIZE];

    json_decref(ask(f, "{\"verb\":\"vm_freeze\",\"vm\":\"web1\"}"));
    assert_int_equal(f->engine.control_op, VM_OP_FREEZE);
    assert_true(uuid_equal(&f->engine.control_uuid, &f->host.vms[1].uuid));
    uuid_format(&f->host.vms[0].uuid, uuid);
    snprintf(request, sizeof request, "{\"verb\":\"vm_end\",\"vm\":\"%s\"}",
             uuid);
    json_decref(ask(f, request));
    assert_int_equal(f->engine.control_op, VM_OP_END);
    assert_true(uuid_equal(&f->engine.control_uuid, &f->host.vms[0].uuid));
    assert_refused(f, "{\"verb\":\"vm_thaw\",\"vm\":\"web7\"}", "web0 web1");
    assert_int_equal(f->engine.n_changes, 2);
    f->engine.control_error = -EALREADY;
    assert_refused(f, "{\"verb\":\"vm_end\",\"vm\":\"web1\"}",
                   "it is ended already");
}

static void
plugins_are_listed_with_those_in_use(void **state)
{
    json_t *data = ask(*state, "{\"verb\":\"plugins\"}");
    json_t *plugin;
    int n_used = 0;
    size_t i;

    json_array_foreach(json_object_get(data, "plugins"), i, plugin)
    {
        if (json_is_true(json_object_get(plugin, "used"))) {
            assert_string_equal(text_of(plugin, "name"), "basic");
            n_used++;
        }
    }
    assert_int_equal(n_used, 1);
    json_t *vms = json_object_get(json_object_get(data, "probes"), "httplog");
    assert_int_equal(json_array_size(vms), 1);
    assert_string_equal(json_string_value(json_array_get(vms, 0)), "web0");
    json_decref(data);
}

static void
events_are_the_last_rows_in_order(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 1; i <= 5; i++) {
        struct journal_row row = {.cause = UINT64_C(1) << 40 | i,
                                  .time = (nsec_t)i,
                                  .name = "TEST",
                                  .detail = "{\"a\":1}"};
        assert_int_equal(journal_add(f->journal, &row), 0);
    }
    json_t *data = ask(f, "{\"verb\":\"events\",\"n\":3}");
    json_t *rows = json_object_get(data, "rows");
    assert_int_equal(json_array_size(rows), 3);
    assert_string_equal(text_of(json_array_get(rows, 0), "cause"), "1.3");
    assert_string_equal(text_of(json_array_get(rows, 2), "cause"), "1.5");
    json_decref(data);
}

static void
a_trace_has_its_rows_and_hops(void **state)
{
    struct fixture *f = *state;
    struct journal_row row = {.cause = UINT64_C(1) << 40 | 7,
                              .kind = JOURNAL_DECISION,
                              .time = 1000,
                              .name = "basic/raise",
                              .subject = "mgmt://local/host/h1/cpu/0/pstate",
                              .detail = "not json"};

    assert_int_equal(journal_add(f->journal, &row), 0);
    json_t *data = ask(f, "{\"verb\":\"trace\",\"cause\":\"1.7\"}");
    assert_int_equal(json_array_size(json_object_get(data, "rows")), 1);
    assert_int_equal(json_array_size(json_object_get(data, "hops")), 2);
    json_decref(data);
    assert_refused(f, "{\"verb\":\"trace\",\"cause\":\"1.8\"}", "nothing is");
    assert_refused(f, "{\"verb\":\"trace\",\"cause\":\"x.8\"}", "no cause");
}

/* Bad input. */

static void
after_a_bad_request_the_next_good_one_is_served(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "null",
        "\xff",
        "{\"verb\":1}",
        "{\"verb\":\"status\",\"x\":1}",
        "GET / x",
        "{}",
        "[[[[[[[[[[[[[[[[[[[[[[[[",
    };
    struct fixture *f = *state;
    int fd = dial(f);

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *answer = ask_on(f, fd, bad[i]);
        assert_true(json_is_false(json_object_get(answer, "ok")));
        json_decref(answer);
        answer = ask_on(f, fd, "{\"verb\":\"power\"}");
        assert_true(json_is_true(json_object_get(answer, "ok")));
        json_decref(answer);
    }
    close(fd);
}

static void
an_oversized_line_is_refused_once_and_skipped(void **state)
{
    struct fixture *f = *state;
    char part[1000];
    int fd = dial(f);

    memset(part, 'x', sizeof part);
    for (int i = 0; i < 20; i++) {
        say(fd, part, sizeof part);
        control_run(f->control, f->now);
    }
    assert_error(hear(f, fd), "too long");
    say(fd, "\n", 1);
    json_t *answer = ask_on(f, fd, "{\"verb\":\"power\"}");
    assert_true(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    close(fd);
}

static void
a_line_in_single_bytes_is_one_request(void **state)
{
    static const char request[] = "{\"verb\":\"power\"}\n";
    struct fixture *f = *state;
    int fd = dial(f);

    for (size_t i = 0; i + 1 < sizeof request; i++) {
        say(fd, request + i, 1);
        control_run(f->control, f->now);
    }
    json_t *answer = hear(f, fd);
    assert_true(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    close(fd);
}

static void
many_requests_at_once_are_all_answered_in_order(void **state)
{
    struct fixture *f = *state;
    char all[100 * 40] = "";
    int fd = dial(f);

    for (int i = 0; i < 50; i++) {
        strcat(all, i % 2 ? "{\"verb\":\"power\"}\n" : "{\"verb\":\"?\"}\n");
    }
    say(fd, all, strlen(all));
    for (int i = 0; i < 50; i++) {
        json_t *answer = hear(f, fd);
        assert_int_equal(json_is_true(json_object_get(answer, "ok")), i % 2);
        json_decref(answer);
    }
    close(fd);
}

/* One turn does a bounded part and asks for the next at once. */
static void
a_turn_is_bounded_and_the_next_is_asked_for(void **state)
{
    struct fixture *f = *state;
    struct control_stats stats;
    int fds[16];

    for (int i = 0; i < 16; i++) {
        fds[i] = dial(f);
    }
    for (int i = 0; i < 16; i++) {
        say(fds[i], "{\"verb\":\"power\"}\n", 17);
    }
    control_run(f->control, f->now);
    control_stats(f->control, &stats);
    assert_in_range(stats.n_requests, 1, 8);
    assert_int_equal(control_deadline(f->control), f->now);
    for (int i = 0; i < 16; i++) {
        json_decref(hear(f, fds[i]));
        close(fds[i]);
    }
}

/* Many rows of the journal take milliseconds each time. */
static void
a_long_answer_ends_the_turn(void **state)
{
    struct fixture *f = *state;
    struct control_stats stats;
    int fds[4];

    for (uint64_t i = 1; i <= 300; i++) {
        struct journal_row row = {.cause = UINT64_C(1) << 40 | i,
                                  .name = "TEST",
                                  .detail = "{\"a\":1}"};
        assert_int_equal(journal_add(f->journal, &row), 0);
    }
    for (int i = 0; i < 4; i++) {
        fds[i] = dial(f);
    }
    for (int i = 0; i < 4; i++) {
        say(fds[i], "{\"verb\":\"events\",\"n\":300}\n", 26);
    }
    control_run(f->control, f->now);
    control_stats(f->control, &stats);
    assert_int_equal(stats.n_requests, 1);
    assert_int_equal(control_deadline(f->control), f->now);
    for (int i = 0; i < 4; i++) {
        json_decref(hear(f, fds[i]));
        close(fds[i]);
    }
}

static void
a_greedy_client_delays_nobody_by_more_than_a_round(void **state)
{
    struct fixture *f = *state;
    char all[200 * 20] = "", byte;
    int greedy[12], fd;

    for (int i = 0; i < 200; i++) {
        strcat(all, "{\"verb\":\"power\"}\n");
    }
    for (int i = 0; i < 12; i++) {
        greedy[i] = dial(f);
        say(greedy[i], all, strlen(all));
    }
    fd = dial(f);
    say(fd, "{\"verb\":\"power\"}\n", 17);
    for (int turns = 0; turns < 5; turns++) {
        control_run(f->control, f->now);
    }
    assert_int_equal(recv(fd, &byte, 1, MSG_PEEK), 1);
    for (int i = 0; i < 12; i++) {
        close(greedy[i]);
    }
    close(fd);
}

static void
a_client_that_shuts_its_end_still_gets_its_answer(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    say(fd, "{\"verb\":\"power\"}\n", 17);
    shutdown(fd, SHUT_WR);
    json_t *answer = hear(f, fd);
    assert_true(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    assert_null(hear(f, fd));
    close(fd);
}

static void
clients_that_vanish_leave_nothing_behind(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 5 * CONTROL_CLIENTS_MAX; i++) {
        int fd = dial(f);
        if (i % 3 == 0) {
            say(fd, "{\"verb\":\"sta", 12);
        } else if (i % 3 == 1) {
            say(fd, "{\"verb\":\"plugins\"}\n", 19);
        }
        close(fd);
        control_run(f->control, f->now);
    }
    control_run(f->control, f->now);
    assert_int_equal(control_deadline(f->control), NSEC_NEVER);
    assert_still_serves(f);
}

static void
random_bytes_do_no_harm(void **state)
{
    struct fixture *f = *state;
    struct prng prng;

    prng_init(&prng, 11);
    for (int i = 0; i < 200; i++) {
        char noise[3000];
        int fd = dial(f);
        size_t n = prng_below(&prng, sizeof noise);
        for (size_t j = 0; j < n; j++) {
            noise[j] = (char)prng_below(&prng, 256);
        }
        say(fd, noise, n);
        control_run(f->control, f->now);
        control_run(f->control, f->now);
        close(fd);
    }
    assert_int_equal(f->engine.n_changes, 0);
    assert_still_serves(f);
}

/* Time. */

static void
a_half_sent_request_is_closed_after_its_time(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    say(fd, "{\"verb\":", 8);
    control_run(f->control, f->now);
    f->now += CONTROL_IDLE_NS - 1;
    /* A byte now and then does not put it off. */
    say(fd, "\"", 1);
    control_run(f->control, f->now);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(control_deadline(f->control), f->now + 1);
    f->now += 1;
    assert_error(hear(f, fd), "begun and not ended");
    assert_null(hear(f, fd));
    close(fd);
    assert_still_serves(f);
}

static void
an_idle_client_is_closed_and_a_busy_one_is_not(void **state)
{
    struct fixture *f = *state;
    int idle = dial(f), busy = dial(f);

    for (int i = 0; i < 4; i++) {
        f->now += CONTROL_IDLE_NS / 2;
        json_decref(ask_on(f, busy, "{\"verb\":\"power\"}"));
    }
    assert_error(hear(f, idle), "quiet");
    assert_null(hear(f, idle));
    json_t *answer = ask_on(f, busy, "{\"verb\":\"power\"}");
    assert_non_null(answer);
    json_decref(answer);
    close(idle);
    close(busy);
}

static void
a_client_that_reads_nothing_is_closed(void **state)
{
    struct fixture *f = *state;
    struct control_stats stats;
    int fd = dial(f);

    /* More answers than any socket buffer holds. */
    for (int i = 0; i < 3000; i++) {
        if (send(fd, "{\"verb\":\"plugins\"}\n", 19, MSG_NOSIGNAL) < 19) {
            break;
        }
        control_run(f->control, f->now);
    }
    control_stats(f->control, &stats);
    assert_true(stats.n_requests < 3000);
    f->now += CONTROL_IDLE_NS;
    control_run(f->control, f->now);
    assert_int_equal(control_deadline(f->control), NSEC_NEVER);
    close(fd);
    assert_still_serves(f);
}

/* Watching. */

static int
watch(struct fixture *f)
{
    int fd = dial(f);
    json_t *answer = ask_on(f, fd, "{\"verb\":\"watch\"}");

    assert_true(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    return fd;
}

static void
watchers_hear_every_line_in_order(void **state)
{
    struct fixture *f = *state;
    int one = watch(f), two = watch(f);

    for (int i = 0; i < 100; i++) {
        char line[40];
        snprintf(line, sizeof line, "{\"n\":%d}", i);
        control_watch(f->control, line);
    }
    for (int i = 0; i < 100; i++) {
        json_t *a = hear(f, one), *b = hear(f, two);
        assert_int_equal(json_integer_value(json_object_get(a, "n")), i);
        assert_int_equal(json_integer_value(json_object_get(b, "n")), i);
        json_decref(a);
        json_decref(b);
    }
    close(one);
    close(two);
}

static void
a_watcher_may_stay_quiet_for_ever(void **state)
{
    struct fixture *f = *state;
    int fd = watch(f);

    f->now += 1000 * CONTROL_IDLE_NS;
    control_run(f->control, f->now);
    control_watch(f->control, "{\"n\":1}");
    json_t *line = hear(f, fd);
    assert_non_null(line);
    json_decref(line);
    close(fd);
}

/* A line that says its number. */
static void
watch_number(struct fixture *f, int number)
{
    char line[800];
    int n = snprintf(line, sizeof line, "{\"n\":%d,\"x\":\"", number);

    memset(line + n, 'x', 700);
    snprintf(line + n + 700, sizeof line - (size_t)n - 700, "\"}");
    control_watch(f->control, line);
}

static void
a_slow_watcher_loses_lines_and_is_told_how_many(void **state)
{
    struct fixture *f = *state;
    int fd = watch(f), n_sent = 0, next = 0, n_lost = 0;
    char byte;

    while (n_sent < 2000) {
        watch_number(f, n_sent++);
    }
    /* It reads again: all that was kept, in order; then, before anything
     * newer, how many are missing. */
    while (next < n_sent) {
        control_run(f->control, f->now);
        if (recv(fd, &byte, 1, MSG_PEEK) < 0) {
            assert_int_equal(n_lost, 0);
            watch_number(f, n_sent++);
        }
        json_t *line = hear(f, fd);
        json_t *lost = json_object_get(line, "lost");
        if (lost) {
            n_lost = (int)json_integer_value(lost);
            next += n_lost;
        } else {
            assert_int_equal(json_integer_value(json_object_get(line, "n")),
                             next);
            next++;
        }
        json_decref(line);
    }
    assert_true(n_lost > 0);
    assert_int_equal(next, n_sent);
    close(fd);
}

static void
a_stuck_watcher_is_closed_in_the_end(void **state)
{
    struct fixture *f = *state;
    char line[1000];
    int fd = watch(f);

    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\0';
    for (int i = 0; i < 2000; i++) {
        control_watch(f->control, line);
    }
    assert_int_equal(control_deadline(f->control), f->now + CONTROL_STUCK_NS);
    f->now += CONTROL_STUCK_NS;
    control_run(f->control, f->now);
    assert_int_equal(control_deadline(f->control), NSEC_NEVER);
    close(fd);
}

static void
a_watcher_that_leaves_is_forgotten(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 2 * CONTROL_CLIENTS_MAX; i++) {
        int fd = watch(f);
        close(fd);
        control_watch(f->control, "{\"n\":1}");
        control_run(f->control, f->now);
    }
    assert_still_serves(f);
}

/* Memory. */

static int n_allocations, fail_at;
static long n_live;

static void *
counting_malloc(size_t size)
{
    if (++n_allocations == fail_at) {
        return NULL;
    }
    n_live++;
    return malloc(size);
}

static void
counting_free(void *data)
{
    n_live -= data != NULL;
    free(data);
}

/* A row whose detail could not be parsed says so itself. */
static bool
says_unreadable(const json_t *answer)
{
    const json_t *data = json_object_get(answer, "data");
    const json_t *row = json_array_get(json_object_get(data, "rows"), 0);

    return json_is_null(json_object_get(row, "detail"));
}

/* Asks with the n-th allocation of JSON failing.  The answer is 'expected' or
 * an error, or the client is closed: never a part of it.  Returns whether there
 * were that many. */
static bool
ask_short_of_memory(struct fixture *f, const char *request, int n,
                    const json_t *expected)
{
    int fd = dial(f);

    n_allocations = 0;
    n_live = 0;
    fail_at = n;
    say(fd, request, strlen(request));
    say(fd, "\n", 1);
    control_run(f->control, f->now);
    fail_at = 0;
    if (n_live) {
        fail_msg("%ld left at %d of %s", n_live, n, request);
    }
    bool reached = n_allocations >= n;

    json_t *answer = hear(f, fd);
    if (json_is_true(json_object_get(answer, "ok")) &&
        !says_unreadable(answer) && !json_equal(answer, expected)) {
        fail_msg("at %d of %s: %s", n, request, json_dumps(answer, 0));
    }
    json_decref(answer);
    close(fd);
    return reached;
}

static void
memory_that_runs_out_costs_one_answer_and_leaks_nothing(void **state)
{
    static const char *const requests[] = {
        "{\"verb\":\"status\"}",
        "{\"verb\":\"vms\"}",
        "{\"verb\":\"cpus\"}",
        "{\"verb\":\"power\"}",
        "{\"verb\":\"policy\"}",
        "{\"verb\":\"policy_set\",\"name\":\"none\"}",
        "{\"verb\":\"why\",\"knob\":\"cpu0\"}",
        "{\"verb\":\"why\",\"knob\":\"cpu9\"}",
        "{\"verb\":\"trace\",\"cause\":\"1.7\"}",
        "{\"verb\":\"plugins\"}",
        "{\"verb\":\"events\"}",
        "{\"verb\":\"watch\"}",
        "{\"verb\":\"vm_end\",\"vm\":\"web0\"}",
        "not JSON",
    };
    struct fixture *f = *state;
    struct journal_row row = {
        .cause = UINT64_C(1) << 40 | 7,
        .kind = JOURNAL_DECISION,
        .time = 1000,
        .name = "basic/raise",
        .detail = "{\"pstate\":1,\"values\":[{\"name\":\"a\",\"value\":1}]}"};

    assert_int_equal(journal_add(f->journal, &row), 0);
    json_set_alloc_funcs(counting_malloc, counting_free);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        int fd = dial(f);
        json_t *expected = ask_on(f, fd, requests[i]);
        for (int n = 1; ask_short_of_memory(f, requests[i], n, expected); n++) {
        }
        json_decref(expected);
        close(fd);
    }
    json_set_alloc_funcs(malloc, free);
    assert_still_serves(f);
}

/* Rights and places. */

static void
a_stranger_is_turned_away_and_journalled_once_a_second(void **state)
{
    struct fixture *f = *state;
    struct control_stats stats;

    for (int i = 0; i < 5; i++) {
        int fd = dial_as(f, NOBODY, NOBODY);
        assert_error(hear(f, fd), "not permitted");
        assert_null(hear(f, fd));
        close(fd);
        f->now += 10 * NSEC_PER_MSEC;
    }
    control_stats(f->control, &stats);
    assert_int_equal(stats.n_denied, 5);
    f->now += NSEC_PER_SEC;
    close(dial_as(f, NOBODY, NOBODY));
    f->now += 10 * NSEC_PER_MSEC;

    json_t *data = ask(f, "{\"verb\":\"events\"}");
    json_t *rows = json_object_get(data, "rows");
    assert_int_equal(json_array_size(rows), 2);
    json_t *detail = json_object_get(json_array_get(rows, 1), "detail");
    assert_int_equal(json_integer_value(json_object_get(detail, "uid")),
                     NOBODY);
    assert_int_equal(json_integer_value(json_object_get(detail, "times")), 5);
    assert_string_equal(text_of(detail, "asked"), "connect");
    json_decref(data);
}

/* However many come at once: turning them away costs a bounded time, and who
 * may come waits a moment. */
static void
a_flood_of_strangers_is_answered_now_and_then(void **state)
{
    struct fixture *f = *state;
    struct control_stats stats;

    for (int i = 0; i < 20; i++) {
        close(dial_as(f, NOBODY, NOBODY));
    }
    control_stats(f->control, &stats);
    assert_int_equal(stats.n_denied, 1);
    assert_true(control_deadline(f->control) > f->now);
    assert_true(control_deadline(f->control) <= f->now + NSEC_PER_SEC / 10);
    int fd = dial(f);
    say(fd, "{\"verb\":\"power\"}\n", 17);
    for (int i = 0; i < 5; i++) {
        f->now = nsec_min(control_deadline(f->control), f->now + NSEC_PER_SEC);
        control_run(f->control, f->now);
    }
    json_t *answer = hear(f, fd);
    assert_true(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    close(fd);
}

static void
restart_with_groups(struct fixture *f)
{
    struct rights rights = {
        .owner = geteuid(), .has_control = true, .control_gid = READERS_GID};

    control_destroy(f->control);
    start_control(f, &rights);
}

static void
a_reader_may_look_and_change_nothing(void **state)
{
    static const char *const changes[] = {
        "{\"verb\":\"policy_set\",\"name\":\"none\"}",
        "{\"verb\":\"vm_start\",\"vm\":\"web0\"}",
        "{\"verb\":\"vm_freeze\",\"vm\":\"web0\"}",
        "{\"verb\":\"vm_thaw\",\"vm\":\"web0\"}",
        "{\"verb\":\"vm_end\",\"vm\":\"web0\"}"};
    struct fixture *f = *state;

    restart_with_groups(f);
    int fd = dial_as(f, NOBODY, READERS_GID);
    for (size_t i = 0; i < 5; i++) {
        assert_error(ask_on(f, fd, changes[i]), "not permitted");
        json_t *answer = ask_on(f, fd, "{\"verb\":\"status\"}");
        assert_true(json_is_true(json_object_get(answer, "ok")));
        json_decref(answer);
    }
    assert_int_equal(f->engine.n_changes, 0);
    close(fd);
}

static void
places_are_kept_for_those_who_may_change_things(void **state)
{
    struct fixture *f = *state;
    int fds[CONTROL_CLIENTS_MAX];
    int n = CONTROL_CLIENTS_MAX - CONTROL_CLIENTS_RESERVED;

    restart_with_groups(f);
    for (int i = 0; i < n; i++) {
        fds[i] = dial_as(f, NOBODY, READERS_GID);
    }
    int one_more = dial_as(f, NOBODY, READERS_GID);
    assert_error(hear(f, one_more), "busy");
    close(one_more);
    assert_still_serves(f);
    for (int i = 0; i < n; i++) {
        close(fds[i]);
    }
}

static void
a_client_too_many_is_told_so(void **state)
{
    struct fixture *f = *state;
    int fds[CONTROL_CLIENTS_MAX];

    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        fds[i] = dial(f);
    }
    int one_more = dial(f);
    assert_error(hear(f, one_more), "busy");
    assert_null(hear(f, one_more));
    close(one_more);
    close(fds[0]);
    control_run(f->control, f->now);
    assert_still_serves(f);
    for (int i = 1; i < CONTROL_CLIENTS_MAX; i++) {
        close(fds[i]);
    }
}

/* The listening socket. */

static void
a_second_broker_at_the_same_socket_is_refused(void **state)
{
    struct fixture *f = *state;
    char why[256] = "";

    assert_int_equal(control_listen(f->path, why, sizeof why), -EADDRINUSE);
    assert_non_null(strstr(why, "another broker"));
    assert_non_null(strstr(why, f->path));
    assert_still_serves(f);
}

static void
a_socket_left_behind_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct rights rights = {.owner = geteuid()};

    control_destroy(f->control);
    assert_int_equal(access(f->path, F_OK), 0);
    start_control(f, &rights);
    assert_still_serves(f);
}

static void
a_path_too_long_for_a_socket_is_named(void **state)
{
    char path[200], why[400] = "";

    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    assert_int_equal(control_listen(path, why, sizeof why), -ENAMETOOLONG);
    assert_non_null(strstr(why, "shorter"));
    assert_int_equal(control_listen("/no/such/dir/s", why, sizeof why),
                     -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(status_says_what_there_is),
        TEST(unknown_power_is_null_and_never_zero),
        TEST(trouble_cut_in_mid_character_is_still_told),
        TEST(unknown_utilization_is_null),
        TEST(a_cpu_without_control_has_no_pstate),
        TEST(why_names_winner_losers_and_reasons),
        TEST(why_of_an_unwanted_knob_says_so),
        TEST(why_of_no_knob_is_refused),
        TEST(policies_are_shown_with_their_options),
        TEST(a_policy_is_put_in_force_with_its_options),
        TEST(a_bad_policy_changes_nothing),
        TEST(vms_are_controlled_by_name_and_by_uuid),
        TEST(plugins_are_listed_with_those_in_use),
        TEST(events_are_the_last_rows_in_order),
        TEST(a_trace_has_its_rows_and_hops),
        TEST(after_a_bad_request_the_next_good_one_is_served),
        TEST(an_oversized_line_is_refused_once_and_skipped),
        TEST(a_line_in_single_bytes_is_one_request),
        TEST(many_requests_at_once_are_all_answered_in_order),
        TEST(a_turn_is_bounded_and_the_next_is_asked_for),
        TEST(a_long_answer_ends_the_turn),
        TEST(a_greedy_client_delays_nobody_by_more_than_a_round),
        TEST(a_client_that_shuts_its_end_still_gets_its_answer),
        TEST(clients_that_vanish_leave_nothing_behind),
        TEST(random_bytes_do_no_harm),
        TEST(a_half_sent_request_is_closed_after_its_time),
        TEST(an_idle_client_is_closed_and_a_busy_one_is_not),
        TEST(a_client_that_reads_nothing_is_closed),
        TEST(watchers_hear_every_line_in_order),
        TEST(a_watcher_may_stay_quiet_for_ever),
        TEST(a_slow_watcher_loses_lines_and_is_told_how_many),
        TEST(a_stuck_watcher_is_closed_in_the_end),
        TEST(a_watcher_that_leaves_is_forgotten),
        TEST(memory_that_runs_out_costs_one_answer_and_leaks_nothing),
        TEST(a_stranger_is_turned_away_and_journalled_once_a_second),
        TEST(a_flood_of_strangers_is_answered_now_and_then),
        TEST(a_reader_may_look_and_change_nothing),
        TEST(places_are_kept_for_those_who_may_change_things),
        TEST(a_client_too_many_is_told_so),
        TEST(a_second_broker_at_the_same_socket_is_refused),
        TEST(a_socket_left_behind_is_replaced),
        TEST(a_path_too_long_for_a_socket_is_named),
    };

    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
