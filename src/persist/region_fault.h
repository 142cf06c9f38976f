/* SIGBUS in a mapped file: the disk could not give a page, or somebody cut the file short.
 *
 * The page is replaced by zeros, the file is marked bad, and the instruction goes on. Whoever read
 * the page looks at the mark (region->bad) before anything it computed leaves; see segment_map.c.
 *
 * Ranges stand in a table that a signal handler can walk: blocks of entries that are never freed,
 * entries taken and given back by atomic words. It is per process, as signals are.
 *
 * Threads: any. */
#ifndef PERSIST_REGION_FAULT_H
#define PERSIST_REGION_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Watches [base, base + size): a fault in it stores true in *bad. False: out of memory. */
bool region_fault_add(const void *base, size_t size, _Atomic bool *bad);
/* Before the range is unmapped. */
void region_fault_remove(const void *base);
/* For a handler of SIGBUS: true when `addr` lies in a watched range and reading it will work now.
 * Async-signal-safe. */
bool region_fault_handle(void *addr);
/* Installs a handler that does just this, unless the program has one for SIGBUS already (which then
 * calls region_fault_handle). Whatever it does not handle ends the process as usual. */
void region_fault_install(void);

#endif
