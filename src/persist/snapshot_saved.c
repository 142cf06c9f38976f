/* What snapshots hold of a partition: which sections of which files. It is kept with the partition,
 * so that the next snapshot knows what it need not write. */
#include <string.h>

#include "base/mem.h"
#include "persist/snapshot_int.h"

struct saved_file *saved_file_new(const struct segment_sums *sums, uint64_t cut, const char *name)
{
    struct saved_file *f = mem_zalloc(sizeof(*f));
    atomic_init(&f->refs, 1);
    f->file = (struct snapshot_file){*sums, cut, mem_strndup(name, strlen(name))};
    return f;
}

struct saved_file *saved_file_ref(struct saved_file *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void saved_file_unref(struct saved_file *f)
{
    if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    mem_free(f->file.name);
    mem_free(f);
}

static void free_saved(struct vs_saved *saved)
{
    saved_part_free((struct saved_part *)saved);
}

struct saved_part *saved_part_new(void)
{
    struct saved_part *p = mem_try_zalloc(sizeof(*p));
    if (p) {
        p->magic = SAVED_MAGIC;
        p->saved.free = free_saved;
    }
    return p;
}

void saved_part_clear(struct saved_part *p)
{
    for (uint32_t i = 0; i < p->nfiles; i++)
        saved_file_unref(p->file[i]);
    p->nfiles = p->part.nsections = 0;
}

void saved_part_free(struct saved_part *p)
{
    if (!p)
        return;
    saved_part_clear(p);
    mem_free(p->file);
    mem_free(p->part.section);
    mem_free(p);
}

bool saved_part_sound(const struct saved_part *p, struct scrub *scrub)
{
    for (uint32_t i = 0; i < p->nfiles; i++)
        if (scrub_is_bad(scrub, p->file[i]->file.name))
            return false;
    return true;
}

bool saved_part_add(struct saved_part *p, enum section_kind kind, uint32_t group,
                    struct saved_file *f, uint64_t offset, uint64_t bytes)
{
    uint32_t at = 0;
    while (at < p->nfiles && p->file[at] != f)
        at++;
    if (!mem_try_grow(&p->part.section, &p->sections_cap, (size_t)p->part.nsections + 1,
                      sizeof(*p->part.section)) ||
        !mem_try_grow(&p->file, &p->files_cap, (size_t)p->nfiles + 1, sizeof(*p->file)))
        return false;
    if (at == p->nfiles)
        p->file[p->nfiles++] = saved_file_ref(f);
    p->part.section[p->part.nsections++] =
        (struct snapshot_section){(uint16_t)kind, group, at, offset, bytes};
    return true;
}

struct saved_part *saved_part_copy(const struct saved_part *from, uint32_t pinned)
{
    struct saved_part *p = saved_part_new();
    if (!p)
        return NULL;
    p->saved = from->saved;
    p->part = from->part;
    p->part.flags = (from->part.flags & ~SNAPSHOT_PINNED) | pinned;
    p->part.section = NULL;
    p->part.nsections = 0;
    for (uint32_t i = 0; i < from->part.nsections; i++) {
        const struct snapshot_section *s = &from->part.section[i];
        if (!saved_part_add(p, s->kind, s->group, from->file[s->file], s->offset, s->bytes)) {
            saved_part_free(p);
            return NULL;
        }
    }
    return p;
}

const struct snapshot_section *saved_part_find(const struct saved_part *p, enum section_kind kind,
                                               uint32_t group, struct saved_file **file)
{
    const struct snapshot_section *s = snapshot_find(&p->part, kind, group);
    if (s)
        *file = p->file[s->file];
    return s;
}
