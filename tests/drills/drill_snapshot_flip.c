/* Flips of one bit in every file of a snapshot: refused at the start, with the file's name, or
 * reported as damage of a partition when it is touched or scrubbed. Until then what is answered is
 * right, or an error.
 * tsan: skip (files are what it is about; the threads are those of test_journal and test_snapshot) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "lib/drill.h"
#include "lib/run.h"
#include "lib/snapshot_rig.h"
#include "persist/vfs_path.h"

#define GROUP 256

struct flips {
    struct vfs v;
    struct persist_options o;
    char dir[160], path[400];
    struct buf bytes;
    struct vs_store *expected;
};

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void put(const struct flips *d, unsigned long byte, char value)
{
    struct vfs_file f = {0};
    must(vfs_file_open(&f, &d->v, d->path, VFS_RDWR, NULL) == VS_OK);
    must(vfs_file_write(&f, byte, &value, 1, NULL) == VS_OK);
    vfs_file_close(&f);
}

static void loaded(struct flips *d, struct snapshot_rig *s, unsigned long bit, const char *name)
{
    struct persist_status now;
    size_t at_once = 0, later = 0;
    if (!srig_compare(s->rig.store, d->expected, &at_once))
        drill_failed("bit %lu of %s: something wrong was answered", bit, name);
    vs_settle(s->rig.store, 5000);
    if (!srig_compare(s->rig.store, d->expected, &later))
        drill_failed("bit %lu of %s: something wrong was answered after the scrub", bit, name);
    now.damaged = 0;
    for (int i = 0; i < 100 && !now.damaged; i++) { /* it is counted a few keys a turn */
        srig_turn(s);
        persist_status(s->persist, &now);
    }
    if (!later || !now.damaged)
        drill_failed("bit %lu of %s: not reported", bit, name);
}

static void one(void *arg, unsigned long bit)
{
    struct flips *d = arg;
    struct snapshot_rig s = {0};
    struct buf why = {0};
    unsigned long byte = bit / 8;
    const char *name = strrchr(d->path, '/') + 1;
    put(d, byte, (char)(d->bytes.data[byte] ^ 1 << bit % 8));
    enum vs_status status = srig_open(&s, &d->o, &why);
    if (status == VS_OK) {
        loaded(d, &s, bit, name);
        srig_close(&s);
    } else if (status != VS_CORRUPT || !memmem(why.data, why.len, name, strlen(name))) {
        drill_failed("bit %lu of %s: %s, %.*s", bit, name, vs_status_text(status), (int)why.len,
                     why.data);
    }
    put(d, byte, d->bytes.data[byte]);
    buf_release(&why);
}

static void make(struct flips *d)
{
    struct vs_options empty = {.databases = 4};
    d->v = rig_vfs_unsynced();
    snprintf(d->dir, sizeof(d->dir), "%s/data", drill_dir());
    d->o = (struct persist_options){.vfs = &d->v, .dir = d->dir};
    srig_make(&d->o, srig_fill_chunk, run_seed());
    must(vs_open(&empty, &d->expected) == VS_OK);
    srig_fill_chunk(d->expected, run_seed());
}

static unsigned long file(struct flips *d, const char *directory, const char *name,
                          unsigned long step)
{
    snprintf(d->path, sizeof(d->path), "%s/%s", directory, name);
    d->bytes.len = 0;
    must(vfs_path_load(&d->v, d->path, 1 << 26, &d->bytes, NULL) == VS_OK);
    unsigned long bits = d->bytes.len * 8;
    drill_forked(0, bits, step, GROUP, one, d);
    printf("%s, %zu bytes: done\n", name, d->bytes.len);
    return (bits + step - 1) / step;
}

int main(void)
{
    struct flips d = {0};
    struct vfs_names names = {0};
    char segments[200];
    unsigned long cases = 0;
    log_set_level(LOG_NOTHING);
    make(&d);
    /* Odd steps, so that every bit of a byte has its turn. */
    cases += file(&d, d.dir, "dump.rdb", drill_count(1, 63));
    snprintf(segments, sizeof(segments), "%s/dump.rdb.d", d.dir);
    must(vfs_path_list(&d.v, segments, &names, NULL) == VS_OK);
    for (size_t i = 0; i < names.count; i++)
        cases += file(&d, segments, names.name[i], drill_count(1, run_quick() ? 4093 : 63));
    vfs_names_release(&names);
    buf_release(&d.bytes);
    vs_close(d.expected);
    return drill_end("snapshot, flipped bits", cases);
}
