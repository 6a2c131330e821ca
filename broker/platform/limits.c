/* SPDX-License-Identifier: Apache-2.0 */
/* What may be written to the hardware: a table made once from the configuration
 * and the driver's domains, asked before every write.  It relies on neither
 * policies nor engine being right.  A domain's writes are counted by a token
 * bucket that holds one second's worth; platform.c calls it. */
#include "broker/platform/limits.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/config/config.h"

struct domain_limits {
    bool ours;         /* All its CPUs are in the configuration's list. */
    uint32_t stranger; /* If not: the first CPU that isn't. */
    uint32_t n_pstates;
    nsec_t credit_ns; /* Writes left, in units of the time one takes. */
    nsec_t counted;   /* When 'credit_ns' was true. */
    bool ever;        /* 'counted' means something. */
};

struct limits {
    uint32_t pstate_min, pstate_max;
    uint32_t writes_per_second_max;
    uint32_t n_domains;
    struct domain_limits domains[];
};

static int take_write(struct limits *, struct domain_limits *, nsec_t now);

int
limits_create(struct limits **out, const struct broker_config *config,
              const struct pstate_domain *domains, uint32_t n_domains)
{
    struct limits *limits =
        calloc(1, sizeof *limits + n_domains * sizeof limits->domains[0]);
    if (!limits) {
        return -ENOMEM;
    }

    limits_configure(limits, config);
    limits->n_domains = n_domains;
    for (uint32_t i = 0; i < n_domains; i++) {
        struct domain_limits *domain = &limits->domains[i];

        domain->n_pstates = domains[i].table.n;
        domain->ours = domains[i].n_cpus > 0;
        for (uint32_t j = 0; j < domains[i].n_cpus && domain->ours; j++) {
            domain->ours = config_has_cpu(config, domains[i].cpus[j]);
            domain->stranger = domains[i].cpus[j];
        }
    }
    *out = limits;
    return 0;
}

void
limits_destroy(struct limits *limits)
{
    free(limits);
}

void
limits_configure(struct limits *limits, const struct broker_config *config)
{
    limits->pstate_min = config->pstate_min;
    limits->pstate_max = config->pstate_max;
    limits->writes_per_second_max = config->writes_per_second_max;
}

int
limits_check_pstate(struct limits *limits, uint32_t domain, uint32_t pstate,
                    nsec_t now, char *why, size_t why_size)
{
    if (domain >= limits->n_domains) {
        snprintf(why, why_size, "there is no domain %u", domain);
        return -ERANGE;
    }
    struct domain_limits *of = &limits->domains[domain];
    if (!of->ours) {
        snprintf(why, why_size, "CPU %u of domain %u is not ours to change",
                 of->stranger, domain);
        return -EPERM;
    }
    if (pstate >= of->n_pstates) {
        snprintf(why, why_size, "domain %u has p-states 0 to %u, not %u",
                 domain, of->n_pstates - 1, pstate);
        return -ERANGE;
    }
    if (pstate < limits->pstate_min || pstate > limits->pstate_max) {
        snprintf(why, why_size, "the configuration allows p-states %u to %u",
                 limits->pstate_min, limits->pstate_max);
        return -EPERM;
    }
    int error = take_write(limits, of, now);
    if (error) {
        snprintf(why, why_size, "domain %u was written %u times in a second",
                 domain, limits->writes_per_second_max);
    }
    return error;
}

/* The bucket is kept in time: it fills by a nanosecond each nanosecond up to a
 * second, and a write costs a second's share of the rate.  A clock that went
 * back fills nothing. */
static int
take_write(struct limits *limits, struct domain_limits *domain, nsec_t now)
{
    if (!limits->writes_per_second_max) {
        return -EBUSY;
    }
    nsec_t cost = NSEC_PER_SEC / limits->writes_per_second_max;
    nsec_t credit = domain->credit_ns;

    if (!domain->ever) {
        credit = NSEC_PER_SEC;
    } else if (now > domain->counted) {
        nsec_t passed = nsec_min(now - domain->counted, NSEC_PER_SEC);
        credit = nsec_min(credit + passed, NSEC_PER_SEC);
    }
    domain->ever = true;
    domain->counted = now;
    domain->credit_ns = credit;
    if (credit < cost) {
        return -EBUSY;
    }
    domain->credit_ns = credit - cost;
    return 0;
}
