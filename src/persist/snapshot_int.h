/* Insides of snapshots, shared by snapshot_*.c alone. */
#ifndef PERSIST_SNAPSHOT_INT_H
#define PERSIST_SNAPSHOT_INT_H

#include <pthread.h>

#include "index/graph_cut.h"
#include "persist/snapshot.h"

#define SNAPSHOT_PAGE SEGMENT_ALIGN
#define PACK_BYTES (64u << 20)       /* a pack is closed when it is larger */
#define GROUP_BYTES (64u << 20)      /* of a V file, about */
#define GROUP_CHUNKS 64              /* at most */

static inline size_t pad_to(size_t n, size_t align)
{
    return (n + align - 1) / align * align;
}
/* What a chunk's part of a column takes. */
static inline size_t part_bytes(size_t width)
{
    return pad_to(CHUNK_SLOTS * width, SNAPSHOT_PAGE);
}

/* ---- snapshot_saved.c: what a snapshot holds of a partition, kept with the partition ---- */

/* A segment file that saved parts lie in. */
struct saved_file {
    _Atomic uint32_t refs;
    struct snapshot_file file;
    uint64_t listed_in;              /* the snapshot whose manifest has it .. */
    uint32_t number;                 /* .. as this entry. Of the saving thread */
    uint64_t live;                   /* packs: bytes in use. Of the saving thread */
};
struct saved_file *saved_file_new(const struct segment_sums *sums, uint64_t cut, const char *name);
struct saved_file *saved_file_ref(struct saved_file *f);
void saved_file_unref(struct saved_file *f);

#define SAVED_MAGIC 0x53415645u
struct saved_part {
    struct vs_saved saved;           /* first */
    uint32_t magic;
    struct snapshot_part part;       /* its sections' `file` are positions in file[] */
    uint32_t nfiles;
    size_t files_cap, sections_cap;
    struct saved_file **file;
};
/* NULL: out of memory; so the next. */
struct saved_part *saved_part_new(void);
/* The same, but for the flag of being pinned, which is given. */
struct saved_part *saved_part_copy(const struct saved_part *from, uint32_t pinned);
/* Takes a reference of its own. */
bool saved_part_add(struct saved_part *p, enum section_kind kind, uint32_t group,
                    struct saved_file *f, uint64_t offset, uint64_t bytes);
/* The section of a kind and group with its file, or NULL. */
const struct snapshot_section *saved_part_find(const struct saved_part *p, enum section_kind kind,
                                               uint32_t group, struct saved_file **file);
void saved_part_free(struct saved_part *p);
/* Forgets its sections. */
void saved_part_clear(struct saved_part *p);
/* Of what hangs on a partition: NULL when there is nothing. */
static inline struct saved_part *saved_part_of(struct vs_saved *saved)
{
    struct saved_part *p = (struct saved_part *)saved;
    return p && p->magic == SAVED_MAGIC ? p : NULL;
}

/* Has the scrub found nothing wrong with its files? */
bool saved_part_sound(const struct saved_part *p, struct scrub *scrub);

/* ---- snapshot_save.c ---- */

/* One partition of the cut, as the thread sees it. */
struct save_part {
    struct save_part *next;          /* all of them, the latest first */
    struct save_part *next_todo;     /* those whose vectors are still to be written, or small ones */
    struct vs_cut_part *cut;         /* NULL: given back. Of one that is not open it has no graph_cut */
    const struct graph_state *state; /* while `cut` is there; NULL: not open */
    struct saved_part *made;
    uint64_t uid;
    uint32_t number;
    unsigned db;
    char *key;
    size_t key_len;
    uint64_t deadline_ms;            /* the key's */
    struct vs_index_options options;
    struct vs_part_group *groups;    /* V files of this snapshot, mapped; v NULL: not of it */
    uint32_t ngroups, group_chunks;
    struct region *links_in;         /* its G file, where links may be mapped; or NULL */
    size_t links;
};

/* Of the flags of the part: pinning changes no sequence number. */
static inline uint32_t save_pinned(const struct save_part *sp)
{
    return sp->cut->pinned ? SNAPSHOT_PINNED : 0;
}

struct snapshot_save {
    struct snapshot_save_options o;  /* texts are copies */
    struct vs_store *store;
    uint64_t id, cut_number, wall_ms;
    pthread_t thread;

    pthread_mutex_t lock;            /* "snapshot": guards the next ones */
    pthread_cond_t news;
    struct vs_cut_part *ready, **ready_tail;
    size_t nready, total;
    bool walked;
    bool cancelled;                  /* by the owner, or by the cut's failure */
    bool deaf;                       /* the thread takes no more parts */
    char cancel_why[128];

    /* the thread's, and the owner's when it has ended */
    struct save_part *parts, *vectors, **vectors_tail, *small, **small_tail;
    struct saved_file **made;        /* files of this snapshot */
    size_t nmade, made_cap;
    struct segment_writer *writer;   /* the file being written */
    struct snapshot_manifest manifest;
    enum vs_status status;
    bool uncertain;                  /* the manifest may have been replaced although it failed */
    char error[VFS_ERROR_TEXT];
    void *buffer;                    /* for a chunk's part of a column */
    size_t buffer_size;

    _Atomic uint64_t done, written;
    _Atomic bool ended, failed;
    bool cut_over;                   /* the owner's: the cut has failed, or has been ended */
};

/* A copy for somebody else. */
static inline bool save_is_copy(const struct snapshot_save *s)
{
    return s->o.copy_from != NULL;
}
/* Notes the first failure; false, for returning. */
bool save_fail(struct snapshot_save *s, enum vs_status status, const char *text);
bool save_fail_errno(struct snapshot_save *s, enum vs_status status, const struct vfs_error *err);
bool save_cancelled(struct snapshot_save *s);
/* Cancelled or failed, or the file being written has; notes that as a failure. */
bool save_stopped(struct snapshot_save *s);
/* At least `size` bytes, or NULL (and the failure is noted). */
void *save_buffer(struct snapshot_save *s, size_t size);
/* Begins, ends a file. The file's sums are known after save_file_end: *out is a reference. */
bool save_file_begin(struct snapshot_save *s, uint64_t expect);
struct saved_file *save_file_end(struct snapshot_save *s);
/* To be freed. */
char *save_segment_path(const struct snapshot_save *s, const char *name);

/* ---- snapshot_list.c: all parts have been written ---- */
/* The directory of the files, then the manifest under its name; uncertain where that may or may not be on disk. */
bool save_end_files(struct snapshot_save *s);
/* Of a copy: the files that are as they were, then the manifest. */
bool save_end_copy(struct snapshot_save *s);

/* ---- snapshot_graph.c, snapshot_vectors.c, snapshot_pack.c: what is written ---- */
uint32_t save_group_chunks(const struct columns_shape *shape);
/* It stays where an earlier snapshot has it: sp->made is set. */
bool save_kept(struct snapshot_save *s, struct save_part *sp);
/* True when the partition is as an earlier snapshot has it: sp->made is set, nothing is written. */
bool save_unchanged(struct snapshot_save *s, struct save_part *sp);
bool save_graph(struct snapshot_save *s, struct save_part *sp);
bool save_vectors(struct snapshot_save *s, struct save_part *sp);
/* All small partitions. */
bool save_packs(struct snapshot_save *s);

/* ---- snapshot_map.c: the files stand in for memory ---- */
/* The thread's, when all is durable: maps the V files that were written. What cannot be mapped stays
 * in memory. */
void save_map(struct snapshot_save *s);
void save_unmap(struct save_part *sp);

#endif
