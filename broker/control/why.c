/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the frequency domain a knob's name means and shows the arbiter's
 * verdict on it: the winner, its reason and what it rejected, and each loser
 * and why it lost.  Called by broker/control/answer.c. */
#include "broker/control/why.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/config.h"
#include "broker/engine/arbiter.h"
#include "broker/engine/engine.h"
#include "broker/journal/journal.h"
#include "broker/control/show.h"
#include "model/cause.h"
#include "model/name.h"
#include "policy/policy.h"

static int find_domain(const struct control_env *, const struct host *,
                       const char *knob, uint32_t *out,
                       struct request_fault *fault);
static json_t *show_winner(const struct control_env *, const struct wish *,
                           const struct host *, nsec_t now);
static json_t *show_losers(const struct verdict *, const struct host *,
                           nsec_t now);

json_t *
why_knob(const struct control_env *env, const char *knob, nsec_t now,
         struct request_fault *fault)
{
    struct engine_status status;
    char name[NAME_TEXT_SIZE];
    uint32_t index = 0;

    engine_status(env->engine, now, &status);
    if (find_domain(env, status.host, knob, &index, fault)) {
        return NULL;
    }
    const struct domain *domain = &status.host->domains[index];
    const struct verdict *verdict = arbiter_verdict(status.arbiter, index);
    bool wanted = verdict && verdict->wanted;
    json_t *cpus = json_array();
    json_t *answer;

    for (uint32_t i = 0; i < domain->desc.n_cpus; i++) {
        show_append(&cpus, json_integer(domain->desc.cpus[i]));
    }
    name_of_host(env->config->domain, env->config->host_id, NAME_PSTATE,
                 domain->desc.n_cpus ? domain->desc.cpus[0] : 0, name);
    answer = json_pack(
        "{s:s,s:i,s:o,s:s,s:b,s:o,s:o,s:o}", "knob", name, "domain", (int)index,
        "cpus", cpus, "policy", status.policy->name, "emulated",
        domain->desc.emulated, "pstate",
        domain->known ? json_integer(domain->pstate) : json_null(), "freq_mhz",
        domain->known ? show_mhz(status.host, index, domain->pstate)
                      : json_null(),
        "wanted", wanted ? json_integer(verdict->pstate) : json_null());
    if (wanted) {
        show_set(&answer, "wanted_mhz",
                 show_mhz(status.host, index, verdict->pstate));
        show_set(&answer, "since_s",
                 json_real((double)(now - verdict->time) / 1e9));
        show_set(&answer, "winner",
                 show_winner(env, &verdict->winner, status.host, now));
        show_set(&answer, "losers", show_losers(verdict, status.host, now));
        show_set(&answer, "more_losers", json_integer(verdict->n_more_losers));
    } else {
        show_set(&answer, "losers", json_array());
        show_set(&answer, "more_losers", json_integer(0));
    }
    return answer;
}

static void
take_event(void *event, const struct journal_row *row)
{
    json_t **out = event;

    if (row->kind == JOURNAL_EVENT && !*out) {
        *out = show_row(row);
    }
}

/* With the event that it came of, if the journal still has it. */
static json_t *
show_winner(const struct control_env *env, const struct wish *wish,
            const struct host *host, nsec_t now)
{
    json_t *winner = show_wish(wish, host, now), *event = NULL;

    if (env->journal && wish->reason.cause != CAUSE_NONE) {
        (void)journal_trace(env->journal, wish->reason.cause, take_event,
                            &event);
    }
    show_set(&winner, "event", event ? event : json_null());
    return winner;
}

static json_t *
show_losers(const struct verdict *verdict, const struct host *host, nsec_t now)
{
    json_t *losers = json_array();

    for (uint32_t i = 0; i < verdict->n_losers; i++) {
        json_t *loser = show_wish(&verdict->losers[i].wish, host, now);

        show_set(&loser, "why", json_string(verdict->losers[i].why));
        show_append(&losers, loser);
    }
    return losers;
}

/* Names. */

/* Reads "cpu3" or "domain0" or "3"; false if it is none of them. */
static bool
parse_short(const char *knob, bool *is_domain, uint32_t *number)
{
    uint64_t value;

    *is_domain = !strncmp(knob, "domain", 6);
    if (*is_domain) {
        knob += 6;
    } else if (!strncmp(knob, "cpu", 3)) {
        knob += 3;
    }
    if (text_to_u64(knob, &value) || value > UINT16_MAX) {
        return false;
    }
    *number = (uint32_t)value;
    return true;
}

static int
no_such_knob(const struct host *host, const char *knob,
             struct request_fault *fault)
{
    char word[64];

    request_printable(word, sizeof word, knob);
    snprintf(fault->what, sizeof fault->what, "there is no knob \"%s\"", word);
    if (host->n_domains == 0) {
        text_copy(fault->why, sizeof fault->why,
                  "this broker controls no frequency");
        text_copy(fault->next, sizeof fault->next,
                  "name a p-state driver and CPUs in the configuration; "
                  "\"mctl plugins\" lists the drivers");
    } else {
        text_copy(fault->why, sizeof fault->why,
                  "a knob is cpuN, domainN, or mgmt://DOMAIN/host/ID/cpu/N/"
                  "pstate, of a CPU this broker controls");
        text_copy(fault->next, sizeof fault->next,
                  "\"mctl cpus\" lists the CPUs");
    }
    return -1;
}

static int
find_domain(const struct control_env *env, const struct host *host,
            const char *knob, uint32_t *out, struct request_fault *fault)
{
    const struct domain *domain;
    bool is_domain = false;
    struct name name;
    uint32_t number;

    if (!name_parse(&name, knob)) {
        if (name.kind != NAME_PSTATE ||
            strcmp(name.domain, env->config->domain) != 0 ||
            strcmp(name.host, env->config->host_id) != 0) {
            return no_such_knob(host, knob, fault);
        }
        number = name.cpu;
    } else if (!parse_short(knob, &is_domain, &number)) {
        return no_such_knob(host, knob, fault);
    }
    if (is_domain) {
        if (number >= host->n_domains) {
            return no_such_knob(host, knob, fault);
        }
        *out = number;
        return 0;
    }
    domain = host_domain_of_cpu(host, number);
    if (!domain) {
        return no_such_knob(host, knob, fault);
    }
    *out = (uint32_t)(domain - host->domains);
    return 0;
}
