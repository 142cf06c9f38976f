/* A file system of a few megabytes, for tests of disks that are full: a tmpfs that this program and its children alone see, in
 * a mount namespace of their own. It goes with the program. One thread. */
#ifndef INTEGRATION_LIB_SMALL_DISK_H
#define INTEGRATION_LIB_SMALL_DISK_H

#include <stdbool.h>
#include <stddef.h>

struct small_disk {
    char path[512];
};

/* An empty one of so many bytes. False, with a message, where this machine does not let a test mount anything. */
bool small_disk_mount(struct small_disk *d, size_t bytes);
/* What is on it stays. */
void small_disk_resize(struct small_disk *d, size_t bytes);
/* Nothing may have a file open there. */
void small_disk_unmount(struct small_disk *d);
/* A file of so many bytes; false: there is no room for all of it, it has what there was. */
bool small_disk_fill(const struct small_disk *d, const char *name, size_t bytes);
void small_disk_remove(const struct small_disk *d, const char *name);
/* The paths of its files, sorted, a line each; the caller frees it. */
char *small_disk_list(const struct small_disk *d);

#endif
