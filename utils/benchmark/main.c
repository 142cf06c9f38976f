/* vecstore-benchmark: what redis-benchmark is to Redis, knowing recall.
 *
 * Prepares the vectors (dataset), runs them through a server (network) or through the engine in
 * this process (inprocess), and reports (report). */
#include <stdio.h>

#include "benchmark/dataset.h"
#include "benchmark/inprocess.h"
#include "benchmark/network.h"
#include "benchmark/options.h"
#include "benchmark/report.h"

int main(int argc, char **argv)
{
    struct options o;
    struct dataset d;
    int status;
    bool good;

    if (!options_parse(argc, argv, &o, &status))
        return status;
    good = dataset_prepare(&o, &d);
    if (good && o.export_prefix) {
        good = dataset_export(&o, &d);
    } else if (good) {
        struct report r = {.o = &o, .d = &d};

        good = (o.in_process ? inprocess_run(&r) : network_run(&r)) && report_print(&r);
        report_release(&r);
    }
    dataset_release(&d);
    return good ? 0 : 1;
}
