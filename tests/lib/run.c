#include "lib/run.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

uint64_t run_seed(void)
{
    static uint64_t seed;
    const char *text = getenv("VECSTORE_SEED");
    if (seed)
        return seed;
    seed = text ? strtoull(text, NULL, 10) : clock_wall_us();
    printf("seed %" PRIu64 " (VECSTORE_SEED)\n", seed);
    fflush(stdout);
    return seed;
}

bool run_quick(void)
{
    return getenv("VECSTORE_TEST_QUICK") != NULL;
}

int run_make_directory(const char *name, char *dir, size_t size)
{
    const char *under = getenv("TMPDIR");
    int len = snprintf(dir, size, "%s/%s.XXXXXX", under && *under ? under : "/tmp", name);
    return len > 0 && (size_t)len < size && mkdtemp(dir) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

int run_remove_directory(const char *dir)
{
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT ? 0 : -1;
}
