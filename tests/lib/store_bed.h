/* What the unit tests of the store share: making one, filling and emptying an index with elements whose ids are
 * numbers, waiting and checking. One thread. */
#ifndef LIB_STORE_BED_H
#define LIB_STORE_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "store/store_int.h"

#define DIM 6

static inline struct vs_store *open_store(unsigned threads)
{
    struct vs_store *store;
    assert_int_equal(vs_open(&(struct vs_options){.threads = threads, .databases = 3}, &store), VS_OK);
    return store;
}

static inline struct vs_index *create(struct vs_store *store, const char *key, const struct vs_index_options *o)
{
    struct vs_index *index;
    assert_int_equal(vs_create(store, 0, key, strlen(key), o, &index), VS_OK);
    return index;
}

static inline void numbered(struct rng *rng, float *out, uint32_t dim)
{
    for (uint32_t i = 0; i < dim; i++)
        out[i] = (float)(rng_unit(rng) * 2 - 1);
}

static inline enum vs_status put(struct vs_index *index, const void *id, size_t len, const float *vector)
{
    enum vs_status status;
    while ((status = vs_add(index, &(struct vs_element){.id = id, .id_len = len, .vector = vector}, VS_ADD_ANY, NULL)) == VS_BACKLOG)
        vs_poll(index->store, 1000);
    return status;
}

static inline void fill(struct vs_index *index, uint32_t from, uint32_t to)
{
    uint32_t dim = vs_index_options(index)->dim;
    for (uint32_t i = from; i < to; i++) {
        struct rng rng = {i};
        float vector[64];
        numbered(&rng, vector, dim);
        assert_int_equal(put(index, &i, sizeof(i), vector), VS_OK);
    }
}

static inline void drain(struct vs_index *index, uint32_t from, uint32_t to, uint32_t step)
{
    for (uint32_t i = from; i < to; i += step)
        assert_int_equal(vs_delete(index, &i, sizeof(i)), VS_OK);
}

static inline uint32_t number_of(const struct vs_hit *hit)
{
    size_t len;
    uint32_t n;
    const void *id = vs_hit_id(hit, &len);
    assert_int_equal(len, sizeof(n));
    memcpy(&n, id, sizeof(n));
    return n;
}

static inline void settle(struct vs_store *store)
{
    assert_int_equal(vs_settle(store, 60000), VS_OK);
    const char *wrong = store_check(store);
    if (wrong)
        print_error("%s\n", wrong);
    assert_null(wrong);
}

#endif
