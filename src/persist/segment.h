/* Segment files: what a snapshot's bytes lie in. Written once, never changed, kept by later
 * snapshots for as long as what they hold has not changed.
 *
 *      0  "VSSEGMT1"                          4096  section, section, ..   each at a multiple of
 *      8  u32  version, 1                           4096; the gaps between are zero
 *     12  u32  block bytes B                   end  u64 sum of each block: of the bytes [iB, iB + B)
 *     16  u64  file id, random                      up to `end`, seeded with file id ^ i
 *     24  u64  snapshot id                     then "VSSEGEND", u32 version, u32 B, u64 end,
 *     32  u64  cut number                           u64 blocks, u64 file id, u64 sum of the sums,
 *     40  u64  sum of 0..39                         u64 zero, u64 sum of footer 0..55
 *
 * All little-endian, all sums XXH3-64. A file's size follows from `end`, so a file cut short or
 * grown is known at once, and the footer's sum stands in the manifest, so another file under the
 * same name is, too.
 *
 * A file is mapped as a whole, privately and for writing: what uses it may change its pages in
 * memory, the file stays. Its blocks are checked against the table when first needed, each once;
 * so a range must have been checked before anybody writes to it.
 *
 * Threads: a writer belongs to one. Mapped files are struct region (index/region.h): any. */
#ifndef PERSIST_SEGMENT_H
#define PERSIST_SEGMENT_H

#include "base/buf.h"
#include "index/region.h"
#include "persist/vfs_file.h"

#define SEGMENT_MAGIC "VSSEGMT1"
#define SEGMENT_END_MAGIC "VSSEGEND"
#define SEGMENT_VERSION 1
#define SEGMENT_HEADER 48
#define SEGMENT_FOOTER 64
#define SEGMENT_ALIGN 4096           /* of sections, and where the first begins */
#define SEGMENT_BLOCK (256u << 10)
#define SEGMENT_BLOCK_SMALL (64u << 10) /* of files that are expected to stay under 1 MiB */
#define SEGMENT_SIZE_MAX ((uint64_t)1 << 44)

/* ---- writing ---- */

struct segment_writer;

/* What a manifest keeps of a file. */
struct segment_sums {
    uint64_t size;
    uint64_t footer_sum;
};

/* Makes the file, which must not be there. `expect`: about how many bytes it will have. */
enum vs_status segment_create(const struct vfs *v, const char *path, uint64_t snapshot_id,
                              uint64_t cut, uint64_t expect, struct segment_writer **out,
                              struct vfs_error *err);
/* Begins a section: pads with zeros to the next multiple of SEGMENT_ALIGN; its offset. */
uint64_t segment_begin(struct segment_writer *w);
/* Where the next byte goes. */
uint64_t segment_at(const struct segment_writer *w);
/* False once anything has failed; segment_finish says what. */
bool segment_put(struct segment_writer *w, const void *data, size_t len);
/* Zeros, up to a multiple of `align` bytes from the beginning of the file. */
bool segment_pad(struct segment_writer *w, size_t align);
/* What has failed so far; VS_OK: nothing. */
enum vs_status segment_status(const struct segment_writer *w, struct vfs_error *err);
/* Writes the table and the footer, syncs (not the directory) and frees `w`. On failure the file is
 * removed. */
enum vs_status segment_finish(struct segment_writer *w, struct segment_sums *sums,
                              struct vfs_error *err);
/* Gives up: the file is removed, `w` freed. NULL is fine. */
void segment_abort(struct segment_writer *w);

/* ---- checking and mapping ---- */

/* Reads the whole file, in pieces, and checks all there is to check. VS_CORRUPT, VS_IO, VS_NOTFOUND,
 * VS_NOMEM and a sentence that names the file and the place. `expect` NULL: whatever it is. */
enum vs_status segment_verify(const struct vfs *v, const char *path,
                              const struct segment_sums *expect, struct buf *why);

/* Files that are mapped, counted together; outlives its makers for as long as one is. */
struct segment_set;
struct segment_set *segment_set_new(void);
void segment_set_unref(struct segment_set *set);
struct segment_set_bytes {
    uint64_t files, mapped;          /* bytes mapped */
    uint64_t checked;                /* of them: whose blocks have been checked */
    unsigned bad;                    /* files with a bad block */
};
/* Whatever is mapped of this file is bad from now on, because of the block at this offset. Any thread. */
void segment_set_spoil(struct segment_set *set, const char *path, uint64_t at);
void segment_set_count(struct segment_set *set, struct segment_set_bytes *out);

/* Checks size, header, footer and table, and maps the file. One reference, the caller's. The vfs's
 * context must outlive the region. */
enum vs_status segment_map(const struct vfs *v, const char *path, const struct segment_sums *expect,
                           struct segment_set *set, struct region **out, struct buf *why);
/* Where its sections end. */
uint64_t segment_end(const struct region *r);
/* A block of it, for tests. */
uint32_t segment_block(const struct region *r);

#endif
