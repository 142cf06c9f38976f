/* Searches beside a writer. The index is one of its own, KEY.mixed, made anew for each turn:
 *
 *   load half of the base | writer alone | searches alone | writer held at half its rate + searches
 *   | searches alone | writer not held + searches | searches alone
 *
 * The index grows meanwhile and searches of it get slower; so a phase is compared with the mean of
 * the searches alone before it and after it. What the writer achieves is counted in vectors linked:
 * those acknowledged and still waiting are work put off. */
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdio.h>

#include "base/clock.h"
#include "benchmark/network_in.h"
#include "benchmark/probe.h"
#include "benchmark/traffic.h"

#define WRITER_PIPELINE 64
#define SEARCHES_MAX 4000000
#define SHARES 4 /* of the other half of the base: a phase of writing takes one at most */

struct mixed {
    struct bench bench; /* of the index KEY.mixed and half of the base */
    struct options options, writer_options;
    struct dataset loaded, whole;
    struct report report;
    char key[512];
    struct traffic *writer;
    unsigned ef;
    size_t next, share; /* the next row to write; rows a phase */
};

struct writing {
    struct mixed *m;
    struct write_load load;
    size_t written;
    double seconds;
    bool good;
};

static void *write_behind(void *arg)
{
    struct writing *w = arg;
    struct bench b = w->m->bench;

    b.d = &w->m->whole;
    w->good = network_write_run(&b, &w->load, &w->written, &w->seconds);
    return NULL;
}

static bool unlinked(struct mixed *m, uint64_t *n)
{
    redisReply *reply = network_ask(&m->bench, "VPARTITION INFO %s", m->key);

    if (!reply)
        return false;
    *n = network_map_number(reply, "unlinked");
    freeReplyObject(reply);
    return true;
}

static bool writer_alone(struct mixed *m, double *rate)
{
    struct writing w = {.m = m, .load = {m->writer, m->next, m->share, 0, 0}};
    uint64_t begin = clock_mono_ns(), end = 0;

    write_behind(&w);
    if (!w.good || !network_wait_linked(&m->bench, &end))
        return false;
    m->next += w.written;
    *rate = (double)w.written / ((double)(end - begin) * 1e-9);
    return true;
}

static bool search_until(struct mixed *m, uint64_t end_ns, struct search_result *out)
{
    struct search_load load = {.traffic = m->bench.traffic,
                               .ef = m->ef,
                               .requests = SEARCHES_MAX,
                               .end_ns = end_ns};

    return network_search_run(&m->bench, &load, out);
}

static bool search_alone(struct mixed *m, struct search_result *out)
{
    return search_until(m, clock_mono_ns() + (uint64_t)m->options.milliseconds * 1000000, out);
}

/* `rate` 0: the writer is not held; `expect` tells how long its rows will last. */
static bool beside(struct mixed *m, double rate, double expect, const struct search_result *before,
                   struct search_result *after, struct probe_beside *out)
{
    double seconds = m->options.milliseconds * 1e-3, last = (double)m->share / expect;
    struct writing w = {.m = m, .load = {m->writer, m->next, m->share, 0, rate}};
    struct search_result found;
    uint64_t waiting, waited, linked_ns;
    pthread_t thread;
    bool good;

    if (!unlinked(m, &waited))
        return false;
    w.load.end_ns =
        clock_mono_ns() + (uint64_t)((seconds < last ? seconds : last) * 1e9);
    if (pthread_create(&thread, NULL, write_behind, &w) != 0)
        return network_complain("no more threads");
    good = search_until(m, w.load.end_ns, &found);
    pthread_join(thread, NULL);
    good = good && w.good && unlinked(m, &waiting);
    good = good && network_wait_linked(&m->bench, &linked_ns) && search_alone(m, after);
    if (!good)
        return false;
    m->next += w.written;
    *out = (struct probe_beside){.qps = found.qps,
                                 .p99_us = found.p99_us,
                                 .alone_qps = (before->qps + after->qps) / 2,
                                 .alone_p99_us = (before->p99_us + after->p99_us) / 2,
                                 .wanted = rate,
                                 .acknowledged = (double)w.written / w.seconds,
                                 .linked = (double)(w.written + waited - waiting) / w.seconds};
    return true;
}

static bool phases(struct mixed *m, struct probe_mixed *out)
{
    struct search_result alone[3];

    if (!network_load(&m->bench) || !writer_alone(m, &out->build_rate) ||
        !search_alone(m, &alone[0]))
        return false;
    return beside(m, out->build_rate / 2, out->build_rate / 2, &alone[0], &alone[1], &out->half) &&
           beside(m, 0, out->build_rate, &alone[1], &alone[2], &out->full);
}

bool probe_mixed_turn(struct bench *b, unsigned ef, struct probe_mixed *out)
{
    struct mixed m = {.options = *b->o, .loaded = *b->d, .whole = *b->d, .ef = ef};
    bool good, created;

    snprintf(m.key, sizeof m.key, "%.480s.mixed", b->o->key);
    m.options.key = m.key;
    m.options.flush = m.options.quiet = true;
    m.options.vmadd = 0;
    m.writer_options = m.options;
    m.writer_options.clients = 1;
    m.writer_options.pipeline = WRITER_PIPELINE;
    m.loaded.base.rows /= 2;
    m.next = m.loaded.base.rows;
    m.share = (m.whole.base.rows - m.next) / SHARES;
    if (m.share < WRITER_PIPELINE)
        return network_complain("too few vectors for --probe-mixed");
    m.report = (struct report){.o = &m.options, .d = &m.loaded};
    m.bench = *b;
    m.bench.r = &m.report;
    m.bench.o = &m.options;
    m.bench.d = &m.loaded;
    m.writer = traffic_open(&m.writer_options);
    good = created = m.writer && network_create(&m.bench);
    good = good && phases(&m, out);
    if (created && !b->control->err)
        good = network_delete(&m.bench) && good;
    if (m.writer)
        traffic_close(m.writer);
    report_release(&m.report);
    return good;
}
