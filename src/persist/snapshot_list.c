/* The end of a snapshot: its manifest, which lists what the parts were saved to, in order of the
 * keys, and the copy of files that are as they were, where the snapshot goes elsewhere. The thread's. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "persist/snapshot_int.h"
#include "persist/vfs_path.h"

/* ---- the manifest ---- */

static int compare_parts(const void *x, const void *y)
{
    const struct save_part *a = *(struct save_part *const *)x, *b = *(struct save_part *const *)y;
    if (a->db != b->db)
        return a->db < b->db ? -1 : 1;
    if (a->uid != b->uid)
        return a->uid < b->uid ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

/* The file's place in the manifest. */
static bool list_file(struct snapshot_save *s, struct saved_file *f, uint32_t *number)
{
    struct snapshot_manifest *m = &s->manifest;
    if (f->listed_in != s->id) {
        if (!mem_try_grow(&m->file, &m->files_cap, (size_t)m->nfiles + 1, sizeof(*m->file)))
            return false;
        m->file[m->nfiles] = f->file;
        m->file[m->nfiles].name = mem_strndup(f->file.name, strlen(f->file.name));
        f->listed_in = s->id;
        f->number = m->nfiles++;
    }
    *number = f->number;
    return true;
}

static bool list_part(struct snapshot_save *s, struct save_part *sp, struct snapshot_part *out)
{
    const struct saved_part *made = sp->made;
    *out = made->part;
    out->section = NULL;
    if (!made->part.nsections)
        return true;
    out->section = mem_try_alloc(made->part.nsections * sizeof(*out->section));
    if (!out->section)
        return false;
    for (uint32_t i = 0; i < out->nsections; i++) {
        out->section[i] = made->part.section[i];
        if (!list_file(s, made->file[out->section[i].file], &out->section[i].file))
            return false;
    }
    return true;
}

static bool list_index(struct snapshot_save *s, const struct save_part *sp)
{
    struct snapshot_manifest *m = &s->manifest;
    struct snapshot_index x = {.db = sp->db,
                               .key_len = sp->key_len,
                               .deadline_ms = sp->deadline_ms,
                               .options = sp->options};
    if (!mem_try_grow(&m->index, &m->indexes_cap, (size_t)m->nindexes + 1, sizeof(*m->index)))
        return false;
    x.key = mem_try_strndup(sp->key, sp->key_len);
    if (!x.key)
        return false;
    m->index[m->nindexes++] = x;
    return true;
}

static bool list_parts(struct snapshot_save *s, struct save_part **list, size_t n)
{
    struct snapshot_manifest *m = &s->manifest;
    for (size_t i = 0; i < n; i++) {
        if (!i || list[i]->db != list[i - 1]->db || list[i]->uid != list[i - 1]->uid)
            if (!list_index(s, list[i]))
                return false;
        struct snapshot_index *x = &m->index[m->nindexes - 1];
        if (!mem_try_grow(&x->part, &x->parts_cap, (size_t)x->nparts + 1, sizeof(*x->part)) ||
            !list_part(s, list[i], &x->part[x->nparts++]))
            return false;
        m->elements += list[i]->made->part.alive;
    }
    return true;
}

static bool make_manifest(struct snapshot_save *s)
{
    size_t n = 0;
    for (struct save_part *sp = s->parts; sp; sp = sp->next)
        n++;
    struct save_part **list = mem_try_alloc((n + 1) * sizeof(struct save_part *));
    if (!list)
        return save_fail(s, VS_NOMEM, "out of memory for the manifest");
    n = 0;
    for (struct save_part *sp = s->parts; sp; sp = sp->next)
        list[n++] = sp;
    qsort(list, n, sizeof(struct save_part *), compare_parts);
    s->manifest.id = s->id;
    s->manifest.lsn = s->o.lsn;
    s->manifest.epoch = s->o.epoch;
    s->manifest.hlc = s->o.hlc;
    s->manifest.track = s->o.track;
    s->manifest.wall_ms = s->wall_ms;
    s->manifest.cut = s->cut_number;
    s->manifest.databases = vs_databases(s->store);
    bool ok = list_parts(s, list, n) || save_fail(s, VS_NOMEM, "out of memory for the manifest");
    mem_free(list);
    return ok;
}

/* ---- copies ---- */

#define COPY_BYTES (256u << 10)

static bool was_made(const struct snapshot_save *s, const char *name)
{
    for (size_t i = 0; i < s->nmade; i++)
        if (!strcmp(s->made[i]->file.name, name))
            return true;
    return false;
}

/* Whole; what it says of itself is checked by who receives it. */
static bool copy_file(struct snapshot_save *s, const struct snapshot_file *file)
{
    struct vfs_error err;
    struct vfs_file from = {0}, to = {0};
    struct buf path = {0};
    void *block = save_buffer(s, COPY_BYTES);
    buf_printf(&path, "%s/%s", s->o.copy_segments, file->name);
    buf_append(&path, "", 1);
    enum vs_status status = block ? VS_OK : VS_NOMEM;
    if (status == VS_OK)
        status = vfs_file_open(&from, s->o.copy_from, path.data, VFS_RDONLY, &err);
    if (status == VS_OK)
        status = vfs_file_open(&to, s->o.vfs, path.data, VFS_RDWR | VFS_CREATE, &err);
    for (uint64_t at = 0; status == VS_OK && at < file->sums.size && !save_stopped(s);) {
        size_t n = file->sums.size - at < COPY_BYTES ? (size_t)(file->sums.size - at) : COPY_BYTES;
        status = vfs_file_read(&from, at, block, n, &err);
        if (status == VS_OK)
            status = vfs_file_append(&to, block, n, &err);
        at += n;
    }
    vfs_file_close(&from);
    vfs_file_close(&to);
    buf_release(&path);
    if (status != VS_OK && block)
        save_fail_errno(s, status, &err);
    return s->status == VS_OK;
}

bool save_end_copy(struct snapshot_save *s)
{
    struct vfs_error err;
    struct vfs_file to = {0};
    struct buf b = {0};
    if (!make_manifest(s))
        return false;
    for (uint32_t i = 0; i < s->manifest.nfiles; i++)
        if (!was_made(s, s->manifest.file[i].name) && !copy_file(s, &s->manifest.file[i]))
            return false;
    if (!snapshot_manifest_encode(&s->manifest, &b)) {
        buf_release(&b);
        return save_fail(s, VS_NOMEM, "out of memory for the manifest");
    }
    enum vs_status status = vfs_file_open(&to, s->o.vfs, s->o.manifest, VFS_RDWR | VFS_CREATE, &err);
    if (status == VS_OK)
        status = vfs_file_append(&to, b.data, b.len, &err);
    vfs_file_close(&to);
    if (status == VS_OK)
        status = vfs_path_sync_parent(s->o.vfs, s->o.manifest, &err);
    buf_release(&b);
    return status == VS_OK || save_fail_errno(s, status, &err);
}

bool save_end_files(struct snapshot_save *s)
{
    struct vfs_error err;
    struct buf b = {0};
    enum vs_status status = VS_OK;
    if (s->nmade) {
        char *any = save_segment_path(s, "x");
        status = vfs_path_sync_parent(s->o.vfs, any, &err);
        mem_free(any);
    }
    if (status != VS_OK)
        return save_fail_errno(s, status, &err);
    if (!make_manifest(s))
        return false;
    if (!snapshot_manifest_encode(&s->manifest, &b)) {
        buf_release(&b);
        return save_fail(s, VS_NOMEM, "out of memory for the manifest");
    }
    if (!save_stopped(s))
        status = vfs_path_store(s->o.vfs, s->o.manifest, b.data, b.len, true, &err);
    buf_release(&b);
    bool stored = s->status == VS_OK && status == VS_OK;
    if (stored && s->o.commit)
        status = s->o.commit(s->o.commit_arg, &err);
    if (status == VS_OK)
        return stored;
    /* The name may or may not be on disk: what it stands for must stay. */
    s->uncertain = err.op == VFS_OP_SYNCDIR;
    if (stored && !s->uncertain)
        vfs_path_unlink(s->o.vfs, s->o.manifest, NULL);
    return save_fail_errno(s, status, &err);
}
