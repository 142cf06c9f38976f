/* How much of a graph's mapped columns is in memory. */
#ifndef INDEX_GRAPH_RESIDENT_H
#define INDEX_GRAPH_RESIDENT_H

#include "index/graph.h"

/* [owner] Bytes in memory of the columns that lie in files: what the page cache has, and pages of this
 * process's own. From 1 GiB of mapped bytes on it looks at some chunks only and estimates. */
size_t graph_resident(const struct graph *g);

#endif
