/* Of a snapshot that holds one partition alone: which. */
#ifndef PERSIST_SNAPSHOT_ONLY_H
#define PERSIST_SNAPSHOT_ONLY_H

#include <stddef.h>
#include <stdint.h>

struct snapshot_only {
    unsigned db;
    const char *key;
    size_t key_len;
    uint32_t number;
};

#endif
