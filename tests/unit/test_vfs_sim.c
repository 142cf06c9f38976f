/* The log of file operations and the power cuts simulated from it: what was synced is always there,
 * what was not is lost in some state, and a program that forgets a sync is caught. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "lib/run.h"
#include "lib/vfs_sim.h"
#include "persist/vfs_fault.h"
#include "persist/vfs_path.h"

#define SEEDS 200

static uint64_t seed;
static char base[128], root[160], disk[160];
static struct vfs_record *rec;
static struct vfs v;
static struct vfs_sim *sim;

static const char *at(const char *where, const char *name)
{
    static _Thread_local char path[8][256];
    static _Thread_local unsigned next;
    char *out = path[next++ % 8];
    snprintf(out, sizeof path[0], "%s/%s", where, name);
    return out;
}

static void record(const struct vfs *inner)
{
    struct vfs_error err;
    vfs_record_free(rec);
    assert_int_equal(vfs_record_new(inner, root, NULL, &rec, &err), VS_OK);
    v = vfs_record_vfs(rec);
}

static int set_up(void **state)
{
    (void)state;
    if (run_make_directory("test_vfs_sim", base, sizeof base) != 0)
        return -1;
    snprintf(root, sizeof root, "%s/root", base);
    snprintf(disk, sizeof disk, "%s/disk", base);
    if (vfs_mkdir(&vfs_posix, root))
        return -1;
    rec = NULL;
    record(&vfs_posix);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vfs_sim_free(sim);
    vfs_record_free(rec);
    sim = NULL;
    rec = NULL;
    return run_remove_directory(base);
}

static void simulate(void)
{
    char why[128] = "";
    size_t len;
    const void *log = vfs_record_log(rec, &len);
    vfs_sim_free(sim);
    sim = NULL;
    if (vfs_sim_new(log, len, &sim, why, sizeof why))
        fail_msg("%s", why);
}

static void build(size_t cut, uint64_t choice_seed, bool strict, enum vfs_sim_style style)
{
    struct vfs_sim_choice choice = {choice_seed, strict, style};
    assert_int_equal(vfs_sim_build(sim, cut, &choice, disk), VS_OK);
}

/* A file of the state as a string, or NULL. Borrowed until the next call. */
static const char *held(const char *name)
{
    static char text[1 << 16];
    struct buf b = {0};
    const char *found = NULL;
    if (!vfs_path_load(&vfs_posix, at(disk, name), sizeof text - 1, &b, NULL)) {
        memcpy(text, b.data, b.len);
        text[b.len] = '\0';
        found = text;
    }
    buf_release(&b);
    return found;
}

static bool holds(const char *name, const char *text)
{
    const char *h = held(name);
    return h && !strcmp(h, text);
}

static uint64_t held_size(const char *name)
{
    struct vfs_stat st;
    return vfs_path_stat(&vfs_posix, at(disk, name), &st, NULL) ? UINT64_MAX : st.size;
}

/* A new file with a durable name, open. */
static struct vfs_file make(const char *name)
{
    struct vfs_file f = {0};
    assert_int_equal(vfs_file_open(&f, &v, at(root, name), VFS_RDWR | VFS_CREATE, NULL), VS_OK);
    assert_int_equal(vfs_path_sync_parent(&v, at(root, name), NULL), VS_OK);
    return f;
}

static void append(struct vfs_file *f, const char *text)
{
    assert_int_equal(vfs_file_append(f, text, strlen(text), NULL), VS_OK);
}

static void sync_file(struct vfs_file *f)
{
    assert_int_equal(vfs_file_sync(f, true, NULL), VS_OK);
}

static void test_synced_and_not(void **state)
{
    (void)state;
    struct vfs_file f = make("a");
    append(&f, "safe");
    sync_file(&f);
    append(&f, " and gone");
    vfs_file_close(&f);
    simulate();
    size_t last = vfs_sim_last(sim);
    build(last, 1, false, VFS_SIM_LOSE);
    assert_true(holds("a", "safe"));
    build(last, 1, false, VFS_SIM_KEEP);
    assert_true(holds("a", "safe and gone"));
    build(last, 1, false, VFS_SIM_HOLES);
    assert_int_equal(held_size("a"), 13);
    assert_true(holds("a", "safe"));
    unsigned lost = 0, kept = 0;
    for (uint64_t i = 0; i < SEEDS; i++) {
        build(last, seed + i, i & 1, VFS_SIM_ANY);
        const char *h = held("a");
        assert_non_null(h);
        assert_memory_equal(h, "safe", 4);
        lost += !strcmp(h, "safe");
        kept += !strcmp(h, "safe and gone");
    }
    assert_true(lost > SEEDS / 10 && kept > SEEDS / 10);
    /* Before the sync, all may be gone; before the name's sync, the file. */
    build(vfs_sim_first(sim), 1, false, VFS_SIM_KEEP);
    assert_null(held("a"));
    build(vfs_sim_first(sim) + 1, 1, false, VFS_SIM_LOSE);
    assert_null(held("a"));
    build(vfs_sim_first(sim) + 3, 1, false, VFS_SIM_LOSE);
    assert_true(holds("a", ""));
}

/* What a long write that is not synced may leave, sector by sector. */
static void test_torn(void **state)
{
    (void)state;
    static char was[8192], fresh[6000];
    struct vfs_file f = make("a");
    memset(was, 'o', sizeof was);
    memset(fresh, 'n', sizeof fresh);
    assert_int_equal(vfs_file_write(&f, 0, was, sizeof was, NULL), VS_OK);
    sync_file(&f);
    assert_int_equal(vfs_file_write(&f, 100, fresh, sizeof fresh, NULL), VS_OK);
    vfs_file_close(&f);
    simulate();
    unsigned whole = 0, none = 0, prefix = 0, other = 0;
    for (uint64_t i = 0; i < 3 * SEEDS; i++) {
        build(vfs_sim_last(sim), seed + i, false, VFS_SIM_ANY);
        assert_int_equal(held_size("a"), sizeof was);
        const char *h = held("a");
        unsigned turns = 0, sectors = 0, had = 0;
        bool before = true;
        for (size_t begin = 0; begin < 6100; begin += VFS_SIM_SECTOR, sectors++) {
            size_t from = begin < 100 ? 100 : begin;
            size_t to = begin + VFS_SIM_SECTOR < 6100 ? begin + VFS_SIM_SECTOR : 6100;
            bool is_new = h[from] == 'n';
            for (size_t k = from; k < to; k++)
                assert_int_equal(h[k], is_new ? 'n' : 'o');
            turns += is_new != before;
            had += is_new;
            before = is_new;
        }
        for (size_t k = 0; k < sizeof was; k++)
            if (k < 100 || k >= 6100)
                assert_int_equal(h[k], 'o');
        whole += had == sectors;
        none += !had;
        prefix += had && had < sectors && turns == 1;
        other += turns > 1;
    }
    print_message("whole %u, none %u, torn %u, scattered %u\n", whole, none, prefix, other);
    assert_true(whole && none && prefix && other);
}

/* Small appends to one sector come in their order: a later one never without those before it. */
static void test_appends_in_order(void **state)
{
    (void)state;
    struct vfs_file f = make("a");
    char want[] = "0123456789";
    unsigned seen[11] = {0};
    for (int i = 0; i < 10; i++) {
        char one[2] = {want[i], '\0'};
        append(&f, one);
    }
    vfs_file_close(&f);
    simulate();
    for (uint64_t i = 0; i < 5 * SEEDS; i++) {
        build(vfs_sim_last(sim), seed + i, true, VFS_SIM_ANY);
        const char *h = held("a");
        size_t n = strlen(h);
        assert_memory_equal(h, want, n);
        seen[n]++;
    }
    for (int n = 0; n <= 10; n++)
        assert_true(seen[n]);
}

static void store_unsynced(const char *name, const char *text)
{
    struct vfs_file f = {0};
    assert_int_equal(vfs_file_open(&f, &v, at(root, name), VFS_RDWR | VFS_CREATE, NULL), VS_OK);
    append(&f, text);
    sync_file(&f);
    vfs_file_close(&f);
}

static void test_rename(void **state)
{
    (void)state;
    assert_int_equal(vfs_path_store(&v, at(root, "m"), "old", 3, true, NULL), VS_OK);
    store_unsynced("m.new", "new");
    assert_int_equal(vfs_rename(&v, at(root, "m.new"), at(root, "m")), 0);
    simulate();
    for (int strict = 0; strict < 2; strict++) {
        unsigned old = 0, fresh = 0, aside = 0;
        for (uint64_t i = 0; i < SEEDS; i++) {
            build(vfs_sim_last(sim), seed + i, strict, VFS_SIM_ANY);
            old += holds("m", "old");
            fresh += holds("m", "new");
            aside += held("m.new") != NULL;
            assert_true(holds("m", "old") || holds("m", "new"));
            assert_false(holds("m", "new") && held("m.new"));
        }
        assert_true(old && fresh && aside);
    }
    assert_int_equal(vfs_path_sync_parent(&v, at(root, "m"), NULL), VS_OK);
    simulate();
    for (uint64_t i = 0; i < SEEDS; i++) {
        build(vfs_sim_last(sim), seed + i, i & 1, VFS_SIM_ANY);
        assert_true(holds("m", "new"));
        assert_null(held("m.new"));
    }
}

/* Ordered: the names of a directory come as they were made. Strict: in any choice. */
static void test_names(void **state)
{
    (void)state;
    struct vfs_file gone = make("gone");
    vfs_file_close(&gone);
    assert_int_equal(vfs_unlink(&v, at(root, "gone")), 0);
    for (int i = 0; i < 4; i++)
        store_unsynced((char[]){(char)('a' + i), '\0'}, "x");
    assert_int_equal(vfs_link(&v, at(root, "a"), at(root, "e")), 0);
    simulate();
    unsigned seen = 0, seen_strict = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        build(vfs_sim_last(sim), seed + i, i & 1, VFS_SIM_ANY);
        unsigned bits = held("gone") == NULL;
        for (int k = 0; k < 5; k++)
            bits |= (unsigned)(held((char[]){(char)('a' + k), '\0'}) != NULL) << (k + 1);
        if (i & 1) {
            seen_strict += (bits & (bits + 1)) != 0;
        } else {
            assert_int_equal(bits & (bits + 1), 0);
            seen |= 1u << (bits ? 32 - __builtin_clz(bits) : 0);
        }
    }
    assert_int_equal(seen, 0x7f);
    assert_true(seen_strict > 100);
}

static void test_directories(void **state)
{
    (void)state;
    assert_int_equal(vfs_mkdir(&v, at(root, "d")), 0);
    store_unsynced("d/x", "x");
    assert_int_equal(vfs_path_sync_parent(&v, at(root, "d/x"), NULL), VS_OK);
    simulate();
    size_t without = vfs_sim_last(sim);
    build(without, seed, true, VFS_SIM_LOSE);
    assert_null(held("d/x"));
    assert_int_equal(vfs_path_sync_parent(&v, at(root, "d"), NULL), VS_OK);
    assert_int_equal(vfs_rename(&v, at(root, "d"), at(root, "e")), -1);
    assert_int_equal(errno, EXDEV);
    assert_int_equal(vfs_rename(&v, at(root, "d/x"), at(base, "x")), -1);
    assert_int_equal(errno, EXDEV);
    assert_int_equal(vfs_rename(&v, at(root, "d/x"), at(root, "x")), 0);
    simulate();
    unsigned here = 0, there = 0;
    for (uint64_t i = 0; i < SEEDS; i++) {
        build(vfs_sim_last(sim), seed + i, i & 1, VFS_SIM_ANY);
        bool a = holds("d/x", "x"), b = holds("x", "x");
        assert_true(a != b);
        here += a;
        there += b;
    }
    assert_true(here && there);
    build(without, seed, true, VFS_SIM_LOSE);
    assert_null(held("d/x"));
}

static void test_truncate(void **state)
{
    (void)state;
    struct vfs_file f = make("a");
    append(&f, "long and synced");
    sync_file(&f);
    assert_int_equal(vfs_file_truncate(&f, 4, NULL), VS_OK);
    append(&f, "er");
    assert_int_equal(vfs_file_allocate(&f, 0, 2000, false, NULL), VS_OK);
    simulate();
    unsigned old = 0, cut = 0;
    for (uint64_t i = 0; i < SEEDS; i++) {
        build(vfs_sim_last(sim), seed + i, false, VFS_SIM_ANY);
        const char *h = held("a");
        old += !strcmp(h, "long and synced");
        cut += !strcmp(h, "long");
        assert_true(!strcmp(h, "long and synced") || !strcmp(h, "long") || !strcmp(h, "longer"));
    }
    assert_true(old && cut);
    sync_file(&f);
    vfs_file_close(&f);
    assert_int_equal(vfs_file_open(&f, &v, at(root, "a"), VFS_RDWR | VFS_TRUNC, NULL), VS_OK);
    vfs_file_close(&f);
    simulate();
    build(vfs_sim_last(sim), seed, false, VFS_SIM_LOSE);
    assert_int_equal(held_size("a"), 2000);
    assert_true(holds("a", "longer"));
    build(vfs_sim_last(sim), seed, false, VFS_SIM_KEEP);
    assert_int_equal(held_size("a"), 0);
}

/* After a sync that failed, a later one covers only what was written since. */
static void test_failed_sync(void **state)
{
    (void)state;
    struct vfs_fault *fault = vfs_fault_new(&vfs_posix);
    struct vfs faulty = vfs_fault_vfs(fault);
    record(&faulty);
    struct vfs_file f = make("a");
    append(&f, "1");
    sync_file(&f);
    append(&f, "2");
    vfs_fault_set(fault, VFS_OP_FDATASYNC, 1, VFS_FAULT_EIO, false);
    assert_int_equal(vfs_file_sync(&f, true, NULL), VS_IO);
    sync_file(&f);
    append(&f, "3");
    vfs_fault_set(fault, VFS_OP_FDATASYNC, 1, VFS_FAULT_EINTR, false);
    sync_file(&f);
    vfs_fault_set(fault, VFS_OP_WRITE, 1, VFS_FAULT_TORN, false);
    assert_int_equal(vfs_file_append(&f, "xxxx", 4, NULL), VS_IO);
    sync_file(&f);
    vfs_file_close(&f);
    simulate();
    unsigned lost = 0, kept = 0, torn = 0;
    for (uint64_t i = 0; i < SEEDS; i++) {
        build(vfs_sim_last(sim), seed + i, false, VFS_SIM_ANY);
        const char *h = held("a");
        assert_true(h[0] == '1' && h[2] == '3');
        lost += h[1] != '2';
        kept += h[1] == '2';
        torn += h[3] == 'x';
    }
    assert_true(lost && kept && torn);
    vfs_record_free(rec);
    rec = NULL;
    vfs_fault_free(fault);
}

/* Faults around the log: a sync that is forgotten is none. */
static void test_forgotten_sync(void **state)
{
    (void)state;
    struct vfs recorded = v;
    struct vfs_fault *fault = vfs_fault_new(&recorded);
    v = vfs_fault_vfs(fault);
    struct vfs_file f = make("a");
    append(&f, "1");
    vfs_fault_set(fault, VFS_OP_FDATASYNC, 1, VFS_FAULT_FORGET, false);
    sync_file(&f);
    vfs_file_close(&f);
    simulate();
    build(vfs_sim_last(sim), seed, false, VFS_SIM_LOSE);
    assert_true(holds("a", ""));
    vfs_fault_free(fault);
}

/* What lay there at the start is safe; so is the log's order over several runs of a program. */
static void test_start(void **state)
{
    (void)state;
    assert_int_equal(vfs_path_mkdir(&vfs_posix, at(root, "d"), NULL), VS_OK);
    assert_int_equal(vfs_path_store(&vfs_posix, at(root, "d/a"), "there", 5, false, NULL), VS_OK);
    assert_int_equal(vfs_path_store(&vfs_posix, at(root, "b"), "", 0, false, NULL), VS_OK);
    struct vfs_error err;
    struct vfs_record *none = NULL;
    assert_int_equal(vfs_record_new(&vfs_posix, at(base, "no"), NULL, &none, &err), VS_NOTFOUND);
    vfs_record_free(rec);
    rec = NULL;
    assert_int_equal(vfs_record_new(&vfs_posix, root, at(base, "log"), &rec, &err), VS_OK);
    v = vfs_record_vfs(rec);
    size_t len;
    assert_null(vfs_record_log(rec, &len));
    char here[512];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(root), 0);
    struct vfs_file f = {0};
    assert_int_equal(vfs_file_open(&f, &v, "d/../d//./a", VFS_RDWR, &err), VS_OK);
    assert_int_equal(vfs_file_append(&f, "!", 1, &err), VS_OK);
    assert_int_equal(vfs_file_sync(&f, false, &err), VS_OK);
    vfs_file_close(&f);
    assert_int_equal(vfs_path_store(&v, "c", "c", 1, true, &err), VS_OK);
    assert_int_equal(vfs_path_store(&v, at(base, "outside"), "c", 1, true, &err), VS_OK);
    assert_int_equal(chdir(here), 0);
    vfs_record_mark(rec, 7);
    char why[128];
    assert_int_equal(vfs_sim_open(at(base, "log"), &sim, why, sizeof why), VS_OK);
    build(vfs_sim_first(sim), seed, true, VFS_SIM_LOSE);
    assert_true(holds("d/a", "there"));
    assert_true(holds("b", ""));
    build(vfs_sim_last(sim), seed, true, VFS_SIM_LOSE);
    assert_true(holds("d/a", "there!"));
    assert_true(holds("c", "c"));
    assert_null(held("outside"));
    uint64_t value;
    assert_int_equal(vfs_sim_marks(sim, vfs_sim_last(sim), UINT64_MAX, &value), 1);
    assert_int_equal(value, 7);
    assert_int_equal(vfs_sim_marks(sim, vfs_sim_last(sim) - 1, UINT64_MAX, &value), 0);
    assert_int_equal(vfs_sim_event(sim, vfs_sim_last(sim) - 1)->type, VFS_RECORD_MARK);
    assert_int_equal(vfs_sim_time(sim, vfs_sim_last(sim)),
                     vfs_sim_event(sim, vfs_sim_last(sim) - 1)->time_ns);
}

/* Every prefix of a log is one, or is refused; every flipped byte is found. */
static void test_damaged_log(void **state)
{
    (void)state;
    assert_int_equal(vfs_path_store(&v, at(root, "m"), "text", 4, true, NULL), VS_OK);
    vfs_record_mark(rec, 1);
    size_t len, events = 0;
    const char *log = vfs_record_log(rec, &len);
    char why[128], *copy = malloc(len);
    for (size_t n = 0; n <= len; n++) {
        struct vfs_sim *s = NULL;
        memcpy(copy, log, n);
        if (vfs_sim_new(copy, n, &s, why, sizeof why) == VS_OK) {
            assert_true(vfs_sim_last(s) >= events);
            events = vfs_sim_last(s);
        }
        vfs_sim_free(s);
    }
    assert_int_equal(events, vfs_record_count(rec));
    memcpy(copy, log, len);
    for (size_t i = 0; i < len; i++) {
        struct vfs_sim *s = NULL;
        copy[i] ^= 1;
        /* A length that leads past the end looks like an event that was cut off. */
        if (vfs_sim_new(copy, len, &s, why, sizeof why) == VS_OK)
            assert_true(vfs_sim_last(s) < events);
        vfs_sim_free(s);
        copy[i] = log[i];
    }
    free(copy);
}

/* A program as ours: a journal of 8-byte numbers, synced in groups, and a manifest that names the
 * journal; now and then a new journal. `careless`: 1 forgets to sync the journal, 2 the file
 * aside, 3 the directory. */
static void run_program(unsigned rounds, int careless, struct rng *rng)
{
    struct vfs_file j = {0};
    uint64_t next = 1;
    unsigned generation = 0;
    for (unsigned round = 0; round < rounds; round++) {
        if (round % 20 == 0) {
            char name[24];
            int n = snprintf(name, sizeof name, "j%u", ++generation);
            uint64_t first = next;
            vfs_file_close(&j);
            assert_int_equal(vfs_file_open(&j, &v, at(root, name), VFS_RDWR | VFS_CREATE, NULL),
                             VS_OK);
            assert_int_equal(vfs_file_append(&j, &first, 8, NULL), VS_OK);
            assert_int_equal(vfs_file_sync(&j, false, NULL), VS_OK);
            /* Before the manifest names it, its name must last. */
            if (careless != 3)
                assert_int_equal(vfs_path_sync_parent(&v, at(root, name), NULL), VS_OK);
            struct vfs_file m = {0};
            assert_int_equal(vfs_file_open(&m, &v, at(root, "m.tmp"),
                                           VFS_RDWR | VFS_CREATE | VFS_TRUNC, NULL), VS_OK);
            assert_int_equal(vfs_file_append(&m, name, (size_t)n + 1, NULL), VS_OK);
            if (careless != 2)
                assert_int_equal(vfs_file_sync(&m, false, NULL), VS_OK);
            vfs_file_close(&m);
            assert_int_equal(vfs_rename(&v, at(root, "m.tmp"), at(root, "m")), 0);
            if (careless != 3)
                assert_int_equal(vfs_path_sync_parent(&v, at(root, "m"), NULL), VS_OK);
            if (generation > 1) {
                snprintf(name, sizeof name, "j%u", generation - 1);
                assert_int_equal(vfs_path_unlink(&v, at(root, name), NULL), VS_OK);
            }
        }
        for (uint64_t n = rng_below(rng, 40); n--; next++)
            assert_int_equal(vfs_file_append(&j, &next, 8, NULL), VS_OK);
        if (careless != 1)
            assert_int_equal(vfs_file_sync(&j, true, NULL), VS_OK);
        vfs_record_mark(rec, next - 1);
    }
    vfs_file_close(&j);
}

/* The greatest number that a restart on this disk finds; 0: it does not start. */
static uint64_t restart(void)
{
    struct buf b = {0};
    char name[24] = "";
    uint64_t first, at_last = 0, n;
    if (vfs_path_load(&vfs_posix, at(disk, "m"), sizeof name - 1, &b, NULL))
        return 0;
    memcpy(name, b.data, b.len);
    b.len = 0;
    if (!vfs_path_load(&vfs_posix, at(disk, name), 1 << 20, &b, NULL) && b.len >= 8) {
        memcpy(&first, b.data, 8);
        at_last = first - 1;
        for (size_t i = 8; i + 8 <= b.len; i += 8, at_last++) {
            memcpy(&n, b.data + i, 8);
            if (n != at_last + 1)
                break;
        }
    }
    buf_release(&b);
    return at_last;
}

static unsigned losses(unsigned states)
{
    unsigned lost = 0;
    struct rng rng = {seed};
    size_t first = vfs_sim_first(sim), span = vfs_sim_last(sim) - first;
    for (unsigned i = 0; i < states; i++) {
        size_t cut = first + span * i / states;
        uint64_t marked;
        build(cut, rng_next(&rng), i & 1, VFS_SIM_ANY);
        size_t marks = vfs_sim_marks(sim, cut, UINT64_MAX, &marked);
        lost += marks && restart() < marked;
    }
    return lost;
}

static void test_program(void **state)
{
    (void)state;
    struct rng rng = {seed};
    run_program(300, 0, &rng);
    simulate();
    uint64_t begin = clock_mono_ns();
    assert_int_equal(losses(2000), 0);
    print_message("2,000 states of %zu events in %llu ms\n", vfs_sim_last(sim),
                  (unsigned long long)((clock_mono_ns() - begin) / 1000000));
    static const char *const forgets[] = {"", "the journal", "the file aside", "the directory"};
    for (int careless = 1; careless < 4; careless++) {
        void *none = NULL;
        tear_down(&none);
        assert_int_equal(set_up(&none), 0);
        run_program(100, careless, &rng);
        simulate();
        unsigned lost = losses(500);
        print_message("forgets to sync %s: %u of 500 states lose\n", forgets[careless], lost);
        assert_true(lost > 5);
    }
}

static void *write_own(void *arg)
{
    char name[24];
    snprintf(name, sizeof name, "t%d", *(int *)arg);
    struct vfs_file f = {0};
    assert_int_equal(vfs_file_open(&f, &v, at(root, name), VFS_RDWR | VFS_CREATE, NULL), VS_OK);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(vfs_file_append(&f, "0123456789", 10, NULL), VS_OK);
        if (i % 10 == 9)
            assert_int_equal(vfs_file_sync(&f, true, NULL), VS_OK);
        vfs_record_mark(rec, (uint64_t)i);
    }
    vfs_file_close(&f);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t thread[4];
    int number[4] = {0, 1, 2, 3};
    struct vfs_file keep = make("keep");
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, write_own, &number[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    vfs_file_close(&keep);
    assert_int_equal(vfs_path_sync_parent(&v, at(root, "keep"), NULL), VS_OK);
    simulate();
    build(vfs_sim_last(sim), seed, true, VFS_SIM_LOSE);
    for (int i = 0; i < 4; i++) {
        char name[24];
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(held_size(name), 2000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_synced_and_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_torn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_appends_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rename, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_directories, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_truncate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failed_sync, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_forgotten_sync, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_program, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_threads, set_up, tear_down),
    };
    seed = run_seed();
    return cmocka_run_group_tests_name("vfs_sim", tests, NULL, NULL);
}
