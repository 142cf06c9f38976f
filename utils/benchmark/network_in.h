/* What the network mode's own files share. */
#ifndef BENCHMARK_NETWORK_IN_H
#define BENCHMARK_NETWORK_IN_H

#include <stdatomic.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "benchmark/report.h"

struct redisContext;
struct redisReply;
struct traffic;

struct bench {
    struct report *r;
    const struct options *o;
    const struct dataset *d;
    struct redisContext *control; /* blocking, for what is not traffic */
    struct traffic *traffic;
};

/* Prints a line on standard error; false. */
bool network_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A reply that is no error, or NULL and the reason printed. hiredis' format. */
struct redisReply *network_ask(struct bench *b, const char *fmt, ...);
/* The number under `name` in a flat map; 0 when it is not there. */
uint64_t network_map_number(const struct redisReply *map, const char *name);

/* One argument of a command, as the protocol has it. */
void network_put_argument(struct buf *b, const char *text);
static inline struct iovec network_piece(const void *data, size_t len)
{
    return (struct iovec){(void *)(uintptr_t)data, len};
}

/* Creates the index of the options under their key; deletes it. */
bool network_create(struct bench *b);
bool network_delete(struct bench *b);
/* Loads the base, and waits until it is linked. */
bool network_load(struct bench *b);
/* Waits until all whole batches are linked. *end_ns: when that was. */
bool network_wait_linked(struct bench *b, uint64_t *end_ns);
/* Searches at each EF, as often as --repeat says. */
bool network_search(struct bench *b);

/* Searches as one job of traffic. */
struct search_load {
    struct traffic *traffic;
    unsigned ef;
    size_t requests;         /* at most */
    uint64_t end_ns;         /* of clock_mono_ns; 0: when all are answered */
    const atomic_bool *stop; /* ends it, too; NULL */
    size_t warm;             /* latencies of so many first ones do not count */
};
bool network_search_run(const struct bench *b, const struct search_load *load,
                        struct search_result *out);

/* VADDs of some rows of the base as one job of traffic. */
struct write_load {
    struct traffic *traffic;
    size_t first, count; /* rows, at most */
    uint64_t end_ns;     /* of clock_mono_ns; 0: when all are answered */
    double rate;         /* a second, at most; 0: as fast as they are answered */
};
bool network_write_run(struct bench *b, const struct write_load *load, size_t *written,
                       double *seconds);

#endif
