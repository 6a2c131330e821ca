/* SPDX-License-Identifier: Apache-2.0 */
/* What mctl's verbs share: how they are described, where their output goes and
 * how they end.  One file per verb; the table is in mctl.c. */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum ctl_exit {
    CTL_OK,
    CTL_FAILED,      /* The broker, or the check, said no. */
    CTL_USAGE,       /* The command line makes no sense. */
    CTL_UNREACHABLE, /* No broker answers. */
    CTL_DIFFERS,     /* A replay decided otherwise. */
};

struct ctl {
    const char *run_dir; /* Borrowed. */
    bool json;           /* For programs: JSON and nothing else on 'out'. */
    bool colour;         /* 'out' is a terminal that wants it. */
    size_t columns;      /* Of the terminal that 'out' is; 0 if it is none. */
    int32_t n_events;    /* -n; 0 if not given. */
    /* For "notes" and "events"; null or false if not given. */
    const char *vm, *note_type;
    bool follow;
    int64_t since_ns, until_ns;  /* For "events", wall clock; 0: not given. */
    const char *link;            /* For "journal"; null if not given. */
    const char *policy, *config; /* For "replay"; likewise. */
    int64_t now_s;               /* Wall clock, when mctl began. */
    FILE *out, *err;
    /* Set when the user wants to leave (Ctrl-C). */
    volatile const int *stop;
};

struct verb {
    const char *name;
    const char *usage;   /* What follows the name; "" if nothing. */
    const char *summary; /* One line. */
    const char *help;    /* More, for --help. */
    /* 'argv' has what followed the verb.  Returns how the program ends. */
    enum ctl_exit (*run)(struct ctl *, int argc, char **argv);
};

extern const struct verb verb_status, verb_vms, verb_cpus, verb_power,
    verb_doctor, verb_policy, verb_why, verb_trace, verb_plugins, verb_check,
    verb_watch, verb_events, verb_notes, verb_journal, verb_replay, verb_cap,
    verb_reload;

/* Says what, why and what to do next; in JSON on 'out' too if asked.  'why' and
 * 'next' may be null. */
void ctl_say(struct ctl *, const char *what, const char *why, const char *next);
/* The command line makes no sense: says how 'verb' is used.  CTL_USAGE. */
enum ctl_exit ctl_usage(struct ctl *, const struct verb *, const char *what);
/* Writes 'data' as JSON on 'out'. */
void ctl_put_json(struct ctl *, const json_t *data);

#endif
