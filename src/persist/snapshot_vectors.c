/* Saving a partition's V files: vectors and ids of a group of chunks each. One that an earlier snapshot
 * has is kept when none of its chunks has got a record since. */
#include <string.h>

#include "base/mem.h"
#include "persist/le.h"
#include "persist/snapshot_int.h"

struct group {
    uint32_t number, first, count;   /* chunks */
};

/* The stored form of an id begins before what vs_cut_id points to. */
static size_t stored_bytes(size_t len)
{
    return len < 255 ? 1 + len : 5 + len;
}

static bool keep_group(struct snapshot_save *s, struct save_part *sp, const struct group *g, bool *kept)
{
    const struct saved_part *old = saved_part_of(sp->cut->saved);
    const struct columns_shape *shape = graph_cut_shape(sp->cut->cut);
    enum section_kind kind[] = {SECTION_ROWS, SECTION_ORIGINALS, SECTION_IDS};
    size_t least[] = {g->count * part_bytes(shape->codec.row_bytes),
                      g->count * part_bytes(shape->original_bytes),
                      (size_t)g->count * CHUNK_SLOTS * 8};
    struct saved_file *file;
    *kept = false;
    if (save_is_copy(s) || !old || (old->part.flags & SNAPSHOT_SMALL) ||
        old->part.group_chunks != sp->made->part.group_chunks ||
        !saved_part_find(old, SECTION_IDS, g->number, &file))
        return true;
    for (uint32_t c = 0; c < g->count; c++)
        if (graph_cut_filled(sp->cut->cut, g->first + c) > file->file.cut)
            return true;
    if (scrub_is_bad(s->o.scrub, file->file.name) && !graph_cut_damaged(sp->cut->cut))
        return true; /* what is in memory is good still */
    for (unsigned i = 0; i < 3; i++) {
        const struct snapshot_section *x = saved_part_find(old, kind[i], g->number, &file);
        if (least[i] && (!x || x->bytes < least[i]))
            return true;
    }
    for (unsigned i = 0; i < 3; i++) {
        const struct snapshot_section *x = saved_part_find(old, kind[i], g->number, &file);
        if (least[i] && !saved_part_add(sp->made, kind[i], g->number, file, x->offset, x->bytes))
            return false;
    }
    *kept = true;
    return true;
}

static bool put_column(struct snapshot_save *s, struct save_part *sp, const struct group *g,
                       size_t width, bool originals)
{
    size_t size = CHUNK_SLOTS * width;
    void *part = save_buffer(s, size);
    if (!part)
        return false;
    for (uint32_t c = g->first; c < g->first + g->count; c++) {
        const void *rows;
        bool ok = graph_cut_whole(sp->cut->cut, c, originals, &rows);
        if (ok && !rows) {
            ok = graph_cut_rows(sp->cut->cut, c, originals ? NULL : part, originals ? part : NULL);
            rows = part;
        }
        if (ok)
            segment_put(s->writer, rows, size);
        /* A page of a file that could not be read is zeros, and is known by now. */
        if (!ok || graph_cut_damaged(sp->cut->cut))
            return save_fail(s, VS_CORRUPT, "a partition is damaged");
        segment_pad(s->writer, SNAPSHOT_PAGE);
        if (save_stopped(s))
            return false;
    }
    return true;
}

/* Offsets, then ids. `users`: room for a chunk's. */
static bool put_ids(struct snapshot_save *s, struct save_part *sp, const struct group *g,
                    void **users)
{
    uint64_t at = (uint64_t)g->count * CHUNK_SLOTS * 8;
    uint64_t offset[CHUNK_SLOTS];
    for (uint32_t c = g->first; c < g->first + g->count; c++) {
        graph_cut_records(sp->cut->cut, c, NULL, NULL, NULL, users, NULL);
        for (uint32_t i = 0; i < CHUNK_SLOTS; i++) {
            size_t len;
            le64_put(&offset[i], users[i] ? at : 0);
            if (!users[i])
                continue;
            vs_cut_id(users[i], &len);
            at += stored_bytes(len);
        }
        segment_put(s->writer, offset, sizeof(offset));
    }
    for (uint32_t c = g->first; c < g->first + g->count; c++) {
        graph_cut_records(sp->cut->cut, c, NULL, NULL, NULL, users, NULL);
        for (uint32_t i = 0; i < CHUNK_SLOTS; i++) {
            size_t len;
            if (!users[i])
                continue;
            vs_cut_id(users[i], &len);
            segment_put(s->writer, users[i], stored_bytes(len));
        }
        if (save_stopped(s))
            return false;
    }
    return true;
}

static bool add(struct snapshot_save *s, struct save_part *sp, enum section_kind kind,
                uint32_t group, struct saved_file *f, uint64_t from, uint64_t to)
{
    if (saved_part_add(sp->made, kind, group, f, from, to - from))
        return true;
    return save_fail(s, VS_NOMEM, "out of memory");
}

static bool write_group(struct snapshot_save *s, struct save_part *sp, const struct group *g,
                        void **users)
{
    const struct columns_shape *shape = graph_cut_shape(sp->cut->cut);
    size_t row = shape->codec.row_bytes, original = shape->original_bytes;
    uint64_t rows, rows_end, originals = 0, originals_end = 0, ids, ids_end;
    if (!save_file_begin(s, g->count * (part_bytes(row) + part_bytes(original) + CHUNK_SLOTS * 24)))
        return false;
    rows = segment_begin(s->writer);
    if (!put_column(s, sp, g, row, false))
        return false;
    rows_end = segment_at(s->writer);
    if (original) {
        originals = segment_begin(s->writer);
        if (!put_column(s, sp, g, original, true))
            return false;
        originals_end = segment_at(s->writer);
    }
    ids = segment_begin(s->writer);
    if (!put_ids(s, sp, g, users))
        return false;
    ids_end = segment_at(s->writer);
    struct saved_file *f = save_file_end(s);
    bool ok = f && add(s, sp, SECTION_ROWS, g->number, f, rows, rows_end) &&
              (!original || add(s, sp, SECTION_ORIGINALS, g->number, f, originals, originals_end)) &&
              add(s, sp, SECTION_IDS, g->number, f, ids, ids_end);
    saved_file_unref(f);
    return ok;
}

bool save_vectors(struct snapshot_save *s, struct save_part *sp)
{
    uint32_t chunks = graph_cut_chunks(sp->cut->cut), per = sp->made->part.group_chunks;
    void **users = mem_try_alloc(CHUNK_SLOTS * sizeof(*users));
    bool ok = users || save_fail(s, VS_NOMEM, "out of memory");
    for (uint32_t first = 0; first < chunks && ok; first += per) {
        struct group g = {first / per, first, chunks - first < per ? chunks - first : per};
        bool kept;
        ok = keep_group(s, sp, &g, &kept) || save_fail(s, VS_NOMEM, "out of memory");
        if (ok && !kept)
            ok = write_group(s, sp, &g, users);
    }
    mem_free(users);
    return ok;
}
