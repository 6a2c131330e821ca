/* SPDX-License-Identifier: Apache-2.0 */
/* Looks users and groups up, by name or number.  A process's default name need
 * not exist, since a sandbox with a bare number is as good as one with a name;
 * a name that somebody wrote down must.  Called by main and the parent. */
#include "broker/parent/users.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>

#include "base/text.h"

#define ID_MAX 4294967294u /* The one after it means "no change". */

static const char *const role_names[CONFIG_USERS_N] = {"back", "engine",
                                                       "platform"};

static int resolve_role(struct users *, const struct broker_config *,
                        unsigned role, char *why, size_t why_size);
static int find_user(const char *name, uid_t *uid_out, gid_t *gid_out);
static int find_group(const char *name, gid_t *gid_out);

int
users_resolve(struct users *out, const struct broker_config *config, bool may,
              char *why, size_t why_size)
{
    struct users users = {.any = may && config->sandbox_users};

    for (unsigned i = 0; users.any && i < CONFIG_USERS_N; i++) {
        int error = resolve_role(&users, config, i, why, why_size);

        if (error) {
            return error;
        }
    }
    *out = users;
    return 0;
}

int
users_of_guest(const struct guest_config *guest, uid_t *uid_out, gid_t *gid_out,
               char *why, size_t why_size)
{
    uid_t uid = (uid_t)-1;
    gid_t gid = (gid_t)-1, ignored;

    if (guest->owner[0] && find_user(guest->owner, &uid, &ignored)) {
        snprintf(why, why_size, "owner: there is no user \"%s\" on this host",
                 guest->owner);
        return -ENOENT;
    }
    if (guest->group[0] && find_group(guest->group, &gid)) {
        snprintf(why, why_size, "group: there is no group \"%s\" on this host",
                 guest->group);
        return -ENOENT;
    }
    *uid_out = uid;
    *gid_out = gid;
    return 0;
}

static int
resolve_role(struct users *users, const struct broker_config *config,
             unsigned role, char *why, size_t why_size)
{
    const char *given = config->users[role];
    char name[VM_NAME_SIZE];

    snprintf(name, sizeof name, "%s%s", given[0] ? "" : "mbroker-",
             given[0] ? given : role_names[role]);
    if (find_user(name, &users->uid[role], &users->gid[role])) {
        if (given[0]) {
            snprintf(why, why_size,
                     "sandbox.%s: there is no user \"%s\" on this host; add it "
                     "(useradd --system %s) or name another",
                     role_names[role], name, name);
            return -ENOENT;
        }
        users->uid[role] = USERS_FIRST_UID + role;
        users->gid[role] = USERS_FIRST_UID + role;
        users->made_up = true;
    }
    if (!users->uid[role]) {
        snprintf(why, why_size,
                 "sandbox.%s: root is nobody to run it as; say users = false "
                 "if that is meant",
                 role_names[role]);
        return -EINVAL;
    }
    for (unsigned i = 0; i < role; i++) {
        if (users->uid[i] == users->uid[role]) {
            snprintf(why, why_size,
                     "sandbox.%s and sandbox.%s are the same user, who could "
                     "do to one what the other may not; give each its own",
                     role_names[i], role_names[role]);
            return -EINVAL;
        }
    }
    return 0;
}

static int
find_user(const char *name, uid_t *uid_out, gid_t *gid_out)
{
    const struct passwd *user;
    uint64_t number;

    if (!text_to_u64(name, &number) && number <= ID_MAX) {
        user = getpwuid((uid_t)number);
        *uid_out = (uid_t)number;
        *gid_out = user ? user->pw_gid : (gid_t)number;
        return 0;
    }
    user = getpwnam(name);
    if (!user) {
        return -ENOENT;
    }
    *uid_out = user->pw_uid;
    *gid_out = user->pw_gid;
    return 0;
}

static int
find_group(const char *name, gid_t *gid_out)
{
    const struct group *group;
    uint64_t number;

    if (!text_to_u64(name, &number) && number <= ID_MAX) {
        *gid_out = (gid_t)number;
        return 0;
    }
    group = getgrnam(name);
    if (!group) {
        return -ENOENT;
    }
    *gid_out = group->gr_gid;
    return 0;
}
