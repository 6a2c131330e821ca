/* SPDX-License-Identifier: Apache-2.0 */
/* A platform core on made-up hardware and VMs, which outlive it, with a list of
 * what it told: what its tests have in common. */
#ifndef TESTS_UNIT_BROKER_PLATFORMBENCH_H
#define TESTS_UNIT_BROKER_PLATFORMBENCH_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sysfs.h"
#include "broker/config/config.h"
#include "broker/platform/platform.h"
#include "hardware/hardware.h"
#include "hardware/sim.h"
#include "hypervisor/sim.h"
#include "wire/msg.h"

#define SECOND NSEC_PER_SEC
#define KEPT_MAX 4096

static const char config_text[] =
    "host_id = \"h\";\n"
    "cpus = [0, 1, 2];\n"
    "hypervisor = { driver = \"sim\"; };\n"
    "pstate = { driver = \"sim\"; };\n"
    "power = { driver = \"sim\"; };\n"
    "guests = ( { name = \"web1\"; vcpus = [0]; channel = \"sim:1\"; },\n"
    "           { name = \"web2\"; vcpus = [1, 2]; channel = \"sim:2\"; },\n"
    "           { name = \"own\"; vcpus = [2]; channel = \"sim:3\";\n"
    "             command = \"true\"; } );\n"
    "sample_ms = 250;\n"
    "limits = { pstate_max = 3; writes_per_second = 20; };\n";

/* The world; it outlives the broker. */
static struct hardware_sim *hardware;
static struct hypervisor_sim *hypervisor;
static char dir[64];
static int saved_dirfd;

static struct broker_config config;
static struct platform_env env;
static struct platform *platform;
static struct msg told[KEPT_MAX];
static int n_told, engine_error;
static char why[CONFIG_WHY_SIZE];
static nsec_t now;

static inline int
to_engine(void *ctx, const struct msg *msg)
{
    if (!engine_error && n_told < KEPT_MAX) {
        told[n_told++] = *msg;
    }
    return engine_error;
}

static inline int
setup(void **state)
{
    struct pstate_domain domains[2] = {
        {.id = 0,
         .n_cpus = 1,
         .cpus = {0},
         .table = {.n = 5, .freq_khz = {2400, 2200, 2000, 1800, 1000}},
         .emulated = true},
        {.id = 1,
         .n_cpus = 2,
         .cpus = {1, 2},
         .table = {.n = 5, .freq_khz = {2400, 2200, 2000, 1800, 1000}},
         .emulated = true},
    };

    (void)state;
    assert_int_equal(config_parse(&config, config_text, "t", why, sizeof why),
                     0);
    assert_int_equal(hardware_sim_create(&hardware, domains, 2), 0);
    hardware_sim_set_power(hardware, QUALITY_MEASURED, 50000);
    assert_int_equal(hypervisor_sim_create(&hypervisor), 0);
    for (int i = 0; i < 2; i++) {
        const struct guest_config *guest = &config.guests[i];

        assert_int_equal(hypervisor_sim_add(hypervisor, &guest->uuid,
                                            guest->name, guest->n_vcpus,
                                            guest->vcpu_cpu),
                         0);
    }
    strcpy(dir, "/tmp/mbroker-platform-XXXXXX");
    assert_non_null(mkdtemp(dir));
    saved_dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(saved_dirfd >= 0);
    env = (struct platform_env){.sys_dirfd = -1,
                                .proc_dirfd = -1,
                                .data_dirfd = -1,
                                .state_dirfd = -1,
                                .saved_dirfd = saved_dirfd,
                                .hardware_sim = hardware,
                                .hypervisor_sim = hypervisor,
                                .to_engine = to_engine};
    platform = NULL;
    n_told = engine_error = 0;
    now = 1000 * SECOND;
    return 0;
}

static inline int
teardown(void **state)
{
    char command[128];

    (void)state;
    platform_destroy(platform);
    hardware_sim_destroy(hardware);
    hypervisor_sim_destroy(hypervisor);
    config_fini(&config);
    close(saved_dirfd);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static inline void
start(void)
{
    assert_int_equal(
        platform_create(&platform, &config, &env, now, why, sizeof why), 0);
    platform_run(platform, now);
}

static inline void
pass(nsec_t time)
{
    nsec_t end = now + time;

    while (now < end) {
        nsec_t next = nsec_min(platform_deadline(platform), end);

        now = next > now ? next : now + 1;
        platform_run(platform, now);
    }
}

/* The n-th message of a type, from the first (0) or the last (-1). */
static inline const struct msg *
find(enum msg_type type, int nth)
{
    if (nth < 0) {
        for (int i = n_told - 1; i >= 0; i--) {
            if (told[i].type == type) {
                return &told[i];
            }
        }
        return NULL;
    }
    for (int i = 0; i < n_told; i++) {
        if (told[i].type == type && nth-- == 0) {
            return &told[i];
        }
    }
    return NULL;
}

static inline int
count(enum msg_type type)
{
    int n = 0;

    for (int i = 0; i < n_told; i++) {
        n += told[i].type == type;
    }
    return n;
}

static uint64_t command = 100; /* The last; they only grow. */

static inline const struct msg_outcome *
set(uint32_t domain, uint32_t pstate)
{
    struct msg msg = {.type = MSG_SET_PSTATE,
                      .set_pstate = {.command = ++command,
                                     .cause = 7,
                                     .domain = domain,
                                     .pstate = pstate,
                                     .decided_ns = now}};

    platform_on_msg(platform, &msg, now);
    const struct msg *outcome = find(MSG_OUTCOME, -1);
    assert_non_null(outcome);
    assert_int_equal(outcome->outcome.command, command);
    assert_int_equal(outcome->outcome.cause, 7);
    return &outcome->outcome;
}

static inline const struct msg_outcome *
release(uint32_t domain)
{
    struct msg msg = {
        .type = MSG_RELEASE,
        .release = {.command = ++command, .cause = 8, .domain = domain}};

    platform_on_msg(platform, &msg, now);
    const struct msg *outcome = find(MSG_OUTCOME, -1);
    assert_int_equal(outcome->outcome.command, command);
    return &outcome->outcome;
}

static inline const struct msg_outcome *
control(const struct uuid *vm, enum vm_op op)
{
    struct msg msg = {.type = MSG_VM_CONTROL,
                      .vm_control = {.command = ++command,
                                     .cause = 9,
                                     .vm = *vm,
                                     .op = op,
                                     .expires_ns = now}};

    platform_on_msg(platform, &msg, now);
    const struct msg *outcome = find(MSG_OUTCOME, -1);
    assert_int_equal(outcome->outcome.command, command);
    return &outcome->outcome;
}

static inline bool
is_saved(const char *file)
{
    return !faccessat(saved_dirfd, file, F_OK, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
