/* INFO's sections. Each appends its lines. Loop thread. */
#ifndef SERVER_INFO_H
#define SERVER_INFO_H

#include "server/server.h"

/* info_server.c */
void info_server(struct server *s, struct buf *out);
void info_clients(struct server *s, struct buf *out);
void info_memory(struct server *s, struct buf *out);
void info_cpu(struct server *s, struct buf *out);
void info_replication(struct server *s, struct buf *out);
void info_cluster(struct server *s, struct buf *out);
/* info_persist.c */
void info_persistence(struct server *s, struct buf *out);
/* info_stats.c */
void info_stats(struct server *s, struct buf *out);
void info_commandstats(struct server *s, struct buf *out);
void info_errorstats(struct server *s, struct buf *out);
void info_latencystats(struct server *s, struct buf *out);
void info_keyspace(struct server *s, struct buf *out);
void info_vecstore(struct server *s, struct buf *out);

/* "1.50G", as INFO's human fields. */
void info_human(size_t bytes, char out[32]);

#endif
