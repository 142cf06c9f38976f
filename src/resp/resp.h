/* RESP: the Redis protocol, bytes in and bytes out. Pure: no sockets, no clients.
 *
 * READING. A reader takes what arrived and finds whole commands in it: arrays of bulk strings, or
 * inline lines (with Redis' quoting rules). It never copies arguments that lie whole in the input:
 * they are slices of it. It remembers how far it got in a command that is not whole yet, so that no
 * byte is examined twice, and says how many more bytes to wait for inside a large bulk, so that the
 * caller can size its buffer.
 *
 * WRITING. A writer appends replies to a buffer in the version the client speaks: RESP2 or RESP3
 * (maps, doubles, booleans, nulls, verbatim strings, pushes fall back to what Redis sends to RESP2
 * clients).
 *
 * One owner at a time. */
#ifndef RESP_RESP_H
#define RESP_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct resp_arg {
    const char *data; /* not NUL-terminated */
    size_t len;
};

struct resp_limits {
    size_t bulk_max;       /* proto-max-bulk-len */
    size_t inline_max;     /* 64 KiB */
    size_t args_max;       /* 1024 * 1024; an unauthenticated client: 10 */
    size_t unauth_bulk_max;/* unauthenticated: 16 KiB */
};

enum resp_result {
    RESP_COMMAND,  /* a whole command: argv is filled */
    RESP_MORE,     /* not whole yet; `need` more bytes at least */
    RESP_ERROR     /* `error` holds the line to send (without "-" and CRLF), then close */
};

/* State of one connection's input. Zero-initialised is valid. Positions count from where the
 * command under way begins.
 *
 *   | empty lines, empty arrays | *2\r\n | $3\r\n | GET\r\n | $1 ...
 *   0                           start                      pos  scan                           */
struct resp_reader {
    size_t start;          /* empty lines and arrays before it: they leave together with it */
    size_t pos;            /* first byte not yet understood */
    size_t scan;           /* of a line under way: how far its end has been sought */
    bool started;          /* the header of a multibulk command has been read */
    bool in_bulk;
    long long args_left;   /* of a multibulk command under way */
    size_t bulk_len;       /* of the bulk under way */
    struct resp_arg *argv; /* found so far; `data` holds offsets until the command is whole */
    size_t argc, argv_cap;
    size_t need;           /* on RESP_MORE: at least so many bytes are missing */
    char error[128];
    bool exhausted;        /* the error is that memory was */
    struct buf unquoted;   /* inline commands: their unescaped arguments */
};

void resp_reader_release(struct resp_reader *r);
/* Looks for the next command in data[0..len), which begins where the last command ended: after
 * RESP_MORE the caller comes again with the same bytes (they may have moved) and more behind them.
 * On RESP_COMMAND, *used is how many bytes it took; r->argv/argc stand until the next call and
 * point into `data` (or into r->unquoted). An empty line or empty array is skipped and counted in
 * the *used of the command after it; 64 KiB (inline_max) of nothing else is an error. After
 * RESP_ERROR the reader answers nothing but the same error. */
enum resp_result resp_read(struct resp_reader *r, const char *data, size_t len,
                           const struct resp_limits *limits, bool authenticated, size_t *used);

/* Splits one line by Redis' inline / configuration-file quoting rules ("..." with \xHH \n \r \t \b
 * \a \\ \", '...' with \'). Unescaped arguments are appended to `store`, slices point into it
 * (valid until it changes); argv grows as needed and is freed with mem_free. The number of
 * arguments, or -1: unbalanced quotes. */
long resp_split_line(const char *line, size_t len, struct buf *store, struct resp_arg **argv,
                     size_t *argv_cap);

/* ---- replies ---- */
struct resp_writer {
    struct buf *out;
    int version;           /* 2 or 3 */
    /* Set when memory ran out for something of a size that a client or its data chose (bulk strings):
     * what has been written since is no whole reply. */
    bool lost;
};

void resp_status(struct resp_writer *w, const char *text); /* +text */
void resp_error(struct resp_writer *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* -fmt: "ERR ..." code word included; CR and LF in it become spaces */
void resp_int(struct resp_writer *w, long long n);
void resp_bulk(struct resp_writer *w, const void *data, size_t len);
void resp_bulk_text(struct resp_writer *w, const char *text);
/* Replies that have been written elsewhere. */
void resp_raw(struct resp_writer *w, const void *data, size_t len);
void resp_null(struct resp_writer *w);                /* $-1 or _ */
void resp_null_array(struct resp_writer *w);          /* *-1 or _ */
void resp_array(struct resp_writer *w, size_t n);
void resp_map(struct resp_writer *w, size_t pairs);   /* RESP2: array of 2 * pairs */
void resp_set(struct resp_writer *w, size_t n);       /* RESP2: array */
void resp_push(struct resp_writer *w, size_t n);      /* RESP2: array */
void resp_bool(struct resp_writer *w, bool b);        /* RESP2: 1 / 0 */
void resp_double(struct resp_writer *w, double d);    /* resp_format_double; RESP2: bulk */
/* format3: "txt" and the like; RESP2: bulk */
void resp_verbatim(struct resp_writer *w, const char *format3, const void *data, size_t len);

/* The shortest decimal that reads back as `d`, at most 17 digits: 0.5, 1, 0.9992150366306305,
 * 1e-07, inf, -inf, nan. Not NUL-terminated; returns its length. */
#define RESP_DOUBLE_MAX 32
size_t resp_format_double(double d, char out[RESP_DOUBLE_MAX]);

/* Case-insensitive comparison of an argument with a lower- or upper-case word. */
bool resp_is(const struct resp_arg *a, const char *word);
/* Whole decimal integers and finite or infinite doubles, as Redis parses them; false when the
 * argument is anything else. NaN is refused. */
bool resp_to_int(const struct resp_arg *a, long long *out);
bool resp_to_double(const struct resp_arg *a, double *out);

#endif
