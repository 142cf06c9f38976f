#include "lib/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS 64
#define BLOCK 65536

struct pair {
    int near, far;
    uint64_t left;        /* bytes to the near side before the cut */
};

struct proxy {
    pthread_t thread;
    pthread_mutex_t lock;
    int listener, wakeup, port, to;
    bool stop, hold, cut;
    uint64_t cut_after, bytes;
    unsigned cut_times, cuts;
    struct pair pair[PAIRS];
    int n;
};

static void drop(struct proxy *p, int i)
{
    close(p->pair[i].near);
    close(p->pair[i].far);
    p->pair[i] = p->pair[--p->n];
}

static void open_pair(struct proxy *p)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)p->to)};
    int near = accept(p->listener, NULL, NULL), on = 1;
    if (near < 0)
        return;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->n == PAIRS || far < 0 || connect(far, (struct sockaddr *)&a, sizeof(a)) != 0) {
        close(near);
        close(far);
        return;
    }
    setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    p->pair[p->n] = (struct pair){near, far, UINT64_MAX};
    if (p->cut_times) {
        p->cut_times--;
        p->pair[p->n].left = p->cut_after;
    }
    p->n++;
}

static bool put(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

/* False: the pair is no more. */
static bool forward(struct proxy *p, struct pair *x, bool to_near)
{
    static _Thread_local char block[BLOCK];
    ssize_t n = recv(to_near ? x->far : x->near, block, sizeof(block), 0);
    if (n <= 0)
        return false;
    if (!to_near)
        return put(x->far, block, (size_t)n);
    size_t some = (uint64_t)n < x->left ? (size_t)n : (size_t)x->left;
    p->bytes += some;
    if (!put(x->near, block, some))
        return false;
    if (x->left == UINT64_MAX)
        return true;
    x->left -= some;
    p->cuts += !x->left;
    return x->left > 0;
}

static void *run(void *arg)
{
    struct proxy *p = arg;
    for (;;) {
        struct pollfd fd[2 + 2 * PAIRS];
        pthread_mutex_lock(&p->lock);
        for (int i = p->n; p->cut && i-- > 0;)
            drop(p, i);
        p->cut = false;
        bool stop = p->stop, hold = p->hold;
        int n = p->n;
        fd[0] = (struct pollfd){.fd = p->wakeup, .events = POLLIN};
        fd[1] = (struct pollfd){.fd = hold ? -1 : p->listener, .events = POLLIN};
        for (int i = 0; i < n; i++) {
            fd[2 + 2 * i] = (struct pollfd){.fd = hold ? -1 : p->pair[i].near, .events = POLLIN};
            fd[3 + 2 * i] = (struct pollfd){.fd = hold ? -1 : p->pair[i].far, .events = POLLIN};
        }
        pthread_mutex_unlock(&p->lock);
        if (stop)
            return NULL;
        poll(fd, (nfds_t)(2 + 2 * n), -1);
        uint64_t count;
        if (fd[0].revents && read(p->wakeup, &count, sizeof(count)) < 0)
            continue;
        pthread_mutex_lock(&p->lock);
        if (p->hold) /* since then */
            n = 0;
        for (int i = n; i-- > 0;)
            if ((fd[2 + 2 * i].revents && !forward(p, &p->pair[i], false)) ||
                (fd[3 + 2 * i].revents && !forward(p, &p->pair[i], true)))
                drop(p, i);
        if (fd[1].revents && !p->hold)
            open_pair(p);
        pthread_mutex_unlock(&p->lock);
    }
}

static void wake(struct proxy *p)
{
    uint64_t one = 1;
    if (write(p->wakeup, &one, sizeof(one)) < 0)
        abort();
}

struct proxy *proxy_start(int to_port)
{
    struct proxy *p = calloc(1, sizeof(*p));
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof(a);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    p->to = to_port;
    pthread_mutex_init(&p->lock, NULL);
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    p->wakeup = eventfd(0, EFD_CLOEXEC);
    if (bind(p->listener, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(p->listener, 16) != 0 ||
        getsockname(p->listener, (struct sockaddr *)&a, &len) != 0 ||
        pthread_create(&p->thread, NULL, run, p) != 0) {
        close(p->listener);
        close(p->wakeup);
        free(p);
        return NULL;
    }
    p->port = ntohs(a.sin_port);
    return p;
}

void proxy_stop(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    p->stop = p->cut = true;
    pthread_mutex_unlock(&p->lock);
    wake(p);
    pthread_join(p->thread, NULL);
    close(p->listener);
    close(p->wakeup);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int proxy_port(const struct proxy *p)
{
    return p->port;
}

void proxy_cut_after(struct proxy *p, uint64_t bytes, unsigned times)
{
    pthread_mutex_lock(&p->lock);
    p->cut_after = bytes;
    p->cut_times = times;
    pthread_mutex_unlock(&p->lock);
}

void proxy_cut(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    p->cut = true;
    pthread_mutex_unlock(&p->lock);
    wake(p);
}

void proxy_hold(struct proxy *p, bool hold)
{
    pthread_mutex_lock(&p->lock);
    p->hold = hold;
    pthread_mutex_unlock(&p->lock);
    wake(p);
}

uint64_t proxy_bytes(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    uint64_t bytes = p->bytes;
    pthread_mutex_unlock(&p->lock);
    return bytes;
}

unsigned proxy_cuts(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    unsigned cuts = p->cuts;
    pthread_mutex_unlock(&p->lock);
    return cuts;
}
