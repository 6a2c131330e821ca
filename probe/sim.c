/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that a simulator made up (probe/sim.h), handed on as the real probes
 * would; and, by option, as a bad probe would: scaled, late, or partly garbage.
 * The broker's answer to lying agents is tested with these. */
#include "probe/sim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "probe/probe.h"

#define REQUESTS_PER_LOOK 4096

static const struct option_desc options[] = {
    {.name = "period_ms",
     .unit = "ms",
     .type = OPTION_INT,
     .min = 1,
     .max = 60000,
     .default_text = "50",
     .help = "How often requests are handed on."},
    {.name = "scale_percent",
     .unit = "%",
     .type = OPTION_INT,
     .min = 0,
     .max = 100000,
     .default_text = "100",
     .help = "A lie: response times are multiplied by this."},
    {.name = "late_ms",
     .unit = "ms",
     .type = OPTION_INT,
     .min = 0,
     .max = 3600000,
     .default_text = "0",
     .help = "Requests are handed on this long after they ended."},
    {.name = "garbage_permille",
     .type = OPTION_INT,
     .min = 0,
     .max = 1000,
     .default_text = "0",
     .help = "Share of requests of which only nonsense is seen."},
    {0},
};

struct probe {
    struct probe_world *world;
    struct prng prng;
    nsec_t period, late, next;
    uint64_t scale_percent, garbage_permille;
    uint64_t n_seen, n_refused;
};

void
probe_world_init(struct probe_world *world, struct probe_request *storage,
                 size_t max)
{
    memset(world, 0, sizeof *world);
    world->request = storage;
    world->max = max;
    world->util_permille = PROBE_UTIL_UNKNOWN;
}

bool
probe_world_add(struct probe_world *world, nsec_t ended, uint64_t response_us)
{
    struct probe_request *request;

    if (world->n == world->max) {
        world->n_dropped++;
        return false;
    }
    request = &world->request[(world->first + world->n++) % world->max];
    request->ended = ended;
    request->response_us = response_us;
    return true;
}

static int
sim_open(struct probe **out, const struct probe_env *env, char *why,
         size_t why_size)
{
    struct probe *probe;

    if (!env->world) {
        snprintf(why, why_size, "sim: works within msim only");
        return -EINVAL;
    }
    probe = calloc(1, sizeof *probe);
    if (!probe) {
        snprintf(why, why_size, "sim: no memory");
        return -ENOMEM;
    }
    probe->world = env->world;
    prng_init(&probe->prng, env->seed);
    probe->period = option_int(env->options, "period_ms") * NSEC_PER_MSEC;
    probe->late = option_int(env->options, "late_ms") * NSEC_PER_MSEC;
    probe->scale_percent = (uint64_t)option_int(env->options, "scale_percent");
    probe->garbage_permille =
        (uint64_t)option_int(env->options, "garbage_permille");
    *out = probe;
    return 0;
}

/* Whether the agent takes them is its business. */
static void
make_notes(struct probe_world *world, const struct probe_sink *sink)
{
    static const uint8_t bytes[PROBE_NOTE_SIZE_MAX];
    char type[32];

    for (uint32_t i = 0; i < world->n_notes_a_look; i++) {
        const struct probe_note note = {
            .type = type, .bytes = bytes, .size = sizeof bytes};

        snprintf(type, sizeof type, "org.mbroker.flood/%u",
                 (unsigned)(world->n_notes++ % PROBE_FLOOD_TYPES));
        (void)sink->note(sink->ctx, &note);
    }
}

static int
sim_sample(struct probe *probe, nsec_t now, const struct probe_sink *sink)
{
    struct probe_world *world = probe->world;

    probe->next = now + probe->period;
    for (unsigned i = 0; i < REQUESTS_PER_LOOK && world->n; i++) {
        const struct probe_request *request = &world->request[world->first];

        if (request->ended > now - probe->late) {
            break;
        }
        if (probe->garbage_permille &&
            prng_below(&probe->prng, 1000) < probe->garbage_permille) {
            probe->n_refused++;
        } else {
            probe->n_seen++;
            sink->request(sink->ctx, request->ended,
                          request->response_us * probe->scale_percent / 100);
        }
        world->first = (world->first + 1) % world->max;
        world->n--;
    }
    if (world->util_permille != PROBE_UTIL_UNKNOWN) {
        sink->cpu(sink->ctx, world->util_permille);
    }
    make_notes(world, sink);
    return world->n && world->request[world->first].ended <= now - probe->late;
}

static nsec_t
sim_deadline(const struct probe *probe, nsec_t now)
{
    return probe->next;
}

static void
sim_stats(const struct probe *probe, struct probe_stats *out)
{
    memset(out, 0, sizeof *out);
    out->n_seen = probe->n_seen;
    out->n_refused = probe->n_refused;
    if (probe->n_refused) {
        snprintf(out->refused, sizeof out->refused, "sim: garbage");
    }
}

static void
sim_close(struct probe *probe)
{
    free(probe);
}

const struct probe_class probe_sim = {
    .name = "sim",
    .summary = "requests made up by a simulator, also badly told",
    .options = options,
    .open = sim_open,
    .sample = sim_sample,
    .deadline = sim_deadline,
    .stats = sim_stats,
    .close = sim_close,
};
