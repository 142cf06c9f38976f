#include "lib/driver.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

#define KEYS 3
#define IDS 4000
#define DIM_MAX 12

/* The database that an index is in. */
static unsigned index_db(const struct driver *d, const struct vs_index *index)
{
    size_t len;
    const char *key = vs_index_key(index, &len);
    for (unsigned db = 0; db < DRIVER_DATABASES; db++)
        if (vs_find(d->store, db, key, len) == index)
            return db;
    return 0;
}

static void random_key(struct driver *d, char *out)
{
    snprintf(out, 16, "key-%u", (unsigned)rng_below(&d->rng, KEYS));
}

/* Most commands go to one key, so that it has a graph, repairs and compactions. */
static struct vs_index *random_index(struct driver *d)
{
    char key[16] = "key-1";
    if (rng_below(&d->rng, 4))
        return vs_find(d->store, 0, key, 5);
    random_key(d, key);
    return vs_find(d->store, (unsigned)rng_below(&d->rng, DRIVER_DATABASES), key, strlen(key));
}

static void random_vector(struct rng *rng, float *out, uint32_t dim)
{
    for (uint32_t i = 0; i < dim; i++)
        out[i] = (float)(int)rng_below(rng, 9) - 4; /* many equal ones */
}

static enum vs_status create(struct driver *d)
{
    char key[16];
    struct vs_index *index;
    struct vs_index_options o = {
        .dim = 1 + (uint32_t)rng_below(&d->rng, DIM_MAX),
        .metric = (enum vec_metric)rng_below(&d->rng, VEC_METRICS),
        .type = rng_below(&d->rng, 3) ? VEC_Q8 : (enum vec_type)rng_below(&d->rng, VEC_TYPES),
        .structure = !d->faults && rng_below(&d->rng, 5) ? VS_HNSW : VS_FLAT,
        .m = 4 + (uint32_t)rng_below(&d->rng, 3),
        .ef_construction = 16,
        .partitions = rng_below(&d->rng, 2) ? 1 : 1 + (uint32_t)rng_below(&d->rng, 4),
        .keep_empty = rng_below(&d->rng, 2),
        .map = (enum vs_map)rng_below(&d->rng, 3),
        .input_dim = rng_below(&d->rng, 3) ? 0 : DIM_MAX + (uint32_t)rng_below(&d->rng, 9),
    };
    random_key(d, key);
    return vs_create(d->store, (unsigned)rng_below(&d->rng, DRIVER_DATABASES), key, strlen(key), &o, &index);
}

static enum vs_status rename_key(struct driver *d)
{
    char from[16], to[16];
    random_key(d, from);
    random_key(d, to);
    return vs_rename(d->store, (unsigned)rng_below(&d->rng, DRIVER_DATABASES), from, strlen(from), to, strlen(to));
}

/* As RESTORE of what DUMP gives, to a name that may be taken. */
static enum vs_status copy_index(struct driver *d, struct vs_index *index)
{
    struct vs_dump dump = {.uid = vs_index_uid(index)};
    struct buf block = {0};
    struct vs_loading *l = NULL;
    char to[16];
    unsigned db = (unsigned)rng_below(&d->rng, DRIVER_DATABASES);
    random_key(d, to);
    enum vs_status status;
    do
        status = vs_dump_some(d->store, &dump, &block, rng_below(&d->rng, 2) ? 0 : UINT64_MAX);
    while (status == VS_TIMEOUT);
    if (status == VS_OK)
        status = vs_loading_new(d->store, db, to, strlen(to), &l);
    while (status == VS_OK && (status = vs_loading_some(l, block.data, block.len, 0)) == VS_TIMEOUT)
        status = VS_OK;
    bool pieces = rng_below(&d->rng, 2);
    while (status == VS_OK && pieces && (status = vs_loading_tell_some(l, block.data, block.len, 0)) == VS_TIMEOUT)
        status = VS_OK;
    if (status == VS_OK)
        status = vs_loading_attach(l, block.data, block.len, rng_below(&d->rng, 2) ? d->now_ms + rng_below(&d->rng, 3000) : 0, NULL);
    vs_loading_free(l);
    buf_release(&block);
    return status;
}

enum vs_status driver_rare(struct driver *d, struct vs_index *index, unsigned kind)
{
    size_t len, n = vs_partition_count(index), at = rng_below(&d->rng, n);
    switch (kind) {
    case 0: {
        const char *key = vs_index_key(index, &len);
        return vs_remove(d->store, index_db(d, index), key, len); /* with the index's own key: it must be read before it goes */
    }
    case 1: return d->no_flush ? VS_NOTFOUND : vs_flush(d->store, index_db(d, index));
    case 2:
    case 3: return rename_key(d);
    case 4: return vs_partition_drop(index, at);
    case 5: return vs_partition_pin(index, at, rng_below(&d->rng, 2));
    case 6: return vs_set_index_deadline(index, rng_below(&d->rng, 2) ? d->now_ms + rng_below(&d->rng, 3000) : 0);
    case 7: return copy_index(d, index);
    case 8: return d->no_flush ? VS_NOTFOUND : vs_swap(d->store, 0, 1);
    default: return create(d);
    }
}

static enum vs_status add(struct driver *d, struct vs_index *index, uint32_t id)
{
    float vector[DIM_MAX];
    char text[32];
    random_vector(&d->rng, vector, vs_index_options(index)->dim);
    struct vs_element e = {.id = &id, .id_len = sizeof(id), .vector = vector, .past_backlog = true};
    unsigned kind = (unsigned)rng_below(&d->rng, 6);
    if (kind < 2) {
        e.attributes = text;
        e.attributes_len = kind ? 0 : (size_t)snprintf(text, sizeof(text), "{\"n\":%u}", (unsigned)rng_below(&d->rng, 1000));
    }
    if (rng_below(&d->rng, 6) == 0)
        e.deadline_ms = d->now_ms + rng_below(&d->rng, 2000);
    else
        e.keep_deadline = rng_below(&d->rng, 4) == 0;
    return vs_add(index, &e, (enum vs_add_mode)(rng_below(&d->rng, 5) ? 0 : rng_below(&d->rng, 3)), NULL);
}

static enum vs_status rare(struct driver *d, struct vs_index *index)
{
    return driver_rare(d, index, (unsigned)rng_below(&d->rng, 16));
}

static void clock_step(struct driver *d)
{
    d->now_ms += 1 + rng_below(&d->rng, 50);
    vs_set_clock(d->store, d->now_ms);
    if (rng_below(&d->rng, 4))
        vs_expire(d->store, 100);
}

void driver_step(struct driver *d)
{
    if (rng_below(&d->rng, 64) == 0 && !d->still)
        clock_step(d);
    struct vs_index *index = random_index(d);
    uint32_t id = (uint32_t)rng_below(&d->rng, IDS);
    enum vs_status status;
    if (d->faults && rng_below(&d->rng, 8) == 0)
        mem_fault_after(1 + (long)rng_below(&d->rng, 8));
    if (!index)
        status = create(d);
    else if (rng_below(&d->rng, 800) == 0)
        status = rare(d, index);
    else if (rng_below(&d->rng, 8) == 0)
        status = vs_delete(index, &id, sizeof(id));
    else if (rng_below(&d->rng, 8) == 0)
        status = vs_set_attributes(index, &id, sizeof(id), "attributes", rng_below(&d->rng, 11));
    else if (rng_below(&d->rng, 8) == 0)
        status = vs_set_deadline(index, &id, sizeof(id), rng_below(&d->rng, 3) ? d->now_ms + rng_below(&d->rng, 2000) : 0);
    else
        status = add(d, index, id);
    mem_fault_after(0);
    d->done += status == VS_OK;
    d->refused += status == VS_NOMEM || status == VS_IO;
    if (rng_below(&d->rng, 64) == 0)
        vs_poll(d->store, (unsigned)rng_below(&d->rng, 500));
}

void driver_run(struct driver *d, size_t steps)
{
    for (size_t i = 0; i < steps; i++)
        driver_step(d);
}
