/* A stream of bytes from a file, decompressed on the way where it is a zstd file. Part of vecfile.
 */
#ifndef BENCHMARK_VECSTREAM_H
#define BENCHMARK_VECSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

struct vecstream;

/* Borrows `file`. NULL: out of memory. */
struct vecstream *vecstream_new(FILE *file, bool zstd);
void vecstream_free(struct vecstream *s);
/* Reads up to `len` bytes into `out` (blocking until it has them or the end is reached): *got of
 * them. VS_IO (errno), VS_CORRUPT (a damaged or truncated frame). */
enum vs_status vecstream_read(struct vecstream *s, void *out, size_t len, size_t *got);
/* Bytes handed out so far. */
uint64_t vecstream_offset(const struct vecstream *s);
/* Why the last read failed. */
const char *vecstream_reason(const struct vecstream *s);

#endif
