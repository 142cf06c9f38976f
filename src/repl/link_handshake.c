/* What a replica says before the stream begins: Redis' handshake, with one more capability. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "repl/link_int.h"

#define LINE_MAX_BYTES 4096

/* The next line that is not empty, NUL-terminated, without its end; valid until more is read. */
static bool read_line(struct link *l, char **line)
{
    size_t seen = 0;
    for (;;) {
        while (l->used < l->in.len && !seen && (l->in.data[l->used] == '\n' || l->in.data[l->used] == '\r'))
            l->used++;
        char *from = l->in.data + l->used;
        char *end = l->in.len > l->used + seen
                        ? memchr(from + seen, '\n', l->in.len - l->used - seen)
                        : NULL;
        if (end) {
            l->used += (size_t)(end - from) + 1;
            *end = 0;
            if (end > from && end[-1] == '\r')
                end[-1] = 0;
            *line = from;
            return true;
        }
        seen = l->in.len - l->used;
        if (seen > LINE_MAX_BYTES)
            return link_fail(l, "the primary's answer has no end: is it a VecStore?");
        if (!link_receive(l))
            return false;
    }
}

static void put_words(struct buf *out, const char *const *words, size_t n)
{
    buf_printf(out, "*%zu\r\n", n);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
}

static bool send_words(struct link *l, const char *const *words, size_t n)
{
    struct buf out = {0};
    put_words(&out, words, n);
    bool ok = link_send(l, out.data, out.len);
    buf_release(&out);
    return ok;
}

#define SAY(l, ...) \
    send_words(l, (const char *const[]){__VA_ARGS__}, \
               sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static bool expect_ok(struct link *l, const char *what)
{
    char *line;
    if (!read_line(l, &line))
        return false;
    if (line[0] == '+')
        return true;
    return link_fail(l, "the primary answers %s with: %.200s", what, line);
}

static bool introduce(struct link *l)
{
    char port[16], *line;
    if (!SAY(l, "PING") || !read_line(l, &line))
        return false;
    /* One that wants a password first says so here. */
    if (line[0] != '+' && strncmp(line, "-NOAUTH", 7) && strncmp(line, "-NOPERM", 7) &&
        strncmp(line, "-READONLY", 9)) /* fenced: it still has a stream */
        return link_fail(l, "the primary answers PING with: %.200s", line);
    if (*l->password) {
        bool sent = *l->user ? SAY(l, "AUTH", l->user, l->password) : SAY(l, "AUTH", l->password);
        if (!sent || !expect_ok(l, "AUTH"))
            return false;
    }
    snprintf(port, sizeof(port), "%u", l->announce_port);
    if (!SAY(l, "REPLCONF", "listening-port", port) || !expect_ok(l, "REPLCONF listening-port"))
        return false;
    if (*l->announce_ip &&
        (!SAY(l, "REPLCONF", "ip-address", l->announce_ip) || !expect_ok(l, "REPLCONF ip-address")))
        return false;
    return SAY(l, "REPLCONF", "capa", "eof", "capa", "psync2", "capa", WIRE_CAPA, "capa", "zstd") &&
           expect_ok(l, "REPLCONF capa");
}

static bool is_id(const char *word)
{
    return strlen(word) == 40 && strspn(word, "0123456789abcdef") == 40;
}

/* "+FULLRESYNC <replid> <offset> <nonce> <lsn> [<up to where our history is the same>]" */
static bool begin_full(struct link *l, char *line)
{
    char replid[41], nonce[17], end;
    uint64_t offset, lsn, common = UINT64_MAX;
    int n = sscanf(line, "+FULLRESYNC %40s %" SCNu64 " %16s %" SCNu64 " %" SCNu64 "%c", replid, &offset,
                   nonce, &lsn, &common, &end);
    if ((n != 4 && n != 5) || !is_id(replid) || strspn(nonce, "0123456789abcdef") != 16)
        return link_fail(l, "the primary speaks another protocol than this one (%s): %.100s", WIRE_CAPA,
                         line);
    memcpy(l->replid, replid, sizeof(replid));
    l->at = (struct wire_place){strtoull(nonce, NULL, 16), offset, lsn};
    l->common = common;
    l->full = true;
    atomic_store(&l->acked, 0);
    return true;
}

/* "+CONTINUE <replid> <nonce>" */
static bool go_on(struct link *l, char *line)
{
    char replid[41], nonce[17], end;
    if (sscanf(line, "+CONTINUE %40s %16s%c", replid, nonce, &end) != 2 || !is_id(replid) ||
        strspn(nonce, "0123456789abcdef") != 16)
        return link_fail(l, "the primary speaks another protocol than this one (%s): %.100s", WIRE_CAPA,
                         line);
    if (!*l->replid || strtoull(nonce, NULL, 16) != l->at.nonce) {
        atomic_store(&l->spoilt, true);
        return link_fail(l, "the primary would go on with a history that is not ours");
    }
    struct link_item *item = mem_zalloc(sizeof(*item));
    item->kind = LINK_CONTINUE;
    memcpy(item->replid, replid, sizeof(replid));
    item->at = l->at;
    link_push(l, item);
    return true;
}

/* Only a node whose history is known can hand it over, and only while the loop has not thought better of it. */
static bool may_ask(struct link *l)
{
    int is = LINK_ASK_MAY;
    if (!*l->replid)
        return link_fail(l, "this node's data are of no history that could be handed over");
    return atomic_compare_exchange_strong(&l->ask, &is, LINK_ASK_DONE) || link_fail(l, "it was ended");
}

bool link_handshake(struct link *l)
{
    char offset[24], *line;
    if (!introduce(l) || (l->failover && !may_ask(l)))
        return false;
    snprintf(offset, sizeof(offset), "%" PRIu64, l->at.offset + 1);
    bool sent = !*l->replid   ? SAY(l, "PSYNC", "?", "-1")
                : l->failover ? SAY(l, "PSYNC", l->replid, offset, "FAILOVER")
                              : SAY(l, "PSYNC", l->replid, offset);
    if (!sent || !read_line(l, &line))
        return false;
    if (!strncmp(line, "+CONTINUE ", 10))
        return go_on(l, line);
    if (!strncmp(line, "+FULLRESYNC ", 12))
        return begin_full(l, line);
    atomic_store(&l->refused, true);
    return link_fail(l, "the primary answers PSYNC with: %.200s", line);
}
