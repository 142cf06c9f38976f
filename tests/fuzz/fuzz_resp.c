/* The reader of commands: what it finds in a stream does not depend on how the stream arrives. The
 * first bytes of the input choose the client's state and where the stream is cut. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/rng.h"
#include "resp/resp.h"

#define HEAD 4

static const struct resp_limits limits = {
    .bulk_max = 100000, .inline_max = 1024, .args_max = 1000, .unauth_bulk_max = 64
};

/* Commands, then the error, to `out`; in one piece without `rng`. */
static void feed(const uint8_t *stream, size_t len, struct rng *rng, bool authenticated,
                 struct buf *out)
{
    struct resp_reader r = { 0 };
    size_t begin = 0, have = rng ? 0 : len, used;
    for (;;) {
        size_t piece = have - begin;
        char *block = malloc(piece ? piece : 1);
        memcpy(block, stream + begin, piece);
        enum resp_result got = resp_read(&r, block, piece, &limits, authenticated, &used);
        if (got == RESP_COMMAND) {
            if (!used || used > piece || !r.argc)
                abort();
            for (size_t i = 0; i < r.argc; i++) {
                buf_printf(out, "%zu:", r.argv[i].len);
                buf_append(out, r.argv[i].data, r.argv[i].len);
            }
            buf_append(out, "\n", 1);
            begin += used;
        } else if (got == RESP_ERROR) {
            buf_puts(out, r.error);
        } else if (r.need == 0 || r.need > limits.bulk_max + 2) {
            abort();
        }
        free(block);
        if (got == RESP_ERROR || (got == RESP_MORE && have == len))
            break;
        if (got == RESP_MORE)
            have += 1 + rng_below(rng, rng_below(rng, 4) ? 3 : len - have);
        if (have > len)
            have = len;
    }
    resp_reader_release(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD)
        return 0;
    struct rng rng = { 0 };
    memcpy(&rng.state, data, HEAD);
    bool authenticated = data[0] & 1;
    struct buf whole = { 0 }, pieces = { 0 };
    feed(data + HEAD, size - HEAD, NULL, authenticated, &whole);
    feed(data + HEAD, size - HEAD, &rng, authenticated, &pieces);
    if (whole.len != pieces.len || (whole.len && memcmp(whole.data, pieces.data, whole.len) != 0))
        abort();
    buf_release(&whole);
    buf_release(&pieces);
    return 0;
}
