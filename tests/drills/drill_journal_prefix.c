/* Every prefix of a journal of 64 KiB: it is loaded up to the last record that is whole, and what is
 * cut off is told. With aof-load-truncated no, a prefix that ends inside a record is refused.
 * tsan: skip (files are what it is about; the threads are those of test_journal and test_snapshot) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "lib/drill.h"
#include "lib/run.h"
#include "lib/journal_rig.h"
#include "persist/journal_frame.h"
#include "persist/journal_read.h"

#define BYTES 65536

struct drill_journal {
    struct rig rig;
    struct vfs v;
    char dir[160];
    char *path;
    uint64_t *end;  /* by LSN: where that record ends; [0]: the header */
    uint64_t *begin; /* where it begins, behind what is said of its history; [known + 1]: the seal */
    uint64_t size;
};

static void make(struct drill_journal *d)
{
    struct vfs_error err;
    struct vfs_stat st = {0};
    d->v = rig_vfs_unsynced();
    snprintf(d->dir, sizeof(d->dir), "%s/j", drill_dir());
    d->path = journal_segment_path(d->dir, RIG_NAME, 1);
    rig_init(&d->rig, &d->v, d->dir, JOURNAL_NO, run_seed());
    rig_histories(&d->rig, NULL);
    d->rig.vector_dim = 32;
    if (journal_open(d->rig.journal, &d->rig.manifest, &err))
        abort();
    while (st.size < BYTES) {
        if (rig_step(&d->rig) || !rig_settle(&d->rig, 5000) || vfs_path_stat(&d->v, d->path, &st, &err))
            abort();
    }
    if (rig_close(&d->rig) || vfs_path_stat(&d->v, d->path, &st, &err))
        abort();
    d->size = st.size;

    struct journal_reader r = {0};
    struct journal_file f = {.seq = 1, .first = 1};
    struct buf why = {0};
    d->end = mem_zalloc((d->rig.known + 1) * sizeof(*d->end));
    d->end[0] = JOURNAL_HEADER;
    if (journal_reader_open(&r, &d->v, d->path, &f, &why))
        abort();
    d->begin = mem_zalloc((d->rig.known + 2) * sizeof(*d->begin));
    while (journal_reader_next(&r) == JOURNAL_FOUND_RECORD) {
        d->begin[r.frame.lsn] = r.record_at;
        d->end[r.frame.lsn] = r.at;
    }
    d->begin[d->rig.known + 1] = r.at - JOURNAL_FRAME; /* the seal */
    journal_reader_close(&r);
}

static void one(struct drill_journal *d, uint64_t prefix)
{
    uint64_t whole = 0;
    struct vs_store *store = NULL;
    struct journal_manifest m = {0};
    struct journal_loaded loaded = {0};
    struct buf why = {0};
    while (whole < d->rig.known && d->end[whole + 1] <= prefix)
        whole++;
    /* What is said of a history stands before a record, and is whole or torn by itself. */
    bool clean = prefix == d->size || (prefix >= d->end[whole] && prefix <= d->begin[whole + 1] &&
                                       (prefix - d->end[whole]) % (JOURNAL_FRAME + JOURNAL_HISTORY_BYTES) == 0);
    if (truncate(d->path, (off_t)prefix))
        abort();
    enum vs_status status = rig_load(&d->v, d->dir, true, &store, &m, &loaded, &why);
    if (status)
        drill_failed("%" PRIu64 " bytes: %.*s", prefix, (int)why.len, why.data);
    else if (loaded.lsn != whole || loaded.cut == clean)
        drill_failed("%" PRIu64 " bytes: loaded to record %" PRIu64 " instead of %" PRIu64 "%s", prefix,
                     loaded.lsn, whole, loaded.cut ? ", cut" : "");
    else if (rig_digest(store) != d->rig.digest[whole])
        drill_failed("%" PRIu64 " bytes: other data than after record %" PRIu64, prefix, whole);
    if (store)
        vs_close(store);
    if (loaded.cut)
        unlink(loaded.cut_file);
    journal_manifest_release(&m);

    store = NULL;
    status = rig_load(&d->v, d->dir, false, &store, &m, &loaded, &why);
    if ((status == VS_OK) != clean)
        drill_failed("%" PRIu64 " bytes, torn ends refused: %s", prefix, vs_status_text(status));
    if (store)
        vs_close(store);
    journal_manifest_release(&m);
    buf_release(&why);
}

int main(void)
{
    struct drill_journal d = {0};
    unsigned long cases = 0, step = drill_count(1, 64);
    log_set_level(LOG_NOTHING);
    make(&d);
    printf("a journal of %" PRIu64 " bytes, %" PRIu64 " records\n", d.size, d.rig.known);
    for (uint64_t prefix = d.size + 1; prefix > 0; cases++) {
        one(&d, prefix - 1);
        prefix = prefix > step ? prefix - step : 0;
    }
    mem_free(d.begin);
    mem_free(d.end);
    mem_free(d.path);
    rig_release(&d.rig);
    return drill_end("journal, prefixes", cases);
}
