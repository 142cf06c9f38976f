/* What the network mode's own files share. */
#ifndef BENCHMARK_NETWORK_IN_H
#define BENCHMARK_NETWORK_IN_H

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

/* Loads the base, and waits until it is linked. */
bool network_load(struct bench *b);
/* Searches at each EF, as often as --repeat says. */
bool network_search(struct bench *b);

#endif
