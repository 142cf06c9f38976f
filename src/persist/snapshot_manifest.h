/* A snapshot's manifest: all of it but the bytes of records and graphs, which lie in segment files.
 *
 *     0  "VSSNAPM1"             24  u64 snapshot id     64  u64 cut number     88  u64 elements
 *     8  u32 version, 4         32  u64 LSN             72  u32 databases      96  u64 records digests
 *    12  u32 header, 128        40  u64 epoch           76  u32 files         104  u64 graph digests
 *    16  u64 bytes of the file  48  u64 HLC at the cut  80  u32 indexes       112  u64 sum of the rest
 *                               56  u64 wall clock, ms  84  u32 partitions    120  u64 sum of 0..119
 *
 * then items {u16 type, u16 0, u32 bytes, payload}: all FILEs; each INDEX, its PARTITIONs, each with
 * its SECTIONs; the HISTORY, when it is known; END. Byte tables of the payloads are in docs/durability.md. Everything is covered by
 * a sum, and what is read is checked against itself before it is believed: numbers in range, sections
 * inside files, partitions in rising order. That what lies in the sections makes sense is for who
 * reads them.
 *
 * One thread at a time. */
#ifndef PERSIST_SNAPSHOT_MANIFEST_H
#define PERSIST_SNAPSHOT_MANIFEST_H

#include "base/buf.h"
#include "index/columns.h"
#include "persist/journal_frame.h"
#include "persist/segment.h"
#include "vecstore.h"

#define SNAPSHOT_MAGIC "VSSNAPM1"
#define SNAPSHOT_VERSION 4
#define SNAPSHOT_HEADER 128
#define SNAPSHOT_MANIFEST_MAX ((size_t)1 << 30)
#define SNAPSHOT_KEY_MAX (512u << 20)

/* What a section holds. V: it lies in the file of a group of chunks, G: in the one of the rest, pack: among
 * those of other small partitions. */
enum section_kind {
    SECTION_ROWS = 1,  /* V: per chunk 1024 rows; where no record is, zeros */
    SECTION_ORIGINALS, /* V: the same of originals */
    SECTION_IDS,       /* V: u64 offsets[slots], 0: none; then ids as the store keeps them */
    SECTION_LINKS,     /* G: per chunk 1024 lists of 2m words */
    SECTION_UPPER,     /* G: per 1024 blocks lists of m words */
    SECTION_BORN,      /* G: per chunk 1024 u64 sequence numbers */
    SECTION_LEVELS,    /* G: per chunk 1024 bytes (in 4096), then per chunk 1024 u32 upper blocks */
    SECTION_IDTABLE,   /* G: of each record alive {u64 hash, u32 slot, u32 0}, sorted by hash */
    SECTION_ATTRS,     /* G: u64 n, n x {u32 slot, u32 0, u64 offset}, entries as store/attr_doc.h has them */
    SECTION_STATE,     /* G: batches, dead nodes, tombs */
    SECTION_SMALL,     /* a pack: a whole small partition */
    SECTION_DEADLINES  /* G: of each record that has a deadline, tombs too, {u32 slot, u32 0, u64 ms}, by slot */
};

#define SNAPSHOT_GRAPHED 1u /* flags of a partition */
#define SNAPSHOT_SMALL 2u
#define SNAPSHOT_PINNED 4u

struct snapshot_file {
    struct segment_sums sums;
    uint64_t cut;               /* number of the cut that made it */
    char *name;                 /* without a directory */
};
struct snapshot_section {
    uint16_t kind;
    uint32_t group;             /* of V: which chunks; else 0 */
    uint32_t file;              /* position in the manifest's list */
    uint64_t offset, bytes;
};
struct snapshot_part {
    uint32_t number, flags;
    uint64_t sequence, alive, attributes, records_digest;
    uint64_t linked_sequence, closed_sequence, graph_digest, linked;
    uint32_t slots, nupper, entry;
    int32_t entry_level;
    uint32_t flat_inserts, flat_deaths; /* with a graph: 0, repairs while a generation ends */
    uint32_t group_chunks;
    uint64_t deadlines, first_deadline_ms; /* elements that have one, and the least of them */
    uint32_t nsections;
    struct snapshot_section *section;
};
struct snapshot_index {
    unsigned db;
    char *key;
    size_t key_len;
    uint64_t deadline_ms;       /* 0: none */
    struct vs_index_options options;
    uint32_t nparts;
    size_t parts_cap;
    struct snapshot_part *part;
};
/* Zero-initialised is valid and empty. */
struct snapshot_manifest {
    uint64_t id, lsn, epoch, hlc, wall_ms, cut;
    struct journal_track track; /* the history that the data are of, at its cut */
    uint32_t databases;
    uint64_t elements, records_digest, graph_digest; /* sums over the partitions */
    uint32_t nfiles, nindexes;
    size_t files_cap, indexes_cap;
    struct snapshot_file *file;
    struct snapshot_index *index;
};

void snapshot_manifest_release(struct snapshot_manifest *m);
/* Appends the file's bytes; the sums over partitions are counted here. False: out of memory. */
bool snapshot_manifest_encode(const struct snapshot_manifest *m, struct buf *out);
/* Into a zeroed `out`. VS_CORRUPT or VS_NOMEM and a sentence that begins with `name`. */
enum vs_status snapshot_manifest_decode(const void *data, size_t len, const char *name,
                                        struct snapshot_manifest *out, struct buf *why);
/* The same of a file. VS_NOTFOUND when it is not there (`why` says so, too), VS_IO. */
enum vs_status snapshot_manifest_load(const struct vfs *v, const char *path,
                                      struct snapshot_manifest *out, struct buf *why);
/* The section of a kind and group, or NULL. */
const struct snapshot_section *snapshot_find(const struct snapshot_part *p, enum section_kind kind,
                                             uint32_t group);
/* Chunks of a partition, and groups of chunks. */
static inline uint32_t snapshot_chunks(const struct snapshot_part *p)
{
    return p->flags & SNAPSHOT_SMALL ? 0 : p->slots / CHUNK_SLOTS;
}
static inline uint32_t snapshot_groups(const struct snapshot_part *p)
{
    return p->group_chunks ? (snapshot_chunks(p) + p->group_chunks - 1) / p->group_chunks : 0;
}

#endif
