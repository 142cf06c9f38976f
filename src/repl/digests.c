/* Digests in the stream: a replica finds out by itself when it does not hold what its primary holds.
 *
 * Now and then, at the end of a turn, the primary says of some partitions what they are at this very offset:
 *
 *     u32 database, u32 partition, u32 bytes of the key, u32 0, u64 sequence number, u64 digest of the records,
 *     u64 linked up to, u64 digest of the graph there, key                  (one after the other)
 *
 * A replica that has applied everything before it must have the same sequence number and digest of records,
 * and the same digest of the graph if it has linked as far. Otherwise it logs what differs, says so with its next
 * acknowledgement, and asks for all data; but not again within RESYNC_MS, should that not have helped.
 *
 * Every round goes through all keys, a few in a tick. */
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "persist/le.h"
#include "repl/repl_int.h"
#include "server/client.h"

#define ENTRY 48             /* bytes before the key */
#define KEYS_A_TICK 16
#define FRAME_BYTES ((size_t)256 << 10)
#define RESYNC_MS 600000

/* ---- at the primary ---- */

struct round {
    struct buf out;
    unsigned keys;
};

static void put_partition(struct buf *out, unsigned db, const char *key, size_t len, uint32_t number,
                          const struct vs_partition_info *info)
{
    uint8_t head[ENTRY] = {0};
    le32_put(head, db);
    le32_put(head + 4, number);
    le32_put(head + 8, (uint32_t)len);
    le64_put(head + 16, info->sequence);
    le64_put(head + 24, info->records_digest);
    le64_put(head + 32, info->linked_sequence);
    le64_put(head + 40, info->graph_digest);
    buf_append(out, head, sizeof(head));
    buf_append(out, key, len);
}

struct scan {
    struct repl *r;
    struct round *round;
};

static void put_index(void *arg, struct vs_index *index)
{
    struct scan *s = arg;
    struct vs_partition_info info;
    size_t len;
    const char *key = vs_index_key(index, &len);
    s->round->keys++;
    for (size_t i = 0; i < vs_partition_count(index); i++) {
        if (s->round->out.len + ENTRY + len > FRAME_BYTES)
            return;
        vs_partition_info(index, i, &info);
        if (info.open)
            put_partition(&s->round->out, s->r->digests.db, key, len, (uint32_t)i, &info);
    }
}

static bool is_listening(const struct repl *r, const struct replica *p)
{
    return p->state == REPLICA_ONLINE && !p->c->closing && p->cursor.offset == r->at.offset;
}

void digests_tick(struct repl *r)
{
    struct digests *d = &r->digests;
    struct vs_store *store = r->s->store;
    struct round round = {0};
    struct scan scan = {r, &round};
    struct replica *p;
    bool any = false;
    TAILQ_FOREACH(p, &r->replicas, link)
        any |= is_listening(r, p);
    /* What a client has written here is in nobody's stream. */
    if (!any || r->strayed || (r->replica && !r->in_sync))
        return;
    for (unsigned databases = 0; round.keys < KEYS_A_TICK && databases <= vs_databases(store); databases++) {
        if (d->db >= vs_databases(store))
            d->db = 0;
        if (vs_count(store, d->db))
            do
                d->cursor = vs_scan(store, d->db, d->cursor, put_index, &scan);
            while (d->cursor && round.keys < KEYS_A_TICK);
        if (!d->cursor)
            d->db++;
    }
    TAILQ_FOREACH(p, &r->replicas, link) {
        if (!round.out.len || !is_listening(r, p))
            continue;
        wire_control(net_conn_out(p->c->conn), WIRE_DIGEST, &r->at, round.out.data, round.out.len);
        net_conn_send(p->c->conn);
    }
    buf_release(&round.out);
}

void digests_told(struct replica *p, uint64_t different)
{
    if (different > p->different)
        log_warning("The replica %s does not hold what this node holds: %" PRIu64 " partitions differ",
                    net_conn_peer(p->c->conn), different - p->different);
    p->different = different;
}

/* ---- at the replica ---- */

static const char *judge(const struct vs_partition_info *mine, const uint8_t *head)
{
    if (mine->sequence != le64(head + 16))
        return "sequence numbers";
    if (mine->records_digest != le64(head + 24))
        return "digests of records";
    if (mine->linked_sequence == le64(head + 32) && mine->graph_digest != le64(head + 40))
        return "digests of graphs";
    return NULL;
}

bool digests_compare(struct repl *r, const uint8_t *payload, size_t len)
{
    struct digests *d = &r->digests;
    bool same = true;
    while (len >= ENTRY) {
        unsigned db = le32(payload);
        uint32_t number = le32(payload + 4), key_len = le32(payload + 8);
        struct vs_partition_info mine;
        if (key_len > len - ENTRY || db >= vs_databases(r->s->store))
            break;
        const char *key = (const char *)payload + ENTRY;
        struct vs_index *index = vs_find(r->s->store, db, key, key_len);
        /* One that has ended by our clock is there still, for the stream. */
        if (index && number < vs_partition_count(index)) {
            vs_partition_info(index, number, &mine);
            const char *what = mine.open ? judge(&mine, payload) : NULL;
            d->compared += mine.open;
            if (what) {
                d->different++;
                same = false;
                log_warning("Partition %u of '%.*s' is not what the primary's is: %s differ at offset "
                            "%" PRIu64, number, (int)(key_len < 100 ? key_len : 100), key, what, r->at.offset);
            }
        }
        payload += ENTRY + key_len;
        len -= ENTRY + key_len;
    }
    if (same || (d->resync_ms && r->s->now_ms < d->resync_ms + RESYNC_MS))
        return true;
    d->resync_ms = r->s->now_ms;
    return false;
}
