/* SPDX-License-Identifier: Apache-2.0 */
/* Applications' own messages on the control socket: the newest of each type
 * and VM, and each as it comes for who follows them. */
#ifndef BROKER_CONTROL_NOTES_H
#define BROKER_CONTROL_NOTES_H

#include <jansson.h>
#include <stdbool.h>

#include "broker/control/control.h"
#include "model/uuid.h"
#include "wire/msg.h"
#include "wire/request.h"

struct note;
struct vm;

#define NOTES_REPLY_BYTES (512u << 10) /* Of notes' bytes in one answer. */

/* Which notes somebody asks for. */
struct notes_filter {
    bool any_vm, any_type;
    struct uuid vm;
    char type[MSG_NOTE_TYPE_SIZE];
};

/* What a request asks for; -ENOENT with 'fault' if it names a VM that is not
 * here. */
int notes_filter(struct notes_filter *out, const struct control_env *,
                 const struct request *, nsec_t now,
                 struct request_fault *fault);
bool notes_match(const struct notes_filter *, const struct vm *,
                 const struct note *);

/* The answer to a request: owned by the caller, or null with 'fault'. */
json_t *notes_answer(const struct control_env *, const struct request *,
                     nsec_t now, struct request_fault *fault);
/* The line for who follows: JSON text to be freed by the caller, or null if
 * memory is short. */
char *notes_line(const struct vm *, const struct note *, int64_t wall_ns,
                 nsec_t now);

#endif
