#include "base/hlc.h"

uint64_t hlc_next(struct hlc *h, uint64_t wall_ms)
{
    uint64_t wall = wall_ms << 16;
    h->last = wall > h->last ? wall : h->last + 1;
    return h->last;
}

bool hlc_observe(struct hlc *h, uint64_t seen, uint64_t wall_ms)
{
    if (seen > h->last)
        h->last = seen;
    return hlc_ms(seen) <= wall_ms + HLC_AHEAD_MAX_MS;
}
