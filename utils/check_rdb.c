/* vecstore-check-rdb: checks a snapshot, prints it as commands, takes out what is damaged.
 *
 *     vecstore-check-rdb [--print] [--stats] [--files] [--digest] [--fix] [--segments DIR] FILE
 *
 * FILE is a manifest: dump.rdb, or a base of the journal. Every block of every file it names is
 * checked, then every partition is built as a start would build it. Exit 0: all is well, 1: it is
 * not, 2: wrong use.
 *
 *   --print   commands that make the same store, for redis-cli --pipe
 *   --stats   what is in it, by index and partition
 *   --files   the files a backup consists of, the manifest last
 *   --digest  one line that two copies have in common
 *   --fix     writes a manifest without the partitions that are damaged; the old one is kept beside
 *             it as FILE.damaged. Their elements are lost: a backup may still have them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "persist/effect.h"
#include "persist/le.h"
#include "persist/snapshot_restore.h"
#include "persist/vfs_path.h"
#include "store/attr_doc.h"

struct check {
    bool print, stats, files_only, digest, fix;
    const char *path;
    char *segments;
    struct snapshot_manifest manifest;
    struct segment_set *set;
    struct restore_files files;
    struct vs_store *store;
    bool **damaged;                  /* by index and partition; so many indexes: */
    uint32_t nindexes;
    size_t ndamaged;
    unsigned db;                     /* of the last command printed */
};

static void usage(void)
{
    fputs("usage: vecstore-check-rdb [--print] [--stats] [--files] [--digest] [--fix]\n"
          "                          [--segments DIR] FILE\n",
          stderr);
    exit(2);
}

static char *join(const char *a, const char *b, const char *c)
{
    struct buf text = {0};
    buf_printf(&text, "%s%s%s", a, b, c);
    char *out = mem_strndup(text.data, text.len);
    buf_release(&text);
    return out;
}

/* ---- where the segment files are ---- */

static bool has_file(const char *dir, const char *name)
{
    struct vfs_stat st;
    char *path = join(dir, "/", name);
    bool there = vfs_path_stat(&vfs_posix, path, &st, NULL) == VS_OK;
    mem_free(path);
    return there;
}

/* In FILE.d; for a base of the journal, which lies one directory deeper, in the *.d above that has
 * the first file. */
static char *find_segments(const struct check *c)
{
    char *beside = join(c->path, SNAPSHOT_DIR_SUFFIX, "");
    struct vfs_names names = {0};
    if (!c->manifest.nfiles || has_file(beside, c->manifest.file[0].name))
        return beside;
    const char *slash = strrchr(c->path, '/');
    char *here = slash ? mem_strndup(c->path, (size_t)(slash - c->path)) : mem_strndup(".", 1);
    char *above = join(here, "/..", "");
    char *found = NULL;
    if (vfs_path_list(&vfs_posix, above, &names, NULL) == VS_OK)
        for (size_t i = 0; i < names.count && !found; i++) {
            size_t len = strlen(names.name[i]);
            char *dir = join(above, "/", names.name[i]);
            if (len > 2 && strcmp(names.name[i] + len - 2, SNAPSHOT_DIR_SUFFIX) == 0 &&
                has_file(dir, c->manifest.file[0].name))
                found = dir;
            else
                mem_free(dir);
        }
    vfs_names_release(&names);
    mem_free(here);
    mem_free(above);
    if (!found)
        return beside;
    mem_free(beside);
    return found;
}

/* ---- checking ---- */

static bool check_blocks(struct check *c, const struct snapshot_part *p, struct buf *why)
{
    for (uint32_t i = 0; i < p->nsections; i++) {
        const struct snapshot_section *s = &p->section[i];
        if (restore_map(&c->files, s->file, why) != VS_OK)
            return false;
        struct region *r = c->files.region[s->file];
        if (s->offset <= r->size && s->bytes <= r->size - s->offset &&
            r->check(r, s->offset, s->bytes))
            continue;
        if (region_is_bad(r))
            r->describe(r, why);
        else
            buf_puts(why, "a section goes beyond the end of its file");
        return false;
    }
    return true;
}

/* Stands where partition 0 does not: every index has one. */
static struct vs_part_image empty_image(const struct graph_state *state)
{
    return (struct vs_part_image){.state = state};
}

/* As a start would build it. */
static bool check_part(struct check *c, const struct snapshot_index *x,
                       const struct snapshot_part *p, struct buf *why)
{
    struct restore_part part;
    struct graph_state nothing = {.entry = SLOT_NONE, .entry_level = -1};
    struct vs_part_image image[2] = {empty_image(&nothing)};
    struct vs_index *index;
    if (!check_blocks(c, p, why))
        return false;
    size_t n = p->number ? 1 : 0;
    enum vs_status status = restore_part(&c->files, x, p, &part, why);
    image[n] = part.image;
    if (status == VS_OK)
        status = vs_restore_new(c->store, x->db, x->key, x->key_len, &x->options, image, n + 1,
                                &index, why);
    if (status == VS_OK) {
        part.image.saved = NULL;
        status = vs_verify_index(index, why);
        vs_restore_discard(index);
        vs_settle(c->store, 60000);
    }
    restore_part_release(&part);
    return status == VS_OK;
}

static void check_all(struct check *c)
{
    c->nindexes = c->manifest.nindexes;
    c->damaged = mem_zalloc((c->nindexes + 1) * sizeof(bool *));
    for (uint32_t i = 0; i < c->manifest.nindexes; i++) {
        const struct snapshot_index *x = &c->manifest.index[i];
        c->damaged[i] = mem_zalloc(x->nparts);
        for (uint32_t k = 0; k < x->nparts; k++) {
            struct buf why = {0};
            if (!check_part(c, x, &x->part[k], &why)) {
                c->damaged[i][k] = true;
                c->ndamaged++;
                fprintf(stderr, "partition %" PRIu32 " of '%.*s' (database %u): %.*s\n",
                        x->part[k].number, (int)x->key_len, x->key, x->db, (int)why.len, why.data);
            }
            buf_release(&why);
        }
    }
}

/* ---- printing as commands ---- */

static void put_effect(struct check *c, const struct vs_effect *e)
{
    struct buf out = {0};
    if (e->db != c->db)
        effect_encode_select(e->db, &out);
    c->db = e->db;
    effect_encode(e, &out);
    fwrite(out.data, 1, out.len, stdout);
    buf_release(&out);
}

struct printer {
    struct check *c;
    struct vs_effect effect;         /* ADD */
    struct vec_codec codec;
    enum vec_originals originals;    /* VEC_ORIG_NONE: rows are all there is */
    size_t original_bytes;
    float *vector;
};

static void put_element(struct printer *p, const uint8_t *id, const void *row, const void *original,
                        const void *attributes, size_t attributes_len, uint64_t deadline_ms)
{
    size_t head = id[0] < 255 ? 1 : 5;
    if (original)
        vec_original_load(p->originals, original, p->codec.dim, p->vector);
    else
        vec_decode(&p->codec, row, p->vector);
    p->effect.id = id + head;
    p->effect.id_len = head == 1 ? id[0] : le32(id + 1);
    p->effect.attributes = attributes;
    p->effect.attributes_len = attributes_len;
    p->effect.deadline_ms = deadline_ms;
    put_effect(p->c, &p->effect);
}

static void put_small(struct printer *p, const struct vs_part_image *im)
{
    if (!im->small_bytes)
        return;
    const uint8_t *at = im->pack->base + im->small;
    uint32_t n = le32(at);
    const uint8_t *rows = at + pad_to(8 + (size_t)n * 9, 16);
    const uint8_t *originals = rows + (size_t)n * p->codec.row_bytes;
    const uint8_t *id = originals + (size_t)n * p->original_bytes;
    const uint8_t *attributes = id;
    const uint8_t *deadlines = im->pack->base + im->small + im->small_bytes - (size_t)n * 8;
    for (uint32_t i = 0; i < n; i++)
        attributes += attributes[0] < 255 ? 1u + attributes[0] : 5u + le32(attributes + 1);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t len = le32(attributes);
        bool has = len != UINT32_MAX;
        put_element(p, id, rows + (size_t)i * p->codec.row_bytes,
                    p->original_bytes ? originals + (size_t)i * p->original_bytes : NULL,
                    has ? attributes + 4 : NULL, has ? len : 0, im->deadlines ? le64(deadlines + i * 8) : 0);
        id += id[0] < 255 ? 1u + id[0] : 5u + le32(id + 1);
        attributes += 4 + (has ? len : 0);
    }
}

static const uint8_t *find_attributes(const struct vs_part_image *im, uint32_t slot)
{
    const uint8_t *base = im->attrs_bytes ? im->g->base + im->attrs : NULL;
    uint64_t lo = 0, hi = base ? le64(base) : 0, n = hi;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (le32(base + 8 + mid * 16) < slot)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == n || le32(base + 8 + lo * 16) != slot)
        return NULL;
    return base + le64(base + 16 + lo * 16);
}

/* In the order of slots: those of the table of ids, which has the living alone. */
static void put_large(struct printer *p, const struct vs_part_image *im)
{
    uint32_t slots = im->state->slots;
    uint8_t *alive = mem_zalloc(slots + 1);
    size_t ended = 0; /* deadlines before this slot */
    for (size_t i = 0; i < im->alive; i++)
        alive[le32(im->g->base + im->idtable + i * 16 + 8)] = 1;
    for (uint32_t slot = 0; slot < slots; slot++) {
        if (!alive[slot])
            continue;
        uint32_t chunk = slot / CHUNK_SLOTS, place = slot % CHUNK_SLOTS;
        const struct vs_part_group *g = &im->groups[chunk / im->group_chunks];
        uint32_t in = chunk % im->group_chunks;
        const uint8_t *base = g->v->base;
        const uint8_t *row = base + g->rows + in * part_bytes(p->codec.row_bytes) +
                             (size_t)place * p->codec.row_bytes;
        const uint8_t *original = base + g->originals + in * part_bytes(p->original_bytes) +
                                  (size_t)place * p->original_bytes;
        uint64_t id = le64(base + g->ids + ((size_t)in * CHUNK_SLOTS + place) * 8);
        const uint8_t *attributes = find_attributes(im, slot);
        size_t len;
        const void *text = attr_text(attributes, &len);
        const uint8_t *ends = im->g->base + im->ends + ended * 16;
        while (ended < im->nends && le32(ends) < slot) /* of the dead */
            ends = im->g->base + im->ends + ++ended * 16;
        bool has = ended < im->nends && le32(ends) == slot;
        put_element(p, base + g->ids + id, row, p->original_bytes ? original : NULL, text, len, has ? le64(ends + 8) : 0);
        ended += has;
    }
    mem_free(alive);
}

static void print_part(struct printer *p, const struct snapshot_index *x,
                       const struct snapshot_part *sp)
{
    struct restore_part part;
    struct buf why = {0};
    if (restore_part(&p->c->files, x, sp, &part, &why) == VS_OK) {
        if (sp->flags & SNAPSHOT_SMALL)
            put_small(p, &part.image);
        else
            put_large(p, &part.image);
    }
    restore_part_release(&part);
    buf_release(&why);
}

static void print_pins(struct check *c, const struct snapshot_index *x)
{
    for (uint32_t k = 0; k < x->nparts; k++) {
        char name[24];
        struct vs_effect pin = {.kind = VS_PIN, .db = x->db, .key = x->key, .key_len = x->key_len,
                                .id = name, .on = true};
        if (!(x->part[k].flags & SNAPSHOT_PINNED))
            continue;
        pin.id_len = (size_t)snprintf(name, sizeof(name), "%" PRIu32, x->part[k].number);
        put_effect(c, &pin);
    }
}

/* A partition that was dropped is dropped again, before anything could be placed in it. */
static void print_drops(struct check *c, const struct snapshot_index *x)
{
    for (uint32_t number = 0, k = 0; number < x->options.partitions; number++) {
        char name[24];
        if (k < x->nparts && x->part[k].number == number) {
            k++;
            continue;
        }
        struct vs_effect drop = {.kind = VS_DROP, .db = x->db, .key = x->key,
                                 .key_len = x->key_len, .id = name,
                                 .id_len = (size_t)snprintf(name, sizeof(name), "%" PRIu32,
                                                            number)};
        put_effect(c, &drop);
    }
}

/* The last of a key's commands: whoever takes them may have a clock that is past it. */
static void print_deadline(struct check *c, const struct snapshot_index *x)
{
    struct vs_effect deadline = {.kind = VS_KEY_DEADLINE, .db = x->db, .key = x->key, .key_len = x->key_len,
                                 .deadline_ms = x->deadline_ms};
    if (x->deadline_ms)
        put_effect(c, &deadline);
}

static void print_all(struct check *c)
{
    for (uint32_t i = 0; i < c->manifest.nindexes; i++) {
        const struct snapshot_index *x = &c->manifest.index[i];
        const struct vs_index_options *o = &x->options;
        struct vs_effect create = {.kind = VS_CREATE, .db = x->db, .key = x->key,
                                   .key_len = x->key_len, .options = o};
        struct printer p = {.c = c,
                            .effect = {.kind = VS_ADD, .db = x->db, .key = x->key,
                                       .key_len = x->key_len, .dim = o->dim},
                            .originals = vec_type_holds(o->type, o->originals) ? VEC_ORIG_NONE
                                                                               : o->originals};
        vec_codec_init(&p.codec, o->type, o->metric, o->dim);
        p.original_bytes = vec_original_bytes(p.originals, o->dim);
        p.vector = mem_alloc(o->dim * sizeof(float));
        p.effect.vector = p.vector;
        put_effect(c, &create);
        print_drops(c, x);
        print_pins(c, x);
        for (uint32_t k = 0; k < x->nparts; k++)
            if (!c->damaged[i][k])
                print_part(&p, x, &x->part[k]);
        print_deadline(c, x);
        mem_free(p.vector);
    }
}

/* ---- the other outputs ---- */

static void print_files(const struct check *c)
{
    for (uint32_t i = 0; i < c->manifest.nfiles; i++)
        printf("%s/%s\n", c->segments, c->manifest.file[i].name);
    printf("%s\n", c->path);
}

static void print_digest(const struct check *c)
{
    const struct snapshot_manifest *m = &c->manifest;
    uint64_t files = 0;
    for (uint32_t i = 0; i < m->nfiles; i++)
        files += hash_mix(m->file[i].sums.footer_sum);
    printf("snapshot %016" PRIx64 " record %" PRIu64 " elements %" PRIu64 " records %016" PRIx64
           " graphs %016" PRIx64 " files %016" PRIx64 "\n",
           m->id, m->lsn, m->elements, m->records_digest, m->graph_digest, files);
}

static void print_stats(const struct check *c)
{
    const struct snapshot_manifest *m = &c->manifest;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < m->nfiles; i++)
        bytes += m->file[i].sums.size;
    printf("elements %" PRIu64 ", indexes %" PRIu32 ", files %" PRIu32 " (%" PRIu64
           " bytes), as of record %" PRIu64 ", cut %" PRIu64 "\n",
           m->elements, m->nindexes, m->nfiles, bytes, m->lsn, m->cut);
    for (uint32_t i = 0; i < m->nindexes; i++) {
        const struct snapshot_index *x = &m->index[i];
        printf("  database %u '%.*s': dim %" PRIu32 ", %s\n", x->db, (int)x->key_len, x->key,
               x->options.dim, vec_type_name(x->options.type));
        for (uint32_t k = 0; k < x->nparts; k++) {
            const struct snapshot_part *p = &x->part[k];
            printf("    partition %" PRIu32 ": %" PRIu64 " elements, %" PRIu64 " with attributes, "
                   "sequence %" PRIu64 ", linked %" PRIu64 " to %" PRIu64 "%s%s\n",
                   p->number, p->alive, p->attributes, p->sequence, p->linked, p->linked_sequence,
                   p->flags & SNAPSHOT_SMALL ? ", small" : "", c->damaged[i][k] ? ", DAMAGED" : "");
        }
    }
}

/* ---- fixing ---- */

/* The manifest without the damaged; the files of no partition stay named, which harms nothing but
 * those that are not there: they are left out. */
static void leave_out(struct check *c, struct snapshot_manifest *m)
{
    uint32_t n = 0;
    *m = c->manifest;
    for (uint32_t i = 0; i < m->nindexes; i++) {
        struct snapshot_index *x = &m->index[i];
        uint32_t kept = 0;
        for (uint32_t k = 0; k < x->nparts; k++) {
            if (!c->damaged[i][k]) {
                x->part[kept++] = x->part[k];
                continue;
            }
            mem_free(x->part[k].section);
            if (k == 0) /* an index has its first partition, be it empty */
                x->part[kept++] = (struct snapshot_part){.flags = SNAPSHOT_SMALL,
                                                         .entry = SLOT_NONE,
                                                         .entry_level = -1};
        }
        x->nparts = kept;
        m->index[n++] = *x;
    }
    m->nindexes = n;
}

/* Files are numbered anew, those in use alone. */
static void leave_out_files(struct snapshot_manifest *m)
{
    uint32_t *number = mem_alloc((m->nfiles + 1) * sizeof(*number)), n = 0;
    memset(number, 0xFF, (m->nfiles + 1) * sizeof(*number));
    struct snapshot_file *file = mem_alloc((m->nfiles + 1) * sizeof(*file));
    for (uint32_t i = 0; i < m->nindexes; i++)
        for (uint32_t k = 0; k < m->index[i].nparts; k++) {
            struct snapshot_part *p = &m->index[i].part[k];
            for (uint32_t s = 0; s < p->nsections; s++) {
                uint32_t *f = &number[p->section[s].file];
                if (*f == UINT32_MAX) {
                    file[n] = m->file[p->section[s].file];
                    *f = n++;
                }
                p->section[s].file = *f;
            }
        }
    m->file = file; /* the names stay the other list's */
    m->nfiles = n;
    mem_free(number);
}

static int fix(struct check *c)
{
    struct vfs_error err;
    struct snapshot_manifest m;
    struct buf b = {0};
    char *kept = join(c->path, ".damaged", "");
    leave_out(c, &m);
    leave_out_files(&m);
    m.track.known = false; /* not all of what the history says is there */
    bool encoded = snapshot_manifest_encode(&m, &b);
    mem_free(m.file);
    if (!encoded) {
        mem_free(kept);
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    enum vs_status status = vfs_path_link(&vfs_posix, c->path, kept, &err);
    if (status == VS_OK || status == VS_EXISTS)
        status = vfs_path_store(&vfs_posix, c->path, b.data, b.len, true, &err);
    if (status == VS_OK)
        printf("%zu damaged partitions are left out of %s; the manifest with them is %s\n",
               c->ndamaged, c->path, kept);
    else
        fprintf(stderr, "%s\n", err.text);
    buf_release(&b);
    mem_free(kept);
    return status == VS_OK ? 0 : 1;
}

/* ---- main ---- */

static void read_options(struct check *c, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--print") == 0)
            c->print = true;
        else if (strcmp(a, "--stats") == 0)
            c->stats = true;
        else if (strcmp(a, "--files") == 0)
            c->files_only = true;
        else if (strcmp(a, "--digest") == 0)
            c->digest = true;
        else if (strcmp(a, "--fix") == 0)
            c->fix = true;
        else if (strcmp(a, "--segments") == 0 && i + 1 < argc)
            c->segments = mem_strndup(argv[i + 1], strlen(argv[i + 1])), i++;
        else if (a[0] == '-' || c->path)
            usage();
        else
            c->path = a;
    }
    if (!c->path)
        usage();
}

static int report(struct check *c)
{
    if (c->print)
        print_all(c);
    if (c->stats)
        print_stats(c);
    if (c->digest)
        print_digest(c);
    if (c->ndamaged && c->fix)
        return fix(c);
    if (c->ndamaged) {
        fprintf(stderr, "%zu partitions of %s are damaged; 'vecstore-check-rdb --fix %s' leaves "
                "them out\n", c->ndamaged, c->path, c->path);
        return 1;
    }
    if (!c->print && !c->stats && !c->digest)
        printf("%s is good: %" PRIu64 " elements in %" PRIu32 " indexes, %" PRIu32 " files\n",
               c->path, c->manifest.elements, c->manifest.nindexes, c->manifest.nfiles);
    return 0;
}

static void release(struct check *c)
{
    for (uint32_t i = 0; c->damaged && i < c->nindexes; i++)
        mem_free(c->damaged[i]);
    mem_free(c->damaged);
    if (c->files.manifest)
        restore_files_release(&c->files);
    if (c->store)
        vs_close(c->store);
    segment_set_unref(c->set);
    snapshot_manifest_release(&c->manifest);
    mem_free(c->segments);
}

static int run(struct check *c)
{
    struct vs_options options = {.databases = c->manifest.databases};
    if (!c->segments)
        c->segments = find_segments(c);
    if (c->files_only) {
        print_files(c);
        return 0;
    }
    c->set = segment_set_new();
    if (vs_open(&options, &c->store) != VS_OK ||
        restore_files_init(&c->files, &vfs_posix, c->segments, &c->manifest, c->set) != VS_OK) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    check_all(c);
    return report(c);
}

int main(int argc, char **argv)
{
    struct check c = {0};
    struct buf why = {0};
    int code = 1;
    read_options(&c, argc, argv);
    log_set_level(LOG_NOTHING);
    if (snapshot_manifest_load(&vfs_posix, c.path, &c.manifest, &why) == VS_OK)
        code = run(&c);
    else
        fprintf(stderr, "%.*s\nA manifest that is damaged cannot be repaired: use another copy, or "
                "a backup.\n", (int)why.len, why.data);
    release(&c);
    buf_release(&why);
    fflush(stdout);
    return ferror(stdout) ? 1 : code;
}
