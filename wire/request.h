/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on the control socket: one line of JSON, {"verb": …} with the fields
 * that verb has and no others.  Read here because whoever connects is a
 * stranger until the line is understood. */
#ifndef WIRE_REQUEST_H
#define WIRE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUEST_SIZE_MAX 4096 /* Bytes of a line, its newline not counted. */
#define REQUEST_DEPTH_MAX 16  /* Arrays and objects in each other. */
#define REQUEST_SUBJECT_SIZE 256
#define REQUEST_OPTIONS_MAX 24
#define REQUEST_EVENTS_MAX 500   /* Journal rows asked for at once. */
#define REQUEST_ROW_TYPE_SIZE 32 /* Of such a row's name, or kind. */

enum request_verb {
    REQUEST_STATUS,
    REQUEST_VMS,
    REQUEST_CPUS,
    REQUEST_POWER,
    REQUEST_CAP,
    REQUEST_CAP_SET,
    REQUEST_POLICY,
    REQUEST_POLICY_SET,
    REQUEST_WHY,
    REQUEST_TRACE,
    REQUEST_PLUGINS,
    REQUEST_EVENTS,
    REQUEST_WATCH,
    REQUEST_NOTES,
    REQUEST_VM_START,
    REQUEST_VM_FREEZE,
    REQUEST_VM_THAW,
    REQUEST_VM_END,
    REQUEST_VM_MIGRATE,
    REQUEST_RELOAD,
    REQUEST_VERB_N, /* Not a verb: how many there are. */
};

struct request {
    enum request_verb verb;
    char subject[REQUEST_SUBJECT_SIZE]; /* Policy, knob, cause or VM; or "". */
    uint32_t n;                         /* Rows, for REQUEST_EVENTS. */
    char type[65]; /* Of REQUEST_NOTES and REQUEST_EVENTS; "": any. */
    char to[65];   /* Of REQUEST_VM_MIGRATE: a host. */
    bool follow;   /* Of REQUEST_NOTES. */
    /* Of REQUEST_EVENTS: wall clock, 0: no bound; and ids of rows, between
     * which is looked: 0: all.  With 'forward' beginning with the oldest. */
    int64_t since_ns, until_ns;
    uint64_t after, before;
    bool forward;
    /* Of REQUEST_CAP_SET; 0: not given, but term 0 is one. */
    uint64_t cap_mw, term, order;
    bool has_term;
    uint32_t lease_ms, within_ms;
    uint32_t n_options;
    struct {
        char name[64];
        char text[256]; /* As a user would write it. */
    } options[REQUEST_OPTIONS_MAX];
};

/* An error in the three parts people need.  Printable ASCII throughout,
 * whatever the stranger sent. */
struct request_fault {
    char what[160], why[256], next[256];
};

/* Reads a line of 'size' bytes without its newline.  Returns 0, or -EPROTO with
 * 'fault' filled in; '*out' is untouched then. */
int request_decode(struct request *out, const char *line, size_t size,
                   struct request_fault *fault);

/* The verb as it is written in a request. */
const char *request_verb_name(enum request_verb);

/* Are arrays and objects of a line nested beyond REQUEST_DEPTH_MAX? */
bool request_too_deep(const char *line, size_t size);

/* Copies 'from' with everything but printable ASCII replaced by '?', cut to
 * fit. */
void request_printable(char *to, size_t size, const char *from);

#endif
