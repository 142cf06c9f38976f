#include "persist/journal_check.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"

/* More than any server has. */
#define DATABASES 65536

static void print_record(const struct journal_reader *r, journal_print print, void *arg, int *print_db)
{
    if (*print_db != r->frame.db) {
        struct buf select = {0};
        effect_encode_select(r->frame.db, &select);
        print(arg, select.data, select.len);
        buf_release(&select);
    }
    print(arg, r->payload, r->frame.bytes);
}

/* As much of it as there is room for. */
static void set_reason(struct journal_census *out, const char *text, size_t len)
{
    if (len >= sizeof(out->reason))
        len = sizeof(out->reason) - 1;
    if (len)
        memcpy(out->reason, text, len);
    out->reason[len] = 0;
}

/* Counts the commands of a record. VS_CORRUPT when they are none, VS_NOMEM. */
static enum vs_status count_record(const struct journal_reader *r, struct journal_commands *commands,
                         struct effect_scratch *x, struct journal_census *out)
{
    struct vs_effect e;
    struct buf why = {0};
    enum vs_status status;
    journal_commands_begin(commands, &r->frame, r->payload);
    while ((status = journal_commands_next(commands, DATABASES, x, &e, &why)) == VS_OK) {
        out->effects++;
        out->by_kind[e.kind]++;
    }
    if (status != VS_NOTFOUND)
        set_reason(out, why.data, why.len);
    buf_release(&why);
    out->records++;
    out->last = r->frame.lsn;
    out->last_hlc = r->frame.hlc;
    out->epoch = r->frame.epoch;
    if (!out->first_hlc)
        out->first_hlc = r->frame.hlc;
    return status == VS_NOTFOUND ? VS_OK : status;
}

/* Where to begin when nothing is known but the file. */
static enum vs_status own_header(const struct vfs *v, const char *path, struct journal_file *out)
{
    uint8_t bytes[JOURNAL_HEADER];
    struct journal_header h = {.seq = 1, .first = 1};
    struct vfs_file f = {0};
    enum vs_status status = vfs_file_open(&f, v, path, VFS_RDONLY, NULL);
    if (status)
        return status;
    if (vfs_file_read(&f, 0, bytes, sizeof(bytes), NULL) == VS_OK)
        journal_header_get(bytes, &h);
    vfs_file_close(&f);
    *out = (struct journal_file){.seq = h.seq, .first = h.first};
    return VS_OK;
}

static void count_lost(struct journal_reader *r, struct journal_census *out)
{
    uint64_t at = r->at;
    out->at = at;
    out->lost_bytes = r->size - at;
    while ((r->at = journal_reader_resume(r)) < r->size)
        out->lost_records++;
}

enum vs_status journal_check_segment(const struct vfs *v, const char *path,
                                     const struct journal_file *f, journal_print print, void *arg,
                                     int *print_db, struct journal_census *out)
{
    struct journal_reader r = {0};
    struct journal_commands commands = {0};
    struct effect_scratch x = {0};
    struct journal_file own;
    struct buf why = {0};
    *out = (struct journal_census){.found = JOURNAL_FOUND_DAMAGED};
    if (!f) {
        enum vs_status status = own_header(v, path, &own);
        if (status)
            return status;
        f = &own;
    }
    out->first = f->first;
    out->last = f->first - 1;
    enum vs_status status = journal_reader_open(&r, v, path, f, &why);
    if (status) {
        set_reason(out, why.data, why.len);
        out->bytes = out->lost_bytes = r.size;
        if (!r.file.path)
            status = VS_NOTFOUND;
        out->status = status;
        if (status == VS_CORRUPT)
            status = VS_OK;
    } else {
        while ((out->found = journal_reader_next(&r)) == JOURNAL_FOUND_RECORD) {
            enum vs_status counted = count_record(&r, &commands, &x, out);
            if (counted != VS_OK) {
                /* It verifies and is none of ours: it counts as lost, with what follows. Where memory
                 * is what is missing, nothing is known. */
                out->records--;
                out->last--;
                out->found = counted == VS_CORRUPT ? JOURNAL_FOUND_DAMAGED : JOURNAL_FOUND_FAILED;
                if (out->found == JOURNAL_FOUND_FAILED)
                    r.status = counted;
                r.reason = out->reason;
                r.at = r.record_at;
                break;
            }
            if (print) {
                print_record(&r, print, arg, print_db);
                *print_db = (int)commands.db;
            }
        }
        const char *reason = out->found == JOURNAL_FOUND_FAILED && r.reason != out->reason
                                 ? r.err.text : r.reason;
        if (out->found != JOURNAL_FOUND_END && reason != out->reason)
            set_reason(out, reason, strlen(reason));
        out->status = r.status;
        out->bytes = r.size;
        out->sealed = r.sealed;
        out->headed = r.headed;
        if (out->found != JOURNAL_FOUND_END)
            count_lost(&r, out);
    }
    journal_commands_end(&commands);
    effect_scratch_release(&x);
    journal_reader_close(&r);
    buf_release(&why);
    return status;
}
