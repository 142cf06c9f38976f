/* What the simulator's two files share: the disk as far as it is certain, and what is not. */
#ifndef LIB_VFS_SIM_INT_H
#define LIB_VFS_SIM_INT_H

#include "lib/vfs_sim.h"

#define SIM_DIR 0          /* the inode number of all directories */
#define SIM_NONE UINT32_MAX

struct sim_event {
    struct vfs_record_head head;
    const char *data;  /* in the log */
    size_t len;
};

/* A change of one file that is not yet certain. Certain ones stay while an earlier one is not. */
struct sim_change {
    uint16_t type;  /* WRITE, TRUNCATE, ALLOCATE */
    bool certain;
    bool failed;    /* the write failed */
    bool lost;      /* a sync of it failed: no other will do */
    size_t event;
    uint64_t at;
    uint64_t len;
    const char *data;
};

struct sim_inode {
    char *data;  /* certain */
    size_t size;
    size_t room;
    struct sim_change *change;
    size_t changes;
    size_t change_cap;
};

struct sim_name {
    const char *path;
    uint32_t inode;
};

/* In the order in which the names came: a directory before what lies in it. */
struct sim_names {
    struct sim_name *at;
    size_t count;
    size_t cap;
};

/* A change of names: `from` goes if it is this inode's, `to` comes; either may be NULL. */
struct sim_entry {
    const char *from;
    const char *to;
    uint32_t inode;
    uint32_t dir[2];  /* the directories of both; equal when there is one */
    bool certain;
    size_t event;
};

struct sim_mark {
    size_t event;
    uint64_t time_ns;
    uint64_t greatest;
};

struct vfs_sim {
    char *owned;  /* the log, when it was read from a file */
    struct sim_event *event;
    size_t events;
    size_t event_cap;
    size_t first;
    struct sim_mark *mark;
    size_t marks;
    size_t mark_cap;

    size_t cut;               /* all below is as of this many events */
    struct sim_names live;    /* as the running program sees them */
    struct sim_names names;   /* certain */
    struct sim_entry *entry;  /* not certain, or behind one that is not */
    size_t entries;
    size_t entry_cap;
    char **dir;               /* directories met so far */
    size_t dirs;
    size_t dir_cap;
    struct sim_inode *inode;  /* [0] stands for directories */
    size_t inodes;
    size_t inode_cap;
    uint32_t *file;           /* open call -> inode */
    size_t files;
};

/* Goes to a cut. False: the log does not hang together at event s->cut. */
bool sim_go(struct vfs_sim *s, size_t cut);
void sim_entry_apply(struct sim_names *names, const struct sim_entry *e);
uint32_t sim_name_find(const struct sim_names *names, const char *path);
void sim_name_set(struct sim_names *names, const char *path, uint32_t inode);

#endif
