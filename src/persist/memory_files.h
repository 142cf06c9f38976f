/* A vfs whose files are memory: what has come over the network, to be loaded as a snapshot is.
 *
 *     base                       size                     cap
 *      | bytes that have come     | room for those to come  |     reserved, touched as it fills
 *      '- the first 4 MiB in plain pages, huge ones behind them
 *
 * Bytes are received where they will be used: memory_files_room says where the next ones belong. A file that is
 * mapped gives its memory to the mapping, once and for good: nothing is copied, and a page that has come is in
 * memory. What a block's sum was when it came is kept with it, so that the one who maps it need not ask again.
 *
 * Names are a list: directories are not needed, a path is compared as it is. There is nothing to sync, and no lock.
 * Rejected: files of the system (memfd), whose pages are filled by copying, are small ones, and are faulted in again
 * by the mapping.
 *
 * Any thread, one at a time but for reads and mappings; unmapping is possible after the files are gone. */
#ifndef PERSIST_MEMORY_FILES_H
#define PERSIST_MEMORY_FILES_H

#include "persist/vfs.h"

struct memory_files;

struct memory_files *memory_files_new(void);
/* The files go, but what is mapped of them stays. NULL is fine. */
void memory_files_free(struct memory_files *m);
/* Borrows `m`. */
struct vfs memory_files_vfs(struct memory_files *m);
/* Bytes of all files. */
uint64_t memory_files_bytes(const struct memory_files *m);

/* Where the next `len` bytes of the open file `fd` belong; NULL: no memory. Until the next call. */
uint8_t *memory_files_room(struct memory_files *m, int fd, size_t len);
/* They have come, and their sum is `sum` (hash_bytes with that seed). False: no memory. */
bool memory_files_filled(struct memory_files *m, int fd, size_t len, uint64_t seed, uint64_t sum);

#endif
