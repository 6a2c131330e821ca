/* SPDX-License-Identifier: Apache-2.0 */
/* A broker that says what a test has it say, and mctl's verbs run against it
 * within the test, so that no process need be started. */
#ifndef TESTS_UNIT_CTL_FAKEBROKER_H
#define TESTS_UNIT_CTL_FAKEBROKER_H

#include "ctl/ctl.h"

/* Answers that are none; others are the text of one line or more. */
#define FAKE_CLOSES "\1closes at once"
#define FAKE_DEAF "\1closes without reading"
#define FAKE_HUGE "\1a line without an end"

#define FAKE_ANSWERS_MAX 8
#define FAKE_REQUEST_SIZE 2000

/* What mctl did. */
struct fake_run {
    enum ctl_exit how;
    char *out, *err; /* Owned; freed by the next run. */
    unsigned n_requests;
    char requests[FAKE_ANSWERS_MAX][FAKE_REQUEST_SIZE];
};

/* Runs a verb with 'words', divided by spaces, against a broker that gives one
 * of 'answers' (ended by null) to each connection.  'options' may be null. */
const struct fake_run *fake_run(const struct verb *, const char *words,
                                const struct ctl *options,
                                const char *const *answers);
/* The same with one answer. */
const struct fake_run *fake_ask(const struct verb *, const char *words,
                                bool json, const char *answer);
/* In a directory where no broker ever was. */
const struct fake_run *fake_alone(const struct verb *, const char *words,
                                  bool json);
/* Frees what the last run left. */
void fake_forget(void);

#endif
