/* What the benchmark makes of any bytes a server might send. */
#include <stdint.h>
#include <stdlib.h>

#include "benchmark/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const char *p = (const char *)data, *text;
    int32_t rows[16];
    size_t text_len;
    long whole = reply_length(p, len);

    if (whole > 0) {
        if ((size_t)whole > len || (reply_length(p, (size_t)whole) != whole))
            abort();
        if (reply_rows(p, (size_t)whole, rows, 16) > 16)
            abort();
        if (reply_error(p, (size_t)whole, &text, &text_len) &&
            (text < p || text + text_len > p + whole))
            abort();
    }
    return 0;
}
