/* See probe.h. */
#include "benchmark/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "benchmark/inprocess.h"
#include "benchmark/network_in.h"
#include "benchmark/traffic.h"

#define PING_TEXT "*1\r\n$4\r\nPING\r\n"
#define PONG_TEXT "+PONG\r\n"
#define WARM_US 200000  /* of searches, before PINGs count */
#define PAUSE_US 200    /* between PINGs, and up to as much again */
#define EF_MAX 100000
#define SEARCHES_MAX 4000000

/* ---- the EF ---- */

static bool recall_of(struct bench *b, unsigned ef, double *recall)
{
    struct search_load load = {.traffic = b->traffic, .ef = ef, .requests = b->d->query.rows};
    struct search_result result;

    if (!network_search_run(b, &load, &result))
        return false;
    *recall = result.recall;
    return true;
}

/* The least EF that has the recall, by doubling and halving. */
static bool find_ef(struct bench *b, struct probe_results *p)
{
    unsigned low = b->o->k - 1, high = b->o->k;
    double recall = 0;

    for (;; low = high, high *= 2) {
        if (high > EF_MAX)
            return network_complain("the recall of %.4f is not reached", b->o->at_recall);
        if (!recall_of(b, high, &recall))
            return false;
        if (recall >= b->o->at_recall)
            break;
    }
    p->recall = recall;
    while (high - low > 1) {
        unsigned mid = low + (high - low) / 2;

        if (!recall_of(b, mid, &recall))
            return false;
        if (recall >= b->o->at_recall) {
            high = mid;
            p->recall = recall;
        } else {
            low = mid;
        }
    }
    p->ef = high;
    return true;
}

/* ---- one connection ---- */

static size_t build_ping(void *arg, size_t request, struct iovec *out)
{
    (void)arg;
    (void)request;
    out[0] = network_piece(PING_TEXT, sizeof PING_TEXT - 1);
    return 1;
}

static bool reply_ping(void *arg, size_t request, const char *reply, size_t len)
{
    (void)arg;
    (void)request;
    if (len == sizeof PONG_TEXT - 1 && memcmp(reply, PONG_TEXT, len) == 0)
        return true;
    return network_complain("PING is answered by: %.*s", (int)(len < 100 ? len : 100), reply);
}

static bool ping_alone(struct traffic *t, size_t n, double *p50_us)
{
    struct traffic_job job = {
        .requests = n, .max_pieces = 1, .build = build_ping, .reply = reply_ping, .label = "PING"};
    struct search_result result = {0};
    double seconds;
    bool good;

    job.latency_ns = mem_alloc(n * sizeof *job.latency_ns);
    good = traffic_run(t, &job, &seconds, NULL);
    if (good)
        report_percentiles(job.latency_ns, n, &result);
    mem_free(job.latency_ns);
    *p50_us = result.p50_us;
    return good;
}

static bool single_turn(struct bench *b, struct traffic *t, struct inprocess *inside, unsigned ef,
                        struct probe_single *out)
{
    size_t queries = b->d->query.rows;
    struct search_load load = {.traffic = t, .ef = ef, .requests = 2 * queries, .warm = queries};
    struct search_result result;

    if (!ping_alone(t, queries, &out->ping_us) || !network_search_run(b, &load, &result))
        return false;
    out->search_us = result.p50_us;
    if (!inprocess_search(inside, ef, 2, &result))
        return false;
    out->inside_us = result.p50_us;
    return true;
}

/* ---- PING beside searches ---- */

/* A child that sends back what it gets, over TCP on the loopback. */
struct echo {
    pid_t pid;
    int fd;
};

static void echo_serve(int listener)
{
    char bytes[256];
    int one = 1, fd = accept(listener, NULL, NULL);
    ssize_t n;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    while (fd >= 0 && (n = read(fd, bytes, sizeof bytes)) > 0 && write(fd, bytes, (size_t)n) == n)
        ;
    _exit(0);
}

static bool echo_open(struct echo *e)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good;

    *e = (struct echo){.pid = -1, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    good = listener >= 0 && e->fd >= 0 && bind(listener, (struct sockaddr *)&at, len) == 0 &&
           listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&at, &len) == 0 &&
           (e->pid = fork()) >= 0;
    if (good && e->pid == 0)
        echo_serve(listener);
    good = good && connect(e->fd, (struct sockaddr *)&at, len) == 0 &&
           setsockopt(e->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0;
    if (!good)
        network_complain("an echo process: %s", strerror(errno));
    if (listener >= 0)
        close(listener);
    return good;
}

static void echo_close(struct echo *e)
{
    if (e->fd >= 0)
        close(e->fd);
    if (e->pid > 0) {
        kill(e->pid, SIGKILL);
        waitpid(e->pid, NULL, 0);
    }
}

/* Sends a PING and waits for `want` bytes of answer. */
static bool ping_once(int fd, size_t want, uint64_t *ns)
{
    char bytes[64];
    size_t got = 0;
    uint64_t begin = clock_mono_ns();

    if (write(fd, PING_TEXT, sizeof PING_TEXT - 1) != sizeof PING_TEXT - 1)
        return network_complain("sending a PING: %s", strerror(errno));
    while (got < want) {
        ssize_t n = read(fd, bytes, sizeof bytes);

        if (n <= 0)
            return network_complain("waiting for a PING: %s", n ? strerror(errno) : "closed");
        got += (size_t)n;
    }
    *ns = clock_mono_ns() - begin;
    return true;
}

struct background {
    struct bench *b;
    struct search_load load;
    struct search_result result;
    bool good;
};

static void *search_behind(void *arg)
{
    struct background *bg = arg;

    bg->good = network_search_run(bg->b, &bg->load, &bg->result);
    return NULL;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static struct probe_pings percentiles(uint64_t *ns, size_t n)
{
    qsort(ns, n, sizeof *ns, compare_u64);
    return (struct probe_pings){(double)ns[n / 2] * 1e-3, (double)ns[n * 99 / 100] * 1e-3,
                                (double)ns[n * 999 / 1000] * 1e-3};
}

/* Server and echo in turns, each first every other time: the one that comes first after the pause
 * finds another state of the processor than the second. */
static bool ping_both(struct bench *b, int echo, uint64_t *server_ns, uint64_t *echo_ns)
{
    int fd = b->control->fd;

    for (size_t i = 0; i < b->o->pings; i++) {
        bool first = i % 2;

        if (first && !ping_once(fd, sizeof PONG_TEXT - 1, &server_ns[i]))
            return false;
        if (!ping_once(echo, sizeof PING_TEXT - 1, &echo_ns[i]))
            return false;
        if (!first && !ping_once(fd, sizeof PONG_TEXT - 1, &server_ns[i]))
            return false;
        usleep((useconds_t)(PAUSE_US + i * 37 % PAUSE_US));
    }
    return true;
}

static bool ping_turn(struct bench *b, int echo, unsigned ef, struct probe_ping *out)
{
    atomic_bool stop = false;
    struct background bg = {
        .b = b,
        .load = {.traffic = b->traffic, .ef = ef, .requests = SEARCHES_MAX, .stop = &stop}};
    uint64_t *ns = mem_alloc(2 * b->o->pings * sizeof *ns);
    pthread_t thread;
    bool good = pthread_create(&thread, NULL, search_behind, &bg) == 0;

    if (good) {
        usleep(WARM_US);
        good = ping_both(b, echo, ns, ns + b->o->pings);
        atomic_store(&stop, true);
        pthread_join(thread, NULL);
        good = good && bg.good;
    }
    if (good) {
        out->qps = bg.result.qps;
        out->server = percentiles(ns, b->o->pings);
        out->echo = percentiles(ns + b->o->pings, b->o->pings);
    }
    mem_free(ns);
    return good;
}

/* ---- all of it ---- */

struct tools {
    struct options alone_options; /* of one connection without a pipeline */
    struct traffic *alone;
    struct inprocess *inside;
    struct echo echo;
};

static bool open_tools(struct bench *b, struct tools *t)
{
    *t = (struct tools){.alone_options = *b->o, .echo = {.pid = -1, .fd = -1}};
    /* The child first: it shall not inherit threads' state. */
    if (b->o->probe_ping && !echo_open(&t->echo))
        return false;
    if (!b->o->probe_single)
        return true;
    t->alone_options.clients = t->alone_options.pipeline = 1;
    t->alone_options.quiet = true;
    t->alone = traffic_open(&t->alone_options);
    t->inside = t->alone ? inprocess_open(b->o, b->d) : NULL;
    return t->inside != NULL;
}

static void close_tools(struct tools *t)
{
    echo_close(&t->echo);
    inprocess_close(t->inside);
    if (t->alone)
        traffic_close(t->alone);
}

bool probe_run(struct bench *b)
{
    size_t turns = b->o->repeat;
    struct probe_results *p = b->r->probes = mem_zalloc(sizeof *p);
    struct tools tools;
    bool good = open_tools(b, &tools) && find_ef(b, p);

    p->turns = turns;
    p->single = b->o->probe_single ? mem_zalloc(turns * sizeof *p->single) : NULL;
    p->ping = b->o->probe_ping ? mem_zalloc(turns * sizeof *p->ping) : NULL;
    p->mixed = b->o->probe_mixed ? mem_zalloc(turns * sizeof *p->mixed) : NULL;
    for (size_t i = 0; good && i < turns; i++) {
        if (p->single)
            good = single_turn(b, tools.alone, tools.inside, p->ef, &p->single[i]);
        if (good && p->ping)
            good = ping_turn(b, tools.echo.fd, p->ef, &p->ping[i]);
        if (good && p->mixed)
            good = probe_mixed_turn(b, p->ef, &p->mixed[i]);
    }
    close_tools(&tools);
    return good;
}

void probe_release(struct probe_results *p)
{
    if (!p)
        return;
    mem_free(p->single);
    mem_free(p->ping);
    mem_free(p->mixed);
    mem_free(p);
}
