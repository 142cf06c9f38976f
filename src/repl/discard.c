/* What a primary has written that its successor never got: it goes when all data are taken over. It is kept in a
 * file of the working directory, as commands that redis-cli --pipe takes, after a look. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "persist/le.h"
#include "persist/vfs_path.h"
#include "repl/repl_int.h"

/* SELECT where a record begins in another database than the one before has ended in: before each. */
static void put_select(unsigned db, struct buf *out)
{
    char number[16];
    snprintf(number, sizeof(number), "%u", db);
    buf_printf(out, "*2\r\n$6\r\nSELECT\r\n$%zu\r\n%s\r\n", strlen(number), number);
}

static enum vs_status write_records(struct repl *r, struct vfs_file *file, uint64_t offset,
                                    struct vfs_error *err)
{
    struct backlog_cursor at = {.offset = offset};
    const uint8_t *data;
    enum vs_status status = VS_OK;
    size_t n;
    while (status == VS_OK && (n = backlog_peek(&r->backlog, &at, &data)) > 0) {
        struct buf select = {0};
        uint32_t bytes = le32(data + 4);
        put_select(le16(data + 10), &select);
        status = vfs_file_append(file, select.data, select.len, err);
        if (status == VS_OK)
            status = vfs_file_append(file, data + WIRE_FRAME, bytes, err);
        buf_release(&select);
        backlog_advance(&at, WIRE_FRAME + bytes);
        r->discarded++;
        r->discarded_bytes += bytes;
    }
    return status;
}

void discard_from(struct repl *r, uint64_t offset)
{
    struct vfs_file file = {0};
    struct vfs_error err;
    struct buf path = {0};
    uint64_t before = r->discarded;
    if (offset >= r->at.offset)
        return;
    if (offset < r->backlog.first || !backlog_is_place(&r->backlog, offset)) {
        log_warning("What was written from offset %" PRIu64 " on is in no other node's history, and not in "
                    "the backlog any more: it is lost", offset);
        return;
    }
    buf_printf(&path, "discarded-%.8s-%" PRIu64 ".resp", r->replid, offset);
    buf_append(&path, "", 1);
    enum vs_status status =
        vfs_file_open(&file, &r->s->vfs, path.data, VFS_RDWR | VFS_CREATE | VFS_TRUNC, &err);
    if (status == VS_OK)
        status = write_records(r, &file, offset, &err);
    if (status == VS_OK)
        status = vfs_file_sync(&file, false, &err);
    vfs_file_close(&file);
    if (status == VS_OK)
        log_warning("%" PRIu64 " records, from offset %" PRIu64 " to %" PRIu64 ", are in no other node's "
                    "history: they are kept in %s", r->discarded - before, offset, r->at.offset, path.data);
    else
        log_warning("Records that are in no other node's history cannot be kept: %s", err.text);
    buf_release(&path);
}
