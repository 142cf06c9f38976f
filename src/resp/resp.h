/* RESP: the Redis protocol, bytes in and bytes out. Pure: no sockets, no clients.
 *
 * READING. A reader takes what arrived and finds whole commands in it: arrays of bulk strings, or inline lines (with
 * Redis' quoting rules). It never copies arguments that lie whole in the input: they are slices of it. It remembers how far it got in a
 * command that is not whole yet, so that no byte is examined twice, and says how many more bytes to wait for
 * inside a large bulk, so that the caller can size its buffer.
 *
 * WRITING. A writer appends replies to a buffer in the version the client speaks: RESP2 or RESP3 (maps, doubles,
 * booleans, nulls, verbatim strings, pushes fall back to what Redis sends to RESP2 clients).
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
    RESP_ERROR     /* protocol error: `error` holds the line to send (without "-" and CRLF), then close */
};

/* State of one connection's input. Zero-initialised is valid. */
struct resp_reader {
    size_t pos;            /* bytes of the input examined in the command under way */
    long args_left;        /* of a multibulk command under way: -1 before its header */
    bool started;
    size_t bulk_len;       /* of the bulk under way */
    bool in_bulk;
    struct resp_arg *argv; /* arguments found; `data` as offsets while the command is not whole */
    size_t argc, argv_cap;
    size_t need;
    char error[128];
    struct buf unquoted;   /* inline commands: their unescaped arguments */
};

void resp_reader_release(struct resp_reader *r);
/* Looks for the next command in data[0..len), which begins where the last command ended. On RESP_COMMAND, *used is how many bytes it took;
 * r->argv/argc stand until the next call and point into `data` (or into r->unquoted). An empty line or empty array is skipped. */
enum resp_result resp_read(struct resp_reader *r, const char *data, size_t len, const struct resp_limits *limits,
                           bool authenticated, size_t *used);

/* Splits one line by Redis' inline / configuration-file quoting rules ("..." with \xHH \n \r \t \b \a \\ \", '...' with \').
 * Unescaped arguments are appended to `store`, slices point into it (valid until it changes). -1: unbalanced quotes. */
long resp_split_line(const char *line, size_t len, struct buf *store, struct resp_arg **argv, size_t *argv_cap);

/* ---- replies ---- */
struct resp_writer {
    struct buf *out;
    int version;           /* 2 or 3 */
};

void resp_status(struct resp_writer *w, const char *text);              /* +text */
void resp_error(struct resp_writer *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* -fmt: "ERR ..." code word included; CR and LF in it become spaces */
void resp_int(struct resp_writer *w, long long n);
void resp_bulk(struct resp_writer *w, const void *data, size_t len);
void resp_bulk_text(struct resp_writer *w, const char *text);
void resp_null(struct resp_writer *w);                                  /* $-1 or _ */
void resp_null_array(struct resp_writer *w);                            /* *-1 or _ */
void resp_array(struct resp_writer *w, size_t n);
void resp_map(struct resp_writer *w, size_t pairs);                     /* RESP2: array of 2 * pairs */
void resp_set(struct resp_writer *w, size_t n);                         /* RESP2: array */
void resp_push(struct resp_writer *w, size_t n);                        /* RESP2: array */
void resp_bool(struct resp_writer *w, bool b);                          /* RESP2: 1 / 0 */
void resp_double(struct resp_writer *w, double d);                      /* shortest that reads back, <= 17 digits; RESP2: bulk; inf, -inf, nan */
void resp_verbatim(struct resp_writer *w, const char *format3, const void *data, size_t len); /* "txt"; RESP2: bulk */

/* Case-insensitive comparison of an argument with a lower- or upper-case word. */
bool resp_is(const struct resp_arg *a, const char *word);
/* Whole decimal integers and finite or infinite doubles, as Redis parses them; false when the argument is anything else. NaN is refused. */
bool resp_to_int(const struct resp_arg *a, long long *out);
bool resp_to_double(const struct resp_arg *a, double *out);

#endif
