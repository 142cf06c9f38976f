/* Looking through a journal's files without a store, printing them, and cutting off what cannot be
 * read: what vecstore-check-aof does. One thread; no server may use the files while they are mended. */
#ifndef PERSIST_JOURNAL_CHECK_H
#define PERSIST_JOURNAL_CHECK_H

#include "persist/journal_read.h"

#define JOURNAL_CHECK_KINDS (VS_EFFECT_LAST + 1)

/* What is in one segment. */
struct journal_census {
    uint64_t bytes;            /* of the file that were looked at */
    uint64_t records, effects;
    uint64_t first, last;      /* LSNs; last is first - 1 when there is none */
    uint64_t first_hlc, last_hlc, epoch;
    uint64_t by_kind[JOURNAL_CHECK_KINDS];
    bool sealed, headed;
    enum journal_found found;  /* how it ended */
    enum vs_status status;     /* of JOURNAL_FOUND_FAILED */
    uint64_t at;               /* where what cannot be read begins */
    uint64_t lost_bytes;       /* from there on */
    uint64_t lost_records;     /* of it, that would verify */
    char reason[VFS_ERROR_TEXT];
};

/* Called with the commands as they stand, SELECT before them where the database changes. */
typedef void (*journal_print)(void *arg, const void *data, size_t len);

/* Checks every byte and every command of a segment. `f` NULL: as its own header says, open. `print`
 * may be NULL; `*print_db` (-1 at first) is the database that the output stands in. `out` is filled in
 * any case. VS_NOTFOUND: there is no such file. */
enum vs_status journal_check_segment(const struct vfs *v, const char *path,
                                     const struct journal_file *f, journal_print print, void *arg,
                                     int *print_db, struct journal_census *out);

/* Makes the journal `name` in `dir` one that can be loaded. A torn end is cut off; damage before that
 * only when `drop_damaged`: everything from there on is given up. Without a manifest that can be read
 * one is made from the files that are there. What is cut is kept in files beside, and `report` says
 * what has been done. VS_OK: there is a good journal now. VS_INVALID: records that were good once
 * would be lost and nothing has been done, `report` says which. Else nothing has been done, either. */
enum vs_status journal_fix(const struct vfs *v, const char *dir, const char *name, bool drop_damaged,
                           struct buf *report);

#endif
