/* What the probes found: as lines for people, each with what it shall reach, and as JSON. */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "benchmark/probe.h"

/* What shall be reached: docs/performance.md. */
#define SINGLE_OVER_US 40.0
#define PING_P50_US 150.0
#define PING_P99_TIMES 2.0
#define HALF_QPS 0.45
#define HALF_P99_TIMES 4.0
#define FULL_SHARE 0.25

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The median over turns of what `field` takes from turn i. */
static double median(const struct probe_results *p,
                     double (*field)(const struct probe_results *p, size_t i))
{
    double *all = mem_alloc(p->turns * sizeof *all), m;

    for (size_t i = 0; i < p->turns; i++)
        all[i] = field(p, i);
    qsort(all, p->turns, sizeof *all, compare_double);
    m = p->turns % 2 ? all[p->turns / 2]
                     : (all[p->turns / 2 - 1] + all[p->turns / 2]) / 2;
    mem_free(all);
    return m;
}

#define FIELD(name, value)                                                                         \
    static double name(const struct probe_results *p, size_t i)                                    \
    {                                                                                              \
        return value;                                                                              \
    }

static double over(double a, double b)
{
    return b > 0 ? a / b : 0;
}

FIELD(search_us, p->single[i].search_us)
FIELD(inside_us, p->single[i].inside_us)
FIELD(alone_ping_us, p->single[i].ping_us)
FIELD(over_us, p->single[i].search_us - p->single[i].inside_us - p->single[i].ping_us)
FIELD(ping_qps, p->ping[i].qps)
FIELD(ping_p50, p->ping[i].server.p50)
FIELD(ping_p99, p->ping[i].server.p99)
FIELD(ping_p999, p->ping[i].server.p999)
FIELD(echo_p50, p->ping[i].echo.p50)
FIELD(echo_p99, p->ping[i].echo.p99)
FIELD(echo_p999, p->ping[i].echo.p999)
FIELD(p99_times, over(p->ping[i].server.p99, p->ping[i].echo.p99))
FIELD(build_rate, p->mixed[i].build_rate)
FIELD(half_wanted, p->mixed[i].half.wanted)
FIELD(half_acknowledged, p->mixed[i].half.acknowledged)
FIELD(half_linked, p->mixed[i].half.linked)
FIELD(half_alone, p->mixed[i].half.alone_qps)
FIELD(half_qps, over(p->mixed[i].half.qps, p->mixed[i].half.alone_qps))
FIELD(half_p99, over(p->mixed[i].half.p99_us, p->mixed[i].half.alone_p99_us))
FIELD(full_qps, over(p->mixed[i].full.qps, p->mixed[i].full.alone_qps))
FIELD(full_linked, over(p->mixed[i].full.linked, p->mixed[i].build_rate))

void probe_print(const struct report *r)
{
    const struct probe_results *p = r->probes;

    printf("Probes at EF %u, recall %.4f, medians of %zu turn%s:\n", p->ef, p->recall, p->turns,
           p->turns > 1 ? "s" : "");
    if (p->single)
        printf("One connection: search p50 %.1f us, in process %.1f, PING %.1f: %.1f us over "
               "their sum (target: at most %.0f)\n",
               median(p, search_us), median(p, inside_us), median(p, alone_ping_us),
               median(p, over_us), SINGLE_OVER_US);
    if (p->ping)
        printf("PING beside %u x %u searches (%.0f QPS): p50 %.1f us (target: below %.0f), p99 "
               "%.1f, p99.9 %.1f; idle echo process %.1f, %.1f, %.1f; p99 %.2f times the echo's "
               "(target: at most %.0f)\n",
               r->o->clients, r->o->pipeline, median(p, ping_qps), median(p, ping_p50),
               PING_P50_US, median(p, ping_p99), median(p, ping_p999), median(p, echo_p50),
               median(p, echo_p99), median(p, echo_p999), median(p, p99_times), PING_P99_TIMES);
    if (!p->mixed)
        return;
    printf("Writer at half the building rate (%.0f/s of %.0f; %.0f acknowledged, %.0f linked): "
           "searches %.2f of %.0f QPS alone (target: %.2f), p99 %.2f times (target: below %.0f)\n",
           median(p, half_wanted), median(p, build_rate), median(p, half_acknowledged),
           median(p, half_linked), median(p, half_qps), median(p, half_alone), HALF_QPS,
           median(p, half_p99), HALF_P99_TIMES);
    printf("Neither held: searches %.2f, linking %.2f of alone (target: %.2f each)\n",
           median(p, full_qps), median(p, full_linked), FULL_SHARE);
}

static void json_beside(struct buf *b, const char *name, const struct probe_beside *s)
{
    buf_printf(b,
               ",\"%s\":{\"qps\":%.1f,\"p99_us\":%.1f,\"alone_qps\":%.1f,\"alone_p99_us\":%.1f,"
               "\"wanted\":%.1f,\"acknowledged\":%.1f,\"linked\":%.1f}",
               name, s->qps, s->p99_us, s->alone_qps, s->alone_p99_us, s->wanted, s->acknowledged,
               s->linked);
}

static void json_pings(struct buf *b, const char *name, const struct probe_pings *s)
{
    buf_printf(b, ",\"%s\":{\"p50_us\":%.2f,\"p99_us\":%.2f,\"p999_us\":%.2f}", name, s->p50,
               s->p99, s->p999);
}

void probe_json(const struct report *r, struct buf *b)
{
    const struct probe_results *p = r->probes;

    buf_printf(b, ",\n\"probes\":{\"ef\":%u,\"recall\":%.5f", p->ef, p->recall);
    for (size_t i = 0; p->single && i < p->turns; i++)
        buf_printf(b, "%s{\"search_us\":%.2f,\"inside_us\":%.2f,\"ping_us\":%.2f}%s",
                   i ? "," : ",\n\"single\":[", p->single[i].search_us, p->single[i].inside_us,
                   p->single[i].ping_us, i + 1 < p->turns ? "" : "]");
    for (size_t i = 0; p->ping && i < p->turns; i++) {
        buf_printf(b, "%s{\"qps\":%.1f", i ? "," : ",\n\"ping\":[", p->ping[i].qps);
        json_pings(b, "server", &p->ping[i].server);
        json_pings(b, "echo", &p->ping[i].echo);
        buf_puts(b, i + 1 < p->turns ? "}" : "}]");
    }
    for (size_t i = 0; p->mixed && i < p->turns; i++) {
        buf_printf(b, "%s{\"build_rate\":%.1f", i ? "," : ",\n\"mixed\":[", p->mixed[i].build_rate);
        json_beside(b, "half", &p->mixed[i].half);
        json_beside(b, "full", &p->mixed[i].full);
        buf_puts(b, i + 1 < p->turns ? "}" : "}]");
    }
    buf_puts(b, "}");
}
