/* A vfs whose files are memory: what has come over the network, to be loaded as a snapshot is.
 *
 * A file is an anonymous one of the system (memfd), so that it can be mapped as a file of a disk is; its
 * pages stay for as long as it is mapped, whatever becomes of the file. Names are a list: directories
 * are not needed, a path is compared as it is. There is nothing to sync, and no lock.
 *
 * Any thread, one at a time but for reads and mappings; unmapping is possible after the files are
 * gone. */
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

#endif
