/* See inprocess.h.
 *
 * Building with T threads: the store has T workers, the process is held to T processors while it
 * builds, and the time runs from the first vector offered to the last one linked. With one thread
 * there are no workers: all is done inside the calls.
 *
 * Searching with T threads: each has a reader of its own; they take queries from one counter, in
 * rounds of the whole set, until the time asked for has passed, and read the ids of what they find,
 * as a program would. */
#include "benchmark/inprocess.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "benchmark/progress.h"
#include "benchmark/reply.h"
#include "benchmark/truth.h"
#include "vecstore.h"

#define THREADS_MAX 256
#define SETTLE_MS 3600000u
#define LATENCIES_MAX (1u << 20)
#define ROUND 8 /* queries taken from the counter at a time */

struct engine {
    struct vs_store *store;
    struct vs_index *index;
};

static bool complain(const char *what, enum vs_status status)
{
    fprintf(stderr, "vecstore-benchmark: %s: %s\n", what, vs_status_text(status));
    return false;
}

/* Holds this thread, and those it starts, to the first `n` of the processors allowed in `all`. */
static void hold_to(const cpu_set_t *all, unsigned n)
{
    cpu_set_t some;

    CPU_ZERO(&some);
    for (int cpu = 0; cpu < CPU_SETSIZE && n > 0; cpu++)
        if (CPU_ISSET(cpu, all)) {
            CPU_SET(cpu, &some);
            n--;
        }
    sched_setaffinity(0, sizeof some, &some);
}

static bool engine_open(const struct options *o, const struct dataset *d, unsigned threads,
                        struct engine *e)
{
    struct vs_options store = {.threads = threads > 1 ? threads : 0,
                               .link_backlog_max = d->base.rows + 1};
    struct vs_index_options index = {.dim = (uint32_t)d->base.cols,
                                     .metric = o->metric,
                                     .m = o->m,
                                     .ef_construction = o->ef_construction,
                                     .partitions = o->partitions,
                                     .seed = 1,
                                     .type = o->type,
                                     .structure = o->flat ? VS_FLAT : VS_HNSW};
    enum vs_status status = vs_open(&store, &e->store);

    if (status != VS_OK)
        return complain("opening the store", status);
    status = vs_create(e->store, 0, "bench", 5, &index, &e->index);
    if (status != VS_OK) {
        vs_close(e->store);
        return complain("creating the index", status);
    }
    return true;
}

static bool fill(const struct options *o, const struct dataset *d, struct engine *e,
                 struct load_result *out)
{
    struct progress progress;
    uint64_t begin = clock_mono_ns();
    enum vs_status status = VS_OK;

    progress_begin(&progress, "building", d->base.rows, o->quiet);
    for (size_t row = 0; row < d->base.rows; row++) {
        char id[ID_BYTES + 1];
        struct vs_element element = {
            .id = id, .id_len = ID_BYTES, .vector = d->base.data + row * d->base.cols};

        id_format((uint32_t)row, id);
        while ((status = vs_add(e->index, &element, VS_ADD_ANY, NULL)) == VS_BACKLOG)
            vs_poll(e->store, 1000);
        if (status != VS_OK)
            break;
        progress_update(&progress, row);
    }
    out->acknowledged_s = (double)(clock_mono_ns() - begin) * 1e-9;
    if (status == VS_OK)
        status = vs_settle(e->store, SETTLE_MS);
    out->linked_s = (double)(clock_mono_ns() - begin) * 1e-9;
    progress_end(&progress);
    out->vectors = d->base.rows;
    out->done = status == VS_OK;
    return status == VS_OK ? true : complain("building", status);
}

/* ---- searching ---- */

struct search_run {
    const struct options *o;
    const struct dataset *d;
    struct engine *e;
    unsigned ef;
    uint64_t end_ns; /* 0: one round, counting hits */
    atomic_size_t next;
    atomic_size_t hits;
    atomic_bool failed;
};

struct searcher {
    struct search_run *run;
    pthread_t thread;
    size_t searches, nlatencies;
    uint64_t *latencies; /* [LATENCIES_MAX] */
    uint64_t finished_ns;
};

/* One search; the rows found. */
static size_t search_one(struct search_run *run, struct vs_reader *reader, size_t q,
                         struct vs_hit *hits, int32_t *rows)
{
    struct vs_query query = {
        .vector = run->d->query.data + q * run->d->query.cols, .k = run->o->k, .ef = run->ef};
    size_t n = 0, len;

    if (vs_search_now(reader, run->e->index, &query, hits, run->o->k, &n) != VS_OK)
        atomic_store(&run->failed, true);
    for (size_t i = 0; i < n; i++) {
        const void *id = vs_hit_id(&hits[i], &len);

        if (!id_parse(id, len, &rows[i]))
            atomic_store(&run->failed, true);
    }
    return n;
}

static void *searcher_work(void *arg)
{
    struct searcher *s = arg;
    struct search_run *run = s->run;
    size_t queries = run->d->query.rows;
    struct vs_hit *hits = mem_alloc(run->o->k * sizeof *hits);
    int32_t *rows = mem_alloc(run->o->k * sizeof *rows);
    struct vs_reader *reader = vs_reader_new(run->e->store);
    uint64_t before = clock_mono_ns();
    bool more = true;

    while (more && !atomic_load_explicit(&run->failed, memory_order_relaxed)) {
        size_t first = atomic_fetch_add_explicit(&run->next, ROUND, memory_order_relaxed);

        for (size_t i = first; i < first + ROUND; i++) {
            size_t n;
            uint64_t now;

            if (run->end_ns ? before >= run->end_ns : i >= queries) {
                more = false;
                break;
            }
            n = search_one(run, reader, i % queries, hits, rows);
            if (!run->end_ns)
                atomic_fetch_add(&run->hits, truth_hits(&run->d->truth, i, run->o->k, rows, n));
            now = clock_mono_ns();
            if (s->nlatencies < LATENCIES_MAX)
                s->latencies[s->nlatencies++] = now - before;
            before = now;
            s->searches++;
        }
    }
    s->finished_ns = before;
    vs_reader_free(reader);
    mem_free(hits);
    mem_free(rows);
    return NULL;
}

static void gather(struct searcher *searchers, unsigned threads, uint64_t begin,
                   struct search_result *out)
{
    uint64_t *all = searchers[0].latencies, last = begin;
    size_t n = 0, searches = 0;

    for (unsigned t = 0; t < threads; t++)
        n += searchers[t].nlatencies;
    if (threads > 1)
        all = mem_alloc(n * sizeof *all);
    n = 0;
    for (unsigned t = 0; t < threads; t++) {
        if (threads > 1)
            memcpy(all + n, searchers[t].latencies, searchers[t].nlatencies * sizeof *all);
        n += searchers[t].nlatencies;
        searches += searchers[t].searches;
        if (searchers[t].finished_ns > last)
            last = searchers[t].finished_ns;
    }
    out->qps = (double)searches / ((double)(last - begin) * 1e-9);
    if (n)
        report_percentiles(all, n, out);
    if (threads > 1)
        mem_free(all);
}

/* Runs `threads` searchers (the caller is one of them) to the end of the round or of the time. */
static bool run_searchers(struct search_run *run, unsigned threads, struct search_result *out)
{
    struct searcher searchers[THREADS_MAX];
    uint64_t begin = clock_mono_ns();
    unsigned started = 1;

    for (unsigned t = 0; t < threads; t++)
        searchers[t] =
            (struct searcher){.run = run, .latencies = mem_alloc(LATENCIES_MAX * sizeof(uint64_t))};
    while (started < threads && pthread_create(&searchers[started].thread, NULL, searcher_work,
                                               &searchers[started]) == 0)
        started++;
    searcher_work(&searchers[0]);
    for (unsigned t = 1; t < started; t++)
        pthread_join(searchers[t].thread, NULL);
    gather(searchers, threads, begin, out);
    for (unsigned t = 0; t < threads; t++)
        mem_free(searchers[t].latencies);
    if (started < threads || atomic_load(&run->failed)) {
        fprintf(stderr, "vecstore-benchmark: %s\n",
                started < threads ? "no more threads" : "a search failed");
        return false;
    }
    return true;
}

static bool search_once(const struct options *o, const struct dataset *d, struct engine *e,
                        unsigned ef, unsigned threads, struct search_result *out)
{
    struct search_run run = {.o = o, .d = d, .e = e, .ef = ef};
    struct search_result ignored = {0};
    size_t k = o->k < d->truth.cols ? o->k : d->truth.cols;

    *out = (struct search_result){.ef = ef, .threads = threads};
    if (!run_searchers(&run, threads, &ignored)) /* recall, and warm caches */
        return false;
    out->recall = (double)atomic_load(&run.hits) / ((double)d->query.rows * (double)k);
    atomic_store(&run.next, 0);
    run.end_ns = clock_mono_ns() + (uint64_t)o->milliseconds * 1000000u;
    return run_searchers(&run, threads, out);
}

/* 1, then 2, 4 .. with --sweep-threads, then all. */
static size_t thread_counts(const struct options *o, unsigned *out)
{
    size_t n = 0;

    out[n++] = 1;
    for (unsigned t = 2; o->sweep_threads && t < o->threads; t *= 2)
        out[n++] = t;
    if (o->threads > 1)
        out[n++] = o->threads;
    return n;
}

static bool search_all(struct report *r, struct engine *e)
{
    const struct options *o = r->o;
    unsigned counts[16];
    size_t ncounts = thread_counts(o, counts), n = ncounts * o->nef;
    struct search_result *runs = mem_alloc(o->repeat * n * sizeof *runs);
    struct progress progress;
    bool good = true;

    progress_begin(&progress, "searching", o->repeat * n, o->quiet);
    for (size_t i = 0; good && i < o->repeat * n; i++) {
        good = search_once(o, r->d, e, o->ef[i % o->nef], counts[i % n / o->nef], &runs[i]);
        progress_update(&progress, i);
    }
    progress_end(&progress);
    if (good)
        report_add_medians(r, runs, o->repeat, n);
    mem_free(runs);
    return good;
}

/* ---- all of it ---- */

static void read_memory(struct report *r, struct engine *e, const struct mem_stats *before)
{
    struct vs_memory m;
    struct mem_stats now;
    struct vs_partition_info info;

    vs_index_memory(e->index, &m);
    mem_stats_read(&now);
    r->memory = (struct memory_result){.codes = m.codes,
                                       .originals = m.originals,
                                       .links = m.links,
                                       .records = m.records,
                                       .ids = m.ids,
                                       .id_map = m.id_map,
                                       .other = m.other,
                                       .total = m.total};
    r->memory.used = now.used;
    r->memory.rss = now.rss;
    r->memory.used_before = before->used;
    r->memory.rss_before = before->rss;
    r->graph_digest = 0;
    for (size_t i = 0; i < vs_partition_count(e->index); i++) {
        vs_partition_info(e->index, i, &info);
        r->graph_digest = (i ? hash_mix(r->graph_digest) : 0) ^ info.graph_digest;
    }
}

static bool build(struct report *r, unsigned threads, struct engine *e)
{
    struct load_result *l = &r->loads[r->nloads];
    cpu_set_t all;
    bool held = sched_getaffinity(0, sizeof all, &all) == 0;
    bool good;

    *l = (struct load_result){.threads = threads};
    if (held)
        hold_to(&all, threads);
    good = engine_open(r->o, r->d, threads, e);
    if (good && !fill(r->o, r->d, e, l)) {
        vs_close(e->store);
        good = false;
    }
    if (held)
        sched_setaffinity(0, sizeof all, &all);
    r->nloads += good;
    return good;
}

bool inprocess_run(struct report *r)
{
    struct engine e;
    struct mem_stats before;
    bool good;

    if (r->o->threads > 1 && r->o->build_once == false) {
        if (!build(r, 1, &e))
            return false;
        vs_close(e.store);
        mem_purge();
    }
    mem_stats_read(&before);
    if (!build(r, r->o->threads, &e))
        return false;
    read_memory(r, &e, &before);
    good = search_all(r, &e);
    vs_close(e.store);
    return good;
}

/* ---- beside something else ---- */

struct inprocess {
    const struct options *o;
    const struct dataset *d;
    struct engine e;
};

struct inprocess *inprocess_open(const struct options *o, const struct dataset *d)
{
    struct inprocess *p = mem_zalloc(sizeof *p);
    struct load_result ignored = {0};

    p->o = o;
    p->d = d;
    if (!engine_open(o, d, o->threads, &p->e))
        goto fail;
    if (!fill(o, d, &p->e, &ignored)) {
        vs_close(p->e.store);
        goto fail;
    }
    return p;
fail:
    mem_free(p);
    return NULL;
}

void inprocess_close(struct inprocess *p)
{
    if (!p)
        return;
    vs_close(p->e.store);
    mem_free(p);
}

bool inprocess_search(struct inprocess *p, unsigned ef, unsigned rounds, struct search_result *out)
{
    struct search_run run = {.o = p->o, .d = p->d, .e = &p->e, .ef = ef};
    bool good = true;

    *out = (struct search_result){.ef = ef, .threads = 1};
    for (unsigned i = 0; good && i < rounds; i++) {
        atomic_store(&run.next, 0);
        good = run_searchers(&run, 1, out);
    }
    return good;
}
