/* The output half of a connection: a chain of blocks, written from its head. Run by whoever owns
 * the chain: the loop, or the connection's io-thread. Counters of the chain are atomic because the
 * loop reads them for limits and CLIENT LIST. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/mem.h"
#include "net/net_int.h"

/* Memory given back in a turn: some 100 us of page table work. */
#define SWEEP_BYTES ((size_t)2 << 20)
#define SWEEP_BLOCKS 64

struct net_block *net_block_new(struct buf *take)
{
    struct net_block *b = mem_zalloc(sizeof(*b));
    b->data = *take;
    *take = (struct buf){0};
    return b;
}

static void block_free(struct net_block *b)
{
    buf_release(&b->data);
    mem_free(b);
}

void net_chain_append(struct net_conn *c, struct net_block *b)
{
    b->next = NULL;
    if (!c->chain.head)
        c->chain.tail = &c->chain.head;
    *c->chain.tail = b;
    c->chain.tail = &b->next;
}

/* A block has left the connection: `unsent` of its bytes were not written. */
static void forget(struct net_conn *c, struct net_block *b, size_t unsent)
{
    size_t bytes = b->data.cap + sizeof(*b);
    atomic_fetch_sub_explicit(&c->chain_bytes, bytes, memory_order_relaxed);
    atomic_fetch_sub_explicit(&c->chain_blocks, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&c->net->count.output_bytes, bytes, memory_order_relaxed);
    atomic_fetch_sub_explicit(&c->unsent, unsent, memory_order_relaxed);
}

bool net_chain_write(struct net_conn *c)
{
    struct iovec iov[NET_IOV];
    struct net_block *b = c->chain.head;
    int n = 0;
    size_t total = 0;
    for (; b && n < NET_IOV && total < NET_WRITE_MAX; b = b->next) {
        size_t len = b->data.len - b->sent;
        if (len > NET_WRITE_MAX - total)
            len = NET_WRITE_MAX - total;
        iov[n++] = (struct iovec){b->data.data + b->sent, len};
        total += len;
    }
    if (n == 0)
        return true;
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
    ssize_t wrote = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
    atomic_fetch_add_explicit(c->io ? &c->net->count.io_writes : &c->net->count.writes, 1,
                              memory_order_relaxed);
    if (wrote < 0)
        return errno == EAGAIN || errno == EINTR || errno == ENOBUFS;
    atomic_fetch_add_explicit(&c->net->count.bytes_out, (uint64_t)wrote, memory_order_relaxed);
    atomic_fetch_sub_explicit(&c->unsent, (size_t)wrote, memory_order_relaxed);
    size_t left = (size_t)wrote;
    while ((b = c->chain.head) && left >= b->data.len - b->sent) {
        left -= b->data.len - b->sent;
        c->chain.head = b->next;
        forget(c, b, 0);
        block_free(b);
    }
    if (b)
        b->sent += left;
    return true;
}

void net_chain_drop(struct net_conn *c, bool in_loop)
{
    for (struct net_block *b = c->chain.head; b; b = b->next)
        forget(c, b, b->data.len - b->sent);
    if (in_loop && c->chain.head) {
        net_trash_blocks(c->net, c->chain.head);
    } else {
        for (struct net_block *b = c->chain.head, *next; b; b = next) {
            next = b->next;
            block_free(b);
        }
    }
    c->chain.head = NULL;
}

/* ---- memory given back in pieces ---- */

void net_trash_map(struct net *n, char *data, size_t len)
{
    struct net_trash *t = mem_zalloc(sizeof(*t));
    *t = (struct net_trash){.next = n->trash, .data = data, .len = len};
    n->trash = t;
}

void net_trash_blocks(struct net *n, struct net_block *blocks)
{
    struct net_trash *t = mem_zalloc(sizeof(*t));
    *t = (struct net_trash){.next = n->trash, .blocks = blocks};
    n->trash = t;
}

bool net_sweep(struct net *n)
{
    struct net_trash *t = n->trash;
    if (!t)
        return false;
    for (unsigned i = 0; t->blocks && i < SWEEP_BLOCKS; i++) {
        struct net_block *b = t->blocks;
        t->blocks = b->next;
        block_free(b);
    }
    if (t->len > 0) {
        size_t piece = t->len < SWEEP_BYTES ? t->len : SWEEP_BYTES;
        t->len -= piece;
        munmap(t->data + t->len, piece);
    }
    if (!t->blocks && t->len == 0) {
        n->trash = t->next;
        mem_free(t);
    }
    return n->trash != NULL;
}
