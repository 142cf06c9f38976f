/* What the unit tests of the journal share: a directory for each test, a rig that journals into it, and what loads it again.
 * One thread. */
#ifndef LIB_JOURNAL_BED_H
#define LIB_JOURNAL_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "lib/journal_rig.h"
#include "lib/run.h"
#include "persist/vfs_path.h"

static char dir[128], journal_dir[160];

static inline int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_NOTHING);
    if (run_make_directory("journal", dir, sizeof(dir)) != 0)
        return -1;
    snprintf(journal_dir, sizeof(journal_dir), "%s/appendonlydir", dir);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    return run_remove_directory(dir);
}

static inline void begin(struct rig *r, const struct vfs *v, enum journal_fsync fsync)
{
    struct vfs_error err;
    uint64_t seed;
    rng_system(&seed, sizeof(seed));
    print_message("seed %llu\n", (unsigned long long)seed);
    rig_init(r, v, journal_dir, fsync, seed);
    assert_int_equal(journal_open(r->journal, &r->manifest, &err), VS_OK);
}

/* Loads what is in the directory and compares it with what the rig knows of its last record. */
static inline struct journal_loaded check_load(struct rig *r)
{
    struct vs_store *store = NULL;
    struct journal_manifest m = {0};
    struct journal_loaded loaded;
    struct buf why = {0};
    enum vs_status status = rig_load(&vfs_posix, journal_dir, true, &store, &m, &loaded, &why);
    if (status)
        print_error("%.*s\n", (int)why.len, why.data);
    assert_int_equal(status, VS_OK);
    assert_true(loaded.lsn <= r->known);
    assert_int_equal(rig_digest(store), r->digest[loaded.lsn]);
    vs_close(store);
    journal_manifest_release(&m);
    buf_release(&why);
    return loaded;
}

static inline void steps(struct rig *r, int n)
{
    for (int i = 0; i < n; i++) {
        assert_int_equal(rig_step(r), VS_OK);
        if (i % 5 == 0)
            journal_turn(r->journal);
    }
}

static inline char *slurp(const char *path, size_t *len)
{
    struct buf b = {0};
    struct vfs_error err;
    assert_int_equal(vfs_path_load(&vfs_posix, path, 64 << 20, &b, &err), VS_OK);
    *len = b.len;
    return b.data;
}

static inline void write_file(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

#endif
