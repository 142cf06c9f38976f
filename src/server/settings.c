#include "server/settings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "server/client.h"
#include "server/crash.h"
#include "server/memory_limit.h"
#include "server/notify.h"

#define OWN_FILES 64 /* descriptors the server itself may need */

void config_error(struct buf *error, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    buf_reset(error);
    buf_append(error, text, strlen(text) + 1);
    error->len--;
}

bool settings_open_listeners(struct server *s, struct buf *error)
{
    const struct config *c = s->config;
    struct net_listen_options o = {
        .bind = c->bind.items,
        .bind_n = c->bind.n,
        .port = (unsigned)c->port,
        .backlog = (int)c->tcp_backlog,
        .unix_path = c->unixsocket,
        .unix_mode = (unsigned)c->unixsocketperm,
        .keepalive_s = (unsigned)c->tcp_keepalive,
    };
    /* `bind ""` asks for no address at all; an empty list in our options would mean all. */
    if (o.bind_n == 0)
        o.port = 0;
    return net_listen(s->net, &o, error);
}

static bool on_listeners(void *arg, const char *name, const char **why)
{
    static struct buf error;
    (void)name;
    if (settings_open_listeners(arg, &error))
        return true;
    *why = error.data;
    return false;
}

static bool on_loglevel(void *arg, const char *name, const char **why)
{
    (void)name;
    (void)why;
    log_set_level((enum log_level)((struct server *)arg)->config->loglevel);
    return true;
}

static bool on_dir(void *arg, const char *name, const char **why)
{
    (void)arg;
    (void)name;
    *why = "snapshots and the journal lie in the present one; start the server with another";
    return false;
}

static bool on_crash_log(void *arg, const char *name, const char **why)
{
    (void)name;
    (void)why;
    struct server *s = arg;
    crash_install(s->config->crash_log_enabled, s);
    return true;
}

static bool on_backlog(void *arg, const char *name, const char **why)
{
    (void)name;
    (void)why;
    struct server *s = arg;
    vs_set_link_backlog_max(s->store, (size_t)s->config->link_backlog_max);
    return true;
}

static bool on_memory(void *arg, const char *name, const char **why)
{
    (void)name;
    (void)why;
    memory_limit_apply(arg);
    return true;
}

static bool on_open_max(void *arg, const char *name, const char **why)
{
    (void)name;
    (void)why;
    struct server *s = arg;
    vs_set_open_max(s->store, (size_t)s->config->max_open_partitions);
    return true;
}

static bool on_events(void *arg, const char *name, const char **why)
{
    (void)name;
    if (notify_apply(arg))
        return true;
    *why = "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
    return false;
}

static bool on_maxclients(void *arg, const char *name, const char **why)
{
    (void)name;
    struct server *s = arg;
    struct rlimit limit;
    rlim_t want = (rlim_t)s->config->maxclients + OWN_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want)
        return true;
    struct rlimit more = {want, limit.rlim_max > want ? limit.rlim_max : want};
    if (setrlimit(RLIMIT_NOFILE, &more) == 0)
        return true;
    *why = "the operating system's limit of open files does not allow that many clients";
    return false;
}

/* Limits that connections keep a copy of. */
static bool on_limits(void *arg, const char *name, const char **why)
{
    (void)name;
    (void)why;
    struct clients *cs = ((struct server *)arg)->clients;
    for (size_t i = 0; i < cs->n; i++)
        client_apply_limits(cs->at[i]);
    return true;
}

static bool on_keepalive(void *arg, const char *name, const char **why)
{
    (void)name;
    (void)why;
    struct server *s = arg;
    net_set_keepalive(s->net, (unsigned)s->config->tcp_keepalive);
    return true;
}

/* A password that is set later does not throw out those who are in, as in Redis; without one
 * everybody is. */
static bool on_password(void *arg, const char *name, const char **why)
{
    (void)name;
    (void)why;
    struct server *s = arg;
    if (*s->config->requirepass)
        return true;
    for (size_t i = 0; i < s->clients->n; i++) {
        s->clients->at[i]->authenticated = true;
        client_apply_limits(s->clients->at[i]);
    }
    return true;
}

void settings_listen(struct server *s)
{
    static const struct {
        const char *name;
        config_listener fn;
    } all[] = {
        {"bind", on_listeners},
        {"port", on_listeners},
        {"loglevel", on_loglevel},
        {"dir", on_dir},
        {"crash-log-enabled", on_crash_log},
        {"link-backlog-max", on_backlog},
        {"max-open-partitions", on_open_max},
        {"notify-keyspace-events", on_events},
        {"maxmemory", on_memory},
        {"maxmemory-policy", on_memory},
        {"maxmemory-samples", on_memory},
        {"lfu-log-factor", on_memory},
        {"lfu-decay-time", on_memory},
        {"maxclients", on_maxclients},
        {"client-query-buffer-limit", on_limits},
        {"proto-max-bulk-len", on_limits},
        {"tcp-keepalive", on_keepalive},
        {"requirepass", on_password},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        config_on_change(s->config, all[i].name, all[i].fn, s);
}

void settings_open_files(struct config *c)
{
    struct rlimit limit;
    rlim_t want = (rlim_t)c->maxclients + OWN_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want)
        return;
    struct rlimit more = {want, limit.rlim_max > want ? limit.rlim_max : want};
    if (setrlimit(RLIMIT_NOFILE, &more) == 0)
        return;
    more = (struct rlimit){limit.rlim_max < want ? limit.rlim_max : want, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &more) == 0)
        limit = more;
    if (limit.rlim_cur >= want)
        return;
    long long allowed = limit.rlim_cur > OWN_FILES ? (long long)limit.rlim_cur - OWN_FILES : 1;
    log_warning("maxclients %lld needs %llu open files, the system allows %llu: maxclients is now "
                "%lld. Raise 'ulimit -n' for more.",
                c->maxclients, (unsigned long long)want, (unsigned long long)limit.rlim_cur,
                allowed);
    c->maxclients = allowed;
}
