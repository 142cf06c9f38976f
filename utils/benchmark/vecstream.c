/* See vecstream.h. A window of at most 128 MiB is accepted (zstd's own default for a decoder): a
 * frame that asks for more is refused by the library. Several frames in a row, as `cat a.zst b.zst`
 * makes them, are one stream. */
#include "benchmark/vecstream.h"

#include <errno.h>
#include <string.h>
#include <zstd.h>

#include "base/mem.h"

#define INPUT_BYTES (256u << 10)

struct vecstream {
    FILE *file;
    ZSTD_DStream *zstd;
    bool in_frame; /* the frame begun is not complete */
    uint64_t offset;
    const char *reason;
    ZSTD_inBuffer in;
    unsigned char *input;
};

struct vecstream *vecstream_new(FILE *file, bool zstd)
{
    struct vecstream *s = mem_try_zalloc(sizeof *s);

    if (!s)
        return NULL;
    s->file = file;
    s->reason = "";
    if (zstd) {
        s->input = mem_try_alloc(INPUT_BYTES);
        s->zstd = ZSTD_createDStream();
        if (!s->input || !s->zstd || ZSTD_isError(ZSTD_initDStream(s->zstd))) {
            vecstream_free(s);
            return NULL;
        }
        s->in.src = s->input;
    }
    return s;
}

void vecstream_free(struct vecstream *s)
{
    if (!s)
        return;
    ZSTD_freeDStream(s->zstd);
    mem_free(s->input);
    mem_free(s);
}

static enum vs_status fail(struct vecstream *s, enum vs_status status, const char *reason)
{
    s->reason = reason;
    return status;
}

static enum vs_status read_plain(struct vecstream *s, void *out, size_t len, size_t *got)
{
    size_t n;

    errno = 0;
    n = fread(out, 1, len, s->file);
    if (n < len && ferror(s->file))
        return fail(s, VS_IO, strerror(errno ? errno : EIO));
    s->offset += n;
    *got = n;
    return VS_OK;
}

/* Fills the input buffer once it is used up; `*end` when the file has no more. */
static enum vs_status refill(struct vecstream *s, bool *end)
{
    *end = false;
    if (s->in.pos < s->in.size)
        return VS_OK;
    errno = 0;
    s->in.size = fread(s->input, 1, INPUT_BYTES, s->file);
    s->in.pos = 0;
    if (s->in.size < INPUT_BYTES && ferror(s->file))
        return fail(s, VS_IO, strerror(errno ? errno : EIO));
    *end = s->in.size == 0;
    return VS_OK;
}

static enum vs_status read_zstd(struct vecstream *s, void *data, size_t len, size_t *got)
{
    ZSTD_outBuffer out = {.dst = data, .size = len};

    while (out.pos < out.size) {
        size_t before = out.pos, left;
        bool end;
        enum vs_status status = refill(s, &end);

        if (status != VS_OK)
            return status;
        if (end && !s->in_frame)
            break;
        /* At the end of the file a call without input flushes what the decoder still holds. */
        left = ZSTD_decompressStream(s->zstd, &out, &s->in);
        if (ZSTD_isError(left))
            return fail(s, VS_CORRUPT, ZSTD_getErrorName(left));
        s->in_frame = left != 0;
        if (end && s->in_frame && out.pos == before)
            return fail(s, VS_CORRUPT, "the compressed data ends in the middle of a frame");
    }
    s->offset += out.pos;
    *got = out.pos;
    return VS_OK;
}

enum vs_status vecstream_read(struct vecstream *s, void *out, size_t len, size_t *got)
{
    return s->zstd ? read_zstd(s, out, len, got) : read_plain(s, out, len, got);
}

uint64_t vecstream_offset(const struct vecstream *s)
{
    return s->offset;
}

const char *vecstream_reason(const struct vecstream *s)
{
    return s->reason;
}
