/* Reading one segment of a journal, record by record, believing nothing.
 *
 * What the loader and the check tool share. A closed segment must be good up to where the manifest
 * says it ends. In the last one, which is open, bytes that do not verify are either a torn tail or
 * damage:
 *
 *     record 7 | record 8 | ?????? | record 10, durable 8    torn: 9 and 10 were under way when
 *                                                            the power went, 10 reached the disk
 *     record 7 | record 8 | ?????? | record 10, durable 9    damage: 9 had been synced
 *     record 7 | record 8 | ??????                           torn
 *
 * Every frame says which record was known to be synced when it was written. So when any frame behind
 * the bad place says that the record which should stand there was synced, that record has been
 * there and is damaged.
 *
 * A closed segment whose end is unsure (journal_manifest.h) is judged like this behind the part that
 * is sure.
 *
 * One thread. */
#ifndef PERSIST_JOURNAL_READ_H
#define PERSIST_JOURNAL_READ_H

#include "persist/effect.h"
#include "persist/journal_frame.h"
#include "persist/journal_manifest.h"

enum journal_found {
    JOURNAL_FOUND_RECORD,
    JOURNAL_FOUND_END,      /* all of it has been read */
    JOURNAL_FOUND_TORN,     /* the records end at `at`; what follows never was whole */
    JOURNAL_FOUND_DAMAGED,  /* what stands at `at` was good once */
    JOURNAL_FOUND_FAILED    /* the system failed: status */
};

struct journal_reader {
    struct vfs_file file;
    struct journal_file segment;   /* as the manifest has it */
    struct journal_header header;
    bool headed;                   /* the header is good */
    uint64_t size;                 /* where reading ends */
    uint64_t at;                   /* of the next record; of what is wrong */
    uint64_t next;                 /* its LSN */
    bool sealed;
    uint64_t epoch;                /* of the record before; the reader's owner sets it at first */
    /* Of which history the data are behind the last record found, when those up to `after` came from
     * elsewhere. The owner sets both at first. */
    struct journal_track track;
    uint64_t after;
    /* The last record found; payload borrowed until the next call. */
    struct journal_frame frame;
    const char *payload;
    uint64_t record_at;
    uint64_t group_at;             /* where it begins with what was said of its history right before it */
    /* TORN and DAMAGED. */
    const char *reason;
    /* FAILED. */
    enum vs_status status;
    struct vfs_error err;

    char *window;                  /* file[window_at .. window_at + window_len) */
    size_t window_cap, window_len;
    uint64_t window_at;
};

/* Into a zeroed `r`, to be closed whatever the result is. VS_CORRUPT: the header is not good, or not
 * that of this segment; `why` says what, without the file's name. But an open segment that is
 * shorter than a header is one without records: VS_OK, and `headed` is false. */
enum vs_status journal_reader_open(struct journal_reader *r, const struct vfs *v, const char *path,
                                   const struct journal_file *segment, struct buf *why);
void journal_reader_close(struct journal_reader *r);
/* After anything but RECORD, no more. */
enum journal_found journal_reader_next(struct journal_reader *r);
/* The offset of the next good frame behind the bad place, or the end; for the tool's count of what
 * is lost. */
uint64_t journal_reader_resume(struct journal_reader *r);

/* ---- the commands of a record ---- */

/* Walks over a payload. */
struct journal_commands {
    struct resp_reader resp;
    const char *data;
    size_t len, at;
    uint32_t left;
    unsigned db;
};
void journal_commands_begin(struct journal_commands *c, const struct journal_frame *f,
                            const char *payload);
/* VS_OK: *e is the next effect. VS_NOTFOUND: there are no more, and all is as the frame says.
 * VS_CORRUPT, VS_NOMEM: `why` (may be NULL) says. */
enum vs_status journal_commands_next(struct journal_commands *c, unsigned databases,
                                     struct effect_scratch *x, struct vs_effect *e,
                                     struct buf *why);
void journal_commands_end(struct journal_commands *c);

#endif
