/* Status codes: what every fallible function of VecStore returns.
 *
 * A function that can fail returns one of these and hands its result back through an out-parameter,
 * which it leaves untouched on failure. Where a person will read the reason, a message is filled in
 * beside it. */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

enum vs_status {
    VS_OK = 0,
    VS_NOMEM,      /* memory could not be had for a size that a client, a file or the data chose */
    VS_EXISTS,     /* it is there already (a key, an element under NX) */
    VS_NOTFOUND,   /* it is not there */
    VS_DIMENSION,  /* the vector's length is not the index's */
    VS_NONFINITE,  /* a component is NaN or infinite, or does not fit the element type */
    VS_INVALID,    /* an argument is out of range or contradicts the index */
    VS_LIMIT,      /* a documented maximum is passed */
    VS_BACKLOG,    /* too many vectors wait to be linked: try again when vs_poll() has made room */
    VS_TIMEOUT,    /* the deadline passed; partial results may stand */
    VS_CANCELLED,  /* the caller withdrew */
    VS_IO,         /* a file or socket operation failed; errno tells */
    VS_CORRUPT,    /* bytes that do not add up */
    VS_FULL        /* the limit of memory that was set is reached, and nothing may be evicted */
};

/* A short English sentence for `s`, without a full stop; never NULL. Any thread. */
const char *vs_status_text(enum vs_status s);

#endif
