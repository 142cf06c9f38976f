/* A vfs that is no disk: files go where they are written, in order, and nowhere else.
 *
 * A snapshot is written file after file, each from its beginning to its end. So its bytes can be
 * given to somebody as they come, who sends them to another node: no file is made, nothing can be
 * read back, and renaming or removing means nothing.
 *
 *     segment writer -> vfs -> sink.begin "<id>-0.seg"
 *                              sink.data  bytes, as many as a write has: a block of a segment, with its sum
 *                              sink.end   when it is closed
 *
 * One thread at a time uses a stream; it calls the sink, which may wait. A sink that answers false
 * has had enough: the write fails with EPIPE, and every one after it. */
#ifndef PERSIST_STREAM_H
#define PERSIST_STREAM_H

#include "persist/vfs.h"

struct stream_sum {
    uint64_t seed, sum;    /* hash_bytes of them with this seed */
};

struct stream_sink {
    bool (*begin)(void *arg, const char *name); /* without a directory */
    /* `sum`: theirs, where it is known, else NULL. */
    bool (*data)(void *arg, const void *data, size_t len, const struct stream_sum *sum);
    bool (*end)(void *arg, uint64_t bytes);     /* of how many the file is */
    void *arg;
};

/* Zeroed by stream_init. */
struct stream {
    struct stream_sink sink;
    bool open, failed;
    uint64_t at;
};

void stream_init(struct stream *s, const struct stream_sink *sink);
/* Borrows `s`. */
struct vfs stream_vfs(struct stream *s);

#endif
