/* The server: what its files share. Everything here is the loop thread's.
 *
 *   main.c -> boot.c (options, process) -> server.c (parts, life) -> turn.c (the loop)
 *                                                                      |
 *   exec.c (run a command) <- client.c (connections) <-----------------+
 *     |                          |
 *     cmd_*.c (handlers)         reply.c (order of replies)
 *
 * Parts with state of their own (statistics, slow log, latency, monitors, clients) are opaque here
 * and have their own headers; a file includes those it uses. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/command.h"
#include "config/config.h"
#include "net/net.h"
#include "server/census.h"

#define REDIS_VERSION "7.2.4" /* what clients are told that look for features by it */

struct clients;
struct stats;
struct slowlog;
struct latency;

enum server_shutdown { SHUTDOWN_NO, SHUTDOWN_ASKED, SHUTDOWN_NOW };

struct server {
    struct config *config;
    struct net *net;
    struct vs_store *store;
    struct cmd_table *commands;
    struct cmd_host host;
    struct clients *clients;
    struct stats *stats;
    struct slowlog *slowlog;
    struct latency *latency;
    const char *program; /* absolute path of the program, "" when unknown */
    char run_id[41], replication_id[41];
    uint64_t started_ms; /* wall clock */
    unsigned workers;
    bool supervised; /* systemd is told about our state */
    char *pidfile;   /* written by us, to be removed; NULL */

    /* of this turn */
    uint64_t now_ms, now_ns, turn_end_ns;
    enum server_shutdown shutdown;
    atomic_bool engine_woke; /* a worker has something for vs_poll: it may make room in a backlog */
    bool poll_again;         /* vs_poll stopped for its budget */
    bool more;               /* so did something else */
    uint64_t cpu_ns;         /* the thread's CPU clock at the end of the last turn */
    const struct cmd_spec *last_command;
    size_t pending;                 /* replies that workers owe */
    const struct cmd_spec *running; /* the command under way, for a crash report */
    struct census census;
    size_t startup_memory;
    unsigned ticks;
    uint64_t dirty; /* changes of the data set */
};

struct server *server_new(struct config *config, struct cmd_table *commands);
/* Opens store, network and listeners. False: `error` says why (NUL-terminated). */
bool server_open(struct server *s, struct buf *error);
/* Turns the loop until somebody asks for shutdown. */
void server_run(struct server *s);
void server_free(struct server *s);

/* One turn of the loop. */
void server_turn(struct server *s);

static inline struct server *server_of(const struct cmd_call *call)
{
    return call->host->server;
}

/* The server layer's own commands. */
extern const struct cmd_spec server_connection_specs[]; /* PING, HELLO, CLIENT, ... */
extern const struct cmd_spec server_admin_specs[];      /* INFO, CONFIG, COMMAND, ... */

#endif
