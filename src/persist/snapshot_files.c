/* The files of snapshots: which are still wanted, and whether they are what they should be. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "persist/snapshot_int.h"
#include "persist/vfs_path.h"

char *snapshot_segments_path(const char *dir, const char *dbfilename)
{
    struct buf b = {0};
    buf_printf(&b, "%s/%s" SNAPSHOT_DIR_SUFFIX, dir, dbfilename);
    char *path = mem_strndup(b.data, b.len);
    buf_release(&b);
    return path;
}

static char *path_of(const char *segments, const char *name)
{
    struct buf b = {0};
    buf_printf(&b, "%s/%s", segments, name);
    char *path = mem_strndup(b.data, b.len);
    buf_release(&b);
    return path;
}

/* ---- what is no longer wanted ---- */

static int compare_names(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t n = strlen(name), k = strlen(suffix);
    return n >= k && strcmp(name + n - k, suffix) == 0;
}

/* All names of the manifests, sorted. NULL: out of memory. */
static const char **wanted_names(const struct snapshot_manifest *const *keep, size_t n,
                                 size_t *count)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += keep[i] ? keep[i]->nfiles : 0;
    const char **name = mem_try_alloc((total + 1) * sizeof(const char *));
    if (!name)
        return NULL;
    *count = 0;
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 0; keep[i] && k < keep[i]->nfiles; k++)
            name[(*count)++] = keep[i]->file[k].name;
    qsort(name, *count, sizeof(const char *), compare_names);
    return name;
}

void snapshot_collect(const struct vfs *v, const char *segments,
                      const struct snapshot_manifest *const *keep, size_t n)
{
    struct vfs_names names = {0};
    struct vfs_error err;
    size_t count, removed = 0;
    const char **wanted = wanted_names(keep, n, &count);
    if (!wanted)
        return; /* another time */
    enum vs_status status = vfs_path_list(v, segments, &names, &err);
    if (status != VS_OK && status != VS_NOTFOUND)
        log_warning("Old files of snapshots stay: %s", err.text);
    for (size_t i = 0; status == VS_OK && i < names.count; i++) {
        const char *name = names.name[i];
        if (!ends_with(name, SNAPSHOT_SEGMENT_SUFFIX) ||
            bsearch(&name, wanted, count, sizeof(const char *), compare_names))
            continue;
        char *path = path_of(segments, name);
        enum vs_status gone = vfs_path_unlink(v, path, &err);
        if (gone == VS_OK)
            removed++;
        else if (gone != VS_NOTFOUND)
            log_warning("An old file of a snapshot stays: %s", err.text);
        mem_free(path);
    }
    if (removed)
        log_verbose("%zu old files of snapshots removed", removed);
    vfs_names_release(&names);
    mem_free(wanted);
}

/* ---- checking ---- */

enum vs_status snapshot_verify(const struct vfs *v, const char *segments,
                               const struct snapshot_manifest *m, struct buf *why)
{
    for (uint32_t i = 0; i < m->nfiles; i++) {
        char *path = path_of(segments, m->file[i].name);
        enum vs_status status = segment_verify(v, path, &m->file[i].sums, why);
        mem_free(path);
        if (status != VS_OK)
            return status == VS_NOTFOUND ? VS_CORRUPT : status;
    }
    return VS_OK;
}
