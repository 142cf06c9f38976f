/* Expressions: the first byte chooses the mode, the rest is one. What is understood is evaluated for a few documents and
 * compiles again to the same answer; what is not is refused at a place within it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/filter.h"

static const char *const documents[] = {
    "{}", "not json",
    "{\"a\":1,\"b\":\"text\",\"c\":[1,\"x\",null,true],\"d\":null,\"e\":{\"f\":{\"g\":2}},\"h\":true,\"a-b\":\"5\",\"i\":\"\"}",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vs_filter *f, *again;
    struct vs_filter_error error = {0};
    if (!size)
        return 0;
    enum vs_filter_mode mode = data[0] & 1 ? VS_FILTER_VSIM : VS_FILTER_RICH;
    const char *text = (const char *)data + 1;
    enum vs_status status = vs_filter_new(text, size - 1, mode, &f, &error);
    if (status != VS_OK) {
        if ((status != VS_INVALID && status != VS_LIMIT) || !error.what || error.at > size - 1)
            abort();
        return 0;
    }
    if (vs_filter_new(text, size - 1, mode, &again, &error) != VS_OK)
        abort();
    struct filter_scratch scratch = {0};
    for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
        void *stored = attr_new(documents[i], strlen(documents[i]));
        if (filter_match(f, stored, &scratch) != filter_match(again, stored, &scratch))
            abort();
        mem_free(stored);
    }
    filter_match(f, NULL, &scratch);
    filter_scratch_release(&scratch);
    vs_filter_unref(f);
    vs_filter_unref(again);
    return 0;
}
