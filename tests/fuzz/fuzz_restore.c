/* RESTORE's bytes: as they are, and with their sums made right. What is taken makes an index that can be searched, and that
 * gives the same bytes again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "vecstore.h"

#define DIM_MAX 256 /* wider ones and many partitions take time, and show nothing more */

static struct vs_store *store;

static struct vs_index *load(const uint8_t *data, size_t size)
{
    struct vs_loading *l;
    struct vs_index *index = NULL;
    if (vs_loading_new(store, 0, "k", 1, &l) != VS_OK)
        abort();
    enum vs_status status = vs_loading_some(l, data, size, UINT64_MAX);
    if (status != VS_OK && status != VS_CORRUPT)
        abort();
    if (status == VS_OK && vs_loading_attach(l, data, size, 0, &index) != VS_OK)
        abort();
    vs_loading_free(l);
    return index;
}

static void use(struct vs_index *index, const uint8_t *data, size_t size)
{
    struct vs_dump d = {.uid = vs_index_uid(index)};
    struct buf again = {0};
    float zero[DIM_MAX] = {0};
    struct vs_hit hits[4];
    size_t n;
    struct vs_reader *reader = vs_reader_new(store);
    if (vs_search_now(reader, index, &(struct vs_query){.vector = zero, .k = 4}, hits, 4, &n) != VS_OK)
        abort();
    vs_reader_idle(reader);
    vs_reader_free(reader);
    if (vs_dump_some(store, &d, &again, UINT64_MAX) != VS_OK)
        abort();
    if (again.len > size || vs_index_count(index) > size || !data)
        abort();
    buf_release(&again);
}

/* In pieces, as a journal has them: no other verdict. */
static struct vs_index *load_pieces(const uint8_t *data, size_t size, size_t piece)
{
    struct vs_effect e = {.kind = VS_PIECE, .key = "p", .key_len = 1, .total = size};
    enum vs_status status = VS_OK;
    for (; e.offset < size && status == VS_OK; e.offset += e.attributes_len) {
        e.attributes = data + e.offset;
        e.attributes_len = size - e.offset < piece ? size - e.offset : piece;
        status = vs_apply(store, &e);
    }
    if (status == VS_OK)
        status = vs_apply(store, &(struct vs_effect){.kind = VS_RESTORE, .key = "p", .key_len = 1});
    if (status != VS_OK && status != VS_CORRUPT)
        abort();
    return status == VS_OK ? vs_find(store, 0, "p", 1) : NULL;
}

static void try(const uint8_t *data, size_t size)
{
    struct vs_index *index = load(data, size), *pieces = load_pieces(data, size, 1 + size / 5);
    if (!index != !pieces)
        abort();
    if (index) {
        use(index, data, size);
        use(pieces, data, size);
        if (vs_remove(store, 0, "k", 1) != VS_OK || vs_remove(store, 0, "p", 1) != VS_OK)
            abort();
    }
    vs_poll(store, 1000);
}

static void sum_again(uint8_t *data, size_t size)
{
    uint64_t sum = 0;
    size_t end = size - sizeof(sum), at = 0;
    for (; end - at >= 65536; at += 65536)
        sum = hash_bytes(data + at, 65536, sum + 65536);
    sum = hash_bytes(data + at, end - at, sum + (end - at));
    memcpy(data + end, &sum, sizeof(sum));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!store && vs_open(&(struct vs_options){.databases = 1}, &store) != VS_OK)
        abort();
    try(data, size);
    if (size < 72)
        return 0;
    uint8_t *copy = malloc(size);
    uint32_t dim, parts;
    memcpy(copy, data, size);
    memcpy(copy, "VSDUMP\1\0", 8);
    memcpy(&dim, copy + 8, sizeof(dim));
    memcpy(&parts, copy + 32, sizeof(parts));
    if (dim <= DIM_MAX && parts <= 8) {
        sum_again(copy, size);
        try(copy, size);
    }
    free(copy);
    return 0;
}
