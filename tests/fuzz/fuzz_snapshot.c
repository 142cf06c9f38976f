/* Loading snapshots whose sums are all right and whose contents are not.
 *
 * A real snapshot is made once: partitions with a graph, flat ones and small ones, attributes, deaths,
 * a tail that is not linked. The input is how to load (a byte) and a list of changes,
 *
 *     u8 target | u8 how | u24 where | u8 n | n bytes
 *
 * target is the manifest or a section of a file; how & 3: 0 put, 1 xor, 2 add to a word, 3 zero; with
 * how & 4 anywhere in it, else in its first bytes. Then every sum is made right again: blocks, table,
 * footer, the manifest's entries of files, its header. What comes out is loaded, searched, changed,
 * linked, and saved again. It is refused with a reason or it works; nothing else. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lib/run.h"
#include "persist/le.h"
#include "persist/persist.h"
#include "persist/snapshot.h"
#include "persist/vfs_path.h"

#define DIM         4
#define FILES_MAX   16
#define TARGETS_MAX 64
#define FIRST_BYTES 256
#define ITEM_FILE   1
#define FILE_BYTES  34

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct target {
    unsigned file;
    size_t at, len;
};

static struct {
    char dir[64], segments[96], again[96], again_manifest[96];
    unsigned n, ntargets;            /* file 0 is the manifest */
    char path[FILES_MAX][256];
    struct buf original[FILES_MAX], now[FILES_MAX];
    bool changed[FILES_MAX], stale[FILES_MAX]; /* stale: the file on disk is not the original */
    struct target target[TARGETS_MAX];
} fuzz;

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* ---- the snapshot ---- */

static void add(struct vs_store *store, const char *key, const struct vs_index_options *o,
                unsigned id, struct rng *r)
{
    struct vs_index *index = vs_find(store, 0, key, strlen(key));
    float v[DIM];
    char name[16];
    if (!index)
        must(vs_create(store, 0, key, strlen(key), o, &index) == VS_OK);
    for (unsigned i = 0; i < DIM; i++)
        v[i] = (float)rng_unit(r) - 0.5f;
    struct vs_element e = {.id = name, .id_len = (size_t)snprintf(name, sizeof(name), "e%u", id),
                           .vector = v, .past_backlog = true};
    if (id % 7 == 0) {
        e.attributes = "{\"a\":1}";
        e.attributes_len = 7;
    }
    must(vs_add(index, &e, VS_ADD_ANY, NULL) == VS_OK);
    if (id % 11 == 0)
        must(vs_delete(index, name, e.id_len) == VS_OK);
}

static void fill(struct vs_store *store)
{
    struct vs_index_options graph = {.dim = DIM, .metric = VEC_L2, .m = 4, .seed = 3};
    struct vs_index_options flat = {.dim = DIM, .metric = VEC_IP, .structure = VS_FLAT, .seed = 4,
                                    .type = VEC_F32};
    struct vs_index_options small = {.dim = DIM, .seed = 5, .partitions = 3, .keep_empty = true};
    struct rng r = {1};
    for (unsigned i = 0; i < 1180; i++)
        add(store, "graph", &graph, i, &r);
    for (unsigned i = 0; i < 1100; i++)
        add(store, "flat", &flat, i, &r);
    for (unsigned i = 0; i < 20; i++)
        add(store, "small", &small, i, &r);
    must(vs_settle(store, 60000) == VS_OK);
    for (unsigned i = 1; i < 40; i++) /* not linked, and deaths in the graph */
        add(store, "graph", &graph, i, &r);
}

static void on_done(void *arg, bool ok)
{
    *(int *)arg = ok ? 1 : -1;
}

static void make(void)
{
    struct vs_store *store;
    struct persist *p;
    struct buf why = {0};
    struct vs_options vo = {.threads = 0};
    struct persist_options o = {.vfs = &vfs_posix, .dir = fuzz.dir};
    bool done = false;
    int result = 0;
    must(vs_open(&vo, &store) == VS_OK);
    must(persist_open(&o, store, &p, &why) == VS_OK);
    while (!done)
        must(persist_load_step(p, UINT64_MAX, &done, &why) == VS_OK);
    fill(store);
    must(persist_save(p, false, on_done, &result) == VS_OK);
    while (!result) {
        vs_poll(store, 1000);
        persist_poll(p);
    }
    must(result == 1 && persist_close(p) == VS_OK);
    vs_close(store);
    buf_release(&why);
}

static void take(const char *path)
{
    must(fuzz.n < FILES_MAX);
    snprintf(fuzz.path[fuzz.n], sizeof(fuzz.path[0]), "%s", path);
    must(vfs_path_load(&vfs_posix, path, 1 << 24, &fuzz.original[fuzz.n], NULL) == VS_OK);
    buf_append(&fuzz.now[fuzz.n], fuzz.original[fuzz.n].data, fuzz.original[fuzz.n].len);
    fuzz.n++;
}

static void add_target(unsigned file, size_t at, size_t len)
{
    if (len && fuzz.ntargets < TARGETS_MAX)
        fuzz.target[fuzz.ntargets++] = (struct target){file, at, len};
}

static void find_targets(void)
{
    struct snapshot_manifest m = {0};
    struct buf why = {0};
    must(snapshot_manifest_decode(fuzz.original[0].data, fuzz.original[0].len, "m", &m, &why) ==
         VS_OK);
    add_target(0, 0, SNAPSHOT_HEADER);
    add_target(0, SNAPSHOT_HEADER, fuzz.original[0].len - SNAPSHOT_HEADER);
    for (uint32_t i = 0; i < m.nfiles; i++) {
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", fuzz.segments, m.file[i].name);
        take(path);
    }
    for (uint32_t i = 0; i < m.nindexes; i++)
        for (uint32_t k = 0; k < m.index[i].nparts; k++)
            for (uint32_t s = 0; s < m.index[i].part[k].nsections; s++) {
                const struct snapshot_section *x = &m.index[i].part[k].section[s];
                add_target(1 + x->file, x->offset, x->bytes);
            }
    snapshot_manifest_release(&m);
}

static void clean_up(void)
{
    if (run_remove_directory(fuzz.dir) != 0)
        perror(fuzz.dir);
}

static void set_up(void)
{
    char path[256];
    log_set_level(LOG_NOTHING);
    snprintf(fuzz.dir, sizeof(fuzz.dir), "%s/fuzz_snapshot.XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    must(mkdtemp(fuzz.dir) != NULL);
    atexit(clean_up);
    snprintf(fuzz.segments, sizeof(fuzz.segments), "%s/dump.rdb.d", fuzz.dir);
    snprintf(fuzz.again, sizeof(fuzz.again), "%s/again.d", fuzz.dir);
    snprintf(fuzz.again_manifest, sizeof(fuzz.again_manifest), "%s/again", fuzz.dir);
    make();
    snprintf(path, sizeof(path), "%s/dump.rdb", fuzz.dir);
    take(path);
    find_targets();
}

/* ---- the changes ---- */

static void change(uint8_t *at, size_t room, uint8_t how, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n && i < room; i++)
        at[i] = how == 0 ? bytes[i] : how == 1 ? at[i] ^ bytes[i] : how == 3 ? 0 : at[i];
    if (how == 2 && room >= 4 && n)
        le32_put(at, le32(at) + (uint32_t)(int8_t)bytes[0]);
}

static void apply(const uint8_t *data, size_t size)
{
    while (size >= 6) {
        const struct target *t = &fuzz.target[data[0] % fuzz.ntargets];
        size_t where = data[2] | (size_t)data[3] << 8 | (size_t)data[4] << 16, n = data[5] % 33;
        size_t room = data[1] & 4 || t->len < FIRST_BYTES ? t->len : FIRST_BYTES;
        if (t->file == 0)
            room = t->len;
        where %= room;
        if (n > size - 6)
            n = size - 6;
        change((uint8_t *)fuzz.now[t->file].data + t->at + where, t->len - where, data[1] & 3,
               data + 6, n);
        fuzz.changed[t->file] = true;
        data += 6 + n;
        size -= 6 + n;
    }
}

/* ---- the sums ---- */

static void mend_segment(struct buf *b)
{
    uint8_t *p = (uint8_t *)b->data, *f = p + b->len - SEGMENT_FOOTER;
    uint64_t end = le64(f + 16), blocks = le64(f + 24), id = le64(f + 32), size = le32(f + 12);
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t n = end - i * size < size ? end - i * size : size;
        le64_put(p + end + i * 8, hash_bytes(p + i * size, n, id ^ i));
    }
    le64_put(f + 40, hash_bytes(p + end, blocks * 8, id));
    le64_put(f + 56, hash_bytes(f, 56, id));
}

/* A file's entry gets the sum of the file of that name, if it is one of ours. */
static void mend_manifest(struct buf *b)
{
    uint8_t *p = (uint8_t *)b->data;
    for (size_t at = SNAPSHOT_HEADER; at + 8 + FILE_BYTES <= b->len;) {
        size_t len = le32(p + at + 4);
        if (le16(p + at) != ITEM_FILE || len < FILE_BYTES || len > b->len - at - 8)
            break;
        for (unsigned i = 1; i < fuzz.n; i++) {
            const char *name = strrchr(fuzz.path[i], '/') + 1;
            if (strlen(name) == len - FILE_BYTES &&
                memcmp(name, p + at + 8 + FILE_BYTES, len - FILE_BYTES) == 0)
                le64_put(p + at + 8 + 16,
                         le64((const uint8_t *)fuzz.now[i].data + fuzz.now[i].len - 8));
        }
        at += 8 + len;
    }
    memcpy(p, fuzz.original[0].data, 24); /* magic, version, sizes */
    le64_put(p + 112, hash_bytes(p + SNAPSHOT_HEADER, b->len - SNAPSHOT_HEADER, le64(p + 24)));
    le64_put(p + 120, hash_bytes(p, 120, 0));
}

static void write_files(void)
{
    for (unsigned i = 0; i < fuzz.n; i++) {
        if (!fuzz.changed[i] && !fuzz.stale[i])
            continue;
        FILE *f = fopen(fuzz.path[i], "wb");
        must(f && fwrite(fuzz.now[i].data, 1, fuzz.now[i].len, f) == fuzz.now[i].len);
        must(fclose(f) == 0);
        fuzz.stale[i] = fuzz.changed[i];
    }
}

/* ---- the load ---- */

static void use(struct vs_store *store, const char *key)
{
    struct vs_index *index = vs_find(store, 0, key, strlen(key));
    static float v[65536] = {0.25f, -0.5f};
    struct vs_hit hits[20];
    size_t n = 0, len;
    if (!index)
        return;
    struct vs_reader *reader = vs_reader_new(store);
    for (int exact = 0; reader && exact < 2; exact++) {
        struct vs_query q = {.vector = v, .k = 20, .exact = exact};
        if (vs_search_now(reader, index, &q, hits, 20, &n) == VS_OK)
            for (size_t i = 0; i < n; i++) {
                vs_hit_id(&hits[i], &len);
                vs_hit_attributes(&hits[i], &len);
            }
        vs_reader_idle(reader);
    }
    if (reader)
        vs_reader_free(reader);
    char name[16];
    for (unsigned i = 0; i < 8; i++) {
        struct vs_element e = {.id = name, .vector = v, .past_backlog = true};
        e.id_len = (size_t)snprintf(name, sizeof(name), "e%u", i * 137);
        const void *text;
        if (i & 1)
            vs_add(index, &e, VS_ADD_ANY, NULL);
        else
            vs_delete(index, name, e.id_len);
        vs_get_attributes(index, name, e.id_len, &text, &len);
        vs_set_attributes(index, name, e.id_len, "x", 1);
    }
}

static void save(struct vs_store *store)
{
    struct snapshot_save *s;
    struct snapshot_manifest m = {0};
    struct snapshot_save_options o = {.vfs = &vfs_posix, .segments = fuzz.again,
                                      .manifest = fuzz.again_manifest};
    if (snapshot_save_start(&o, store, &s) != VS_OK)
        return;
    while (!snapshot_save_poll(s))
        vs_poll(store, 1000);
    if (snapshot_save_end(s, &m, NULL) == VS_OK)
        snapshot_manifest_release(&m);
    snapshot_collect(&vfs_posix, fuzz.again, NULL, 0);
}

static void load(bool verify, bool again)
{
    struct vs_store *store;
    struct snapshot_load *l;
    struct buf why = {0};
    struct vs_options vo = {.threads = 0};
    bool done = false;
    struct segment_set *set = segment_set_new();
    struct snapshot_load_options o = {.vfs = &vfs_posix, .segments = fuzz.segments,
                                      .manifest = fuzz.path[0], .set = set, .verify = verify};
    must(vs_open(&vo, &store) == VS_OK);
    enum vs_status status = snapshot_load_start(&o, store, &l, &why);
    if (status == VS_OK) {
        while (status == VS_OK && !done)
            status = snapshot_load_step(l, clock_mono_ns() + 1000000000, &done, &why);
        snapshot_load_free(l);
    }
    must(status == VS_OK || why.len > 0); /* a refusal says why */
    static const char *const keys[] = {"graph", "flat", "small"};
    for (int i = 0; i < 3 && status == VS_OK; i++)
        use(store, keys[i]);
    if (status == VS_OK) {
        vs_settle(store, 5000);
        for (int i = 0; i < 3; i++)
            use(store, keys[i]);
    }
    if (status == VS_OK && again)
        save(store);
    vs_close(store);
    segment_set_unref(set);
    buf_release(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!fuzz.n)
        set_up();
    if (size < 1)
        return 0;
    apply(data + 1, size - 1);
    for (unsigned i = 1; i < fuzz.n; i++)
        if (fuzz.changed[i])
            mend_segment(&fuzz.now[i]);
    mend_manifest(&fuzz.now[0]);
    fuzz.changed[0] = true;
    write_files();
    load(data[0] & 1, data[0] & 2);
    for (unsigned i = 0; i < fuzz.n; i++)
        if (fuzz.changed[i]) {
            memcpy(fuzz.now[i].data, fuzz.original[i].data, fuzz.original[i].len);
            fuzz.changed[i] = false;
        }
    return 0;
}
