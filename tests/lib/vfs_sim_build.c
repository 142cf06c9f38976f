/* The simulator's dice: one state of the disk at a cut, written into a directory. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "lib/vfs_sim.h"
#include "lib/vfs_sim_int.h"

/* How the uncertain changes of one file fare. */
struct fate {
    enum vfs_sim_style style;
    size_t changes;
    size_t data_cut;   /* PREFIX: the first change of which not all is there */
    size_t size_cut;   /* the first whose size is lost */
    bool in_order;     /* PREFIX: that change's sectors are there from the front; else at random */
    uint64_t sectors;  /* in order: up to this sector of the file */
    uint64_t salt;
};

static enum vfs_sim_style draw_style(enum vfs_sim_style style, struct rng *rng)
{
    static const enum vfs_sim_style likely[] = {
        VFS_SIM_LOSE,    VFS_SIM_KEEP,   VFS_SIM_PREFIX,  VFS_SIM_PREFIX,
        VFS_SIM_PREFIX, VFS_SIM_SCATTER, VFS_SIM_SCATTER, VFS_SIM_HOLES,
    };
    return style == VFS_SIM_ANY ? likely[rng_below(rng, 8)] : style;
}

static struct fate draw_fate(const struct sim_inode *n, enum vfs_sim_style style, uint64_t seed)
{
    struct rng rng = {seed};
    struct fate f = {.changes = n->changes, .size_cut = n->changes};
    f.style = draw_style(style, &rng);
    f.salt = rng_next(&rng);
    if (f.style == VFS_SIM_LOSE)
        f.size_cut = 0;
    if (f.style == VFS_SIM_SCATTER && rng_below(&rng, 2))
        f.size_cut = rng_below(&rng, n->changes + 1);
    if (f.style == VFS_SIM_PREFIX) {
        f.data_cut = rng_below(&rng, n->changes + 1);
        f.in_order = rng_below(&rng, 2);
        f.size_cut = f.data_cut;
        if (f.data_cut < n->changes) {
            const struct sim_change *c = &n->change[f.data_cut];
            f.size_cut += rng_below(&rng, 2);
            f.sectors = c->at / VFS_SIM_SECTOR + rng_below(&rng, c->len / VFS_SIM_SECTOR + 2);
        }
    }
    return f;
}

/* Is change `i` in this sector? When it is, so are all before it. */
static bool sector_has(const struct fate *f, size_t i, uint64_t sector)
{
    uint64_t die = hash_mix(f->salt ^ hash_mix(sector));
    switch (f->style) {
    case VFS_SIM_KEEP: return true;
    case VFS_SIM_PREFIX:
        if (i != f->data_cut)
            return i < f->data_cut;
        return f->in_order ? sector < f->sectors : die & 1;
    case VFS_SIM_SCATTER:
        if (die % 4 < 2)
            return die % 4;
        return i < (die >> 8) % (f->changes + 1);
    default: return false;
    }
}

/* A file's contents being put together; beyond `size` there may be data that no size covers. */
struct image {
    char *data;
    size_t size;
    size_t used;  /* bytes that are set */
    size_t room;
};

static void image_reach(struct image *m, size_t end)
{
    if (end > m->room) {
        m->room = end + end / 2;
        m->data = mem_realloc(m->data, m->room);
    }
    if (end > m->used) {
        memset(m->data + m->used, 0, end - m->used);
        m->used = end;
    }
}

static void image_write(struct image *m, const struct sim_change *c, const struct fate *f, size_t i)
{
    image_reach(m, (size_t)(c->at + c->len));
    for (uint64_t done = 0; done < c->len;) {
        uint64_t at = c->at + done, sector = at / VFS_SIM_SECTOR;
        uint64_t n = (sector + 1) * VFS_SIM_SECTOR - at;
        if (n > c->len - done)
            n = c->len - done;
        if (c->certain || sector_has(f, i, sector))
            memcpy(m->data + at, c->data + done, n);
        done += n;
    }
}

static void image_change(struct image *m, const struct sim_change *c, const struct fate *f,
                         size_t i)
{
    size_t end = (size_t)(c->at + c->len);
    bool sized = c->certain || i < f->size_cut;
    if (c->failed && f->style == VFS_SIM_KEEP)
        return;
    if (c->type == VFS_RECORD_TRUNCATE) {
        if (!sized)
            return;
        image_reach(m, end);
        memset(m->data + end, 0, m->used - end);
        m->size = end;
        return;
    }
    if (c->type == VFS_RECORD_WRITE)
        image_write(m, c, f, i);
    if (sized && end > m->size) {
        image_reach(m, end);
        m->size = end;
    }
}

static void draw_image(struct image *m, const struct sim_inode *n, enum vfs_sim_style style,
                       uint64_t seed)
{
    struct fate f = draw_fate(n, style, seed);
    bool behind = false;  /* a truncation that was lost */
    m->size = m->used = 0;
    image_reach(m, n->size);
    if (n->size)
        memcpy(m->data, n->data, n->size);
    m->size = n->size;
    for (size_t i = 0; i < n->changes; i++) {
        const struct sim_change *c = &n->change[i];
        behind |= c->type == VFS_RECORD_TRUNCATE && !c->certain && i >= f.size_cut;
        if (c->certain || !behind)
            image_change(m, c, &f, i);
    }
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Ordered: in each directory a number of its uncertain changes is drawn, and the first so many are
 * kept; a rename between two directories that one of them does not keep ends both. */
static void draw_ordered(const struct vfs_sim *s, struct rng *rng, bool *keep)
{
    size_t *left = mem_zalloc((s->dirs + 1) * sizeof *left);
    for (size_t i = 0; i < s->entries; i++)
        for (int k = 0; k < 2; k++)
            if (!s->entry[i].certain && (!k || s->entry[i].dir[1] != s->entry[i].dir[0]))
                left[s->entry[i].dir[k]]++;
    for (size_t d = 0; d < s->dirs; d++)
        left[d] = rng_below(rng, left[d] + 1);
    for (size_t i = 0; i < s->entries; i++) {
        const uint32_t *dir = s->entry[i].dir;
        if (s->entry[i].certain)
            continue;
        keep[i] = left[dir[0]] && left[dir[1]];
        for (int k = 0; k < 2; k++)
            if (!k || dir[1] != dir[0])
                left[dir[k]] = keep[i] ? left[dir[k]] - 1 : 0;
    }
    mem_free(left);
}

static void draw_names(const struct vfs_sim *s, const struct vfs_sim_choice *choice,
                       struct sim_names *out)
{
    struct rng rng = {hash_mix(choice->seed ^ 0x6e616d6573ull)};
    enum vfs_sim_style style = draw_style(choice->style, &rng);
    bool *keep = mem_zalloc(s->entries + 1);
    for (size_t i = 0; i < s->names.count; i++)
        sim_name_set(out, s->names.at[i].path, s->names.at[i].inode);
    if ((style == VFS_SIM_PREFIX || style == VFS_SIM_SCATTER) && !choice->strict)
        draw_ordered(s, &rng, keep);
    for (size_t i = 0; i < s->entries; i++) {
        bool kept = s->entry[i].certain;
        switch (style) {
        case VFS_SIM_LOSE: break;
        case VFS_SIM_PREFIX:
        case VFS_SIM_SCATTER: kept |= choice->strict ? rng_below(&rng, 2) : keep[i]; break;
        default: kept = true;
        }
        if (kept)
            sim_entry_apply(out, &s->entry[i]);
    }
    mem_free(keep);
}

/* Is the directory of `path` there? Its own ancestors were looked at when it was made. */
static bool reachable(const struct sim_names *made, const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (!slash)
        return true;
    memcpy(dir, path, (size_t)(slash - path));
    dir[slash - path] = '\0';
    return sim_name_find(made, dir) == SIM_DIR;
}

/* ---- the directory --------------------------------------------------------------------------- */

static int remove_below(const char *path, const struct stat *st, int flag, struct FTW *where)
{
    (void)st;
    (void)flag;
    return where->level ? remove(path) : 0;
}

static bool clear(const char *dir)
{
    if (!mkdir(dir, 0755))
        return true;
    return errno == EEXIST && !nftw(dir, remove_below, 16, FTW_DEPTH | FTW_PHYS);
}

static bool write_image(const char *path, const struct image *m)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return false;
    size_t done = 0;
    while (done < m->size) {
        ssize_t n = write(fd, m->data + done, m->size - done);
        if (n < 0 && errno != EINTR)
            break;
        done += n > 0 ? (size_t)n : 0;
    }
    int why = errno;
    close(fd);
    errno = why;
    return done == m->size;
}

/* One name of the state. `made` has the directories, and one path of each inode, made so far. */
static bool make_name(const struct vfs_sim *s, const struct sim_name *name,
                      const struct vfs_sim_choice *choice, const char *dir, const char **made,
                      struct image *image)
{
    char path[PATH_MAX], other[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", dir, name->path) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return false;
    }
    if (name->inode == SIM_DIR)
        return !mkdir(path, 0755);
    if (made[name->inode]) {
        int n = snprintf(other, sizeof other, "%s/%s", dir, made[name->inode]);
        return n < (int)sizeof other && !link(other, path);
    }
    made[name->inode] = name->path;
    draw_image(image, &s->inode[name->inode], choice->style,
               hash_mix(choice->seed + hash_mix(name->inode)));
    return write_image(path, image);
}

enum vs_status vfs_sim_build(struct vfs_sim *s, size_t cut, const struct vfs_sim_choice *choice,
                             const char *dir)
{
    struct sim_names names = {0}, made_dirs = {0};
    struct image image = {0};
    if (cut < s->first || cut > s->events) {
        errno = EINVAL;
        return VS_INVALID;
    }
    if (!sim_go(s, cut))
        return VS_CORRUPT;
    const char **made = mem_zalloc(s->inodes * sizeof *made);
    bool good = clear(dir);
    draw_names(s, choice, &names);
    for (size_t i = 0; good && i < names.count; i++) {
        const struct sim_name *name = &names.at[i];
        if (!reachable(&made_dirs, name->path))
            continue;
        good = make_name(s, name, choice, dir, made, &image);
        if (name->inode == SIM_DIR)
            sim_name_set(&made_dirs, name->path, SIM_DIR);
    }
    mem_free(image.data);
    mem_free(made);
    mem_free(names.at);
    mem_free(made_dirs.at);
    return good ? VS_OK : VS_IO;
}
