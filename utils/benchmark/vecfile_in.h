/* What vecfile's own files share. */
#ifndef BENCHMARK_VECFILE_IN_H
#define BENCHMARK_VECFILE_IN_H

#include <stdarg.h>
#include <stdbool.h>

#include "benchmark/vecfile.h"
#include "benchmark/vecstream.h"

enum component { COMPONENT_F32, COMPONENT_F16, COMPONENT_U8, COMPONENT_I8, COMPONENT_I32 };

/* One file being read: where it comes from, and where the message goes. */
struct reading {
    const char *name;
    struct vecstream *stream;
    char *message;
};

/* Writes "<file>: byte <offset>: <reason>" into the message and returns `status`. */
enum vs_status reading_refuse(const struct reading *r, enum vs_status status, uint64_t offset,
                              const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Exactly `len` bytes; fewer are refused as truncation of `what`. */
enum vs_status reading_exact(const struct reading *r, void *out, size_t len, const char *what);

/* What the header of an npy file says. */
struct npy_shape {
    enum component component;
    size_t rows, cols;
};
enum vs_status npy_read_header(const struct reading *r, struct npy_shape *out);

#endif
