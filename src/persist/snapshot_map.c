/* After a snapshot its V files (of an index MAP ALL its G file, for the links, too) can stand in for the
 * memory of what they hold: the same bytes, from the page cache, which the system may take back and read
 * again. The saving thread maps them and checks every block, so that the owner meets neither a page fault
 * nor a doubt; the store exchanges the pointers (vs_map_part). */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "persist/snapshot_int.h"

static struct region *map(struct snapshot_save *s, const struct saved_file *f)
{
    struct buf path = {0}, why = {0};
    struct region *r = NULL;
    buf_printf(&path, "%s/%s", s->o.segments, f->file.name);
    buf_append(&path, "", 1);
    if (segment_map(s->o.vfs, path.data, &f->file.sums, s->o.set, &r, &why) != VS_OK)
        r = NULL;
    else if (!r->check(r, 0, r->size))
        r->describe(r, &why);
    if (why.len) {
        log_warning("A file of the snapshot is not mapped: %.*s", (int)why.len, why.data);
        region_unref(r);
        r = NULL;
    }
    buf_release(&path);
    buf_release(&why);
    return r;
}

static void map_links(struct snapshot_save *s, struct save_part *sp)
{
    struct saved_file *f;
    const struct snapshot_section *links = saved_part_find(sp->made, SECTION_LINKS, 0, &f);
    if (sp->options.map != VS_MAP_ALL || !links || f->file.cut != s->cut_number)
        return;
    sp->links_in = map(s, f);
    sp->links = links->offset;
}

static void map_part(struct snapshot_save *s, struct save_part *sp)
{
    const struct snapshot_part *p = &sp->made->part;
    uint32_t n = snapshot_groups(p);
    struct vs_part_group *groups = mem_try_zalloc(((size_t)n + 1) * sizeof(*groups));
    bool any = false;
    for (uint32_t g = 0; g < n && groups; g++) {
        struct saved_file *f, *same;
        const struct snapshot_section *rows = saved_part_find(sp->made, SECTION_ROWS, g, &f);
        const struct snapshot_section *ids = saved_part_find(sp->made, SECTION_IDS, g, &same);
        const struct snapshot_section *originals =
            saved_part_find(sp->made, SECTION_ORIGINALS, g, &same);
        if (!rows || !ids || f->file.cut != s->cut_number)
            continue; /* mapped when it was written or loaded */
        groups[g] = (struct vs_part_group){.v = map(s, f),
                                           .rows = rows->offset,
                                           .originals = originals ? originals->offset : 0,
                                           .ids = ids->offset,
                                           .ids_bytes = ids->bytes,
                                           .filled = s->cut_number};
        any |= groups[g].v != NULL;
    }
    sp->groups = groups;
    sp->ngroups = n;
    sp->group_chunks = p->group_chunks;
    map_links(s, sp);
    if (!any && !sp->links_in)
        save_unmap(sp);
}

void save_map(struct snapshot_save *s)
{
    for (struct save_part *sp = s->parts; sp && !save_cancelled(s); sp = sp->next)
        if (sp->made && !(sp->made->part.flags & SNAPSHOT_SMALL))
            map_part(s, sp);
}

void save_unmap(struct save_part *sp)
{
    for (uint32_t g = 0; g < sp->ngroups && sp->groups; g++)
        region_unref(sp->groups[g].v);
    region_unref(sp->links_in);
    sp->links_in = NULL;
    mem_free(sp->groups);
    sp->groups = NULL;
    sp->ngroups = 0;
}
