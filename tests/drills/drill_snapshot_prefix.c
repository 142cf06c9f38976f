/* Every prefix of every file of a snapshot: the start is refused, with the file's name. And the file
 * that is not there at all.
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

struct prefixes {
    struct vfs v;
    struct persist_options o;
    char dir[160], path[400];
    struct buf bytes;
};

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void write_file(const struct prefixes *d, size_t len)
{
    FILE *f = fopen(d->path, "wb");
    must(f && fwrite(d->bytes.data, 1, len, f) == len && fclose(f) == 0);
}

static void one(void *arg, unsigned long len)
{
    struct prefixes *d = arg;
    struct snapshot_rig s = {0};
    struct buf why = {0};
    write_file(d, len);
    const char *name = strrchr(d->path, '/') + 1;
    enum vs_status status = srig_open(&s, &d->o, &why);
    if (status == VS_OK) {
        drill_failed("%lu of %zu bytes of %s: loaded", len, d->bytes.len, name);
        srig_close(&s);
    } else if (status != VS_CORRUPT || !memmem(why.data, why.len, name, strlen(name))) {
        drill_failed("%lu bytes of %s: %s, %.*s", len, name, vs_status_text(status), (int)why.len,
                     why.data);
    }
    buf_release(&why);
}

static void make(struct prefixes *d)
{
    d->v = rig_vfs_unsynced();
    snprintf(d->dir, sizeof(d->dir), "%s/data", drill_dir());
    d->o = (struct persist_options){.vfs = &d->v, .dir = d->dir};
    srig_make(&d->o, srig_fill, run_seed());
}

static unsigned long file(struct prefixes *d, const char *directory, const char *name,
                          unsigned long step)
{
    snprintf(d->path, sizeof(d->path), "%s/%s", directory, name);
    d->bytes.len = 0;
    must(vfs_path_load(&d->v, d->path, 1 << 26, &d->bytes, NULL) == VS_OK);
    unsigned long n = d->bytes.len;
    drill_forked(0, n, step, GROUP, one, d);
    write_file(d, n);
    printf("%s, %lu bytes: done\n", name, n);
    return (n + step - 1) / step;
}

int main(void)
{
    struct prefixes d = {0};
    struct vfs_names names = {0};
    char segments[200];
    unsigned long cases = 0, step = drill_count(1, run_quick() ? 509 : 63);
    log_set_level(LOG_NOTHING);
    make(&d);
    cases += file(&d, d.dir, "dump.rdb", drill_count(1, 63));
    snprintf(segments, sizeof(segments), "%s/dump.rdb.d", d.dir);
    must(vfs_path_list(&d.v, segments, &names, NULL) == VS_OK);
    for (size_t i = 0; i < names.count; i++) {
        cases += file(&d, segments, names.name[i], step);
        unlink(d.path);
        struct snapshot_rig s = {0};
        struct buf why = {0};
        if (srig_open(&s, &d.o, &why) != VS_CORRUPT)
            drill_failed("without %s: not refused", names.name[i]);
        buf_release(&why);
        write_file(&d, d.bytes.len);
        cases++;
    }
    vfs_names_release(&names);
    buf_release(&d.bytes);
    return drill_end("snapshot, prefixes", cases);
}
