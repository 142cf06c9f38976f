/* See vecfile.h. A row's bytes are read into a scratch buffer, then widened into the result, which
 * grows by half as much again as rows prove to be there: a header that promises terabytes costs
 * nothing until the bytes arrive. */
#include "benchmark/vecfile.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "benchmark/vecfile_in.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "the files are little-endian and so must be the machine");

/* A result of either kind while it grows: both are rows of four-byte components. */
struct matrix {
    bool floats;
    size_t rows, cols, capacity; /* capacity in rows */
    uint32_t *data;
};

struct format {
    bool npy, zstd;
    enum component component;
};

static const size_t component_bytes[] = {[COMPONENT_F32] = 4,
                                         [COMPONENT_F16] = 2,
                                         [COMPONENT_U8] = 1,
                                         [COMPONENT_I8] = 1,
                                         [COMPONENT_I32] = 4};

void vecfile_floats_release(struct vecfile_floats *m)
{
    mem_free(m->data);
    *m = (struct vecfile_floats){0};
}

void vecfile_ints_release(struct vecfile_ints *m)
{
    mem_free(m->data);
    *m = (struct vecfile_ints){0};
}

enum vs_status reading_refuse(const struct reading *r, enum vs_status status, uint64_t offset,
                              const char *fmt, ...)
{
    int n = snprintf(r->message, VECFILE_MESSAGE_MAX, "%.200s: byte %llu: ", r->name,
                     (unsigned long long)offset);
    va_list args;

    if (n < 0 || n >= VECFILE_MESSAGE_MAX)
        return status;
    va_start(args, fmt);
    vsnprintf(r->message + n, VECFILE_MESSAGE_MAX - (size_t)n, fmt, args);
    va_end(args);
    return status;
}

/* Up to `len` bytes, failures turned into messages. */
static enum vs_status reading_some(const struct reading *r, void *out, size_t len, size_t *got)
{
    enum vs_status status = vecstream_read(r->stream, out, len, got);

    if (status != VS_OK)
        return reading_refuse(r, status, vecstream_offset(r->stream), "%s",
                              vecstream_reason(r->stream));
    return VS_OK;
}

enum vs_status reading_exact(const struct reading *r, void *out, size_t len, const char *what)
{
    size_t got;
    enum vs_status status = reading_some(r, out, len, &got);

    if (status != VS_OK)
        return status;
    if (got < len)
        return reading_refuse(r, VS_CORRUPT, vecstream_offset(r->stream),
                              "the file ends within %s (%zu of %zu bytes)", what, got, len);
    return VS_OK;
}

static bool ends_with(const char *name, size_t len, const char *end)
{
    size_t n = strlen(end);

    return len >= n && strncasecmp(name + len - n, end, n) == 0;
}

static bool format_of(const char *name, struct format *out)
{
    size_t len = strlen(name);

    *out = (struct format){0};
    if (ends_with(name, len, ".zst")) {
        out->zstd = true;
        len -= 4;
    }
    if (ends_with(name, len, ".fvecs"))
        out->component = COMPONENT_F32;
    else if (ends_with(name, len, ".bvecs"))
        out->component = COMPONENT_U8;
    else if (ends_with(name, len, ".ivecs"))
        out->component = COMPONENT_I32;
    else if (ends_with(name, len, ".npy"))
        out->npy = true;
    else
        return false;
    return true;
}

static float half_to_float(uint16_t h)
{
    unsigned exponent = h >> 10 & 31, mantissa = h & 1023;
    float magnitude;

    if (exponent == 31)
        magnitude = mantissa ? NAN : INFINITY;
    else if (exponent == 0)
        magnitude = (float)mantissa * 0x1p-24f;
    else
        magnitude = ldexpf((float)(mantissa + 1024), (int)exponent - 25);
    return h & 0x8000 ? -magnitude : magnitude;
}

static double component_at(const unsigned char *raw, enum component component, size_t i)
{
    float f;
    uint16_t h;
    int32_t w;

    switch (component) {
    case COMPONENT_F32: memcpy(&f, raw + 4 * i, 4); return (double)f;
    case COMPONENT_F16: memcpy(&h, raw + 2 * i, 2); return (double)half_to_float(h);
    case COMPONENT_U8: return raw[i];
    case COMPONENT_I8: return (int8_t)raw[i];
    default: memcpy(&w, raw + 4 * i, 4); return w;
    }
}

/* Widens one row. The column of the first component that is not finite, or cols. */
static size_t widen(const unsigned char *raw, enum component component, struct matrix *m)
{
    uint32_t *out = m->data + m->rows * m->cols;

    for (size_t i = 0; i < m->cols; i++) {
        double x = component_at(raw, component, i);
        float f = (float)x;
        int32_t w;

        if (!isfinite(f))
            return i;
        if (m->floats) {
            memcpy(out + i, &f, 4);
        } else {
            w = (int32_t)x;
            memcpy(out + i, &w, 4);
        }
    }
    return m->cols;
}

/* Room for one more row. */
static enum vs_status matrix_grow(const struct reading *r, struct matrix *m,
                                  const struct vecfile_limits *limits, uint64_t at)
{
    size_t rows, bytes, row_bytes = m->cols * 4;
    uint32_t *data;

    if (limits->max_bytes && (m->rows + 1) > limits->max_bytes / row_bytes)
        return reading_refuse(r, VS_LIMIT, at,
                              "more than the %zu bytes of vectors that are accepted here",
                              limits->max_bytes);
    if (m->rows < m->capacity)
        return VS_OK;
    rows = m->capacity + m->capacity / 2 + ((64u << 10) / row_bytes + 1);
    if (limits->max_rows && rows > limits->max_rows)
        rows = limits->max_rows;
    data = mem_mul(rows, row_bytes, &bytes) ? mem_try_realloc(m->data, bytes) : NULL;
    if (!data)
        return reading_refuse(r, VS_NOMEM, at, "no memory for %zu vectors of %zu components", rows,
                              m->cols);
    m->data = data;
    m->capacity = rows;
    return VS_OK;
}

static enum vs_status read_row(const struct reading *r, enum component component,
                               const struct vecfile_limits *limits, unsigned char *raw,
                               struct matrix *m)
{
    size_t bad;
    uint64_t at = vecstream_offset(r->stream);
    enum vs_status status = matrix_grow(r, m, limits, at);

    if (status == VS_OK)
        status = reading_exact(r, raw, m->cols * component_bytes[component], "a row");
    if (status != VS_OK)
        return status;
    if ((bad = widen(raw, component, m)) < m->cols)
        return reading_refuse(r, VS_NONFINITE, at + bad * component_bytes[component],
                              "row %zu, component %zu is NaN or infinite", m->rows, bad);
    m->rows++;
    return VS_OK;
}

/* The count before a row of TEXMEX; *end where the file ends instead. */
static enum vs_status read_count(const struct reading *r, struct matrix *m, bool *end)
{
    uint64_t at = vecstream_offset(r->stream);
    int32_t count;
    size_t got;
    enum vs_status status = reading_some(r, &count, sizeof count, &got);

    if (status != VS_OK)
        return status;
    *end = got == 0;
    if (*end)
        return VS_OK;
    if (got < sizeof count)
        return reading_refuse(r, VS_CORRUPT, at, "the file ends within the count of row %zu",
                              m->rows);
    if (count < 1 || count > VECFILE_DIM_MAX)
        return reading_refuse(r, VS_CORRUPT, at, "row %zu has %d components (1 to %d are accepted)",
                              m->rows, count, VECFILE_DIM_MAX);
    if (m->rows > 0 && (size_t)count != m->cols)
        return reading_refuse(r, VS_CORRUPT, at,
                              "row %zu has %d components, the rows before it %zu", m->rows, count,
                              m->cols);
    m->cols = (size_t)count;
    return VS_OK;
}

static enum vs_status read_texmex(const struct reading *r, enum component component,
                                  const struct vecfile_limits *limits, struct matrix *m)
{
    unsigned char *raw = NULL;
    enum vs_status status = VS_OK;
    bool end = false;

    while (!(limits->max_rows && m->rows >= limits->max_rows)) {
        if ((status = read_count(r, m, &end)) != VS_OK || end)
            break;
        if (!raw && !(raw = mem_try_alloc(m->cols * component_bytes[component]))) {
            status = reading_refuse(r, VS_NOMEM, 0, "no memory for a row");
            break;
        }
        if ((status = read_row(r, component, limits, raw, m)) != VS_OK)
            break;
    }
    mem_free(raw);
    if (status == VS_OK && m->rows == 0)
        return reading_refuse(r, VS_CORRUPT, 0, "no vectors in it");
    return status;
}

static enum vs_status read_npy(const struct reading *r, const struct vecfile_limits *limits,
                               struct matrix *m)
{
    struct npy_shape shape = {0};
    unsigned char *raw, extra;
    size_t wanted, got, total;
    enum vs_status status = npy_read_header(r, &shape);

    if (status != VS_OK)
        return status;
    if (shape.cols < 1 || shape.cols > VECFILE_DIM_MAX || shape.rows < 1 ||
        !mem_mul(shape.rows, shape.cols * 4, &total))
        return reading_refuse(r, VS_CORRUPT, vecstream_offset(r->stream),
                              "a matrix of %zu rows and %zu columns (1 to %d columns are accepted)",
                              shape.rows, shape.cols, VECFILE_DIM_MAX);
    if (!m->floats && (shape.component == COMPONENT_F32 || shape.component == COMPONENT_F16))
        return reading_refuse(r, VS_CORRUPT, 0,
                              "whole numbers are needed and the file holds floats");
    raw = mem_try_alloc(shape.cols * component_bytes[shape.component]);
    if (!raw)
        return reading_refuse(r, VS_NOMEM, 0, "no memory for a row");
    m->cols = shape.cols;
    wanted = limits->max_rows && limits->max_rows < shape.rows ? limits->max_rows : shape.rows;
    while (status == VS_OK && m->rows < wanted)
        status = read_row(r, shape.component, limits, raw, m);
    if (status == VS_OK && wanted == shape.rows &&
        (status = reading_some(r, &extra, 1, &got)) == VS_OK && got)
        status = reading_refuse(r, VS_CORRUPT, vecstream_offset(r->stream) - 1,
                                "bytes follow the %zu rows of the header", shape.rows);
    mem_free(raw);
    return status;
}

static enum vs_status read_matrix(FILE *file, const char *name, const struct vecfile_limits *limits,
                                  struct matrix *m, char *message)
{
    static const struct vecfile_limits none = {0};
    struct reading r = {.name = name, .message = message};
    struct format format;
    enum vs_status status;

    if (!format_of(name, &format)) {
        snprintf(
            message, VECFILE_MESSAGE_MAX,
            "%.200s: the name does not end in .fvecs, .bvecs, .ivecs or .npy (each also with .zst)",
            name);
        return VS_INVALID;
    }
    if (!m->floats && !format.npy && format.component == COMPONENT_F32) {
        snprintf(message, VECFILE_MESSAGE_MAX,
                 "%.200s: whole numbers are needed (.ivecs, .bvecs or .npy)", name);
        return VS_INVALID;
    }
    r.stream = vecstream_new(file, format.zstd);
    if (!r.stream)
        return reading_refuse(&r, VS_NOMEM, 0, "no memory to read it");
    status = format.npy ? read_npy(&r, limits ? limits : &none, m)
                        : read_texmex(&r, format.component, limits ? limits : &none, m);
    vecstream_free(r.stream);
    if (status != VS_OK) {
        mem_free(m->data);
        m->data = NULL;
    }
    return status;
}

enum vs_status vecfile_read_floats_from(FILE *file, const char *name,
                                        const struct vecfile_limits *limits,
                                        struct vecfile_floats *out, char *message)
{
    struct matrix m = {.floats = true};
    enum vs_status status = read_matrix(file, name, limits, &m, message);

    if (status == VS_OK)
        *out = (struct vecfile_floats){.rows = m.rows, .cols = m.cols, .data = (float *)m.data};
    return status;
}

enum vs_status vecfile_read_ints_from(FILE *file, const char *name,
                                      const struct vecfile_limits *limits, struct vecfile_ints *out,
                                      char *message)
{
    struct matrix m = {.floats = false};
    enum vs_status status = read_matrix(file, name, limits, &m, message);

    if (status == VS_OK)
        *out = (struct vecfile_ints){.rows = m.rows, .cols = m.cols, .data = (int32_t *)m.data};
    return status;
}

static FILE *open_for(const char *path, const char *mode, char *message)
{
    FILE *file = fopen(path, mode);

    if (!file)
        snprintf(message, VECFILE_MESSAGE_MAX, "%.200s: %s", path, strerror(errno));
    return file;
}

enum vs_status vecfile_read_floats(const char *path, const struct vecfile_limits *limits,
                                   struct vecfile_floats *out, char *message)
{
    FILE *file = open_for(path, "rb", message);
    enum vs_status status;

    if (!file)
        return VS_IO;
    status = vecfile_read_floats_from(file, path, limits, out, message);
    fclose(file);
    return status;
}

enum vs_status vecfile_read_ints(const char *path, const struct vecfile_limits *limits,
                                 struct vecfile_ints *out, char *message)
{
    FILE *file = open_for(path, "rb", message);
    enum vs_status status;

    if (!file)
        return VS_IO;
    status = vecfile_read_ints_from(file, path, limits, out, message);
    fclose(file);
    return status;
}

static enum vs_status write_rows(const char *path, const void *data, size_t rows, size_t cols,
                                 char *message)
{
    const char *at = data;
    int32_t count = (int32_t)cols;
    FILE *file = open_for(path, "wb", message);
    bool good = true;

    if (!file)
        return VS_IO;
    for (size_t i = 0; good && i < rows; i++)
        good = fwrite(&count, sizeof count, 1, file) == 1 &&
               fwrite(at + i * cols * 4, 4, cols, file) == cols;
    good = fclose(file) == 0 && good;
    if (good)
        return VS_OK;
    snprintf(message, VECFILE_MESSAGE_MAX, "%.200s: %s", path, strerror(errno));
    unlink(path);
    return VS_IO;
}

enum vs_status vecfile_write_fvecs(const char *path, const float *data, size_t rows, size_t cols,
                                   char *message)
{
    return write_rows(path, data, rows, cols, message);
}

enum vs_status vecfile_write_ivecs(const char *path, const int32_t *data, size_t rows, size_t cols,
                                   char *message)
{
    return write_rows(path, data, rows, cols, message);
}
