/* SPDX-License-Identifier: Apache-2.0 */
/* Another configuration in the place of the one in force, by all processes or
 * by none.  The parent reads the file, checks it as at a start and against what
 * is in force (broker/config/confchange.c), and makes the sockets of guests
 * that are new.  Then everybody reads it and gets ready, which is where a
 * process may still say no; then it is taken in an order in which a VM is known
 * before it is heard and is heard no more before it is forgotten: platform (the
 * last that may refuse), back, engine, and back again for what is new.  What
 * was refused leaves no trace but a row and a line that say why.  A process
 * that dies in between ends the broker, as always.  Why so:
 * docs/decisions/0017.  Relies on MSG_RELOAD, and on the text being in memory
 * that all have.  Called by parent.c's turn. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/confscan.h"
#include "base/text.h"
#include "broker/config/confchange.h"
#include "broker/parent/notify.h"
#include "broker/parent/parent_parts.h"
#include "broker/parent/rundir.h"
#include "broker/role/reload.h"

#define BIT(role) (1u << (role))
#define WORKERS (BIT(ROLE_BACK) | BIT(ROLE_ENGINE) | BIT(ROLE_PLATFORM))

static void begin(struct parent *);
static int make_sockets(struct parent *, char *why, size_t why_size);
static int hand_over(struct parent *);
static void share(struct parent *, const char *text);
static void refuse(struct parent *, unsigned to, const char *why);
static void tell(struct parent *, enum reload_phase, unsigned roles,
                 enum reload_step, const char *reason);
static void send_unsent(struct parent *);
static void go_on(struct parent *);
static void take(struct parent *);
static void drop_next(struct parent *, bool with_sockets);

void
parent_reload_run(struct parent *parent)
{
    struct parent_reload *reload = &parent->reload;

    if (parent->stopping || !parent->ready) {
        return;
    }
    send_unsent(parent);
    if (reload->phase == RELOAD_IDLE && reload->wanted && !reload->unsent) {
        reload->wanted = false;
        begin(parent);
    }
}

void
parent_reload_hear(struct parent *parent, enum role role,
                   const struct msg_reloaded *said)
{
    struct parent_reload *reload = &parent->reload;
    char why[CONFIG_WHY_SIZE + 32];

    if (said->step == RELOAD_ASK) {
        reload->wanted = true;
        reload->asked = (uint32_t)said->number;
        return;
    }
    if (reload->phase == RELOAD_IDLE || said->step != reload->msg.reload.step ||
        !(reload->waiting & BIT(role))) {
        return; /* Of one that was refused meanwhile. */
    }
    reload->waiting &= ~BIT(role);
    if (said->error && reload->phase <= RELOAD_PLATFORM_TAKES) {
        snprintf(why, sizeof why, "%s can't take it: %s", role_name(role),
                 said->reason);
        refuse(parent, WORKERS, why);
        return;
    }
    if (said->error) {
        log_error("%s: %s", role_name(role), said->reason);
    }
    if (!reload->waiting && !reload->unsent) {
        go_on(parent);
    }
}

void
parent_reload_fini(struct parent *parent)
{
    if (parent->reload.phase != RELOAD_IDLE) {
        drop_next(parent, true);
    }
    free(parent->reload.text);
    parent->reload.text = NULL;
    parent_close_fd(&parent->hands_fd);
    if (parent->config_text) {
        munmap(parent->config_text, CONFSCAN_TEXT_MAX);
        parent->config_text = NULL;
    }
}

/* All that can be found wrong without asking anybody. */
static void
begin(struct parent *parent)
{
    struct parent_reload *reload = &parent->reload;
    const struct parent_opts *opts = parent->opts;
    char why[CONFIG_WHY_SIZE] = "";

    reload->number = reload->asked;
    if (!reload->text) {
        reload->text = strdup(opts->text);
    }
    if (!reload->text) {
        refuse(parent, BIT(ROLE_ENGINE), "no memory");
        return;
    }
    if (opts->read(opts->ctx, &reload->next, why, sizeof why)) {
        memset(&reload->next, 0, sizeof reload->next);
        refuse(parent, BIT(ROLE_ENGINE), why);
        return;
    }
    memset(reload->fds, -1, sizeof reload->fds);
    memset(reload->fresh, 0, sizeof reload->fresh);
    int error =
        confchange_check(opts->config, &reload->next.config, reload->next.text,
                         opts->path, why, sizeof why);
    if (!error) {
        error = make_sockets(parent, why, sizeof why);
    }
    if (error) {
        refuse(parent, BIT(ROLE_ENGINE), why);
        return;
    }
    config_hash(reload->next.text, reload->hash);
    share(parent, reload->next.text);
    error = hand_over(parent);
    if (error) {
        refuse(parent, BIT(ROLE_ENGINE) | BIT(ROLE_BACK), strerror(-error));
        return;
    }
    tell(parent, RELOAD_ALL_PREPARE, WORKERS, RELOAD_PREPARE, "");
}

/* Guests that stay keep theirs. */
static int
make_sockets(struct parent *parent, char *why, size_t why_size)
{
    const struct broker_config *now = parent->opts->config;
    struct parent_reload *reload = &parent->reload;

    for (uint32_t i = 0; i < reload->next.config.n_guests; i++) {
        const struct guest_config *guest = &reload->next.config.guests[i];
        const struct guest_config *was = config_guest(now, &guest->uuid);
        char reason[CONFIG_WHY_SIZE];

        if (was) {
            reload->fds[i] = parent->guest_fds[was - now->guests];
            continue;
        }
        int fd = rundir_listen(guest, reason, sizeof reason);
        if (fd < -1) {
            snprintf(why, why_size, "guest %s: %.180s", guest->name, reason);
            return fd;
        }
        reload->fds[i] = fd;
        reload->fresh[i] = true;
    }
    return 0;
}

static int
hand_some(int socket, const int *fds, size_t n)
{
    union {
        char bytes[CMSG_SPACE(HANDS_FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control = {.bytes = ""};
    struct iovec part = {.iov_base = (char[]){0}, .iov_len = 1};
    struct msghdr head = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = CMSG_SPACE(n * sizeof(int))};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&head);

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(cmsg), fds, n * sizeof(int));
    return sendmsg(socket, &head, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Those that were made, in the guests' order. */
static int
hand_over(struct parent *parent)
{
    const struct parent_reload *reload = &parent->reload;
    int fds[HANDS_FDS_MAX], error = 0;
    size_t n = 0;

    for (uint32_t i = 0; i < reload->next.config.n_guests && !error; i++) {
        if (!reload->fresh[i] || reload->fds[i] < 0) {
            continue;
        }
        fds[n++] = reload->fds[i];
        if (n == HANDS_FDS_MAX) {
            error = hand_some(parent->hands_fd, fds, n);
            n = 0;
        }
    }
    return error || !n ? error : hand_some(parent->hands_fd, fds, n);
}

static void
share(struct parent *parent, const char *text)
{
    size_t size = strlen(text);

    assert(size < CONFSCAN_TEXT_MAX);
    memset(parent->config_text + size, 0, CONFSCAN_TEXT_MAX - size);
    memcpy(parent->config_text, text, size);
}

static void
refuse(struct parent *parent, unsigned to, const char *why)
{
    log_error("the configuration is refused, and what was in force stays: %s",
              why);
    notify_send(parent->opts->notify_path,
                "STATUS=ready; a new configuration was refused");
    if (parent->reload.text) {
        share(parent, parent->reload.text);
    }
    drop_next(parent, true);
    tell(parent, RELOAD_IDLE, to, RELOAD_REFUSED, why);
}

/* A step to some; those that it is answered by are waited for. */
static void
tell(struct parent *parent, enum reload_phase phase, unsigned roles,
     enum reload_step step, const char *reason)
{
    struct parent_reload *reload = &parent->reload;
    const struct rights *rights = &reload->next.rights;
    struct msg_reload *msg = &reload->msg.reload;

    memset(&reload->msg, 0, sizeof reload->msg);
    reload->msg.type = MSG_RELOAD;
    msg->step = step;
    msg->number = reload->number;
    msg->control_gid = rights->has_control ? (int64_t)rights->control_gid : -1;
    msg->operator_gid =
        rights->has_operator ? (int64_t)rights->operator_gid : -1;
    text_copy_printable(msg->hash, sizeof msg->hash, reload->hash);
    text_copy_printable(msg->reason, sizeof msg->reason, reason);
    reload->phase = phase;
    reload->unsent = roles;
    reload->waiting = phase == RELOAD_IDLE ? 0 : roles;
    send_unsent(parent);
}

static void
send_unsent(struct parent *parent)
{
    struct parent_reload *reload = &parent->reload;

    for (unsigned role = 0; role < PARENT_LINES; role++) {
        if (reload->unsent & BIT(role) &&
            !line_send(&parent->children[role].line, &reload->msg)) {
            reload->unsent &= ~BIT(role);
        }
    }
}

/* All that were told did what they were told. */
static void
go_on(struct parent *parent)
{
    switch (parent->reload.phase) {
    case RELOAD_IDLE:
        break;
    case RELOAD_ALL_PREPARE:
        tell(parent, RELOAD_PLATFORM_TAKES, BIT(ROLE_PLATFORM), RELOAD_TAKE,
             "");
        break;
    case RELOAD_PLATFORM_TAKES:
        tell(parent, RELOAD_BACK_TAKES, BIT(ROLE_BACK), RELOAD_TAKE, "");
        break;
    case RELOAD_BACK_TAKES:
        tell(parent, RELOAD_ENGINE_TAKES, BIT(ROLE_ENGINE), RELOAD_TAKE, "");
        break;
    case RELOAD_ENGINE_TAKES:
        tell(parent, RELOAD_BACK_SERVES, BIT(ROLE_BACK), RELOAD_SERVE, "");
        break;
    case RELOAD_BACK_SERVES:
        take(parent);
        break;
    }
}

/* The parent itself, last. */
static void
take(struct parent *parent)
{
    struct parent_reload *reload = &parent->reload;
    struct broker_config *held = parent->opts->config;
    struct broker_config was = *held;
    char words[CONFCHANGE_WORDS_SIZE];

    confchange_describe(&was, &reload->next.config, words);
    for (uint32_t i = 0; i < was.n_guests; i++) {
        if (!config_guest(&reload->next.config, &was.guests[i].uuid)) {
            rundir_remove(&was.guests[i]);
            parent_close_fd(&parent->guest_fds[i]);
        }
    }
    *held = reload->next.config;
    reload->next.config = was;
    memcpy(parent->guest_fds, reload->fds, sizeof parent->guest_fds);
    free(reload->text);
    reload->text = reload->next.text;
    reload->next.text = NULL;
    tell(parent, RELOAD_IDLE, WORKERS, RELOAD_DONE, words);
    log_info("configuration %s is in force: %s", reload->hash, words);
    notify_send(parent->opts->notify_path, "STATUS=ready");
    drop_next(parent, false);
}

static void
drop_next(struct parent *parent, bool with_sockets)
{
    struct parent_reload *reload = &parent->reload;

    for (uint32_t i = 0; with_sockets && i < reload->next.config.n_guests;
         i++) {
        if (reload->fresh[i] && reload->fds[i] >= 0) {
            rundir_remove(&reload->next.config.guests[i]);
            parent_close_fd(&reload->fds[i]);
        }
    }
    config_fini(&reload->next.config);
    free(reload->next.text);
    reload->next.text = NULL;
    memset(reload->fresh, 0, sizeof reload->fresh);
}
