/* A snapshot in memory, for tests: collects the parts of a cut on a thread of its own, as images that vs_restore_new takes, and
 * restores them into another store. */
#ifndef LIB_CUT_IMAGE_H
#define LIB_CUT_IMAGE_H

#include "vecstore.h"

struct cut_image;

/* Begins a cut. Then vs_poll until cut_image_done. `group_chunks`: chunks of a group of files. */
struct cut_image *cut_image_begin(struct vs_store *store, uint32_t group_chunks);
/* While it is held, the thread takes no part: for tests whose faults are not meant for it. */
void cut_image_hold(struct cut_image *image, bool held);
/* [owner] Has everything been read, or has it failed? */
bool cut_image_done(struct cut_image *image);
bool cut_image_failed(const struct cut_image *image);
size_t cut_image_parts(const struct cut_image *image);
/* Restores all indexes. What was wrong, or NULL. Regions live as long as partitions use them. */
const char *cut_image_restore(struct cut_image *image, struct vs_store *store);
/* Hands the groups back to the store that was cut, to stand in for memory. */
void cut_image_map(struct cut_image *image, struct vs_store *store);
void cut_image_free(struct cut_image *image);
/* Regions that live at the moment. */
size_t cut_image_regions(void);

/* For tests of what a file may hold: changes an image before it is restored. */
struct cut_image_part {
    struct vs_part_image image;
    uint64_t index_uid;
    uint32_t position, positions;
    unsigned db;
    uint64_t deadline_ms;
    char *key;
    size_t key_len;
    struct vs_index_options options;
    struct cut_image_part *next;
};
struct cut_image_part *cut_image_first(struct cut_image *image);
/* Restores one index alone, from its first part. */
enum vs_status cut_image_restore_index(struct cut_image_part *first, struct vs_store *store, struct vs_index **out,
                                       struct buf *why);

#endif
