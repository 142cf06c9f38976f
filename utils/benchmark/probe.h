/* Probes: what a server feels like to a client, beside what it could be at best.
 *
 *   single   one connection, one request at a time: a search, the same search in process, a PING
 *   ping     PINGs on a connection of their own while others search as fast as they can, and PINGs
 *            to an idle echo process in between: what the kernel's scheduler alone costs
 *   mixed    searches beside a writer that is held at half the rate of building, and beside one
 *            that is not held
 *
 * All run at the least EF that has the recall asked for, in turns; what is shown are medians over
 * the turns, of ratios taken within a turn. */
#ifndef BENCHMARK_PROBE_H
#define BENCHMARK_PROBE_H

#include "benchmark/report.h"

struct bench;
struct buf;

struct probe_single { /* medians of a turn, microseconds */
    double search_us, inside_us, ping_us;
};

struct probe_pings { /* microseconds */
    double p50, p99, p999;
};

struct probe_ping {
    double qps; /* of the searches meanwhile */
    struct probe_pings server, echo;
};

/* Searches beside a writer. */
struct probe_beside {
    double qps, p99_us;
    double alone_qps, alone_p99_us; /* means of before and after */
    double wanted;                  /* vectors a second the writer was held to; 0: not held */
    double acknowledged, linked;    /* vectors a second */
};

struct probe_mixed {
    double build_rate; /* the writer alone, until all was linked */
    struct probe_beside half, full;
};

struct probe_results {
    unsigned ef;
    double recall;
    size_t turns; /* of each that was asked for */
    struct probe_single *single;
    struct probe_ping *ping;
    struct probe_mixed *mixed;
};

/* Runs those of the options over connections of their own. False: the reason has been printed. */
bool probe_run(struct bench *b);
void probe_release(struct probe_results *p);

/* probe_mixed.c: one turn at this EF, on an index of its own. */
bool probe_mixed_turn(struct bench *b, unsigned ef, struct probe_mixed *out);

/* probe_report.c */
void probe_print(const struct report *r);
void probe_json(const struct report *r, struct buf *b); /* appends ,"probes":{..} */

#endif
