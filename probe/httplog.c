/* SPDX-License-Identifier: Apache-2.0 */
/* Response times from a web server's access log, read while the server writes
 * it.  follow.c brings the lines, whatever becomes of the file, logline.c reads
 * them, and this file counts and passes on.  The cost matters, since it is paid
 * in every guest: a look each period, not a wake-up per line, and one read() a
 * look.
 *
 * Best is a log of its own, which is also the cheapest to read and tells to the
 * millisecond when a request ended:
 *
 *     log_format mbroker '$msec $request_time $status';
 *     access_log /var/log/nginx/mbroker.log mbroker;
 *
 * Lines of any status count: a server that fails fast is not slow. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "probe/follow.h"
#include "probe/logline.h"
#include "probe/probe.h"

/* How often a file that is not there is asked for. */
#define ABSENT_PERIOD (250 * NSEC_PER_MSEC)

static const struct option_desc options[] = {
    {.name = "path",
     .type = OPTION_TEXT,
     .default_text = "",
     .help = "The access log; it may appear later and be rotated."},
    {.name = "format",
     .type = OPTION_CHOICE,
     .choices = "nginx apache haproxy",
     .default_text = "nginx",
     .help = "nginx: '$msec $request_time $status', or combined with "
             "$request_time last; apache: combined with %D last; haproxy: "
             "option httplog."},
    {.name = "timer",
     .type = OPTION_CHOICE,
     .choices = "total server",
     .default_text = "total",
     .help = "Which of HAProxy's timers is the response time: Ta, the whole "
             "request, or Tr, the server's answer."},
    {.name = "period_ms",
     .unit = "ms",
     .type = OPTION_INT,
     .min = 5,
     .max = 100,
     .default_text = "50",
     .help = "How often the log is read."},
    {0},
};

struct probe {
    enum logline_format format;
    nsec_t period, next;
    uint64_t n_seen, n_refused;
    const char *refused;     /* Why the last was; static text. */
    uint64_t refused_offset; /* Where that line began, */
    uint64_t refused_file;   /* and in which of the files of this name. */
    /* For the length of a look. */
    const struct probe_sink *sink;
    nsec_t now;
    char path[OPTION_TEXT_MAX + 1];
    struct follow follow; /* Last: its buffer is large. */
};

static enum logline_format
format_of(const struct option_values *values)
{
    const char *format = option_text(values, "format");

    if (!strcmp(format, "apache")) {
        return LOGLINE_APACHE;
    }
    if (!strcmp(format, "haproxy")) {
        return !strcmp(option_text(values, "timer"), "server")
                   ? LOGLINE_HAPROXY_SERVER
                   : LOGLINE_HAPROXY_TOTAL;
    }
    return LOGLINE_NGINX;
}

static int
httplog_open(struct probe **out, const struct probe_env *env, char *why,
             size_t why_size)
{
    struct probe *probe;

    if (!*option_text(env->options, "path")) {
        snprintf(why, why_size, "httplog: path is missing; give path=FILE");
        return -EINVAL;
    }
    probe = calloc(1, sizeof *probe);
    if (!probe) {
        snprintf(why, why_size, "httplog: no memory");
        return -ENOMEM;
    }
    text_copy(probe->path, sizeof probe->path,
              option_text(env->options, "path"));
    probe->format = format_of(env->options);
    probe->period = option_int(env->options, "period_ms") * NSEC_PER_MSEC;
    follow_init(&probe->follow, probe->path);
    *out = probe;
    return 0;
}

static void
refuse(struct probe *probe, const char *why, uint64_t offset)
{
    probe->refused = why;
    probe->refused_offset = offset;
    probe->refused_file = probe->follow.n_files;
}

static void
on_line(void *ctx, const char *line, size_t size, uint64_t offset)
{
    struct probe *probe = ctx;
    const struct probe_sink *sink = probe->sink;
    struct logline parsed;
    enum logline_fault fault;
    nsec_t ended = 0;

    fault = logline_parse(probe->format, line, size,
                          probe->now + sink->wall_minus_now, &parsed);
    if (fault) {
        probe->n_refused++;
        refuse(probe, logline_fault_text(fault), offset);
        return;
    }
    if (parsed.ended_wall) {
        ended = parsed.ended_wall - sink->wall_minus_now;
    }
    probe->n_seen++;
    sink->request(sink->ctx, ended, parsed.response_us);
}

static int
httplog_sample(struct probe *probe, nsec_t now, const struct probe_sink *sink)
{
    const struct follow *f = &probe->follow;
    uint64_t n_long = f->n_long, n_cut = f->n_cut;
    int result;

    probe->sink = sink;
    probe->now = now;
    result = follow_look(&probe->follow, on_line, probe);
    probe->sink = NULL;
    if (f->n_long != n_long) {
        refuse(probe, "line too long", f->offset);
    }
    if (f->n_cut != n_cut) {
        refuse(probe, "the file ended within a line", f->offset);
    }
    probe->next = now + (result < 0 ? ABSENT_PERIOD : probe->period);
    return result;
}

static nsec_t
httplog_deadline(const struct probe *probe, nsec_t now)
{
    return probe->next;
}

static void
httplog_stats(const struct probe *probe, struct probe_stats *out)
{
    const struct follow *f = &probe->follow;

    memset(out, 0, sizeof *out);
    out->n_seen = probe->n_seen;
    out->n_refused = probe->n_refused + f->n_long + f->n_cut;
    if (probe->refused) {
        snprintf(out->refused, sizeof out->refused,
                 "%.64s (file %" PRIu64 ", byte %" PRIu64 "): %s", probe->path,
                 probe->refused_file, probe->refused_offset, probe->refused);
    }
}

static void
httplog_close(struct probe *probe)
{
    if (probe) {
        follow_fini(&probe->follow);
    }
    free(probe);
}

const struct probe_class probe_httplog = {
    .name = "httplog",
    .summary = "response times from an access log (nginx, Apache, HAProxy)",
    .options = options,
    .open = httplog_open,
    .sample = httplog_sample,
    .deadline = httplog_deadline,
    .stats = httplog_stats,
    .close = httplog_close,
};
