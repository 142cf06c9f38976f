#include "base/status.h"

const char *vs_status_text(enum vs_status s)
{
    switch (s) {
    case VS_OK: return "no error";
    case VS_NOMEM: return "not enough memory";
    case VS_EXISTS: return "it exists already";
    case VS_NOTFOUND: return "it does not exist";
    case VS_DIMENSION: return "the vector's dimension is not the index's";
    case VS_NONFINITE: return "a component is not a finite number that the element type can hold";
    case VS_INVALID: return "an argument is out of range or does not fit the index";
    case VS_LIMIT: return "a limit would be passed";
    case VS_BACKLOG: return "too many vectors wait to be linked";
    case VS_TIMEOUT: return "the time limit was reached";
    case VS_CANCELLED: return "the operation was cancelled";
    case VS_IO: return "input or output failed";
    case VS_CORRUPT: return "the data is corrupt";
    case VS_FULL: return "the limit of memory is reached";
    }
    return "unknown status";
}
