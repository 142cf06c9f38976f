/* Cuts: the whole store as of one moment T, without stopping.
 *
 *   vs_cut_begin              T: a number, and the last index that there is
 *   in slices of vs_poll      every key: touch the index (a copy of its name and options), then each of its
 *                             partitions: stamp, want the cut of its graph, and, when it is taken, `ready`
 *   before anything changes   a partition: stamp it, unless it is;  an index that is renamed or removed: touch it
 *
 * So whoever comes first, the walk or a change, what is noted is what stood at T. Stamping cannot fail and is a few
 * stores; touching allocates, and where memory runs out the cut fails, not the change. Partitions and indexes made
 * after T have no part in it.
 *
 * A partition is on the list `stamped` from its stamp until its cut is taken (or it is given up), and may not end
 * before its part has been given back: a removed one waits with its end (p->killed).
 *
 * Attributes and deadline are what changes of a record; the old ones are kept for the part: cut_keep.c. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "index/graph_cut.h"
#include "store/store_int.h"

#define WALK_SLICE_NS 100000
#define ASIDE_MIN ((size_t)16 << 20)

struct cut_index { /* an index as of T; shared by its parts */
    struct cut_index *next;
    struct vs_index *index; /* while some of its partitions are not parts yet */
    size_t refs;
    uint32_t done, positions;
    struct vs_index_options options;
    uint64_t uid;
    unsigned db;
    uint64_t deadline_ms;
    size_t key_len;
    char key[];
};

struct cut_part {
    struct vs_cut_part part; /* first */
    struct cut_index *of;
    struct cut_part *next_given;
};

/* ---- stamps ---- */

static void list_stamped(struct partition *p)
{
    struct cut *cut = &p->store->cut;
    p->stamped_next = cut->stamped;
    p->stamped_at = &cut->stamped;
    if (cut->stamped)
        cut->stamped->stamped_at = &p->stamped_next;
    cut->stamped = p;
}

static void unlist_stamped(struct partition *p)
{
    if (!p->stamped_at)
        return;
    *p->stamped_at = p->stamped_next;
    if (p->stamped_next)
        p->stamped_next->stamped_at = p->stamped_at;
    p->stamped_next = NULL;
    p->stamped_at = NULL;
}

static void note_numbers(struct partition *p)
{
    p->at = (struct partition_at){.sequence = p->sequence,
                                  .digest = p->digest,
                                  .attributes = p->attributes,
                                  .deadlines = deadline_count(p),
                                  .first_deadline_ms = deadline_first(p),
                                  .pinned = p->pinned};
}

void cut_stamp(struct partition *p)
{
    p->cut = p->store->env.cuts;
    p->in_cut = true;
    note_numbers(p);
    graph_stamp(p->graph, p->sequence);
    list_stamped(p);
}

/* ---- parts ---- */

static void index_unref(struct cut_index *of)
{
    if (--of->refs == 0)
        mem_free(of);
}

/* The cut has done with the partition. */
static void let_go(struct partition *p)
{
    unlist_stamped(p);
    p->in_cut = false;
    p->part = NULL;
    cut_keep_let_go(p);
    if (p->killed)
        partition_end(p);
}

static void free_part(struct cut_part *part)
{
    index_unref(part->of);
    mem_free(part);
}

/* A partition whose cut is not taken yet is given up. */
static void give_up(struct partition *p)
{
    struct cut_part *part = p->part;
    graph_cut_cancel(p->graph);
    if (part)
        free_part(part);
    let_go(p);
}

static void cut_fail(struct vs_store *store, enum vs_status status, const char *why)
{
    struct cut *cut = &store->cut;
    if (!cut->active || cut->failed)
        return;
    cut->failed = true;
    cut->stamping = 0;
    if (cut->hooks.failed)
        cut->hooks.failed(cut->hooks.arg, status, why);
}

static void taken(void *arg, struct graph_cut *graph_cut, enum vs_status status)
{
    struct cut_part *part = arg;
    struct partition *p = part->part.p;
    struct cut *cut = &p->store->cut;
    if (!graph_cut) {
        struct vs_store *store = p->store;
        free_part(part);
        let_go(p);
        cut_fail(store, status, vs_status_text(status));
        return;
    }
    if (cut->failed) { /* it was wanted before that */
        graph_cut_release(p->graph, graph_cut);
        free_part(part);
        let_go(p);
        return;
    }
    unlist_stamped(p);
    part->part.cut = graph_cut;
    cut->held++;
    cut->hooks.ready(cut->hooks.arg, &part->part);
}

/* One that is not open changes by being opened alone: what is opened then has been noted, too. */
static void note_stub(struct partition *p)
{
    p->cut = p->store->env.cuts;
    p->in_cut = true;
    note_numbers(p);
}

/* The next partition of an index becomes a part. */
static void add_part(struct vs_store *store, struct cut_index *of)
{
    struct partition *p = index_table(of->index)->part[of->done];
    struct cut_part *part = mem_try_zalloc(sizeof(*part));
    if (!part) {
        cut_fail(store, VS_NOMEM, "not enough memory for a part of it");
        return;
    }
    if (p->stub)
        note_stub(p);
    else if (p->cut != store->env.cuts)
        cut_stamp(p);
    part->of = of;
    part->part = (struct vs_cut_part){.p = p,
                                      .options = &of->options,
                                      .key = of->key,
                                      .key_len = of->key_len,
                                      .db = of->db,
                                      .deadline_ms = of->deadline_ms,
                                      .index_uid = of->uid,
                                      .position = of->done,
                                      .positions = of->positions,
                                      .number = p->number,
                                      .pinned = p->at.pinned,
                                      .sequence = p->at.sequence,
                                      .records_digest = p->at.digest,
                                      .attributes = p->at.attributes,
                                      .deadlines = p->at.deadlines,
                                      .first_deadline_ms = p->at.first_deadline_ms,
                                      .saved = p->saved};
    p->part = part;
    of->refs++;
    store->cut.parts++;
    if (++of->done == of->positions) {
        of->index->cut_index = NULL;
        of->index = NULL;
    }
    if (p->stub) { /* its files are what it is */
        store->cut.held++;
        store->cut.hooks.ready(store->cut.hooks.arg, &part->part);
        return;
    }
    graph_cut_want(p->graph, taken, part);
}

void vs_cut_part_done(struct vs_cut_part *part)
{
    struct vs_store *store = part->p->store;
    struct cut_part *c = (struct cut_part *)part;
    pthread_mutex_lock(&store->lock);
    c->next_given = store->cut.given;
    store->cut.given = c;
    pthread_cond_signal(&store->news);
    pthread_mutex_unlock(&store->lock);
    if (store->options.wake && !atomic_load_explicit(&store->closing, memory_order_relaxed))
        store->options.wake(store->options.wake_arg);
}

static bool take_back_some(struct vs_store *store, uint64_t until_ns)
{
    struct cut *cut = &store->cut;
    pthread_mutex_lock(&store->lock);
    struct cut_part *list = cut->given;
    cut->given = NULL;
    pthread_mutex_unlock(&store->lock);
    while (list) {
        struct cut_part *part = list;
        struct partition *p = part->part.p;
        list = part->next_given;
        if (part->part.cut)
            graph_cut_release(p->graph, part->part.cut);
        free_part(part);
        let_go(p);
        cut->held--;
        if (list && clock_mono_ns() > until_ns) {
            struct cut_part *last = list;
            while (last->next_given)
                last = last->next_given;
            pthread_mutex_lock(&store->lock);
            last->next_given = cut->given;
            cut->given = list;
            pthread_mutex_unlock(&store->lock);
            return true;
        }
    }
    return false;
}

/* ---- the walk ---- */

void cut_touch(struct vs_index *index)
{
    struct vs_store *store = index->store;
    struct cut *cut = &store->cut;
    if (!cut->stamping || index->cut == store->env.cuts || index->uid > cut->last_uid)
        return;
    struct cut_index *of = mem_try_zalloc(sizeof(*of) + index->key_len + 1);
    if (!of) {
        cut_fail(store, VS_NOMEM, "not enough memory for the name of a key");
        return;
    }
    of->index = index;
    of->refs = 1; /* the queue's */
    of->options = index->options;
    of->uid = index->uid;
    of->db = index->db;
    of->deadline_ms = index->deadline_ms;
    of->positions = index_table(index)->n;
    of->key_len = index->key_len;
    memcpy(of->key, index->key, index->key_len);
    index->cut = store->env.cuts;
    index->cut_index = of;
    if (cut->last)
        cut->last->next = of;
    else
        cut->first = of;
    cut->last = of;
    cut->indexes++;
}

void cut_touch_all(struct vs_index *index)
{
    cut_touch(index);
    while (index->cut_index && index->store->cut.stamping)
        add_part(index->store, index->cut_index);
}

void cut_forget(struct vs_index *index)
{
    if (index->cut_index)
        index->cut_index->index = NULL;
    index->cut_index = NULL;
}

static void touch_cell(void *arg, struct vs_index *index)
{
    (void)arg;
    cut_touch(index);
}

static void next_index(struct cut *cut)
{
    struct cut_index *of = cut->first;
    cut->first = of->next;
    if (!cut->first)
        cut->last = NULL;
    if (of->index)
        of->index->cut_index = NULL;
    index_unref(of);
}

/* True: time is up. */
static bool walk_some(struct vs_store *store, uint64_t until_ns)
{
    struct cut *cut = &store->cut;
    while (cut->active && !cut->failed && !cut->walked) {
        if (cut->first && cut->first->index) {
            add_part(store, cut->first);
        } else if (cut->first) {
            next_index(cut);
        } else if (cut->db < store->options.databases) {
            cut->cursor = keyspace_raw_scan(store, cut->db, cut->cursor, touch_cell, NULL);
            cut->db += cut->cursor == 0;
        } else {
            cut->walked = true;
            cut->hooks.walked(cut->hooks.arg, cut->indexes, cut->parts);
            return false;
        }
        if (clock_mono_ns() > until_ns)
            return true;
    }
    return false;
}

/* A failed cut is taken down. True: time is up. */
static bool give_up_some(struct vs_store *store, uint64_t until_ns)
{
    struct cut *cut = &store->cut;
    while (cut->first) {
        next_index(cut);
        if (clock_mono_ns() > until_ns)
            return true;
    }
    while (cut->stamped) {
        give_up(cut->stamped);
        if (clock_mono_ns() > until_ns)
            return true;
    }
    return false;
}

bool cut_some(struct vs_store *store, uint64_t until_ns)
{
    struct cut *cut = &store->cut;
    if (!cut->active && !cut->emptying)
        return false;
    uint64_t slice_ns = clock_mono_ns() + WALK_SLICE_NS;
    if (until_ns > slice_ns)
        until_ns = slice_ns;
    bool more = take_back_some(store, until_ns);
    more |= cut_keep_empty_some(store, until_ns);
    more |= cut->failed ? give_up_some(store, until_ns) : walk_some(store, until_ns);
    if (more)
        return true;
    if (cut->failed && (cut->first || cut->stamped)) /* just now */
        return true;
    if (!cut->held && !cut->stamped && (cut->walked || cut->failed)) {
        cut->active = false;
        cut->stamping = 0;
    }
    return false;
}

bool cut_must_wait(struct partition *p)
{
    if (!p->in_cut)
        return false;
    if (p->store->cut.failed && p->stamped_at) {
        give_up(p);
        return false;
    }
    return true;
}

/* ---- the interface ---- */

enum vs_status vs_cut_begin(struct vs_store *store, const struct vs_cut_hooks *hooks)
{
    struct cut *cut = &store->cut;
    struct mem_stats stats;
    if (cut->active)
        return VS_EXISTS;
    mem_stats_read(&stats);
    size_t aside = stats.used / 20;
    atomic_store_explicit(&store->env.aside_max, aside > ASIDE_MIN ? aside : ASIDE_MIN,
                          memory_order_relaxed);
    cut->hooks = *hooks;
    cut->active = true;
    cut->failed = cut->walked = false;
    cut->stamping = ++store->env.cuts;
    cut->last_uid = store->next_uid;
    cut->db = 0;
    cut->cursor = 0;
    cut->indexes = cut->parts = 0;
    if (store->options.wake)
        store->options.wake(store->options.wake_arg);
    return VS_OK;
}

void vs_cut_abort(struct vs_store *store)
{
    cut_fail(store, VS_CANCELLED, "it was cancelled");
}

void vs_cut_detach(struct vs_store *store)
{
    store->cut.hooks.failed = NULL;
}

void cut_flush(struct vs_store *store)
{
    cut_fail(store, VS_CANCELLED, "a database was emptied, or took the place of another, meanwhile");
}

uint64_t vs_cut_number(const struct vs_store *store)
{
    return store->env.cuts;
}

void vs_set_cut_number(struct vs_store *store, uint64_t number)
{
    store->env.cuts = number;
}

const void *vs_cut_id(const void *user, size_t *len)
{
    return record_id(user, len);
}

size_t vs_cut_aside(const struct vs_store *store)
{
    return store->cut.kept_bytes +
           atomic_load_explicit(&store->env.aside, memory_order_relaxed);
}
