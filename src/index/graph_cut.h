/* A cut: a partition's records and graph as they stood at one sequence number, read by another
 * thread while the partition goes on.
 *
 *   NONE --graph_stamp--> STAMPED --graph_cut_want--> WANTED --(batch ended)--> TAKEN --graph_cut_release--> NONE
 *
 * STAMPED   from the stamp at T on what the cut needs stays: slots of records that were alive at T are
 *           not reused, no batch closed later than T is linked, no compaction begins (one under way
 *           goes on to its end). Counters of T are kept. Stamping is a few stores.
 * WANTED    no batch is begun; the one being linked ends, a compaction ends.
 * TAKEN     pointers to the chunks, the lists of batches and of dead nodes have been copied: a few
 *           bytes for a thousand records. The thread that writes the snapshot now reads records and
 *           links; no slot is freed. Links first: until they are written, linking either waits or
 *           copies aside what it changes (graph_env.aside_max).
 *
 * What belongs to the cut: records with born <= T that had not died by T, and dead ones that batches
 * or the list of dead nodes still name ("tombs": repairs to come need them). Records not linked when
 * the cut was taken have no links in it.
 *
 * A partition that had no graph at T is cut without links, levels' blocks and batches, whatever has
 * happened since.
 *
 * THREADS. [owner]: the thread that changes the partition. [reader]: one thread at a time, from `taken`
 * until graph_cut_release. */
#ifndef INDEX_GRAPH_CUT_H
#define INDEX_GRAPH_CUT_H

#include "base/status.h"
#include "index/columns.h"

#define MENDED_MAX 5

struct graph;
struct graph_cut;

struct graph_batch {
    uint64_t sequence;               /* of the closing entry; 0 for the open batch */
    uint32_t count, ndeaths;         /* at most BATCH_SIZE each */
    const uint32_t *slots, *deaths;
};
struct graph_tomb {
    uint32_t slot;
    uint64_t died;
};
/* All that is neither a column nor rebuilt from one. Slots at most SLOT_MAX. */
struct graph_state {
    uint64_t sequence;               /* T */
    uint32_t slots, nupper;          /* places in the columns: whole chunks, or fewer than one; chunks of upper links */
    size_t alive, linked;
    uint64_t linked_sequence, closed_sequence, digest;
    uint32_t entry;                  /* SLOT_NONE: none */
    int entry_level;
    bool graphed;
    uint32_t flat_inserts, flat_deaths; /* entries since the last closing, while not graphed */
    uint32_t mended;                 /* repairs while a generation ends (graph.h), MENDED_MAX at most */
    uint32_t nbatches;               /* closed by T and not linked */
    const struct graph_batch *batches;
    struct graph_batch open;         /* nothing in it: there was none */
    uint32_t ndead;
    const uint32_t *dead_nodes;
    uint32_t ntombs;                 /* sorted by slot */
    const struct graph_tomb *tombs;
};

/* [owner] Keeps what a cut at the entry `at`, the last one recorded, will need. Call it before the
 * first change after T. Nothing, when there is a stamp already. */
void graph_stamp(struct graph *g, uint64_t at);
/* [owner] Takes the cut as soon as the partition is between batches, at its stamp, or, without one, at
 * the last entry now. `taken` is called once on the owner, from here or from graph_poll: with the cut,
 * or with NULL and why not (VS_NOMEM; VS_CORRUPT: the partition is damaged); then nothing is stamped
 * any more. */
void graph_cut_want(struct graph *g, void (*taken)(void *arg, struct graph_cut *cut, enum vs_status s), void *arg);
/* [owner] Gives up a stamp, or a cut that is wanted and not taken yet: `taken` is not called. */
void graph_cut_cancel(struct graph *g);

/* [reader] To be called first: makes the lists of tombs and of what is used. NULL: out of memory.
 * It stays until the release. */
const struct graph_state *graph_cut_state(struct graph_cut *c);
uint32_t graph_cut_chunks(const struct graph_cut *c);
const struct columns_shape *graph_cut_shape(const struct graph_cut *c);
/* Is its partition damaged: can it not be read? Any thread. */
bool graph_cut_damaged(const struct graph_cut *c);
/* The slots of a chunk that belong to the cut, a bit each; 16 words. */
const uint64_t *graph_cut_used(const struct graph_cut *c, uint32_t chunk);
/* CHUNK_SLOTS places each; 0, SLOT_NONE and NULL where the cut has no record. A dead one has its `born`
 * here and its death among the tombs. `extra` is what the record has now: whoever changes it keeps the
 * older ones; NULL of a dead one whose extra goes before it. Any of the arrays may be NULL. */
void graph_cut_records(const struct graph_cut *c, uint32_t chunk, uint64_t *born, uint8_t *level, uint32_t *upper,
                       void **user, void **extra);
/* CHUNK_SLOTS deadlines, 0 where the record has none or the cut has no record; those of now, as `extra`. */
void graph_cut_deadlines(const struct graph_cut *c, uint32_t chunk, uint64_t *out);
/* CHUNK_SLOTS rows and originals, zeros where the cut has no record; either may be NULL. False: the
 * memory it should be read from is damaged (graph_is_bad says what). */
bool graph_cut_rows(const struct graph_cut *c, uint32_t chunk, void *rows, void *originals);
/* A chunk's rows (or originals) where they lie, which is good while the cut is taken; *rows NULL: not all its slots are
 * in use, it has to be copied. False: as above; what has been read is to be believed when graph_cut_damaged says no. */
bool graph_cut_whole(const struct graph_cut *c, uint32_t chunk, bool originals, const void **rows);
/* CHUNK_SLOTS lists of 2m, and UPPER_BLOCKS lists of m words; SLOT_NONE where the cut has no node.
 * False: damaged, or memory ran out when a part was to be copied aside; the cut is then void. */
bool graph_cut_links(struct graph_cut *c, uint32_t chunk, uint32_t *out);
bool graph_cut_upper(struct graph_cut *c, uint32_t k, uint32_t *out);
/* All links have been read (or nobody will): linking goes on. */
void graph_cut_links_done(struct graph_cut *c);
/* The number of the first snapshot that has all of a chunk's records (graph_env.cuts + 1 at the
 * last one's insertion). */
uint64_t graph_cut_filled(const struct graph_cut *c, uint32_t chunk);
/* Bytes of links copied aside at the moment. Any thread. */
size_t graph_cut_aside(const struct graph_cut *c);

/* [owner] The reader has let go of it. */
void graph_cut_release(struct graph *g, struct graph_cut *c);

#endif
