/* The benchmark without a server: the engine (vecstore.h) inside this program. */
#ifndef BENCHMARK_INPROCESS_H
#define BENCHMARK_INPROCESS_H

#include "benchmark/report.h"

/* Fills in `r` (o and d are set). False: the reason has been printed. */
bool inprocess_run(struct report *r);

#endif
