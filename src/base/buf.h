/* A growing byte buffer. Owned by one thread at a time. Zero-initialised is valid and empty.
 * buf_reserve and what calls it (append, puts, printf) are for what is small and bounded; sizes that
 * a client, a file or the data set chooses go through buf_try_*. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data;   /* not NUL-terminated */
    size_t len;
    size_t cap;
};

void buf_release(struct buf *b);                       /* frees; the buffer is empty and valid again */
void buf_reset(struct buf *b);                         /* len = 0; memory above 64 KiB is given back */
char *buf_reserve(struct buf *b, size_t more);         /* room for `more` bytes; where they begin. Aborts on exhaustion */
char *buf_try_reserve(struct buf *b, size_t more);     /* the same, NULL on exhaustion */
void buf_append(struct buf *b, const void *data, size_t len);
bool buf_try_append(struct buf *b, const void *data, size_t len); /* false on exhaustion: nothing appended */
void buf_puts(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *b, size_t n);             /* drops the first n bytes */

#endif
