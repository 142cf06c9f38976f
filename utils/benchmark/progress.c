/* See progress.h. */
#include "benchmark/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define WIDTH 32
#define INTERVAL_NS 100000000ull

void progress_begin(struct progress *p, const char *label, size_t total, bool quiet)
{
    *p = (struct progress){.label = label, .total = total ? total : 1, .begin_ns = clock_mono_ns()};
    p->shown = !quiet && isatty(STDERR_FILENO);
    p->next_ns = p->begin_ns + INTERVAL_NS;
}

void progress_update(struct progress *p, size_t done)
{
    char bar[WIDTH + 1];
    uint64_t now;
    double seconds;
    size_t filled;

    if (!p->shown || (now = clock_mono_ns()) < p->next_ns)
        return;
    p->next_ns = now + INTERVAL_NS;
    seconds = (double)(now - p->begin_ns) * 1e-9;
    filled = done < p->total ? done * WIDTH / p->total : WIDTH;
    memset(bar, '#', filled);
    memset(bar + filled, '.', WIDTH - filled);
    bar[WIDTH] = 0;
    fprintf(stderr, "\r%-12s [%s] %3zu%%  %zu  %.0f/s  \033[K", p->label, bar,
            done * 100 / p->total, done, (double)done / seconds);
    fflush(stderr);
}

void progress_end(struct progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
}
