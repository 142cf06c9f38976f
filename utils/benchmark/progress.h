/* A progress bar on standard error, where that is a terminal; nothing elsewhere. One thread. */
#ifndef BENCHMARK_PROGRESS_H
#define BENCHMARK_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    const char *label;
    size_t total;
    bool shown;
    uint64_t begin_ns, next_ns;
};

void progress_begin(struct progress *p, const char *label, size_t total, bool quiet);
/* Cheap: draws ten times a second at most. */
void progress_update(struct progress *p, size_t done);
/* Takes the bar away. */
void progress_end(struct progress *p);

#endif
