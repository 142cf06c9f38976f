/* A replica mends a partition that is not what its primary's is, and nothing else of what it holds.
 *
 *   digests differ --> want --REPLCONF MEND--> the primary sends the stream up to here, then the partition as a snapshot
 *                                              of it alone (sync.c), then the stream goes on
 *   files in memory --> a worker builds it aside --> it takes the place of the one that is there, at that very offset
 *
 * The old one is searched until then, and searches that have begun keep it. One at a time, and so many in a row; of
 * one that differs again within AGAIN_MS, or cannot be had, all data are asked for.
 *
 * What has been exchanged is in no record: with a journal a rewrite begins, and until it is done a restart claims no
 * history. */
#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "persist/memory_files.h"
#include "persist/persist.h"
#include "persist/snapshot.h"
#include "repl/repl_int.h"
#include "server/client.h"

#define EVERY_MS 200
#define AGAIN_MS 600000
#define WAIT_MS  60000       /* for the primary, which may be taking a snapshot */

struct mend_source {
    struct vfs vfs;
    struct snapshot_only only;
    struct vs_index_options options;
};

static uint64_t name_hash(const struct part_name *part)
{
    return hash_bytes(part->key, part->key_len, (uint64_t)part->db << 32 | part->number);
}

static bool same_name(const struct part_name *a, const struct part_name *b)
{
    return a->db == b->db && a->number == b->number && a->key_len == b->key_len &&
           !memcmp(a->key, b->key, a->key_len);
}

static bool mended_lately(const struct repl *r, uint64_t hash)
{
    const struct mends *m = &r->mends;
    for (unsigned i = 0; i < MENDED_MAX; i++)
        if (m->mended[i].ms && m->mended[i].hash == hash && r->s->now_ms < m->mended[i].ms + AGAIN_MS)
            return true;
    return false;
}

bool mend_want(struct repl *r, const struct part_name *part)
{
    struct mends *m = &r->mends;
    for (unsigned i = 0; i < m->n; i++)
        if (same_name(&m->want[i], part))
            return true;
    if (m->n == MENDS_MAX || mended_lately(r, name_hash(part)))
        return false;
    part_name_set(&m->want[m->n++], part);
    m->unsettled = true;
    repl_note_history(r);
    return true;
}

static void remember(struct repl *r, const struct part_name *part)
{
    struct mends *m = &r->mends;
    m->mended[m->next] = (struct mended){name_hash(part), r->s->now_ms};
    m->next = (m->next + 1) % MENDED_MAX;
}

static void drop_first(struct mends *m)
{
    part_name_drop(&m->want[0]);
    m->n--;
    for (unsigned i = 0; i < m->n; i++)
        m->want[i] = m->want[i + 1];
    m->want[m->n] = (struct part_name){0};
    m->asked_ms = 0;
}

static void drop_source(struct mends *m)
{
    mem_free(m->source);
    m->source = NULL;
}

/* The server does not let go of the store meanwhile. */
static enum vs_status take_back(struct repl *r, bool place, struct buf *why)
{
    enum vs_status status = vs_replace_end(r->mends.replacing, place, why);
    r->mends.replacing = NULL;
    r->s->pending--;
    drop_source(&r->mends);
    return status;
}

void mend_stop(struct repl *r)
{
    struct mends *m = &r->mends;
    struct buf why = {0};
    if (m->replacing)
        take_back(r, false, &why);
    drop_source(m);
    m->tainted |= m->n > 0;
    while (m->n)
        drop_first(m);
    buf_release(&why);
}

/* ---- asking ---- */

static void ask(struct repl *r, const struct part_name *part)
{
    struct buf out = {0};
    struct buf word = {0};
    buf_puts(&out, "*5\r\n$8\r\nREPLCONF\r\n$4\r\nMEND\r\n");
    buf_printf(&word, "%u", part->db);
    buf_printf(&out, "$%zu\r\n%.*s\r\n", word.len, (int)word.len, word.data);
    buf_reset(&word);
    buf_printf(&word, "%" PRIu32, part->number);
    buf_printf(&out, "$%zu\r\n%.*s\r\n", word.len, (int)word.len, word.data);
    buf_printf(&out, "$%zu\r\n", part->key_len);
    buf_append(&out, part->key, part->key_len);
    buf_puts(&out, "\r\n");
    link_say(r->link, &out);
    buf_release(&out);
    buf_release(&word);
}

/* The first of those wanted cannot be had. */
static void give_up(struct repl *r)
{
    struct mends *m = &r->mends;
    m->failed++;
    m->tainted = true;
    drop_source(m);
    if (m->n) {
        remember(r, &m->want[0]);
        drop_first(m);
    }
    if (digests_resync(r))
        apply_begin_anew(r);
}

static bool rewrite_done(struct repl *r)
{
    struct persist_status now;
    persist_status(r->s->persist, &now);
    return !now.appendonly || (!now.rewriting && now.rewrites > r->mends.rewrites);
}

void mend_tick(struct repl *r)
{
    struct mends *m = &r->mends;
    if (m->unsettled && !m->tainted && !m->n && rewrite_done(r)) {
        m->unsettled = false;
        repl_note_history(r);
    }
    if (!m->n || !r->link || !r->in_sync)
        return;
    if (!m->asked_ms && r->s->now_ms >= m->not_before_ms) {
        m->asked_ms = r->s->now_ms;
        m->not_before_ms = r->s->now_ms + EVERY_MS;
        ask(r, &m->want[0]);
    } else if (m->asked_ms && !m->replacing && r->s->now_ms >= m->asked_ms + WAIT_MS) {
        log_warning("The primary does not send the partition that it was asked for");
        give_up(r);
    }
}

/* ---- taking ---- */

static enum vs_status source(void *arg,
                             enum vs_status (*build)(void *build_arg, const struct vs_part_image *image, struct buf *why),
                             void *build_arg, struct buf *why)
{
    struct mend_source *s = arg;
    return snapshot_read_part(&s->vfs, LINK_SEGMENTS, LINK_MANIFEST, &s->only, &s->options, build, build_arg, why);
}

static enum vs_status begin(struct repl *r, const struct link_item *item, const struct digest_entry *e, struct buf *why)
{
    struct mends *m = &r->mends;
    size_t position;
    if (!m->n || !m->asked_ms || !same_name(&m->want[0], &e->part)) {
        buf_puts(why, "the primary sends a partition that it was not asked for");
        return VS_CORRUPT;
    }
    if (!item->files) {
        buf_puts(why, "the primary cannot send it");
        return VS_NOTFOUND;
    }
    struct vs_index *index = part_index(r, &e->part, &position);
    if (!index) {
        buf_puts(why, "it is not there any more");
        return VS_NOTFOUND;
    }
    m->source = mem_zalloc(sizeof(*m->source));
    m->source->vfs = memory_files_vfs(item->files);
    m->source->only = (struct snapshot_only){e->part.db, m->want[0].key, e->part.key_len, e->part.number};
    m->source->options = *vs_index_options(index);
    enum vs_status status = vs_replace_begin(index, position, source, m->source, &m->replacing);
    r->s->pending += status == VS_OK;
    return status;
}

/* It stands in its place: is it what the primary said? And what is on disk makes something else. */
static enum vs_status placed(struct repl *r, const struct digest_entry *e, struct buf *why)
{
    struct mends *m = &r->mends;
    struct persist_status now;
    struct digest_entry mine;
    persist_status(r->s->persist, &now);
    if (now.rewriting)
        persist_save_abort(r->s->persist);
    if (now.appendonly)
        persist_schedule_rewrite(r->s->persist);
    m->rewrites = now.rewrites + now.rewriting;
    r->s->dirty++;
    r->s->host.key_changed(&r->s->host, e->part.db, e->part.key, e->part.key_len);
    if (digest_of(r, &e->part, &mine) && mine.sequence == e->sequence && mine.records == e->records)
        return VS_OK;
    buf_puts(why, "what came is not what was announced");
    return VS_CORRUPT;
}

static enum vs_status end(struct repl *r, const struct digest_entry *e, struct buf *why)
{
    enum vs_status status = take_back(r, true, why);
    return status == VS_OK ? placed(r, e, why) : status;
}

bool mend_take(struct repl *r, struct link_item *item)
{
    struct mends *m = &r->mends;
    struct digest_entry e;
    struct buf why = {0};
    enum vs_status status = VS_CORRUPT;
    if (!digest_read((const uint8_t *)item->bytes.data, item->bytes.len, &e))
        buf_puts(&why, "the primary does not say what it sends");
    else if (!m->replacing)
        status = begin(r, item, &e, &why);
    else
        status = VS_OK;
    if (status == VS_OK && !vs_replace_ended(m->replacing))
        return false;
    if (status == VS_OK)
        status = end(r, &e, &why);
    if (status == VS_OK) {
        uint64_t bytes = memory_files_bytes(item->files);
        remember(r, &e.part);
        m->done++;
        m->bytes += bytes;
        log_notice("Partition %u of '%.*s' has been taken over from the primary, %" PRIu64 " bytes, as of offset "
                   "%" PRIu64, e.part.number, (int)(e.part.key_len < 100 ? e.part.key_len : 100), e.part.key, bytes,
                   r->at.offset);
        drop_first(m);
    } else {
        log_warning("A partition that differs cannot be taken over from the primary: %s%s%.*s", vs_status_text(status),
                    why.len ? ": " : "", (int)why.len, why.len ? why.data : "");
        give_up(r);
    }
    buf_release(&why);
    return true;
}
