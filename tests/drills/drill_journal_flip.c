/* Every flip of one bit in a journal of 16 KiB and in its manifest: what is loaded is what was written
 * before the flip, and the rest is reported; or the start is refused, with file and offset.
 *
 * Two journals: one under `always`, closed properly, in which every record is known to have been
 * synced: nothing but the seal may be taken for a torn end. And one that was never synced, where the
 * records from the flip on are given up, with a report.
 * tsan: skip (files are what it is about; the threads are those of test_journal and test_snapshot) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "lib/drill.h"
#include "lib/run.h"
#include "lib/journal_rig.h"
#include "persist/journal_frame.h"
#include "persist/journal_read.h"

#define BYTES 16384
#define GROUP 256

struct drill_flip {
    struct rig rig;
    struct vfs v;
    bool synced;
    char dir[160];
    char *segment, *manifest, *path;  /* path: the one whose bits are flipped */
    uint64_t *begin, *end;            /* by LSN: where that record begins, ends; what is said of a history stands before */
    struct buf bytes;                 /* of `path` */
};

static void make(struct drill_flip *d, bool synced)
{
    struct vfs_error err;
    struct vfs_stat st = {0};
    *d = (struct drill_flip){.v = rig_vfs_unsynced(), .synced = synced};
    snprintf(d->dir, sizeof(d->dir), "%s/%s", drill_dir(), synced ? "synced" : "unsynced");
    d->segment = journal_segment_path(d->dir, RIG_NAME, 1);
    d->manifest = journal_manifest_path(d->dir, RIG_NAME);
    rig_init(&d->rig, &d->v, d->dir, synced ? JOURNAL_ALWAYS : JOURNAL_NO, run_seed() + synced);
    rig_histories(&d->rig, NULL);
    d->rig.vector_dim = 16;
    if (journal_open(d->rig.journal, &d->rig.manifest, &err))
        abort();
    while (st.size < BYTES) {
        if (rig_step(&d->rig) || !rig_settle(&d->rig, 5000) ||
            vfs_path_stat(&d->v, d->segment, &st, &err))
            abort();
    }
    struct buf before_close = {0};
    if (vfs_path_load(&d->v, d->segment, 1 << 20, &before_close, &err) || rig_close(&d->rig))
        abort();
    if (!synced && vfs_path_store(&d->v, d->segment, before_close.data, before_close.len, false, &err))
        abort();
    buf_release(&before_close);

    struct journal_reader r = {0};
    struct journal_file f = {.seq = 1, .first = 1};
    struct buf why = {0};
    d->end = mem_zalloc((d->rig.known + 2) * sizeof(*d->end));
    d->end[0] = JOURNAL_HEADER;
    if (journal_reader_open(&r, &d->v, d->segment, &f, &why))
        abort();
    d->begin = mem_zalloc((d->rig.known + 2) * sizeof(*d->begin));
    while (journal_reader_next(&r) == JOURNAL_FOUND_RECORD) {
        d->begin[r.frame.lsn] = r.record_at;
        d->end[r.frame.lsn] = r.at;
    }
    d->begin[d->rig.known + 1] = r.at;
    journal_reader_close(&r);
}

static void take(struct drill_flip *d, char *path)
{
    struct vfs_error err;
    d->path = path;
    d->bytes.len = 0;
    if (vfs_path_load(&d->v, path, 1 << 20, &d->bytes, &err))
        abort();
}

static void put(struct drill_flip *d, unsigned long byte, char value)
{
    struct vfs_file f = {0};
    struct vfs_error err;
    if (vfs_file_open(&f, &d->v, d->path, VFS_RDWR, &err) || vfs_file_write(&f, byte, &value, 1, &err))
        abort();
    vfs_file_close(&f);
}

/* The record that was to be lost first, or 0: the flip must refuse the start. */
static uint64_t may_lose(const struct drill_flip *d, unsigned long byte)
{
    uint64_t lsn = 1;
    if (d->path == d->manifest || byte < JOURNAL_HEADER)
        return 0;
    while (lsn <= d->rig.known && d->end[lsn] <= byte)
        lsn++;
    return d->synced && lsn <= d->rig.known ? 0 : lsn;
}

static void one(void *arg, unsigned long bit)
{
    struct drill_flip *d = arg;
    unsigned long byte = bit / 8;
    struct vs_store *store = NULL;
    struct journal_manifest m = {0};
    struct journal_loaded loaded = {0};
    struct buf why = {0};
    uint64_t lost = may_lose(d, byte);
    put(d, byte, (char)(d->bytes.data[byte] ^ 1 << bit % 8));
    enum vs_status status = rig_load(&d->v, d->dir, true, &store, &m, &loaded, &why);
    if (status) {
        if (status != VS_CORRUPT || lost || !memmem(why.data, why.len, d->path, strlen(d->path)))
            drill_failed("bit %lu of %s: %s, %.*s", bit, d->path, vs_status_text(status), (int)why.len,
                         why.data);
    } else if (!lost) {
        drill_failed("bit %lu of %s: loaded to record %" PRIu64, bit, d->path, loaded.lsn);
    } else if (!loaded.cut || loaded.lsn != lost - 1 || loaded.cut_at < d->end[lost - 1] ||
               loaded.cut_at > d->begin[lost] || loaded.cut_at > byte) {
        drill_failed("bit %lu of %s: loaded to record %" PRIu64 " instead of %" PRIu64, bit, d->path,
                     loaded.lsn, lost - 1);
    } else if (rig_digest(store) != d->rig.digest[loaded.lsn]) {
        drill_failed("bit %lu of %s: other data than after record %" PRIu64, bit, d->path, loaded.lsn);
    }
    if (store)
        vs_close(store);
    if (loaded.cut)
        unlink(loaded.cut_file);
    journal_manifest_release(&m);
    buf_release(&why);
    put(d, byte, d->bytes.data[byte]);
}

int main(void)
{
    unsigned long cases = 0;
    /* An odd step, so that every bit of a byte has its turn. */
    unsigned long step = drill_count(1, 63);
    log_set_level(LOG_NOTHING);
    for (int synced = 0; synced < 2; synced++) {
        struct drill_flip d;
        make(&d, synced);
        char *paths[] = {d.segment, d.manifest};
        for (int i = 0; i < 2; i++) {
            take(&d, paths[i]);
            unsigned long bits = d.bytes.len * 8;
            drill_forked(0, bits, step, GROUP, one, &d);
            cases += (bits + step - 1) / step;
            printf("%s, %zu bytes: done\n", paths[i], d.bytes.len);
        }
        buf_release(&d.bytes);
        mem_free(d.begin);
        mem_free(d.end);
        mem_free(d.segment);
        mem_free(d.manifest);
        rig_release(&d.rig);
    }
    return drill_end("journal, flipped bits", cases);
}
