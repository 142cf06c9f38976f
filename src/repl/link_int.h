/* Insides of a link, shared by link*.c alone. */
#ifndef REPL_LINK_INT_H
#define REPL_LINK_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "persist/memory_files.h"
#include "persist/vfs_file.h"
#include "repl/link.h"

#define LINK_ERROR_TEXT 512

enum link_ask { LINK_ASK_MAY, LINK_ASK_DONE, LINK_ASK_NEVER };

struct link {
    /* what it was told; the thread's */
    char *host, *user, *password, *announce_ip;
    unsigned port, announce_port, timeout_ms;
    bool failover;
    char replid[41];               /* "": everything is wanted; then that of the stream */
    struct wire_place at;          /* of the next frame */
    struct vs_options store;
    void (*wake)(void *arg);
    void *arg;

    pthread_t thread;
    int wakeup;                    /* eventfd */
    _Atomic int state;             /* enum link_state */
    atomic_bool stop, spoilt, connected, refused;
    _Atomic int ask;               /* enum link_ask: the loop and the thread agree on one */
    _Atomic uint64_t last_ns;      /* when bytes came */
    _Atomic uint64_t received;
    _Atomic uint64_t acked, synced, different;/* what is to be acknowledged */
    atomic_bool ack_now;
    char error[LINK_ERROR_TEXT];   /* the thread's until it has ended */

    /* the thread's */
    int fd;
    struct buf in;                 /* what has come .. */
    size_t used;                   /* .. and has been understood */
    uint64_t ack_ns;               /* the last one sent */
    uint64_t asked_ns;             /* the primary asked for one last */
    bool trickles;                 /* little has come, and shortly before, too */
    bool streams;                  /* the handshake is over */
    struct link_item *frames;      /* being gathered */
    /* of a full synchronisation */
    bool full;
    uint64_t common;               /* up to here what we have is the primary's, too; UINT64_MAX: not known */
    struct memory_files *files;
    struct vfs vfs;
    struct vfs_file file;          /* being received */
    bool file_is_manifest;
    struct buf unpacked;
    bool part;                     /* a partition is being received; `said` of it */
    struct buf said;

    pthread_mutex_t lock;          /* "link": guards the next ones */
    pthread_cond_t room;
    struct link_item *first, **tail;
    struct buf digests, commands;  /* to be sent with the next acknowledgement, and behind it */
    size_t queued;                 /* bytes of items, and of those taken and not yet freed */
};

/* Notes why it ends; false, for returning. */
bool link_fail(struct link *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* link_io.c: waiting, reading, writing. All false: it has failed, or is to stop. */
bool link_connect(struct link *l);
bool link_send(struct link *l, const void *data, size_t len);
/* Waits until more has come, and takes it. */
bool link_receive(struct link *l);
/* Until there are so many bytes not understood yet. */
bool link_have(struct link *l, size_t len);
/* An acknowledgement, when one is due. */
bool link_send_ack(struct link *l, bool now);

/* link_handshake.c: up to the reply to PSYNC. */
bool link_handshake(struct link *l);

/* So many bytes behind those understood go there, and are. */
bool link_receive_to(struct link *l, uint8_t *to, size_t len);

/* link_sync.c: a control frame of a snapshot; of its data the head has been read. */
bool link_snapshot_data(struct link *l, const struct journal_frame *f);
bool link_snapshot_frame(struct link *l, const struct journal_frame *f, const uint8_t *payload);
void link_snapshot_drop(struct link *l);
/* A partition follows. What is gathered has been handed over. */
bool link_part_begin(struct link *l, const uint8_t *payload, size_t len);

/* link.c */
/* The stream is not what it should be: everything has to be sent anew. False. */
bool link_spoil(struct link *l, const char *why);
void link_push(struct link *l, struct link_item *item);
bool link_stopped(const struct link *l);

#endif
