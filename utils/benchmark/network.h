/* The benchmark through a server: create, load, wait for the links, search at each EF, clean up. */
#ifndef BENCHMARK_NETWORK_H
#define BENCHMARK_NETWORK_H

#include "benchmark/report.h"

/* Fills in `r` (o and d are set). False: the reason has been printed. */
bool network_run(struct report *r);

#endif
