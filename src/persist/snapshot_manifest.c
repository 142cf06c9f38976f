/* A snapshot's manifest: written and read. See snapshot_manifest.h. */
#include "persist/snapshot_manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "persist/le.h"
#include "persist/vfs_path.h"

enum item_type { ITEM_FILE = 1, ITEM_INDEX, ITEM_PARTITION, ITEM_SECTION, ITEM_END, ITEM_HISTORY };

#define ITEM_HEAD 8
#define FILE_BYTES 34      /* without the name */
#define INDEX_BYTES 52     /* without the key */
#define PARTITION_BYTES 120
/* Without deadlines, which came with version 3. */
#define OLD_INDEX_BYTES 44
#define OLD_PARTITION_BYTES 104
#define DEADLINES_SINCE 3
#define SECTION_BYTES 32
#define SMALL_ALIGN 16     /* of sections in packs */

#define INDEX_KEEP_EMPTY 1u
#define INDEX_STRICT 2u
#define INDEX_MAP_CODES 4u
#define INDEX_MAP_GRAPH 8u
#define INDEX_REDUCED 16u

void snapshot_manifest_release(struct snapshot_manifest *m)
{
    for (uint32_t i = 0; i < m->nfiles; i++)
        mem_free(m->file[i].name);
    for (uint32_t i = 0; i < m->nindexes; i++) {
        struct snapshot_index *x = &m->index[i];
        for (uint32_t k = 0; k < x->nparts; k++)
            mem_free(x->part[k].section);
        mem_free(x->part);
        mem_free(x->key);
    }
    mem_free(m->file);
    mem_free(m->index);
    memset(m, 0, sizeof(*m));
}

const struct snapshot_section *snapshot_find(const struct snapshot_part *p, enum section_kind kind,
                                             uint32_t group)
{
    for (uint32_t i = 0; i < p->nsections; i++)
        if (p->section[i].kind == kind && p->section[i].group == group)
            return &p->section[i];
    return NULL;
}

/* ---- writing ---- */

/* Room for an item's payload of `len` bytes, zeroed; NULL: out of memory. */
static uint8_t *item(struct buf *out, enum item_type type, size_t len)
{
    uint8_t *p = (uint8_t *)buf_try_reserve(out, ITEM_HEAD + len);
    if (!p)
        return NULL;
    memset(p, 0, ITEM_HEAD + len);
    le16_put(p, (uint16_t)type);
    le32_put(p + 4, (uint32_t)len);
    out->len += ITEM_HEAD + len;
    return p + ITEM_HEAD;
}

static bool put_file(const struct snapshot_file *f, uint32_t number, struct buf *out)
{
    size_t len = strlen(f->name);
    uint8_t *p = item(out, ITEM_FILE, FILE_BYTES + len);
    if (!p)
        return false;
    le32_put(p, number);
    le64_put(p + 8, f->sums.size);
    le64_put(p + 16, f->sums.footer_sum);
    le64_put(p + 24, f->cut);
    le16_put(p + 32, (uint16_t)len);
    memcpy(p + 34, f->name, len);
    return true;
}

static bool put_index(const struct snapshot_index *x, struct buf *out)
{
    const struct vs_index_options *o = &x->options;
    uint8_t *p = item(out, ITEM_INDEX, INDEX_BYTES + x->key_len);
    if (!p)
        return false;
    unsigned flags = (o->keep_empty ? INDEX_KEEP_EMPTY : 0) | (o->strict ? INDEX_STRICT : 0) |
                     (o->map != VS_MAP_ORIGINALS ? INDEX_MAP_CODES : 0) |
                     (o->map == VS_MAP_ALL ? INDEX_MAP_GRAPH : 0) | (o->input_dim ? INDEX_REDUCED : 0);
    le32_put(p, x->db);
    le32_put(p + 4, o->dim);
    le32_put(p + 8, o->m);
    le32_put(p + 12, o->ef_construction);
    le32_put(p + 16, o->vnodes);
    p[20] = (uint8_t)o->metric;
    p[21] = (uint8_t)o->type;
    p[22] = (uint8_t)o->originals;
    p[23] = (uint8_t)o->structure;
    p[24] = (uint8_t)o->strategy;
    p[25] = (uint8_t)flags;
    le16_put(p + 26, (uint16_t)(o->input_dim ? o->input_dim - 1 : 0));
    le64_put(p + 28, o->seed);
    le32_put(p + 36, o->partitions);
    le32_put(p + 40, (uint32_t)x->key_len);
    le64_put(p + 44, x->deadline_ms);
    if (x->key_len)
        memcpy(p + INDEX_BYTES, x->key, x->key_len);
    return true;
}

static bool put_part(const struct snapshot_part *x, struct buf *out)
{
    uint8_t *p = item(out, ITEM_PARTITION, PARTITION_BYTES);
    if (!p)
        return false;
    le32_put(p, x->number);
    le32_put(p + 4, x->flags);
    le64_put(p + 8, x->sequence);
    le64_put(p + 16, x->alive);
    le64_put(p + 24, x->attributes);
    le64_put(p + 32, x->records_digest);
    le64_put(p + 40, x->linked_sequence);
    le64_put(p + 48, x->closed_sequence);
    le64_put(p + 56, x->graph_digest);
    le64_put(p + 64, x->linked);
    le32_put(p + 72, x->slots);
    le32_put(p + 76, x->nupper);
    le32_put(p + 80, x->entry);
    le32_put(p + 84, (uint32_t)x->entry_level);
    le32_put(p + 88, x->flat_inserts);
    le32_put(p + 92, x->flat_deaths);
    le32_put(p + 96, x->group_chunks);
    le32_put(p + 100, x->nsections);
    le64_put(p + 104, x->deadlines);
    le64_put(p + 112, x->first_deadline_ms);
    for (uint32_t i = 0; i < x->nsections; i++) {
        const struct snapshot_section *s = &x->section[i];
        if (!(p = item(out, ITEM_SECTION, SECTION_BYTES)))
            return false;
        le16_put(p, s->kind);
        le32_put(p + 4, s->group);
        le32_put(p + 8, s->file);
        le64_put(p + 16, s->offset);
        le64_put(p + 24, s->bytes);
    }
    return true;
}

static void put_header(const struct snapshot_manifest *m, uint32_t nparts, struct buf *out)
{
    uint8_t *h = (uint8_t *)out->data;
    uint64_t elements = 0, records = 0, graphs = 0;
    for (uint32_t i = 0; i < m->nindexes; i++)
        for (uint32_t k = 0; k < m->index[i].nparts; k++) {
            elements += m->index[i].part[k].alive;
            records += m->index[i].part[k].records_digest;
            graphs += m->index[i].part[k].graph_digest;
        }
    memcpy(h, SNAPSHOT_MAGIC, 8);
    le32_put(h + 8, SNAPSHOT_VERSION);
    le32_put(h + 12, SNAPSHOT_HEADER);
    le64_put(h + 16, out->len);
    le64_put(h + 24, m->id);
    le64_put(h + 32, m->lsn);
    le64_put(h + 40, m->epoch);
    le64_put(h + 48, m->hlc);
    le64_put(h + 56, m->wall_ms);
    le64_put(h + 64, m->cut);
    le32_put(h + 72, m->databases);
    le32_put(h + 76, m->nfiles);
    le32_put(h + 80, m->nindexes);
    le32_put(h + 84, nparts);
    le64_put(h + 88, elements);
    le64_put(h + 96, records);
    le64_put(h + 104, graphs);
    le64_put(h + 112, hash_bytes(h + SNAPSHOT_HEADER, out->len - SNAPSHOT_HEADER, m->id));
    le64_put(h + 120, hash_bytes(h, 120, 0));
}

static bool put_history(const struct journal_track *track, struct buf *out)
{
    uint8_t *p = track->known ? item(out, ITEM_HISTORY, JOURNAL_HISTORY_BYTES) : NULL;
    if (p)
        journal_history_put(&track->at, p);
    return p || !track->known;
}

bool snapshot_manifest_encode(const struct snapshot_manifest *m, struct buf *out)
{
    uint32_t nparts = 0;
    struct buf b = {0};
    bool ok = buf_try_reserve(&b, SNAPSHOT_HEADER) != NULL;
    if (ok) {
        memset(b.data, 0, SNAPSHOT_HEADER);
        b.len = SNAPSHOT_HEADER;
    }
    for (uint32_t i = 0; i < m->nfiles && ok; i++)
        ok = put_file(&m->file[i], i, &b);
    for (uint32_t i = 0; i < m->nindexes && ok; i++) {
        ok = put_index(&m->index[i], &b);
        nparts += m->index[i].nparts;
        for (uint32_t k = 0; k < m->index[i].nparts && ok; k++)
            ok = put_part(&m->index[i].part[k], &b);
    }
    ok = ok && put_history(&m->track, &b) && item(&b, ITEM_END, 0) && buf_try_reserve(out, b.len);
    if (ok) {
        put_header(m, nparts, &b);
        buf_append(out, b.data, b.len);
    }
    buf_release(&b);
    return ok;
}

/* ---- reading ---- */

struct reader {
    const uint8_t *data;
    size_t len, at;             /* at: of the next item */
    const char *name;
    struct buf *why;
    struct snapshot_manifest *m;
    uint32_t version;
    uint32_t nparts, want_files, want_indexes, want_parts;
    uint32_t sections_left;     /* of the last partition */
    uint64_t elements, records_digest, graph_digest;
};

static enum vs_status bad(struct reader *r, size_t at, const char *reason)
{
    buf_printf(r->why, "%s, offset %zu: %s", r->name, at, reason);
    return VS_CORRUPT;
}

static enum vs_status out_of_memory(struct reader *r)
{
    buf_printf(r->why, "%s: out of memory", r->name);
    return VS_NOMEM;
}

static enum vs_status read_header(struct reader *r)
{
    const uint8_t *h = r->data;
    struct snapshot_manifest *m = r->m;
    if (r->len < SNAPSHOT_HEADER)
        return bad(r, 0, "too short for a snapshot");
    if (memcmp(h, SNAPSHOT_MAGIC, 8) != 0)
        return bad(r, 0, "not a snapshot of VecStore");
    if (le64(h + 120) != hash_bytes(h, 120, 0))
        return bad(r, 0, "the header's checksum is wrong");
    if (le32(h + 8) < 1 || le32(h + 8) > SNAPSHOT_VERSION || le32(h + 12) != SNAPSHOT_HEADER)
        return bad(r, 8, "a version this program does not know");
    if (le64(h + 16) != r->len)
        return bad(r, 16, "the file's size is not what its header says");
    r->version = le32(h + 8);
    m->id = le64(h + 24);
    m->lsn = le64(h + 32);
    m->epoch = le64(h + 40);
    m->hlc = le64(h + 48);
    m->wall_ms = le64(h + 56);
    m->cut = le64(h + 64);
    m->databases = le32(h + 72);
    r->want_files = le32(h + 76);
    r->want_indexes = le32(h + 80);
    r->want_parts = le32(h + 84);
    if (le64(h + 112) != hash_bytes(h + SNAPSHOT_HEADER, r->len - SNAPSHOT_HEADER, m->id))
        return bad(r, SNAPSHOT_HEADER, "the checksum of its entries is wrong");
    r->at = SNAPSHOT_HEADER;
    return VS_OK;
}

static enum vs_status read_file(struct reader *r, const uint8_t *p, size_t len, size_t at)
{
    struct snapshot_manifest *m = r->m;
    if (m->nindexes)
        return bad(r, at, "a file after an index");
    if (len < FILE_BYTES || len != FILE_BYTES + (size_t)le16(p + 32) || len == FILE_BYTES)
        return bad(r, at, "a file's entry has the wrong length");
    size_t name_len = len - FILE_BYTES;
    const char *name = (const char *)p + FILE_BYTES;
    if (memchr(name, '/', name_len) || memchr(name, 0, name_len) || name[0] == '.')
        return bad(r, at + FILE_BYTES, "a file name that is not allowed");
    if (le32(p) != m->nfiles)
        return bad(r, at, "files are not numbered in order");
    if (le64(p + 8) > SEGMENT_SIZE_MAX)
        return bad(r, at + 8, "a file's size is out of range");
    if (!mem_try_grow(&m->file, &m->files_cap, (size_t)m->nfiles + 1, sizeof(*m->file)))
        return out_of_memory(r);
    m->file[m->nfiles++] = (struct snapshot_file){{le64(p + 8), le64(p + 16)},
                                                  le64(p + 24),
                                                  mem_strndup(name, name_len)};
    return VS_OK;
}

static enum vs_status read_options(struct reader *r, const uint8_t *p, size_t at,
                                   struct vs_index_options *o)
{
    unsigned flags = p[25];
    if (p[20] >= VEC_METRICS || p[21] >= VEC_TYPES || p[22] > VEC_ORIG_NONE || p[23] > VS_FLAT ||
        p[24] > VS_STRATEGY_HASH || flags > 31 ||
        ((flags & INDEX_MAP_GRAPH) && !(flags & INDEX_MAP_CODES)))
        return bad(r, at + 20, "an index has an option that does not exist");
    *o = (struct vs_index_options){.dim = le32(p + 4),
                                   .metric = p[20],
                                   .type = p[21],
                                   .originals = p[22],
                                   .structure = p[23],
                                   .m = le32(p + 8),
                                   .ef_construction = le32(p + 12),
                                   .partitions = le32(p + 36),
                                   .strategy = p[24],
                                   .vnodes = le32(p + 16),
                                   .seed = le64(p + 28),
                                   .map = flags & INDEX_MAP_GRAPH   ? VS_MAP_ALL
                                          : flags & INDEX_MAP_CODES ? VS_MAP_CODES
                                                                    : VS_MAP_ORIGINALS,
                                   .input_dim = flags & INDEX_REDUCED ? le16(p + 26) + 1u : 0,
                                   .keep_empty = (flags & INDEX_KEEP_EMPTY) != 0,
                                   .strict = (flags & INDEX_STRICT) != 0};
    if (o->dim < 1 || o->dim > VEC_DIM_MAX || o->m < VS_M_MIN || o->m > VS_M_MAX ||
        o->ef_construction < 1 || o->ef_construction > VS_EF_MAX || o->partitions < 1 ||
        o->partitions > VS_PARTITIONS_MAX || o->vnodes < 1 || o->vnodes > VS_VNODES_MAX || !o->seed)
        return bad(r, at, "an index has an option that is out of range");
    if (flags & INDEX_REDUCED ? o->input_dim < o->dim : le16(p + 26) != 0)
        return bad(r, at + 26, "an index has an option that is out of range");
    if (vec_type_originals(o->type, o->originals) != o->originals)
        return bad(r, at + 22, "an index keeps originals that its type has not");
    return VS_OK;
}

static enum vs_status end_index(struct reader *r)
{
    if (r->m->nindexes && !r->m->index[r->m->nindexes - 1].nparts)
        return bad(r, r->at, "an index without a partition");
    return VS_OK;
}

static enum vs_status read_index(struct reader *r, const uint8_t *p, size_t len, size_t at)
{
    struct snapshot_manifest *m = r->m;
    struct snapshot_index x = {0};
    size_t head = r->version < DEADLINES_SINCE ? OLD_INDEX_BYTES : INDEX_BYTES;
    if (len < head || len - head != le32(p + 40))
        return bad(r, at, "an index's entry has the wrong length");
    enum vs_status status = end_index(r);
    if (status == VS_OK)
        status = read_options(r, p, at, &x.options);
    if (status != VS_OK)
        return status;
    x.db = le32(p);
    x.key_len = len - head;
    x.deadline_ms = head == INDEX_BYTES ? le64(p + 44) : 0;
    if (x.deadline_ms > VS_DEADLINE_MAX)
        return bad(r, at + 44, "a key's deadline is out of range");
    if (x.db >= m->databases)
        return bad(r, at, "an index lies in a database that does not exist");
    if (!mem_try_grow(&m->index, &m->indexes_cap, (size_t)m->nindexes + 1, sizeof(*m->index)) ||
        !(x.key = mem_try_alloc(x.key_len + 1)))
        return out_of_memory(r);
    memcpy(x.key, p + head, x.key_len);
    x.key[x.key_len] = 0;
    m->index[m->nindexes++] = x;
    return VS_OK;
}

static enum vs_status check_part(struct reader *r, const struct snapshot_part *x,
                                 const struct snapshot_index *index, size_t at)
{
    bool small = x->flags & SNAPSHOT_SMALL, graphed = x->flags & SNAPSHOT_GRAPHED;
    if (x->flags > 7 || (small && graphed))
        return bad(r, at + 4, "a partition has a flag that does not exist");
    if (x->number >= index->options.partitions ||
        (index->nparts && x->number <= index->part[index->nparts - 1].number))
        return bad(r, at, "a partition's number is out of order or of range");
    if (x->slots > SLOT_MAX || x->alive > x->slots || x->linked > x->slots ||
        x->attributes > x->alive || (small ? x->slots >= CHUNK_SLOTS : x->slots % CHUNK_SLOTS != 0))
        return bad(r, at + 16, "a partition's counts do not fit together");
    if (x->linked_sequence > x->sequence || x->closed_sequence > x->sequence ||
        x->sequence >> 62)
        return bad(r, at + 40, "a partition's sequence numbers do not fit together");
    if (x->deadlines > x->alive || x->first_deadline_ms > VS_DEADLINE_MAX || !x->deadlines != !x->first_deadline_ms)
        return bad(r, at + 104, "a partition's deadlines do not fit together");
    if (!small && x->slots && (x->group_chunks < 1 || x->group_chunks > 1024))
        return bad(r, at + 96, "a partition's groups are out of range");
    if (!graphed && (x->nupper || x->entry != SLOT_NONE || x->linked))
        return bad(r, at + 76, "a partition without a graph has parts of one");
    if (x->nupper > (SLOT_MAX >> 10) || (x->entry != SLOT_NONE && x->entry >= x->slots) ||
        x->entry_level < -1 || x->entry_level > 15)
        return bad(r, at + 76, "a partition's entry point is out of range");
    return VS_OK;
}

static enum vs_status read_part(struct reader *r, const uint8_t *p, size_t len, size_t at)
{
    struct snapshot_manifest *m = r->m;
    bool old = r->version < DEADLINES_SINCE;
    if (len != (old ? OLD_PARTITION_BYTES : PARTITION_BYTES) || !m->nindexes)
        return bad(r, at, "a partition's entry has the wrong length or place");
    struct snapshot_index *index = &m->index[m->nindexes - 1];
    struct snapshot_part x = {.number = le32(p),
                              .flags = le32(p + 4),
                              .sequence = le64(p + 8),
                              .alive = le64(p + 16),
                              .attributes = le64(p + 24),
                              .records_digest = le64(p + 32),
                              .linked_sequence = le64(p + 40),
                              .closed_sequence = le64(p + 48),
                              .graph_digest = le64(p + 56),
                              .linked = le64(p + 64),
                              .slots = le32(p + 72),
                              .nupper = le32(p + 76),
                              .entry = le32(p + 80),
                              .entry_level = (int32_t)le32(p + 84),
                              .flat_inserts = le32(p + 88),
                              .flat_deaths = le32(p + 92),
                              .group_chunks = le32(p + 96),
                              .deadlines = old ? 0 : le64(p + 104),
                              .first_deadline_ms = old ? 0 : le64(p + 112)};
    uint32_t sections = le32(p + 100);
    enum vs_status status = check_part(r, &x, index, at);
    if (status != VS_OK)
        return status;
    if (sections > (r->len - r->at) / (ITEM_HEAD + SECTION_BYTES))
        return bad(r, at + 100, "a partition has more sections than the file");
    if (!mem_try_grow(&index->part, &index->parts_cap, (size_t)index->nparts + 1,
                      sizeof(*index->part)) ||
        (sections && !(x.section = mem_try_alloc(sections * sizeof(*x.section)))))
        return out_of_memory(r);
    index->part[index->nparts++] = x;
    r->sections_left = sections;
    r->nparts++;
    r->elements += x.alive;
    r->records_digest += x.records_digest;
    r->graph_digest += x.graph_digest;
    return VS_OK;
}

static enum vs_status read_section(struct reader *r, const uint8_t *p, size_t len, size_t at)
{
    struct snapshot_manifest *m = r->m;
    if (len != SECTION_BYTES || !r->sections_left)
        return bad(r, at, "a section's entry has the wrong length or place");
    struct snapshot_index *index = &m->index[m->nindexes - 1];
    struct snapshot_part *part = &index->part[index->nparts - 1];
    struct snapshot_section s = {le16(p), le32(p + 4), le32(p + 8), le64(p + 16), le64(p + 24)};
    if (s.kind < SECTION_ROWS || s.kind > SECTION_DEADLINES ||
        (s.kind == SECTION_SMALL) != ((part->flags & SNAPSHOT_SMALL) != 0))
        return bad(r, at, "a section of a kind that does not belong there");
    if (s.group && (s.kind > SECTION_IDS || s.group >= snapshot_groups(part)))
        return bad(r, at + 4, "a section's group is out of range");
    if (s.file >= m->nfiles || s.offset < SEGMENT_ALIGN ||
        s.offset % (s.kind == SECTION_SMALL ? SMALL_ALIGN : SEGMENT_ALIGN) ||
        s.offset > m->file[s.file].sums.size || s.bytes > m->file[s.file].sums.size - s.offset)
        return bad(r, at + 8, "a section does not lie in its file");
    part->section[part->nsections++] = s;
    r->sections_left--;
    return VS_OK;
}

struct place {                  /* where a section lies */
    uint32_t file;
    uint64_t from, to;
};

static int compare_places(const void *x, const void *y)
{
    const struct place *a = x, *b = y;
    if (a->file != b->file)
        return a->file < b->file ? -1 : 1;
    return a->from < b->from ? -1 : a->from > b->from;
}

static size_t list_places(const struct snapshot_manifest *m, struct place *out)
{
    size_t n = 0;
    for (uint32_t i = 0; i < m->nindexes; i++)
        for (uint32_t k = 0; k < m->index[i].nparts; k++) {
            const struct snapshot_part *p = &m->index[i].part[k];
            for (uint32_t s = 0; s < p->nsections; s++) {
                const struct snapshot_section *x = &p->section[s];
                if (x->bytes && out)
                    out[n] = (struct place){x->file, x->offset, x->offset + x->bytes};
                n += x->bytes != 0;
            }
        }
    return n;
}

/* Sections are used in place, and written to (in memory): what one column holds must not be another's,
 * be it of the same partition or not. */
static enum vs_status check_places(struct reader *r)
{
    size_t n = list_places(r->m, NULL), bytes, wrong = 0;
    struct place *place = mem_mul(n + 1, sizeof(*place), &bytes) ? mem_try_alloc(bytes) : NULL;
    if (!place)
        return out_of_memory(r);
    list_places(r->m, place);
    qsort(place, n, sizeof(*place), compare_places);
    for (size_t i = 1; i < n && !wrong; i++)
        if (place[i].file == place[i - 1].file && place[i].from < place[i - 1].to)
            wrong = i;
    enum vs_status status = VS_OK;
    if (wrong) {
        char text[128];
        snprintf(text, sizeof(text), "two sections lie on each other, at offset %" PRIu64
                 " of file %" PRIu32, place[wrong].from, place[wrong].file);
        status = bad(r, SNAPSHOT_HEADER, text);
    }
    mem_free(place);
    return status;
}

static enum vs_status read_history(struct reader *r, const uint8_t *p, size_t len, size_t at)
{
    struct journal_track *track = &r->m->track;
    if (track->known || len != JOURNAL_HISTORY_BYTES)
        return bad(r, at, "the entry of the history has the wrong length or place");
    track->known = journal_history_get(p, &track->at);
    return track->known ? VS_OK : bad(r, at, "the entry of the history names none");
}

static enum vs_status read_end(struct reader *r, size_t len, size_t at)
{
    const uint8_t *h = r->data;
    enum vs_status status = end_index(r);
    if (status != VS_OK)
        return status;
    if (len || r->at != r->len)
        return bad(r, at, "the end comes too early");
    if (r->m->nfiles != r->want_files || r->m->nindexes != r->want_indexes ||
        r->nparts != r->want_parts || r->elements != le64(h + 88) ||
        r->records_digest != le64(h + 96) || r->graph_digest != le64(h + 104))
        return bad(r, 76, "the header's counts are not those of the entries");
    status = check_places(r);
    if (status != VS_OK)
        return status;
    r->m->elements = r->elements;
    r->m->records_digest = r->records_digest;
    r->m->graph_digest = r->graph_digest;
    return VS_OK;
}

static enum vs_status read_items(struct reader *r)
{
    enum vs_status status = VS_OK;
    for (uint16_t type = 0; type != ITEM_END && status == VS_OK;) {
        size_t at = r->at;
        if (r->len - at < ITEM_HEAD || le32(r->data + at + 4) > r->len - at - ITEM_HEAD)
            return bad(r, at, "an entry goes beyond the end of the file");
        const uint8_t *p = r->data + at + ITEM_HEAD;
        size_t len = le32(r->data + at + 4);
        type = le16(r->data + at);
        r->at = at + ITEM_HEAD + len;
        if (le16(r->data + at + 2) || (r->sections_left && type != ITEM_SECTION) ||
            (r->m->track.known && type != ITEM_END))
            return bad(r, at, "an entry where another belongs");
        switch (type) {
        case ITEM_FILE: status = read_file(r, p, len, at + ITEM_HEAD); break;
        case ITEM_INDEX: status = read_index(r, p, len, at + ITEM_HEAD); break;
        case ITEM_PARTITION: status = read_part(r, p, len, at + ITEM_HEAD); break;
        case ITEM_SECTION: status = read_section(r, p, len, at + ITEM_HEAD); break;
        case ITEM_HISTORY: status = read_history(r, p, len, at + ITEM_HEAD); break;
        case ITEM_END: status = read_end(r, len, at); break;
        default: status = bad(r, at, "an entry of a type that does not exist");
        }
    }
    return status;
}

enum vs_status snapshot_manifest_decode(const void *data, size_t len, const char *name,
                                        struct snapshot_manifest *out, struct buf *why)
{
    struct reader r = {.data = data, .len = len, .name = name, .why = why, .m = out};
    enum vs_status status = read_header(&r);
    if (status == VS_OK)
        status = read_items(&r);
    if (status != VS_OK)
        snapshot_manifest_release(out);
    return status;
}

enum vs_status snapshot_manifest_load(const struct vfs *v, const char *path,
                                      struct snapshot_manifest *out, struct buf *why)
{
    struct vfs_error err;
    struct buf b = {0};
    enum vs_status status = vfs_path_load(v, path, SNAPSHOT_MANIFEST_MAX, &b, &err);
    if (status == VS_OK)
        status = snapshot_manifest_decode(b.data, b.len, path, out, why);
    else
        buf_puts(why, err.text);
    buf_release(&b);
    return status;
}
