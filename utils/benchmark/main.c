/* vecstore-benchmark: what redis-benchmark is to Redis, knowing recall.
 *
 * Prepares the vectors (dataset), runs them through a server (network) or through the engine in this process (inprocess), and
 * reports (report). */
#include <stdio.h>

#include "benchmark/dataset.h"
#include "benchmark/options.h"

int main(int argc, char **argv)
{
    struct options o;
    struct dataset d;
    int status;
    bool good;

    if (!options_parse(argc, argv, &o, &status))
        return status;
    good = dataset_prepare(&o, &d);
    if (good && o.export_prefix)
        good = dataset_export(&o, &d);
    dataset_release(&d);
    return good ? 0 : 1;
}
