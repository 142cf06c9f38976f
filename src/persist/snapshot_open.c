/* One partition alone. Opening it from where a snapshot's files hold it, after it was unloaded or left closed at the
 * start: a manifest of its own files, and then what loading does for each (snapshot_restore.h). */
#include <string.h>

#include "base/mem.h"
#include "persist/snapshot_restore.h"

struct vs_saved *snapshot_saved_copy(const struct vs_saved *saved)
{
    const struct saved_part *from = saved_part_of((struct vs_saved *)saved);
    struct saved_part *copy = saved_part_copy(from, from->part.flags & SNAPSHOT_PINNED);
    return copy ? &copy->saved : NULL;
}

bool snapshot_saved_sound(const struct vs_saved *saved, struct scrub *scrub)
{
    return saved_part_sound(saved_part_of((struct vs_saved *)saved), scrub);
}

enum vs_status snapshot_open_part(const struct vfs *v, const char *segments,
                                  struct segment_set *set, const struct vs_opening *o,
                                  enum vs_status (*build)(void *arg,
                                                          const struct vs_part_image *image,
                                                          struct buf *why),
                                  void *arg, struct buf *why)
{
    const struct saved_part *saved = saved_part_of((struct vs_saved *)o->saved);
    struct snapshot_file *file = mem_try_zalloc((saved->nfiles + 1) * sizeof(*file));
    struct snapshot_manifest m = {.nfiles = saved->nfiles, .file = file};
    const struct snapshot_index index = {
        .db = o->db, .key = (char *)o->key, .key_len = o->key_len, .options = *o->options};
    struct restore_files files;
    struct restore_part part;
    if (!file)
        return VS_NOMEM;
    for (uint32_t i = 0; i < saved->nfiles; i++)
        file[i] = saved->file[i]->file;
    enum vs_status status = restore_files_init(&files, v, segments, &m, set);
    if (status == VS_OK) {
        status = restore_part(&files, &index, &saved->part, &part, why);
        if (status == VS_OK)
            status = build(arg, &part.image, why);
        restore_part_release(&part);
        restore_files_release(&files);
    }
    mem_free(file);
    return status;
}

static bool same_options(const struct vs_index_options *a, const struct vs_index_options *b)
{
    return a->dim == b->dim && a->metric == b->metric && a->type == b->type && a->originals == b->originals &&
           a->structure == b->structure && a->m == b->m && a->ef_construction == b->ef_construction &&
           a->seed == b->seed && a->input_dim == b->input_dim;
}

static enum vs_status check_only(const struct snapshot_manifest *m, const struct snapshot_only *only,
                                 const struct vs_index_options *options, struct buf *why)
{
    const struct snapshot_index *x = m->index;
    if (m->nindexes == 1 && x->nparts == 1 && x->part->number == only->number && x->db == only->db &&
        x->key_len == only->key_len && !memcmp(x->key, only->key, x->key_len) &&
        same_options(&x->options, options))
        return VS_OK;
    buf_puts(why, "what came is not the partition that was asked for");
    return VS_CORRUPT;
}

enum vs_status snapshot_read_part(const struct vfs *v, const char *segments, const char *manifest,
                                  const struct snapshot_only *only, const struct vs_index_options *options,
                                  enum vs_status (*build)(void *arg, const struct vs_part_image *image,
                                                          struct buf *why),
                                  void *arg, struct buf *why)
{
    struct snapshot_manifest m = {0};
    struct segment_set *set = segment_set_new();
    struct restore_files files;
    struct restore_part part;
    enum vs_status status = snapshot_manifest_load(v, manifest, &m, why);
    if (status == VS_OK)
        status = check_only(&m, only, options, why);
    if (status == VS_OK)
        status = restore_files_init(&files, v, segments, &m, set);
    if (status == VS_OK) {
        status = restore_part(&files, m.index, m.index->part, &part, why);
        struct vs_part_image image = part.image;
        image.saved = NULL; /* nobody finds its files again */
        if (status == VS_OK)
            status = build(arg, &image, why);
        restore_part_release(&part);
        restore_files_release(&files);
    }
    snapshot_manifest_release(&m);
    segment_set_unref(set);
    return status;
}
