/* Files of vectors: fvecs, bvecs, ivecs (TEXMEX), npy (NumPy), and any of them compressed by zstd
 * (.zst).
 *
 *   fvecs, bvecs, ivecs:  rows of | count i32 | count components: f32, u8, i32 |, little-endian;
 *                          every row has one count
 *   npy:                   | \x93NUMPY | major u8 | minor u8 | header length u16 (u32 from version
 *                          2) | header | components |; read here: two dimensions, C order,
 *                          little-endian f4, f2, u1, i1, i4
 *
 * What a file is, its name says. It is read as a stream, so that a compressed file is never whole
 * in memory beside what it decodes to. A file's content is never trusted: counts out of range, rows
 * of unlike length, a size that the data does not bear out, a truncated row, a damaged frame,
 * components that are NaN or infinite, and more than `max_bytes` of result are each refused with a
 * message that names file, offset (of the decompressed bytes) and reason. Any thread; no shared
 * state. */
#ifndef BENCHMARK_VECFILE_H
#define BENCHMARK_VECFILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

#define VECFILE_DIM_MAX 65536
#define VECFILE_MESSAGE_MAX 512

struct vecfile_limits {
    size_t max_rows;  /* stop after so many rows; 0: all */
    size_t max_bytes; /* of the result; more is refused; 0: no limit */
};

/* Row-major; owned by whoever holds it, vecfile_*_release frees. */
struct vecfile_floats {
    size_t rows, cols;
    float *data;
};
struct vecfile_ints {
    size_t rows, cols;
    int32_t *data;
};
void vecfile_floats_release(struct vecfile_floats *m);
void vecfile_ints_release(struct vecfile_ints *m);

/* Any of the formats, components as floats. VS_IO, VS_CORRUPT, VS_LIMIT, VS_NOMEM, VS_INVALID (a
 * name without a known ending), with the reason in `message` (VECFILE_MESSAGE_MAX bytes). On
 * failure `out` is untouched. */
enum vs_status vecfile_read_floats(const char *path, const struct vecfile_limits *limits,
                                   struct vecfile_floats *out, char *message);
/* The formats of whole numbers: bvecs, ivecs, npy of u1, i1, i4. */
enum vs_status vecfile_read_ints(const char *path, const struct vecfile_limits *limits,
                                 struct vecfile_ints *out, char *message);
/* The same from an open stream whose format the file name `name` tells. The stream stays the
 * caller's. */
enum vs_status vecfile_read_floats_from(FILE *file, const char *name,
                                        const struct vecfile_limits *limits,
                                        struct vecfile_floats *out, char *message);
enum vs_status vecfile_read_ints_from(FILE *file, const char *name,
                                      const struct vecfile_limits *limits, struct vecfile_ints *out,
                                      char *message);

/* Writes fvecs and ivecs. VS_IO with a message; a file half written is removed. */
enum vs_status vecfile_write_fvecs(const char *path, const float *data, size_t rows, size_t cols,
                                   char *message);
enum vs_status vecfile_write_ivecs(const char *path, const int32_t *data, size_t rows, size_t cols,
                                   char *message);

#endif
