/* What is loaded, what is searched for, and what should be found: read or made as the options say.
 */
#ifndef BENCHMARK_DATASET_H
#define BENCHMARK_DATASET_H

#include <stdbool.h>

#include "benchmark/options.h"
#include "benchmark/vecfile.h"

struct dataset {
    struct vecfile_floats base, query;
    struct vecfile_ints
        truth; /* at least k neighbours a query (fewer only where the base has fewer rows) */
    char name[256];
};

/* False: the reason has been printed. Says on stderr what takes long, unless `quiet`. */
bool dataset_prepare(const struct options *o, struct dataset *d);
/* Writes the three files of --export. */
bool dataset_export(const struct options *o, const struct dataset *d);
void dataset_release(struct dataset *d);

#endif
