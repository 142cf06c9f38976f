/* Attributes: the input as a text that is stored (what comes of it is sound, and gives the text back), and as a stored form
 * that came from a file (what is found sound can be read all over). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/filter.h"

static const char *const expressions[] = {".a == 1 or 'x' in .b", ".c.d.e < 3 or exists(.c.c) or 1 in .a", ".b == .a"};
static struct vs_filter *filters[3];

static void read_all(const void *stored)
{
    struct filter_scratch scratch = {0};
    for (size_t i = 0; i < 3; i++)
        filter_match(filters[i], stored, &scratch);
    filter_scratch_release(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vs_filter_error error;
    for (size_t i = 0; i < 3; i++)
        if (!filters[i] && vs_filter_new(expressions[i], strlen(expressions[i]), VS_FILTER_RICH, &filters[i], &error) != VS_OK)
            abort();
    void *stored = attr_new(data, size);
    size_t len, bytes = attr_bytes(stored);
    if (attr_stored_bytes(stored, bytes) != bytes || attr_stored_bytes(stored, bytes - 1) != 0)
        abort();
    const void *text = attr_text(stored, &len);
    if (len != size || (len && memcmp(text, data, len) != 0))
        abort();
    read_all(stored);
    mem_free(stored);
    uint8_t *copy = malloc(size ? size : 1); /* of just this size, so that a byte too far is seen */
    if (size)
        memcpy(copy, data, size);
    bytes = attr_stored_bytes(copy, size);
    if (bytes > size)
        abort();
    if (bytes)
        read_all(copy);
    free(copy);
    return 0;
}
