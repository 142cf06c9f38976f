#include "lib/power.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "lib/drill.h"

/* The data after record `lsn`, as the lives before the cut made them: the latest that made or loaded
 * it. A record that a life made and the next one did not find may have been made again. */
static bool is_known(const struct power *p, uint64_t cut, uint64_t lsn, uint64_t digest)
{
    for (unsigned i = p->lives; i-- > 0;) {
        const struct power_life *life = &p->life[i];
        if (life->from <= cut && lsn >= life->base && lsn <= life->known &&
            life->digest[lsn] == digest)
            return true;
    }
    return false;
}

static void recover(const struct power *p, struct vfs_sim *sim, size_t cut,
                    const struct vfs_sim_choice *choice)
{
    uint64_t need = p->required(p->arg, sim, cut);
    struct power_found found = {0};
    char where[128];
    if (vfs_sim_build(sim, cut, choice, p->rebuilt)) {
        perror(p->rebuilt);
        exit(1);
    }
    snprintf(where, sizeof(where), "%s, cut after %zu of %zu events, style %d%s, seed %" PRIu64,
             p->what, cut, vfs_sim_last(sim), (int)choice->style, choice->strict ? " strict" : "",
             choice->seed);
    p->start(p->arg, &found);
    if (found.status == VS_NOTFOUND) {
        if (need)
            drill_failed("%s: nothing is there, record %" PRIu64 " was acknowledged", where, need);
    } else if (found.status) {
        drill_failed("%s: does not start: %.*s", where, (int)found.why_len, found.why);
    } else if (found.lsn < need) {
        drill_failed("%s: record %" PRIu64 " was acknowledged, %" PRIu64 " is the last", where, need,
                     found.lsn);
    } else if (!is_known(p, cut, found.lsn, found.digest)) {
        drill_failed("%s: the data are none that were there after record %" PRIu64, where,
                     found.lsn);
    }
}

static int by_size(const void *a, const void *b)
{
    const size_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Where to cut, rising, so that the log is gone through once. Half are just behind a change of names:
 * there are few of those among the writes, and all protocols turn on them. */
static size_t *choose_cuts(const struct power *p, struct vfs_sim *sim, unsigned long n)
{
    size_t first = vfs_sim_first(sim), last = vfs_sim_last(sim);
    size_t *cut = mem_alloc(n * sizeof(*cut));
    for (unsigned long i = 0; i < n; i++) {
        cut[i] = first + rng_below(p->rng, last - first + 1);
        if (rng_below(p->rng, 2))
            continue;
        while (cut[i] < last) {
            unsigned type = vfs_sim_event(sim, cut[i]++)->type;
            if (type == VFS_RECORD_RENAME || type == VFS_RECORD_UNLINK ||
                (type == VFS_RECORD_OPEN && rng_below(p->rng, 4) == 0))
                break;
        }
    }
    qsort(cut, n, sizeof(*cut), by_size);
    return cut;
}

void power_cuts(const struct power *p, unsigned long states)
{
    static const enum vfs_sim_style styles[] = {VFS_SIM_ANY,  VFS_SIM_ANY,    VFS_SIM_LOSE,
                                                VFS_SIM_KEEP, VFS_SIM_PREFIX, VFS_SIM_SCATTER,
                                                VFS_SIM_HOLES};
    size_t len;
    char why[256];
    struct vfs_sim *sim;
    const void *log = vfs_record_log(p->record, &len);
    if (vfs_sim_new(log, len, &sim, why, sizeof(why)) != VS_OK) {
        printf("simulator: %s\n", why);
        exit(1);
    }
    size_t *cut = choose_cuts(p, sim, states);
    for (unsigned long i = 0; i < states; i++) {
        struct vfs_sim_choice choice = {.seed = rng_next(p->rng),
                                        .strict = rng_below(p->rng, 2),
                                        .style = styles[rng_below(p->rng, 7)]};
        recover(p, sim, cut[i], &choice);
    }
    mem_free(cut);
    vfs_sim_free(sim);
}
