/* See traffic.h. epoll, level-triggered; a connection asks for EPOLLOUT only while the kernel takes
 * no more of it. */
#include "benchmark/traffic.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "benchmark/progress.h"
#include "benchmark/reply.h"

#define EVENTS 64
#define READ_BYTES (64u << 10)
#define REPLY_MAX (1u << 30)
#define SILENCE_MS                                                                                 \
    60000 /* a server that says nothing for so long, with requests in flight, is given up */

struct sent {
    size_t request;
    uint64_t at_ns;
};

struct connection {
    redisContext *context;
    int fd;
    bool wants_write;
    struct sent *sent; /* ring of `pipeline` */
    size_t head, inflight;
    struct iovec *pieces; /* pieces[first..count-1] are yet to be written */
    size_t first, count;
    char *in;
    size_t in_len, in_cap;
};

struct traffic {
    const struct options *o;
    int epoll;
    unsigned n;
    struct connection *connections;
};

struct run {
    struct traffic *t;
    const struct traffic_job *job;
    size_t next, done;
    uint64_t begin_ns;
    struct progress progress;
};

static bool complain(const char *fmt, const char *what)
{
    fputs("vecstore-benchmark: ", stderr);
    fprintf(stderr, fmt, what);
    fputc('\n', stderr);
    return false;
}

static bool say(redisContext *c, int argc, const char **argv)
{
    redisReply *reply = redisCommandArgv(c, argc, argv, NULL);
    bool good = reply && reply->type != REDIS_REPLY_ERROR;

    if (!reply)
        complain("the server closed the connection: %s", c->errstr);
    else if (!good)
        complain("the server says: %s", reply->str);
    if (reply)
        freeReplyObject(reply);
    return good;
}

redisContext *traffic_control(const struct options *o)
{
    redisContext *c = o->socket ? redisConnectUnix(o->socket) : redisConnect(o->host, (int)o->port);
    const char *auth[3] = {"AUTH"};
    char db[16], where[512];
    int argc = 1;

    if (!c || c->err) {
        if (o->socket)
            snprintf(where, sizeof where, "%.300s: %.128s", o->socket, c ? c->errstr : "no memory");
        else
            snprintf(where, sizeof where, "%.300s port %u: %.128s", o->host, o->port,
                     c ? c->errstr : "no memory");
        complain("cannot connect to %s", where);
        goto fail;
    }
    redisSetTimeout(c, (struct timeval){.tv_sec = SILENCE_MS / 1000});
    if (o->password) {
        if (o->user)
            auth[argc++] = o->user;
        auth[argc++] = o->password;
        if (!say(c, argc, auth))
            goto fail;
    }
    snprintf(db, sizeof db, "%u", o->db);
    if (o->db && !say(c, 2, (const char *[]){"SELECT", db}))
        goto fail;
    return c;
fail:
    if (c)
        redisFree(c);
    return NULL;
}

static bool connection_open(struct traffic *t, struct connection *c)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

    c->context = traffic_control(t->o);
    if (!c->context)
        return false;
    c->fd = c->context->fd;
    c->sent = mem_alloc(t->o->pipeline * sizeof *c->sent);
    c->in_cap = READ_BYTES;
    c->in = mem_alloc(c->in_cap);
    if (fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK) != 0 ||
        epoll_ctl(t->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
        return complain("a socket cannot be watched: %s", strerror(errno));
    return true;
}

struct traffic *traffic_open(const struct options *o)
{
    struct traffic *t = mem_zalloc(sizeof *t);

    t->o = o;
    t->connections = mem_zalloc(o->clients * sizeof *t->connections);
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (t->epoll < 0) {
        complain("epoll: %s", strerror(errno));
        traffic_close(t);
        return NULL;
    }
    while (t->n < o->clients)
        if (!connection_open(t, &t->connections[t->n++])) {
            traffic_close(t);
            return NULL;
        }
    return t;
}

void traffic_close(struct traffic *t)
{
    for (unsigned i = 0; i < t->n; i++) {
        struct connection *c = &t->connections[i];

        if (c->context)
            redisFree(c->context);
        mem_free(c->sent);
        mem_free(c->pieces);
        mem_free(c->in);
    }
    if (t->epoll >= 0)
        close(t->epoll);
    mem_free(t->connections);
    mem_free(t);
}

static void watch_write(struct traffic *t, struct connection *c, bool wanted)
{
    struct epoll_event event = {.events = EPOLLIN | (wanted ? (uint32_t)EPOLLOUT : 0),
                                .data.ptr = c};

    if (c->wants_write == wanted)
        return;
    c->wants_write = wanted;
    epoll_ctl(t->epoll, EPOLL_CTL_MOD, c->fd, &event);
}

/* Drops `n` written bytes from the front of the pieces. */
static void advance(struct connection *c, size_t n)
{
    while (n > 0) {
        struct iovec *piece = &c->pieces[c->first];

        if (n < piece->iov_len) {
            piece->iov_base = (char *)piece->iov_base + n;
            piece->iov_len -= n;
            return;
        }
        n -= piece->iov_len;
        c->first++;
    }
}

static bool flush(struct run *r, struct connection *c)
{
    while (c->first < c->count) {
        size_t n = c->count - c->first;
        ssize_t written = writev(c->fd, c->pieces + c->first, (int)(n < IOV_MAX ? n : IOV_MAX));

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN) {
            watch_write(r->t, c, true);
            return true;
        }
        if (written < 0)
            return complain("writing to the server: %s", strerror(errno));
        advance(c, (size_t)written);
    }
    c->first = c->count = 0;
    watch_write(r->t, c, false);
    return true;
}

/* Are there requests to come, now or later? */
static bool goes_on(const struct run *r, uint64_t now)
{
    const struct traffic_job *job = r->job;

    return r->next < job->requests && (!job->end_ns || now < job->end_ns) &&
           !(job->stop && atomic_load_explicit(job->stop, memory_order_relaxed));
}

/* How many requests may have been sent by now. */
static size_t allowed(const struct run *r, uint64_t now)
{
    double due = (double)(now - r->begin_ns) * 1e-9 * r->job->rate;

    return r->job->rate > 0 && due < (double)r->job->requests ? (size_t)due : r->job->requests;
}

/* Fills the connection's pipeline as soon as what it had to write is written. */
static bool top_up(struct run *r, struct connection *c)
{
    unsigned pipeline = r->t->o->pipeline;
    uint64_t now;
    size_t end;

    if (c->first < c->count)
        return flush(r, c);
    if (r->next >= r->job->requests || c->inflight >= pipeline)
        return true;
    now = clock_mono_ns();
    end = goes_on(r, now) ? allowed(r, now) : 0;
    while (c->inflight < pipeline && r->next < end) {
        c->count += r->job->build(r->job->arg, r->next, c->pieces + c->count);
        c->sent[(c->head + c->inflight++) % pipeline] = (struct sent){r->next++, now};
    }
    return flush(r, c);
}

/* Takes whole replies from the front of what was received. */
static bool take_replies(struct run *r, struct connection *c)
{
    uint64_t now = clock_mono_ns();
    size_t at = 0;

    for (;;) {
        long len = reply_length(c->in + at, c->in_len - at);
        struct sent *sent = &c->sent[c->head];

        if (len < 0)
            return complain("%s", "the server's answer is not of its protocol");
        if (len == 0)
            break;
        if (c->inflight == 0)
            return complain("%s", "the server answers what was not asked");
        if (!r->job->reply(r->job->arg, sent->request, c->in + at, (size_t)len))
            return false;
        if (r->job->latency_ns)
            r->job->latency_ns[sent->request] = now - sent->at_ns;
        c->head = (c->head + 1) % r->t->o->pipeline;
        c->inflight--;
        r->done++;
        at += (size_t)len;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
    return true;
}

static bool receive(struct run *r, struct connection *c)
{
    ssize_t got;

    if (c->in_len == c->in_cap) {
        if (c->in_cap >= REPLY_MAX)
            return complain("%s", "an answer of more than a gigabyte");
        c->in = mem_realloc(c->in, c->in_cap *= 2);
    }
    got = read(c->fd, c->in + c->in_len, c->in_cap - c->in_len);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    if (got < 0)
        return complain("reading from the server: %s", strerror(errno));
    if (got == 0)
        return complain("%s", "the server closed the connection");
    c->in_len += (size_t)got;
    return take_replies(r, c);
}

static bool loop(struct run *r)
{
    struct epoll_event events[EVENTS];

    for (unsigned i = 0; i < r->t->n; i++)
        if (!top_up(r, &r->t->connections[i]))
            return false;
    while (r->done < r->next || goes_on(r, clock_mono_ns())) {
        bool paced = r->job->rate > 0 && r->next < r->job->requests;
        int n = epoll_wait(r->t->epoll, events, EVENTS, paced ? 1 : SILENCE_MS);

        if (n < 0 && errno != EINTR)
            return complain("epoll: %s", strerror(errno));
        if (n == 0 && !paced)
            return complain("%s", "the server has said nothing for a minute");
        for (unsigned i = 0; paced && i < r->t->n; i++)
            if (!top_up(r, &r->t->connections[i]))
                return false;
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;

            if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !receive(r, c))
                return false;
            if (!top_up(r, c))
                return false;
        }
        progress_update(&r->progress, r->done);
    }
    return true;
}

bool traffic_run(struct traffic *t, const struct traffic_job *job, double *seconds, size_t *done)
{
    struct run r = {.t = t, .job = job};
    bool good;

    for (unsigned i = 0; i < t->n; i++) {
        struct connection *c = &t->connections[i];

        c->pieces = mem_realloc(c->pieces, t->o->pipeline * job->max_pieces * sizeof *c->pieces);
        c->first = c->count = 0;
    }
    progress_begin(&r.progress, job->label, job->requests, t->o->quiet);
    r.begin_ns = clock_mono_ns();
    good = loop(&r);
    *seconds = (double)(clock_mono_ns() - r.begin_ns) * 1e-9;
    progress_end(&r.progress);
    if (done)
        *done = r.done;
    return good;
}
