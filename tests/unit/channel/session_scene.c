/* SPDX-License-Identifier: Apache-2.0 */
/* Two sessions and the MVM's rules for them, met by hand. Called by the tests
 * of channel/session.c, mgmtback.c and mgmtfront.c. */
#include "tests/unit/channel/session_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

int
set_up(void **state)
{
    static struct pair pair;
    memset(&pair, 0, sizeof pair);
    session_init(&pair.front);
    session_init(&pair.back);
    mgmtback_init(&pair.mvm, 1);
    *state = &pair;
    return 0;
}

int
meet(struct pair *pair)
{
    struct hello hello;
    const char *why = NULL;
    session_begin(&pair->front, MAX);
    session_begin(&pair->back, MAX);
    session_hello(&pair->front, &hello);
    mgmtback_on_hello(&pair->mvm, &pair->back, &hello);
    session_hello(&pair->back, &hello);
    return mgmtfront_on_hello(&pair->front, &hello, &why);
}

void
part(struct session *session)
{
    session_leave(session, "gone");
    session_end(session);
}

void
part_both(struct pair *pair)
{
    part(&pair->front);
    part(&pair->back);
}

struct mchan_event
expect(struct session *session, enum mchan_event_type type)
{
    struct mchan_event event;
    assert_true(session_next_event(session, &event));
    assert_int_equal(event.type, type);
    return event;
}

void
expect_range(struct session *session, enum mchan_event_type type, uint64_t from,
             uint64_t to)
{
    struct mchan_event event = expect(session, type);
    assert_int_equal(event.from, from);
    assert_int_equal(event.to, to);
}

void
expect_silence(struct session *session)
{
    struct mchan_event event;
    assert_false(session_next_event(session, &event));
}

void
carry(struct session *from, struct session *to)
{
    const char *why = NULL;
    struct record record = session_send(from, 0, 10);
    assert_int_equal(session_check(to, &record, &why), 0);
    session_asked(to);
    session_delivered(to);
}

void
replay(struct session *from, struct session *to)
{
    const char *why = NULL;
    while (from->replays) {
        struct record record = {.size = 10,
                                .kind = RECORD_RELIABLE,
                                .attachment = from->attachment};
        record.sequence = (uint32_t)(from->put + 1);
        session_replayed(from, from->put + 1);
        assert_int_equal(session_check(to, &record, &why), 0);
        session_asked(to);
        session_delivered(to);
    }
}
