/* See report.h. */
#include "benchmark/report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "benchmark/probe.h"

static const char *const metric_names[] = {
    [VEC_COSINE] = "cosine", [VEC_L2] = "l2", [VEC_IP] = "ip"};
static const double targets[] = {0.90, 0.95, 0.99};

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

void report_percentiles(uint64_t *latency_ns, size_t n, struct search_result *out)
{
    qsort(latency_ns, n, sizeof *latency_ns, compare_u64);
    out->p50_us = (double)latency_ns[n / 2] * 1e-3;
    out->p95_us = (double)latency_ns[n * 95 / 100] * 1e-3;
    out->p99_us = (double)latency_ns[n * 99 / 100] * 1e-3;
    out->max_us = (double)latency_ns[n - 1] * 1e-3;
}

struct search_result *report_add(struct report *r)
{
    r->searches = mem_realloc(r->searches, (r->nsearches + 1) * sizeof *r->searches);
    memset(&r->searches[r->nsearches], 0, sizeof *r->searches);
    return &r->searches[r->nsearches++];
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The median of one field, at `offset` in each of the results runs[0], runs[n], runs[2 n] .. */
static double median_of(const struct search_result *runs, size_t repeat, size_t n, size_t offset,
                        double *scratch)
{
    for (size_t i = 0; i < repeat; i++)
        memcpy(&scratch[i], (const char *)&runs[i * n] + offset, sizeof(double));
    qsort(scratch, repeat, sizeof *scratch, compare_double);
    return repeat % 2 ? scratch[repeat / 2] : (scratch[repeat / 2 - 1] + scratch[repeat / 2]) / 2;
}

void report_add_medians(struct report *r, const struct search_result *runs, size_t repeat, size_t n)
{
    static const size_t fields[] = {
        offsetof(struct search_result, recall), offsetof(struct search_result, qps),
        offsetof(struct search_result, p50_us), offsetof(struct search_result, p95_us),
        offsetof(struct search_result, p99_us)};
    double *scratch = mem_alloc(repeat * sizeof *scratch);

    for (size_t i = 0; i < n; i++) {
        struct search_result *s = report_add(r);

        *s = runs[i];
        for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
            double median = median_of(runs + i, repeat, n, fields[f], scratch);

            memcpy((char *)s + fields[f], &median, sizeof median);
        }
        for (size_t j = 0; j < repeat; j++)
            s->max_us = fmax(s->max_us, runs[j * n + i].max_us);
    }
    mem_free(scratch);
}

void report_release(struct report *r)
{
    mem_free(r->searches);
    probe_release(r->probes);
    r->probes = NULL;
    r->searches = NULL;
    r->nsearches = 0;
}

double report_qps_at(const struct search_result *searches, size_t n, unsigned threads,
                     double recall)
{
    const struct search_result *below = NULL;
    double miss = log(1 - recall), miss_below, miss_here;

    for (size_t i = 0; i < n; i++) {
        const struct search_result *here = &searches[i];

        if (here->threads != threads)
            continue;
        if (here->recall < recall) {
            below = here;
            continue;
        }
        if (!below)
            return here->qps;
        /* A recall of 1 stands for half of one missed neighbour in a hundred thousand. */
        miss_below = log(1 - below->recall);
        miss_here = log(fmax(1 - here->recall, 5e-6));
        return exp(log(below->qps) + (miss - miss_below) / (miss_here - miss_below) *
                                         (log(here->qps) - log(below->qps)));
    }
    return 0;
}

/* ---- the table ---- */

static void print_loads(const struct report *r)
{
    for (size_t i = 0; i < r->nloads; i++) {
        const struct load_result *l = &r->loads[i];
        double n = (double)l->vectors;

        if (l->threads)
            printf("Building, %u thread%s: %.0f vectors/s (%.2f s)\n", l->threads,
                   l->threads > 1 ? "s" : "", n / l->linked_s, l->linked_s);
        else if (l->linked_s > 0)
            printf("Loading: %.0f vectors/s acknowledged (%.2f s), %.0f/s linked (%.2f s); p50 "
                   "%.0f us, p99 %.0f us, max %.0f us\n",
                   n / l->acknowledged_s, l->acknowledged_s, n / l->linked_s, l->linked_s,
                   l->p50_us, l->p99_us, l->max_us);
    }
}

static void print_memory(const struct report *r)
{
    const struct memory_result *m = &r->memory;
    double n = (double)r->d->base.rows;

    if (m->total)
        printf(
            "Memory: %.0f bytes a vector in the index: codes %.0f, originals %.0f, all else %.0f\n",
            (double)m->total / n, (double)m->codes / n, (double)m->originals / n,
            (double)(m->total - m->codes - m->originals) / n);
    if (m->used || m->rss)
        printf("Process: used %.1f MB, resident %.1f MB; before loading %.1f and %.1f\n",
               (double)m->used * 1e-6, (double)m->rss * 1e-6, (double)m->used_before * 1e-6,
               (double)m->rss_before * 1e-6);
    if (r->graph_digest)
        printf("Graph digest: %016llx\n", (unsigned long long)r->graph_digest);
    if (r->loop_turn_max_us)
        printf("Longest turn of the server's loop: %llu us\n",
               (unsigned long long)r->loop_turn_max_us);
    if (r->ping_ns)
        printf("PING, idle: p50 %.1f us\n", (double)r->ping_ns * 1e-3);
}

static void print_searches(const struct report *r)
{
    if (!r->nsearches)
        return;
    printf("\n%8s %8s %10s %12s %10s %10s %10s %10s\n", "EF",
           r->o->in_process ? "threads" : "clients", "recall", "QPS", "p50 us", "p95 us", "p99 us",
           "max us");
    for (size_t i = 0; i < r->nsearches; i++) {
        const struct search_result *s = &r->searches[i];

        printf("%8u %8u %10.4f %12.0f %10.1f %10.1f %10.1f %10.1f\n", s->ef,
               s->threads ? s->threads : r->o->clients, s->recall, s->qps, s->p50_us, s->p95_us,
               s->p99_us, s->max_us);
    }
    for (size_t i = 0; i < r->nsearches; i++) {
        unsigned threads = r->searches[i].threads;
        bool first = true;

        for (size_t j = 0; j < i; j++)
            if (r->searches[j].threads == threads)
                first = false;
        if (!first)
            continue;
        if (threads)
            printf("QPS at recall@%u, %u thread%s:", r->o->k, threads, threads > 1 ? "s" : "");
        else
            printf("QPS at recall@%u:", r->o->k);
        for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
            double qps = report_qps_at(r->searches, r->nsearches, threads, targets[t]);

            if (qps > 0)
                printf("  %.2f: %.0f", targets[t], qps);
            else
                printf("  %.2f: not reached", targets[t]);
        }
        printf("\n");
    }
}

static void print_table(const struct report *r)
{
    const struct options *o = r->o;

    printf(
        "%s: %zu vectors, %zu dimensions, %s, M %u, efConstruction %u, type %s%s, %u partition%s\n",
        r->d->name, r->d->base.rows, r->d->base.cols, metric_names[o->metric], o->m,
        o->ef_construction, vec_type_name(o->type), o->flat ? " (flat)" : "", o->partitions,
        o->partitions > 1 ? "s" : "");
    if (!o->in_process)
        printf("%u connection%s, pipeline %u\n", o->clients, o->clients > 1 ? "s" : "",
               o->pipeline);
    print_loads(r);
    print_memory(r);
    print_searches(r);
    if (r->probes)
        probe_print(r);
}

/* ---- JSON ---- */

static void json_string(struct buf *b, const char *text)
{
    buf_puts(b, "\"");
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buf_printf(b, "\\%c", *text);
        else if ((unsigned char)*text < 32)
            buf_printf(b, "\\u%04x", (unsigned char)*text);
        else
            buf_append(b, text, 1);
    }
    buf_puts(b, "\"");
}

static void json_loads(struct buf *b, const struct report *r)
{
    buf_puts(b, ",\n\"loads\":[");
    for (size_t i = 0; i < r->nloads; i++) {
        const struct load_result *l = &r->loads[i];
        double n = (double)l->vectors;

        buf_printf(b,
                   "%s{\"threads\":%u,\"vectors\":%zu,\"acknowledged_seconds\":%.6f,\"acknowledged_"
                   "rate\":%.1f",
                   i ? "," : "", l->threads, l->vectors, l->acknowledged_s, n / l->acknowledged_s);
        if (l->linked_s > 0)
            buf_printf(b, ",\"linked_seconds\":%.6f,\"linked_rate\":%.1f", l->linked_s,
                       n / l->linked_s);
        buf_printf(b, ",\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}", l->p50_us, l->p99_us,
                   l->max_us);
    }
    buf_puts(b, "]");
}

static void json_searches(struct buf *b, const struct report *r)
{
    buf_puts(b, ",\n\"searches\":[");
    for (size_t i = 0; i < r->nsearches; i++) {
        const struct search_result *s = &r->searches[i];

        buf_printf(b,
                   "%s\n{\"ef\":%u,\"threads\":%u,\"recall\":%.5f,\"qps\":%.1f,\"p50_us\":%.1f,"
                   "\"p95_us\":%.1f,\"p99_us\":%.1f,"
                   "\"max_us\":%.1f}",
                   i ? "," : "", s->ef, s->threads, s->recall, s->qps, s->p50_us, s->p95_us,
                   s->p99_us, s->max_us);
    }
    buf_puts(b, "]");
}

static void json_memory(struct buf *b, const struct report *r)
{
    const struct memory_result *m = &r->memory;

    buf_printf(b,
               ",\n\"memory\":{\"codes\":%llu,\"originals\":%llu,\"links\":%llu,\"records\":%llu,"
               "\"ids\":%llu,\"id_map\":%llu,"
               "\"other\":%llu,\"total\":%llu,\"process_used\":%llu,\"process_rss\":%llu,\"process_"
               "used_before\":%llu,"
               "\"process_rss_before\":%llu}",
               (unsigned long long)m->codes, (unsigned long long)m->originals,
               (unsigned long long)m->links, (unsigned long long)m->records,
               (unsigned long long)m->ids, (unsigned long long)m->id_map,
               (unsigned long long)m->other, (unsigned long long)m->total,
               (unsigned long long)m->used, (unsigned long long)m->rss,
               (unsigned long long)m->used_before, (unsigned long long)m->rss_before);
}

static void write_json(const struct report *r, struct buf *b)
{
    const struct options *o = r->o;

    buf_puts(b, "{\"engine\":\"vecstore\",\"mode\":");
    json_string(b, o->in_process ? "in-process" : "network");
    buf_puts(b, ",\"version\":");
    json_string(b, VS_VERSION);
    buf_puts(b, ",\"dataset\":");
    json_string(b, r->d->name);
    buf_printf(b,
               ",\n\"rows\":%zu,\"dim\":%zu,\"queries\":%zu,\"metric\":\"%s\",\"k\":%u,\"m\":%u,"
               "\"ef_construction\":%u,"
               "\"type\":\"%s\",\"flat\":%s,\"partitions\":%u,\"clients\":%u,\"pipeline\":%u,"
               "\"threads\":%u",
               r->d->base.rows, r->d->base.cols, r->d->query.rows, metric_names[o->metric], o->k,
               o->m, o->ef_construction, vec_type_name(o->type), o->flat ? "true" : "false", o->partitions,
               o->in_process ? 0 : o->clients, o->in_process ? 0 : o->pipeline, o->threads);
    json_loads(b, r);
    json_searches(b, r);
    json_memory(b, r);
    if (r->probes)
        probe_json(r, b);
    buf_printf(b, ",\n\"graph_digest\":\"%016llx\",\"loop_turn_max_us\":%llu,\"ping_us\":%.2f}\n",
               (unsigned long long)r->graph_digest, (unsigned long long)r->loop_turn_max_us,
               (double)r->ping_ns * 1e-3);
}

bool report_print(const struct report *r)
{
    struct buf b = {0};
    const char *path = r->o->json;
    bool good = true;
    FILE *file;

    if (!path || strcmp(path, "-") != 0)
        print_table(r);
    if (!path)
        return true;
    write_json(r, &b);
    file = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
    good = file && fwrite(b.data, 1, b.len, file) == b.len && fflush(file) == 0;
    if (!good)
        fprintf(stderr, "vecstore-benchmark: %s: %s\n", path, strerror(errno));
    if (file && file != stdout)
        fclose(file);
    buf_release(&b);
    return good;
}
