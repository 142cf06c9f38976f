/* Insides of restoring, shared by restore*.c alone. */
#ifndef STORE_RESTORE_INT_H
#define STORE_RESTORE_INT_H

#include <string.h>

#include "base/buf.h"
#include "index/graph_restore.h"
#include "store/store_int.h"

struct restore {
    struct partition *p;
    const struct vs_part_image *image;
    struct buf *why;
    struct graph_image_group *groups;
    uint32_t ngroups, nchunks;
    uint32_t tomb;                   /* the next of image->state->tombs */
    uint64_t attr, nattrs;           /* the next of ATTRS, and how many there are */
    uint64_t attrs_end;              /* of the entries taken: where the next one stands */
    void **parsed;                   /* attributes that were made on the heap, until the graph has them */
    size_t nparsed, parsed_cap;
    uint64_t sum;                    /* over (hash of id, slot) of the living */
    size_t attributes;               /* of the living */
};

static inline uint64_t load64(const void *from)
{
    uint64_t n;
    memcpy(&n, from, sizeof(n));
    return n;
}

static inline uint32_t load32(const void *from)
{
    uint32_t n;
    memcpy(&n, from, sizeof(n));
    return n;
}

/* ---- restore.c ---- */
/* Says what is wrong with the partition, `what` with one %llu in it; false. */
bool restore_refuse(struct restore *r, const char *what, uint64_t at);
/* Does an id in the stored form begin here and end before `end`? Its bytes with its length, or 0. */
size_t restore_id_bytes(const uint8_t *at, const uint8_t *end);
/* As many deadlines as were said, and the first of them. */
bool restore_check_deadlines(struct restore *r);
/* ---- restore_large.c: what is used where it lies ---- */
enum vs_status restore_large(struct restore *r);
/* ---- restore_small.c: a partition in a pack, copied ---- */
enum vs_status restore_small(struct restore *r);

#endif
