/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for a guest's session: what a guest with root can say, in any
 * order, with attaching, leaving and time between.  The input is a script: an
 * operation's byte, then its argument.  Whatever comes, what the engine hears
 * fits the wire, bears the channel's VM, and makes sense in its order: up
 * before anything, lost only after up. */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/back/guest_session.h"

static const struct uuid vm = {{7, 7}};

struct ear {
    bool up;
    int n_events; /* Of this call. */
    uint64_t cause;
};

static void
check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static int
to_agent(void *ctx, const struct msg *msg, unsigned version)
{
    uint8_t data[MSG_SIZE_MAX];

    (void)ctx;
    check(msg_encode(msg, version, data, sizeof data, NULL, 0) > 0);
    return 0;
}

static void
check_stamp(struct ear *ear, const struct uuid *who, uint64_t cause)
{
    check(uuid_equal(who, &vm));
    check(cause == ear->cause + 1 || !ear->cause);
    ear->cause = cause;
}

static void
event(void *ctx, const struct msg *msg)
{
    struct ear *ear = ctx;
    uint8_t data[MSG_SIZE_MAX];

    check(msg_encode(msg, MSG_VERSION_MAX, data, sizeof data, NULL, 0) > 0);
    check(++ear->n_events <= GUEST_SESSION_EVENTS_MAX);
    if (msg->type == MSG_GUEST_UP) {
        check(!ear->up);
        check_stamp(ear, &msg->guest_up.vm, msg->guest_up.cause);
        ear->up = true;
    } else if (msg->type == MSG_GUEST_LOST) {
        check(ear->up);
        check_stamp(ear, &msg->guest_lost.vm, msg->guest_lost.cause);
        ear->up = false;
    } else if (msg->type == MSG_GUEST_REPORT) {
        check(ear->up);
        check(msg->guest_report.n_violations <= msg->guest_report.n_requests);
        check_stamp(ear, &msg->guest_report.vm, msg->guest_report.cause);
    } else if (msg->type == MSG_GUEST_NOTICE) {
        check(ear->up);
        check(msg->guest_notice.n_violations <= msg->guest_notice.n_requests);
        check_stamp(ear, &msg->guest_notice.vm, msg->guest_notice.cause);
    } else if (msg->type == MSG_GUEST_NOTE) {
        check(ear->up);
        check(text_is_type(msg->guest_note.type));
        check(msg->guest_note.n_bytes <= MSG_NOTE_SIZE_MAX);
        check_stamp(ear, &msg->guest_note.vm, msg->guest_note.cause);
    } else {
        check(msg->type == MSG_GUEST_ALARM);
        check_stamp(ear, &msg->guest_alarm.vm, msg->guest_alarm.cause);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct discovery_identity identity = {.uuid = vm, .name = "web"};
    struct cause_counter causes;
    struct ear ear = {0};
    const struct guest_session_port port = {
        .ctx = &ear, .to_agent = to_agent, .event = event, .causes = &causes};
    struct guest_session session;
    nsec_t now = NSEC_PER_SEC;

    cause_counter_init(&causes, 1, false);
    guest_session_init(&session, &identity, "local", NSEC_PER_SEC, &port);
    while (size >= 2) {
        uint8_t operation = data[0], argument = data[1];

        data += 2;
        size -= 2;
        ear.n_events = 0;
        if (operation == 0) {
            guest_session_attached(&session, now);
        } else if (operation == 1) {
            guest_session_detached(&session, "it left", now);
        } else if (operation == 2) {
            now += argument * 50 * NSEC_PER_MSEC;
            guest_session_run(&session, now);
            check(guest_session_deadline(&session) > now);
        } else {
            size_t length = argument < size ? argument : size;

            guest_session_input(&session, operation - 3u, data, length, now);
            data += length;
            size -= length;
        }
    }
    ear.n_events = 0;
    guest_session_end(&session, "the end");
    return 0;
}
