/* The command line of vecstore-benchmark. */
#ifndef BENCHMARK_OPTIONS_H
#define BENCHMARK_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vec/codec.h"

#define OPTIONS_EF_MAX 32

struct options {
    /* the server */
    const char *host;
    unsigned port;
    const char *socket; /* unix socket, NULL: TCP */
    const char *user, *password;
    unsigned db;
    unsigned clients, pipeline;
    const char *key;
    bool flush, keep, load_only, search_only;
    unsigned vmadd; /* vectors a VMADD; 0: VADD */
    /* the vectors */
    const char *base, *query, *truth;
    size_t rows; /* at most so many base rows; 0: all */
    size_t generate, queries;
    unsigned dim, intrinsic, clusters;
    uint64_t seed;
    enum vec_metric metric;
    const char *export_prefix;
    /* the index */
    unsigned m, ef_construction, partitions;
    enum vec_type type;
    bool flat;
    /* the searches */
    unsigned k;
    unsigned ef[OPTIONS_EF_MAX], nef;
    size_t requests; /* searches at each EF; 0: chosen from the number of queries */
    unsigned repeat;
    /* the probes */
    bool probe_single, probe_ping, probe_mixed;
    double at_recall;
    size_t pings;
    /* this program */
    bool in_process, build_once, sweep_threads, quiet;
    unsigned threads;
    unsigned milliseconds; /* in process: at each EF and number of threads, at least */
    const char *json;
};

/* Fills `o` from the command line. False: what is wrong, or the help asked for, has been printed;
 * *status is for exit(). */
bool options_parse(int argc, char **argv, struct options *o, int *status);

#endif
