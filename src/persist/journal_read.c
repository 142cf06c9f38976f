#include "persist/journal_read.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"

#define WINDOW ((size_t)4 << 20)

/* The bytes at..at+len, which lie in the file, or NULL (r->status). Borrowed until the next call. */
static const uint8_t *view(struct journal_reader *r, uint64_t at, size_t len)
{
    if (at >= r->window_at && at - r->window_at + len <= r->window_len)
        return (const uint8_t *)r->window + (at - r->window_at);
    uint64_t left = r->file.end - at;
    size_t want = len > WINDOW ? len : WINDOW;
    if (want > left)
        want = (size_t)left;
    r->window_len = 0;
    if (!mem_try_grow(&r->window, &r->window_cap, want, 1)) {
        errno = ENOMEM;
        r->status = vfs_error_set(&r->err, VFS_OP_READ, r->file.path, at);
        return NULL;
    }
    r->status = vfs_file_read(&r->file, at, r->window, want, &r->err);
    if (r->status)
        return NULL;
    r->window_at = at;
    r->window_len = want;
    return (const uint8_t *)r->window;
}

static enum vs_status check_header(struct journal_reader *r, struct buf *why)
{
    const uint8_t *bytes = view(r, 0, JOURNAL_HEADER);
    if (!bytes) {
        buf_puts(why, r->err.text);
        return r->status;
    }
    const char *wrong = journal_header_get(bytes, &r->header);
    if (wrong) {
        buf_puts(why, wrong);
        return VS_CORRUPT;
    }
    if (r->header.seq != r->segment.seq || r->header.first != r->segment.first) {
        buf_printf(why,
                   "it is segment %" PRIu64 " from record %" PRIu64 ", but segment %" PRIu64
                   " from record %" PRIu64 " belongs here",
                   r->header.seq, r->header.first, r->segment.seq, r->segment.first);
        return VS_CORRUPT;
    }
    r->headed = true;
    return VS_OK;
}

enum vs_status journal_reader_open(struct journal_reader *r, const struct vfs *v, const char *path,
                                   const struct journal_file *segment, struct buf *why)
{
    enum vs_status status = vfs_file_open(&r->file, v, path, VFS_RDONLY, &r->err);
    if (status) {
        buf_puts(why, status == VS_NOTFOUND ? "the file is not there" : r->err.text);
        return status == VS_NOTFOUND ? VS_CORRUPT : status;
    }
    r->segment = *segment;
    r->next = segment->first;
    r->size = r->file.end;
    if (segment->closed && r->size < (segment->unsure ? segment->sure_end : segment->end)) {
        buf_printf(why, "it is %" PRIu64 " bytes long, but its records end at %" PRIu64, r->size,
                   segment->end);
        return VS_CORRUPT;
    }
    if (segment->closed && r->size > segment->end)
        r->size = segment->end;
    if (r->size < JOURNAL_HEADER)
        return VS_OK;
    r->at = JOURNAL_HEADER;
    return check_header(r, why);
}

void journal_reader_close(struct journal_reader *r)
{
    vfs_file_close(&r->file);
    mem_free(r->window);
    *r = (struct journal_reader){0};
}

/* The next place from `from` on where a frame verifies, or r->size. False: the system failed. */
static bool find_frame(struct journal_reader *r, uint64_t from, struct journal_frame *f,
                       uint64_t *found)
{
    *found = r->size;
    while (r->size - from >= JOURNAL_FRAME) {
        uint64_t left = r->size - from;
        size_t len = left < WINDOW ? (size_t)left : WINDOW;
        const uint8_t *bytes = view(r, from, len), *at = bytes;
        if (!bytes)
            return false;
        while ((at = memmem(at, len - (size_t)(at - bytes), JOURNAL_MAGIC, 4))) {
            if (len - (size_t)(at - bytes) < JOURNAL_FRAME)
                break;
            if (!journal_frame_get(at, r->header.nonce, f)) {
                *found = from + (uint64_t)(at - bytes);
                return true;
            }
            at++;
        }
        if (left == len)
            break;
        from += len - (JOURNAL_FRAME - 1);
    }
    return true;
}

/* What stands at r->at does not verify. */
static enum journal_found judge(struct journal_reader *r, const char *reason)
{
    uint64_t found;
    struct journal_frame f;
    r->reason = reason;
    if (r->segment.closed && (!r->segment.unsure || r->at < r->segment.sure_end))
        return JOURNAL_FOUND_DAMAGED;
    for (uint64_t from = r->at + 1; from < r->size; from = found + 1) {
        if (!find_frame(r, from, &f, &found))
            return JOURNAL_FOUND_FAILED;
        if (found == r->size)
            break;
        if (f.durable >= r->next)
            return JOURNAL_FOUND_DAMAGED;
    }
    return JOURNAL_FOUND_TORN;
}

static enum journal_found at_end(struct journal_reader *r)
{
    if (!r->segment.closed || r->next == r->segment.last + 1)
        return JOURNAL_FOUND_END;
    return judge(r, "the records that the manifest says are in it are not all there");
}

/* The payload behind the frame at r->at. RECORD: it is good, and stands behind *bytes. */
static enum journal_found read_payload(struct journal_reader *r, const uint8_t **bytes)
{
    if (r->size - r->at - JOURNAL_FRAME < r->frame.bytes)
        return judge(r, "the payload of a record is cut off");
    *bytes = view(r, r->at, JOURNAL_FRAME + (size_t)r->frame.bytes);
    if (!*bytes)
        return JOURNAL_FOUND_FAILED;
    if (!journal_payload_good(&r->frame, r->header.nonce, *bytes + JOURNAL_FRAME))
        return judge(r, r->frame.type == JOURNAL_SEAL ? "the checksum of the seal does not match"
                                                      : "the checksum of a record's payload does not match");
    return JOURNAL_FOUND_RECORD;
}

enum journal_found journal_reader_next(struct journal_reader *r)
{
    if (!r->headed) {
        r->reason = "the header is cut off";
        return JOURNAL_FOUND_TORN;
    }
    r->group_at = r->at;
    for (;;) {
        if (r->at == r->size)
            return at_end(r);
        if (r->sealed)
            return judge(r, "bytes follow the seal");
        if (r->size - r->at < JOURNAL_FRAME)
            return judge(r, "the frame of a record is cut off");
        const uint8_t *bytes = view(r, r->at, JOURNAL_FRAME);
        if (!bytes)
            return JOURNAL_FOUND_FAILED;
        const char *wrong = journal_frame_get(bytes, r->header.nonce, &r->frame);
        if (wrong)
            return judge(r, wrong);
        bool record = r->frame.type != JOURNAL_SEAL && r->frame.type != JOURNAL_HISTORY;
        if (!record) {
            enum journal_found found = read_payload(r, &bytes);
            if (found != JOURNAL_FOUND_RECORD)
                return found;
        }
        r->sealed = r->frame.type == JOURNAL_SEAL;
        if (r->frame.lsn != r->next - !record) {
            r->reason = "it is a good record, but not the one that belongs here";
            return JOURNAL_FOUND_DAMAGED;
        }
        if (r->frame.epoch < r->epoch) {
            r->reason = "it is a good record, but of an epoch before that of the last one";
            return JOURNAL_FOUND_DAMAGED;
        }
        r->epoch = r->frame.epoch;
        if (record)
            break;
        if (r->frame.lsn >= r->after)
            journal_track_frame(&r->track, &r->frame, bytes + JOURNAL_FRAME);
        r->at += JOURNAL_FRAME + (uint64_t)r->frame.bytes;
    }
    const uint8_t *bytes;
    enum journal_found found = read_payload(r, &bytes);
    if (found != JOURNAL_FOUND_RECORD)
        return found;
    if (r->frame.lsn > r->after)
        journal_track_frame(&r->track, &r->frame, NULL);
    r->payload = (const char *)bytes + JOURNAL_FRAME;
    r->record_at = r->at;
    r->at += JOURNAL_FRAME + (uint64_t)r->frame.bytes;
    r->next++;
    return JOURNAL_FOUND_RECORD;
}

uint64_t journal_reader_resume(struct journal_reader *r)
{
    struct journal_frame f;
    uint64_t found;
    if (!r->headed || r->at >= r->size || !find_frame(r, r->at + 1, &f, &found))
        return r->size;
    return found;
}

/* ---- the commands of a record ---- */

void journal_commands_begin(struct journal_commands *c, const struct journal_frame *f,
                            const char *payload)
{
    c->data = payload;
    c->len = f->bytes;
    c->at = 0;
    c->left = f->commands;
    c->db = f->db;
    /* A command that was not whole, or an error, is remembered by the reader. */
    if (c->resp.error[0] || c->resp.started || c->resp.pos || c->resp.scan)
        resp_reader_release(&c->resp);
}

static enum vs_status corrupt(struct buf *why, const char *text)
{
    if (why)
        buf_puts(why, text);
    return VS_CORRUPT;
}

enum vs_status journal_commands_next(struct journal_commands *c, unsigned databases,
                                     struct effect_scratch *x, struct vs_effect *e,
                                     struct buf *why)
{
    static const struct resp_limits limits = {.bulk_max = JOURNAL_PAYLOAD_MAX,
                                              .inline_max = 64,
                                              .args_max = EFFECT_ARGS_MAX,
                                              .unauth_bulk_max = 0};
    enum vs_status status = VS_NOTFOUND;
    if (c->db >= databases)
        return corrupt(why, "it is of a database that this server does not have");
    while (status == VS_NOTFOUND) {
        size_t used;
        if (!c->left)
            return c->at == c->len ? VS_NOTFOUND
                                   : corrupt(why, "bytes follow the last command of the record");
        bool whole = c->at < c->len && c->data[c->at] == '*' &&
                     resp_read(&c->resp, c->data + c->at, c->len - c->at, &limits, true, &used) ==
                         RESP_COMMAND;
        if (!whole && !c->resp.exhausted)
            return corrupt(why, "the payload of the record is not made of commands");
        if (!whole) {
            status = VS_NOMEM;
            break;
        }
        c->at += used;
        c->left--;
        status = effect_parse(c->resp.argv, c->resp.argc, databases, &c->db, x, e, why);
    }
    if (status == VS_NOMEM && why)
        buf_puts(why, "memory is exhausted");
    return status;
}

void journal_commands_end(struct journal_commands *c)
{
    resp_reader_release(&c->resp);
}
