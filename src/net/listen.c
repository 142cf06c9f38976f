/* Listeners: TCP of both families and a unix socket. Accepting is bounded per turn; when the
 * process has run out of descriptors it rests for a tenth of a second instead of being called
 * again at once. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/net_int.h"

static void address_text(const struct sockaddr_storage *sa, char out[NET_ADDRESS_MAX], bool *local)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (sa->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(out, NET_ADDRESS_MAX, "%s:%u", host, ntohs(in->sin_port));
        *local = ntohl(in->sin_addr.s_addr) >> 24 == 127;
    } else if (sa->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(out, NET_ADDRESS_MAX, "[%s]:%u", host, ntohs(in6->sin6_port));
        const unsigned char *mapped = in6->sin6_addr.s6_addr + 12;
        *local = IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
                 (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && mapped[0] == 127);
    }
}

static void set_keepalive(int fd, unsigned seconds)
{
    int on = 1, idle = (int)seconds, interval = idle / 3 > 0 ? idle / 3 : 1, count = 3;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

static void describe(struct net_conn *c, const struct net_listener *l)
{
    if (l->unix_path) {
        c->is_unix = c->is_local = true;
        snprintf(c->peer, sizeof(c->peer), "%s:0", l->unix_path);
        snprintf(c->local, sizeof(c->local), "%s:0", l->unix_path);
        return;
    }
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof(sa);
    bool ignored;
    snprintf(c->peer, sizeof(c->peer), "?:0");
    snprintf(c->local, sizeof(c->local), "?:0");
    if (getpeername(c->fd, (struct sockaddr *)&sa, &len) == 0)
        address_text(&sa, c->peer, &c->is_local);
    len = sizeof(sa);
    if (getsockname(c->fd, (struct sockaddr *)&sa, &len) == 0)
        address_text(&sa, c->local, &ignored);
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (c->net->keepalive_s)
        set_keepalive(c->fd, c->net->keepalive_s);
}

static void resume_accepting(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct net *n = arg;
    n->accept_paused = false;
    for (struct net_listener *l = n->listeners; l; l = l->next)
        event_add(l->ev, NULL);
}

static void pause_accepting(struct net *n)
{
    struct timeval tenth = {0, 100000};
    if (n->accept_paused)
        return;
    if (!n->accept_ev)
        n->accept_ev = event_new(n->base, -1, 0, resume_accepting, n);
    if (!n->accept_ev || event_add(n->accept_ev, &tenth) != 0)
        return;
    n->accept_paused = true;
    for (struct net_listener *l = n->listeners; l; l = l->next)
        event_del(l->ev);
    log_warning("Cannot accept connections: %s", strerror(errno));
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct net_listener *l = arg;
    struct net *n = l->net;
    uint64_t end = clock_mono_ns() + NET_ACCEPT_NS;
    while (n->accepted_now < NET_ACCEPT_MAX && clock_mono_ns() < end) {
        int s = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (s < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            if (errno != EAGAIN)
                pause_accepting(n);
            return;
        }
        n->accepted_now++;
        n->accepted++;
        struct net_conn *c = net_conn_new(n, s);
        describe(c, l);
        bool welcome = n->options.open(n->options.arg, c);
        if (c->io) {
            c->input_away = true;
            net_io_tell(c, IO_OPEN);
        }
        if (!welcome)
            net_conn_close_flushed(c);
    }
}

/* ---- opening ---- */

static void listener_free(struct net_listener *l, bool remove_file)
{
    if (l->ev)
        event_free(l->ev);
    if (l->fd >= 0)
        close(l->fd);
    if (l->unix_path && remove_file)
        unlink(l->unix_path);
    mem_free(l->unix_path);
    mem_free(l);
}

static void list_free(struct net_listener *list, const struct net_listener *kept)
{
    while (list) {
        struct net_listener *next = list->next;
        bool taken_over = false;
        for (const struct net_listener *k = kept; k; k = k->next)
            taken_over |=
                k->unix_path && list->unix_path && strcmp(k->unix_path, list->unix_path) == 0;
        listener_free(list, !taken_over);
        list = next;
    }
}

static struct net_listener *listener_new(struct net *n, int fd, struct net_listener ***tail)
{
    struct net_listener *l = mem_zalloc(sizeof(*l));
    l->net = n;
    l->fd = fd;
    **tail = l;
    *tail = &l->next;
    return l;
}

static void say(struct buf *error, const char *what, const char *where, int err)
{
    buf_reset(error);
    buf_printf(error, "%s %s: %s", what, where, strerror(err));
    buf_append(error, "", 1);
    error->len--;
}

/* 1: listening, 0: the address is not there (and was optional), -1: failed. */
static int listen_tcp(struct net *n, const char *host, unsigned port, int backlog, bool optional,
                      struct net_listener ***tail, struct buf *error)
{
    const char *real = strcmp(host, "*") == 0 ? "0.0.0.0" : strcmp(host, "::*") == 0 ? "::" : host;
    char service[16], where[NET_ADDRESS_MAX];
    snprintf(service, sizeof(service), "%u", port);
    snprintf(where, sizeof(where), strchr(real, ':') ? "[%.100s]:%u" : "%.100s:%u", real, port);
    /* An address that is listened on already: the same socket goes on, under another descriptor. */
    for (const struct net_listener *l = n->listeners; l; l = l->next) {
        if (l->unix_path || strcmp(l->address, where) != 0)
            continue;
        int same = fcntl(l->fd, F_DUPFD_CLOEXEC, 0);
        if (same < 0)
            break;
        snprintf(listener_new(n, same, tail)->address, NET_ADDRESS_MAX, "%s", where);
        return 1;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE},
                    *list;
    int failed = getaddrinfo(real, service, &hints, &list);
    if (failed) {
        buf_reset(error);
        buf_printf(error, "cannot resolve %s: %s", host, gai_strerror(failed));
        buf_append(error, "", 1);
        error->len--;
        return optional ? 0 : -1;
    }
    int on = 1, err = 0, fd = -1;
    for (struct addrinfo *a = list; a; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            err = errno;
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (a->ai_family == AF_INET6)
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
        if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, backlog) == 0)
            break;
        err = errno;
        close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    if (fd >= 0) {
        snprintf(listener_new(n, fd, tail)->address, NET_ADDRESS_MAX, "%s", where);
        return 1;
    }
    say(error, "cannot listen on", where, err);
    bool absent =
        err == EADDRNOTAVAIL || err == EAFNOSUPPORT || err == EPROTONOSUPPORT || err == ENOPROTOOPT;
    return optional && absent ? 0 : -1;
}

static bool add_unix(struct net *n, int fd, const char *path, struct net_listener ***tail)
{
    struct net_listener *l = listener_new(n, fd, tail);
    l->unix_path = mem_strndup(path, strlen(path));
    snprintf(l->address, sizeof(l->address), "%.150s", path);
    return true;
}

static bool listen_unix(struct net *n, const struct net_listen_options *o,
                        struct net_listener ***tail, struct buf *error)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(o->unix_path) >= sizeof(sa.sun_path)) {
        say(error, "cannot listen on unix socket", o->unix_path, ENAMETOOLONG);
        return false;
    }
    strcpy(sa.sun_path, o->unix_path);
    for (const struct net_listener *l = n->listeners; l; l = l->next) {
        int same = l->unix_path && strcmp(l->unix_path, o->unix_path) == 0
                       ? fcntl(l->fd, F_DUPFD_CLOEXEC, 0)
                       : -1;
        if (same >= 0)
            return add_unix(n, same, o->unix_path, tail);
    }
    if (lstat(o->unix_path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(o->unix_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 ||
        listen(fd, o->backlog) != 0 || (o->unix_mode && chmod(o->unix_path, o->unix_mode) != 0)) {
        say(error, "cannot listen on unix socket", o->unix_path, errno);
        if (fd >= 0)
            close(fd);
        return false;
    }
    return add_unix(n, fd, o->unix_path, tail);
}

static bool listen_all(struct net *n, const struct net_listen_options *o,
                       struct net_listener **list, struct buf *error)
{
    static char all4[] = "*", all6[] = "-::*";
    char *const everywhere[] = {all4, all6};
    char *const *bind_to = o->bind_n ? o->bind : everywhere;
    size_t bind_n = o->bind_n ? o->bind_n : 2;
    struct net_listener **tail = list;
    int opened = 0;
    for (size_t i = 0; o->port && i < bind_n; i++) {
        bool optional = bind_to[i][0] == '-';
        int got = listen_tcp(n, bind_to[i] + optional, o->port, o->backlog, optional, &tail, error);
        if (got < 0)
            return false;
        opened += got;
    }
    if (o->port && opened == 0) {
        if (error->len == 0)
            buf_printf(error, "no address to listen on");
        return false;
    }
    return !o->unix_path || !*o->unix_path || listen_unix(n, o, &tail, error);
}

bool net_listen(struct net *n, const struct net_listen_options *options, struct buf *error)
{
    struct net_listener *fresh = NULL;
    n->keepalive_s = options->keepalive_s;
    if (!listen_all(n, options, &fresh, error)) {
        list_free(fresh, n->listeners);
        return false;
    }
    for (struct net_listener *l = fresh; l; l = l->next) {
        l->ev = event_new(n->base, l->fd, EV_READ | EV_PERSIST, on_acceptable, l);
        if (!l->ev || event_add(l->ev, NULL) != 0) {
            buf_printf(error, "no event for a listener");
            list_free(fresh, n->listeners);
            return false;
        }
    }
    list_free(n->listeners, fresh);
    n->listeners = fresh;
    return true;
}

void net_unlisten(struct net *n)
{
    list_free(n->listeners, NULL);
    n->listeners = NULL;
}

void net_set_keepalive(struct net *n, unsigned keepalive_s)
{
    n->keepalive_s = keepalive_s;
}

void net_listeners(const struct net *n, void (*each)(void *arg, const char *address), void *arg)
{
    for (const struct net_listener *l = n->listeners; l; l = l->next)
        each(arg, l->address);
}
