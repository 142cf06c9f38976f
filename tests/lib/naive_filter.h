/* The filter language again, written from docs/filters.md alone and as simply as can be: a parser by recursive descent that
 * evaluates while it reads, over a document of jansson's. For comparison with the engine's; on valid expressions only. */
#ifndef LIB_NAIVE_FILTER_H
#define LIB_NAIVE_FILTER_H

#include <jansson.h>
#include <stdbool.h>

/* `json`: the attributes as text, NULL for none. */
bool naive_filter(const char *expression, const char *json, bool rich);

#endif
