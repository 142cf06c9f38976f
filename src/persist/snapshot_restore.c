/* From a manifest and mapped files to indexes, see snapshot_restore.h.
 *
 * Here the manifest meets the files: every section must be there, as long as the manifest's counts
 * say, and the blocks under all but rows, originals and links must match their sums. What stands in
 * the sections is then checked by who knows it: the state's form here, slots and sequence numbers by
 * the graph, ids and attributes by the store. */
#include "persist/snapshot_restore.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "index/graph.h"
#include "persist/le.h"

#define UPPER_BLOCK_LISTS 1024       /* lists of m words in a chunk of upper links */

/* ---- files ---- */

enum vs_status restore_files_init(struct restore_files *f, const struct vfs *v,
                                  const char *segments, const struct snapshot_manifest *m,
                                  struct segment_set *set)
{
    *f = (struct restore_files){.vfs = v, .segments = segments, .manifest = m, .set = set};
    f->region = mem_try_zalloc(((size_t)m->nfiles + 1) * sizeof(struct region *));
    f->saved = mem_try_zalloc(((size_t)m->nfiles + 1) * sizeof(struct saved_file *));
    if (f->region && f->saved)
        return VS_OK;
    restore_files_release(f);
    return VS_NOMEM;
}

void restore_files_release(struct restore_files *f)
{
    for (uint32_t i = 0; f->region && i < f->manifest->nfiles; i++)
        region_unref(f->region[i]);
    for (uint32_t i = 0; f->saved && i < f->manifest->nfiles; i++)
        saved_file_unref(f->saved[i]);
    mem_free(f->region);
    mem_free(f->saved);
    memset(f, 0, sizeof(*f));
}

enum vs_status restore_map(struct restore_files *f, uint32_t i, struct buf *why)
{
    const struct snapshot_file *file = &f->manifest->file[i];
    if (f->region[i])
        return VS_OK;
    struct buf path = {0};
    buf_printf(&path, "%s/%s", f->segments, file->name);
    buf_append(&path, "", 1);
    enum vs_status status =
        segment_map(f->vfs, path.data, &file->sums, f->set, &f->region[i], why);
    buf_release(&path);
    if (status == VS_OK && !f->saved[i])
        f->saved[i] = saved_file_new(&file->sums, file->cut, file->name);
    return status == VS_NOTFOUND ? VS_CORRUPT : status;
}

void restore_unmap(struct restore_files *f, uint32_t i)
{
    region_unref(f->region[i]);
    f->region[i] = NULL;
}

/* ---- sections ---- */

struct shape {
    size_t row, original;            /* bytes of a slot */
    uint32_t m, chunks;
};

/* What went wrong, in words that name the partition. */
static enum vs_status bad(const struct restore_files *f, const struct snapshot_index *index,
                          const struct snapshot_part *p, const struct snapshot_section *s,
                          const char *reason, struct buf *why)
{
    if (s)
        buf_printf(why, "%s/%s, offset %" PRIu64 ": ", f->segments, f->manifest->file[s->file].name,
                   s->offset);
    buf_printf(why, "partition %" PRIu32 " of '%.*s': %s", p->number,
               (int)(index->key_len > 200 ? 200 : index->key_len), index->key, reason);
    return VS_CORRUPT;
}

struct wanted {
    enum section_kind kind;
    uint64_t least;                  /* bytes it must have */
    bool exact, checked;             /* exactly so many; its blocks are checked now */
};

/* The section `w` of a group; its region and offset. */
static enum vs_status find(struct restore_files *f, const struct snapshot_index *index,
                           const struct snapshot_part *p, const struct wanted *w, uint32_t group,
                           struct region **region, const struct snapshot_section **out,
                           struct buf *why)
{
    static const char *const name[] = {"", "rows", "originals", "ids", "links", "upper links",
                                       "sequence numbers", "levels", "table of ids", "attributes",
                                       "state", "records", "deadlines"};
    char text[96];
    const struct snapshot_section *s = snapshot_find(p, w->kind, group);
    if (!s || s->bytes < w->least || (w->exact && s->bytes != w->least)) {
        snprintf(text, sizeof(text), "the %s are %s", name[w->kind],
                 s ? "not as long as they should be" : "missing");
        return bad(f, index, p, s, text, why);
    }
    enum vs_status status = restore_map(f, s->file, why);
    if (status != VS_OK)
        return status;
    struct region *r = f->region[s->file];
    if (s->offset > r->size || s->bytes > r->size - s->offset) {
        snprintf(text, sizeof(text), "the %s go beyond the end of the file", name[w->kind]);
        return bad(f, index, p, s, text, why);
    }
    if (w->checked && !r->check(r, s->offset, s->bytes)) {
        r->describe(r, why);
        return VS_CORRUPT;
    }
    *region = r;
    *out = s;
    return VS_OK;
}

/* ---- the state ---- */

struct words {                       /* reading a section of the state */
    const uint8_t *at;
    size_t left;
};

static bool take(struct words *w, size_t n, const uint8_t **out)
{
    if (n > w->left)
        return false;
    *out = w->at;
    w->at += n;
    w->left -= n;
    return true;
}

static bool read_batch(struct words *w, struct graph_batch *b)
{
    const uint8_t *p;
    if (!take(w, 16, &p))
        return false;
    b->sequence = le64(p);
    b->count = le32(p + 8);
    b->ndeaths = le32(p + 12);
    if (b->count > BATCH_SIZE || b->ndeaths > BATCH_SIZE)
        return false;
    if (!take(w, ((size_t)b->count + b->ndeaths) * 4, &p))
        return false;
    b->slots = (const uint32_t *)(const void *)p; /* everything in a state is a multiple of four */
    b->deaths = b->slots + b->count;
    return true;
}

static enum vs_status read_state(const uint8_t *data, size_t len, struct restore_part *out)
{
    struct words w = {data, len};
    struct graph_state *st = &out->state;
    const uint8_t *p;
    if (!take(&w, 16, &p))
        return VS_CORRUPT;
    bool open = le32(p + 4) == 1;
    st->nbatches = le32(p);
    st->ndead = le32(p + 8);
    st->ntombs = le32(p + 12);
    if (le32(p + 4) > 1 || st->nbatches > w.left / 16 || st->ndead > w.left / 4 ||
        st->ntombs > w.left / 16)
        return VS_CORRUPT;
    out->batches = mem_try_alloc(((size_t)st->nbatches + 1) * sizeof(*out->batches));
    out->tombs = mem_try_alloc(((size_t)st->ntombs + 1) * sizeof(*out->tombs));
    if (!out->batches || !out->tombs)
        return VS_NOMEM;
    for (uint32_t i = 0; i < st->nbatches; i++)
        if (!read_batch(&w, &out->batches[i]))
            return VS_CORRUPT;
    if (open && !read_batch(&w, &st->open))
        return VS_CORRUPT;
    if (!take(&w, (size_t)st->ndead * 4, &p))
        return VS_CORRUPT;
    st->batches = out->batches;
    st->dead_nodes = (const uint32_t *)(const void *)p;
    for (uint32_t i = 0; i < st->ntombs; i++) {
        if (!take(&w, 16, &p) || le32(p + 4))
            return VS_CORRUPT;
        out->tombs[i] = (struct graph_tomb){le32(p), le64(p + 8)};
    }
    st->tombs = out->tombs;
    return w.left ? VS_CORRUPT : VS_OK;
}

static void fill_state(const struct snapshot_part *p, struct graph_state *st)
{
    *st = (struct graph_state){.sequence = p->sequence,
                               .slots = p->slots,
                               .nupper = p->nupper,
                               .alive = p->alive,
                               .linked = p->linked,
                               .linked_sequence = p->linked_sequence,
                               .closed_sequence = p->closed_sequence,
                               .digest = p->graph_digest,
                               .entry = p->entry,
                               .entry_level = p->entry_level,
                               .graphed = p->flags & SNAPSHOT_GRAPHED,
                               .flat_inserts = p->flat_inserts,
                               .flat_deaths = p->flags & SNAPSHOT_GRAPHED ? 0 : p->flat_deaths,
                               .mended = p->flags & SNAPSHOT_GRAPHED ? p->flat_deaths : 0};
}

/* ---- a partition ---- */

static enum vs_status read_groups(struct restore_files *f, const struct snapshot_index *index,
                                  const struct snapshot_part *p, const struct shape *sh,
                                  struct restore_part *out, struct buf *why)
{
    uint32_t n = snapshot_groups(p);
    out->groups = mem_try_zalloc(((size_t)n + 1) * sizeof(*out->groups));
    if (!out->groups)
        return VS_NOMEM;
    for (uint32_t g = 0; g < n; g++) {
        uint32_t left = sh->chunks - g * p->group_chunks;
        uint32_t chunks = left < p->group_chunks ? left : p->group_chunks;
        struct wanted rows = {SECTION_ROWS, chunks * part_bytes(sh->row), false, false};
        struct wanted originals = {SECTION_ORIGINALS, chunks * part_bytes(sh->original), false,
                                   false};
        struct wanted ids = {SECTION_IDS, (uint64_t)chunks * CHUNK_SLOTS * 8, false, true};
        const struct snapshot_section *r, *o = NULL, *i;
        struct region *v, *same;
        enum vs_status status = find(f, index, p, &rows, g, &v, &r, why);
        if (status == VS_OK)
            status = find(f, index, p, &ids, g, &same, &i, why);
        if (status == VS_OK && same != v)
            status = bad(f, index, p, i, "the ids lie in another file than the rows", why);
        if (status == VS_OK && sh->original)
            status = find(f, index, p, &originals, g, &same, &o, why);
        if (status == VS_OK && same != v)
            status = bad(f, index, p, o, "the originals lie in another file than the rows", why);
        if (status != VS_OK)
            return status;
        out->groups[g] = (struct vs_part_group){.v = v,
                                                .rows = r->offset,
                                                .originals = o ? o->offset : 0,
                                                .ids = i->offset,
                                                .ids_bytes = i->bytes,
                                                .filled = f->manifest->file[r->file].cut};
    }
    return VS_OK;
}

static enum vs_status read_deadlines(struct restore_files *f, const struct snapshot_index *index,
                                     const struct snapshot_part *p, struct vs_part_image *im, struct buf *why)
{
    struct wanted deadlines = {SECTION_DEADLINES, p->deadlines * 16, false, true};
    const struct snapshot_section *s;
    struct region *r;
    if (!p->deadlines && !snapshot_find(p, SECTION_DEADLINES, 0))
        return VS_OK;
    enum vs_status status = find(f, index, p, &deadlines, 0, &r, &s, why);
    if (status == VS_OK && r != im->g)
        status = bad(f, index, p, s, "the deadlines lie in another file than the graph", why);
    if (status == VS_OK) {
        im->ends = s->offset;
        im->nends = s->bytes / 16;
    }
    return status;
}

static enum vs_status read_graph_file(struct restore_files *f, const struct snapshot_index *index,
                                      const struct snapshot_part *p, const struct shape *sh,
                                      struct restore_part *out, struct buf *why)
{
    struct vs_part_image *im = &out->image;
    uint64_t c = sh->chunks, m = sh->m, upper = pad_to(UPPER_BLOCK_LISTS * m * 4, SNAPSHOT_PAGE);
    struct { struct wanted w; size_t *at; } want[] = {
        {{SECTION_STATE, 16, false, true}, NULL},
        {{SECTION_BORN, c * CHUNK_SLOTS * 8, true, true}, &im->born},
        {{SECTION_LEVELS, c * (SNAPSHOT_PAGE + CHUNK_SLOTS * 4), true, true}, &im->levels},
        {{SECTION_IDTABLE, p->alive * 16, true, true}, &im->idtable},
        {{SECTION_LINKS, c * part_bytes(2 * m * 4), true, false}, &im->links},
        {{SECTION_UPPER, p->nupper * upper, true, true}, &im->upper},
    };
    unsigned n = p->flags & SNAPSHOT_GRAPHED ? 6 : 4;
    for (unsigned i = 0; i < n; i++) {
        const struct snapshot_section *s;
        struct region *r;
        enum vs_status status = find(f, index, p, &want[i].w, 0, &r, &s, why);
        if (status == VS_OK && im->g && r != im->g)
            status = bad(f, index, p, s, "a section lies in another file than the others", why);
        if (status != VS_OK)
            return status;
        im->g = r;
        if (want[i].at) {
            *want[i].at = s->offset;
            continue;
        }
        status = read_state(r->base + s->offset, s->bytes, out);
        if (status == VS_CORRUPT)
            return bad(f, index, p, s, "the state of linking does not add up", why);
        if (status != VS_OK)
            return status;
    }
    enum vs_status ends = read_deadlines(f, index, p, im, why);
    if (ends != VS_OK || !snapshot_find(p, SECTION_ATTRS, 0))
        return ends;
    struct wanted attrs = {SECTION_ATTRS, 8, false, true};
    const struct snapshot_section *s;
    struct region *r;
    enum vs_status status = find(f, index, p, &attrs, 0, &r, &s, why);
    if (status == VS_OK && r != im->g)
        status = bad(f, index, p, s, "the attributes lie in another file than the graph", why);
    if (status == VS_OK) {
        im->attrs = s->offset;
        im->attrs_bytes = s->bytes;
    }
    return status;
}

static enum vs_status make_saved(struct restore_files *f, const struct snapshot_part *p,
                                 struct restore_part *out)
{
    struct saved_part *saved = saved_part_new();
    if (!saved)
        return VS_NOMEM;
    out->image.saved = &saved->saved;
    saved->saved.sequence = p->sequence;
    saved->saved.linked_sequence = p->linked_sequence;
    saved->part = *p;
    saved->part.section = NULL;
    saved->part.nsections = 0;
    for (uint32_t i = 0; i < p->nsections; i++) {
        const struct snapshot_section *s = &p->section[i];
        if (!f->saved[s->file])
            continue; /* of no use to this partition */
        if (!saved_part_add(saved, s->kind, s->group, f->saved[s->file], s->offset, s->bytes))
            return VS_NOMEM;
    }
    return VS_OK;
}

static void fill_image(const struct snapshot_part *p, struct restore_part *out)
{
    struct vs_part_image *im = &out->image;
    memset(out, 0, sizeof(*out));
    fill_state(p, &out->state);
    im->number = p->number;
    im->pinned = p->flags & SNAPSHOT_PINNED;
    im->sequence = p->sequence;
    im->records_digest = p->records_digest;
    im->attributes = p->attributes;
    im->deadlines = p->deadlines;
    im->first_deadline_ms = p->first_deadline_ms;
    im->alive = p->alive;
    im->state = &out->state;
    im->group_chunks = p->group_chunks;
}

/* Its numbers and where it lies, no more. */
static enum vs_status restore_closed(struct restore_files *f, const struct snapshot_part *p,
                                     struct restore_part *out, struct buf *why)
{
    fill_image(p, out);
    out->image.closed = true;
    enum vs_status status = make_saved(f, p, out);
    if (status == VS_NOMEM)
        buf_puts(why, "out of memory");
    return status;
}

enum vs_status restore_part(struct restore_files *f, const struct snapshot_index *index,
                            const struct snapshot_part *p, struct restore_part *out,
                            struct buf *why)
{
    const struct vs_index_options *o = &index->options;
    struct vec_codec codec;
    fill_image(p, out);
    struct vs_part_image *im = &out->image;
    vec_codec_init(&codec, o->type, o->metric, o->dim);
    size_t original = vec_type_holds(o->type, o->originals)
                          ? 0
                          : vec_original_bytes(o->originals, o->dim);
    struct shape sh = {codec.row_bytes, original, o->m, snapshot_chunks(p)};
    enum vs_status status = VS_OK;
    if (!(p->flags & SNAPSHOT_SMALL)) {
        status = read_graph_file(f, index, p, &sh, out, why);
        if (status == VS_OK)
            status = read_groups(f, index, p, &sh, out, why);
        im->groups = out->groups;
    } else if (p->alive) {
        struct wanted small = {SECTION_SMALL, 8 + p->alive * (9 + sh.row + sh.original + (p->deadlines ? 8 : 0)), false,
                               true};
        const struct snapshot_section *s;
        status = find(f, index, p, &small, 0, &im->pack, &s, why);
        if (status == VS_OK) {
            im->small = s->offset;
            im->small_bytes = s->bytes;
        }
    }
    if (status == VS_OK)
        status = make_saved(f, p, out);
    if (status == VS_NOMEM)
        buf_puts(why, "out of memory");
    return status;
}

void restore_part_release(struct restore_part *p)
{
    if (p->image.saved)
        p->image.saved->free(p->image.saved);
    mem_free(p->batches);
    mem_free(p->tombs);
    mem_free(p->groups);
    memset(p, 0, sizeof(*p));
}

/* ---- an index ---- */

enum vs_status restore_index(struct restore_files *f, struct vs_store *store, uint32_t i,
                             size_t *open, _Atomic uint64_t *bytes, struct vs_index **out,
                             struct buf *why)
{
    const struct snapshot_index *x = &f->manifest->index[i];
    struct restore_part *part = mem_try_zalloc(x->nparts * sizeof(*part));
    struct vs_part_image *image = mem_try_zalloc(x->nparts * sizeof(*image));
    enum vs_status status = part && image ? VS_OK : VS_NOMEM;
    if (status == VS_NOMEM)
        buf_puts(why, "out of memory");
    for (uint32_t k = 0; k < x->nparts && status == VS_OK; k++) {
        bool closed = open && !*open && !(x->part[k].flags & SNAPSHOT_PINNED);
        if (open && *open)
            --*open;
        status = closed ? restore_closed(f, &x->part[k], &part[k], why)
                        : restore_part(f, x, &x->part[k], &part[k], why);
        image[k] = part[k].image;
        if (f->passing)
            image[k].saved = NULL;
        for (uint32_t s = 0; s < x->part[k].nsections && bytes; s++)
            atomic_fetch_add_explicit(bytes, x->part[k].section[s].bytes, memory_order_relaxed);
    }
    if (status == VS_OK) {
        status = vs_restore_new(store, x->db, x->key, x->key_len, &x->options, image, x->nparts,
                                out, why);
        for (uint32_t k = 0; k < x->nparts && status == VS_OK && !f->passing; k++)
            part[k].image.saved = NULL; /* taken */
        if (status == VS_OK)
            vs_restore_deadline(*out, x->deadline_ms);
    }
    for (uint32_t k = 0; k < x->nparts && part; k++)
        restore_part_release(&part[k]);
    mem_free(part);
    mem_free(image);
    return status;
}
