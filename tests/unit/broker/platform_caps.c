/* SPDX-License-Identifier: Apache-2.0 */
/* Shows what the platform tells the engine of a cap that fails: that p-states
 * stand in for it, and where they stand when they no longer do. */
#include "tests/unit/broker/platformbench.h"

#include "broker/platform/caprecord.h"
#include "hardware/simcap.h"
#include "model/power.h"

static struct caprecord record;

static void
start_with_cap(void)
{
    char text[sizeof config_text + 100];

    snprintf(text, sizeof text, "%s%s", config_text,
             "cap = { driver = \"sim\"; };\n"
             "budget = { max_w = 300; safe_w = 120; };\n");
    config_fini(&config);
    assert_int_equal(config_parse(&config, text, "t", why, sizeof why), 0);
    record = (struct caprecord){0};
    env.cap_record = &record;
    start();
    pass(SECOND);
    assert_int_equal(find(MSG_CAP, -1)->cap.phase, CAP_CONFIRMED);
}

static void
order_cap(uint64_t mw)
{
    static uint64_t order;
    struct msg msg = {.type = MSG_SET_CAP,
                      .set_cap = {.command = ++command,
                                  .cause = 9,
                                  .order = ++order,
                                  .mw = mw,
                                  .lease_ns = 3600 * SECOND,
                                  .expires_ns = now + SECOND}};

    platform_on_msg(platform, &msg, now);
}

static void
a_clamps_end_is_told_of_each_domain_it_put_back(void **state)
{
    start_with_cap();
    assert_int_equal(set(1, 2)->error, 0);
    hardware_sim_cap(hardware)->fault = SIMCAP_GONE;
    order_cap(200000);
    pass(15 * SECOND);
    assert_int_equal(find(MSG_CAP, -1)->cap.phase, CAP_CLAMPED);
    assert_int_equal(hardware_sim_pstate(hardware, 0), 3); /* The limit. */
    n_told = 0;
    hardware_sim_cap(hardware)->fault = SIMCAP_NONE;
    pass(15 * SECOND);
    assert_int_equal(find(MSG_CAP, -1)->cap.phase, CAP_CONFIRMED);
    assert_int_equal(hardware_sim_pstate(hardware, 0), 0);
    assert_int_equal(count(MSG_DOMAIN), 2);
    for (int i = 0; i < 2; i++) {
        const struct msg_domain *domain = &find(MSG_DOMAIN, i)->domain;

        assert_int_equal(domain->domain, i);
        assert_int_equal(domain->pstate,
                         hardware_sim_pstate(hardware, domain->domain));
    }
    n_told = 0; /* Once. */
    pass(5 * SECOND);
    assert_int_equal(count(MSG_DOMAIN), 0);
}

static void
a_clamp_that_ends_while_the_next_broker_starts_is_told(void **state)
{
    start_with_cap();
    hardware_sim_cap(hardware)->fault = SIMCAP_GONE;
    order_cap(200000);
    pass(15 * SECOND);
    assert_int_equal(find(MSG_CAP, -1)->cap.phase, CAP_CLAMPED);
    platform_destroy(platform);
    platform = NULL;
    hardware_sim_cap(hardware)->fault = SIMCAP_NONE;
    hardware_sim_cap(hardware)->mw = 200000;
    n_told = 0;
    start();
    pass(SECOND);
    assert_int_equal(find(MSG_CAP, -1)->cap.phase, CAP_CONFIRMED);
    assert_int_equal(find(MSG_DOMAIN, -1)->domain.pstate,
                     hardware_sim_pstate(hardware, 1));
    assert_int_equal(hardware_sim_pstate(hardware, 1), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_clamps_end_is_told_of_each_domain_it_put_back),
        TEST(a_clamp_that_ends_while_the_next_broker_starts_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
