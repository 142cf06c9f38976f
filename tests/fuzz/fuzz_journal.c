/* A journal's files as hostile input, loaded into a store. The sums are made right first, so that the
 * fuzzer gets past them: what is tested is everything that a sum does not protect from.
 *
 * Input: a byte of switches, then the segment's bytes (its records follow each other from byte 64 on,
 * where their lengths lead); or with switch 1 the text of a manifest. With switch 2 the sums are left
 * as they are, with switch 4 torn ends are refused. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "lib/journal_rig.h"
#include "lib/run.h"
#include "persist/journal_check.h"
#include "persist/journal_frame.h"
#include "persist/le.h"

#define SIZE_LIMIT 65536

static char dir[128], *segment;
static struct vfs v;

static void remove_dir(void)
{
    if (run_remove_directory(dir) != 0)
        perror(dir);
}

static void prepare(void)
{
    log_set_level(LOG_NOTHING);
    v = rig_vfs_unsynced();
    if (run_make_directory("fuzz_journal", dir, sizeof(dir)) != 0)
        abort();
    atexit(remove_dir);
    segment = journal_segment_path(dir, RIG_NAME, 1);
}

/* Makes the header and every record right but for what they say. */
static void mend(uint8_t *bytes, size_t size)
{
    uint64_t nonce = 7, lsn = 1;
    if (size < JOURNAL_HEADER)
        return;
    journal_header_put(&(struct journal_header){1, 1, 0, 0, nonce}, bytes);
    for (size_t at = JOURNAL_HEADER; size - at >= JOURNAL_FRAME;) {
        uint8_t *frame = bytes + at;
        memcpy(frame, JOURNAL_MAGIC, 4);
        uint32_t len = le32(frame + 4) % (uint32_t)SIZE_LIMIT;
        bool seal = frame[8] % 8 == JOURNAL_SEAL, history = frame[8] % 8 == JOURNAL_HISTORY, record = !seal && !history;
        frame[8] = seal ? JOURNAL_SEAL : history ? JOURNAL_HISTORY : frame[8] & 1 ? JOURNAL_DATA : JOURNAL_BATCH;
        frame[9] &= record ? JOURNAL_COUNTED : 0;
        if (history)
            len = JOURNAL_HISTORY_BYTES;
        if (len > size - at - JOURNAL_FRAME)
            len = (uint32_t)(size - at - JOURNAL_FRAME);
        if (seal)
            len = 0;
        le32_put(frame + 4, len);
        if (!record || frame[8] == JOURNAL_DATA)
            le32_put(frame + 12, record);
        le64_put(frame + 24, record ? lsn : lsn - 1);
        journal_frame_seal(frame, nonce, le64(frame + 40));
        lsn += record;
        at += JOURNAL_FRAME + len;
    }
}

static void load(bool truncated_ok)
{
    struct vs_store *store = NULL;
    struct journal_manifest m = {0};
    struct journal_loaded loaded;
    struct buf why = {0};
    enum vs_status status = rig_load(&v, dir, truncated_ok, &store, &m, &loaded, &why);
    if (status && !why.len)
        abort();
    if (store) {
        rig_digest(store);
        vs_close(store);
    }
    if (!status && loaded.cut)
        unlink(loaded.cut_file);
    journal_manifest_release(&m);
    buf_release(&why);
}

static void load_segment(const uint8_t *data, size_t size, uint8_t switches)
{
    struct vfs_error err;
    struct journal_census census;
    struct journal_manifest m = {0};
    int db = -1;
    uint8_t *bytes = malloc(size ? size : 1);
    memcpy(bytes, data, size);
    if (!(switches & 2))
        mend(bytes, size);
    if (vfs_path_store(&v, segment, bytes, size, false, &err) ||
        journal_manifest_add(&m, &(struct journal_file){.seq = 1, .first = 1}) ||
        journal_manifest_store(&v, dir, RIG_NAME, &m, &err))
        abort();
    load(!(switches & 4));
    if (journal_check_segment(&v, segment, NULL, NULL, NULL, &db, &census))
        abort();
    journal_manifest_release(&m);
    free(bytes);
}

static void parse_manifest(const char *data, size_t size)
{
    struct journal_manifest m = {0};
    struct buf text = {0}, why = {0}, again = {0};
    buf_append(&text, data, size);
    buf_printf(&text, "sum %016llx\n", (unsigned long long)hash_bytes(text.data, text.len, 0));
    enum vs_status status = journal_manifest_parse(text.data, text.len, RIG_NAME, &m, &why);
    if (status == VS_OK) {
        journal_manifest_write(&m, RIG_NAME, &again);
        if (again.len != text.len || memcmp(again.data, text.data, text.len) != 0)
            abort();
    } else if (!why.len) {
        abort();
    }
    journal_manifest_release(&m);
    buf_release(&text);
    buf_release(&why);
    buf_release(&again);
}

/* An index of hundreds of partitions is legal and takes seconds to make under a sanitizer. */
static bool is_slow(const uint8_t *data, size_t size)
{
    static const char word[] = "PARTITIONS\r\n$";
    const size_t len = sizeof(word) - 1;
    const uint8_t *at = data, *end = data + size;
    while ((at = memmem(at, (size_t)(end - at), word, len))) {
        at += len;
        if (end - at < 2 || at[0] != '1' || at[1] != '\r')
            return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!dir[0])
        prepare();
    if (!size || size > SIZE_LIMIT || is_slow(data, size))
        return 0;
    if (data[0] & 1)
        parse_manifest((const char *)data + 1, size - 1);
    else
        load_segment(data + 1, size - 1, data[0]);
    return 0;
}
