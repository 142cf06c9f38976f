/* The benchmark without a server: the engine (vecstore.h) inside this program. */
#ifndef BENCHMARK_INPROCESS_H
#define BENCHMARK_INPROCESS_H

#include "benchmark/report.h"

/* Fills in `r` (o and d are set). False: the reason has been printed. */
bool inprocess_run(struct report *r);

/* The engine with the base in it, to be searched beside something else, on the caller's thread.
 * NULL: the reason has been printed. */
struct inprocess;
struct inprocess *inprocess_open(const struct options *o, const struct dataset *d);
void inprocess_close(struct inprocess *p);
/* Every query `rounds` times; the latencies of the last round count. */
bool inprocess_search(struct inprocess *p, unsigned ef, unsigned rounds, struct search_result *out);

#endif
