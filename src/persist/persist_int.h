/* Insides of durability as a whole, shared by persist*.c alone. */
#ifndef PERSIST_PERSIST_INT_H
#define PERSIST_PERSIST_INT_H

#include "persist/persist.h"
#include "persist/snapshot.h"
#include "persist/vfs_path.h"

enum persist_state {
    PERSIST_FIND,      /* which data there are is not known yet */
    PERSIST_SNAPSHOT,  /* a snapshot is being loaded */
    PERSIST_REPLAY,    /* the journal's records are being applied */
    PERSIST_START,     /* all is in the store; the journal is to be opened */
    PERSIST_RUNNING,
    PERSIST_FAILED     /* loading went wrong */
};

struct persist {
    struct vfs vfs;
    struct vs_store *store;
    char *dir, *dbfilename, *appenddirname, *appendfilename; /* as given */
    char *journal_dir;               /* dir/appenddirname */
    char *dump;                      /* dir/dbfilename */
    char *segments;                  /* the directory of segment files, of bases, too */
    bool appendonly, load_truncated, verify;
    enum journal_fsync fsync;
    unsigned rewrite_percentage;
    uint64_t rewrite_min_size;
    void (*wake)(void *arg);
    void *wake_arg;

    struct vfs_file lock;
    struct hlc hlc;
    uint64_t epoch;                  /* of this life; above all that is found in the directory */
    uint64_t life, count;            /* random; of snapshots begun: their ids */
    /* What of the files on disk is of the same history as the store: the snapshot that was loaded, or
     * the last one made, its id, 0 none; the journal that was switched off. */
    uint64_t dump_id;
    struct journal_manifest off;
    struct journal *journal;
    enum persist_state state;
    uint64_t start_s, start_ns;      /* of this process: wall clock, monotonic */

    /* while loading */
    struct journal_manifest manifest;/* as it was found, then as the loader left it */
    struct journal_loader *loader;
    uint64_t lsn;                    /* of the last record that is in the store */
    struct journal_track track;      /* .. and the history that it is of */
    bool adopted;                    /* it was there before */
    bool replays;                    /* a journal follows */
    struct journal_manifest left;    /* segments that cannot be applied, to be put aside */
    struct snapshot_load *load;
    bool from_dump;                  /* it is `dump` */
    struct segment_set *set;         /* what is mapped */
    struct vs_opener opener;
    uint64_t scrub_period;
    struct scrub *scrub;             /* while RUNNING; may be NULL */
    uint64_t keys_loaded;

    /* snapshots */
    struct snapshot_save *save;      /* the one that runs */
    bool waiting;                    /* or it waits until the cut before is taken down */
    bool saving_rewrite;             /* it is to be the journal's base */
    bool sending;                    /* it goes to another node */
    struct vfs out;                  /* .. by this */
    uint64_t save_ns, save_lsn, save_seq;  /* when it began, its cut, the base's number */
    void (*done)(void *arg, bool ok);
    void *done_arg;
    bool wants_rewrite;              /* as soon as nothing runs */
    uint64_t rewrite_not_before_ns;  /* after a failure */
    struct snapshot_manifest dumps[2], bases[2]; /* the last of each, and the ones before */
    bool collect_due;                /* files are to be removed when no partition is being opened */
    bool no_collect;                 /* not all manifests could be read: no file is removed */
    bool uncertain[2];               /* dump, base: see snapshot_save_uncertain */
    struct { unsigned db, found; uint64_t cursor; } damage; /* a round of counting under way */
    uint64_t saved_lsn;              /* the last good snapshot's cut */
    struct persist_status counts;    /* what of the status is kept, not asked for */
    char save_error[VFS_ERROR_TEXT];
    char write_error[VFS_ERROR_TEXT + 64];
};

/* "<dir>/<name>", to be freed by mem_free. */
char *persist_path(const char *dir, const char *name);
/* The file of the journal's base `seq`. */
char *persist_base_path(const struct persist *p, uint64_t seq);

void persist_start_scrub(struct persist *p);
/* ---- persist_load.c ---- */
void persist_load_release(struct persist *p);
/* ---- persist_save.c ---- */
/* Gives up what runs, waits for it. */
void persist_save_stop(struct persist *p);
void persist_save_release(struct persist *p);
/* Reads which files the snapshots on disk need, and removes the others. Settles the epoch. */
void persist_collect_at_start(struct persist *p);

#endif
