/* Replies of the server, as bytes: where one ends, and what stands in it. RESP2 and RESP3. Pure
 * functions. */
#ifndef BENCHMARK_REPLY_H
#define BENCHMARK_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the first whole reply in p[0..len-1]; 0: it is not whole yet; -1: this is no reply. */
long reply_length(const char *p, size_t len);

/* Row numbers out of a search's reply, an array of ids that id_format wrote: up to `max` into
 * `rows`. The number, or -1 when it is something else (an error, an unknown id). */
long reply_rows(const char *p, size_t len, int32_t *rows, size_t max);

/* The first error in a whole reply (the reply itself, or an entry of the array that it is); false:
 * there is none. *text is borrowed from the reply. */
bool reply_error(const char *p, size_t len, const char **text, size_t *text_len);

/* Ids: twelve bytes, as long as a short UUID or a key of everyday use. */
#define ID_BYTES 12
void id_format(uint32_t row, char out[ID_BYTES + 1]);
/* False when these bytes are no id of ours. */
bool id_parse(const void *id, size_t len, int32_t *row);

#endif
