/* Saving a partition's G file: links first, then what lies beside them. */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "persist/le.h"
#include "persist/snapshot_int.h"

uint32_t save_group_chunks(const struct columns_shape *shape)
{
    size_t chunk = part_bytes(shape->codec.row_bytes) + part_bytes(shape->original_bytes);
    size_t n = GROUP_BYTES / chunk;
    return n < 1 ? 1 : n > GROUP_CHUNKS ? GROUP_CHUNKS : (uint32_t)n;
}

bool save_kept(struct snapshot_save *s, struct save_part *sp)
{
    sp->made = saved_part_copy(saved_part_of(sp->cut->saved), save_pinned(sp));
    return sp->made || save_fail(s, VS_NOMEM, "out of memory");
}

bool save_unchanged(struct snapshot_save *s, struct save_part *sp)
{
    const struct saved_part *old = saved_part_of(sp->cut->saved);
    struct saved_file *file;
    if (!old || (old->part.flags & SNAPSHOT_SMALL) ||
        old->part.sequence != sp->state->sequence ||
        old->part.linked_sequence != sp->state->linked_sequence ||
        !saved_part_find(old, SECTION_STATE, 0, &file))
        return false;
    /* What is in memory is good still: it is written anew. */
    if (!saved_part_sound(old, s->o.scrub) && !graph_cut_damaged(sp->cut->cut))
        return false;
    /* A compaction changes no number, but moves records. */
    for (uint32_t c = 0; c < graph_cut_chunks(sp->cut->cut); c++)
        if (graph_cut_filled(sp->cut->cut, c) > file->file.cut)
            return false;
    return save_kept(s, sp);
}

/* ---- sections ---- */

struct sections {                    /* of the file being written */
    struct { enum section_kind kind; uint64_t offset, bytes; } section[9];
    unsigned n;
};

static void begin(struct snapshot_save *s, struct sections *l, enum section_kind kind)
{
    l->section[l->n].kind = kind;
    l->section[l->n].offset = segment_begin(s->writer);
}

static void end(struct snapshot_save *s, struct sections *l)
{
    l->section[l->n].bytes = segment_at(s->writer) - l->section[l->n].offset;
    l->n++;
}

static bool put_links(struct snapshot_save *s, struct save_part *sp, struct sections *l)
{
    struct graph_cut *cut = sp->cut->cut;
    uint32_t m = graph_cut_shape(cut)->m;
    size_t size = (size_t)CHUNK_SLOTS * 2 * m * sizeof(uint32_t);
    uint32_t *links = save_buffer(s, size);
    if (!links)
        return false;
    begin(s, l, SECTION_LINKS);
    for (uint32_t c = 0; c < graph_cut_chunks(cut); c++) {
        if (!graph_cut_links(cut, c, links))
            return save_fail(s, VS_CORRUPT, "links could not be read, or not be copied aside");
        segment_put(s->writer, links, size);
        if (!segment_pad(s->writer, SNAPSHOT_PAGE) || save_stopped(s))
            return false;
    }
    end(s, l);
    begin(s, l, SECTION_UPPER);
    for (uint32_t k = 0; k < sp->state->nupper; k++) {
        if (!graph_cut_upper(cut, k, links))
            return save_fail(s, VS_CORRUPT, "links could not be read, or not be copied aside");
        segment_put(s->writer, links, size / 2); /* UPPER_BLOCKS lists of m: as many as slots */
        if (!segment_pad(s->writer, SNAPSHOT_PAGE))
            return false;
    }
    end(s, l);
    return true;
}

/* ---- the numbers of records ---- */

struct records {
    uint64_t born[CHUNK_SLOTS];
    uint8_t level[CHUNK_SLOTS];
    uint32_t upper[CHUNK_SLOTS];
    void *user[CHUNK_SLOTS], *extra[CHUNK_SLOTS];
};

static void put_born(struct snapshot_save *s, struct save_part *sp, struct records *r,
                     struct sections *l)
{
    struct graph_cut *cut = sp->cut->cut;
    begin(s, l, SECTION_BORN);
    for (uint32_t c = 0; c < graph_cut_chunks(cut); c++) {
        graph_cut_records(cut, c, r->born, NULL, NULL, NULL, NULL);
        segment_put(s->writer, r->born, sizeof(r->born));
    }
    end(s, l);
    begin(s, l, SECTION_LEVELS);
    for (uint32_t c = 0; c < graph_cut_chunks(cut); c++) {
        graph_cut_records(cut, c, NULL, r->level, NULL, NULL, NULL);
        segment_put(s->writer, r->level, sizeof(r->level));
        segment_pad(s->writer, SNAPSHOT_PAGE);
    }
    for (uint32_t c = 0; c < graph_cut_chunks(cut); c++) {
        graph_cut_records(cut, c, NULL, NULL, r->upper, NULL, NULL);
        segment_put(s->writer, r->upper, sizeof(r->upper));
    }
    end(s, l);
}

static bool is_tomb(const struct graph_state *st, uint32_t slot)
{
    uint32_t lo = 0, hi = st->ntombs;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (st->tombs[mid].slot < slot)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < st->ntombs && st->tombs[lo].slot == slot;
}

struct id_cell {
    uint64_t hash;
    uint32_t slot, zero;
};

/* Sorts by hash, in place, a byte at a time from the highest (McIlroy, Bostic, McIlroy, "Engineering
 * radix sort", 1993): the copy that other sorts want is memory the store may not have. Below a few
 * dozen, insertion. */
static void sort_cells(struct id_cell *cell, size_t n, int shift)
{
    if (n < 48 || shift < 0) {
        for (size_t i = 1; i < n; i++) {
            struct id_cell x = cell[i];
            size_t k = i;
            for (; k && cell[k - 1].hash > x.hash; k--)
                cell[k] = cell[k - 1];
            cell[k] = x;
        }
        return;
    }
    size_t end_of[256] = {0}, next[256], at = 0;
    for (size_t i = 0; i < n; i++)
        end_of[cell[i].hash >> shift & 255]++;
    for (unsigned b = 0; b < 256; b++) {
        next[b] = at;
        at += end_of[b];
        end_of[b] = at;
    }
    for (unsigned b = 0; b < 256; b++)
        while (next[b] < end_of[b]) {
            struct id_cell x = cell[next[b]];
            unsigned to = x.hash >> shift & 255;
            while (to != b) {
                struct id_cell y = cell[next[to]];
                cell[next[to]++] = x;
                x = y;
                to = x.hash >> shift & 255;
            }
            cell[next[b]++] = x;
        }
    for (unsigned b = 0, from = 0; b < 256; b++) {
        size_t start = b ? end_of[b - 1] : from;
        sort_cells(cell + start, end_of[b] - start, shift - 8);
    }
}

static bool put_ids(struct snapshot_save *s, struct save_part *sp, struct records *r,
                    struct sections *l)
{
    struct graph_cut *cut = sp->cut->cut;
    size_t bytes, n = 0, cap = sp->state->alive;
    struct id_cell *cell = mem_mul(cap ? cap : 1, sizeof(*cell), &bytes) ? mem_try_alloc(bytes)
                                                                        : NULL;
    if (!cell)
        return save_fail(s, VS_NOMEM, "out of memory for the table of ids");
    for (uint32_t c = 0; c < graph_cut_chunks(cut); c++) {
        graph_cut_records(cut, c, r->born, NULL, NULL, r->user, NULL);
        for (uint32_t i = 0; i < CHUNK_SLOTS; i++) {
            uint32_t slot = c * CHUNK_SLOTS + i;
            if (!r->born[i] || is_tomb(sp->state, slot) || n == cap)
                continue;
            size_t len;
            const void *id = vs_cut_id(r->user[i], &len);
            cell[n++] = (struct id_cell){hash_bytes(id, len, sp->options.seed), slot, 0};
        }
    }
    sort_cells(cell, n, 56);
    begin(s, l, SECTION_IDTABLE);
    segment_put(s->writer, cell, n * sizeof(*cell));
    end(s, l);
    mem_free(cell);
    if (n != cap)
        return save_fail(s, VS_CORRUPT, "a partition has not as many records as it counts");
    return true;
}

/* ---- attributes ---- */

struct attr_pass {
    struct snapshot_save *s;
    struct save_part *sp;
    unsigned pass;                   /* 0 counts, 1 writes the table, 2 the entries */
    uint64_t n, bytes;               /* met in this pass: so many, with entries of so many bytes */
};

static void attr_chunk(struct attr_pass *p, struct records *r, uint32_t c)
{
    graph_cut_records(p->sp->cut->cut, c, r->born, NULL, NULL, r->user, r->extra);
    for (uint32_t i = 0; i < CHUNK_SLOTS; i++) {
        uint32_t slot = c * CHUNK_SLOTS + i;
        size_t bytes;
        const void *data;
        if (!r->born[i] || is_tomb(p->sp->state, slot) ||
            !(data = vs_cut_stored_attributes(p->sp->cut, r->user[i], r->extra[i], &bytes)))
            continue;
        uint8_t head[16] = {0};
        if (p->pass == 1) {
            le32_put(head, slot);
            le64_put(head + 8, 8 + p->sp->cut->attributes * 16 + p->bytes);
            segment_put(p->s->writer, head, 16);
        } else if (p->pass == 2) {
            segment_put(p->s->writer, data, bytes);
            segment_pad(p->s->writer, 8);
        }
        p->n++;
        p->bytes += pad_to(bytes, 8);
    }
}

/* What changes meanwhile must not be seen by one pass and not by another: entries would stand where other records'
 * are looked for. */
static bool put_attributes(struct snapshot_save *s, struct save_part *sp, struct records *r,
                           struct sections *l)
{
    struct attr_pass p = {s, sp, 0, 0, 0};
    uint64_t bytes = 0;
    uint8_t head[8];
    if (!sp->cut->attributes)
        return true;
    for (; p.pass < 3; p.pass++) {
        if (p.pass == 1) {
            begin(s, l, SECTION_ATTRS);
            le64_put(head, p.n);
            segment_put(s->writer, head, 8);
        }
        p.n = p.bytes = 0;
        for (uint32_t c = 0; c < graph_cut_chunks(sp->cut->cut); c++)
            attr_chunk(&p, r, c);
        if (p.n != sp->cut->attributes || (p.pass && p.bytes != bytes))
            return save_fail(s, VS_CORRUPT, "a partition has not the attributes that it counts");
        bytes = p.bytes;
    }
    end(s, l);
    return true;
}

/* ---- the state ---- */

static void put32(struct snapshot_save *s, uint32_t x)
{
    uint8_t b[4];
    le32_put(b, x);
    segment_put(s->writer, b, 4);
}

static void put64(struct snapshot_save *s, uint64_t x)
{
    uint8_t b[8];
    le64_put(b, x);
    segment_put(s->writer, b, 8);
}

static void put_batch(struct snapshot_save *s, const struct graph_batch *b)
{
    put64(s, b->sequence);
    put32(s, b->count);
    put32(s, b->ndeaths);
    for (uint32_t i = 0; i < b->count; i++)
        put32(s, b->slots[i]);
    for (uint32_t i = 0; i < b->ndeaths; i++)
        put32(s, b->deaths[i]);
}

static void put_state(struct snapshot_save *s, const struct graph_state *st, struct sections *l)
{
    bool open = st->open.count || st->open.ndeaths;
    begin(s, l, SECTION_STATE);
    put32(s, st->nbatches);
    put32(s, open);
    put32(s, st->ndead);
    put32(s, st->ntombs);
    for (uint32_t i = 0; i < st->nbatches; i++)
        put_batch(s, &st->batches[i]);
    if (open)
        put_batch(s, &st->open);
    for (uint32_t i = 0; i < st->ndead; i++)
        put32(s, st->dead_nodes[i]);
    for (uint32_t i = 0; i < st->ntombs; i++) {
        put32(s, st->tombs[i].slot);
        put32(s, 0);
        put64(s, st->tombs[i].died);
    }
    end(s, l);
}

/* ---- deadlines ---- */

static bool put_deadlines(struct snapshot_save *s, struct save_part *sp, struct records *r, struct sections *l)
{
    struct graph_cut *cut = sp->cut->cut;
    size_t n = 0;
    if (!sp->cut->deadlines && !sp->state->ntombs)
        return true;
    uint64_t *deadline = save_buffer(s, CHUNK_SLOTS * sizeof(*deadline));
    if (!deadline)
        return false;
    begin(s, l, SECTION_DEADLINES);
    for (uint32_t c = 0; c < graph_cut_chunks(cut); c++) {
        graph_cut_records(cut, c, r->born, NULL, NULL, r->user, NULL);
        graph_cut_deadlines(cut, c, deadline);
        for (uint32_t i = 0; i < CHUNK_SLOTS; i++) {
            uint32_t slot = c * CHUNK_SLOTS + i;
            bool tomb = r->born[i] && is_tomb(sp->state, slot);
            uint64_t at = deadline[i];
            if (r->born[i] && !tomb)
                at = vs_cut_deadline(sp->cut, r->user[i], at);
            if (!r->born[i] || !at)
                continue;
            put32(s, slot);
            put32(s, 0);
            put64(s, at);
            n += !tomb;
        }
    }
    end(s, l);
    return n == sp->cut->deadlines || save_fail(s, VS_CORRUPT, "a partition has not as many deadlines as it counts");
}

/* ---- the whole ---- */

static void fill_part(struct save_part *sp)
{
    const struct graph_state *st = sp->state;
    struct snapshot_part *p = &sp->made->part;
    p->number = sp->number;
    p->flags = (st->graphed ? SNAPSHOT_GRAPHED : 0) | save_pinned(sp);
    p->sequence = sp->made->saved.sequence = st->sequence;
    p->linked_sequence = sp->made->saved.linked_sequence = st->linked_sequence;
    p->alive = st->alive;
    p->attributes = sp->cut->attributes;
    p->deadlines = sp->cut->deadlines;
    p->first_deadline_ms = sp->cut->first_deadline_ms;
    p->records_digest = sp->cut->records_digest;
    p->closed_sequence = st->closed_sequence;
    p->graph_digest = st->digest;
    p->linked = st->linked;
    p->slots = st->slots;
    p->nupper = st->graphed ? st->nupper : 0;
    p->entry = st->graphed ? st->entry : SLOT_NONE;
    p->entry_level = st->entry_level;
    p->flat_inserts = st->flat_inserts;
    p->flat_deaths = st->graphed ? st->mended : st->flat_deaths;
    p->group_chunks = save_group_chunks(graph_cut_shape(sp->cut->cut));
}

static bool put_sections(struct snapshot_save *s, struct save_part *sp, struct sections *l)
{
    if (sp->state->graphed && !put_links(s, sp, l))
        return false;
    graph_cut_links_done(sp->cut->cut);
    struct records *r = mem_try_alloc(sizeof(*r));
    if (!r)
        return save_fail(s, VS_NOMEM, "out of memory");
    put_born(s, sp, r, l);
    bool ok = !save_stopped(s) && put_ids(s, sp, r, l);
    ok = ok && put_attributes(s, sp, r, l);
    ok = ok && put_deadlines(s, sp, r, l);
    mem_free(r);
    if (ok)
        put_state(s, sp->state, l);
    return ok && !save_stopped(s);
}

bool save_graph(struct snapshot_save *s, struct save_part *sp)
{
    struct sections l = {.n = 0};
    const struct columns_shape *shape = graph_cut_shape(sp->cut->cut);
    sp->made = saved_part_new();
    if (!sp->made)
        return save_fail(s, VS_NOMEM, "out of memory");
    fill_part(sp);
    if (!save_file_begin(s, (uint64_t)sp->state->slots * (2 * shape->m * 4 + 32)) ||
        !put_sections(s, sp, &l))
        return false;
    struct saved_file *f = save_file_end(s);
    bool ok = f != NULL;
    for (unsigned i = 0; i < l.n && ok; i++)
        if (!saved_part_add(sp->made, l.section[i].kind, 0, f, l.section[i].offset,
                            l.section[i].bytes))
            ok = save_fail(s, VS_NOMEM, "out of memory");
    saved_file_unref(f);
    return ok;
}
