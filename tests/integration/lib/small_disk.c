#include "integration/lib/small_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/run.h"

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, text, strlen(text)) < 0)
        print_message("%s: %s\n", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* A mount namespace; who is not root needs a user namespace as well, in which it is. */
static bool enter(void)
{
    static bool entered;
    if (entered)
        return true;
    if (unshare(CLONE_NEWNS) != 0) {
        char map[64];
        uid_t uid = geteuid();
        gid_t gid = getegid();
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
            return false;
        put("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "0 %u 1", (unsigned)uid);
        put("/proc/self/uid_map", map);
        snprintf(map, sizeof map, "0 %u 1", (unsigned)gid);
        put("/proc/self/gid_map", map);
    }
    entered = mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    return entered;
}

bool small_disk_mount(struct small_disk *d, size_t bytes)
{
    char size[64];
    snprintf(size, sizeof size, "size=%zu", bytes);
    if (run_make_directory("small-disk", d->path, sizeof d->path) != 0)
        fail_msg("%s: %s", d->path, strerror(errno));
    if (enter() && mount("none", d->path, "tmpfs", 0, size) == 0)
        return true;
    print_message("no file system can be mounted here: %s\n", strerror(errno));
    rmdir(d->path);
    return false;
}

void small_disk_resize(struct small_disk *d, size_t bytes)
{
    char size[64];
    snprintf(size, sizeof size, "size=%zu", bytes);
    if (mount("none", d->path, "tmpfs", MS_REMOUNT, size) != 0)
        fail_msg("%s: %s", d->path, strerror(errno));
}

void small_disk_unmount(struct small_disk *d)
{
    if (umount(d->path) != 0 || rmdir(d->path) != 0)
        fail_msg("%s: %s", d->path, strerror(errno));
}

bool small_disk_fill(const struct small_disk *d, const char *name, size_t bytes)
{
    char path[800];
    static const char block[4096];
    snprintf(path, sizeof path, "%s/%s", d->path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        fail_msg("%s: %s", path, strerror(errno));
    while (bytes) {
        ssize_t n = write(fd, block, bytes < sizeof block ? bytes : sizeof block);
        if (n < 0 && errno != ENOSPC)
            fail_msg("%s: %s", path, strerror(errno));
        if (n <= 0)
            break;
        bytes -= (size_t)n;
    }
    close(fd);
    return bytes == 0;
}

void small_disk_remove(const struct small_disk *d, const char *name)
{
    char path[800];
    snprintf(path, sizeof path, "%s/%s", d->path, name);
    if (unlink(path) != 0)
        fail_msg("%s: %s", path, strerror(errno));
}

/* ---- what is there ---- */

static char *found[256];
static size_t found_count;

static int note(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)ftw;
    if (type == FTW_F && found_count < sizeof found / sizeof *found)
        found[found_count++] = strdup(path);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char *small_disk_list(const struct small_disk *d)
{
    char *text = NULL;
    size_t len = 0, skip = strlen(d->path) + 1;
    FILE *out = open_memstream(&text, &len);
    found_count = 0;
    nftw(d->path, note, 16, FTW_PHYS);
    qsort(found, found_count, sizeof *found, by_name);
    for (size_t i = 0; i < found_count; i++) {
        fprintf(out, "%s\n", found[i] + skip);
        free(found[i]);
    }
    fclose(out);
    return text;
}
