#include "persist/journal_manifest.h"

#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "persist/journal_frame.h"

#define SUM_LINE 21  /* "sum ", 16 digits, "\n" */

/* ---- in memory ---- */

void journal_manifest_release(struct journal_manifest *m)
{
    mem_free(m->segment);
    *m = (struct journal_manifest){0};
}

enum vs_status journal_manifest_copy(const struct journal_manifest *m, struct journal_manifest *to)
{
    struct journal_manifest copy = *m;
    copy.segment = NULL;
    copy.cap = 0;
    if (m->count) {
        if (!mem_try_grow(&copy.segment, &copy.cap, m->count, sizeof(*copy.segment)))
            return VS_NOMEM;
        memcpy(copy.segment, m->segment, m->count * sizeof(*copy.segment));
    }
    *to = copy;
    return VS_OK;
}

enum vs_status journal_manifest_add(struct journal_manifest *m, const struct journal_file *f)
{
    if (m->count == m->cap &&
        !mem_try_grow(&m->segment, &m->cap, m->count * 2 + 4, sizeof(*m->segment)))
        return VS_NOMEM;
    m->segment[m->count++] = *f;
    return VS_OK;
}

uint64_t journal_manifest_last_seq(const struct journal_manifest *m)
{
    uint64_t seq = m->has_base ? m->base_seq : 0;
    for (size_t i = 0; i < m->count; i++)
        if (m->segment[i].seq > seq)
            seq = m->segment[i].seq;
    return seq;
}

bool journal_manifest_gap(const struct journal_manifest *m, size_t i)
{
    uint64_t before = i ? m->segment[i - 1].last : 0;
    if (m->has_base && m->base_lsn > before)
        before = m->base_lsn;
    return m->segment[i].first > before + 1;
}

bool journal_manifest_complete(const struct journal_manifest *m)
{
    for (size_t i = 0; i < m->count; i++)
        if (journal_manifest_gap(m, i))
            return false;
    return true;
}

bool journal_manifest_knows(const struct journal_manifest *m, uint64_t snapshot)
{
    unsigned count = 64 - JOURNAL_LIFE_BITS;
    return snapshot && (snapshot == m->snapshot || (m->life && snapshot >> count == m->life >> count));
}

bool journal_manifest_reach(const struct journal_manifest *m, uint64_t *lsn)
{
    size_t n = 0;
    *lsn = m->has_base ? m->base_lsn : 0;
    for (; n < m->count && !journal_manifest_gap(m, n); n++)
        if (m->segment[n].closed && m->segment[n].last > *lsn)
            *lsn = m->segment[n].last;
    return m->has_base || n;
}

size_t journal_manifest_joined(const struct journal_manifest *m, uint64_t lsn)
{
    size_t n = 0;
    for (; n < m->count && m->segment[n].first <= lsn + 1; n++)
        if (m->segment[n].closed && m->segment[n].last > lsn)
            lsn = m->segment[n].last;
    return n;
}

/* ---- names ---- */

void journal_base_name(const char *name, uint64_t seq, struct buf *out)
{
    buf_printf(out, "%s.%" PRIu64 JOURNAL_BASE_SUFFIX, name, seq);
}

void journal_segment_name(const char *name, uint64_t seq, struct buf *out)
{
    buf_printf(out, "%s.%" PRIu64 JOURNAL_SEGMENT_SUFFIX, name, seq);
}

/* Digits without a zero in front, at *at; moves behind them. */
static bool read_number(const char **at, const char *end, uint64_t *out)
{
    uint64_t n = 0;
    const char *from = *at, *p = from;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
            return false;
    if (p == from || (*from == '0' && p - from > 1))
        return false;
    *at = p;
    *out = n;
    return true;
}

uint64_t journal_name_seq(const char *name, const char *file, const char *suffix)
{
    size_t len = strlen(name);
    uint64_t seq;
    if (strncmp(file, name, len) != 0 || file[len] != '.')
        return 0;
    const char *at = file + len + 1;
    if (!read_number(&at, at + strlen(at), &seq) || strcmp(at, suffix) != 0)
        return 0;
    return seq;
}

char *journal_path(const char *dir, const char *file)
{
    size_t dir_len = strlen(dir), len = strlen(file);
    char *path = mem_alloc(dir_len + len + 2);
    memcpy(path, dir, dir_len);
    path[dir_len] = '/';
    memcpy(path + dir_len + 1, file, len + 1);
    return path;
}

char *journal_segment_path(const char *dir, const char *name, uint64_t seq)
{
    struct buf file = {0};
    journal_segment_name(name, seq, &file);
    buf_append(&file, "", 1);
    char *path = journal_path(dir, file.data);
    buf_release(&file);
    return path;
}

char *journal_manifest_path(const char *dir, const char *name)
{
    struct buf file = {0};
    buf_printf(&file, "%s" JOURNAL_MANIFEST_SUFFIX, name);
    buf_append(&file, "", 1);
    char *path = journal_path(dir, file.data);
    buf_release(&file);
    return path;
}

/* ---- the text ---- */

void journal_manifest_write(const struct journal_manifest *m, const char *name, struct buf *out)
{
    size_t from = out->len;
    buf_printf(out, "epoch %" PRIu64 "\n", m->epoch);
    if (m->partial)
        buf_printf(out, "partial %016" PRIx64 " %016" PRIx64 "\n", m->life, m->snapshot);
    if (m->has_base) {
        buf_puts(out, "file ");
        journal_base_name(name, m->base_seq, out);
        buf_printf(out, " seq %" PRIu64 " type b lsn %" PRIu64 "\n", m->base_seq, m->base_lsn);
    }
    for (size_t i = 0; i < m->count; i++) {
        const struct journal_file *f = &m->segment[i];
        buf_puts(out, "file ");
        journal_segment_name(name, f->seq, out);
        buf_printf(out, " seq %" PRIu64 " type i first %" PRIu64, f->seq, f->first);
        if (journal_manifest_gap(m, i))
            buf_puts(out, " gap");
        if (f->closed)
            buf_printf(out, " end %" PRIu64 " last %" PRIu64, f->end, f->last);
        if (f->closed && f->unsure)
            buf_printf(out, " sure %" PRIu64 " %" PRIu64, f->sure_end, f->sure_last);
        buf_puts(out, "\n");
    }
    buf_printf(out, "sum %016" PRIx64 "\n", hash_bytes(out->data + from, out->len - from, 0));
}

static bool skip(const char **at, const char *end, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(end - *at) < len || memcmp(*at, word, len) != 0)
        return false;
    *at += len;
    return true;
}

/* "<word><number>" */
static bool named_number(const char **at, const char *end, const char *word, uint64_t *out)
{
    return skip(at, end, word) && read_number(at, end, out);
}

/* What follows " first N" of a segment. */
static const char *read_rest(const char *at, const char *end, struct journal_file *f, bool *gap)
{
    *gap = skip(&at, end, " gap");
    if (at == end)
        return NULL;
    f->closed = true;
    if (!named_number(&at, end, " end ", &f->end) || !named_number(&at, end, " last ", &f->last))
        return "its end is not told as it should be";
    if (at < end) {
        f->unsure = true;
        if (!named_number(&at, end, " sure ", &f->sure_end) ||
            !named_number(&at, end, " ", &f->sure_last) || at != end)
            return "its end is not told as it should be";
        if (f->sure_end < JOURNAL_HEADER || f->sure_end > f->end || f->sure_last < f->first - 1 ||
            f->sure_last > f->last)
            return "what is sure of it is not a part of it";
    }
    if (f->end < JOURNAL_HEADER || f->last < f->first - 1 || f->last == UINT64_MAX)
        return "its end is before its beginning";
    return NULL;
}

static bool read_id(const char **at, const char *end, uint64_t *out)
{
    static const char digits[] = "0123456789abcdef";
    *out = 0;
    for (int i = 0; i < 16; i++, ++*at) {
        const char *digit = *at < end && **at ? strchr(digits, **at) : NULL;
        if (!digit)
            return false;
        *out = *out << 4 | (uint64_t)(digit - digits);
    }
    return true;
}

/* "epoch N" and "partial ID ID", with their ends. */
static const char *read_head(const char **at, const char *end, struct journal_manifest *m)
{
    if (!named_number(at, end, "epoch ", &m->epoch) || !skip(at, end, "\n"))
        return "it does not begin with an epoch";
    if (!skip(at, end, "partial "))
        return NULL;
    m->partial = true;
    bool good = read_id(at, end, &m->life) && skip(at, end, " ") && read_id(at, end, &m->snapshot) &&
                skip(at, end, "\n");
    return good ? NULL : "the ids of snapshots are none";
}

/* One line, without its end. NULL, or what is wrong. */
static const char *read_line(const char *at, const char *end, const char *name,
                             struct journal_manifest *m, enum vs_status *status)
{
    struct journal_file f = {0};
    struct buf expected = {0};
    const char *file = at + 5, *p;
    if (!skip(&at, end, "file "))
        return "it does not begin with 'file' or 'sum'";
    /* The name may hold anything, so its end is sought from behind. */
    static const char mark[] = " seq ";
    for (p = end - (sizeof(mark) - 1); p > file && memcmp(p, mark, sizeof(mark) - 1) != 0;)
        p--;
    if (p <= file)
        return "there is no number of the file";
    at = p;
    if (!named_number(&at, end, mark, &f.seq) || !f.seq)
        return "the number of the file is none";
    bool base = skip(&at, end, " type b");
    if (base)
        journal_base_name(name, f.seq, &expected);
    else if (skip(&at, end, " type i"))
        journal_segment_name(name, f.seq, &expected);
    bool same = expected.len == (size_t)(p - file) && !memcmp(expected.data, file, expected.len);
    bool typed = expected.len > 0;
    buf_release(&expected);
    if (!typed)
        return "its type is neither b nor i";
    if (!same)
        return "the file's name is not what appendfilename and its number make";
    if (base) {
        if (m->has_base || m->count)
            return "a base that is not the first file";
        m->has_base = true;
        m->base_seq = f.seq;
        return named_number(&at, end, " lsn ", &m->base_lsn) && at == end
                   ? NULL
                   : "the base's record number is none";
    }
    if (!named_number(&at, end, " first ", &f.first) || !f.first)
        return "its first record's number is none";
    bool gap;
    const char *wrong = read_rest(at, end, &f, &gap);
    if (wrong)
        return wrong;
    const struct journal_file *before = m->count ? &m->segment[m->count - 1] : NULL;
    if ((before && f.seq <= before->seq) || (m->has_base && f.seq == m->base_seq))
        return "the files' numbers do not rise";
    if (before && !before->closed)
        return "a file after one that is still open";
    *status = journal_manifest_add(m, &f);
    if (*status)
        return "memory is exhausted";
    if (journal_manifest_gap(m, m->count - 1) != gap || (gap && !m->partial))
        return gap ? "a gap that is none, or should not be"
                   : "there are records missing before its first one";
    before = m->count > 1 ? &m->segment[m->count - 2] : NULL; /* they may have moved */
    if (before && !gap && before->last + 1 != f.first)
        return "its records do not follow those of the file before it";
    return NULL;
}

enum vs_status journal_manifest_parse(const char *text, size_t len, const char *name,
                                      struct journal_manifest *out, struct buf *why)
{
    struct journal_manifest m = {0};
    struct buf sum = {0};
    enum vs_status status = VS_OK;
    const char *wrong = NULL;
    size_t line = 0, body = len < SUM_LINE ? 0 : len - SUM_LINE;
    buf_printf(&sum, "sum %016" PRIx64 "\n", hash_bytes(text, body, 0));
    bool good = len >= SUM_LINE && memcmp(text + body, sum.data, SUM_LINE) == 0;
    buf_release(&sum);
    if (!good) {
        buf_puts(why, "its last line is not the checksum of what stands before it");
        return VS_CORRUPT;
    }
    const char *at = text, *end = text + body;
    wrong = read_head(&at, end, &m);
    line = 1u + m.partial;
    for (; at < end && !wrong; line++) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        wrong = eol ? read_line(at, eol, name, &m, &status) : "it has no end";
        at = eol ? eol + 1 : end;
    }
    if (wrong) {
        buf_printf(why, "line %zu: %s", line, wrong);
        journal_manifest_release(&m);
        return status ? status : VS_CORRUPT;
    }
    *out = m;
    return VS_OK;
}

/* ---- the file ---- */

/* No manifest: was there never one? Segments that were made before the first manifest was stored
 * hold nothing but a header. */
static enum vs_status none_there(const struct vfs *v, const char *dir, const char *name,
                                 struct buf *why)
{
    struct vfs_names names = {0};
    struct vfs_error err;
    enum vs_status status = vfs_path_list(v, dir, &names, &err);
    if (status == VS_NOTFOUND)
        return VS_NOTFOUND;
    if (status) {
        buf_puts(why, err.text);
        return status;
    }
    status = VS_NOTFOUND;
    for (size_t i = 0; i < names.count && status == VS_NOTFOUND; i++) {
        struct vfs_stat st;
        if (!journal_name_seq(name, names.name[i], JOURNAL_SEGMENT_SUFFIX))
            continue;
        char *path = journal_path(dir, names.name[i]);
        if (vfs_path_stat(v, path, &st, NULL) == VS_OK && st.size > JOURNAL_HEADER) {
            buf_printf(why,
                       "%s/%s" JOURNAL_MANIFEST_SUFFIX " is missing, and %s holds records: bring "
                       "the manifest back, or move the directory away to begin without them",
                       dir, name, names.name[i]);
            status = VS_CORRUPT;
        }
        mem_free(path);
    }
    vfs_names_release(&names);
    return status;
}

enum vs_status journal_manifest_load(const struct vfs *v, const char *dir, const char *name,
                                     struct journal_manifest *out, struct buf *why)
{
    struct buf text = {0}, reason = {0};
    struct vfs_error err;
    char *path = journal_manifest_path(dir, name);
    enum vs_status status = vfs_path_load(v, path, JOURNAL_MANIFEST_MAX, &text, &err);
    if (status == VS_NOTFOUND) {
        status = none_there(v, dir, name, why);
    } else if (status) {
        buf_puts(why, err.text);
    } else {
        status = journal_manifest_parse(text.data, text.len, name, out, &reason);
        if (status)
            buf_printf(why, "%s: %.*s. Bring it back from a backup, or let 'vecstore-check-aof "
                            "--fix %s' make one from the files that are there",
                       path, (int)reason.len, reason.data, path);
    }
    buf_release(&text);
    buf_release(&reason);
    mem_free(path);
    return status;
}

enum vs_status journal_manifest_store(const struct vfs *v, const char *dir, const char *name,
                                      const struct journal_manifest *m, struct vfs_error *err)
{
    struct buf text = {0};
    char *path = journal_manifest_path(dir, name);
    journal_manifest_write(m, name, &text);
    enum vs_status status = vfs_path_store(v, path, text.data, text.len, true, err);
    buf_release(&text);
    mem_free(path);
    return status;
}
