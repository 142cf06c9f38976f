/* What was measured, as a table for people and as JSON for programs. */
#ifndef BENCHMARK_REPORT_H
#define BENCHMARK_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "benchmark/dataset.h"
#include "benchmark/options.h"

struct search_result {    /* one EF with one number of threads, or over the network */
    unsigned ef, threads; /* threads 0: over the network */
    double recall, qps;
    double p50_us, p95_us, p99_us, max_us;
};

struct load_result {
    bool done;
    unsigned threads; /* workers; 0: over the network */
    size_t vectors;
    double acknowledged_s; /* until the last vector was accepted */
    double linked_s;       /* until all whole batches were linked; 0: not waited for */
    double p50_us, p99_us, max_us;
};

struct memory_result {                                                    /* bytes; 0: not known */
    uint64_t codes, originals, links, records, ids, id_map, other, total; /* of the index */
    uint64_t used, rss;                                                   /* of the process */
    uint64_t used_before, rss_before; /* the same before the vectors came; 0: not known */
};

#define REPORT_LOADS 4

struct probe_results;

struct report {
    const struct options *o;
    const struct dataset *d;
    struct load_result loads[REPORT_LOADS];
    size_t nloads;
    struct search_result *searches;
    size_t nsearches;
    struct memory_result memory;
    uint64_t graph_digest;     /* of all partitions; 0: not known */
    uint64_t loop_turn_max_us; /* of the server; 0: not known */
    uint64_t ping_ns;          /* median of a PING on an idle connection; 0: not measured */
    struct probe_results *probes; /* NULL: none asked for */
};

/* Prints and writes what --json asks for. False: the file could not be written, the reason has been
 * printed. */
bool report_print(const struct report *r);
void report_release(struct report *r);

/* Sorts and fills in the percentiles. n >= 1. */
void report_percentiles(uint64_t *latency_ns, size_t n, struct search_result *out);
/* Adds, for each of the `n` searches that were run `repeat` times ([repetition][search]), one
 * search of medians; latencies' maximum is the highest. */
void report_add_medians(struct report *r, const struct search_result *runs, size_t repeat,
                        size_t n);
/* QPS at a recall, for results of one number of threads in order of EF: log QPS is taken as linear
 * in log (1 - recall) between the two neighbouring steps. 0 where the sweep does not reach it; the
 * first step's where that is above already. */
double report_qps_at(const struct search_result *searches, size_t n, unsigned threads,
                     double recall);
/* Adds room for one more search. */
struct search_result *report_add(struct report *r);

#endif
