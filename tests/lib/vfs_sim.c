/* The simulator's model: the log is gone through event by event; what syncs cover moves from the
 * lists of changes into what is certain. vfs_sim_build.c makes a disk of it. */
#include "lib/vfs_sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "lib/vfs_sim_int.h"
#include "persist/vfs_path.h"

#define FILE_MAX ((uint64_t)4 << 30)

static void grow(void *array, size_t *cap, size_t want, size_t size)
{
    if (want > *cap && !mem_try_grow(array, cap, want * 2 + 16, size))
        abort();
}

/* ---- the log --------------------------------------------------------------------------------- */

static size_t strings_in(uint16_t type)
{
    switch (type) {
    case VFS_RECORD_OPEN:
    case VFS_RECORD_SYNCDIR:
    case VFS_RECORD_UNLINK:
    case VFS_RECORD_MKDIR: return 1;
    case VFS_RECORD_RENAME:
    case VFS_RECORD_LINK: return 2;
    default: return 0;
    }
}

static bool event_fits(const struct sim_event *e)
{
    size_t strings = strings_in(e->head.type), seen = 0;
    if (!e->head.type || e->head.type >= VFS_RECORD_TYPES)
        return false;
    for (size_t i = 0; i < e->len && strings; i++)
        seen += !e->data[i];
    return seen == strings && (!strings || !e->data[e->len - 1]);
}

static void add_event(struct vfs_sim *s, const struct sim_event *e)
{
    grow(&s->event, &s->event_cap, s->events + 1, sizeof *s->event);
    if (e->head.type == VFS_RECORD_START)
        s->first = s->events + 1;
    if (e->head.type == VFS_RECORD_MARK) {
        grow(&s->mark, &s->mark_cap, s->marks + 1, sizeof *s->mark);
        uint64_t before = s->marks ? s->mark[s->marks - 1].greatest : 0;
        s->mark[s->marks++] = (struct sim_mark){
            s->events, e->head.time_ns, e->head.a > before ? e->head.a : before};
    }
    s->event[s->events++] = *e;
}

static bool read_log(struct vfs_sim *s, const char *log, size_t len, char *why, size_t why_len)
{
    size_t at = strlen(VFS_RECORD_MAGIC);
    if (len < at || memcmp(log, VFS_RECORD_MAGIC, at) != 0) {
        snprintf(why, why_len, "not a log of file operations");
        return false;
    }
    while (len - at >= VFS_RECORD_FRAME) {
        uint32_t body, zero;
        uint64_t sum;
        struct sim_event e;
        memcpy(&body, log + at, sizeof body);
        memcpy(&zero, log + at + 4, sizeof zero);
        memcpy(&sum, log + at + 8, sizeof sum);
        if (body > len - at - VFS_RECORD_FRAME)
            break;
        const char *data = log + at + VFS_RECORD_FRAME;
        bool good = !zero && body >= sizeof e.head && hash_bytes(data, body, s->events) == sum;
        if (good) {
            memcpy(&e.head, data, sizeof e.head);
            e.data = data + sizeof e.head;
            e.len = body - sizeof e.head;
            good = event_fits(&e);
        }
        if (!good) {
            snprintf(why, why_len, "event %zu at offset %zu is damaged", s->events, at);
            return false;
        }
        add_event(s, &e);
        at += VFS_RECORD_FRAME + body;
    }
    if (!s->first)
        snprintf(why, why_len, "the log ends before its start event");
    return s->first > 0;
}

enum vs_status vfs_sim_new(const void *log, size_t len, struct vfs_sim **out, char *why,
                           size_t why_len)
{
    struct vfs_sim *s = mem_zalloc(sizeof *s);
    bool good = read_log(s, log, len, why, why_len);
    if (good && !sim_go(s, s->events)) {
        snprintf(why, why_len, "event %zu fits no file", s->cut);
        good = false;
    }
    if (!good) {
        vfs_sim_free(s);
        return VS_CORRUPT;
    }
    *out = s;
    return VS_OK;
}

enum vs_status vfs_sim_open(const char *path, struct vfs_sim **out, char *why, size_t why_len)
{
    struct buf log = {0};
    struct vfs_error err;
    enum vs_status status = vfs_path_load(&vfs_posix, path, SIZE_MAX / 2, &log, &err);
    if (status) {
        snprintf(why, why_len, "%s", err.text);
        return status;
    }
    status = vfs_sim_new(log.data, log.len, out, why, why_len);
    if (status)
        buf_release(&log);
    else
        (*out)->owned = log.data;
    return status;
}

static void forget(struct vfs_sim *s)
{
    for (size_t i = 0; i < s->inodes; i++) {
        mem_free(s->inode[i].data);
        mem_free(s->inode[i].change);
    }
    memset(s->inode, 0, s->inode_cap * sizeof *s->inode);
    s->inodes = 1;
    s->live.count = s->names.count = s->entries = s->cut = 0;
}

void vfs_sim_free(struct vfs_sim *s)
{
    if (!s)
        return;
    if (s->inode)
        forget(s);
    for (size_t i = 0; i < s->dirs; i++)
        mem_free(s->dir[i]);
    mem_free(s->dir);
    mem_free(s->inode);
    mem_free(s->file);
    mem_free(s->entry);
    mem_free(s->live.at);
    mem_free(s->names.at);
    mem_free(s->mark);
    mem_free(s->event);
    mem_free(s->owned);
    mem_free(s);
}

size_t vfs_sim_first(const struct vfs_sim *s)
{
    return s->first;
}

size_t vfs_sim_last(const struct vfs_sim *s)
{
    return s->events;
}

const struct vfs_record_head *vfs_sim_event(const struct vfs_sim *s, size_t i)
{
    return &s->event[i].head;
}

uint64_t vfs_sim_time(const struct vfs_sim *s, size_t cut)
{
    return s->event[cut < s->events ? cut : s->events - 1].head.time_ns;
}

size_t vfs_sim_marks(const struct vfs_sim *s, size_t cut, uint64_t until_ns, uint64_t *greatest)
{
    size_t low = 0, high = s->marks;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (s->mark[mid].event < cut && s->mark[mid].time_ns <= until_ns)
            low = mid + 1;
        else
            high = mid;
    }
    *greatest = low ? s->mark[low - 1].greatest : 0;
    return low;
}

/* ---- names ----------------------------------------------------------------------------------- */

uint32_t sim_name_find(const struct sim_names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++)
        if (!strcmp(names->at[i].path, path))
            return names->at[i].inode;
    return SIM_NONE;
}

static void name_remove(struct sim_names *names, const char *path, uint32_t inode)
{
    for (size_t i = 0; i < names->count; i++)
        if (names->at[i].inode == inode && !strcmp(names->at[i].path, path)) {
            memmove(names->at + i, names->at + i + 1,
                    (names->count - i - 1) * sizeof *names->at);
            names->count--;
            return;
        }
}

void sim_name_set(struct sim_names *names, const char *path, uint32_t inode)
{
    for (size_t i = 0; i < names->count; i++)
        if (!strcmp(names->at[i].path, path)) {
            names->at[i].inode = inode;
            return;
        }
    grow(&names->at, &names->cap, names->count + 1, sizeof *names->at);
    names->at[names->count++] = (struct sim_name){path, inode};
}

void sim_entry_apply(struct sim_names *names, const struct sim_entry *e)
{
    if (e->from)
        name_remove(names, e->from, e->inode);
    if (e->to)
        sim_name_set(names, e->to, e->inode);
}

static uint32_t dir_number(struct vfs_sim *s, const char *path, size_t len)
{
    for (size_t i = 0; i < s->dirs; i++)
        if (!strncmp(s->dir[i], path, len) && !s->dir[i][len])
            return (uint32_t)i;
    grow(&s->dir, &s->dir_cap, s->dirs + 1, sizeof *s->dir);
    s->dir[s->dirs] = mem_strndup(path, len);
    return (uint32_t)s->dirs++;
}

static uint32_t dir_of(struct vfs_sim *s, const char *path)
{
    const char *slash = strrchr(path, '/');
    return dir_number(s, path, slash ? (size_t)(slash - path) : 0);
}

static void change_names(struct vfs_sim *s, const char *from, const char *to, uint32_t inode)
{
    grow(&s->entry, &s->entry_cap, s->entries + 1, sizeof *s->entry);
    struct sim_entry *e = &s->entry[s->entries++];
    *e = (struct sim_entry){.from = from, .to = to, .inode = inode, .event = s->cut};
    e->dir[0] = dir_of(s, from ? from : to);
    e->dir[1] = dir_of(s, to ? to : from);
    sim_entry_apply(&s->live, e);
}

static void sync_names(struct vfs_sim *s, const struct sim_event *e)
{
    uint32_t dir = dir_number(s, e->data, e->len - 1);
    size_t done = 0;
    for (size_t i = 0; i < s->entries && s->entry[i].event < e->head.a; i++)
        if (s->entry[i].dir[0] == dir || s->entry[i].dir[1] == dir)
            s->entry[i].certain = true;
    while (done < s->entries && s->entry[done].certain)
        sim_entry_apply(&s->names, &s->entry[done++]);
    s->entries -= done;
    if (done)
        memmove(s->entry, s->entry + done, s->entries * sizeof *s->entry);
}

/* ---- data ------------------------------------------------------------------------------------ */

static void set_size(struct sim_inode *n, size_t size)
{
    if (size > n->room) {
        size_t room = size + size / 2;
        n->data = mem_realloc(n->data, room);
        n->room = room;
    }
    if (size > n->size)
        memset(n->data + n->size, 0, size - n->size);
    n->size = size;
}

static void make_certain(struct sim_inode *n, const struct sim_change *c)
{
    size_t end = (size_t)(c->at + c->len);
    if (c->type == VFS_RECORD_TRUNCATE || end > n->size)
        set_size(n, end);
    if (c->type == VFS_RECORD_WRITE)
        memcpy(n->data + c->at, c->data, c->len);
}

static void change_data(struct vfs_sim *s, struct sim_inode *n, struct sim_change c)
{
    c.event = s->cut;
    grow(&n->change, &n->change_cap, n->changes + 1, sizeof *n->change);
    n->change[n->changes++] = c;
}

static void sync_data(struct sim_inode *n, const struct vfs_record_head *head)
{
    size_t done = 0;
    for (size_t i = 0; i < n->changes && n->change[i].event < head->a; i++) {
        struct sim_change *c = &n->change[i];
        if (head->failed)
            c->lost |= !c->certain;
        else
            c->certain |= !c->lost && !c->failed;
    }
    while (done < n->changes && n->change[done].certain)
        make_certain(n, &n->change[done++]);
    n->changes -= done;
    if (done)
        memmove(n->change, n->change + done, n->changes * sizeof *n->change);
}

/* ---- events ---------------------------------------------------------------------------------- */

static uint32_t new_inode(struct vfs_sim *s)
{
    size_t had = s->inode_cap;
    grow(&s->inode, &s->inode_cap, s->inodes + 1, sizeof *s->inode);
    memset(s->inode + had, 0, (s->inode_cap - had) * sizeof *s->inode);
    return (uint32_t)s->inodes++;
}

static bool go_open(struct vfs_sim *s, const struct sim_event *e)
{
    uint32_t inode = sim_name_find(&s->live, e->data);
    if (!*e->data)
        inode = SIM_DIR;
    if (inode == SIM_NONE && !(e->head.b & VFS_CREATE))
        return false;
    if (inode == SIM_NONE) {
        inode = new_inode(s);
        change_names(s, NULL, e->data, inode);
    } else if (e->head.b & VFS_TRUNC && inode != SIM_DIR) {
        change_data(s, &s->inode[inode], (struct sim_change){.type = VFS_RECORD_TRUNCATE});
    }
    if (e->head.file > s->events)
        return false;
    size_t had = s->files;
    grow(&s->file, &s->files, (size_t)e->head.file + 1, sizeof *s->file);
    memset(s->file + had, 0, (s->files - had) * sizeof *s->file);
    s->file[e->head.file] = inode;
    return true;
}

static bool go_file(struct vfs_sim *s, const struct sim_event *e)
{
    const struct vfs_record_head *head = &e->head;
    if (head->file >= s->files)
        return false;
    struct sim_inode *n = &s->inode[s->file[head->file]];
    bool is_dir = n == s->inode;
    struct sim_change c = {
        .type = head->type, .failed = head->failed, .at = head->a, .data = e->data};
    if (head->type == VFS_RECORD_SYNC) {
        sync_data(n, head);
        return true;
    }
    if (head->type == VFS_RECORD_ALLOCATE)
        c.len = head->b;
    if (head->type == VFS_RECORD_WRITE)
        c.len = e->len;
    if (is_dir || c.at > FILE_MAX || c.len > FILE_MAX)
        return false;
    change_data(s, n, c);
    return true;
}

static bool go_name(struct vfs_sim *s, const struct sim_event *e)
{
    const char *to = e->data + strlen(e->data) + 1;
    uint32_t inode = sim_name_find(&s->live, e->data);
    if (e->head.type == VFS_RECORD_MKDIR) {
        change_names(s, NULL, e->data, SIM_DIR);
        return inode == SIM_NONE;
    }
    if (inode == SIM_NONE || inode == SIM_DIR)
        return false;
    if (e->head.type == VFS_RECORD_UNLINK)
        change_names(s, e->data, NULL, inode);
    else if (e->head.type == VFS_RECORD_LINK)
        change_names(s, NULL, to, inode);
    else if (strcmp(e->data, to) != 0)
        change_names(s, e->data, to, inode);
    return true;
}

bool sim_go(struct vfs_sim *s, size_t cut)
{
    if (!s->inode)
        new_inode(s);  /* SIM_DIR */
    if (cut < s->cut)
        forget(s);
    for (; s->cut < cut; s->cut++) {
        const struct sim_event *e = &s->event[s->cut];
        bool good = true;
        switch (e->head.type) {
        case VFS_RECORD_OPEN: good = go_open(s, e); break;
        case VFS_RECORD_WRITE:
        case VFS_RECORD_TRUNCATE:
        case VFS_RECORD_ALLOCATE:
        case VFS_RECORD_SYNC: good = go_file(s, e); break;
        case VFS_RECORD_RENAME:
        case VFS_RECORD_UNLINK:
        case VFS_RECORD_LINK:
        case VFS_RECORD_MKDIR: good = go_name(s, e); break;
        case VFS_RECORD_SYNCDIR: sync_names(s, e); break;
        default: break;
        }
        if (!good)
            return false;
    }
    return true;
}
