/* A full synchronisation at the replica: files come in frames, are kept in memory, and become a store of
 * their own, which the loop then puts in the place of the one it has. One partition alone comes in the same
 * frames, and its files go to the loop as they are (mend.c). */
#include <string.h>
#include <zstd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "persist/le.h"
#include "persist/snapshot.h"
#include "repl/link_int.h"

#define STEP_NS 200000000ull

void link_snapshot_drop(struct link *l)
{
    vfs_file_close(&l->file);
    memory_files_free(l->files);
    l->files = NULL;
}

static bool begin_file(struct link *l, const uint8_t *payload, size_t len)
{
    struct vfs_error err;
    struct buf path = {0};
    const char *name = (const char *)payload;
    if (l->file.path)
        return link_fail(l, "a file of the snapshot begins before the one before has ended");
    if (!wire_name_good(name, len))
        return link_fail(l, "a file of the snapshot has a name that none has");
    if (!l->files) {
        l->files = memory_files_new();
        l->vfs = memory_files_vfs(l->files);
    }
    l->file_is_manifest = len == strlen(LINK_MANIFEST) && !memcmp(name, LINK_MANIFEST, len);
    buf_printf(&path, "%s%.*s", l->file_is_manifest ? "" : LINK_SEGMENTS "/", (int)len, name);
    buf_append(&path, "", 1);
    enum vs_status status =
        vfs_file_open(&l->file, &l->vfs, path.data, VFS_RDWR | VFS_CREATE | VFS_EXCL, &err);
    buf_release(&path);
    return status == VS_OK || link_fail(l, "receiving the snapshot: %s", err.text);
}

/* Received where they stay. */
bool link_snapshot_data(struct link *l, const struct journal_frame *f)
{
    if (!l->full && !l->part)
        return link_fail(l, "a part of a snapshot where none should be");
    if (!l->file.path)
        return link_fail(l, "bytes of a snapshot that belong to no file");
    uint8_t *room = memory_files_room(l->files, l->file.fd, f->bytes);
    if (!room)
        return link_fail(l, "out of memory for the snapshot");
    if (!link_receive_to(l, room, f->bytes))
        return false;
    const char *why = wire_check(f, room, &l->at);
    if (why)
        return link_spoil(l, why);
    if (!memory_files_filled(l->files, l->file.fd, f->bytes, f->hlc, f->payload_sum))
        return link_fail(l, "out of memory for the snapshot");
    l->file.end += f->bytes;
    atomic_fetch_add_explicit(&l->received, f->bytes, memory_order_relaxed);
    return true;
}

static bool put(struct link *l, const void *data, size_t len)
{
    struct vfs_error err;
    if (!l->file.path)
        return link_fail(l, "bytes of a snapshot that belong to no file");
    if (vfs_file_append(&l->file, data, len, &err) != VS_OK)
        return link_fail(l, "receiving the snapshot: %s", err.text);
    atomic_fetch_add_explicit(&l->received, len, memory_order_relaxed);
    return true;
}

static bool put_packed(struct link *l, const uint8_t *payload, size_t len)
{
    uint32_t want = len >= 4 ? le32(payload) : 0;
    if (!want || want > WIRE_BLOCK)
        return link_fail(l, "a compressed block that says it has %u bytes", want);
    buf_reset(&l->unpacked);
    char *room = buf_reserve(&l->unpacked, want);
    if (ZSTD_decompress(room, want, payload + 4, len - 4) != want)
        return link_fail(l, "a compressed block is not what it says");
    return put(l, room, want);
}

/* Loads what has come; the thread is the new store's owner until the loop takes it. Every byte has been under a
 * frame's sum; what lies in the files is checked for sense, as at a start. */
static bool load(struct link *l, struct vs_store *store, uint64_t *hlc)
{
    struct segment_set *set = segment_set_new();
    struct snapshot_load_options o = {.vfs = &l->vfs,
                                      .segments = LINK_SEGMENTS,
                                      .manifest = LINK_MANIFEST,
                                      .set = set,
                                      .passing = true};
    struct snapshot_load *job = NULL;
    struct buf why = {0};
    bool done = false;
    enum vs_status status = snapshot_load_start(&o, store, &job, &why);
    while (status == VS_OK && !done && !link_stopped(l)) {
        status = snapshot_load_step(job, clock_mono_ns() + STEP_NS, &done, &why);
        vs_poll(store, 1000);
        if (!link_send_ack(l, false))
            break;
    }
    if (status != VS_OK)
        link_fail(l, "the snapshot that was received cannot be loaded: %.*s", (int)why.len,
                  why.len ? why.data : "");
    bool ok = status == VS_OK && done;
    if (ok && snapshot_load_manifest(job)->lsn != l->at.lsn)
        ok = link_fail(l, "the snapshot is not of the record that was announced");
    if (ok)
        *hlc = snapshot_load_manifest(job)->hlc;
    snapshot_load_free(job);
    segment_set_unref(set);
    buf_release(&why);
    return ok;
}

static void part_ended(struct link *l, bool whole)
{
    struct link_item *item = mem_zalloc(sizeof(*item));
    item->kind = LINK_PART;
    item->at = l->at;
    item->bytes = l->said;
    l->said = (struct buf){0};
    if (whole) {
        item->files = l->files;
        l->files = NULL;
    }
    link_snapshot_drop(l);
    l->part = false;
    link_push(l, item);
}

bool link_part_begin(struct link *l, const uint8_t *payload, size_t len)
{
    if (l->full || l->part)
        return link_fail(l, "a partition begins where none should");
    l->part = true;
    buf_reset(&l->said);
    if (!buf_try_append(&l->said, payload, len))
        return link_fail(l, "out of memory for what the primary says of a partition");
    return true;
}

static bool end_snapshot(struct link *l)
{
    if (l->part) {
        part_ended(l, true);
        return true;
    }
    struct vs_store *store;
    uint64_t hlc = 0;
    if (vs_open(&l->store, &store) != VS_OK)
        return link_fail(l, "a store for the primary's data cannot be opened");
    if (!load(l, store, &hlc)) {
        vs_close(store);
        return link_fail(l, "it was ended");
    }
    link_snapshot_drop(l);
    struct link_item *item = mem_zalloc(sizeof(*item));
    item->kind = LINK_LOADED;
    memcpy(item->replid, l->replid, sizeof(item->replid));
    item->at = l->at;
    item->hlc = hlc;
    item->common = l->common;
    item->store = store;
    l->full = false;
    link_push(l, item);
    atomic_store(&l->last_ns, clock_mono_ns());
    atomic_store(&l->state, LINK_CONNECTED);
    return true;
}

static bool end_file(struct link *l, const uint8_t *payload, size_t len)
{
    if (!l->file.path)
        return link_fail(l, "the end of a file that has not begun");
    if (len != 8 || le64(payload) != l->file.end)
        return link_fail(l, "%s has not as many bytes as it should", l->file.path);
    vfs_file_close(&l->file);
    return !l->file_is_manifest || end_snapshot(l);
}

bool link_snapshot_frame(struct link *l, const struct journal_frame *f, const uint8_t *payload)
{
    if (!l->full && !l->part)
        return link_fail(l, "a part of a snapshot where none should be");
    if (l->part && f->type == WIRE_SNAP_FAILED) {
        part_ended(l, false);
        return true;
    }
    switch (f->type) {
    case WIRE_SNAP_FILE: return begin_file(l, payload, f->bytes);
    case WIRE_SNAP_ZSTD: return put_packed(l, payload, f->bytes);
    case WIRE_SNAP_CLOSE: return end_file(l, payload, f->bytes);
    default:
        return link_fail(l, "the primary gave the snapshot up: %.*s",
                         (int)(f->bytes < 200 ? f->bytes : 200), (const char *)payload);
    }
}
