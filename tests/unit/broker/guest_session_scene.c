/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's session without a channel: what it says to its agent and what it
 * tells the engine is kept, and must fit through the wire. Called by the tests
 * of broker/back/guest_session.c. */
#include "tests/unit/broker/guest_session_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct guest_session session;
struct cause_counter causes;
struct msg sent[KEPT_MAX], events[KEPT_MAX];
int n_sent, n_events, send_error;
nsec_t now;
unsigned spoken; /* The version that answers have to be in. */

static int
on_send(void *ctx, const struct msg *msg, unsigned version)
{
    assert_int_equal(version, spoken);
    if (!send_error && n_sent < KEPT_MAX) {
        sent[n_sent++] = *msg;
    }
    return send_error;
}

/* Whatever is passed on must also fit through the wire. */
static void
on_event(void *ctx, const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];
    char why[MSG_WHY_SIZE];

    assert_true(msg_encode(msg, MSG_VERSION_MAX, data, sizeof data, why,
                           sizeof why) > 0);
    if (n_events < KEPT_MAX) {
        events[n_events++] = *msg;
    }
}

int
setup(void **state)
{
    struct discovery_identity identity = {.name = "web1"};
    struct guest_session_port port = {
        .to_agent = on_send, .event = on_event, .causes = &causes};

    assert_int_equal(
        uuid_parse(&identity.uuid, "11111111-2222-3333-4444-555555555555"), 0);
    cause_counter_init(&causes, 3, false);
    guest_session_init(&session, &identity, "local", BEAT, &port);
    now = 100 * NSEC_PER_SEC;
    n_sent = n_events = send_error = 0;
    spoken = 1;
    return 0;
}

void
say(const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];
    ssize_t size = msg_encode(msg, MSG_VERSION_MAX, data, sizeof data, NULL, 0);

    assert_true(size > 0);
    guest_session_input(&session, msg->type, data, (size_t)size, now);
}

struct msg
hello(const char *claims)
{
    struct msg msg = {.type = MSG_HELLO,
                      .hello = {.version_min = 1,
                                .version_max = 1,
                                .software = "magentd 0.1",
                                .n_offers = 1,
                                .offers = {"httplog"}}};

    strcpy(msg.hello.claims, claims);
    return msg;
}

struct msg
report(uint64_t epoch)
{
    struct msg msg = {.type = MSG_REPORT,
                      .report = {.epoch = epoch,
                                 .start_ns = 5,
                                 .end_ns = 9,
                                 .n_requests = 200,
                                 .n_violations = 3,
                                 .threshold_us = 3000,
                                 .worst_us = 4000,
                                 .worst_end_ns = 8,
                                 .seen_ns = 10,
                                 .sent_ns = 11,
                                 .util_permille = 456,
                                 .n_refused = 2}};

    return msg;
}

struct msg
notice(void)
{
    struct msg msg = {.type = MSG_NOTICE,
                      .notice = {.epoch = 7,
                                 .start_ns = 5,
                                 .end_ns = 9,
                                 .n_requests = 200,
                                 .n_violations = 3,
                                 .threshold_us = 3000,
                                 .sent_ns = 11,
                                 .tolerated_permille = 10}};

    return msg;
}

struct msg
beat(uint64_t number)
{
    struct msg msg = {.type = MSG_BEAT,
                      .beat = {.number = number,
                               .origin_ns = 77,
                               .offset_ns = -5000,
                               .offset_error_ns = 40}};

    return msg;
}

void
establish(void)
{
    struct msg msg = hello("");

    guest_session_attached(&session, now);
    say(&msg);
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
    n_sent = n_events = 0;
}

struct msg
note(void)
{
    struct msg msg = {.type = MSG_NOTE,
                      .note = {.type = "org.example/1",
                               .n_bytes = 5,
                               .bytes = {0, 255, 27, 'x', 0},
                               .number = 9,
                               .made_ns = 11,
                               .sent_ns = 12}};

    return msg;
}

void
establish_version_2(void)
{
    struct msg msg = hello("");

    msg.hello.version_max = spoken = 2;
    guest_session_attached(&session, now);
    say(&msg);
    n_sent = n_events = 0;
}

void
establish_version(unsigned version)
{
    struct msg msg = hello("");

    msg.hello.version_max = spoken = version;
    guest_session_attached(&session, now);
    say(&msg);
    n_sent = n_events = 0;
}
