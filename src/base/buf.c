#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define BUF_FIRST 64
#define BUF_KEEP ((size_t)64 * 1024)   /* what a reset buffer may go on holding */

void buf_release(struct buf *b)
{
    mem_free(b->data);
    *b = (struct buf){0};
}

void buf_reset(struct buf *b)
{
    if (b->cap > BUF_KEEP)
        buf_release(b);
    b->len = 0;
}

/* Room for `more` bytes, from one of the two doors to the heap. */
static char *reserve(struct buf *b, size_t more, void *(*grow)(void *ptr, size_t size))
{
    size_t need;
    if (!mem_add(b->len, more, &need))
        return NULL;
    if (need > b->cap || !b->data) {
        size_t cap = b->cap < BUF_FIRST ? BUF_FIRST : b->cap;
        /* Doubling keeps appending linear; near the end of the address space the exact size must do. */
        while (cap < need)
            cap = cap > SIZE_MAX / 2 ? need : cap * 2;
        char *data = grow(b->data, cap);
        if (!data)
            return NULL;
        b->data = data;
        b->cap = cap;
    }
    return b->data + b->len;
}

char *buf_try_reserve(struct buf *b, size_t more)
{
    return reserve(b, more, mem_try_realloc);
}

char *buf_reserve(struct buf *b, size_t more)
{
    char *at = reserve(b, more, mem_realloc); /* which aborts by itself */
    if (!at) {
        fprintf(stderr, "vecstore: no memory for a buffer of %zu + %zu bytes\n", b->len, more);
        abort();
    }
    return at;
}

bool buf_try_append(struct buf *b, const void *data, size_t len)
{
    char *at = buf_try_reserve(b, len);
    if (!at)
        return false;
    if (len)
        memcpy(at, data, len);
    b->len += len;
    return true;
}

void buf_append(struct buf *b, const void *data, size_t len)
{
    if (len == 0)
        return;
    memcpy(buf_reserve(b, len), data, len);
    b->len += len;
}

void buf_puts(struct buf *b, const char *text)
{
    buf_append(b, text, strlen(text));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    size_t room = 128;
    for (;;) {
        char *at = buf_reserve(b, room);
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(at, b->cap - b->len, fmt, ap);
        va_end(ap);
        if (n < 0)
            return;
        if ((size_t)n < b->cap - b->len) {
            b->len += (size_t)n;
            return;
        }
        room = (size_t)n + 1;
    }
}

void buf_consume(struct buf *b, size_t n)
{
    if (n >= b->len) {
        b->len = 0;
        return;
    }
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}
