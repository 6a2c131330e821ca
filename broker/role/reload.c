/* SPDX-License-Identifier: Apache-2.0 */
/* What the roles do alike when the parent reads the configuration again: the
 * text is in memory that all of them have since their start (FD_CONFIG), each
 * parses it by itself, and the struct that the whole process borrows keeps its
 * place while what it says is changed.  Called by role_*.c. */
#include "broker/role/reload.h"

#include <assert.h>
#include <string.h>

#include "base/text.h"
#include "broker/role/line.h"
#include "broker/role/role.h"

void
reload_init(struct reload *reload, const struct role_env *env)
{
    memset(reload, 0, sizeof *reload);
    reload->env = env;
}

void
reload_fini(struct reload *reload)
{
    reload_drop(reload);
}

int
reload_read(struct reload *reload, char *why, size_t why_size)
{
    reload_drop(reload);
    int error = reload->env->read_config(reload->env->ctx, &reload->other, why,
                                         why_size);
    reload->has = !error;
    return error;
}

void
reload_swap(struct reload *reload)
{
    struct broker_config *held = reload->env->config;
    struct broker_config was = *held;

    assert(reload->has);
    *held = reload->other;
    reload->other = was;
}

void
reload_drop(struct reload *reload)
{
    if (reload->has) {
        config_fini(&reload->other);
        reload->has = false;
    }
}

void
reload_answer(struct reload *reload, struct line *parent, unsigned step,
              int error, const char *why)
{
    struct msg_reloaded *answer = &reload->answer;

    memset(answer, 0, sizeof *answer);
    answer->step = step;
    if (error) {
        answer->error = (uint64_t)-error;
        text_copy_printable(answer->reason, sizeof answer->reason,
                            why[0] ? why : strerror(-error));
    }
    reload->due = true;
    reload_flush(reload, parent);
}

void
reload_flush(struct reload *reload, struct line *parent)
{
    struct msg msg;

    if (reload->due) {
        memset(&msg, 0, sizeof msg);
        msg.type = MSG_RELOADED;
        msg.reloaded = reload->answer;
        reload->due = line_send(parent, &msg) != 0;
    }
}
