/* Digests: a node finds out by itself when it does not hold what the other holds.
 *
 * Now and then, at the end of a turn, the primary says of some partitions what they are at this very offset:
 *
 *     u32 database, u32 partition, u32 bytes of the key, u32 0, u64 sequence number, u64 digest of the records,
 *     u64 linked up to, u64 digest of the graph there, key                  (one after the other)
 *
 * A replica that has applied everything before it must have the same sequence number and digest of records,
 * and the same digest of the graph if it has linked as far. Otherwise it logs what differs, says so with its next
 * acknowledgement, and gets that partition (mend.c); or all data, but not again within RESYNC_MS, should that not
 * have helped. Every round goes through all keys, a few in a tick.
 *
 * The other way, an acknowledgement carries such entries of partitions that have closed a batch since they were last
 * told of. The primary compares where the sequence numbers, or those linked up to, are the same. What differs it tells
 * to that replica at one offset, as above, so that there is one place where it is decided what is wrong. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "repl/repl_int.h"
#include "server/client.h"

#define KEYS_A_TICK 16
#define FRAME_BYTES ((size_t)256 << 10)
#define ACK_BYTES ((size_t)32 << 10)
#define ACK_EVERY_MS 500
#define RESYNC_MS 600000

/* ---- entries, names ---- */

void part_name_drop(struct part_name *p)
{
    mem_free(p->key);
    *p = (struct part_name){0};
}

void part_name_set(struct part_name *to, const struct part_name *from)
{
    char *key = mem_strndup(from->key, from->key_len);
    part_name_drop(to);
    *to = *from;
    to->key = key;
}

struct vs_index *part_index(struct repl *r, const struct part_name *part, size_t *position)
{
    struct vs_store *store = r->s->store;
    struct vs_index *index =
        part->db < vs_databases(store) ? vs_find(store, part->db, part->key, part->key_len) : NULL;
    char name[16];
    struct buf text = {0};
    buf_printf(&text, "%" PRIu32, part->number);
    memcpy(name, text.data, text.len);
    long at = index ? vs_partition_find(index, name, text.len) : -1;
    buf_release(&text);
    *position = at < 0 ? 0 : (size_t)at;
    return at < 0 ? NULL : index;
}

/* False: it is not open. */
static bool entry_at(struct vs_index *index, size_t position, const struct part_name *part,
                     struct digest_entry *out)
{
    struct vs_partition_info info;
    vs_partition_info(index, position, &info);
    *out = (struct digest_entry){.part = *part,
                                 .sequence = info.sequence,
                                 .records = info.records_digest,
                                 .linked = info.linked_sequence,
                                 .graph = info.graph_digest};
    return info.open;
}

bool digest_of(struct repl *r, const struct part_name *part, struct digest_entry *out)
{
    size_t position;
    struct vs_index *index = part_index(r, part, &position);
    return index && entry_at(index, position, part, out);
}

/* ---- rounds ---- */

struct scan {
    struct repl *r;
    struct buf out;
    size_t max;
    unsigned db, keys;
    bool news;               /* only of those that have linked a batch since they were told of */
};

static bool is_news(struct repl *r, const struct digest_entry *e)
{
    uint64_t hash = hash_bytes(e->part.key, e->part.key_len, (uint64_t)e->part.db << 32 | e->part.number);
    uint64_t *told = &r->digests.told[hash % DIGESTS_TOLD], mark = hash_mix(hash ^ e->linked);
    if (*told == mark)
        return false;
    *told = mark;
    return true;
}

static void put_index(void *arg, struct vs_index *index)
{
    struct scan *s = arg;
    struct part_name part = {.db = s->db};
    struct digest_entry e;
    part.key = (char *)vs_index_key(index, &part.key_len);
    s->keys++;
    for (size_t i = 0; i < vs_partition_count(index); i++) {
        struct vs_partition_info info;
        if (s->out.len + WIRE_ENTRY + part.key_len > s->max)
            return;
        vs_partition_info(index, i, &info);
        part.number = (uint32_t)strtoul(info.name, NULL, 10);
        if (entry_at(index, i, &part, &e) && (!s->news || is_news(s->r, &e)))
            digest_put(&s->out, &e);
    }
}

/* Some keys more of a round. */
static void scan_some(struct scan *s, struct digests_round *round)
{
    struct vs_store *store = s->r->s->store;
    for (unsigned databases = 0; s->keys < KEYS_A_TICK && databases <= vs_databases(store); databases++) {
        if (round->db >= vs_databases(store))
            round->db = 0;
        s->db = round->db;
        if (vs_count(store, round->db))
            do
                round->cursor = vs_scan(store, round->db, round->cursor, put_index, s);
            while (round->cursor && s->keys < KEYS_A_TICK);
        if (!round->cursor)
            round->db++;
    }
}

/* ---- at the primary ---- */

static bool is_listening(const struct repl *r, const struct replica *p)
{
    return p->state == REPLICA_ONLINE && !p->c->closing && !p->mending && p->cursor.offset == r->at.offset;
}

static void send_digests(struct repl *r, struct replica *p, const struct buf *entries)
{
    if (!entries->len)
        return;
    wire_control(net_conn_out(p->c->conn), WIRE_DIGEST, &r->at, entries->data, entries->len);
    net_conn_send(p->c->conn);
}

static void recheck(struct repl *r, struct replica *p)
{
    struct buf out = {0};
    struct digest_entry e;
    if (digest_of(r, &p->recheck, &e))
        digest_put(&out, &e);
    send_digests(r, p, &out);
    part_name_drop(&p->recheck);
    buf_release(&out);
}

void digests_tick(struct repl *r)
{
    struct scan scan = {.r = r, .max = FRAME_BYTES};
    struct replica *p;
    bool any = false;
    TAILQ_FOREACH(p, &r->replicas, link)
        any |= is_listening(r, p);
    /* What a client has written here is in nobody's stream. */
    if (!any || r->strayed || (r->replica && !r->in_sync))
        return;
    scan_some(&scan, &r->digests.round);
    TAILQ_FOREACH(p, &r->replicas, link) {
        if (!is_listening(r, p))
            continue;
        if (p->recheck.key)
            recheck(r, p);
        send_digests(r, p, &scan.out);
    }
    buf_release(&scan.out);
}

static void hear(struct repl *r, struct replica *p, const struct digest_entry *theirs)
{
    struct digest_entry mine;
    if (!digest_of(r, &theirs->part, &mine))
        return;
    bool records = mine.sequence == theirs->sequence, graph = mine.linked == theirs->linked;
    r->digests.acked += records || graph;
    if (!(records && mine.records != theirs->records) && !(graph && mine.graph != theirs->graph))
        return;
    r->digests.acked_different++;
    if (p->recheck.key)
        return;
    log_warning("The replica %s acknowledges something else as partition %" PRIu32 " of '%.*s' than what this node "
                "holds", net_conn_peer(p->c->conn), theirs->part.number,
                (int)(theirs->part.key_len < 100 ? theirs->part.key_len : 100), theirs->part.key);
    part_name_set(&p->recheck, &theirs->part);
}

void digests_told(struct repl *r, struct replica *p, uint64_t different, const uint8_t *entries, size_t len)
{
    struct digest_entry e;
    if (different > p->different)
        log_warning("The replica %s does not hold what this node holds: %" PRIu64 " partitions differ",
                    net_conn_peer(p->c->conn), different - p->different);
    p->different = different;
    for (; digest_read(entries, len, &e); entries += e.bytes, len -= e.bytes)
        hear(r, p, &e);
}

/* ---- at the replica ---- */

void digests_to_tell(struct repl *r)
{
    struct digests *d = &r->digests;
    struct scan scan = {.r = r, .max = ACK_BYTES, .news = true};
    if (!r->link || !r->in_sync || r->s->now_ms < d->ack_ms + ACK_EVERY_MS || !link_digests_told(r->link))
        return;
    d->ack_ms = r->s->now_ms;
    scan_some(&scan, &d->ack);
    if (scan.out.len)
        link_tell_digests(r->link, &scan.out);
    buf_release(&scan.out);
}

static const char *judge(const struct digest_entry *mine, const struct digest_entry *theirs)
{
    if (mine->sequence != theirs->sequence)
        return "sequence numbers";
    if (mine->records != theirs->records)
        return "digests of records";
    if (mine->linked == theirs->linked && mine->graph != theirs->graph)
        return "digests of graphs";
    return NULL;
}

bool digests_resync(struct repl *r)
{
    struct digests *d = &r->digests;
    if (d->resync_ms && r->s->now_ms < d->resync_ms + RESYNC_MS)
        return false;
    d->resync_ms = r->s->now_ms;
    return true;
}

bool digests_compare(struct repl *r, const uint8_t *payload, size_t len)
{
    struct digests *d = &r->digests;
    struct digest_entry theirs, mine;
    bool mended = true;
    for (; digest_read(payload, len, &theirs); payload += theirs.bytes, len -= theirs.bytes) {
        const struct part_name *part = &theirs.part;
        /* One that has ended by our clock is there still, for the stream. */
        if (!digest_of(r, part, &mine))
            continue;
        const char *what = judge(&mine, &theirs);
        d->compared++;
        if (!what)
            continue;
        d->different++;
        log_warning("Partition %u of '%.*s' is not what the primary's is: %s differ at offset %" PRIu64,
                    part->number, (int)(part->key_len < 100 ? part->key_len : 100), part->key, what, r->at.offset);
        mended &= mend_want(r, part);
    }
    return mended || !digests_resync(r);
}
