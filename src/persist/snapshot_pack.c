/* Saving small partitions: those of fewer than 1024 slots, which have no graph. Many share a file. One
 * that has not changed stays in its pack, unless less than half of what the pack holds is still in use.
 *
 * What surrounds the partitions takes more than a few tiny ones do: a pack of those uses less than half of
 * its file from the beginning. So that there are not as many files as tiny partitions, such a pack joins the
 * next one that is written; but none is written for its sake: where nothing has changed, nothing is.
 *
 *   SMALL   u32 n, u32 0 | n x u64 born | n x u8 level | to 16 | n rows | n originals | n ids as the
 *           store keeps them | n x {u32 length, bytes} attributes, length 0xFFFFFFFF: none |
 *           where some element has one, n x u64 deadline, 0: none */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "persist/le.h"
#include "persist/snapshot_int.h"

#define PACK_ALIGN 16

/* Is it in a pack already, as it is now? */
static const struct snapshot_section *in_pack(const struct snapshot_save *s, const struct save_part *sp,
                                              struct saved_file **file)
{
    const struct saved_part *old = saved_part_of(sp->cut->saved);
    if (save_is_copy(s) || !old || !(old->part.flags & SNAPSHOT_SMALL) ||
        (sp->state && old->part.sequence != sp->state->sequence) || !old->part.alive)
        return NULL;
    const struct snapshot_section *x = saved_part_find(old, SECTION_SMALL, 0, file);
    if (x && sp->state && scrub_is_bad(s->o.scrub, (*file)->file.name)) /* what is in memory is good */
        return NULL;
    return x;
}

static void count_live(struct snapshot_save *s)
{
    struct saved_file *file;
    const struct snapshot_section *x;
    for (struct save_part *sp = s->small; sp; sp = sp->next_todo)
        if ((x = in_pack(s, sp, &file)))
            file->live = 0;
    for (struct save_part *sp = s->small; sp; sp = sp->next_todo)
        if ((x = in_pack(s, sp, &file)))
            file->live += x->bytes;
}

static bool mostly_unused(const struct saved_file *file)
{
    return 2 * file->live + SEGMENT_ALIGN + SEGMENT_FOOTER < file->file.sums.size;
}

/* Is a pack written in any case: for what has changed, or to leave one that is mostly unused? */
static bool must_write(const struct snapshot_save *s)
{
    for (const struct save_part *sp = s->small; sp; sp = sp->next_todo) {
        struct saved_file *file;
        if (in_pack(s, sp, &file) ? mostly_unused(file) : sp->state && sp->state->alive)
            return true;
    }
    return false;
}

/* `written`: another pack is in any case. */
static bool is_left(const struct saved_file *file, bool written)
{
    return mostly_unused(file) || (written && 2 * file->live < file->file.sums.size);
}

struct small {
    uint64_t born[CHUNK_SLOTS];
    uint8_t level[CHUNK_SLOTS];
    void *user[CHUNK_SLOTS], *extra[CHUNK_SLOTS];
    uint64_t deadline[CHUNK_SLOTS];
    uint32_t slot[CHUNK_SLOTS];      /* of the n records */
    uint32_t n;
};

static void read_small(struct save_part *sp, struct small *x)
{
    x->n = 0;
    if (!graph_cut_chunks(sp->cut->cut))
        return;
    graph_cut_records(sp->cut->cut, 0, x->born, x->level, NULL, x->user, x->extra);
    graph_cut_deadlines(sp->cut->cut, 0, x->deadline);
    for (uint32_t i = 0; i < CHUNK_SLOTS; i++)
        if (x->born[i])
            x->slot[x->n++] = i;
}

/* The n rows of a column whose 1024 lie in `column`. */
static void put_column(struct snapshot_save *s, const struct small *x, const uint8_t *column,
                       size_t width)
{
    for (uint32_t i = 0; i < x->n; i++)
        segment_put(s->writer, column + x->slot[i] * width, width);
}

static bool put_records(struct snapshot_save *s, struct save_part *sp, const struct small *x)
{
    const struct columns_shape *shape = graph_cut_shape(sp->cut->cut);
    size_t row = shape->codec.row_bytes, original = shape->original_bytes;
    uint8_t word[8];
    uint8_t *column = save_buffer(s, CHUNK_SLOTS * (row + original));
    if (!column)
        return false;
    if (!graph_cut_rows(sp->cut->cut, 0, column, original ? column + CHUNK_SLOTS * row : NULL))
        return save_fail(s, VS_CORRUPT, "a partition is damaged");
    le32_put(word, x->n);
    le32_put(word + 4, 0);
    segment_put(s->writer, word, 8);
    for (uint32_t i = 0; i < x->n; i++) {
        le64_put(word, x->born[x->slot[i]]);
        segment_put(s->writer, word, 8);
    }
    for (uint32_t i = 0; i < x->n; i++)
        segment_put(s->writer, &x->level[x->slot[i]], 1);
    segment_pad(s->writer, PACK_ALIGN);
    put_column(s, x, column, row);
    if (original)
        put_column(s, x, column + CHUNK_SLOTS * row, original);
    for (uint32_t i = 0; i < x->n; i++) {
        size_t len;
        const void *user = x->user[x->slot[i]];
        vs_cut_id(user, &len);
        segment_put(s->writer, user, len < 255 ? 1 + len : 5 + len);
    }
    size_t attributes = 0;
    for (uint32_t i = 0; i < x->n; i++) {
        size_t len;
        uint32_t at = x->slot[i];
        const void *data = vs_cut_attributes(sp->cut, x->user[at], x->extra[at], &len);
        le32_put(word, data ? (uint32_t)len : UINT32_MAX);
        segment_put(s->writer, word, 4);
        if (data)
            segment_put(s->writer, data, len);
        attributes += data != NULL;
    }
    if (attributes != sp->cut->attributes)
        return save_fail(s, VS_CORRUPT, "a partition has not the attributes that it counts");
    for (uint32_t i = 0; i < x->n && sp->cut->deadlines; i++) {
        uint32_t at = x->slot[i];
        le64_put(word, vs_cut_deadline(sp->cut, x->user[at], x->deadline[at]));
        segment_put(s->writer, word, 8);
    }
    return !save_stopped(s);
}

static void fill_part(struct save_part *sp, uint32_t n)
{
    const struct graph_state *st = sp->state;
    struct snapshot_part *p = &sp->made->part;
    p->number = sp->number;
    p->flags = SNAPSHOT_SMALL | save_pinned(sp);
    p->sequence = sp->made->saved.sequence = st->sequence;
    p->linked_sequence = sp->made->saved.linked_sequence = st->linked_sequence;
    p->closed_sequence = st->closed_sequence;
    p->alive = n;
    p->attributes = sp->cut->attributes;
    p->deadlines = sp->cut->deadlines;
    p->first_deadline_ms = sp->cut->first_deadline_ms;
    p->records_digest = sp->cut->records_digest;
    p->graph_digest = st->digest;
    p->slots = n;
    p->entry = SLOT_NONE;
    p->entry_level = st->entry_level;
    p->flat_inserts = st->flat_inserts;
    p->flat_deaths = st->flat_deaths;
}

/* Where a small partition lies in the pack being written. */
struct packed {
    struct save_part *sp;
    uint64_t offset, bytes;
};

struct pack {
    struct packed *part;
    size_t n, cap;
    bool written;                    /* one is, in any case */
    struct segment_set *set;         /* of the next */
    struct region *from;             /* what stubs are read from, or NULL .. */
    const struct saved_file *from_file; /* .. of this file */
};

static bool end_pack(struct snapshot_save *s, struct pack *pack)
{
    if (!s->writer)
        return true;
    struct saved_file *f = save_file_end(s);
    bool ok = f != NULL;
    for (size_t i = 0; i < pack->n && ok; i++)
        if (!saved_part_add(pack->part[i].sp->made, SECTION_SMALL, 0, f, pack->part[i].offset,
                            pack->part[i].bytes))
            ok = save_fail(s, VS_NOMEM, "out of memory");
    pack->n = 0;
    saved_file_unref(f);
    return ok;
}

static bool begin_packed(struct snapshot_save *s, struct save_part *sp, struct pack *pack)
{
    if (!mem_try_grow(&pack->part, &pack->cap, pack->n + 1, sizeof(*pack->part)))
        return save_fail(s, VS_NOMEM, "out of memory");
    if (!s->writer && !save_file_begin(s, PACK_BYTES))
        return false;
    if (pack->n == 0)
        segment_begin(s->writer);
    segment_pad(s->writer, PACK_ALIGN);
    pack->part[pack->n] = (struct packed){sp, segment_at(s->writer), 0};
    return true;
}

static bool end_packed(struct snapshot_save *s, struct pack *pack)
{
    struct packed *p = &pack->part[pack->n++];
    p->bytes = segment_at(s->writer) - p->offset;
    return segment_at(s->writer) < PACK_BYTES || end_pack(s, pack);
}

/* One that is not open goes to another pack as the bytes that it is. Where they cannot be read, or are
 * damaged, they stay where they are: whoever opens it is told. */
static bool move_stub(struct snapshot_save *s, struct save_part *sp, struct pack *pack,
                      const struct snapshot_section *old, struct saved_file *file)
{
    if (pack->from_file != file) {
        struct buf why = {0};
        char *path = save_segment_path(s, file->file.name);
        region_unref(pack->from);
        pack->from = NULL;
        pack->from_file = file;
        segment_map(s->o.vfs, path, &file->file.sums, pack->set, &pack->from, &why);
        mem_free(path);
        buf_release(&why);
    }
    struct region *r = pack->from;
    if (!save_kept(s, sp))
        return false;
    if (!r || old->offset > r->size || old->bytes > r->size - old->offset ||
        !r->check(r, old->offset, old->bytes))
        return true;
    saved_part_clear(sp->made);
    if (!begin_packed(s, sp, pack))
        return false;
    segment_put(s->writer, r->base + old->offset, old->bytes);
    return !save_stopped(s) && end_packed(s, pack);
}

static bool save_small(struct snapshot_save *s, struct save_part *sp, struct pack *pack,
                       struct small *x)
{
    struct saved_file *file;
    const struct snapshot_section *old = in_pack(s, sp, &file);
    if (old ? !is_left(file, pack->written) : !sp->state)
        return save_kept(s, sp);
    if (!sp->state)
        return move_stub(s, sp, pack, old, file);
    read_small(sp, x);
    if (x->n != sp->state->alive)
        return save_fail(s, VS_CORRUPT, "a partition has not as many records as it counts");
    sp->made = saved_part_new();
    if (!sp->made)
        return save_fail(s, VS_NOMEM, "out of memory");
    fill_part(sp, x->n);
    if (!x->n)
        return true;
    return begin_packed(s, sp, pack) && put_records(s, sp, x) && end_packed(s, pack);
}

bool save_packs(struct snapshot_save *s)
{
    struct pack pack = {.set = segment_set_new()};
    struct small *x = mem_try_alloc(sizeof(*x));
    bool ok = x || save_fail(s, VS_NOMEM, "out of memory");
    count_live(s);
    pack.written = must_write(s);
    for (struct save_part *sp = s->small; sp && ok; sp = sp->next_todo) {
        ok = save_small(s, sp, &pack, x) && !save_stopped(s);
        atomic_fetch_add_explicit(&s->done, 1, memory_order_relaxed);
    }
    ok = ok && end_pack(s, &pack);
    region_unref(pack.from);
    segment_set_unref(pack.set);
    mem_free(pack.part);
    mem_free(x);
    return ok;
}
