/* Insides of replication, shared by the files of this folder alone. */
#ifndef REPL_REPL_INT_H
#define REPL_REPL_INT_H

#include "config/config.h"
#include "repl/backlog.h"
#include "repl/link.h"
#include "repl/repl.h"
#include "repl/wire.h"
#include "server/server.h"

#define REPL_NO_OFFSET UINT64_MAX

enum replica_state {
    REPLICA_HANDSHAKE,   /* it has said who it is */
    REPLICA_WAITS,       /* for a snapshot to begin */
    REPLICA_SENDING,     /* it gets one */
    REPLICA_ONLINE       /* it gets the stream */
};

/* Comparing what nodes hold (digests.c). */
#define DIGESTS_TOLD 1024
struct digests_round {
    unsigned db;
    uint64_t cursor;
};
struct digests {
    struct digests_round round;    /* what is said to replicas */
    uint64_t compared, different;  /* partitions, as replica */
    uint64_t resync_ms;            /* when all data were last asked for because of it */
    struct digests_round ack;      /* what is said to the primary */
    uint64_t ack_ms;
    uint64_t told[DIGESTS_TOLD];   /* of partitions, by hash: up to where they were linked when last told */
    uint64_t acked, acked_different; /* partitions, as primary: heard of replicas and compared */
};

/* Mending partitions that differ, as replica (mend.c). */
#define MENDS_MAX 16
#define MENDED_MAX 64
struct mends {
    struct part_name want[MENDS_MAX]; /* the first is asked for, or is to be */
    unsigned n;
    uint64_t asked_ms;             /* 0: it is not */
    uint64_t not_before_ms;
    struct mended {
        uint64_t hash, ms;
    } mended[MENDED_MAX];          /* lately, or tried */
    unsigned next;
    struct vs_replacing *replacing;
    struct mend_source *source;    /* of it */
    bool unsettled;                /* what is in memory, or what the files make, is not what the history says */
    bool tainted;                  /* .. and not all of it was mended */
    uint64_t rewrites;             /* with more of the journal's than these, what was mended is in files */
    uint64_t done, bytes, failed;
};

/* One that takes the stream from us: a client. */
struct replica {
    TAILQ_ENTRY(replica) link;
    struct cmd_client *c;
    enum replica_state state;
    unsigned port;                 /* it listens on */
    char ip[256];                  /* it says it has; "": the connection's */
    bool knows;                    /* our stream's version */
    bool zstd;                     /* it takes compressed blocks */
    uint64_t different;            /* partitions of it that it has found to differ from ours */
    uint64_t common;               /* up to here what it has is of our history; REPL_NO_OFFSET: not known */
    struct backlog_cursor cursor;
    uint64_t acked, synced;        /* offsets */
    uint64_t began_ms, ack_ms;     /* since it waits or is sent to; of the last acknowledgement */
    uint64_t alive_ms;             /* when something was last heard or could be sent */
    uint64_t full_since_ms;        /* since when the soft output limit is passed; 0 */
    bool asks;                     /* it is to acknowledge */
    struct part_name want;         /* a partition that it is to be sent .. */
    bool mending;                  /* .. and is being sent; the stream waits meanwhile */
    uint64_t mended_ms;            /* when the last one began */
    struct part_name recheck;      /* it says that this one differs: it is told at the same offset */
};
TAILQ_HEAD(replica_list, replica);

struct sync;
struct closer;
struct fence;
TAILQ_HEAD(repl_waits, repl_wait);

enum failover_state { FAILOVER_NONE, FAILOVER_WAITS, FAILOVER_GOES };

struct failover {
    enum failover_state state;
    char *host;                    /* NULL: whichever has everything */
    unsigned port;
    bool force;
    bool asked;                    /* by a link that has ended: the replica may be the primary */
    uint64_t timeout_ms, until_ms; /* 0: for ever */
};

struct repl {
    struct server *s;
    struct config *c;
    /* the history */
    char replid[41], replid2[41];
    uint64_t second;               /* replid2 holds up to this offset; REPL_NO_OFFSET: there is none */
    struct wire_place at;          /* nonce; offset and LSN of the last record in the store */
    bool active;                   /* the backlog is kept */
    bool loaded;                   /* the data have been, once */
    bool resumed;                  /* a primary that has found its history on disk, and not added to it yet */
    struct journal *tapped;
    struct backlog backlog;
    uint64_t alone_since_ms;       /* a primary without replicas; 0: it has some */
    /* replicas of ours */
    struct replica_list replicas;
    size_t nreplicas;
    struct repl_waits waits;       /* clients in WAIT */
    struct failover failover;
    struct digests digests;
    struct mends mends;
    bool ask;
    uint64_t ping_ms;
    struct sync *sync;             /* a snapshot that is sent; NULL */
    uint64_t full_syncs, partial_syncs, partial_refused;
    uint64_t sync_bytes;           /* of the last snapshot sent */
    uint64_t parts_sent, parts_bytes; /* partitions that replicas asked for */
    /* our primary */
    bool replica;
    char *host;
    unsigned port;
    struct link *link;             /* NULL: between two attempts */
    struct link *old[4];           /* that are about to end */
    struct link_item *item;        /* being applied .. */
    size_t item_at;                /* .. up to here */
    bool strayed;                  /* a client of ours has written: what we hold is no history's */
    bool everything;               /* the next attempt asks for all data */
    bool in_sync;                  /* the stream is being applied */
    bool doubtful;                 /* what we hold may be no prefix of the primary's: Sentinel must not choose us */
    bool asked;                    /* the primary waits for an acknowledgement */
    uint64_t acked, acked_synced;  /* the last one given */
    uint64_t retry_ms, down_since_ms, io_retry_ms;
    char last_error[256];
    struct closer *closer;         /* of the store before */
    struct journal_applier *applier;
    struct fence *fence;           /* may this primary take writes? */
    uint64_t discarded, discarded_bytes; /* records that no other node has, put aside */
};

/* repl.c */
void repl_begin_history(struct repl *r);
/* From now on records are kept for replicas. */
void repl_activate(struct repl *r);
void repl_look_at_refusals(struct repl *r);
/* The history, or where the data stand in it, is not what it was: so that a restart knows. */
void repl_note_history(struct repl *r);
/* What we hold is not what it should be. */
void repl_want_everything(struct repl *r);
/* Before anything is added to a history, or a replica told of it: one found on disk goes on under a new name. */
void repl_own_history(struct repl *r);

/* replicas.c */
struct replica *replica_get(struct repl *r, struct cmd_client *c);
void replica_gone(struct repl *r, struct cmd_client *c);
void replicas_close(struct repl *r);
/* Sends what there is. */
void replicas_turn(struct repl *r);
void replicas_tick(struct repl *r);
const char *replica_state_text(const struct replica *p);
/* Its address as it is announced. */
void replica_address(const struct replica *p, char ip[256], unsigned *port);
size_t replicas_online(const struct repl *r);
/* The lowest offset that one still has to read; REPL_NO_OFFSET: none has. */
uint64_t replicas_lowest(const struct repl *r);
enum cmd_result replica_psync(struct repl *r, struct cmd_call *call);
/* Sends it what there is of the stream. */
void replica_feed(struct repl *r, struct replica *p);

/* sync.c */
void sync_turn(struct repl *r);
void sync_stop(struct repl *r);
bool sync_runs(const struct repl *r);
void sync_replica_gone(struct repl *r, const struct replica *p);

/* apply.c */
/* What is there does not help: all data are asked for. */
void apply_begin_anew(struct repl *r);
/* Takes what the link has; true: there is more. */
bool apply_turn(struct repl *r);
void apply_tick(struct repl *r);
void apply_stop(struct repl *r);       /* leaves the primary */
void apply_free(struct repl *r);
bool apply_link_is_up(const struct repl *r);

/* digests.c */
void digests_tick(struct repl *r);
/* What the primary has said; false: it is not so here, and all data are to be asked for. */
bool digests_compare(struct repl *r, const uint8_t *payload, size_t len);
/* A difference that nothing smaller mends: may all data be asked for because of it now? */
bool digests_resync(struct repl *r);
/* What an acknowledgement says: partitions that its sender has found to differ, and what some are (may be NULL). */
void digests_told(struct repl *r, struct replica *p, uint64_t different, const uint8_t *entries, size_t len);
/* What the next acknowledgement is to say. */
void digests_to_tell(struct repl *r);
/* Of one partition as it is; false: it is not there, or not open. */
bool digest_of(struct repl *r, const struct part_name *part, struct digest_entry *out);
struct vs_index *part_index(struct repl *r, const struct part_name *part, size_t *position);
void part_name_set(struct part_name *to, const struct part_name *from);
void part_name_drop(struct part_name *p);

/* mend.c */
/* It differs. False: all data are to be asked for. */
bool mend_want(struct repl *r, const struct part_name *part);
/* What the primary sent takes its place. False: it has to wait. */
bool mend_take(struct repl *r, struct link_item *item);
void mend_tick(struct repl *r);
/* The link is no more, or the store. */
void mend_stop(struct repl *r);

/* wait.c */
void waits_turn(struct repl *r);
/* This node is no primary any more. */
void waits_give_up(struct repl *r);

/* failover.c */
void failover_turn(struct repl *r);
void failover_abort(struct repl *r, const char *why);
void failover_done(struct repl *r);
/* The link has ended that was to ask the replica; true: so has the failover. */
bool failover_link_ended(struct repl *r);
const char *failover_text(const struct repl *r);

/* guard.c */
void guard_open(struct repl *r);
/* At the beginning of a turn, and before its replies leave. */
void guard_turn(struct repl *r);
void guard_role_changed(struct repl *r);
/* Of a write or a PING; NULL: the fence is open. */
const char *guard_error(const struct repl *r);
void guard_hello(struct server *s, struct cmd_client *c, const char *message, size_t len);
void guard_close(struct repl *r);

/* discard.c */
/* What we have written from this offset on is in no other node's history: it goes to a file. */
void discard_from(struct repl *r, uint64_t offset);

/* info.c */
void repl_info(struct server *s, struct buf *out);

/* commands.c */
enum cmd_result repl_replicaof_command(struct cmd_call *call);
enum cmd_result repl_replconf_command(struct cmd_call *call);
enum cmd_result repl_psync_command(struct cmd_call *call);
enum cmd_result repl_role_command(struct cmd_call *call);
/* wait.c, failover.c */
enum cmd_result repl_wait_command(struct cmd_call *call);
enum cmd_result repl_waitaof_command(struct cmd_call *call);
enum cmd_result repl_failover_command(struct cmd_call *call);

#endif
