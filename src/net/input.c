/* The input half of a connection: its buffer, reading into it, and taking commands out of it. Run
 * by whoever owns the input (see net.h).
 *
 * The buffer grows with what has arrived, never with what a header announced: by doubling, up to
 * NET_MAP_MIN on the heap; beyond that it is a mapping of its own, which mremap() grows without
 * copying and whose pages cost nothing before they are written. A read takes at most NET_READ_MAX
 * bytes, so that one connection's flood costs a turn little. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/net_int.h"

#define MAP_ROUND ((size_t)64 * 1024)
#define ARGS_KEEP 1024 /* arguments of a batch that are kept room for */

static void account(struct net_conn *c, size_t cap, bool mapped)
{
    struct net_input *in = &c->in;
    size_t now = mapped ? cap : 0, before = in->mapped ? in->cap : 0;
    atomic_fetch_add_explicit(&c->net->count.input_bytes, cap - in->cap, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->net->count.input_mapped, now - before, memory_order_relaxed);
    atomic_store_explicit(&c->in_bytes, cap, memory_order_relaxed);
    in->cap = cap;
    in->mapped = mapped;
}

static bool grow_mapped(struct net_conn *c, size_t cap)
{
    struct net_input *in = &c->in;
    cap = (cap + MAP_ROUND - 1) & ~(MAP_ROUND - 1);
    void *data;
    if (in->mapped) {
        data = mremap(in->data, in->cap, cap, MREMAP_MAYMOVE);
        if (data == MAP_FAILED)
            return false;
    } else {
        data = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
        if (data == MAP_FAILED)
            return false;
        if (in->len)
            memcpy(data, in->data, in->len);
        mem_free(in->data);
    }
    in->data = data;
    account(c, cap, true);
    return true;
}

/* Room for `want` more bytes behind len. */
static bool make_room(struct net_conn *c, size_t want)
{
    struct net_input *in = &c->in;
    if (in->start == in->len)
        in->start = in->len = 0;
    if (in->cap - in->len >= want)
        return true;
    if (in->start > 0) {
        memmove(in->data, in->data + in->start, in->len - in->start);
        in->len -= in->start;
        in->start = 0;
        if (in->cap - in->len >= want)
            return true;
    }
    size_t cap = in->len + want;
    if (cap < in->cap * 2)
        cap = in->cap * 2;
    if (cap > NET_MAP_MIN)
        return grow_mapped(c, cap);
    char *data = mem_try_realloc(in->data, cap);
    if (!data)
        return false;
    in->data = data;
    account(c, cap, false);
    return true;
}

bool net_input_fill(struct net_conn *c)
{
    struct net_input *in = &c->in;
    size_t want = in->read_size < NET_READ_MIN ? NET_READ_MIN : in->read_size;
    if (in->reader.need > want && in->len > in->start)
        want = in->reader.need < NET_READ_MAX ? in->reader.need : NET_READ_MAX;
    if (!make_room(c, want)) {
        in->end = NET_TOO_BIG;
        return false;
    }
    size_t room = in->cap - in->len < NET_READ_MAX ? in->cap - in->len : NET_READ_MAX;
    ssize_t n = read(c->fd, in->data + in->len, room);
    atomic_fetch_add_explicit(c->io ? &c->net->count.io_reads : &c->net->count.reads, 1,
                              memory_order_relaxed);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        in->end = NET_EOF;
        return false;
    }
    in->len += (size_t)n;
    atomic_fetch_add_explicit(&c->net->count.bytes_in, (uint64_t)n, memory_order_relaxed);
    if ((size_t)n == room)
        in->read_size = room * 2 < NET_READ_MAX ? room * 2 : NET_READ_MAX;
    if (in->len - in->start > in->query_max)
        in->end = NET_TOO_BIG;
    return true;
}

/* One command from the buffer, NET_NONE when none is whole. */
static enum net_got parse(struct net_input *in)
{
    if (in->end == NET_TOO_BIG || in->end == NET_PROTOCOL)
        return in->end;
    size_t used;
    switch (resp_read(&in->reader, in->data + in->start, in->len - in->start, &in->limits,
                      in->authenticated, &used)) {
    case RESP_COMMAND:
        in->start += used;
        in->reader.need = 0;
        return NET_COMMAND;
    case RESP_ERROR: return in->end = NET_PROTOCOL;
    case RESP_MORE: break;
    }
    return in->end;
}

enum net_got net_input_next(struct net_conn *c, const struct resp_arg **argv, size_t *argc)
{
    struct net_input *in = &c->in;
    if (in->ahead_next < in->ahead_n) {
        *argc = in->ahead[in->ahead_next++];
        *argv = in->args + in->ahead_arg;
        in->ahead_arg += *argc;
        return NET_COMMAND;
    }
    in->ahead_n = in->ahead_next = in->ahead_arg = in->args_n = 0;
    if (in->len == 0)
        return in->end;
    enum net_got got = parse(in);
    if (got == NET_COMMAND) {
        *argv = in->reader.argv;
        *argc = in->reader.argc;
    }
    return got;
}

/* False when there is no memory for it; the command then goes as the last of the batch, by its own
 * array. */
static bool keep_args(struct net_input *in, const struct resp_arg *argv, size_t argc)
{
    if (in->args_n + argc > in->args_cap) {
        size_t cap = in->args_cap ? in->args_cap : 64;
        while (cap < in->args_n + argc)
            cap *= 2;
        struct resp_arg *args = mem_try_realloc(in->args, cap * sizeof(*args));
        if (!args)
            return false;
        in->args = args;
        in->args_cap = cap;
    }
    memcpy(in->args + in->args_n, argv, argc * sizeof(*argv));
    in->args_n += argc;
    return true;
}

void net_input_ahead(struct net_conn *c)
{
    struct net_input *in = &c->in;
    if (in->args_cap > ARGS_KEEP) {
        mem_free(in->args);
        in->args = NULL;
        in->args_cap = 0;
    }
    in->ahead_n = in->ahead_next = in->ahead_arg = in->args_n = 0;
    while (in->ahead_n < NET_AHEAD_MAX && in->len > 0) {
        if (parse(in) != NET_COMMAND)
            return;
        struct resp_reader *r = &in->reader;
        if (!keep_args(in, r->argv, r->argc)) {
            in->end = NET_TOO_BIG;
            return;
        }
        in->ahead[in->ahead_n++] = r->argc;
        /* Arguments that are not slices of the buffer stand only until the next command is parsed.
         * */
        if (r->argv[0].data < in->data || r->argv[0].data >= in->data + in->len ||
            !in->authenticated)
            return;
    }
}

static void release_buffer(struct net_conn *c, bool in_loop)
{
    struct net_input *in = &c->in;
    char *data = in->data;
    size_t cap = in->cap;
    bool mapped = in->mapped;
    account(c, 0, false);
    in->data = NULL;
    in->len = in->start = 0;
    if (!mapped)
        mem_free(data);
    else if (in_loop)
        net_trash_map(c->net, data, cap);
    else
        munmap(data, cap);
}

void net_input_trim(struct net_conn *c, bool in_loop)
{
    struct net_input *in = &c->in;
    in->read_size = NET_READ_MIN;
    if (in->data && in->start == in->len && in->ahead_next == in->ahead_n)
        release_buffer(c, in_loop);
}

void net_input_release(struct net_conn *c, bool in_loop)
{
    release_buffer(c, in_loop);
    resp_reader_release(&c->in.reader);
    mem_free(c->in.args);
    c->in.args = NULL;
    c->in.args_cap = 0;
}
