/* Finding commands in a stream of bytes.
 *
 * The reader is a small state machine that can stop at any byte: a header line is sought from where
 * the last call stopped seeking, a bulk is only compared with its length. What it finds does not
 * depend on how the stream was cut: a line's maximum holds whether its end has arrived or not, and
 * nothing is decided by what lies behind a command.
 *
 * Counts and lengths in headers are claims of the peer. They are checked against the limits and
 * then only compared with what has really arrived: the argument array grows with arguments
 * received, never by the count announced, and the caller sizes its buffer by `need`, which the bulk
 * limit bounds.
 *
 * As Redis does, the two bytes after a header's digits and after a bulk are skipped without a look
 * at them: that they are CR LF is the sender's concern. */
#include "resp/resp.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define UNAUTH_ARGS_MAX 10 /* arguments of a client that has not authenticated */
#define ARGV_FIRST 16
#define ARGV_KEEP 1024 /* a larger argument array is given back with the command that needed it */
#define UNQUOTED_KEEP 4096

void resp_reader_release(struct resp_reader *r)
{
    mem_free(r->argv);
    buf_release(&r->unquoted);
    memset(r, 0, sizeof *r);
}

static enum resp_result fail(struct resp_reader *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static enum resp_result fail(struct resp_reader *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->error, sizeof r->error, fmt, ap);
    va_end(ap);
    return RESP_ERROR;
}

static enum resp_result more(struct resp_reader *r, size_t need)
{
    r->need = need;
    return RESP_MORE;
}

/* Forgets the last command, and memory that only a large one needed. */
static void begin(struct resp_reader *r)
{
    r->argc = 0;
    if (r->argv_cap > ARGV_KEEP) {
        mem_free(r->argv);
        r->argv = NULL;
        r->argv_cap = 0;
    }
    if (r->unquoted.cap > UNQUOTED_KEEP)
        buf_release(&r->unquoted);
    r->unquoted.len = 0;
}

static bool argv_room(struct resp_reader *r)
{
    if (r->argc < r->argv_cap)
        return true;
    size_t cap = r->argv_cap ? r->argv_cap * 2 : ARGV_FIRST, bytes;
    if (!mem_mul(cap, sizeof *r->argv, &bytes))
        return false;
    struct resp_arg *grown = mem_try_realloc(r->argv, bytes);
    if (!grown)
        return false;
    r->argv = grown;
    r->argv_cap = cap;
    return true;
}

/* Where the line that begins at r->pos has its first `mark`: RESP_COMMAND and *end, RESP_MORE, or
 * RESP_ERROR when it is longer than a line may be. */
static enum resp_result line_end(struct resp_reader *r, const char *data, size_t len, char mark,
                                 size_t max, size_t *end)
{
    size_t stop = len - r->pos > max ? r->pos + max + 1 : len;
    if (r->scan < r->pos)
        r->scan = r->pos;
    const char *found = r->scan < stop ? memchr(data + r->scan, mark, stop - r->scan) : NULL;
    if (found) {
        *end = (size_t)(found - data);
        return RESP_COMMAND;
    }
    r->scan = stop;
    return stop - r->pos > max ? RESP_ERROR : RESP_MORE;
}

/* The number in the header that begins at r->pos, past its first byte; r->pos is then behind the
 * line. `what` names the header in errors. */
static enum resp_result read_header(struct resp_reader *r, const char *data, size_t len,
                                    const struct resp_limits *limits, const char *what,
                                    bool *number, long long *value)
{
    size_t end;
    enum resp_result found = line_end(r, data, len, '\r', limits->inline_max, &end);
    if (found == RESP_ERROR)
        return fail(r, "ERR Protocol error: too big %s count string", what);
    if (found == RESP_MORE)
        return more(r, 2);
    if (len - end < 2)
        return more(r, 1);
    struct resp_arg digits = { data + r->pos + 1, end - r->pos - 1 };
    *number = resp_to_int(&digits, value);
    r->pos = end + 2;
    return RESP_COMMAND;
}

/* An inline command at r->pos. */
static enum resp_result read_inline(struct resp_reader *r, const char *data, size_t len,
                                    const struct resp_limits *limits)
{
    size_t end;
    enum resp_result found = line_end(r, data, len, '\n', limits->inline_max, &end);
    if (found == RESP_ERROR)
        return fail(r, "ERR Protocol error: too big inline request");
    if (found == RESP_MORE)
        return more(r, 1);
    size_t line = end - r->pos;
    if (line > 0 && data[end - 1] == '\r')
        line--;
    long argc = resp_split_line(data + r->pos, line, &r->unquoted, &r->argv, &r->argv_cap);
    if (argc < 0)
        return fail(r, "ERR Protocol error: unbalanced quotes in request");
    r->argc = (size_t)argc;
    r->pos = end + 1;
    return RESP_COMMAND;
}

static enum resp_result read_count(struct resp_reader *r, const char *data, size_t len,
                                   const struct resp_limits *limits, bool authenticated)
{
    bool number;
    long long count;
    enum resp_result got = read_header(r, data, len, limits, "mbulk", &number, &count);
    if (got != RESP_COMMAND)
        return got;
    if (!number || (count > 0 && (unsigned long long)count > limits->args_max))
        return fail(r, "ERR Protocol error: invalid multibulk length");
    if (count > UNAUTH_ARGS_MAX && !authenticated)
        return fail(r, "ERR Protocol error: unauthenticated multibulk length");
    r->args_left = count > 0 ? count : 0;
    r->started = true;
    return RESP_COMMAND;
}

static enum resp_result read_bulk_header(struct resp_reader *r, const char *data, size_t len,
                                         const struct resp_limits *limits, bool authenticated)
{
    bool number;
    long long bulk;
    if (r->pos >= len)
        return more(r, 4);
    if (data[r->pos] != '$') {
        unsigned char c = (unsigned char)data[r->pos];
        return fail(r, "ERR Protocol error: expected '$', got '%c'", c >= ' ' && c < 127 ? c : '?');
    }
    enum resp_result got = read_header(r, data, len, limits, "bulk", &number, &bulk);
    if (got != RESP_COMMAND)
        return got;
    if (!number || bulk < 0 || (unsigned long long)bulk > limits->bulk_max)
        return fail(r, "ERR Protocol error: invalid bulk length");
    if ((size_t)bulk > limits->unauth_bulk_max && !authenticated)
        return fail(r, "ERR Protocol error: unauthenticated bulk length");
    r->bulk_len = (size_t)bulk;
    r->in_bulk = true;
    return RESP_COMMAND;
}

/* The arguments of a multibulk command, as far as they have arrived. */
static enum resp_result read_args(struct resp_reader *r, const char *data, size_t len,
                                  const struct resp_limits *limits, bool authenticated)
{
    while (r->args_left > 0) {
        if (!r->in_bulk) {
            enum resp_result got = read_bulk_header(r, data, len, limits, authenticated);
            if (got != RESP_COMMAND)
                return got;
        }
        size_t have = len - r->pos, want = r->bulk_len + 2;
        if (have < want)
            return more(r, want - have);
        if (!argv_room(r)) {
            r->exhausted = true;
            return fail(r, "ERR Protocol error: out of memory for arguments");
        }
        r->argv[r->argc].data = (const char *)(uintptr_t)r->pos;
        r->argv[r->argc].len = r->bulk_len;
        r->argc++;
        r->pos += want;
        r->in_bulk = false;
        r->args_left--;
    }
    for (size_t i = 0; i < r->argc; i++)
        r->argv[i].data = data + (uintptr_t)r->argv[i].data;
    return RESP_COMMAND;
}

enum resp_result resp_read(struct resp_reader *r, const char *data, size_t len,
                           const struct resp_limits *limits, bool authenticated, size_t *used)
{
    if (r->error[0])
        return RESP_ERROR;
    if (!r->started && r->pos == 0 && r->scan == 0)
        begin(r);
    for (;;) {
        enum resp_result got;
        if (!r->started) {
            if (r->pos >= len)
                return more(r, 1);
            r->argc = 0;
            got = data[r->pos] == '*' ? read_count(r, data, len, limits, authenticated)
                                      : read_inline(r, data, len, limits);
            if (got != RESP_COMMAND)
                return got;
        }
        if (r->started && (got = read_args(r, data, len, limits, authenticated)) != RESP_COMMAND)
            return got;
        r->started = false;
        if (r->argc > 0)
            break;
        r->start = r->pos;
        if (r->start > limits->inline_max)
            return fail(r, "ERR Protocol error: too big inline request");
    }
    *used = r->pos;
    r->start = 0;
    r->pos = 0;
    r->scan = 0;
    return RESP_COMMAND;
}
