/* Traffic: a stream of requests over C connections with P of them in flight on each, from one
 * thread.
 *
 * A request is a few pieces of memory that do not change while the run lasts (a prefix, the vector
 * where it lies, a suffix), so that sending one copies nothing and writes many at once; a reply is
 * handed on where it was received. That keeps the cost of a request here near that of the system
 * calls, and the server the one that is measured. */
#ifndef BENCHMARK_TRAFFIC_H
#define BENCHMARK_TRAFFIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "benchmark/options.h"

struct redisContext;

struct traffic_job {
    size_t requests;
    size_t max_pieces; /* of one request */
    /* Writes the pieces of a request; their number. */
    size_t (*build)(void *arg, size_t request, struct iovec *out);
    /* A whole reply; false stops the run (the reason has been printed). */
    bool (*reply)(void *arg, size_t request, const char *reply, size_t len);
    void *arg;
    const char *label;    /* of the progress bar */
    uint64_t *latency_ns; /* [requests], filled: from handing to the socket to the whole reply; may
                             be NULL */
    /* What ends it before all requests are sent; what is in flight is waited for. */
    uint64_t end_ns;         /* of clock_mono_ns; 0: nothing */
    const atomic_bool *stop; /* somebody sets it; NULL: nobody */
    double rate;             /* requests a second at most; 0: as fast as they are answered */
};

struct traffic;

/* Opens o->clients connections, authenticated, on o->db. NULL: the reason has been printed. */
struct traffic *traffic_open(const struct options *o);
void traffic_close(struct traffic *t);
/* Runs the job; *done of its requests were answered, the first ones (it may be NULL). False: the
 * reason has been printed, and the connections are of no more use. */
bool traffic_run(struct traffic *t, const struct traffic_job *job, double *seconds, size_t *done);

/* One blocking connection for what is not traffic. NULL: the reason has been printed. */
struct redisContext *traffic_control(const struct options *o);

#endif
