#include "lib/journal_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "lib/run.h"

#define KEYS 3
#define IDS  16

static struct vs_store *new_store(void)
{
    struct vs_store *store;
    struct vs_options o = {.threads = 0, .databases = 4};
    if (vs_open(&o, &store))
        abort();
    return store;
}

void rig_note(struct rig *r)
{
    uint64_t lsn = journal_lsn(r->journal);
    if (!mem_try_grow(&r->digest, &r->digest_cap, lsn * 2 + 64, sizeof(*r->digest)))
        abort();
    r->digest[lsn] = rig_digest(r->store);
    r->known = lsn;
}

void rig_init(struct rig *r, const struct vfs *v, const char *dir, enum journal_fsync fsync,
              uint64_t seed)
{
    struct journal_options o = {.vfs = v, .dir = dir, .name = RIG_NAME, .fsync = fsync};
    *r = (struct rig){.rng = {seed}, .vector_dim = 4};
    r->store = new_store();
    r->journal = journal_new(&o, &r->hlc, 1);
    vs_set_journal(r->store, journal_hook(r->journal));
    rig_note(r);
}

/* ---- histories ---- */

/* What has been so: behind that record the data stood there. */
static struct truth {
    uint64_t lsn;
    struct journal_history h;
} *truths;
static size_t ntruths, truths_cap;

static void note_truth(uint64_t lsn, const struct journal_history *h)
{
    /* Not from the engine's memory, which may be made to fail. */
    if (ntruths == truths_cap) {
        truths_cap = truths_cap * 2 + 64;
        truths = realloc(truths, truths_cap * sizeof(*truths));
        if (!truths)
            abort();
    }
    truths[ntruths++] = (struct truth){lsn, *h};
}

void rig_check_claim(uint64_t lsn, const struct journal_track *claim)
{
    if (!claim->known || !ntruths) /* nobody keeps histories here */
        return;
    for (size_t i = ntruths; i--;)
        if (truths[i].lsn == lsn && !memcmp(&truths[i].h, &claim->at, sizeof(claim->at)))
            return;
    fprintf(stderr, "record %llu: the data are not at offset %llu of that history\n",
            (unsigned long long)lsn, (unsigned long long)claim->at.offset);
    abort();
}

static void change_history(struct rig *r, uint64_t lsn)
{
    struct journal_history h;
    if (rng_below(&r->history, 3) == 0) {
        journal_set_history(r->journal, NULL);
        return;
    }
    for (size_t i = 0; i < sizeof(h) / 8; i++)
        ((uint64_t *)(void *)&h)[i] = rng_next(&r->history);
    h.offset >>= 8;
    journal_set_history(r->journal, &h);
    note_truth(lsn, &h);
}

static bool on_record(void *arg, const struct journal_frame *f, const uint8_t *bytes)
{
    struct rig *r = arg;
    struct journal_track now = journal_known(r->journal);
    (void)bytes;
    if (rng_below(&r->history, 6) == 0) {
        change_history(r, f->lsn);
        return false;
    }
    now.at.offset += JOURNAL_FRAME + (uint64_t)f->bytes;
    if (now.known)
        note_truth(f->lsn, &now.at);
    return true;
}

void rig_histories(struct rig *r, const struct journal_track *track)
{
    r->history = (struct rng){r->rng.state ^ 0x5DEECE66Dull};
    journal_set_tap(r->journal, on_record, r);
    if (track)
        journal_set_history(r->journal, track->known ? &track->at : NULL);
    else
        change_history(r, journal_lsn(r->journal));
}

enum vs_status rig_close(struct rig *r)
{
    enum vs_status status = r->journal ? journal_close(r->journal, &r->manifest) : VS_OK;
    if (r->store) {
        vs_set_journal(r->store, NULL);
        vs_close(r->store);
    }
    journal_free(r->journal);
    r->store = NULL;
    r->journal = NULL;
    return status;
}

void rig_release(struct rig *r)
{
    rig_close(r);
    journal_manifest_release(&r->manifest);
    mem_free(r->digest);
    r->digest = NULL;
}

/* ---- commands ---- */

static unsigned below(struct rig *r, unsigned n)
{
    return (unsigned)rng_below(&r->rng, n);
}

static size_t name(struct rig *r, char *out, size_t size, char first, unsigned n)
{
    return (size_t)snprintf(out, size, "%c%u", first, below(r, n));
}

static struct vs_index *some_index(struct rig *r, unsigned *db)
{
    *db = below(r, 2);
    return vs_random(r->store, *db);
}

static enum vs_status create(struct rig *r)
{
    static const enum vec_type types[] = {VEC_Q8, VEC_F32, VEC_F16};
    char key[16];
    size_t len = name(r, key, sizeof(key), 'k', KEYS);
    struct vs_index *index;
    struct vs_index_options o = {.dim = (uint32_t)r->vector_dim,
                                 .metric = (enum vec_metric)below(r, 3),
                                 .type = types[below(r, 3)],
                                 .partitions = 1 + below(r, 3),
                                 .vnodes = 4,
                                 .keep_empty = below(r, 2),
                                 .strict = below(r, 2)};
    o.input_dim = below(r, 3) ? 0 : o.dim + below(r, 9);
    return vs_create(r->store, below(r, 2), key, len, &o, &index);
}

static enum vs_status add(struct rig *r)
{
    unsigned db;
    float x[256];
    char id[16], attributes[64];
    struct vs_index *index = some_index(r, &db);
    if (!index)
        return VS_NOTFOUND;
    size_t dim = vs_index_options(index)->dim;
    for (size_t i = 0; i < dim; i++)
        x[i] = (float)rng_unit(&r->rng) - 0.5f;
    struct vs_element e = {.id = id, .id_len = name(r, id, sizeof(id), 'e', IDS), .vector = x};
    if (below(r, 3) == 0) {
        e.attributes = attributes;
        e.attributes_len = (size_t)snprintf(attributes, sizeof(attributes), "{\"n\":%u}", below(r, 9));
    }
    if (below(r, 4) == 0)
        e.deadline_ms = 1 + below(r, 1000000);
    return vs_add(index, &e, VS_ADD_ANY, NULL);
}

static enum vs_status element(struct rig *r, bool delete)
{
    unsigned db;
    char id[16], text[16];
    struct vs_index *index = some_index(r, &db);
    size_t len = name(r, id, sizeof(id), 'e', IDS);
    if (!index)
        return VS_NOTFOUND;
    if (delete)
        return vs_delete(index, id, len);
    if (below(r, 2) == 0)
        return vs_set_deadline(index, id, len, below(r, 3) * 1000);
    size_t n = below(r, 4) ? (size_t)snprintf(text, sizeof(text), "{\"a\":%u}", below(r, 99)) : 0;
    return vs_set_attributes(index, id, len, text, n);
}

static enum vs_status keyspace(struct rig *r)
{
    unsigned db = below(r, 2);
    char key[16], to[16];
    size_t len = name(r, key, sizeof(key), 'k', KEYS), to_len = name(r, to, sizeof(to), 'k', KEYS);
    struct vs_index *index = vs_find(r->store, db, key, len);
    size_t parts = index ? vs_partition_count(index) : 0;
    switch (below(r, 20)) {
    case 0: return vs_flush(r->store, db);
    case 1:
    case 2:
    case 3: return vs_remove(r->store, db, key, len);
    case 4:
    case 5:
    case 6: return parts > 1 ? vs_partition_drop(index, 1 + below(r, (unsigned)parts - 1)) : VS_OK;
    case 7:
    case 8:
    case 9: return parts ? vs_partition_pin(index, below(r, (unsigned)parts), below(r, 2)) : VS_OK;
    case 10:
    case 11: return index ? vs_set_index_deadline(index, below(r, 3)) : VS_OK; /* the rig's clock stands still */
    default: return vs_rename(r->store, db, key, len, to, to_len);
    }
}

enum vs_status rig_step(struct rig *r)
{
    uint64_t before = journal_lsn(r->journal);
    enum vs_status status = VS_OK;
    if (r->history.state && rng_below(&r->history, 8) == 0)
        change_history(r, before); /* as a change of roles does, between two records that count */
    for (int tries = 0; tries < 10000 && journal_lsn(r->journal) == before; tries++) {
        unsigned kind = below(r, 40), n = kind < 6 ? 2 + below(r, 4) : 1;
        journal_group_begin(r->journal);
        for (; n; n--) {
            status = kind < 26 ? add(r) : kind < 32 ? element(r, true) : kind < 36 ? element(r, false)
                     : kind < 38 ? keyspace(r) : create(r);
            if (status == VS_NOTFOUND && kind < 26)
                status = create(r);
            if (status == VS_IO || status == VS_NOMEM)
                break;
        }
        journal_group_end(r->journal);
        if (status == VS_IO || status == VS_NOMEM)
            break;
    }
    if (journal_lsn(r->journal) == before)
        return status;
    rig_note(r);
    return VS_OK;
}

bool rig_settle(struct rig *r, int deadline_ms)
{
    uint64_t until = clock_mono_ns() + (uint64_t)deadline_ms * 1000000u;
    journal_turn(r->journal);
    while (journal_failed(r->journal) ||
           journal_releasable(r->journal, clock_mono_ns()) < journal_lsn(r->journal)) {
        if (clock_mono_ns() > until)
            return false;
        usleep(200);
    }
    return true;
}

/* ---- what the data are ---- */

struct sum {
    uint64_t digest;
    unsigned db;
};

static void add_index(void *arg, struct vs_index *index)
{
    struct sum *s = arg;
    const struct vs_index_options *o = vs_index_options(index);
    size_t len;
    const char *key = vs_index_key(index, &len);
    uint64_t h = hash_bytes(key, len, s->db);
    uint64_t options[] = {o->dim,        o->metric, o->type, o->originals,  o->structure, o->m,
                          o->partitions, o->vnodes, o->seed, o->keep_empty, o->strict,    o->map,
                          o->ef_construction, o->input_dim, vs_index_deadline(index)};
    h = hash_bytes(options, sizeof(options), h);
    for (size_t i = 0; i < vs_partition_count(index); i++) {
        struct vs_partition_info info;
        vs_partition_info(index, i, &info);
        uint64_t numbers[] = {info.elements, info.sequence, info.records_digest, info.deadlines};
        h = hash_bytes(info.name, strlen(info.name), h);
        h = hash_bytes(numbers, sizeof(numbers), h);
    }
    s->digest += h;
}

uint64_t rig_digest(struct vs_store *store)
{
    struct sum s = {0};
    for (s.db = 0; s.db < vs_databases(store); s.db++) {
        uint64_t cursor = 0;
        do
            cursor = vs_scan(store, s.db, cursor, add_index, &s);
        while (cursor);
    }
    return s.digest;
}

enum vs_status rig_load(const struct vfs *v, const char *dir, bool truncated_ok,
                        struct vs_store **out, struct journal_manifest *m,
                        struct journal_loaded *loaded, struct buf *why)
{
    struct journal_loader *l = NULL;
    bool done = false;
    enum vs_status status = journal_manifest_load(v, dir, RIG_NAME, m, why);
    if (status)
        return status;
    struct vs_store *store = new_store();
    status = journal_loader_open(v, dir, RIG_NAME, m, 0, &(struct journal_track){0}, truncated_ok, &l, why);
    while (!status && !done)
        status = journal_loader_step(l, store, clock_mono_ns() + 1000000000u, &done, why);
    if (status) {
        journal_loader_free(l);
        vs_close(store);
        return status;
    }
    *loaded = *journal_loader_result(l);
    rig_check_claim(loaded->lsn, &loaded->track);
    journal_loader_free(l);
    *out = store;
    return VS_OK;
}

static int no_sync(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
    return 0;
}

static int no_sync_dir(void *ctx, const char *path)
{
    (void)ctx;
    (void)path;
    return 0;
}

struct vfs rig_vfs_unsynced(void)
{
    static struct vfs_ops ops;
    ops = *vfs_posix.ops;
    ops.fsync = ops.fdatasync = no_sync;
    ops.sync_dir = no_sync_dir;
    return (struct vfs){&ops, vfs_posix.ctx};
}

void rig_clear(const char *dir)
{
    if (run_remove_directory(dir) != 0 || mkdir(dir, 0777) != 0)
        abort();
}
