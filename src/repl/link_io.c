/* A link's socket. It does not block: whatever is waited for, the eventfd is, too, so that the loop can
 * stop the thread or ask for an acknowledgement. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "repl/link_int.h"

#define READ_BYTES ((size_t)256 << 10)
#define SYNC_READ_BYTES 1024
#define ACK_NS 1000000000ull /* between two that nobody asked for */
#define NAP_NS 1000000       /* between two looks at a stream that trickles */
#define TRICKLE_BYTES ((ssize_t)32 << 10)
#define AWAKE_NS 20000000ull /* after the primary has asked for an acknowledgement */

/* Waits for the socket until `until_ns`. False: time is up, it is to stop, or it has failed. */
static bool wait_for(struct link *l, short events, uint64_t until_ns)
{
    for (;;) {
        struct pollfd p[2] = {{.fd = l->fd, .events = events}, {.fd = l->wakeup, .events = POLLIN}};
        uint64_t now = clock_mono_ns();
        if (link_stopped(l))
            return link_fail(l, "it was ended");
        if (now >= until_ns)
            return link_fail(l, "nothing has come for %u seconds", l->timeout_ms / 1000);
        uint64_t ms = (until_ns - now) / 1000000 + 1;
        if (l->streams && ms > 200)
            ms = 200;
        int n = poll(p, 2, (int)ms);
        if (n < 0 && errno != EINTR)
            return link_fail(l, "poll: %s", strerror(errno));
        if (n > 0 && p[1].revents) {
            uint64_t count;
            ssize_t got = read(l->wakeup, &count, sizeof(count));
            (void)got;
        }
        if (l->streams && !(events & POLLOUT) &&
            !link_send_ack(l, atomic_exchange(&l->ack_now, false)))
            return false;
        if (n > 0 && p[0].revents)
            return true;
    }
}

/* Each record that comes while the thread waits for it wakes it, which costs the primary, who has to do that, as much as
 * sending. Where little comes and often, and nobody waits for an acknowledgement, what has come is looked for once in a
 * while instead: the socket has no waiter then. The loop can still end it. */
static void nap(struct link *l)
{
    struct pollfd wakeup = {.fd = l->wakeup, .events = POLLIN};
    struct timespec while_ns = {.tv_nsec = NAP_NS};
    l->trickles = false;
    ppoll(&wakeup, 1, &while_ns, NULL);
}

static void note_received(struct link *l, ssize_t n)
{
    uint64_t now = clock_mono_ns(), last = atomic_load_explicit(&l->last_ns, memory_order_relaxed);
    l->trickles = l->streams && n < TRICKLE_BYTES && now - last < 2 * NAP_NS && now - l->asked_ns > AWAKE_NS;
    atomic_store_explicit(&l->last_ns, now, memory_order_relaxed);
}

static uint64_t deadline(const struct link *l)
{
    return clock_mono_ns() + (uint64_t)l->timeout_ms * 1000000;
}

static bool connect_one(struct link *l, const struct addrinfo *a)
{
    int error = 0, on = 1;
    socklen_t len = sizeof(error);
    l->fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (l->fd < 0)
        return link_fail(l, "socket: %s", strerror(errno));
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(l->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    if (connect(l->fd, a->ai_addr, a->ai_addrlen) == 0)
        return true;
    if (errno == EINPROGRESS && wait_for(l, POLLOUT, deadline(l))) {
        if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && !error)
            return true;
        errno = error;
    }
    link_fail(l, "cannot connect to %s:%u: %s", l->host, l->port, strerror(errno));
    close(l->fd);
    l->fd = -1;
    return false;
}

bool link_connect(struct link *l)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list, *a;
    char port[16];
    snprintf(port, sizeof(port), "%u", l->port);
    int rc = getaddrinfo(l->host, port, &hints, &list);
    if (rc)
        return link_fail(l, "the address %s: %s", l->host, gai_strerror(rc));
    for (a = list; a; a = a->ai_next) {
        l->error[0] = 0;
        if (connect_one(l, a) || link_stopped(l))
            break;
    }
    freeaddrinfo(list);
    return l->fd >= 0 && !link_stopped(l);
}

bool link_send(struct link *l, const void *data, size_t len)
{
    const char *at = data;
    uint64_t until = deadline(l);
    while (len) {
        ssize_t n = send(l->fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return link_fail(l, "sending: %s", strerror(errno));
        if (n < 0 && !wait_for(l, POLLOUT, until))
            return false;
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
    return true;
}

bool link_receive(struct link *l)
{
    if (l->used && (l->used == l->in.len || l->used >= READ_BYTES)) {
        memmove(l->in.data, l->in.data + l->used, l->in.len - l->used);
        l->in.len -= l->used;
        l->used = 0;
    }
    /* Bytes of a snapshot go where they stay; little of them should come here. */
    size_t most = l->full || l->part ? SYNC_READ_BYTES : READ_BYTES;
    for (;;) {
        char *room = buf_try_reserve(&l->in, most);
        if (!room)
            return link_fail(l, "out of memory for what the primary sends");
        ssize_t n = recv(l->fd, room, most, 0);
        if (n > 0) {
            l->in.len += (size_t)n;
            note_received(l, n);
            return true;
        }
        if (n == 0)
            return link_fail(l, "the primary has closed the connection");
        if (errno != EAGAIN && errno != EINTR)
            return link_fail(l, "receiving: %s", strerror(errno));
        if (l->trickles && !l->full && !l->part)
            nap(l);
        else if (!wait_for(l, POLLIN, atomic_load(&l->last_ns) + (uint64_t)l->timeout_ms * 1000000))
            return false;
    }
}

/* As many as there are. False: it has failed, or is to stop. */
static bool take_some(struct link *l, struct iovec iov[2], size_t *got)
{
    for (;;) {
        ssize_t n = readv(l->fd, iov, 2);
        if (n > 0) {
            *got = (size_t)n;
            atomic_store_explicit(&l->last_ns, clock_mono_ns(), memory_order_relaxed);
            return true;
        }
        if (n == 0)
            return link_fail(l, "the primary has closed the connection");
        if (errno != EAGAIN && errno != EINTR)
            return link_fail(l, "receiving: %s", strerror(errno));
        if (!wait_for(l, POLLIN, atomic_load(&l->last_ns) + (uint64_t)l->timeout_ms * 1000000))
            return false;
    }
}

bool link_receive_to(struct link *l, uint8_t *to, size_t len)
{
    size_t had = l->in.len - l->used < len ? l->in.len - l->used : len, got = 0;
    if (had)
        memcpy(to, l->in.data + l->used, had);
    l->used += had;
    to += had;
    len -= had;
    if (len && !buf_try_reserve(&l->in, WIRE_FRAME))
        return link_fail(l, "out of memory for what the primary sends");
    while (len) {
        l->in.len = l->used = 0;
        /* And the head of what follows. */
        struct iovec iov[2] = {{to, len}, {l->in.data, WIRE_FRAME}};
        if (!take_some(l, iov, &got))
            return false;
        if (got > len) {
            l->in.len = got - len;
            got = len;
        }
        to += got;
        len -= got;
    }
    return true;
}

bool link_have(struct link *l, size_t len)
{
    /* A long frame gets its room at once. */
    if (l->in.len - l->used < len && len > READ_BYTES &&
        !buf_try_reserve(&l->in, len - (l->in.len - l->used) + READ_BYTES))
        return link_fail(l, "out of memory for a record of %zu bytes", len);
    while (l->in.len - l->used < len)
        if (!link_receive(l))
            return false;
    /* So that a busy link does not forget what it owes. */
    return !atomic_load_explicit(&l->ack_now, memory_order_relaxed) ||
           link_send_ack(l, atomic_exchange(&l->ack_now, false));
}

bool link_send_ack(struct link *l, bool now)
{
    uint64_t ns = clock_mono_ns();
    if (!l->streams || (!now && ns - l->ack_ns < ACK_NS))
        return true;
    char offset[24], synced[24], different[24], out[224];
    struct buf digests, commands, all = {0};
    pthread_mutex_lock(&l->lock);
    digests = l->digests;
    commands = l->commands;
    l->digests = l->commands = (struct buf){0};
    pthread_mutex_unlock(&l->lock);
    int a = snprintf(offset, sizeof(offset), "%" PRIu64, atomic_load(&l->acked));
    int b = snprintf(synced, sizeof(synced), "%" PRIu64, atomic_load(&l->synced));
    int c = snprintf(different, sizeof(different), "%" PRIu64, atomic_load(&l->different));
    int n = snprintf(out, sizeof(out),
                     "*%d\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$%d\r\n%s\r\n$4\r\nFACK\r\n$%d\r\n%s\r\n"
                     "$7\r\nDIFFERS\r\n$%d\r\n%s\r\n", digests.len ? 9 : 7, a, offset, b, synced, c, different);
    l->ack_ns = ns;
    if (!digests.len && !commands.len)
        return link_send(l, out, (size_t)n);
    buf_append(&all, out, (size_t)n);
    if (digests.len) {
        buf_printf(&all, "$7\r\nDIGESTS\r\n$%zu\r\n", digests.len);
        buf_append(&all, digests.data, digests.len);
        buf_puts(&all, "\r\n");
    }
    if (commands.len)
        buf_append(&all, commands.data, commands.len);
    bool sent = link_send(l, all.data, all.len);
    buf_release(&digests);
    buf_release(&commands);
    buf_release(&all);
    return sent;
}
